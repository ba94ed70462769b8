"""Without keys nobody but this machine is let in: not by a name, a page of another site, a form or a proxy."""

from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from starlette.datastructures import Headers

from service.addresses import host_of, is_loopback, network_of
from service.app import ROUTERS
from service.door import SAFE_METHODS, is_cross_site
from service.errors import CannotStart
from service.http.caller_checks import caller_checks
from service.origins import check_origin
from service.settings import load_settings
from store.api_keys import make_key
from tests.service.raw_http import connected, exchange, get, parsed, until_closed
from tests.service.running import Running, running

OURS = ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:8000", "127.8.8.8:1", "[::1]", "[::1]:8000"]
OURS += ["[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]:80"]
OTHER_HOSTS = [
    "127.attacker.example",
    "127.0.0.1.nip.io",
    "127.0.0.1.",
    "localhost.",
    "localhost.attacker.example",
    "localhost@attacker.example",
    "attacker.example#localhost",
    "attacker.example:8000",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "127.1",
    "127.0.1",
    "0.0.0.0",
    "0",
    "[::]",
    "::1",
    "[::1%25lo]",
    "[::1",
    "[fe80::1]:80",
    "192.168.1.5",
    "127.0.0.1:80:80",
    "127.0.0.1:99999",
    "127.0.0.1:",
    "127.0.0.1, attacker.example",
    "127.0.0.1/..",
    " ",
    "",
    "%31%32%37.0.0.1",
    "127\xb70\xb70\xb71",
]
FORWARDED = [
    "Forwarded: for=203.0.113.7",
    "X-Forwarded-For: 203.0.113.7",
    "X-Forwarded-For: 127.0.0.1",
    "X-Forwarded-Host: localhost",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Server: proxy",
    "X-Forwarded-Anything:",
    "X-Real-IP: 203.0.113.7",
    "Via: 1.1 proxy",
    "X-Client-IP: 203.0.113.7",
    "CF-Connecting-IP: 203.0.113.7",
    "True-Client-IP: 203.0.113.7",
    "X_Forwarded_For: 203.0.113.7",
]
BROWSERS = [
    {"Origin": "https://attacker.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://127.0.0.1.attacker.example"},
    {"Origin": "{own}.attacker.example"},
    {"Origin": "{own}@attacker.example"},
    {"Origin": "{own}/"},
    {"Origin": "{own}:80"},
    {"Origin": "file://"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "unheard-of"},
    {"Origin": "{own}", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "https://attacker.example", "Sec-Fetch-Site": "same-origin"},
]
FORMS = [
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/plain",
    "text/plain; application/json",
    "application/json, text/plain",
    "text/json",
    "application/jsonp",
    "application/json+x",
    "; application/json",
    "*/*",
    "application/xml",
]


def orders(served: Running) -> list[tuple[str, str]]:
    """Return every route with an unsafe method."""
    filled = {"version": "0", "number": "0"}
    routes = []
    for path, methods in served.http.get("/openapi.json").json()["paths"].items():
        for name in methods:
            if name.upper() not in SAFE_METHODS:
                for parameter in [part[1:-1] for part in path.split("/") if part.startswith("{")]:
                    path = path.replace(f"{{{parameter}}}", filled.get(parameter, "1"))
                routes.append((name.upper(), path))
    assert ("POST", "/v1/learner/pause") in routes
    return routes


@pytest.mark.parametrize("host", OURS)
def test_loopback_addresses_and_localhost_are_ours(shared: Running, host: str) -> None:
    assert exchange(shared.url, get("/v1/models", host=host)).status == 200


@pytest.mark.parametrize("host", OTHER_HOSTS)
def test_no_other_name_is_ours_whatever_it_begins_with(shared: Running, host: str) -> None:
    response = exchange(shared.url, get("/v1/models", host=host))
    assert response.status in (400, 403)
    assert response.error["message"]


def test_a_request_has_one_host(shared: Running) -> None:
    for request in (get("/v1/models", host=None), get("/v1/models", "Host: attacker.example")):
        response = exchange(shared.url, request)
        assert (response.status, response.error["code"]) == (400, "invalid_host")
    for target in ("http://attacker.example/v1/models", "attacker.example/v1/models", "http://127.0.0.1/v1/models"):
        assert exchange(shared.url, get(target)).status == 400


@pytest.mark.parametrize("line", FORWARDED)
def test_strangers_behind_a_proxy_are_no_administrators(shared: Running, line: str) -> None:
    response = exchange(shared.url, get("/v1/raters", line))
    assert (response.status, response.error["code"]) == (403, "proxy_without_keys")
    assert "attune keys create" in response.error["message"]


def test_http_1_0_shows_a_proxy_too(shared: Running) -> None:
    # nginx speaks it to the service, and by default sends nothing else that shows it
    assert exchange(shared.url, get("/v1/raters", version="1.0")).error["code"] == "proxy_without_keys"


def test_with_keys_a_proxy_may_stand_in_front(served: Running) -> None:
    with served.db() as db:
        _, secret = make_key(db, "somebody", ("admin",))
    for line in FORWARDED:
        key = f"Authorization: Bearer {secret}"
        assert exchange(served.url, get("/v1/raters", line, key, host="attune.example")).status == 200
        assert exchange(served.url, get("/v1/raters", line, host="attune.example")).status == 401


@pytest.mark.parametrize("headers", BROWSERS, ids=str)
def test_a_page_of_another_site_gives_no_orders(shared: Running, headers: dict[str, str]) -> None:
    sent = {name: value.replace("{own}", shared.url) for name, value in headers.items()}
    for method, path in orders(shared):
        response = shared.http.request(method, path, headers=sent)
        assert (response.status_code, response.json()["error"]["code"]) == (403, "cross_site"), path
    for path in ("/v1/events", "/v1/export", "/v1/versions/0/samples"):  # without keys they cannot even be asked for
        response = shared.http.get(path, headers=sent)
        assert (response.status_code, response.json()["error"]["code"]) == (403, "cross_site"), path
    assert shared.http.get("/", headers=sent).status_code == 200  # a link to the page


def test_our_own_page_and_programs_do(shared: Running) -> None:
    for own in (
        {"Origin": shared.url, "Sec-Fetch-Site": "same-origin"},
        {"Origin": shared.url},
        {"Sec-Fetch-Site": "none"},
        {},
    ):
        assert shared.http.post("/v1/learner/pause", headers=own).status_code == 202


def test_our_page_sends_its_origin_to_us_alone(shared: Running) -> None:
    page = shared.http.get("/")
    assert page.headers["Referrer-Policy"] == "same-origin"  # no-referrer would make the page's own Origin "null"
    assert '<meta name="referrer" content="same-origin">' in page.text


def test_with_keys_a_page_of_another_site_needs_to_be_named_too(tmp_path: Path) -> None:
    with running(tmp_path / "data", origins=("https://chat.example",)) as served:
        with served.db() as db:
            _, secret = make_key(db, "somebody", ("admin", "chat"))
        key = {"Authorization": f"Bearer {secret}", "Sec-Fetch-Site": "cross-site"}
        for origin, status in (("https://attacker.example", 403), ("https://chat.example", 202)):
            assert served.http.post("/v1/learner/pause", headers={**key, "Origin": origin}).status_code == status, (
                origin
            )


@pytest.mark.parametrize("kind", FORMS)
def test_no_route_takes_a_form(shared: Running, kind: str) -> None:
    for method, path in orders(shared):
        for body in (b"", b"a=1", b'{"a": 1}'):
            response = shared.http.request(method, path, content=body, headers={"Content-Type": kind})
            assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_media_type"), path


def test_a_body_needs_the_content_type_of_json(shared: Running) -> None:
    body = b'{"model": "attune", "messages": [{"role": "user", "content": "Hello!"}]}'
    for kind, status in (
        (None, 415),
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        ("application/x-ndjson", 415),
    ):
        headers = {"Content-Type": kind} if kind else {}
        assert shared.http.post("/v1/chat/completions", content=body, headers=headers).status_code == status
    for kind, status in ((None, 415), ("application/x-ndjson", 200), ("application/json", 200)):
        headers = {"Content-Type": kind} if kind else {}
        assert shared.http.post("/v1/import", content=b"[]", headers=headers).status_code == status
    twice = [("Content-Type", "application/json"), ("Content-Type", "text/plain")]
    assert shared.http.post("/v1/import", content=b"[]", headers=twice).status_code == 415


def test_who_calls_is_asked_before_the_body_is_read(served: Running) -> None:
    """Each request here announces a body that never comes, of any size: a service that waits for it hangs."""
    with served.db() as db:
        _, secret = make_key(db, "somebody", ("chat",))
    for method, path in orders(served):
        for key in ("", "Authorization: Bearer at-wrong\r\n", f"Authorization: Bearer {secret}\r\n"):
            if secret in key and path in ("/v1/chat/completions", "/v1/completions", "/v1/comparisons"):
                continue
            for length in (9, 10**9):
                with connected(served.url) as connection:
                    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{key}Content-Type: application/json\r\n"
                    connection.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode())
                    status = parsed(connection.recv(65536)).status
                # own conversations may be deleted with the scope chat, and no body is read for that
                assert status in ((401,) if secret not in key else (403, 404)), (method, path, key)


def test_a_body_over_the_limit_is_refused_before_it_comes(shared: Running) -> None:
    with connected(shared.url) as connection:
        head = "POST /v1/feedback HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Expect: 100-continue\r\nContent-Length: {10**9}\r\n\r\n".encode())
        response = parsed(connection.recv(65536))
    assert (response.status, response.error["code"]) == (413, "body_too_large")


def test_every_route_that_takes_a_body_asks_who_calls(shared: Running) -> None:
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    assert len(routes) > 30
    for route in routes:
        asked = caller_checks(route.dependant)
        assert asked or route.methods <= set(SAFE_METHODS), f"{route.path} asks its caller for no scope, or only late"


def test_other_sites_load_nothing_of_ours_as_a_script(shared: Running) -> None:
    for path in ("/v1/models", "/healthz", "/", "/v1/nothing"):
        headers = shared.http.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in headers


def test_cors_is_for_the_origins_of_the_settings(tmp_path: Path, shared: Running) -> None:
    asked = {
        "Origin": "https://chat.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type, x-attune-rater, x-stainless-os",
    }
    assert shared.http.options("/v1/chat/completions", headers=asked).status_code == 405
    assert "Access-Control-Allow-Origin" not in shared.http.get("/v1/models", headers=asked).headers
    with running(tmp_path / "data", origins="https://chat.example http://localhost:3000/") as served:
        allowed = served.http.options("/v1/chat/completions", headers=asked)
        assert (allowed.status_code, allowed.headers["Access-Control-Allow-Origin"]) == (200, asked["Origin"])
        assert "x-stainless-os" in allowed.headers["Access-Control-Allow-Headers"]
        assert "Access-Control-Allow-Credentials" not in allowed.headers
        response = served.http.post(
            "/v1/chat/completions",
            json={"model": "attune", "messages": [{"role": "user", "content": "Hello!"}]},
            headers={"Origin": "http://localhost:3000", "Sec-Fetch-Site": "cross-site"},
        )
        assert response.status_code == 200
        assert "X-Attune-Version" in response.headers["Access-Control-Expose-Headers"]
        for origin in ("https://attacker.example", "null", "https://chat.example.attacker.example"):
            refused = served.http.options("/v1/chat/completions", headers={**asked, "Origin": origin})
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "cross_site")
            assert "Access-Control-Allow-Origin" not in refused.headers
        missing = served.http.get("/v1/models/none", headers={"Origin": "https://chat.example"})
        assert (missing.status_code, missing.headers["Access-Control-Allow-Origin"]) == (404, "https://chat.example")


def test_an_origin_of_the_settings_is_an_origin() -> None:
    assert check_origin("HTTPS://Chat.Example:443/") == "https://chat.example"
    assert check_origin("http://localhost:3000") == "http://localhost:3000"
    assert check_origin("app://obsidian.md") == "app://obsidian.md"
    for wrong in ("*", "null", "chat.example", "https://chat.example/path", "https://*.chat.example", "https://a@b"):
        with pytest.raises(CannotStart, match="origins"):
            load_settings({"origins": (wrong,)})


def test_head_is_get_without_the_body(shared: Running) -> None:
    for path in ("/", "/health", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/static/index.html"):
        assert shared.http.head(path).status_code == shared.http.get(path).status_code == 200, path
    for path in ("/v1/models", "/v1/learner", "/v1/export", "/v1/events", "/v1/raters"):
        response = exchange(shared.url, get(path, method="HEAD"))
        assert (response.status, response.body) == (200, b""), path
    models = shared.http.get("/v1/models")
    assert shared.http.head("/v1/models").headers["Content-Length"] == models.headers["Content-Length"]
    assert shared.http.head("/v1/models/none").status_code == 404
    assert shared.http.head("/v1/import").status_code == 405
    assert shared.service.event_streams.open == {}
    for _ in range(3):  # on one connection
        assert until_closed_after(shared, b"HEAD /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n") == 2


def until_closed_after(served: Running, request: bytes) -> int:
    """Send a request twice on one connection, then one that ends it; return how many of the first two are 200."""
    with connected(served.url) as connection:
        connection.sendall(request * 2 + get("/none"))
        return until_closed(connection).count(b"HTTP/1.1 200 OK")


def test_a_slash_too_many_redirects_nobody_to_plain_http(shared: Running) -> None:
    for method, path in (("GET", "/v1/models/"), ("POST", "/v1/chat/completions/"), ("GET", "/docs/")):
        response = shared.http.request(method, path)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_url"), path


def test_health_is_healthz(shared: Running) -> None:
    assert shared.http.get("/health").json() == shared.http.get("/healthz").json() == {"status": "alive"}


def test_addresses() -> None:
    assert [host for host in OURS if not is_loopback((host_of(host) or ("", None))[0])] == []
    assert host_of("[2001:DB8::1]:80") == ("2001:db8::1", 80)
    assert network_of("192.0.2.7") == network_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert network_of("2001:db8:1:2:3::1") == network_of("2001:db8:1:2::9") != network_of("2001:db8:1:3::9")


def test_a_proxy_that_ends_tls_changes_the_scheme_alone() -> None:
    headers = Headers({"host": "chat.example", "origin": "https://chat.example"})
    assert not is_cross_site(headers, ())
    assert is_cross_site(Headers({"host": "chat.example", "origin": "https://chat.example:8443"}), ())
    assert not is_cross_site(Headers({"host": "chat.example:8443", "origin": "https://chat.example:8443"}), ())
