"""A small service with canned answers that follows the HTTP contract, for tests of the SDK and the command.

Tests reach it over real sockets. `fault` makes it fail, `seen` holds every request, and `reset` clears its state.
"""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Generator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

AT = "2026-01-02T03:04:05Z"
ANSWERS = {  # version 1 is brief, version 0 is not
    "Hello!": {0: "Well, hello to you, my dear friend!", 1: "Hello to you!"},
    "Tell me a joke.": {0: "There once was a goose who could not stop talking, and nor can I.", 1: "Knock, knock."},
    "What is 7 + 5?": {0: "I believe that it is **12**.", 1: "12"},
    "Show me code.": {1: "Here you are:\n\n```python\nprint('hi')\n```\n\n- one\n- two\n"},
}
TOO_SLOW = "Think for a long time."
ENGINE_ERROR = {
    "message": "The engine fell over.",
    "type": "server_error",
    "param": None,
    "code": "engine_failed",
}


@dataclass
class Fault:
    """One failure for the next request whose path contains `path`: a status, or a broken connection."""

    path: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    breaks: str = ""  # the connection breaks "before" or "after" the request is handled


@dataclass
class Seen:
    """One received request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class Refusal(Exception):
    """An error of the contract."""

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.body = (
            status,
            {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}},
        )


class FakeService:
    """The state behind the routes, and the server's thread."""

    def __init__(self, port: int = 0) -> None:
        self.reset()
        self.app = build_app(self)
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(
            uvicorn.Config(self.app, log_level="critical", timeout_graceful_shutdown=1, lifespan="off")
        )
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def reset(self) -> None:
        """Clear the state."""
        self.seen: list[Seen] = []
        self.faults: list[Fault] = []
        self.completions: dict[str, dict[str, Any]] = {}
        self.feedback: list[dict[str, Any]] = []
        self.keys: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
        self.comparisons: dict[str, dict[str, Any]] = {}
        self.live = 1
        self.states = {0: "retired", 1: "live", 2: "rejected"}
        self.learner_state = "running"
        self.waiting = 5
        self.is_verbose = False
        self.is_obeyed = True  # whether requests change the learner's state
        self.quarantined = {"spammer"}
        self.events = [
            (1, "feedback", {"feedback_id": "fb-0", "kind": "thumb"}),
            (2, "run.started", {"run_id": "run-1"}),
            (3, "version.live", {"version": 1, "previous": 0, "reason": "gate"}),
        ]
        self.break_events_after = 0  # end each stream of events after this many
        self.imported_before = False  # whether all rows of an import are known already
        self.cut_stream_after = 0  # break a streamed answer after this many deltas
        self.cancelled = 0  # count of streams that the reader left

    def fault(self, path: str, *, times: int = 1, **fault: Any) -> None:
        """Fail the next `times` requests to `path`."""
        self.faults += [Fault(path, **fault) for _ in range(times)]

    def requests(self, path: str) -> list[Seen]:
        """Return the received requests whose path contains `path`."""
        return [seen for seen in self.seen if path in seen.path]

    def __enter__(self) -> "FakeService":
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.01)
            assert self._thread.is_alive()
        return self

    def __exit__(self, *raised: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()

    # What the routes do

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer a chat."""
        model = body.get("model", "attune")
        if model == "other":
            number = None
        elif model == "attune":
            number = self.live
        elif model.removeprefix("attune@").isdigit() and int(model.removeprefix("attune@")) in self.states:
            number = int(model.removeprefix("attune@"))
        else:
            raise Refusal(404, f"There is no model {model!r}.", "model_not_found", "model")
        if body.get("temperature", 1) < 0:
            raise Refusal(422, "temperature: must be at least 0.", "invalid_value", "temperature")
        prompt = body["messages"][-1]["content"]
        text = ANSWERS.get(prompt, {}).get(number, f"[{number}] {prompt}")
        if self.is_verbose:  # version 0 is four times as long
            text = " ".join(["well"] * (8 if number == 0 else 2))
        completion_id = f"chatcmpl-{len(self.completions)}"
        logprobs = {"content": [_token(delta) for delta in _deltas(text)]} if body.get("logprobs") else None
        choices = [
            {
                "index": i,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
                "logprobs": logprobs,
            }
            for i in range(body.get("n", 1))
        ]
        count = len(_deltas(text))
        self.completions[completion_id] = {
            "id": completion_id,
            "object": "chat.completion",
            "created": 1,
            "model": model if number is None else f"attune@{number}",
            "choices": choices,
            "conversation_id": body.get("conversation_id") or "c1",
            "system_fingerprint": "d1",
            "usage": {"prompt_tokens": 5, "completion_tokens": count, "total_tokens": 5 + count},
            "a_new_field": {"of": "a newer service"},
        }
        return self.completions[completion_id]

    def add_feedback(self, rater: str, key: str | None, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Store feedback; return the status and the row."""
        if key and (rater, key) in self.keys:
            digest, row = self.keys[rater, key]
            if digest != json.dumps(body, sort_keys=True):
                raise Refusal(409, "This Idempotency-Key was used with another body.", "idempotency_conflict")
            return 200, row
        if body["completion_id"] not in self.completions:
            raise Refusal(404, f"There is no completion {body['completion_id']!r}.", "not_found", "completion_id")
        given = [name for name in ("thumb", "score", "correction", "preferred_over") if body.get(name) is not None]
        if len(given) != 1:
            raise Refusal(
                422, "Give exactly one of thumb, score, correction, preferred_over.", "invalid_value", "thumb"
            )
        if body.get("thumb") not in (None, "up", "down"):
            raise Refusal(422, f"thumb: {body['thumb']!r} is neither up nor down.", "invalid_value", "thumb")
        row = {
            "id": f"fb-{len(self.feedback) + 1}",
            "kind": {"preferred_over": "preference"}.get(given[0], given[0]),
            "created_at": AT,
            "rater": rater,
            **body,
        }
        self.feedback.append(row)
        if key:
            self.keys[rater, key] = json.dumps(body, sort_keys=True), row
        return 201, row

    def version(self, number: int) -> dict[str, Any]:
        """Return one row of the list of versions."""
        if number not in self.states:
            raise Refusal(404, f"There is no version {number}.", "not_found")
        rate = (
            {"win_rate": 0.6875, "win_rate_interval": [0.36, 0.9]}
            if number == 1
            else {"win_rate": None, "win_rate_interval": None}
        )
        return {
            "version": number,
            "state": self.states[number],
            "parent": None if number == 0 else 0,
            "digest": f"d{number}",
            "created_at": AT,
            "live_at": AT,
            "retired_at": None,
            "items": 16 * number,
            "algorithm": "mixed" if number else "base",
            "passed": number != 2,
            "loaded": number == self.live,
            "serving": number == self.live,
            "share": float(number == self.live),
            "answers": 10,
            "thumbs": {"up": 3, "down": 1},
            "comparisons": {"wins": 5, "losses": 2, "ties": 1},
            **rate,
        }

    def promote(self, number: int) -> dict[str, Any]:
        """Make a version live."""
        self.version(number)
        if self.states[number] == "rejected":
            raise Refusal(409, f"Version {number} is rejected and cannot go live.", "wrong_state")
        self.states[self.live], self.states[number] = "retired", "live"
        self.live = number
        return self.version(number)

    def learner(self) -> dict[str, Any]:
        """Return the learner's state."""
        run = {
            "id": "run-2",
            "algorithm": "mixed",
            "phase": "train",
            "step": 3,
            "steps": 8,
            "loss": 0.61,
            "metrics": {},
            "started_at": AT,
            "items": 16,
        }
        return {
            "state": self.learner_state,
            "waiting": self.waiting,
            "trigger": {"items": 16, "seconds": 20, "min_items": 4},
            "run": run if self.learner_state == "running" else None,
            "next_at": None,
            "live": self.live,
            "last_run": None,
            "heartbeat_at": AT,
            "seen": 21,
        }

    def rater(self, rater_id: str) -> dict[str, Any]:
        """Return one row of the list of raters."""
        return {
            "id": rater_id,
            "feedback": 3,
            "thumbs": {"up": 3, "down": 0},
            "trust": 0.9,
            "agreement": 0.8,
            "quarantined": rater_id in self.quarantined,
        }


def _deltas(text: str) -> list[str]:
    """Return the text that each chunk of a stream adds: up to the next space, with the space before it."""
    first, *others = text.split(" ")
    return [first, *(" " + other for other in others)]


def _token(delta: str) -> dict[str, Any]:
    top = [{"token": delta, "logprob": -0.5, "bytes": None}, {"token": "Hi", "logprob": -1.5, "bytes": None}]
    return {"token": delta, "logprob": -0.5, "bytes": None, "top_logprobs": top}


def build_app(service: FakeService) -> FastAPI:
    """Return an app with the routes of the contract."""
    app = FastAPI()

    @app.exception_handler(Refusal)
    async def refuse(request: Request, refusal: Refusal) -> JSONResponse:
        return JSONResponse(refusal.body, refusal.status, {"X-Request-Id": "req-7"})

    @app.middleware("http")
    async def watch(request: Request, call_next: Any) -> Response:
        raw = await request.body()
        with contextlib.suppress(ValueError):
            body = json.loads(raw) if raw else None
            service.seen.append(
                Seen(request.method, request.url.path, dict(request.query_params), dict(request.headers), body)
            )
        if len(service.seen) == 0 or service.seen[-1].path != request.url.path:
            service.seen.append(
                Seen(request.method, request.url.path, dict(request.query_params), dict(request.headers), raw)
            )
        try:
            _check_key(request)
        except Refusal as refusal:
            return await refuse(request, refusal)
        fault = next((fault for fault in service.faults if fault.path in request.url.path), None)
        if fault is None:
            return await call_next(request)
        service.faults.remove(fault)
        if fault.breaks == "after":
            await call_next(request)
        if fault.breaks:  # a body shorter than Content-Length: uvicorn closes the connection
            return Response(b"{", headers={"Content-Length": "100"}, media_type="application/json")
        body = (
            fault.body
            if fault.body is not None
            else {
                "error": {"message": f"Fault {fault.status}.", "type": "x", "param": None, "code": f"c{fault.status}"}
            }
        )
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return Response(content, fault.status, {"X-Request-Id": "req-7", **fault.headers})

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        body = await request.json()
        if body["messages"][-1]["content"] == TOO_SLOW:
            await asyncio.sleep(1.5)
        answer = service.complete(body)
        number = answer["model"].partition("@")[2]
        headers = {"X-Request-Id": "req-7", **({"X-Attune-Version": number} if number else {})}
        if body.get("stream"):
            return StreamingResponse(_chunks(service, body, answer), media_type="text/event-stream", headers=headers)
        return JSONResponse(answer, headers=headers)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        names = ["attune", *(f"attune@{number}" for number, state in service.states.items() if state != "rejected")]
        return {
            "object": "list",
            "data": [{"id": name, "object": "model", "created": 1, "owned_by": "attune"} for name in names],
        }

    @app.post("/v1/feedback")
    async def feedback(request: Request) -> JSONResponse:
        rater = request.headers.get("x-attune-rater", "local")
        status, row = service.add_feedback(rater, request.headers.get("idempotency-key"), await request.json())
        return JSONResponse(row, status, {"Idempotent-Replayed": "true"} if status == 200 else {})

    @app.get("/v1/feedback")
    async def list_feedback(
        cursor: int = 0, limit: int = 2, completion_id: str | None = None, rater: str | None = None
    ) -> dict[str, Any]:
        rows = [
            row
            for row in reversed(service.feedback)
            if completion_id in (None, row["completion_id"]) and rater in (None, row["rater"])
        ]
        return {
            "data": rows[cursor : cursor + limit],
            "next_cursor": str(cursor + limit) if cursor + limit < len(rows) else None,
        }

    @app.delete("/v1/feedback/{feedback_id}", status_code=204)
    async def retract(feedback_id: str) -> Response:
        if feedback_id not in [row["id"] for row in service.feedback]:
            raise Refusal(404, f"There is no feedback {feedback_id!r}.", "not_found")
        return Response(status_code=204)

    @app.post("/v1/comparisons", status_code=201)
    async def compare(request: Request) -> dict[str, Any]:
        body = await request.json()
        models = body.get("models") or ["attune@1", "attune@0"]
        answers = [
            service.complete({"model": model, "messages": body["messages"]}) for model in sorted(models, reverse=True)
        ]
        comparison_id = f"cmp-{len(service.comparisons)}"
        service.comparisons[comparison_id] = {
            label: answer["model"] for label, answer in zip("AB", answers, strict=True)
        }
        sides = [
            {"label": label, "completion_id": answer["id"], "content": answer["choices"][0]["message"]["content"]}
            for label, answer in zip("AB", answers, strict=True)
        ]
        return {"id": comparison_id, "candidates": sides}

    @app.post("/v1/comparisons/{comparison_id}/choice", status_code=201)
    async def choose(comparison_id: str, request: Request) -> dict[str, Any]:
        if comparison_id not in service.comparisons:
            raise Refusal(404, f"There is no comparison {comparison_id!r}.", "not_found")
        body = await request.json()
        if body["winner"] not in ("A", "B", "tie", "both_bad"):
            raise Refusal(422, f"winner: {body['winner']!r} is none of A, B, tie, both_bad.", "invalid_value", "winner")
        models = service.comparisons[comparison_id]
        return {
            "id": "fb-c",
            "kind": "choice",
            "comparison_id": comparison_id,
            "winner": body["winner"],
            "created_at": AT,
            "models": models,
        }

    @app.get("/v1/versions")
    async def versions() -> dict[str, Any]:
        return {"data": [service.version(number) for number in reversed(service.states)], "next_cursor": None}

    @app.post("/v1/versions/rollback")
    async def rollback(request: Request) -> dict[str, Any]:
        return service.promote((await request.json()).get("to") or 0)

    @app.get("/v1/versions/{number}")
    async def version(number: int) -> dict[str, Any]:
        passed = number != 2
        checks = [{"name": "held_out_gain", "value": 0.71 if passed else -0.41, "limit": ">= 0", "passed": passed}]
        gate = {
            "passed": passed,
            "checks": checks,
            "reasons": [] if passed else ["held_out_gain is -0.41, wanted >= 0"],
        }
        run = {"id": "run-1", "algorithm": "mixed", "seed": 0, "metrics": {"loss": 0.6}}
        return {
            **service.version(number),
            "gate": gate if number else None,
            "run": run if number else None,
            "manifest": {"digest": f"d{number}"},
        }

    @app.get("/v1/versions/{number}/feedback")
    async def version_feedback(number: int) -> dict[str, Any]:
        kinds = ["thumb", "choice"] if number else []
        return {
            "data": [{"id": f"fb-v{i}", "completion_id": "c", "kind": kind} for i, kind in enumerate(kinds)],
            "next_cursor": None,
        }

    @app.get("/v1/versions/{number}/samples")
    async def samples(number: int, against: int = 0) -> dict[str, Any]:
        asked = [{"role": "user", "content": "Hello!"}]
        return {
            "data": [{"messages": asked, "text": ANSWERS["Hello!"][number], "against": ANSWERS["Hello!"][against]}],
            "next_cursor": None,
        }

    @app.post("/v1/versions/{number}/promote")
    async def promote(number: int) -> dict[str, Any]:
        return service.promote(number)

    @app.get("/v1/learner")
    async def learner() -> dict[str, Any]:
        return service.learner()

    @app.post("/v1/learner/{order}")
    async def order(order: str) -> dict[str, Any]:
        if service.is_obeyed:
            service.learner_state = "paused" if order == "pause" else "running"
        return service.learner()

    @app.get("/v1/raters")
    async def raters() -> dict[str, Any]:
        return {"data": [service.rater("alice"), service.rater("spammer")], "next_cursor": None}

    @app.post("/v1/raters/{rater_id}/{order}")
    async def quarantine(rater_id: str, order: str) -> dict[str, Any]:
        is_quarantined = order == "quarantine"
        service.quarantined = service.quarantined | {rater_id} if is_quarantined else service.quarantined - {rater_id}
        return service.rater(rater_id)

    @app.delete("/v1/raters/{rater_id}")
    async def erase(rater_id: str) -> dict[str, Any]:
        if rater_id not in ("alice", "spammer"):
            raise Refusal(404, f"There is no rater {rater_id!r}.", "not_found")
        return {"rater": rater_id, "versions": [2], "feedback": 3, "completions": 4, "conversations": 1}

    @app.get("/v1/conversations")
    async def conversations() -> dict[str, Any]:
        return {"data": [{"id": "c1", "title": "Hello!", "created_at": AT, "updated_at": AT}], "next_cursor": None}

    @app.get("/v1/conversations/{conversation_id}")
    async def conversation(conversation_id: str) -> dict[str, Any]:
        if conversation_id != "c1":
            raise Refusal(404, f"There is no conversation {conversation_id!r}.", "not_found")
        asked = [{"role": "user", "content": "Hello!"}]
        answer = {
            "id": "chatcmpl-0",
            "choice": 0,
            "model": "attune@1",
            "messages": asked,
            "content": "Hello to you!",
            "feedback": [],
        }
        return {"id": "c1", "title": "Hello!", "created_at": AT, "updated_at": AT, "completions": [answer]}

    @app.delete("/v1/conversations/{conversation_id}", status_code=204)
    async def delete_conversation(conversation_id: str) -> Response:
        return Response(status_code=204)

    @app.get("/v1/export")
    async def export(format: str = "preference") -> Response:
        if format not in ("preference", "unpaired", "sft", "raw"):
            raise Refusal(422, f"format: {format!r} is unknown.", "invalid_value", "format")
        lines = [
            {"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"},
            {"prompt": "1 + 1?", "chosen": "2", "rejected": "3"},
        ]
        return Response("".join(json.dumps(line) + "\n" for line in lines), media_type="application/x-ndjson")

    @app.post("/v1/import")
    async def take_in(request: Request) -> dict[str, Any]:
        lines = [line for line in (await request.body()).splitlines() if line.strip()]
        here = len(lines) if service.imported_before else 0
        return {"imported": len(lines) - here, "skipped": here, "already_here": here, "errors": []}

    @app.get("/v1/events")
    async def events(request: Request, after: int | None = None) -> StreamingResponse:
        resumed = request.headers.get("last-event-id")
        return StreamingResponse(_events(service, int(resumed) if resumed else after), media_type="text/event-stream")

    @app.get("/healthz")
    async def healthz() -> dict[str, Any]:
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz() -> dict[str, Any]:
        return {"status": "ready", "version": service.live}

    return app


def _check_key(request: Request) -> None:
    key = request.headers.get("authorization", "").removeprefix("Bearer ")
    if key == "at-unknown":
        raise Refusal(401, "This API key is unknown or revoked.", "invalid_api_key")
    if key == "at-chat-only" and not request.url.path.startswith("/v1/chat"):
        raise Refusal(403, "This key lacks the scope admin.", "missing_scope")
    if key and "x-attune-rater" in request.headers and key != "at-act-as":
        raise Refusal(403, "This key cannot speak for others.", "forbidden", "X-Attune-Rater")


async def _chunks(service: FakeService, body: dict[str, Any], answer: dict[str, Any]) -> AsyncIterator[bytes]:
    same = {name: answer[name] for name in ("id", "created", "model", "conversation_id", "system_fingerprint")}
    same["object"] = "chat.completion.chunk"

    def chunk(choices: list[dict[str, Any]], **more: Any) -> bytes:
        return b"data: " + json.dumps({**same, "choices": choices, **more}, ensure_ascii=False).encode() + b"\n\n"

    sent = 0
    try:
        for choice in answer["choices"]:
            yield chunk(
                [{"index": choice["index"], "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]
            )
            for delta in _deltas(choice["message"]["content"]):
                logprobs = {"content": [_token(delta)]} if body.get("logprobs") else None
                yield chunk(
                    [
                        {
                            "index": choice["index"],
                            "delta": {"content": delta},
                            "finish_reason": None,
                            "logprobs": logprobs,
                        }
                    ]
                )
                sent += 1
                if service.cut_stream_after and sent >= service.cut_stream_after:
                    return
                await asyncio.sleep(0.002)
            if choice["message"]["content"].endswith("fail in the middle"):
                yield b"data: " + json.dumps({"error": ENGINE_ERROR}).encode() + b"\n\n"
                return
            if choice["message"]["content"].endswith("and on"):
                await asyncio.sleep(30)
            yield chunk([{"index": choice["index"], "delta": {}, "finish_reason": "stop"}])
        if (body.get("stream_options") or {}).get("include_usage"):
            yield chunk([], usage=answer["usage"])
        yield b"data: [DONE]\n\n"
    except asyncio.CancelledError:
        service.cancelled += 1
        raise


async def _events(service: FakeService, after: int | None) -> AsyncIterator[bytes]:
    sent, last = 0, after if after is not None else len(service.events)
    yield b": hello\n\n"
    while True:
        for seq, kind, data in service.events:
            if seq > last:
                yield f"id: {seq}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()
                sent, last = sent + 1, seq
                if service.break_events_after and sent >= service.break_events_after:
                    return
        await asyncio.sleep(0.01)


@contextlib.contextmanager
def fake_service(port: int = 0) -> Generator[FakeService, None, None]:
    """Run a fake service for the length of a with-block, on a free port unless one is given."""
    with FakeService(port) as service:
        yield service
