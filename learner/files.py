"""Training files: JSON Lines in TRL's preference, unpaired and SFT forms, read into examples.

    {"prompt": ..., "chosen": ..., "rejected": ...}     preference (the prompt may be left out where both begin with the same turns)
    {"prompt": ..., "completion": ..., "label": true}   unpaired
    {"prompt": ..., "completion": ...} or {"messages": [...]}   SFT

A prompt is a list of messages, or a string, which counts as one user message; a reply is a string or a list with one assistant message.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from learner.errors import BadData
from learner.examples import Example, Kind, RenderReply, Reply, says_something
from learner.json_lines import json_lines

Form = Literal["preference", "unpaired", "sft"]
Messages = list[dict[str, Any]]
RATER = "file"


class LeftOut(NamedTuple):
    """How many lines of a file are no examples, by reason; as text, a list of those."""

    too_long: int
    say_nothing: int

    def __str__(self) -> str:
        reasons = ("longer than the model's context", "with an empty reply, or the same reply on both sides")
        return ", ".join(f"{count} {reason}" for count, reason in zip(self, reasons, strict=True) if count)


def read_examples(path: Path, render_reply: RenderReply, *, max_tokens: int) -> tuple[Form, list[Example], LeftOut]:
    """Return the form of a file, its examples in order, and how many lines were left out, as longer than `max_tokens` or as saying nothing.

    Raises BadData, with the line's number, for anything that is not of one form throughout.
    """
    found: list[Example] = []
    form: Form | None = None
    too_long = say_nothing = 0
    for number, row in json_lines(path, "training file"):
        if not isinstance(row, dict):
            raise BadData(f"{path}, line {number}: a line is an object with prompt and replies, not {type(row).__name__}")
        its_form, example = _example(row, render_reply, f"{path}, line {number}", number)
        if form is not None and its_form != form:
            raise BadData(f"{path}, line {number}: this is a line in the {its_form} form, but the file began in the {form} form; split it")
        form = its_form
        if not says_something(example):
            say_nothing += 1
        elif len(example.prompt_ids) + max(len(reply.ids) for reply in example.replies) > max_tokens:
            too_long += 1
        else:
            found.append(example)
    if form is None:
        raise BadData(f"{path} holds no examples")
    return form, found, LeftOut(too_long, say_nothing)


def _example(row: Mapping[str, Any], render: RenderReply, where: str, number: int) -> tuple[Form, Example]:
    if "chosen" in row and "rejected" in row:
        prompt, chosen, rejected = _sides(row, where)
        return "preference", _built("pair", render, prompt, chosen, rejected, number)
    if "messages" in row:
        messages = _messages(row["messages"], where)
        if len(messages) < 2 or messages[-1]["role"] != "assistant":
            raise BadData(f"{where}: messages end with the assistant's reply, after at least one other message")
        return "sft", _built("thumb", render, messages[:-1], messages[-1]["content"], None, number)
    if "prompt" not in row or "completion" not in row:
        raise BadData(f"{where}: want prompt with chosen and rejected, with completion and label, with completion, or messages; found {sorted(row)}")
    prompt, text = _prompt(row["prompt"], where), _reply(row["completion"], where)
    if "label" not in row:
        return "sft", _built("thumb", render, prompt, text, None, number)
    if not isinstance(row["label"], bool):
        raise BadData(f"{where}: label is true or false, not {row['label']!r}")
    good, bad = (text, None) if row["label"] else (None, text)
    return "unpaired", _built("thumb", render, prompt, good, bad, number)


def _built(kind: Kind, render: RenderReply, prompt: Messages, good: str | None, bad: str | None, number: int) -> Example:
    def rendered(text: str | None) -> Reply | None:
        if text is None:
            return None
        return Reply(tuple(render(prompt, text)[1]) if text.strip() else ())  # rendered, an empty one would be an end of turn

    prompt_ids, _ = render(prompt, "")
    return Example(kind, tuple(prompt_ids), rendered(good), rendered(bad), RATER, (f"line {number}",), number)


def _sides(row: Mapping[str, Any], where: str) -> tuple[Messages, str, str]:
    if "prompt" in row:
        return _prompt(row["prompt"], where), _reply(row["chosen"], where), _reply(row["rejected"], where)
    chosen, rejected = _messages(row["chosen"], where), _messages(row["rejected"], where)
    if chosen[:-1] != rejected[:-1] or not chosen[:-1]:
        raise BadData(f"{where}: without a prompt, chosen and rejected are conversations that differ in their last message alone")
    return chosen[:-1], _reply(chosen[-1:], where), _reply(rejected[-1:], where)


def _prompt(value: Any, where: str) -> Messages:
    return [{"role": "user", "content": value}] if isinstance(value, str) else _messages(value, where)


def _reply(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    messages = _messages(value, where)
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise BadData(f"{where}: a reply is a string or one assistant message")
    return str(messages[0]["content"])


def _messages(value: Any, where: str) -> Messages:
    is_list = isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0
    if not is_list or not all(isinstance(item, dict) and all(isinstance(item.get(name), str) for name in ("role", "content")) for item in value):
        raise BadData(f"{where}: messages are a list of objects with role and content (text)")
    return [{"role": item["role"], "content": item["content"]} for item in value]


def render_with(tokenizer: Any) -> Callable[[Sequence[Mapping[str, Any]], str], tuple[list[int], list[int]]]:
    """Return the one rendering of a conversation and a written reply to token ids, for this tokenizer."""
    from policy.chat import render_reply

    return lambda messages, text: render_reply(tokenizer, [dict(message) for message in messages], text)
