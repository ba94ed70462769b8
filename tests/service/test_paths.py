"""Paths that mean another file or another route to somebody: a plain refusal everywhere, and no file but the page's."""

from collections.abc import Iterator

import pytest

from service.routes.page import FOLDER
from tests.service.raw_http import exchange, get
from tests.service.running import Running

# In place of a path parameter, or behind /static/. None of them names anything that exists.
PAYLOADS = [
    "../../../../etc/passwd",
    "..%2f..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "%252e%252e%252fetc%252fpasswd",
    "..%252f..%252fetc%252fpasswd",
    "..%c0%af..%c0%afetc%c0%afpasswd",
    "....//....//etc/passwd",
    "..;/..;/etc/passwd",
    "..%5c..%5cetc%5cpasswd",
    "%2fetc%2fpasswd",
    "//etc/passwd",
    "/etc/passwd",
    "file:%2f%2f%2fetc%2fpasswd",
    "%00",
    "x%00.html",
    "index.html%00.js",
    "%ff%fe",
    "%ed%a0%80",
    "%",
    "%zz",
    "%u002e%u002e",
    "x%0d%0aX-Injected:%201",
    "x%0aSet-Cookie:a=b",
    "-1",
    "1e400",
    "NaN",
    "0x10",
    "1%20OR%201=1",
    "'%20OR%20'1'='1",
    "%27;DROP%20TABLE%20raters;--",
    "%25%5f",
    "{id}",
    "<script>",
    "a" * 3000,
    "%e2%80%ae",
    ".",
    "..",
    "%2e",
    "~root",
    "*",
]
STATIC = [*PAYLOADS, "../index.html/../../pyproject.toml", "vendor/../../../pyproject.toml", "..%2f..%2fpyproject.toml"]
STATIC += ["..", "../", "../web", "%2e%2e/%2e%2e/service/app.py", ".%2e/.%2e/service/app.py", "vendor", "vendor/", ""]


def targets(served: Running) -> Iterator[tuple[str, str]]:
    """Yield every method and path of a route with parameters."""
    for path, methods in served.http.get("/openapi.json").json()["paths"].items():
        if "{" in path:
            for method in methods:
                yield method.upper(), path


def filled(path: str, value: str) -> str:
    """Return the path with a value for its parameter; these routes have one each."""
    before, _, rest = path.partition("{")
    return before + value + rest.partition("}")[2]


def test_there_are_routes_with_parameters(shared: Running) -> None:
    found = list(targets(shared))
    assert len(found) >= 10
    assert all(path.count("{") == 1 for _, path in found)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_payload_in_a_path_breaks_a_route_or_reaches_another(shared: Running, payload: str) -> None:
    for method, path in targets(shared):
        response = exchange(shared.url, get(filled(path, payload), method=method))
        assert response.status in (400, 401, 403, 404, 405, 422), (method, path, response.status)
        assert set(response.error) == {"message", "type", "param", "code"}, (method, path)
        assert "x-injected" not in response.headers
        assert "set-cookie" not in response.headers
        assert b"root:" not in response.body
    assert shared.chat()["model"] == "attune@0"


@pytest.mark.parametrize("payload", STATIC)
def test_no_file_is_given_but_the_pages(shared: Running, payload: str) -> None:
    for method in ("GET", "HEAD"):
        response = exchange(shared.url, get("/static/" + payload, method=method))
        assert response.status in (400, 404), (method, response.status)
        assert b"root:" not in response.body
        if method == "GET":
            assert response.error["message"]


def test_every_file_of_the_page_is_given_and_only_read(shared: Running) -> None:
    for file in ("index.html", "api.js"):
        path = f"/static/{file}"
        assert shared.http.get(path).content == (FOLDER / file).read_bytes()
        for method in ("POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"):
            response = shared.http.request(method, path)
            assert response.status_code == 405, method
            assert response.json()["error"]["code"] == "method_not_allowed"


def test_a_method_that_a_route_does_not_have_is_refused_by_name(shared: Running) -> None:
    described = shared.http.get("/openapi.json").json()["paths"]
    for path, methods in described.items():
        for method in ("PUT", "PATCH", "TRACE", "PROPFIND"):
            assert method.lower() not in methods
            response = exchange(shared.url, get(filled(path, "1") if "{" in path else path, method=method))
            assert (response.status, response.error["code"]) == (405, "method_not_allowed"), path
            assert "allow" in response.headers
