"""Conversations to token ids and token ids to text, the same for serving and for training.

A zero-width space breaks up the text of a special token inside a message ("<|end|>"). So no message can open or end a
turn.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from policy.errors import InvalidChat, ModelCorrupt, first_line
from policy.model import resolve_model

FALLBACK_TEMPLATE = (  # for base models without a template: plain text that any tokenizer can encode
    "{{ bos_token or '' }}{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token or '' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
Tokenizer = Any  # transformers' PreTrainedTokenizerBase, whose import takes seconds


def load_tokenizer(name: str) -> Tokenizer:
    """Load the tokenizer of a model; needs no torch. Raises ModelNotFound or ModelCorrupt."""
    folder = resolve_model(name)
    try:
        tokenizer = _tokenizer_class(folder).from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises bare Exceptions for files it cannot read
        raise ModelCorrupt(f"the tokenizer in {folder} cannot be loaded ({first_line(error)})") from error
    if not tokenizer.chat_template:
        tokenizer.chat_template = FALLBACK_TEMPLATE
    return tokenizer


def plain_messages(messages: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Return the messages with role and text alone, text parts joined. Raises ValueError for other parts."""
    return [{"role": message["role"], "content": _text(message.get("content"))} for message in messages]


def render_prompt(tokenizer: Tokenizer, messages: Sequence[dict[str, Any]]) -> list[int]:
    """Return the prompt's token ids: all turns of the conversation and the opening of the assistant's turn.

    Raises InvalidChat when the model's template refuses the messages.
    """
    return _render(tokenizer, plain_messages(messages), opened=True)


def render_completion(
    tokenizer: Tokenizer, messages: Sequence[dict[str, Any]], completion: str
) -> tuple[list[int], list[int]]:
    """Return (prompt ids, completion ids) of a completion given as text; it ends with the end of turn.

    The prompt ids are those of `render_prompt`: prompt + completion is the sequence of a model that sampled this text.
    """
    prompt = render_prompt(tokenizer, messages)
    whole = _render(tokenizer, [*plain_messages(messages), {"role": "assistant", "content": completion}], opened=False)
    ends = end_ids(tokenizer)
    if whole[: len(prompt)] == prompt:
        completion_ids = whole[len(prompt) :]
        last = max((index for index, token in enumerate(completion_ids) if token in ends), default=None)
        if last is not None:
            return prompt, completion_ids[: last + 1]
    # the template strips or rewrites earlier turns, so the prompt is no prefix: encode the completion by itself
    return prompt, [*tokenizer.encode(_defused(tokenizer, completion), add_special_tokens=False), *ends[:1]]


def end_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Return the token ids that end a turn.

    First the one that the chat template writes after a completion, then the tokenizer's end of sequence, then those of
    the model's generation settings.
    """
    named = _template_end(tokenizer) + ([] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)])
    settings = Path(tokenizer.name_or_path) / "generation_config.json"
    if settings.exists():
        more = json.loads(settings.read_text()).get("eos_token_id")
        named += more if isinstance(more, list) else [] if more is None else [more]
    return tuple(dict.fromkeys(named))


class TextStream:
    """Decodes token ids one by one. It gives whole characters only, and nothing for special tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        from tokenizers.decoders import DecodeStream

        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._ids: list[int] = []
        self._decoded = ""

    def feed(self, token_id: int) -> str:
        """Return the text that this token completes, "" while a character is still open."""
        self._ids.append(token_id)
        text = self._stream.step(self._tokenizer.backend_tokenizer, token_id) or ""
        self._decoded += text
        return text

    def finish(self) -> str:
        """Return the rest: the replacement character for a character that is still incomplete, else ""."""
        whole = decode(self._tokenizer, self._ids)
        rest = whole[len(self._decoded) :] if whole.startswith(self._decoded) else ""
        self._decoded += rest
        return rest


def decode(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """Return the text of token ids without special tokens."""
    return str(tokenizer.backend_tokenizer.decode(list(ids), skip_special_tokens=True))


def _tokenizer_class(folder: Path) -> Any:
    """Return the class to load with. AutoTokenizer imports torch, which takes seconds, so it is the last resort."""
    if (folder / "tokenizer.json").exists():
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast
    from transformers import AutoTokenizer

    return AutoTokenizer


def _render(tokenizer: Tokenizer, messages: list[dict[str, str]], *, opened: bool) -> list[int]:
    from jinja2.exceptions import TemplateError

    safe = [{**message, "content": _defused(tokenizer, message["content"])} for message in messages]
    try:
        text = tokenizer.apply_chat_template(safe, tokenize=False, add_generation_prompt=opened)
    except TemplateError as error:
        folded = _without_system(safe)
        if folded is not None:
            return _render(tokenizer, folded, opened=opened)
        roles = ", ".join(message["role"] for message in messages) or "none"
        raise InvalidChat(f"this model's chat template refuses messages in the order: {roles} ({error})") from error
    return list(tokenizer.encode(text, add_special_tokens=False))  # the template itself writes BOS: never a second one


def _without_system(messages: list[dict[str, str]]) -> list[dict[str, str]] | None:
    """Return the messages with the system message joined to the first user message, None where that is impossible.

    Some templates (Gemma's) know no system role.
    """
    if [message["role"] for message in messages[:2]] != ["system", "user"]:
        return None
    first = {"role": "user", "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
    return [first, *messages[2:]]


def _defused(tokenizer: Tokenizer, text: str) -> str:
    for special in tokenizer.all_special_tokens:
        if special in text:
            text = text.replace(special, f"{special[0]}\u200b{special[1:]}")
    return text


def _template_end(tokenizer: Tokenizer) -> list[int]:
    """Return the special token that the template writes right after a completion, [] if it writes none."""
    ids = _render(
        tokenizer, [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "answer"}], opened=False
    )
    special = set(tokenizer.all_special_ids)
    after = len(ids)
    while after and (
        ids[after - 1] in special or not tokenizer.decode(ids[after - 1 : after], skip_special_tokens=True).strip()
    ):
        after -= 1
    return next(([token] for token in ids[after:] if token in special), [])


def _text(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    texts = []
    for part in content:
        if part.get("type") != "text":
            raise ValueError(f"message parts of type {part.get('type')!r} are not supported; send text")
        texts.append(part["text"])
    return "".join(texts)
