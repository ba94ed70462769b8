"""The SDK's errors, one small tree.

AttuneError
├── ServiceUnreachable        nothing answers, or the connection broke
├── Timeout                   the answer came too late
├── UnexpectedResponse        the response breaks Attune's contract
└── APIError                  the service refused or failed: `status`, `code`, `param`, `request_id`
    ├── BadRequest            400 and other 4xx: the request is wrong
    │   ├── Unprocessable     422: a field is unknown
    │   └── TooLarge          413: the body is over the service's limit
    ├── Unauthorized          401: no API key, or an unknown one
    ├── Forbidden             403: the key lacks the scope
    ├── NotFound              404: no such completion, version, model, ...
    ├── Conflict              409: it contradicts the present state
    ├── TooManyRequests       429: over your rate; `retry_after_s` is the time to wait
    └── ServerError           5xx: the service failed
        └── Overloaded        503: its queue is full or it is starting; `retry_after_s` as above
"""

from __future__ import annotations

from typing import Any


class AttuneError(Exception):
    """Root of this package's errors.

    >>> try:
    ...     client.version(99)
    ... except attune.AttuneError as error:
    ...     print(error)
    There is no version 99.
    """


class ServiceUnreachable(AttuneError, ConnectionError):
    """Nothing answers at the address, or the connection broke before the answer was complete.

    >>> lonely = attune.Client("http://127.0.0.1:9", retry=attune.Retry(times=0))
    >>> try:
    ...     lonely.chat("Hello!")
    ... except attune.ServiceUnreachable as error:
    ...     print(error)
    No Attune service answers at http://127.0.0.1:9: start one with `attune serve`, or set ATTUNE_BASE_URL.
    """


class Timeout(AttuneError, TimeoutError):
    """The service did not answer within the client's `timeout`.

    >>> hasty = attune.Client(timeout=0.5, retry=attune.Retry(times=0))
    >>> try:
    ...     hasty.chat("Think for a long time.")
    ... except attune.Timeout:
    ...     print("too late")
    too late
    """


class UnexpectedResponse(AttuneError, ValueError):
    """The response breaks Attune's contract: the address may belong to another program.

    >>> issubclass(attune.UnexpectedResponse, ValueError)
    True
    """


class APIError(AttuneError):
    """The service refused or failed.

    `status` is the HTTP status, `code` the service's name for the error (`model_not_found`, ...), `param` the wrong
    field. `request_id` helps the operator to find the request. `retry_after_s` is the wait that the service asks for.

    >>> try:
    ...     client.chat("Hello!", model="attune@99")
    ... except attune.APIError as error:
    ...     print(error.status, error.code, error.param)
    404 model_not_found model
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.request_id = request_id
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[Any, ...]:
        # exceptions cross process boundaries by pickle, which forgets keyword arguments
        return type(self), self.args, self.__dict__


class BadRequest(APIError):
    """400, or another 4xx without a class of its own: the request is wrong; `param` names the field.

    >>> try:
    ...     client.chat("Hello!", temperature=-1)
    ... except attune.BadRequest as error:
    ...     print(error.param)
    temperature
    """


class Unprocessable(BadRequest):
    """422: a field is unknown, or what the request names does not go together; `param` names the field.

    >>> issubclass(attune.Unprocessable, attune.BadRequest)
    True
    """


class TooLarge(BadRequest):
    """413: the body is over the service's limit.

    >>> issubclass(attune.TooLarge, attune.BadRequest)
    True
    """


class Unauthorized(APIError):
    """401: the API key is missing or unknown.

    >>> try:
    ...     attune.Client(api_key="at-unknown").versions()
    ... except attune.Unauthorized as error:
    ...     print(error.status)
    401
    """


class Forbidden(APIError):
    """403: the key lacks the scope for this (`chat`, `feedback`, `admin`, `act-as`).

    >>> try:
    ...     attune.Client(api_key="at-chat-only").promote(1)
    ... except attune.Forbidden as error:
    ...     print(error.status)
    403
    """


class NotFound(APIError, LookupError):
    """404: there is no such completion, comparison, version, model, rater or conversation.

    >>> try:
    ...     client.rate("nothing", "up")
    ... except attune.NotFound as error:
    ...     print(error)
    There is no completion 'nothing'.
    """


class Conflict(APIError):
    """409: the request contradicts the present state, such as promoting a version that the gate rejected.

    >>> try:
    ...     client.promote(2)
    ... except attune.Conflict as error:
    ...     print(error)
    Version 2 is rejected and cannot go live.
    """


class TooManyRequests(APIError):
    """429: over your rate. The client has already retried as often as its `Retry` allows.

    >>> issubclass(attune.TooManyRequests, attune.APIError)
    True
    """


class ServerError(APIError):
    """5xx: the service failed; give `request_id` to its operator.

    >>> issubclass(attune.Overloaded, attune.ServerError)
    True
    """


class Overloaded(ServerError):
    """503: the service's queue is full, or it is still starting.

    >>> issubclass(attune.Overloaded, attune.ServerError)
    True
    """
