"""A backend that sends nonsense: 502 at once, the breaker counts it, and what came before is kept as an error."""

import json
import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from service.backend_stream import MOST_BYTES
from store.completions import get_completion
from tests.service.running import Running, running

GOOD: dict[str, Any] = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
MODELS = json.dumps({"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": "x"}]})


def chunk(content: Any = "Good ", finish: Any = None, **choice: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish, **choice}
    return f"data: {json.dumps({**GOOD, 'choices': [choice]})}\n\n".encode()


@dataclass
class Script:
    """What the backend sends for an answer, and for its list of models."""

    body: list[bytes] = field(default_factory=list)
    kind: str = "text/event-stream"
    headers: dict[str, str] = field(default_factory=dict)
    models: str = MODELS
    models_kind: str = "application/json"
    hangs: bool = False
    asked: int = 0


class Nonsense(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        self.script = Script()
        self.ended = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader that has read enough is no error."""


class _Handler(BaseHTTPRequestHandler):
    server: Nonsense

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        self._head(self.server.script.models_kind, {})
        self.wfile.write(self.server.script.models.encode())

    def do_POST(self) -> None:
        script = self.server.script
        script.asked += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        self._head(script.kind, script.headers)
        for part in script.body:
            self.wfile.write(part)
            self.wfile.flush()
        if script.hangs:
            self.server.ended.wait(60)

    def _head(self, kind: str, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in {"Content-Type": kind, **headers}.items():
            self.send_header(name, value)
        self.end_headers()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Running, Nonsense], None, None]:
    with Nonsense() as backend:
        threading.Thread(target=backend.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{backend.server_port}"
        with running(tmp_path_factory.mktemp("data") / "data", compare=(f"odd={url}",)) as served:
            yield served, backend
        backend.ended.set()
        backend.shutdown()


def ask(both: tuple[Running, Nonsense], script: Script, **more: Any) -> Any:
    """Ask for an answer with the circuit closed."""
    served, backend = both
    backend.script = script
    served.service.backends["odd"].breaker.succeeded()
    body = {"model": "odd", "messages": [{"role": "user", "content": "Hello!"}], **more}
    return served.http.post("/v1/chat/completions", json=body, timeout=20)


def newest_rows(served: Running, count: int) -> list[dict[str, Any]]:
    """Return the newest completions, those under way to the disk included."""
    served.service.records.submit(lambda db: None).result(10)
    with served.db() as db:
        rows = db.query("SELECT text, finish_reason FROM completions ORDER BY rowid DESC LIMIT ?", [count])
        return list(rows)


def failures(both: tuple[Running, Nonsense]) -> int:
    return both[0].service.backends["odd"].breaker._failures


NONSENSE: dict[str, tuple[list[bytes], str]] = {
    "a line that is no JSON": ([chunk(), b"data: {oops\n\n"], "no answer can be read"),
    "a delta of null": ([chunk(), chunk(delta=None)], "delta is None"),
    "a delta that is text": ([chunk(), chunk(delta="hey")], "delta is 'hey'"),
    "choices of null": ([chunk(), f"data: {json.dumps({**GOOD, 'choices': None})}\n\n".encode()], "choices are None"),
    "choices that are no list": (
        [chunk(), f"data: {json.dumps({**GOOD, 'choices': {'a': 1}})}\n\n".encode()],
        "choices are {'a': 1}",
    ),
    "a choice of null": ([chunk(), f"data: {json.dumps({**GOOD, 'choices': [None]})}\n\n".encode()], "delta is None"),
    "content that is a list": ([chunk(), chunk([{"type": "text"}])], "content is ["),
    "content that is a number": ([chunk(), chunk(12)], "content is 12"),
    "a list in place of a chunk": ([chunk(), b"data: [1, 2]\n\n"], "does not answer"),
    "text in place of a chunk": ([chunk(), b'data: "hello"\n\n'], ""),
    "a finish that nobody knows": ([chunk(), chunk("", "banana")], "finish_reason 'banana'"),
    "a finish that is no text": ([chunk(), chunk("", 7)], "finish_reason 7"),
    "a stream cut before its finish": ([chunk()], "ended its stream before"),
    "the end mark without a finish": ([chunk(), b"data: [DONE]\n\n"], "ended its stream before"),
    "half a character": ([chunk(), b'data: {"choices": [{"delta": {"content": "\\ud800"}}]}\n\n'], "half a character"),
    "bytes that are no UTF-8": ([chunk(), b"data: {\xff\xfe}\n\n"], "no answer can be read"),
    "JSON nested without end": ([chunk(), b"data: " + b"[" * 200_000 + b"\n\n"], "no answer can be read"),
    "an error of another shape": ([chunk(), b'data: {"error": 500}\n\n'], ""),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_a_502_and_a_failure_and_what_came_before_is_kept(
    name: str, both: tuple[Running, Nonsense]
) -> None:
    served, _ = both
    body, reason = NONSENSE[name]
    answer = ask(both, Script(body))
    assert answer.status_code == 502, answer.text
    error = answer.json()["error"]
    assert error["code"] == "backend_down"
    assert "'odd'" in error["message"]
    assert reason in error["message"]
    assert len(error["message"]) < 700
    assert failures(both) == 1
    (row,) = newest_rows(served, 1)
    assert (row["text"], row["finish_reason"]) == ("Good ", "error")


HTML = b"<html><body>" + b"<p>Sign in</p>" * 500


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (Script([HTML], "text/html; charset=utf-8"), "it sent text/html"),
        (Script([HTML], ""), "something without a content type"),
        (Script([b'{"choices": [{"message": {"content": "hi"}}]}'], "application/json"), "it sent application/json"),
        (Script([HTML]), "ended its stream before"),
        (Script([]), "ended its stream before"),
        (Script([b"\x1f\x8b" + b"\x00" * 99], headers={"Content-Encoding": "gzip"}), "compressed"),
    ],
)
def test_no_stream_at_all_is_a_502_and_stores_nothing(
    script: Script, reason: str, both: tuple[Running, Nonsense]
) -> None:
    served, _ = both
    with served.db() as db:
        before = db.table("completions").count
    answer = ask(both, script)
    assert answer.status_code == 502, answer.text
    assert reason in answer.json()["error"]["message"]
    assert failures(both) == 1
    with served.db() as db:
        assert db.table("completions").count == before


@pytest.mark.parametrize(
    ("models", "kind"),
    [
        ("<html>hello</html>", "text/html"),
        ('{"data": null}', "application/json"),
        ('{"data": [{"id": null}]}', "application/json"),
        ('{"data": ["m"]}', "application/json"),
        ("[]", "application/json"),
        ("{", "application/json"),
        ('{"data": []}', "application/json"),
    ],
)
def test_a_list_of_models_that_is_none_is_a_502(models: str, kind: str, both: tuple[Running, Nonsense]) -> None:
    both[0].service.backends["odd"]._model = None
    answer = ask(both, Script(models=models, models_kind=kind))
    assert answer.status_code == 502, answer.text
    assert failures(both) == 1
    assert both[1].script.asked == 0


def test_a_stream_ends_with_the_error_as_its_last_event(both: tuple[Running, Nonsense]) -> None:
    answer = ask(both, Script([chunk(), b"data: {oops\n\n"]), stream=True)
    events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert "Good " in answer.text
    assert json.loads(events[-1])["error"]["code"] == "backend_down"
    assert '"finish_reason":"stop"' not in answer.text.replace(" ", "")


def test_after_its_finish_nothing_is_waited_for(both: tuple[Running, Nonsense]) -> None:
    answer = ask(both, Script([chunk(), chunk("day", "stop"), chunk("and more")], hangs=True))
    assert answer.json()["choices"][0]["message"]["content"] == "Good day"
    assert failures(both) == 0


def test_an_empty_finish_is_no_end(both: tuple[Running, Nonsense]) -> None:
    answer = ask(both, Script([chunk("Good ", ""), chunk("day", ""), chunk("", "stop")])).json()["choices"][0]
    assert (answer["message"]["content"], answer["finish_reason"]) == ("Good day", "stop")


@pytest.mark.parametrize(
    ("finish", "ours"), [("eos_token", "stop"), ("length", "length"), ("content_filter", "content_filter")]
)
def test_known_ends_are_ends(finish: str, ours: str, both: tuple[Running, Nonsense]) -> None:
    assert ask(both, Script([chunk(), chunk(None, finish)])).json()["choices"][0]["finish_reason"] == ours


def test_usage_and_comments_and_roles_are_no_nonsense(both: tuple[Running, Nonsense]) -> None:
    usage = f"data: {json.dumps({**GOOD, 'choices': [], 'usage': {'total_tokens': 3}})}\n\n".encode()
    role = f"data: {json.dumps({**GOOD, 'choices': [{'index': 0, 'delta': {'role': 'assistant'}}]})}\n\n".encode()
    answer = ask(both, Script([b": a comment\n\n", role, usage, chunk(), chunk("day", "stop"), usage]))
    assert answer.json()["choices"][0]["message"]["content"] == "Good day"


def test_an_endless_line_and_an_endless_text_are_cut(
    both: tuple[Running, Nonsense], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.backend_stream.MOST_BYTES", 2**20)
    line = ask(both, Script([chunk(), b"data: ", *[b"x" * 2**16] * 40]))
    assert (line.status_code, "MiB for one answer" in line.json()["error"]["message"]) == (502, True)
    monkeypatch.setattr("service.backend_answer.MOST_CHARACTERS", 1000)
    text = ask(both, Script([chunk("y" * 90)] * 12))
    assert (text.status_code, "more than 1000 characters" in text.json()["error"]["message"]) == (502, True)
    assert MOST_BYTES == 64 * 2**20


def test_a_backend_of_nonsense_is_given_a_rest(both: tuple[Running, Nonsense]) -> None:
    served, backend = both
    ask(both, Script([HTML], "text/html"))
    body = {"model": "odd", "messages": [{"role": "user", "content": "Hello!"}]}
    for _ in range(6):
        last = served.http.post("/v1/chat/completions", json=body)
    assert "times in a row" in last.json()["error"]["message"]
    assert backend.script.asked == 5


def test_a_comparison_goes_on_without_it(both: tuple[Running, Nonsense]) -> None:
    served, backend = both
    backend.script = Script([chunk(), chunk(delta=None)])
    served.service.backends["odd"].breaker.succeeded()
    body = {"messages": [{"role": "user", "content": "Hello!"}], "models": ["odd", "attune"]}
    asked = served.http.post("/v1/comparisons", json=body).json()
    assert asked["missing"] == ["odd"]
    assert {get_model(served, side["completion_id"]) for side in asked["candidates"]} == {"local"}


def get_model(served: Running, completion_id: str) -> str:
    with served.db() as db:
        return get_completion(db, completion_id).backend


def test_of_several_choices_the_one_that_failed_is_the_error(both: tuple[Running, Nonsense]) -> None:
    served, _ = both
    answer = ask(both, Script([chunk(), b"data: {oops\n\n"]), n=2)
    assert answer.status_code == 502
    ends = {row["finish_reason"] for row in newest_rows(served, 2)}
    assert "error" in ends
    assert ends <= {"cancelled", "error"}
