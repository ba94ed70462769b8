"""Request bodies. Unknown fields are refused, and by name those of OpenAI's that would change the answer."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from service.answer import Sampling
from service.errors import UnsupportedParameter
from service.http.json_values import MAX_INTEGER, MIN_INTEGER, shown
from service.http.validation_errors import TAG

Name = Annotated[str, Field(min_length=1, max_length=200)]
Temperature = Annotated[float, Field(ge=0, le=2)]
TopP = Annotated[float, Field(gt=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Stop = Annotated[str, Field(min_length=1, max_length=500)]
MAX_STOPS = 8
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]  # as OpenAI has it
Count = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
Index = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
REASONS = Literal[
    "correct", "helpful", "clear", "style", "wrong", "unhelpful", "unsafe", "too_long", "too_short", "refused", "other"
]


def fault(field: str, message: str) -> PydanticCustomError:
    """Return the error of a validator of a whole body: `field` is what the caller should change."""
    return PydanticCustomError("fault", "{message}", {"param": field, "message": message})


class Body(BaseModel):
    """A request body: unknown fields are refused, and so are values of another JSON type."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)


class TextPart(Body):
    """One part of a message's content; only text is taken."""

    type: Literal["text"]
    text: str


def _kind(value: Any) -> str | None:
    return f"{TAG}text" if isinstance(value, str) else f"{TAG}list" if isinstance(value, list) else None


def _only_text_parts(parts: Any) -> Any:
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, dict) and part.get("type", "text") != "text":
            raise ValueError(f"only text parts are taken here, not {shown(part['type'])}")
    return parts


def _text_or(what: str) -> Discriminator:
    """Choose between a text and a list, so that an error names the one that was sent and not both."""
    message = f"must be a string or a list of {what}"
    return Discriminator(_kind, custom_error_type="text_or_list", custom_error_message=message)


Parts = Annotated[list[TextPart], BeforeValidator(_only_text_parts)]
Content = Annotated[Annotated[str, Tag(f"{TAG}text")] | Annotated[Parts, Tag(f"{TAG}list")], _text_or("text parts")]
Stops = Annotated[
    Annotated[Stop, Tag(f"{TAG}text")] | Annotated[list[Stop], Field(max_length=MAX_STOPS), Tag(f"{TAG}list")],
    _text_or("strings"),
]
Prompts = Annotated[
    Annotated[str, Tag(f"{TAG}text")] | Annotated[list[str], Field(min_length=1, max_length=64), Tag(f"{TAG}list")],
    _text_or("strings; token ids are not taken"),
]


class Message(Body):
    """One message. Fields that SDKs send when they echo an answer (`refusal`, `annotations`, ...) must be empty."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Content
    name: str | None = None
    refusal: None = None
    audio: None = None
    function_call: None = None
    tool_calls: Annotated[list[Any], Field(max_length=0)] | None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None

    def plain(self) -> dict[str, str]:
        """Return role and text, as the store and the chat template take them."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class StreamOptions(Body):
    """`include_usage` adds a last chunk with counts; `include_obfuscation` is accepted and there is none."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class SamplingBody(Body):
    """The fields that both kinds of completion share. None means the default."""

    model: Name
    n: Annotated[int, Field(ge=1, le=8)] | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: Index | None = None
    max_tokens: Count | None = None
    stop: Stops | None = None
    seed: Annotated[int, Field(ge=MIN_INTEGER, le=MAX_INTEGER)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    metadata: Metadata | None = None
    # OpenAI's, without effect on the answer here
    store: bool | None = None
    service_tier: str | None = None
    # OpenAI's, refused by name when set to anything that would change the answer
    logit_bias: Any = None

    @model_validator(mode="after")
    def _options_need_a_stream(self) -> "SamplingBody":
        if self.stream_options is not None and not self.stream:
            raise fault("stream_options", "stream_options is only allowed when stream is true")
        return self

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk of counts."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def completion_limit(self) -> int | None:
        """The completion length asked for, in tokens."""
        return self.max_tokens

    def sampling(self, default_temperature: float) -> Sampling:
        """Return how to sample, with defaults filled in."""
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return Sampling(
            temperature=self.temperature if self.temperature is not None else default_temperature,
            top_p=self.top_p if self.top_p is not None else 1.0,
            top_k=self.top_k or 0,
            max_tokens=self.completion_limit,
            seed=self.seed % 2**32 if self.seed is not None else None,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            stop=stop,
        )


class ChatBody(SamplingBody):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=2000)]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    # ours
    conversation_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    truncation: Literal["auto", "disabled"] | None = Field(
        None, description="auto (default): a conversation past the context loses its oldest turns"
    )
    # OpenAI's, without effect on the answer here
    parallel_tool_calls: bool | None = None
    prediction: Any = None
    prompt_cache_key: str | None = None
    prompt_cache_options: Any = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    moderation: Any = None
    # OpenAI's, refused by name when set to anything that would change the answer
    audio: Any = None
    function_call: Any = None
    functions: Any = None
    modalities: Any = None
    reasoning_effort: Any = None
    response_format: Any = None
    tool_choice: Any = None
    tools: Any = None
    verbosity: Any = None
    web_search_options: Any = None

    @model_validator(mode="after")
    def _logprobs_for_top(self) -> "ChatBody":
        if self.top_logprobs and not self.logprobs:
            raise fault("top_logprobs", "top_logprobs needs logprobs to be true")
        if (
            self.max_tokens is not None
            and self.max_completion_tokens is not None
            and self.max_tokens != self.max_completion_tokens
        ):
            message = "max_tokens and max_completion_tokens are the same thing here; send one of them"
            raise fault("max_completion_tokens", message)
        return self

    @property
    def completion_limit(self) -> int | None:
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens


class CompletionsBody(SamplingBody):
    """POST /v1/completions: each prompt is answered as one user message."""

    prompt: Prompts
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    best_of: Index | None = None
    echo: bool | None = None
    suffix: str | None = None


# For fields of OpenAI's that we do not support: values that mean the same as leaving the field out.
_HARMLESS: Mapping[str, Callable[[Any], bool]] = {
    "audio": lambda value: value is None,
    "function_call": lambda value: value in (None, "none", "auto"),
    "functions": lambda value: not value,
    "logit_bias": lambda value: not value,
    "modalities": lambda value: value in (None, ["text"]),
    "reasoning_effort": lambda value: value in (None, "none"),
    "response_format": lambda value: value in (None, {"type": "text"}),
    "tool_choice": lambda value: value in (None, "none", "auto"),
    "tools": lambda value: not value,
    "verbosity": lambda value: value in (None, "medium"),
    "web_search_options": lambda value: value is None,
    "echo": lambda value: not value,
    "suffix": lambda value: not value,
}


def refuse_unsupported(body: SamplingBody) -> None:
    """Raise UnsupportedParameter for a field of OpenAI's that would change the answer but is not supported."""
    for name, is_harmless in _HARMLESS.items():
        if name in body.model_fields_set and not is_harmless(getattr(body, name)):
            raise UnsupportedParameter(f"{name} is not supported by this service; leave it out", param=name)
    if isinstance(body, CompletionsBody) and body.best_of not in (None, body.n or 1):
        raise UnsupportedParameter(
            f"best_of is not supported by this service (it was {body.best_of}); ask for n answers instead",
            param="best_of",
        )
