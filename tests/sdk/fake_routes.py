"""The routes of the fake service, a function for each noun of the contract."""

import asyncio
import contextlib
import json
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from tests.sdk import fake_streams
from tests.sdk.fake_state import ANSWERS, AT, FakeState, Refusal, Seen

TOO_SLOW = "Think for a long time."


def build_app(service: FakeState) -> FastAPI:
    """Return an app with the routes of the contract."""
    app = FastAPI()
    _watch(app, service)
    _add_chat(app, service)
    _add_feedback(app, service)
    _add_comparisons(app, service)
    _add_versions(app, service)
    _add_learner(app, service)
    _add_raters(app, service)
    _add_conversations(app, service)
    _add_data_transfer(app, service)
    _add_events_and_health(app, service)
    return app


def _watch(app: FastAPI, service: FakeState) -> None:
    """Add the handler of refusals, and the middleware that records requests and makes them fail."""

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


def _add_chat(app: FastAPI, service: FakeState) -> None:
    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        body = await request.json()
        if body["messages"][-1]["content"] == TOO_SLOW:
            await asyncio.sleep(1.5)
        answer = service.complete(body)
        number = answer["model"].partition("@")[2]
        headers = {"X-Request-Id": "req-7", **({"X-Attune-Version": number} if number else {})}
        if body.get("stream"):
            return StreamingResponse(
                fake_streams.chunks(service, body, answer), media_type="text/event-stream", headers=headers
            )
        return JSONResponse(answer, headers=headers)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        names = ["attune", *(f"attune@{number}" for number, state in service.states.items() if state != "rejected")]
        return {
            "object": "list",
            "data": [{"id": name, "object": "model", "created": 1, "owned_by": "attune"} for name in names],
        }


def _add_feedback(app: FastAPI, service: FakeState) -> None:
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


def _add_comparisons(app: FastAPI, service: FakeState) -> None:
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
            raise Refusal(400, f"winner: {body['winner']!r} is none of A, B, tie, both_bad.", "invalid_value", "winner")
        models = service.comparisons[comparison_id]
        return {
            "id": "fb-c",
            "kind": "choice",
            "comparison_id": comparison_id,
            "winner": body["winner"],
            "created_at": AT,
            "models": models,
        }


def _add_versions(app: FastAPI, service: FakeState) -> None:
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


def _add_learner(app: FastAPI, service: FakeState) -> None:
    @app.get("/v1/learner")
    async def learner() -> dict[str, Any]:
        return service.learner()

    @app.post("/v1/learner/{order}")
    async def order(order: str) -> dict[str, Any]:
        if service.is_obeyed:
            service.learner_state = "paused" if order == "pause" else "running"
        return service.learner()


def _add_raters(app: FastAPI, service: FakeState) -> None:
    @app.get("/v1/raters")
    async def raters() -> dict[str, Any]:
        return {"data": [service.rater("alice"), service.rater("spammer")], "next_cursor": None}

    @app.post("/v1/raters/{rater_id}/{order}")
    async def quarantine(rater_id: str, order: str) -> dict[str, Any]:
        if order == "withdraw":
            return {"rater": rater_id, "versions": [2], "live": 1}
        is_quarantined = order == "quarantine"
        service.quarantined = service.quarantined | {rater_id} if is_quarantined else service.quarantined - {rater_id}
        return service.rater(rater_id)

    @app.delete("/v1/raters/{rater_id}")
    async def erase(rater_id: str) -> dict[str, Any]:
        if rater_id not in ("alice", "spammer"):
            raise Refusal(404, f"There is no rater {rater_id!r}.", "not_found")
        return {"rater": rater_id, "versions": [2], "feedback": 3, "completions": 4, "conversations": 1}


def _add_conversations(app: FastAPI, service: FakeState) -> None:
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


def _add_data_transfer(app: FastAPI, service: FakeState) -> None:
    @app.get("/v1/export")
    async def export(format: str = "preference") -> Response:
        if format not in ("preference", "unpaired", "sft", "raw"):
            raise Refusal(400, f"format: {format!r} is unknown.", "invalid_value", "format")
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


def _add_events_and_health(app: FastAPI, service: FakeState) -> None:
    @app.get("/v1/events")
    async def events(request: Request, after: int | None = None) -> StreamingResponse:
        resumed = request.headers.get("last-event-id")
        return StreamingResponse(
            fake_streams.events(service, int(resumed) if resumed else after), media_type="text/event-stream"
        )

    @app.get("/v1/version")
    async def version() -> dict[str, Any]:
        return {"version": "0.1.0", "schema": "m003_readiness", "python": "3.13.1"}

    @app.get("/healthz")
    async def healthz() -> dict[str, Any]:
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz() -> dict[str, Any]:
        return {"status": "ready", "version": service.live}


def _check_key(request: Request) -> None:
    key = request.headers.get("authorization", "").removeprefix("Bearer ")
    if key == "at-unknown":
        raise Refusal(401, "This API key is unknown or revoked.", "invalid_api_key")
    if key == "at-chat-only" and not request.url.path.startswith("/v1/chat"):
        raise Refusal(403, "This key lacks the scope admin.", "missing_scope")
    if key and "x-attune-rater" in request.headers and key != "at-act-as":
        raise Refusal(403, "This key cannot speak for others.", "forbidden", "X-Attune-Rater")
