"""Conversations to token ids, the same for serving and for training.

The text of a message never becomes a control token (policy.control_tokens), so no message can open or end a turn.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from policy.chat_template import USUAL_ARGUMENTS, TemplateInputs, inputs_of, set_template
from policy.control_tokens import control_tokens
from policy.errors import Interrupted, InvalidChat, ModelCorrupt, first_line
from policy.model import resolve_model
from policy.token_text import TextStream as TextStream
from policy.token_text import decode as decode

USUAL_CHARS = 8  # characters of a token: a text with more for each token that fits is counted before it is tokenized
SLICE = 16_384  # characters that are counted at once
SLICE_SLACK = 2  # tokens that the ends of a slice may add
Tokenizer = Any  # transformers' PreTrainedTokenizerBase, whose import takes seconds


def load_tokenizer(
    name: str,
    template: str | None = None,
    arguments: Mapping[str, Any] = USUAL_ARGUMENTS,
    day: date | None = None,
) -> Tokenizer:
    """Load the tokenizer of a model with the chat template in force; needs no torch.

    `template` is a file, chatml or plain; None is the model's own. It gets `arguments`. Where it writes a date, that is
    `day`, None for today. Raises ModelNotFound or ModelCorrupt, and UnsupportedModel where there is no usable template.
    """
    folder = resolve_model(name)
    try:
        tokenizer = _tokenizer_class(folder).from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises bare Exceptions for files it cannot read
        raise ModelCorrupt(f"the tokenizer in {folder} cannot be loaded ({first_line(error)})") from error
    set_template(tokenizer, name, template, arguments, day)
    return tokenizer


def plain_messages(messages: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Return the messages with role and text alone, text parts joined. Raises ValueError for other parts."""
    return [{"role": message["role"], "content": _content_text(message.get("content"))} for message in messages]


def render_prompt(
    tokenizer: Tokenizer, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]] = ()
) -> list[int]:
    """Return the prompt's token ids: all turns of the conversation and the opening of the assistant's turn.

    `tools` are functions on offer, in OpenAI's shape; a template without functions leaves them out. Raises InvalidChat
    when the model's template refuses the messages.
    """
    return ChatEncoder(tokenizer).prompt_ids(messages, tools)


def render_completion(
    tokenizer: Tokenizer, messages: Sequence[dict[str, Any]], completion: str
) -> tuple[list[int], list[int]]:
    """Return (prompt ids, completion ids) of a completion given as text; it ends with the end of turn.

    The prompt ids are those of `render_prompt`: prompt + completion is the sequence of a model that sampled this text.
    """
    return ChatEncoder(tokenizer).completion_ids(messages, completion)


def end_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Return the token ids that end a turn.

    First the one that the chat template writes after a completion, then the tokenizer's end of sequence, then those of
    the model's generation settings.
    """
    return control_tokens(tokenizer).end_ids


class ChatEncoder:
    """Renders conversations for one request. Each text between two control tokens is tokenized once, however often.

    `arguments` are the request's own for the template, over those of `load_tokenizer`. Raises Interrupted soon after
    `is_interrupted` is true.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        is_interrupted: Callable[[], bool] = lambda: False,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self._tokenizer, self._is_interrupted = tokenizer, is_interrupted
        self._backend, self._controls = tokenizer.backend_tokenizer, control_tokens(tokenizer)
        self._inputs = inputs_of(tokenizer).with_arguments(self._controls.defused(dict(arguments or {})))
        self._known: dict[str, list[int]] = {}

    def prompt_ids(self, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]] = ()) -> list[int]:
        """See `render_prompt`."""
        ids = self._ids(self._text(messages, opened=True, tools=tools), limit=None)
        assert ids is not None
        return ids

    def prompt_ids_within(self, messages: Sequence[dict[str, Any]], limit: int) -> list[int] | None:
        """Return the prompt's ids, None when there are more than `limit`. A text far too long is not tokenized."""
        plain = plain_messages(messages)
        if sum(len(message["content"].strip()) for message in plain) > limit * self._controls.longest:
            return None
        return self._ids(self._text(plain, opened=True), limit)

    def completion_ids(self, messages: Sequence[dict[str, Any]], completion: str) -> tuple[list[int], list[int]]:
        """See `render_completion`."""
        prompt = self.prompt_ids(messages)
        answer = {"role": "assistant", "content": completion}
        whole = self._ids(self._text([*messages, answer], opened=False), limit=None) or []
        ends = self._controls.end_ids
        if whole[: len(prompt)] == prompt:
            completion_ids = whole[len(prompt) :]
            last = max((index for index, token in enumerate(completion_ids) if token in ends), default=None)
            if last is not None:
                return prompt, completion_ids[: last + 1]
        # the template strips or rewrites earlier turns, so the prompt is no prefix: encode the completion by itself
        alone = self._ids(self._controls.defused(answer)["content"], limit=None) or []
        return prompt, [*alone, *ends[:1]]

    def _text(self, messages: Sequence[dict[str, Any]], *, opened: bool, tools: Sequence[dict[str, Any]] = ()) -> str:
        self._check()
        safe, offered = map(self._controls.defused, plain_messages(messages)), map(self._controls.defused_json, tools)
        return _rendered(self._tokenizer, [*safe], [*offered], self._inputs, opened=opened)

    def _ids(self, text: str, limit: int | None) -> list[int] | None:
        """Return the ids of a rendered text, None when there are more than `limit`."""
        ids: list[int] = []
        for part in self._controls.parts(text):
            known = self._known.get(part)
            if known is None:
                self._check()
                if limit is not None and self._is_over(part, limit - len(ids)):
                    return None
                known = self._known[part] = self._part_ids(part)
            ids += known
            if limit is not None and len(ids) > limit:
                return None
        return ids

    def _is_over(self, part: str, limit: int) -> bool:
        """Whether a long part surely has more than `limit` tokens. It is counted in slices, as far as needed."""
        if len(part) <= USUAL_CHARS * limit + SLICE:
            return False
        count = 0
        for start in range(0, len(part), SLICE):
            self._check()
            count += len(self._encoded(part[start : start + SLICE])) - SLICE_SLACK
            if count > limit:
                return True
        return False

    def _part_ids(self, part: str) -> list[int]:
        """Return the ids of a part. Its control tokens alone become control tokens, whatever a normalizer does."""
        ids, controls = self._encoded(part), self._controls
        numbers = controls.numbers
        if sum(token in numbers for token in ids) <= sum(number is not None for _, number in controls.texts(part)):
            return ids
        ids = []
        for text, number in controls.texts(part):
            characters = (token for char in text for token in self._encoded(char) if token not in numbers)
            ids += characters if number is None else [number]
        return ids

    def _encoded(self, text: str) -> list[int]:
        # encode_batch_fast, unlike encode, leaves other threads running
        return list(self._backend.encode_batch_fast([text], add_special_tokens=False)[0].ids)

    def _check(self) -> None:
        if self._is_interrupted():
            raise Interrupted("the prompt is not needed any more")


def _tokenizer_class(folder: Path) -> Any:
    """Return the class to load with. AutoTokenizer imports torch, which takes seconds, so it is the last resort."""
    if (folder / "tokenizer.json").exists():
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast
    from transformers import AutoTokenizer

    return AutoTokenizer


def _rendered(
    tokenizer: Tokenizer,
    messages: list[dict[str, str]],
    tools: list[dict[str, Any]],
    inputs: TemplateInputs,
    *,
    opened: bool,
) -> str:
    from jinja2.exceptions import TemplateError

    try:
        # the template itself writes BOS: never a second one
        return str(
            tokenizer.apply_chat_template(
                messages,
                tools=tools or None,
                tokenize=False,
                add_generation_prompt=opened,
                **inputs.rendered_with(),
            )
        )
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        if not inputs.arguments:
            raise
        raise InvalidChat(f"this model's chat template refuses its arguments ({first_line(error)})") from error
    except TemplateError as error:
        folded = _without_system(messages)
        if folded is not None:
            return _rendered(tokenizer, folded, tools, inputs, opened=opened)
        roles = ", ".join(message["role"] for message in messages) or "none"
        raise InvalidChat(f"this model's chat template refuses messages in the order: {roles} ({error})") from error


def _without_system(messages: list[dict[str, str]]) -> list[dict[str, str]] | None:
    """Return the messages with the system message joined to the first user message, None where that is impossible.

    Some templates (Gemma's) know no system role.
    """
    if [message["role"] for message in messages[:2]] != ["system", "user"]:
        return None
    first = {"role": "user", "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
    return [first, *messages[2:]]


def _content_text(content: Any) -> str:
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
