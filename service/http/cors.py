"""Pages of other sites that may call the service: the origins of the settings, none by default."""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from service.errors import Forbidden, error_response

METHODS = ("GET", "HEAD", "POST", "DELETE")
EXPOSED = (
    "X-Attune-Version",
    "X-Attune-Completion-Id",
    "X-Attune-Warning",
    "X-Request-Id",
    "Idempotent-Replayed",
    "Retry-After",
)


class Cors(CORSMiddleware):
    """Starlette's CORS with our settings, and refusals as OpenAI's error object. Cookies play no part."""

    def __init__(self, app: ASGIApp, origins: tuple[str, ...]) -> None:
        super().__init__(
            app, origins, METHODS, allow_headers=("*",), expose_headers=EXPOSED, max_age=600, allow_private_network=True
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer the browser's question whether a page may send a request."""
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        message = f"a page of {request_headers['origin'][:100]} may not send this; see the setting origins"
        return error_response(Forbidden(message, code="cross_site"))
