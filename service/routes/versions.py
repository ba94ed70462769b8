"""Versions: what each is, what made it, how people rate it, and which of them answers."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from sqlite_utils import Database

from service.answer import AnswerRequest
from service.auth import Caller
from service.dispatcher import Dispatcher
from service.engine.router import version_name
from service.engine.slot_pool import SlotPool
from service.http.checked_route import CheckedRoute
from service.http.dependencies import AdminCaller, AnyCaller, service_of
from service.http.feedback_json import feedback_json
from service.http.json_values import MAX_INTEGER, MAX_NUMBER, MIN_INTEGER
from service.http.schemas import Body, Index
from service.learner_state import scalar_metrics
from service.personal_fields import for_caller
from service.sampling import Sampling
from store.completions import recent_prompts
from store.feedback import get_feedback
from store.runs import Run, get_run
from store.tallies import Tally, tallies
from store.versions import Version, feedback_of_version, get_version, versions

router = APIRouter(tags=["versions"], route_class=CheckedRoute)
VersionNumber = Annotated[int, Path(ge=0, le=MAX_NUMBER)]
SAMPLE_PROMPTS = ("Hello!", "Who are you?", "What is 7 + 5?", "Tell me a joke.")  # while nobody has asked anything yet


class PromoteBody(Body):
    """POST /v1/versions/{n}/promote: `canary` is its share of conversations (default all); 0 ends a canary."""

    canary: Annotated[float, Field(ge=0, le=1)] | None = None


class RollbackBody(Body):
    """POST /v1/versions/rollback: `to` None means the last one that was live before."""

    to: Index | None = None


@router.get("/v1/versions")
async def list_versions(request: Request, caller: AnyCaller) -> dict[str, Any]:
    """List all versions, oldest first, with counts of their feedback."""
    service = service_of(request)
    found, counts = await service.records.read(lambda db: (versions(db), tallies(db)))
    return {"data": [_row(version, counts, service.engine) for version in found], "next_cursor": None}


@router.get("/v1/versions/{number}")
async def show_version(request: Request, number: VersionNumber, caller: AnyCaller) -> dict[str, Any]:
    """Show one version: its row, the run that made it, the gate's report and its manifest.

    Only an admin sees which raters it learned from.
    """
    service = service_of(request)

    def look_up(db: Database) -> tuple[Version, dict[int, Tally], Run | None]:
        version = get_version(db, number)
        return version, tallies(db), get_run(db, version.run_id) if version.run_id else None

    version, counts, run = await service.records.read(look_up)
    manifest = await asyncio.to_thread(service.model.manifest, version)
    detail = {"run": _run(run), "gate": version.gate, "manifest": manifest}
    return {**_row(version, counts, service.engine), **for_caller(detail, caller)}


@router.get("/v1/versions/{number}/feedback")
async def what_made_it(request: Request, number: VersionNumber, caller: AdminCaller) -> dict[str, Any]:
    """List the feedback that a version learned from."""

    def look_up(db: Database) -> list[dict[str, Any]]:
        get_version(db, number)
        return [feedback_json(get_feedback(db, feedback_id)) for feedback_id in feedback_of_version(db, number)]

    return {"data": await service_of(request).records.read(look_up), "next_cursor": None}


@router.get("/v1/versions/{number}/samples")
async def samples(
    request: Request,
    number: VersionNumber,
    caller: AdminCaller,
    against: Annotated[int | None, Query(ge=0, le=MAX_NUMBER)] = None,
    limit: Annotated[int, Query(ge=1, le=8)] = 4,
    temperature: Annotated[float, Query(ge=0, le=2)] = 0.0,
    seed: Annotated[int, Query(ge=MIN_INTEGER, le=MAX_INTEGER)] = 0,
) -> dict[str, Any]:
    """Have two versions answer the same recent prompts (default: this one and its parent). Nothing is recorded."""
    service = service_of(request)
    version = await service.records.read(lambda db: get_version(db, number))
    other = against if against is not None else version.parent if version.parent is not None else number
    recent = await service.records.read(lambda db: recent_prompts(db, limit))
    prompts = [completion.messages for completion in recent] or [
        [{"role": "user", "content": text}] for text in SAMPLE_PROMPTS[:limit]
    ]
    sampling = Sampling(temperature=temperature, max_tokens=128, seed=seed % 2**32)
    texts = [await _texts(service.dispatcher, caller, each, prompts, sampling) for each in (number, other)]
    data = [
        {"messages": messages, "text": mine, "against": theirs}
        for messages, mine, theirs in zip(prompts, *texts, strict=True)
    ]
    return {"version": number, "against": other, "data": data, "next_cursor": None}


@router.post("/v1/versions/rollback")
async def roll_back(request: Request, caller: AdminCaller, body: RollbackBody | None = None) -> dict[str, Any]:
    """Let an older version answer again and withdraw the present one."""
    version = await service_of(request).traffic.roll_back(
        body.to if body else None, f"rolled back by {caller.rater_id}"
    )
    return await show_version(request, version.number, caller)


@router.post("/v1/versions/{number}/promote")
async def promote(
    request: Request, number: VersionNumber, caller: AdminCaller, body: PromoteBody | None = None
) -> dict[str, Any]:
    """Let a version answer: all conversations, or a share of them as canary."""
    share = body.canary if body else None
    await service_of(request).traffic.promote(number, share, f"promoted by {caller.rater_id}")
    return await show_version(request, number, caller)


async def _texts(
    dispatcher: Dispatcher, caller: Caller, number: int, prompts: Sequence[list[dict[str, Any]]], sampling: Sampling
) -> list[str]:
    answer_request = AnswerRequest(
        caller, "comparison", version_name(number), tuple(tuple(messages) for messages in prompts), sampling
    )
    answer = await dispatcher.begin(answer_request)
    try:
        await answer.read()
    finally:
        answer.close()
    return [generation.text for generation in answer.generations]


def _row(version: Version, counts: dict[int, Tally], engine: SlotPool) -> dict[str, Any]:
    tally, number, router = counts.get(version.number, Tally()), version.number, engine.router
    interval = tally.win_rate_interval
    return {
        "version": number,
        "state": version.state,
        "parent": version.parent,
        "digest": version.digest,
        "created_at": version.created_at,
        "live_at": version.live_at,
        "retired_at": version.retired_at,
        "items": tally.items,
        "algorithm": version.algorithm,
        "passed": version.passed,
        "metrics": scalar_metrics(version.metrics),
        "loaded": number in engine.slots,
        "serving": router is not None and router.serves(number),
        "share": router.share_of(number) if router is not None else 0.0,
        "answers": tally.answers,
        "thumbs": {"up": tally.up, "down": tally.down},
        "comparisons": {"wins": tally.wins, "losses": tally.losses, "ties": tally.ties},
        "win_rate": tally.win_rate,
        "win_rate_interval": list(interval) if interval else None,
    }


def _run(run: Run | None) -> dict[str, Any] | None:
    if run is None:
        return None
    return {name: getattr(run, name) for name in run.__dataclass_fields__}
