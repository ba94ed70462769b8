"""The chat template in force: the model's own or another, the arguments that it takes, and the day that it writes."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from pathlib import Path
from types import MappingProxyType
from typing import Any
from weakref import WeakKeyDictionary

from policy.errors import UnsupportedModel, first_line

Tokenizer = Any  # transformers' PreTrainedTokenizerBase, whose import takes seconds
PLAIN = (  # for base models without a template: plain text that any tokenizer can encode
    "{{ bos_token or '' }}{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token or '' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NAMED = {"chatml": CHATML, "plain": PLAIN}
CHATML_MARKS = ("<|im_start|>", "<|im_end|>")
TEMPLATE_FILE = "chat_template.jinja"  # in a folder of weights, as transformers reads it
MOST_BYTES = 2**20  # of a template's file
MOST_ARGUMENTS = 16
USUAL_ARGUMENTS: Mapping[str, Any] = MappingProxyType({"enable_thinking": False})
# What transformers and the templates' surroundings define: a request must not replace these.
DATES = "template_dates"  # the variable that takes the place of the clock
RESERVED = {
    *("messages", "conversation", "chat_template", "tokenize", "add_generation_prompt", "continue_final_message"),
    *("tools", "documents", "padding", "truncation", "max_length", "return_tensors", "return_dict"),
    *("return_assistant_tokens_mask", "tokenizer_kwargs", "processor_kwargs", "load_audio_from_video"),
    *("strftime_now", "raise_exception"),
    DATES,
}
_CLOCK = re.compile(r"""strftime_now\(\s*(?:format\s*=\s*)?(?:"([^"\\]*)"|'([^'\\]*)')\s*\)""")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_PROBE = [{"role": "user", "content": "attune-probe"}]


@dataclass(frozen=True)
class TemplateInputs:
    """What a template gets beside the messages.

    `day` is the date that it may write, None is today; `formats` are those in which it does.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    day: date | None = None
    formats: tuple[str, ...] = ()

    def with_arguments(self, more: Mapping[str, Any]) -> "TemplateInputs":
        """Return these inputs with more arguments; those given here win."""
        return replace(self, arguments={**self.arguments, **more})

    def rendered_with(self) -> dict[str, Any]:
        """Return the template's variables. The clock stands at midnight, so a prompt stays the same all day."""
        midnight = datetime.combine(self.day or date.today(), time())
        return {**self.arguments, DATES: {form: midnight.strftime(form) for form in self.formats}}


_INPUTS: WeakKeyDictionary[Any, TemplateInputs] = WeakKeyDictionary()


def inputs_of(tokenizer: Tokenizer) -> TemplateInputs:
    """Return what the template of a loaded tokenizer gets."""
    return _INPUTS.get(tokenizer, TemplateInputs())


def set_template(
    tokenizer: Tokenizer, model: str, template: str | None, arguments: Mapping[str, Any], day: date | None
) -> None:
    """Give a tokenizer the template in force: `template` is a file, chatml or plain; None keeps the model's own.

    Raises UnsupportedModel where there is none, where it cannot be read, and where it does not write the messages.
    """
    if template is not None:
        tokenizer.chat_template = read_template(template)
    if not tokenizer.chat_template:
        lead = f"the model {model!r} has no chat template, so it may be a base model that was never taught to chat"
        raise UnsupportedModel(
            f"{lead}; choose a chat model, or name a template: --chat-template FILE, chatml or plain"
        )
    if template == "chatml" and not set(CHATML_MARKS) <= set(tokenizer.get_added_vocab()):
        lead = f"the model {model!r} has no tokens {' and '.join(CHATML_MARKS)}, which chatml needs"
        raise UnsupportedModel(f"{lead}; take --chat-template plain, or a file")
    formats = _fix_dates(tokenizer)
    _INPUTS[tokenizer] = TemplateInputs(dict(arguments), day, formats)
    if template is not None:
        _check(tokenizer, template)


def check_template_name(value: str | None) -> str | None:
    """Return a setting that names a template. Raises ValueError for one that is neither a name nor a file."""
    if value is not None and value not in NAMED and not Path(value).expanduser().is_file():
        raise ValueError("there is no such file; name a Jinja file, chatml or plain")
    return value


def checked_arguments(value: Any) -> dict[str, Any]:
    """Return a template's arguments, given as an object or as its JSON. Raises ValueError."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ValueError(f'must be a JSON object, such as {{"enable_thinking": true}} ({error})') from error
    if not isinstance(value, Mapping):
        raise ValueError('must be a JSON object, such as {"enable_thinking": true}')
    if len(value) > MOST_ARGUMENTS:
        raise ValueError(f"must have at most {MOST_ARGUMENTS} entries, not {len(value)}")
    for name in value:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of an argument; take letters, digits and underscores")
        if name in RESERVED:
            raise ValueError(f"{name!r} is not for callers; leave it out")
    return dict(value)


def read_template(template: str) -> str:
    """Return the text of a template: a file, chatml or plain. Raises UnsupportedModel."""
    if template in NAMED:
        return NAMED[template]
    path = Path(template).expanduser()
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UnsupportedModel(f"the chat template {path} is larger than 1 MiB; name a Jinja file")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnsupportedModel(f"the chat template {path} cannot be read ({first_line(error)})") from error


def _check(tokenizer: Tokenizer, template: str) -> None:
    """Raise UnsupportedModel for a template that cannot be rendered, and for one that leaves the messages out."""
    try:
        text = tokenizer.apply_chat_template(
            _PROBE, tokenize=False, add_generation_prompt=True, **inputs_of(tokenizer).rendered_with()
        )
    except Exception as error:  # a template may raise anything
        raise UnsupportedModel(f"the chat template {template} cannot be rendered ({first_line(error)})") from error
    if _PROBE[0]["content"] not in text:
        raise UnsupportedModel(f"the chat template {template} does not write the messages; name a chat template")


def _fix_dates(tokenizer: Tokenizer) -> tuple[str, ...]:
    """Have the templates of a tokenizer take dates from a variable where there is one; return the dates' formats.

    transformers passes no functions to a template, so the clock itself cannot be replaced.
    """
    formats: dict[str, None] = {}

    def taken(call: re.Match[str]) -> str:
        form = call[1] if call[1] is not None else call[2]
        formats[form] = None
        return f"(({DATES} | default({{}})).get({form!r}) or {call[0]})"

    own = tokenizer.chat_template
    if isinstance(own, str):
        tokenizer.chat_template = _CLOCK.sub(taken, own)
    else:  # several by name
        tokenizer.chat_template = {name: _CLOCK.sub(taken, text) for name, text in own.items()}
    return tuple(formats)
