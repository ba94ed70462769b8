"""Training files, JSON Lines or a JSON array in TRL's forms (`store/trl_rows.py`), read into examples."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from learner.data.examples import CompletionTokens, Example, Kind, RenderCompletion, is_informative
from learner.data.json_lines import json_lines
from learner.errors import BadData
from store.trl_rows import BadRow, Form, Messages, TrlRow, parse_trl_row

RATER = "file"


class LeftOut(NamedTuple):
    """How many lines of a file make no example, by reason; as text, a list of those reasons with their counts."""

    too_long: int
    without_signal: int

    def __str__(self) -> str:
        reasons = ("longer than the model's context", "with an empty completion, or the same completion on both sides")
        return ", ".join(f"{count} {reason}" for count, reason in zip(self, reasons, strict=True) if count)


def read_examples(
    path: Path, render_completion: RenderCompletion, *, max_tokens: int
) -> tuple[Form, list[Example], LeftOut]:
    """Return the form of a file, its examples in order, and how many of its lines were left out.

    A line is left out if it has more than `max_tokens` tokens, an empty completion, or the same completion on both
    sides. Raises BadData, with the line's number, for a line of no form or of another form than the lines before.
    """
    found: list[Example] = []
    form: Form | None = None
    too_long = without_signal = 0
    for number, (at, line) in enumerate(json_lines(path, "training file"), 1):
        where = f"{path}, {at}"
        try:
            row = parse_trl_row(line)
        except BadRow as error:
            raise BadData(f"{where}: {error}") from error
        example = _example(row, render_completion, at, number)
        if form is not None and row.form != form:
            raise BadData(f"{where}: this is in the {row.form} form, but the file began in the {form} form; split it")
        form = row.form
        if not is_informative(example):
            without_signal += 1
        elif len(example.prompt_ids) + max(len(side.ids) for side in example.completions) > max_tokens:
            too_long += 1
        else:
            found.append(example)
    if form is None:
        raise BadData(f"{path} holds no examples")
    return form, found, LeftOut(too_long, without_signal)


def require_both_labels(form: Form, examples: Sequence[Example], file: Path, learner: str) -> None:
    """Raise BadData for thumbs that all point one way, where `learner` compares better completions with worse ones."""
    ways = {example.up for example in examples} if form == "unpaired" else set()
    if len(ways) == 1:
        label = str(ways.pop()).lower()
        lead = f"every label in {file} is {label}"
        raise BadData(f"{lead}, and {learner} learns from what is better than what; add some of the other")


def _example(row: TrlRow, render: RenderCompletion, at: str, number: int) -> Example:
    match row.form:
        case "preference":
            chosen, rejected = row.completions
            return _built("pair", render, row.prompt, chosen, rejected, at, number)
        case "unpaired" if not row.label:
            return _built("thumb", render, row.prompt, None, row.completions[0], at, number)
        case _:
            return _built("thumb", render, row.prompt, row.completions[0], None, at, number)


def _built(
    kind: Kind, render: RenderCompletion, prompt: Messages, good: str | None, bad: str | None, at: str, number: int
) -> Example:
    def rendered(text: str | None) -> CompletionTokens | None:
        if text is None:
            return None
        # the rendering of an empty text would be an end of turn
        return CompletionTokens(tuple(render(prompt, text)[1]) if text.strip() else ())

    prompt_ids, _ = render(prompt, "")
    return Example(kind, tuple(prompt_ids), rendered(good), rendered(bad), RATER, (at,), number)


def render_with(tokenizer: Any) -> Callable[[Sequence[Mapping[str, Any]], str], tuple[list[int], list[int]]]:
    """Return the function that renders a conversation and a completion's text to token ids with this tokenizer."""
    from policy.chat import render_completion

    # a line that is too long is left out before it reaches the model, so transformers need not warn of it
    tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    return lambda messages, text: render_completion(tokenizer, [dict(message) for message in messages], text)
