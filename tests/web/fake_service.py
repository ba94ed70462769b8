"""A small service that follows the HTTP contract with scripted answers, for tests of the page without a model.

`learn` makes the events and rows of an update without learning. Run it alone to look at the page:
`python -m tests.web.fake_service`.
"""

import asyncio
import itertools
import json
import math
import random
import socket
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.staticfiles import StaticFiles

from tests.web import scripted

WEB = Path(__file__).resolve().parents[2] / "clients" / "web"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def at(seconds_ago: float = 0.0) -> str:
    """Return the ISO time of `seconds_ago`."""
    return (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat()


@dataclass
class Fake:
    """The state of the service. Tests change it directly; all handlers run on one loop, so it needs no lock."""

    token_s: float = 0.002
    trigger: int = 16
    admin: bool = True
    key: str | None = None
    break_after: int | None = None  # the stream breaks after this many deltas
    busy: int = 0  # this many chats are first answered with 503
    feedback: list[dict[str, Any]] = field(default_factory=list)
    keys: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    completions: dict[str, dict[str, Any]] = field(default_factory=dict)
    comparisons: dict[str, dict[str, Any]] = field(default_factory=dict)
    conversations: dict[str, dict[str, Any]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)  # ids of conversations that were deleted elsewhere
    versions: list[dict[str, Any]] = field(default_factory=list)
    events: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    waiting: int = 0
    reward_model: dict[str, Any] | None = None
    state: str = "idle"
    run: dict[str, Any] | None = None
    closing: bool = False
    ids: Any = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        if not self.versions:
            self.versions.append(scripted.version(0, None, "live", live_at=at(3600), created_at=at(3600)))

    @property
    def live(self) -> dict[str, Any]:
        """The live version's row."""
        return next(row for row in self.versions if row["state"] == "live")

    def add_event(self, kind: str, data: dict[str, Any]) -> None:
        """Append an event."""
        self.events.append((len(self.events) + 1, kind, {**data, "at": at()}))

    def set_live(self, number: int, reason: str = "gate passed") -> None:
        """Make a version live and retire the old one."""
        before = self.live
        before.update(state="retired", retired_at=at(), serving=False, share=0.0)
        self.versions[number].update(state="live", live_at=at(), serving=True, loaded=True, share=1.0)
        self.add_event("version.live", {"version": number, "previous": before["version"], "reason": reason})

    def learn(self, items: int = 18, steps: int = 12, step_s: float = 0.05, passes: bool = True) -> None:
        """Play one update from another thread; each step takes `step_s` seconds."""
        number, parent = len(self.versions), self.live["version"]
        run_id = f"run-{number}"
        self.state, self.run = (
            "running",
            {
                "id": run_id,
                "algorithm": "mixed",
                "phase": "train",
                "step": 0,
                "steps": steps,
                "loss": None,
                "metrics": {},
                "started_at": at(),
                "items": items,
                "parent": parent,
            },
        )
        self.add_event("run.started", {"run_id": run_id, "algorithm": "mixed", "parent": parent, "items": items})
        for step in range(1, steps + 1):
            loss = 0.69 * math.exp(-step / steps * 1.4) + 0.02 * math.sin(step * 2.1)
            progress = {"phase": "train", "step": step, "steps": steps, "loss": loss, "metrics": {"kl": 0.004 * step}}
            self.run = {**self.run, **progress}
            self.add_event("run.progress", {"run_id": run_id, **progress})
            time.sleep(step_s)
        row = scripted.version(number, parent, "candidate", items=items, created_at=at())
        self.versions.append(row)
        self.waiting, self.state, self.run = 0, "idle", None
        self.add_event("run.finished", {"run_id": run_id, "version": number, "metrics": row["metrics"]})
        self.add_event("version.candidate", {"version": number, "parent": parent})
        if passes:
            self.set_live(number)
        else:
            row.update(scripted.rejected(number))
            self.add_event("version.rejected", {"version": number, "reasons": row["gate"]["reasons"]})


def app_of(fake: Fake) -> FastAPI:
    """Return an app that serves the page and the contract's routes from `fake`."""
    app = FastAPI()
    app.mount("/static", StaticFiles(directory=WEB), name="static")

    @app.middleware("http")
    async def guard(request: Request, call_next: Any) -> Response:
        path = request.url.path
        if path.startswith("/v1/"):
            body = await request.body()
            fake.requests.append((request.method, path, json.loads(body) if body else None))
            if fake.key is not None and request.headers.get("authorization") != f"Bearer {fake.key}":
                return refusal(401, "this service wants an API key: Authorization: Bearer at-...", "unauthorized")
        response: Response = await call_next(request)
        response.headers["Content-Security-Policy"] = POLICY
        return response

    @app.get("/")
    async def page() -> FileResponse:
        return FileResponse(WEB / "index.html")

    @app.get("/readyz")
    async def ready() -> dict[str, Any]:
        return {"status": "ready", "model": "pocket", "store": True, "version": fake.live["version"]}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": "attune"}]}

    @app.post("/v1/chat/completions", response_model=None)
    async def chat(request: Request) -> Response:
        body = await request.json()
        if fake.busy:
            fake.busy -= 1
            return JSONResponse(
                {"error": {"message": "the queue is full", "code": "overloaded"}}, 503, {"Retry-After": "1"}
            )
        if body.get("conversation_id") in fake.deleted:
            return refusal(404, "there is no such conversation to continue", "conversation_not_found")
        made = keep_completion(
            fake,
            body["messages"],
            body.get("conversation_id"),
            body.get("model", "attune"),
            "chat",
            body.get("metadata"),
        )
        return StreamingResponse(
            chunks(fake, made), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    @app.post("/v1/comparisons")
    async def compare(request: Request) -> Response:
        body = await request.json()
        await asyncio.sleep(fake.token_s * 20)
        sides = [
            keep_completion(fake, body["messages"], body.get("conversation_id"), "attune", "comparison", {"side": side})
            for side in range(2)
        ]
        number = f"cmp-{next(fake.ids)}"
        fake.comparisons[number] = {"sides": [side["id"] for side in sides]}
        shown = [
            {"label": label, "completion_id": side["id"], "content": side["content"]}
            for label, side in zip("AB", sides, strict=True)
        ]
        return JSONResponse(
            {"id": number, "created_at": at(), "conversation_id": body.get("conversation_id"), "candidates": shown}, 201
        )

    @app.post("/v1/comparisons/{number}/choice")
    async def choose(number: str, request: Request) -> Response:
        body, sides = await request.json(), fake.comparisons[number]["sides"]
        models = {label: fake.completions[side]["model"] for label, side in zip("AB", sides, strict=True)}
        return take(
            fake,
            request,
            {"completion_id": sides[0], "kind": "choice", "winner": body["winner"], "comparison_id": number},
            {"models": models},
        )

    @app.post("/v1/feedback")
    async def feedback(request: Request) -> Response:
        body = await request.json()
        if body["completion_id"] not in fake.completions:
            return refusal(404, f"there is no completion {body['completion_id']!r}", "completion_not_found")
        kind = next(name for name in ("thumb", "correction", "preferred_over", "score") if name in body)
        return take(fake, request, {**body, "kind": "preference" if kind == "preferred_over" else kind})

    @app.get("/v1/feedback")
    async def list_feedback(limit: int = 50) -> Response:
        if not fake.admin:
            return refusal(403, "this key lacks the scope admin", "missing_scope")
        return JSONResponse({"data": fake.feedback[::-1][:limit], "next_cursor": None})

    @app.delete("/v1/feedback/{number}")
    async def take_back(number: str) -> Response:
        _, named = fake.keys.get(number, ("", {"id": number}))
        found = next((row for row in fake.feedback if row["id"] == named["id"]), None)
        if found is None:
            return refusal(404, f"there is no feedback {number!r}", "not_found")
        for row in fake.feedback:
            if (row["completion_id"], row["kind"]) == (found["completion_id"], found["kind"]):
                row["retracted_at"] = at()
        fake.waiting = max(0, fake.waiting - 1)
        fake.add_event("feedback", {"feedback_id": found["id"], "kind": "retraction"})
        return Response(status_code=204)

    @app.get("/v1/conversations")
    async def conversations(search: str = "", limit: int = 50) -> dict[str, Any]:
        rows = sorted(fake.conversations.values(), key=lambda row: row["updated_at"], reverse=True)
        return {"data": [row for row in rows if search.lower() in row["title"].lower()][:limit], "next_cursor": None}

    @app.get("/v1/conversations/{number}", response_model=None)
    async def conversation(number: str) -> dict[str, Any] | Response:
        if number not in fake.conversations:
            return refusal(404, f"there is no conversation {number!r}", "conversation_not_found")
        completions = [{"feedback": [], **row} for row in fake.completions.values() if row["conversation_id"] == number]
        return {**fake.conversations[number], "completions": completions}

    @app.delete("/v1/conversations/{number}")
    async def delete(number: str) -> Response:
        fake.conversations.pop(number, None)
        return Response(status_code=204)

    @app.get("/v1/learner")
    async def learner() -> dict[str, Any]:
        return describe(fake)

    @app.post("/v1/learner/update", status_code=202)
    async def update() -> dict[str, Any]:
        threading.Thread(target=fake.learn, args=(max(4, fake.waiting),), daemon=True).start()
        return describe(fake)

    @app.post("/v1/learner/pause", status_code=202)
    async def pause() -> dict[str, Any]:
        return set_state("paused")

    @app.post("/v1/learner/resume", status_code=202)
    async def resume() -> dict[str, Any]:
        return set_state("idle")

    def set_state(state: str) -> dict[str, Any]:
        fake.state = state
        fake.add_event("learner.state", {"state": state})
        return describe(fake)

    @app.get("/v1/versions")
    async def versions() -> dict[str, Any]:
        return {
            "data": [
                {name: value for name, value in row.items() if name not in ("gate", "run", "manifest")}
                for row in fake.versions
            ],
            "next_cursor": None,
        }

    @app.get("/v1/versions/{number}", response_model=None)
    async def version(number: int) -> dict[str, Any] | Response:
        if number >= len(fake.versions):
            return refusal(404, f"there is no version {number}", "version_not_found")
        return fake.versions[number]

    @app.get("/v1/versions/{number}/feedback")
    async def made_by(number: int) -> dict[str, Any]:
        return {"data": scripted.feedback_of(fake.versions[number]["items"]), "next_cursor": None}

    @app.get("/v1/versions/{number}/samples")
    async def samples(number: int, against: int | None = None, limit: int = 4) -> dict[str, Any]:
        other = against if against is not None else fake.versions[number]["parent"] or 0
        await asyncio.sleep(fake.token_s * 20)
        return {
            "version": number,
            "against": other,
            "data": scripted.samples(number, other)[:limit],
            "next_cursor": None,
        }

    @app.post("/v1/versions/rollback")
    async def roll_back(request: Request) -> dict[str, Any]:
        before, to = fake.live["version"], (await request.json()).get("to")
        number = to if to is not None else fake.live["parent"]
        fake.set_live(number, "rolled back")
        fake.versions[before]["state"] = "withdrawn"
        fake.add_event("version.rolled_back", {"version": number, "previous": before})
        return fake.versions[number]

    @app.post("/v1/versions/{number}/promote")
    async def promote(number: int, request: Request) -> dict[str, Any]:
        share = (await request.json()).get("canary")
        if share is None:
            fake.set_live(number, "promoted")
        else:
            state = "canary" if share else "withdrawn"
            fake.versions[number].update(state=state, share=share, serving=bool(share), loaded=bool(share))
            fake.live["share"] = 1.0 - share
            fake.add_event("version.canary" if share else "version.withdrawn", {"version": number, "share": share})
        return fake.versions[number]

    @app.get("/v1/export")
    async def export(format: str) -> Response:
        return Response("".join(json.dumps(row) + "\n" for row in fake.feedback), media_type="application/x-ndjson")

    @app.get("/v1/events", response_model=None)
    async def events(request: Request, after: int | None = None) -> StreamingResponse:
        last = request.headers.get("last-event-id")
        return StreamingResponse(
            follow(fake, int(last) if last else after),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store"},
        )

    return app


def refusal(status: int, message: str, code: str) -> JSONResponse:
    """Return an error in OpenAI's shape."""
    return JSONResponse(
        {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}, status
    )


def keep_completion(
    fake: Fake,
    messages: list[dict[str, str]],
    conversation_id: str | None,
    model: str,
    kind: str,
    metadata: dict[str, Any] | None,
) -> dict[str, Any]:
    """Store a scripted answer as a completion and return its row."""
    question = messages[-1]["content"]
    side = (metadata or {}).get("side", 1 if (metadata or {}).get("regenerated_from") else 0)
    number = f"chatcmpl-{next(fake.ids)}"
    conversation_id = conversation_id or f"conv-{next(fake.ids)}"
    name = model if "@" in model else f"attune@{fake.live['version']}"
    made = {
        "id": number,
        "choice": 0,
        "kind": kind,
        "model": name,
        "messages": messages,
        "content": scripted.answer(question, side),
        "finish_reason": "stop",
        "created_at": at(),
        "conversation_id": conversation_id,
    }
    fake.completions[number] = made
    row = fake.conversations.setdefault(
        conversation_id, {"id": conversation_id, "title": question[:120], "created_at": at(), "updated_at": at()}
    )
    row["updated_at"] = at()
    fake.live["answers"] += 1
    fake.add_event("completion", {"completion_id": number, "version": fake.live["version"]})
    return made


async def chunks(fake: Fake, made: dict[str, Any]) -> AsyncIterator[str]:
    """Stream an answer in OpenAI's chunks, a few characters at a time."""
    head = {
        "id": made["id"],
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": made["model"],
        "conversation_id": made["conversation_id"],
    }

    def frame(delta: dict[str, Any], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return f"data: {json.dumps({**head, 'choices': [choice]}, ensure_ascii=False)}\n\n"

    yield frame({"role": "assistant", "content": ""})
    text = made["content"]
    for index, start in enumerate(range(0, len(text), 4)):
        if fake.break_after is not None and index >= fake.break_after:
            fake.break_after = None
            return
        await asyncio.sleep(fake.token_s)
        yield frame({"content": text[start : start + 4]})
    yield frame({}, "stop")
    yield "data: [DONE]\n\n"


def take(fake: Fake, request: Request, row: dict[str, Any], more: dict[str, Any] | None = None) -> JSONResponse:
    """Store feedback once for each Idempotency-Key, and start an update when enough is waiting."""
    key = request.headers.get("idempotency-key")
    body = json.dumps(row, sort_keys=True)
    if key in fake.keys:
        seen, record = fake.keys[key]
        return (
            JSONResponse(record, 200, {"Idempotent-Replayed": "true"})
            if seen == body
            else refusal(409, "this key came with another body", "idempotency_conflict")
        )
    record = {"id": f"fb-{next(fake.ids)}", "created_at": at(), "rater": "local", **row, **(more or {})}
    fake.feedback.append(record)
    if key is not None:
        fake.keys[key] = (body, record)
    fake.waiting += 1
    fake.add_event(
        "feedback",
        {"feedback_id": record["id"], "kind": row["kind"], "completion_id": row["completion_id"], "rater": "local"},
    )
    if fake.waiting >= fake.trigger and fake.state in ("idle", "preparing"):
        threading.Thread(target=fake.learn, args=(fake.waiting,), daemon=True).start()
    return JSONResponse(record, 201)


def describe(fake: Fake) -> dict[str, Any]:
    """Return the learner's state as the contract shows it."""
    trigger = {"items": fake.trigger, "seconds": 20, "min_items": 4}
    return {
        "state": fake.state,
        "paused": fake.state == "paused",
        "waiting": fake.waiting,
        "trigger": trigger,
        "run": fake.run,
        "preparation": {"done": 16, "total": 64} if fake.state == "preparing" else None,
        "next_at": None,
        "live": fake.live["version"],
        "last_run": scripted.last_run(fake.versions),
        "heartbeat_at": at(),
        "seen": len(fake.feedback),
        "reward_model": fake.reward_model,
        "detail": {"trigger": trigger, "model": "pocket", "device": "cpu", "algorithm": "mixed"},
    }


async def follow(fake: Fake, after: int | None) -> AsyncIterator[str]:
    """Stream events after a sequence number, or from now on."""
    seq = len(fake.events) if after is None else after
    yield "retry: 1000\n\n"
    while not fake.closing:
        for number, kind, data in fake.events[seq:]:
            seq = number
            yield f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"
        await asyncio.sleep(0.02)


class Serving:
    """The fake behind a real socket, in a thread; `stop` and `start` again on the same port play a restart."""

    def __init__(self, fake: Fake, port: int = 0) -> None:
        self.fake = fake
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Serve; returns when the socket answers."""
        self.fake.closing = False
        self.server = uvicorn.Server(
            uvicorn.Config(
                app_of(self.fake), host="127.0.0.1", port=self.port, log_level="error", timeout_graceful_shutdown=1
            )
        )
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop serving; what the fake knows stays."""
        self.fake.closing = True
        self.server.should_exit = True
        self.thread.join(5)


if __name__ == "__main__":
    random.seed(0)
    shown = Serving(scripted.lived_in(Fake(token_s=0.03)), 8123)
    print(shown.url)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        shown.stop()
