"""What a backend may stream: chunks of text and an end. Anything else is no answer, and is an error with its reason."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from policy.errors import first_line
from service.errors import ServiceError

MOST_BYTES = 64 * 2**20  # of one generation, as it comes over the wire
MOST_CHARACTERS = 4 * 2**20
EVENT_STREAM = "text/event-stream"
# What OpenAI names as ends, and what other servers call them.
FINISHES = {
    **{reason: reason for reason in ("stop", "length", "content_filter", "tool_calls", "function_call")},
    **dict.fromkeys(("eos", "eos_token", "stop_sequence", "end_turn"), "stop"),
    **dict.fromkeys(("max_tokens", "max_length", "model_length"), "length"),
}


class NoAnswer(ServiceError, ValueError):
    """What a backend sent is not an answer of OpenAI's form."""


def no_answer(error: Exception) -> NoAnswer:
    """Return the error for whatever reading a backend's response raised."""
    return error if isinstance(error, NoAnswer) else NoAnswer(f"no answer can be read ({first_line(error)})")


def check_head(response: Any) -> None:
    """Check that a response of openai's HTTP client is a stream of events, and bound its size. Raises NoAnswer."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != EVENT_STREAM:
        raise NoAnswer(f"it sent {kind or 'something without a content type'} where a stream of events was asked for")
    packed = response.headers.get("content-encoding", "identity").lower()
    if packed != "identity":  # a few bytes could unpack to any size
        raise NoAnswer(f"it compressed its stream ({packed}), which was not asked for")
    response.aiter_raw = _bounded(response.aiter_raw)


def text_and_finish(chunk: Any) -> tuple[str, str | None]:
    """Return the text of a chunk and the reason with which it ends the answer, None before the end. Raises NoAnswer."""
    choices = getattr(chunk, "choices", None)
    if not isinstance(choices, list):
        raise NoAnswer(f"it sent a chunk whose choices are {_shown(choices)}")
    if not choices:
        return "", None  # the usage, for example
    delta: Any = getattr(choices[0], "delta", None)
    finish = getattr(choices[0], "finish_reason", None)
    finish = None if finish == "" else finish  # some servers write it so in every chunk before the last
    if not hasattr(delta, "content"):
        raise NoAnswer(f"it sent a chunk whose delta is {_shown(delta)}")
    text = delta.content
    if text is not None and not isinstance(text, str):
        raise NoAnswer(f"it sent a chunk whose content is {_shown(text)}")
    if finish is not None and (not isinstance(finish, str) or finish not in FINISHES):
        raise NoAnswer(f"it ended with the finish_reason {_shown(finish)}")
    if text and any("\ud800" <= character <= "\udfff" for character in text):
        raise NoAnswer("it sent half a character (a lone surrogate)")
    return text or "", FINISHES[finish] if finish is not None else None


def model_names(page: Any) -> list[str]:
    """Return the names in a backend's list of models. Raises NoAnswer where it is no such list."""
    listed = getattr(page, "data", None)
    names: list[Any] = [getattr(model, "id", None) for model in listed] if isinstance(listed, list) else [None]
    if not all(isinstance(name, str) and name for name in names):
        raise NoAnswer(f"its list of models is {_shown(page if listed is None else listed)}")
    return names


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _bounded(read: Callable[..., AsyncIterator[bytes]]) -> Callable[..., AsyncIterator[bytes]]:
    async def read_some(*arguments: Any, **options: Any) -> AsyncIterator[bytes]:
        count = 0
        async for part in read(*arguments, **options):
            count += len(part)
            if count > MOST_BYTES:
                raise NoAnswer(f"it sent more than {MOST_BYTES // 2**20} MiB for one answer")
            yield part

    return read_some
