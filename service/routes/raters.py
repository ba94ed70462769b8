"""The people who give feedback, how far they are trusted, and keeping one out of learning."""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field
from sqlite_utils import Database

from service.http.checked_route import CheckedRoute
from service.http.dependencies import AdminCaller, service_of
from service.http.schemas import Body
from store.distrust import Proposal, proposals
from store.errors import UnknownRater
from store.rater_tallies import RaterTally, rater_tallies
from store.raters import Rater, raters, set_quarantine

router = APIRouter(tags=["people"], route_class=CheckedRoute)


class QuarantineBody(Body):
    """POST /v1/raters/{id}/quarantine."""

    reason: Annotated[str, Field(min_length=1, max_length=500)] = "by hand"


@router.get("/v1/raters")
async def list_raters(request: Request, caller: AdminCaller) -> dict[str, Any]:
    """List all raters with counts of their feedback, how often others agree with them, and the learner's trust."""
    return {"data": await service_of(request).records.read(_rows), "next_cursor": None}


@router.post("/v1/raters/{rater_id}/quarantine")
async def quarantine(
    request: Request, rater_id: str, caller: AdminCaller, body: QuarantineBody | None = None
) -> dict[str, Any]:
    """Keep a rater's feedback out of learning from now on; nothing is deleted."""
    return await _set(request, rater_id, (body or QuarantineBody()).reason)


@router.post("/v1/raters/{rater_id}/release")
async def release(request: Request, rater_id: str, caller: AdminCaller) -> dict[str, Any]:
    """Let a rater's feedback count again."""
    return await _set(request, rater_id, None)


@router.post("/v1/raters/{rater_id}/withdraw")
async def withdraw(
    request: Request, rater_id: str, caller: AdminCaller, body: QuarantineBody | None = None
) -> dict[str, Any]:
    """Withdraw the versions that learned from a rater, and keep the rater's feedback out of learning.

    The nearest version that did not is live then, and what the others gave since is learned again.
    """
    reason = (body or QuarantineBody()).reason
    withdrawn, live = await service_of(request).traffic.withdraw_learned(rater_id, reason)
    return {"rater": rater_id, "versions": [version.number for version in withdrawn], "live": live.number}


@router.delete("/v1/raters/{rater_id}")
async def erase(request: Request, rater_id: str, caller: AdminCaller) -> dict[str, Any]:
    """Erase a person: their rows, and the versions that learned from them. It cannot be undone.

    The database is written anew, so that none of its files holds the rows. `rewritten` is false where that failed, such
    as for a full disk; the log says why, and erasing anybody later does it.
    """
    service = service_of(request)
    erased, is_rewritten = await service.traffic.erase(rater_id)
    service.event_feed.forget()
    return {
        "rater": erased.rater_id,
        "feedback": erased.feedback,
        "completions": erased.completions,
        "conversations": erased.conversations,
        "versions": [version.number for version in erased.versions],
        "rewritten": is_rewritten,
    }


async def _set(request: Request, rater_id: str, reason: str | None) -> dict[str, Any]:
    records = service_of(request).records
    await records.write(lambda db: set_quarantine(db, rater_id, reason))
    return await records.read(lambda db: _one(db, rater_id))


def _one(db: Database, rater_id: str) -> dict[str, Any]:
    for row in _rows(db):
        if row["id"] == rater_id:
            return row
    raise UnknownRater(f"there is no rater {rater_id!r}")


def _rows(db: Database) -> list[dict[str, Any]]:
    counts = rater_tallies(db)
    proposed = proposals(db)
    return [_row(rater, counts.get(rater.id, RaterTally()), proposed.get(rater.id)) for rater in raters(db)]


def _row(rater: Rater, tally: RaterTally, proposal: Proposal | None) -> dict[str, Any]:
    return {
        "id": rater.id,
        "name": rater.name,
        "created_at": rater.created_at,
        "trust": rater.trust,
        "quarantined": rater.quarantined_at is not None,
        "quarantined_at": rater.quarantined_at,
        "quarantine_reason": rater.quarantine_reason or None,
        "proposal": {"withdraw": proposal.versions, "live": proposal.heir} if proposal is not None else None,
        "answers": tally.answers,
        "feedback": tally.feedback,
        "retracted": tally.retracted,
        "thumbs": {"up": tally.up, "down": tally.down},
        "choices": tally.choices,
        "agreement": tally.agreement,
    }
