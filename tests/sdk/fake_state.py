"""The state of the fake service, and what its routes do with it."""

import json
from dataclasses import dataclass, field
from typing import Any

AT = "2026-01-02T03:04:05Z"
ANSWERS = {  # version 1 is brief, version 0 is not
    "Hello!": {0: "Well, hello to you, my dear friend!", 1: "Hello to you!"},
    "Tell me a joke.": {0: "There once was a goose who could not stop talking, and nor can I.", 1: "Knock, knock."},
    "What is 7 + 5?": {0: "I believe that it is **12**.", 1: "12"},
    "Show me code.": {1: "Here you are:\n\n```python\nprint('hi')\n```\n\n- one\n- two\n"},
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


class FakeState:
    """The state behind the routes. `fault` makes the next requests fail, `seen` holds every request."""

    def __init__(self) -> None:
        self.reset()

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
            raise Refusal(400, "temperature: must be at least 0.", "invalid_value", "temperature")
        prompt = body["messages"][-1]["content"]
        text = ANSWERS.get(prompt, {}).get(number, f"[{number}] {prompt}")
        if self.is_verbose:  # version 0 is four times as long
            text = " ".join(["well"] * (8 if number == 0 else 2))
        completion_id = f"chatcmpl-{len(self.completions)}"
        logprobs = {"content": [token(delta) for delta in deltas(text)]} if body.get("logprobs") else None
        choices = [
            {
                "index": i,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
                "logprobs": logprobs,
            }
            for i in range(body.get("n", 1))
        ]
        count = len(deltas(text))
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
                400, "Give exactly one of thumb, score, correction, preferred_over.", "invalid_value", "thumb"
            )
        if body.get("thumb") not in (None, "up", "down"):
            raise Refusal(400, f"thumb: {body['thumb']!r} is neither up nor down.", "invalid_value", "thumb")
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
            "preparation": {"done": 16, "total": 64} if self.learner_state == "preparing" else None,
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
            "proposal": {"withdraw": [2], "live": 1} if rater_id == "spammer" else None,
        }


def deltas(text: str) -> list[str]:
    """Return the text that each chunk of a stream adds: up to the next space, with the space before it."""
    first, *others = text.split(" ")
    return [first, *(" " + other for other in others)]


def token(delta: str) -> dict[str, Any]:
    """Return one token of a `logprobs` object."""
    top = [{"token": delta, "logprob": -0.5, "bytes": None}, {"token": "Hi", "logprob": -1.5, "bytes": None}]
    return {"token": delta, "logprob": -0.5, "bytes": None, "top_logprobs": top}
