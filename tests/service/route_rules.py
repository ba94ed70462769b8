"""Who may call which route, and what another person's row gives: a line for every route of the service.

A new route needs a line here, or tests/service/test_route_matrix.py fails.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from starlette.routing import BaseRoute, Mount

OPEN: tuple[str, ...] = ("open",)
ANY_KEY: tuple[str, ...] = ("",)
ADMIN: tuple[str, ...] = ("admin",)


@dataclass(frozen=True)
class Rows:
    """The ids of one person's rows, all of the same shape, so that those of another take their place."""

    rater: str
    conversation_id: str
    completion_id: str
    worse_id: str
    comparison_id: str
    feedback_id: str

    def in_path(self, path: str) -> str:
        """Return a route's path with ids for its parameters."""
        fixed = {"number": "1", "name": "attune", "file": "app.js"}
        return path.format(**fixed, **vars(self), rater_id=self.rater)

    @property
    def ids(self) -> tuple[str, ...]:
        """Every id, that of the rater first."""
        own = (self.conversation_id, self.completion_id, self.worse_id, self.comparison_id, self.feedback_id)
        return (self.rater, *own)


@dataclass(frozen=True)
class Rule:
    """Who is let in to a route, and what they get.

    `needs` lists alternatives: each is the scopes that a key must have, in one text. `reach` is the scopes with which
    another person's rows exist, None for a route without rows of one person. `other` is the status without them.
    """

    needs: tuple[str, ...]
    ok: int = 200
    reach: tuple[str, ...] | None = None
    other: int = 404
    body: Callable[[Rows], Any] | None = None
    query: Callable[[Rows], str] | None = None
    makes_ids: bool = False
    """An unknown id is no error: it is the id of something new."""
    is_stream: bool = False

    def status(self, scopes: tuple[str, ...] | None, *, is_owner: bool) -> int:
        """Return what a key with these scopes gets; None is no key, or one that is unknown."""
        if self.needs == OPEN:
            return self.ok
        if scopes is None:
            return 401
        if not any(set(alternative.split()) <= set(scopes) for alternative in self.needs):
            return 403
        can_reach = is_owner or self.reach is None or bool(set(self.reach) & set(scopes))
        return self.ok if can_reach else self.other


def _chat(rows: Rows) -> Any:
    return {**_question(rows), "model": "attune"}


def _question(rows: Rows) -> Any:
    return {"messages": [{"role": "user", "content": "say: hi"}], "conversation_id": rows.conversation_id}


def _preference(rows: Rows) -> Any:
    return {"completion_id": rows.completion_id, "preferred_over": {"completion_id": rows.worse_id}}


def _webhook(rows: Rows) -> Any:
    """Return a thumb of Open WebUI on an answer of its own."""
    messages = {
        "m1": {"role": "user", "content": f"Who am I, {rows.completion_id}?", "parentId": None},
        "m2": {"role": "assistant", "content": "Somebody.", "parentId": "m1"},
    }
    chat = {"chat": {"history": {"messages": messages, "currentId": "m2"}}}
    return {"user_id": "u1", "data": {"rating": 1}, "meta": {"message_id": "m2"}, "snapshot": {"chat": chat}}


RULES = {
    # the page, and whether the service runs
    "GET /": Rule(OPEN),
    "GET /docs": Rule(OPEN),
    "GET /openapi.json": Rule(OPEN),
    "GET /static/{file}": Rule(OPEN),
    "GET /health": Rule(OPEN),
    "GET /healthz": Rule(OPEN),
    "GET /readyz": Rule(OPEN),
    "GET /metrics": Rule(OPEN),
    # what any key may see, without names
    "GET /v1/version": Rule(ANY_KEY),
    "GET /v1/models": Rule(ANY_KEY),
    "GET /v1/models/{name}": Rule(ANY_KEY),
    "GET /v1/versions": Rule(ANY_KEY),
    "GET /v1/versions/{number}": Rule(ANY_KEY),
    "GET /v1/learner": Rule(ANY_KEY),
    "GET /v1/events": Rule(ANY_KEY, query=lambda rows: "after=0", is_stream=True),
    # answers
    "POST /v1/chat/completions": Rule(("chat",), reach=(), body=_chat, makes_ids=True),
    "POST /v1/completions": Rule(("chat",), body=lambda rows: {"model": "attune", "prompt": "say: hi"}),
    "POST /v1/comparisons": Rule(("chat",), 201, reach=(), body=_question, makes_ids=True),
    "GET /v1/conversations": Rule(("chat",), reach=ADMIN, other=200, query=lambda rows: f"rater={rows.rater}"),
    "GET /v1/conversations/{conversation_id}": Rule(("chat",), reach=ADMIN),
    "DELETE /v1/conversations/{conversation_id}": Rule(("chat",), 204, reach=ADMIN),
    # feedback
    "POST /v1/feedback": Rule(("feedback",), 201, reach=("act-as", "admin"), body=_preference),
    "POST /v1/comparisons/{comparison_id}/choice": Rule(
        ("feedback",), 201, reach=("act-as", "admin"), body=lambda rows: {"winner": "A"}
    ),
    "DELETE /v1/feedback/{feedback_id}": Rule(("feedback", "admin"), 204, reach=ADMIN),
    "GET /v1/feedback": Rule(ADMIN, query=lambda rows: f"completion_id={rows.completion_id}"),
    "POST /v1/webhooks/open-webui": Rule(("admin", "feedback act-as"), 201, body=_webhook),
    # administration
    "GET /v1/versions/{number}/feedback": Rule(ADMIN),
    "GET /v1/versions/{number}/samples": Rule(ADMIN),
    "POST /v1/versions/{number}/promote": Rule(ADMIN),
    "POST /v1/versions/rollback": Rule(ADMIN, 409, body=lambda rows: {"to": 1}),  # version 1 is live already
    "POST /v1/learner/update": Rule(ADMIN, 202),
    "POST /v1/learner/pause": Rule(ADMIN, 202),
    "POST /v1/learner/resume": Rule(ADMIN, 202),
    "GET /v1/raters": Rule(ADMIN),
    "POST /v1/raters/{rater_id}/quarantine": Rule(ADMIN),
    "POST /v1/raters/{rater_id}/release": Rule(ADMIN),
    "POST /v1/raters/{rater_id}/withdraw": Rule(ADMIN),
    "DELETE /v1/raters/{rater_id}": Rule(ADMIN),
    "GET /v1/export": Rule(ADMIN, query=lambda rows: "format=raw"),
    "POST /v1/import": Rule(ADMIN, body=lambda rows: []),
}


def rule_of(route: str) -> Rule:
    """Return a route's rule. Raises AssertionError for a route without one."""
    method, _, path = route.partition(" ")
    found = RULES.get(f"GET {path}" if method == "HEAD" else route)
    assert found is not None, (
        f"{route} has no rule: add a line to RULES in {__name__.replace('.', '/')}.py with the scopes that it needs "
        "and, where it reads or changes rows of one person, the scopes that reach another's"
    )
    return found


def routes_of(app: FastAPI) -> list[str]:
    """Return all routes as `METHOD /path`."""
    return sorted(f"{method} {path}" for path, methods in _walk(app.routes) for method in methods - {"OPTIONS"})


def _walk(routes: Iterable[BaseRoute]) -> Iterator[tuple[str, set[str]]]:
    for route in routes:
        if (inner := getattr(route, "original_router", None)) is not None:
            yield from _walk(inner.routes)
        elif isinstance(route, Mount):
            yield f"{route.path}/{{file}}", {"GET"}
        else:
            yield route.path, route.methods  # type: ignore[attr-defined]
