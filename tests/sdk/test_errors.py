"""Every failure becomes one of our errors, with the details to act on it."""

import pickle
from typing import Any

import httpx
import pytest

import attune
from attune._address import Address
from attune._error_parsing import BY_STATUS, error_from_response
from attune._responses import faults_of
from tests.sdk.conftest import Either
from tests.sdk.fake_service import FakeService

KINDS = {
    400: attune.BadRequest,
    401: attune.Unauthorized,
    402: attune.BadRequest,
    403: attune.Forbidden,
    404: attune.NotFound,
    405: attune.BadRequest,
    409: attune.Conflict,
    413: attune.TooLarge,
    422: attune.Unprocessable,
    429: attune.TooManyRequests,
    500: attune.ServerError,
    502: attune.ServerError,
    503: attune.Overloaded,
    504: attune.ServerError,
}


@pytest.mark.parametrize("status", KINDS)
def test_each_status_is_one_class(either: Either, fake: FakeService, status: int) -> None:
    client = either.client(retry=attune.Retry(times=0))
    error_body = {"error": {"message": "What is\nwrong.", "type": "t", "param": "messages", "code": "the_code"}}
    fake.fault("/v1/chat", status=status, body=error_body)
    with pytest.raises(attune.APIError) as caught:
        either.get(client.chat("Hello!"))
    error = caught.value
    assert type(error) is KINDS[status]
    assert (str(error), error.status, error.code, error.param, error.request_id) == (
        "What is wrong.",
        status,
        "the_code",
        "messages",
        "req-7",
    )


def test_a_streams_refusal_is_the_same_error(either: Either, client: Any) -> None:
    with pytest.raises(attune.NotFound) as caught:
        either.get(client.chat("Hello!", model="attune@99", stream=True))
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    "body", [b"<html>Bad gateway</html>", b"", b"[]", b'{"detail": "no"}', b'{"error": "plain words"}', b"\xff"]
)
def test_a_proxys_page_becomes_one_sentence(body: bytes) -> None:
    error = error_from_response(502, {}, body)
    assert type(error) is attune.ServerError
    assert "\n" not in str(error)
    assert len(str(error)) < 80
    assert str(error)


def test_all_api_errors_are_in_the_table() -> None:
    def leaves(kind: type) -> set[type]:
        return {kind} | {leaf for below in kind.__subclasses__() for leaf in leaves(below)}

    assert leaves(attune.APIError) == {*BY_STATUS.values(), attune.APIError, attune.BadRequest, attune.ServerError}
    assert leaves(attune.AttuneError) <= {getattr(attune, name) for name in attune.__all__}


def all_faults(kind: type[Exception]) -> set[type[Exception]]:
    return {kind} | {leaf for below in kind.__subclasses__() for leaf in all_faults(below)}


@pytest.mark.parametrize(
    "fault",
    sorted(all_faults(httpx.TransportError) | {httpx.TooManyRedirects, httpx.DecodingError, httpx.InvalidURL}, key=str),
)
def test_no_fault_of_httpx_gets_through(fault: type[Exception]) -> None:
    with pytest.raises(attune.AttuneError) as caught, faults_of(Address("http://x")):
        raise fault("because")
    assert caught.value.__cause__ is not None


def test_faults_that_are_not_httpx_get_through() -> None:
    with pytest.raises(ZeroDivisionError), faults_of(Address("http://x")):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "body", [b"<html>hello</html>", b"{}", b'{"choices": []}', b"[]", b"null", b'{"id": "x", "choices": null}']
)
def test_another_service_at_the_address_is_noticed(either: Either, client: Any, fake: FakeService, body: bytes) -> None:
    fake.fault("/v1/chat", status=200, body=body)
    with pytest.raises(attune.UnexpectedResponse, match="Attune service"):
        either.get(client.chat("Hello!"))


def test_a_list_that_is_none_is_noticed(either: Either, client: Any, fake: FakeService) -> None:
    fake.fault("/v1/versions", status=200, body={"versions": []})
    with pytest.raises(attune.UnexpectedResponse):
        either.get(client.versions())


def test_a_redirect_names_the_new_address(either: Either, client: Any, fake: FakeService) -> None:
    fake.fault("/v1/versions", status=307, headers={"Location": "https://example.org/"})
    with pytest.raises(attune.UnexpectedResponse, match=r"https://example\.org/"):
        either.get(client.versions())


def test_an_error_survives_another_process() -> None:
    error = attune.NotFound("gone", status=404, code="not_found", param="id", request_id="r")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.status, again.request_id) == (attune.NotFound, "gone", 404, "r")


def test_old_ways_of_catching_work() -> None:
    assert issubclass(attune.ServiceUnreachable, ConnectionError)
    assert issubclass(attune.Timeout, TimeoutError)
    assert issubclass(attune.NotFound, LookupError)
