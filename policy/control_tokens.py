"""Control tokens: those with which a chat template opens and ends turns, and those that end a generation.

The text of a message never becomes one. A zero-width space breaks up a control token's text inside a message
("<|end|>"), and ids are compared with the text that they were made of.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from policy.chat_template import inputs_of
from policy.generation_config import read_generation_config

Tokenizer = Any  # transformers' PreTrainedTokenizerBase, whose import takes seconds
BREAK = "\u200b"
SHORTEST_LONGEST = 32  # characters: the least that counts as a vocabulary's longest entry
_USER, _ANSWER = {"role": "user", "content": "hello"}, {"role": "assistant", "content": "answer"}
_SYSTEM = {"role": "system", "content": "hello"}
_HISTORIES = ([_USER, _ANSWER, _USER], [_SYSTEM, _USER, _ANSWER, _USER])


@dataclass(frozen=True)
class ControlTokens:
    """The control tokens of one tokenizer and its chat template.

    `ids` are theirs by text, `numbers` the same ids alone. No message holds a match of `everywhere`, and only an
    assistant's own one of `in_others`. `borders` are those at which a text can be cut and tokenized in parts; `matcher`
    finds all of them as the tokenizer does. `longest` is the most characters that one token stands for.
    """

    ids: dict[str, int]
    numbers: frozenset[int]
    everywhere: re.Pattern[str]
    in_others: re.Pattern[str]
    matcher: re.Pattern[str]
    borders: frozenset[str]
    end_ids: tuple[int, ...]
    longest: int

    def defused(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return a message whose text is no control token.

        An assistant's own marks inside a turn, such as <think>, stay: templates read them.
        """
        pattern = self.everywhere if message.get("role") == "assistant" else self.in_others
        return {key: _broken(value, pattern) for key, value in message.items()}

    def defused_json(self, value: Any) -> Any:
        """Return a JSON value, such as a function on offer, in which no text is a control token."""
        if isinstance(value, dict):
            return {self.defused_json(key): self.defused_json(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.defused_json(inner) for inner in value]
        return _broken(value, self.in_others)

    def parts(self, text: str) -> Iterator[str]:
        """Give a rendered text in parts, each from one border to the next; the tokenizer sees each by itself."""
        starts = [found.start() for found in self.matcher.finditer(text) if found[0] in self.borders]
        for start, end in zip([0, *starts], [*starts, len(text)], strict=True):
            if start < end:
                yield text[start:end]

    def texts(self, part: str) -> Iterator[tuple[str, int | None]]:
        """Give the control tokens in a part with their ids, and the text between them with None."""
        at = 0
        for found in self.matcher.finditer(part):
            if found[0] in self.ids:
                yield part[at : found.start()], None
                yield found[0], self.ids[found[0]]
                at = found.end()
        yield part[at:], None


_KNOWN: WeakKeyDictionary[Any, tuple[Any, ControlTokens]] = WeakKeyDictionary()


def control_tokens(tokenizer: Tokenizer) -> ControlTokens:
    """Return the control tokens of a tokenizer; they are kept as long as it and its template stay."""
    state = (tokenizer.get_chat_template(), len(tokenizer))
    known = _KNOWN.get(tokenizer)
    if known is None or known[0] != state:
        known = _KNOWN[tokenizer] = (state, _find(tokenizer, state[0]))
    return known[1]


def template_literals(template: str) -> str:
    """Return what a Jinja template writes or compares with as it stands, joined by NUL."""
    import jinja2

    found = []
    for _, kind, value in jinja2.Environment(autoescape=False).lex(template):  # nothing is rendered
        if kind == "data":
            found.append(value)
        elif kind == "string":
            with contextlib.suppress(UnicodeError):  # as Jinja itself reads escapes
                found.append(value[1:-1].encode("ascii", "backslashreplace").decode("unicode-escape"))
    return "\0".join(found)


def longest_match(texts: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern that finds the longest of the texts at each index. It stays quick with thousands of texts."""
    tree: dict[str, Any] = {}
    for text in texts:
        node = tree
        for char in text:
            node = node.setdefault(char, {})
        node[""] = {}
    return re.compile(_branches(tree) if tree else "(?!)", re.DOTALL)


def _branches(node: dict[str, Any]) -> str:
    ways = []
    for char, following in node.items():
        run = char
        while len(following) == 1 and "" not in following:  # one way on: no group needed
            char, following = next(iter(following.items()))
            run += char
        if run:
            ways.append(re.escape(run) + (_branches(following) if set(following) != {""} else ""))
    return f"(?:{'|'.join(ways)}){'?' if '' in node else ''}"


def _find(tokenizer: Tokenizer, template: str) -> ControlTokens:
    backend = tokenizer.backend_tokenizer
    if backend.truncation is not None or backend.padding is not None:  # a tokenizer file's own would change prompts
        backend.no_truncation()
        backend.no_padding()
    added = backend.get_added_tokens_decoder()
    texts = {number: token.content for number, token in added.items()}
    special = {number for number, token in added.items() if token.special} | set(tokenizer.all_special_ids)
    generation = _generation_ids(tokenizer)
    histories = "\0".join(_rendered(tokenizer, messages) for messages in _HISTORIES)
    seen = "\0".join([histories, _rendered(tokenizer, [_USER], opened=True), template_literals(template)])
    in_turns = {number for number, text in texts.items() if _is_mark(text) and text in histories}
    used = {number for number, text in texts.items() if _is_mark(text) and text in seen}
    ends = {number for number in generation if _is_mark(texts.get(number, ""))}
    everywhere = {number for number in special | in_turns | ends if texts.get(number)}
    ids = {texts[number]: number for number in everywhere | used}
    overlapping = [text for text in texts.values() if text and text not in ids and _overlaps_any(text, ids)]
    return ControlTokens(
        ids,
        frozenset(ids.values()),
        longest_match(texts[number] for number in everywhere),
        longest_match(ids),
        longest_match([*ids, *overlapping]),
        frozenset(text for text, number in ids.items() if _is_border(added[number])),
        tuple(dict.fromkeys([*_template_end(tokenizer, texts, ids), *generation])),
        max([SHORTEST_LONGEST, *map(len, backend.get_vocab())]),
    )


def _is_mark(text: str) -> bool:
    """Whether a token that is not special may be a control token: a template writes spaces and plain terms as text."""
    return bool(text) and not text.isspace() and not text.isalnum()


def _is_border(token: Any) -> bool:
    """Whether the tokenizer cuts the text here whatever stands before."""
    return not (token.normalized or token.lstrip or token.single_word)


def _overlaps_any(text: str, controls: Iterable[str]) -> bool:
    """Whether another added token may take a part of a control token's text for itself."""
    return any(
        control in text or any(control.startswith(text[start:]) for start in range(1, len(text)))
        for control in controls
    )


def _broken(value: Any, pattern: re.Pattern[str]) -> Any:
    """Return a value with every match inside its strings broken up."""
    if isinstance(value, str):
        while pattern.search(value):  # breaking one up may leave another that overlapped with it
            value = pattern.sub(lambda found: (found[0][0] if len(found[0]) > 1 else "") + BREAK + found[0][1:], value)
        return value
    if isinstance(value, dict):
        return {_broken(key, pattern): _broken(one, pattern) for key, one in value.items()}
    return [_broken(one, pattern) for one in value] if isinstance(value, list | tuple) else value


def _rendered(tokenizer: Tokenizer, messages: Sequence[dict[str, str]], *, opened: bool = False) -> str:
    """Return a conversation as the template renders it, "" where it refuses that."""
    from jinja2.exceptions import TemplateError

    try:
        return str(
            tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=opened, **inputs_of(tokenizer).rendered_with()
            )
        )
    except (TemplateError, TypeError, ValueError, LookupError):
        return ""


def _template_end(tokenizer: Tokenizer, texts: dict[int, str], controls: dict[str, int]) -> list[int]:
    """Return the control token that the template writes right after an answer, [] if it writes none."""
    _, answer, after = _rendered(tokenizer, [_USER, _ANSWER]).rpartition(_ANSWER["content"])
    after = after.lstrip() if answer else ""
    first = max((text for text in controls if after.startswith(text)), key=len, default=None)
    return [] if first is None else [controls[first]]


def _generation_ids(tokenizer: Tokenizer) -> list[int]:
    """Return the ids that end a generation: the tokenizer's end of sequence, and those of the generation settings."""
    named = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    more = read_generation_config(Path(tokenizer.name_or_path)).get("eos_token_id")
    return named + (more if isinstance(more, list) else [] if more is None else [more])
