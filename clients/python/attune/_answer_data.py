"""Answers read from the service's JSON: whole, or joined from the chunks of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from attune._errors import UnexpectedResponse
from attune._questions import Asked
from attune._types.chat import Token, Usage
from attune._types.reading import read


@dataclass(frozen=True)
class AnswerData:
    """One answer: its text, its id, and the model that wrote it.

    Feedback points to `id` and `choice`. `model` names the exact version (`attune@12`) and `version` is its number,
    None for a backend. `digest` identifies the weights. `messages` is the conversation; this answer is its last turn.
    """

    id: str
    text: str
    choice: int = 0
    model: str = ""
    version: int | None = None
    conversation_id: str | None = None
    finish_reason: str | None = None
    digest: str | None = None
    usage: Usage = Usage()
    tokens: tuple[Token, ...] = ()
    messages: tuple[dict[str, Any], ...] = ()
    settings: dict[str, Any] = field(default_factory=dict, repr=False)


def answers_of(body: Any, version_header: str | None, question: Asked) -> tuple[AnswerData, ...]:
    """Return the answers in a whole response, by choice. Raises UnexpectedResponse when there are none."""
    if not isinstance(body, Mapping) or not body.get("choices"):
        raise UnexpectedResponse("The chat response has no choices. Is this an Attune service?")
    found = [_answer(body, choice, version_header, question) for choice in body["choices"]]
    return tuple(sorted(found, key=lambda answer: answer.choice))


def _answer(
    body: Mapping[str, Any], choice: Mapping[str, Any], version_header: str | None, question: Asked
) -> AnswerData:
    text = (choice.get("message") or {}).get("content") or ""
    model = str(body.get("model") or "")
    return AnswerData(
        id=str(body.get("id") or ""),
        text=text,
        choice=int(choice.get("index") or 0),
        model=model,
        version=version_of(model, version_header),
        conversation_id=body.get("conversation_id"),
        finish_reason=choice.get("finish_reason"),
        digest=body.get("system_fingerprint"),
        usage=read(Usage, body.get("usage") or {}),
        tokens=tokens_of(choice.get("logprobs")),
        messages=(*question.messages, {"role": "assistant", "content": text}),
        settings={"model": question.model, **question.settings},
    )


def version_of(model: str, header: str | None) -> int | None:
    """Return the number in `attune@12`, else in the header `X-Attune-Version`; None for a backend."""
    number = model.rpartition("@")[2] if "@" in model else header
    return int(number) if number and number.isdigit() else None


def tokens_of(logprobs: Mapping[str, Any] | None) -> tuple[Token, ...]:
    """Return the tokens of OpenAI's `logprobs` object; an empty tuple without one."""
    return tuple(
        Token(
            one["token"],
            float(one["logprob"]),
            {other["token"]: float(other["logprob"]) for other in one.get("top_logprobs") or ()},
        )
        for one in (logprobs or {}).get("content") or ()
    )


class Draft:
    """An answer while it streams: `take` each chunk, then `body` is what a response without streaming holds."""

    def __init__(self) -> None:
        self.body: dict[str, Any] = {"choices": []}
        self._choices: dict[int, dict[str, Any]] = {}

    def take(self, chunk: Mapping[str, Any]) -> str:
        """Add one chunk; return the new text of the first choice ("" without any)."""
        for name in ("id", "model", "conversation_id", "system_fingerprint", "usage"):
            if chunk.get(name) is not None:
                self.body[name] = chunk[name]
        delta = ""
        for part in chunk.get("choices") or ():
            choice = self._choice(int(part.get("index") or 0))
            text = (part.get("delta") or {}).get("content") or ""
            choice["message"]["content"] += text
            if part.get("finish_reason"):
                choice["finish_reason"] = part["finish_reason"]
            choice["logprobs"]["content"] += (part.get("logprobs") or {}).get("content") or []
            delta += text if choice["index"] == 0 else ""
        return delta

    def _choice(self, index: int) -> dict[str, Any]:
        if index not in self._choices:
            new: dict[str, Any] = {
                "index": index,
                "message": {"content": ""},
                "finish_reason": None,
                "logprobs": {"content": []},
            }
            self._choices[index] = new
            self.body["choices"].append(new)
        return self._choices[index]

    @property
    def is_whole(self) -> bool:
        """Whether at least one choice began and every one has finished."""
        return bool(self._choices) and all(choice["finish_reason"] for choice in self._choices.values())
