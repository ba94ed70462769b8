"""What is looked at in the headers of every request, before anything else.

Browsers send requests for any page that somebody visits. Where no key is needed, that page would be an administrator.
"""

from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.addresses import host_of, is_loopback
from service.errors import BadRequest, Forbidden, RequestError, UnsupportedMediaType, error_response
from service.limits import IMPORT_PATH
from service.origins import is_own_origin

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
JSON = ("application/json",)
JSON_LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")
# What reverse proxies add. "x-forwarded-" begins many more.
FORWARDING = (
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-host",
    "x-original-forwarded-for",
    "x-envoy-external-address",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
)
# For every answer: no other site's page may load it as a script, a picture or a style.
_ALWAYS = {"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin"}


class Door:
    """ASGI middleware that refuses malformed hosts, other sites' pages and bodies that are not JSON."""

    def __init__(self, app: ASGIApp, origins: Collection[str] = ()) -> None:
        """`origins` are those of other sites whose pages may call the service."""
        self.app, self.origins = app, frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _ALWAYS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            check_request(scope, self.origins)
        except RequestError as error:
            await error_response(error)(scope, receive, send_with_headers)
        else:
            await self.app(scope, receive, send_with_headers)


def check_request(scope: Scope, origins: Collection[str]) -> None:
    """Raise BadRequest, Forbidden or UnsupportedMediaType for a request that nobody should answer."""
    headers = Headers(scope=scope)
    hosts = headers.getlist("host")
    if len(hosts) > 1 or (not hosts and scope["http_version"] != "1.0"):
        raise BadRequest(f"a request has one Host header, and this one has {len(hosts)}", code="invalid_host")
    if scope["method"] in SAFE_METHODS:
        return
    if is_cross_site(headers, origins):
        raise Forbidden(_cross_site_reason(headers), code="cross_site")
    _check_content_type(headers, scope["path"])


def is_cross_site(headers: Headers, origins: Collection[str]) -> bool:
    """Whether a page of another site in a browser sends this request, and none of the allowed `origins`."""
    given = headers.getlist("origin")
    if len(given) == 1 and given[0] in origins:
        return False
    host = headers.get("host", "")
    if any(not is_own_origin(origin, host) for origin in given) or len(given) > 1:
        return True
    return any(site not in ("same-origin", "none") for site in headers.getlist("sec-fetch-site"))


def require_local(scope: Scope, origins: Collection[str]) -> None:
    """Raise Forbidden unless the request came from this machine itself, under a loopback name, and of our own page.

    Without keys everybody who gets here is an administrator. The Host counts, since DNS may give any name this
    machine's address, and so do the traces of a proxy, since everybody behind one has its address.
    """
    peer = scope["client"][0] if scope.get("client") else ""
    headers = Headers(scope=scope)
    host = host_of(headers.get("host", ""))
    if not is_loopback(peer) or host is None or not is_loopback(host[0]):
        raise Forbidden(
            "this service has no API keys, so it answers this machine only, under a loopback name; "
            f"make a key with: attune keys create (the Host is {headers.get('host', '')[:100]!r})"
        )
    names = [name.replace("_", "-") for name in headers]
    traces = [name for name in names if name in FORWARDING or name.startswith("x-forwarded-")]
    trace = f"the header {traces[0]}" if traces else "HTTP/1.0" if scope["http_version"] == "1.0" else None
    if trace is not None:
        raise Forbidden(
            f"this service has no API keys, and {trace} shows a proxy in front, whose users are all strangers; "
            "make a key with: attune keys create",
            code="proxy_without_keys",
        )
    if is_cross_site(headers, origins):
        raise Forbidden(_cross_site_reason(headers), code="cross_site")


def _cross_site_reason(headers: Headers) -> str:
    origin = headers.get("origin")
    if origin is None:
        return f"a page of another site may not send this (Sec-Fetch-Site: {headers['sec-fetch-site'][:40]})"
    return (
        f"a page of {origin[:100]} may not send this to {headers.get('host', '')[:100]!r}: "
        f"list that origin in the setting origins, or let the proxy in front pass on the Host header"
    )


def _check_content_type(headers: Headers, path: str) -> None:
    """Raise UnsupportedMediaType for a body that is not JSON. HTML forms cannot send JSON."""
    allowed = JSON + JSON_LINES if path == IMPORT_PATH else JSON
    given = headers.getlist("content-type")
    has_body = headers.get("content-length", "").strip("0 ") != "" or "transfer-encoding" in headers
    if not given and not has_body:
        return
    kind = given[0].partition(";")[0].strip().lower() if len(given) == 1 else ", ".join(given)
    if kind not in allowed:
        shown = f"not {kind[:100]!r}" if given else "and this request has no Content-Type"
        raise UnsupportedMediaType(f"the body must be {' or '.join(allowed[:2])}, {shown}")
