"""What makes the service send requests: its settings alone, never to a cloud's metadata, a redirect or itself."""

import asyncio
import contextlib
import ipaddress
import json
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from policy.runners import destinations
from policy.runners.destinations import ForbiddenAddress, check_address, check_url, guarded_client
from service.errors import CannotStart
from service.serving import run
from service.settings import load_settings
from tests.service.raw_http import exchange, get
from tests.service.running import Running, running

METADATA = "latest/meta-data/iam/security-credentials/"
FORBIDDEN = [
    f"http://169.254.169.254/{METADATA}",
    f"http://169.254.169.254:80/{METADATA}",
    f"http://[::ffff:169.254.169.254]/{METADATA}",
    f"http://[::ffff:a9fe:a9fe]/{METADATA}",
    f"http://[::169.254.169.254]/{METADATA}",
    f"http://[64:ff9b::a9fe:a9fe]/{METADATA}",
    f"http://[2002:a9fe:a9fe::1]/{METADATA}",
    f"http://2852039166/{METADATA}",
    f"http://0xa9fea9fe/{METADATA}",
    f"http://0251.0376.0251.0376/{METADATA}",
    f"http://169.254.43518/{METADATA}",
    f"http://169.254.169.254./{METADATA}",
    f"http://\uff11\uff16\uff19.254.169.254/{METADATA}",
    f"http://169\u3002254\u3002169\u3002254/{METADATA}",
    f"http://%31%36%39.254.169.254/{METADATA}",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://METADATA.google.internal./computeMetadata/v1/",
    "http://[fd00:ec2::254]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://100.100.100.200/",
    "http://168.63.129.16/",
    "http://0.0.0.0:8001",
    "http://0:8001",
    "http://[::]:8001",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://user:secret@127.0.0.1:8001",
    "http://127.0.0.1:8001@169.254.169.254/",
    "http://127.0.0.1\\@169.254.169.254/",
    "http://127.0.0.1:99999",
    "http://",
    "http:///v1",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_INFO",
    "//127.0.0.1:8001",
]
ALLOWED = ["http://127.0.0.1:8001", "http://[::1]:8001/v1", "http://localhost:8001", "http://10.0.0.7:8000"]
ALLOWED += ["https://api.openai.com/v1", "http://vllm:8000", "http://my_box.local", "http://[fd00::7]:8000"]
ASK = {"model": "backend", "messages": [{"role": "user", "content": "Hello!"}]}


class Canary:
    """A server that nobody may ask; it notes who does, and redirects if it has somewhere to point to."""

    def __init__(self, points_to: str | None = None, status: int = 302) -> None:
        self.asked: list[str] = []
        canary = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                canary.asked.append(f"{self.command} {self.path}")
                self.send_response(status if points_to else 200)
                self.send_header("Content-Length", "0")
                if points_to:
                    self.send_header("Location", points_to + self.path)
                self.end_headers()

            do_POST = do_HEAD = do_PUT = do_GET

            def log_message(self, *parts: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def canary(points_to: str | None = None, status: int = 302) -> Generator[Canary, None, None]:
    bird = Canary(points_to, status)
    threading.Thread(target=bird.server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield bird
    finally:
        bird.server.shutdown()
        bird.server.server_close()


@pytest.mark.parametrize("url", FORBIDDEN)
def test_no_setting_points_to_a_metadata_service_or_hides_where_it_points(url: str) -> None:
    with pytest.raises(ValueError):
        check_url(url)
    for flags in ({"compare": (f"backend={url}",)}, {"vllm": url}):
        with pytest.raises(CannotStart, match="compare|vllm"):
            load_settings(flags)


@pytest.mark.parametrize("url", ALLOWED)
def test_model_servers_are_on_this_machine_the_network_or_the_web(url: str) -> None:
    assert load_settings({"compare": (f"backend={url}",), "vllm": url}).backends == {"backend": url}


def test_every_form_of_an_address_counts_as_itself() -> None:
    for text in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "10.1.2.3", "fd12::1", "8.8.8.8", "2606:4700::1111"):
        check_address(ipaddress.ip_address(text))
    for text in ("169.254.0.1", "::ffff:169.254.0.1", "2002:a9fe:a9fe::", "64:ff9b::a9fe:a9fe", "ff02::1", "240.0.0.1"):
        with pytest.raises(ForbiddenAddress):
            check_address(ipaddress.ip_address(text))


def test_a_backend_that_redirects_is_down_and_nobody_follows(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(canary())
        backends = {
            f"by{status}": stack.enter_context(canary(target.url, status)) for status in (301, 302, 303, 307, 308)
        }
        urls = tuple(f"{name}={backend.url}" for name, backend in backends.items())
        served = stack.enter_context(running(tmp_path / "data", compare=urls))
        for name, backend in backends.items():
            response = served.http.post("/v1/chat/completions", json={**ASK, "model": name})
            assert (response.status_code, response.json()["error"]["code"]) == (502, "backend_down")
            assert backend.asked
        assert target.asked == []


class Dns:
    """Names that mean what a test wants, and how often they were looked up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **names: list[str]) -> None:
        self.asked: list[str] = []
        real = destinations.addresses_of

        async def look_up(host: str, port: int) -> list[Any]:
            self.asked.append(host)
            found = names.get(host.replace(".", "_"))
            return [ipaddress.ip_address(text) for text in found] if found else await real(host, port)

        monkeypatch.setattr(destinations, "addresses_of", look_up)


async def ask(url: str) -> int:
    """Send one request as the service sends all of its own, and return the status."""
    async with guarded_client(url, limits=httpx.Limits()) as http:
        return (await http.post(url + "/v1/x", json={"a": 1})).status_code


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "::ffff:169.254.169.254", "0.0.0.0", "::", "fd00:ec2::254", "fe80::1", "224.0.0.1"]
)
def test_a_name_that_means_a_forbidden_address_is_not_asked(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Not even at its other address."""
    Dns(monkeypatch, rebound_example=["127.0.0.1", address])
    with canary() as bird:
        with pytest.raises(httpx.ConnectError, match="nothing is sent to rebound.example"):
            asyncio.run(ask(f"http://rebound.example:{bird.port}"))
        assert bird.asked == []


def test_a_backend_whose_name_changes_to_a_forbidden_address_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        canary() as bird,
        running(tmp_path / "data", compare=(f"backend=http://rebound.example:{bird.port}",)) as served,
    ):
        dns = Dns(monkeypatch, rebound_example=["169.254.169.254"])
        response = served.http.post("/v1/chat/completions", json=ASK)
        assert (response.status_code, response.json()["error"]["code"]) == (502, "backend_down")
        assert set(dns.asked) == {"rebound.example"}


def test_the_name_is_looked_up_once_and_the_answer_is_where_the_request_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    dns = Dns(monkeypatch, backend_example=["::1", "127.0.0.1"])
    with canary() as bird:
        assert asyncio.run(ask(f"http://backend.example:{bird.port}")) == 200  # ::1 refuses, 127.0.0.1 answers
        assert (dns.asked, bird.asked) == (["backend.example"], ["POST /v1/x"])


def test_the_service_is_no_backend_of_itself(tmp_path: Path) -> None:
    for url in ("http://127.0.0.1:8123", "http://localhost:8123/v1", "http://[::1]:8123", "http://127.8.8.8:8123"):
        for flags in ({"compare": (f"me={url}",)}, {"vllm": url}):
            with pytest.raises(CannotStart, match="this service itself"):
                run({"data": tmp_path, "port": 8123, "no_learner": True, **flags}, None)


def test_no_request_makes_the_service_ask_anybody(shared: Running) -> None:
    """URLs wherever a request may carry text; the server that they name hears nothing."""
    with canary() as bird:
        url = bird.url
        image = [{"type": "image_url", "image_url": {"url": url}}]
        hello = [{"role": "user", "content": "Hello!"}]
        record = {
            "id": "1",
            "user_id": "u",
            "data": {"rating": 1},
            "meta": {"base_models": url},
            "files": [{"url": url}],
        }
        record["snapshot"] = {
            "chat": {"chat": {"messages": [{"role": "user", "content": url, "files": [{"url": url}]}]}}
        }
        bodies: list[tuple[str, Any]] = [
            ("/v1/chat/completions", {"model": "attune", "messages": [{"role": "user", "content": image}]}),
            ("/v1/chat/completions", {"model": url, "messages": hello}),
            ("/v1/chat/completions", {"model": f"x={url}", "messages": hello}),
            ("/v1/chat/completions", {"model": "attune", "messages": hello, "metadata": {"webhook": url}}),
            ("/v1/chat/completions", {"model": "attune", "messages": hello, "base_url": url}),
            (
                "/v1/chat/completions",
                {"model": "attune", "messages": hello, "tools": [{"type": "mcp", "server_url": url}]},
            ),
            ("/v1/chat/completions", {"model": "attune", "messages": hello, "web_search_options": {"url": url}}),
            ("/v1/comparisons", {"messages": hello, "models": [url, "attune"]}),
            ("/v1/webhooks/open-webui", record),
            ("/v1/webhooks/open-webui", {"event": record, "url": url}),
            ("/v1/import", [{"prompt": hello, "completion": url, "image": url}, record, {"$ref": url}]),
            ("/v1/feedback", {"completion_id": url, "thumb": "up", "metadata": {"url": url}}),
        ]
        for path, body in bodies:
            assert shared.http.post(path, json=body).status_code < 500, (path, body)
        for request in (get(url + "/v1/models"), get("/v1/models", f"Referer: {url}"), get(f"/v1/models/{url}")):
            assert exchange(shared.url, request).status < 500
        described = json.dumps(shared.http.get("/openapi.json").json())
        assert bird.asked == []
    for name in ("callback", "webhook_url", "base_url", "endpoint", '"format": "uri"'):
        assert name not in described, f"a field {name} is a URL that is set over HTTP: check_url it, and test that"
