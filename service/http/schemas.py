"""Request bodies. Unknown fields are refused, and by name those of OpenAI's that would change the answer."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from policy.chat_template import MOST_ARGUMENTS, checked_arguments
from service.errors import UnsupportedParameter
from service.http.json_values import MAX_INTEGER, MAX_NUMBER, MIN_INTEGER, shown
from service.http.validation_errors import TAG
from service.sampling import Sampling

Name = Annotated[str, Field(min_length=1, max_length=200)]
Temperature = Annotated[float, Field(ge=0, le=2)]
TopP = Annotated[float, Field(ge=0, le=1)]  # 0 is the likeliest token alone, as OpenAI has it
Penalty = Annotated[float, Field(ge=-2, le=2)]
RepetitionPenalty = Annotated[float, Field(gt=0, le=2)]
MinP = Annotated[float, Field(ge=0, le=1)]
Stop = Annotated[str, Field(min_length=1, max_length=500)]
MAX_STOPS = 8
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]  # as OpenAI has it


def _whole(value: Any) -> Any:
    """Return 1.0 as 1: to JSON they are the same number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)  # after the bounds, or the description loses them
Count = Annotated[int, Field(ge=1, le=MAX_NUMBER), WHOLE]
Index = Annotated[int, Field(ge=0, le=MAX_NUMBER), WHOLE]
REASONS = Literal[
    "correct", "helpful", "clear", "style", "wrong", "unhelpful", "unsafe", "too_long", "too_short", "refused", "other"
]


TemplateArguments = Annotated[dict[str, Any], Field(max_length=MOST_ARGUMENTS), AfterValidator(checked_arguments)]


def fault(field: str, message: str) -> PydanticCustomError:
    """Return the error of a validator of a whole body: `field` is what the caller should change."""
    return PydanticCustomError("fault", "{message}", {"param": field, "message": message})


class Body(BaseModel):
    """A request body: unknown fields are refused, and so are values of another JSON type."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)


class Harmless:
    """Marks a field of OpenAI's that is not supported, with the values that mean the same as leaving it out."""

    def __init__(self, *values: Any) -> None:
        self.values = values

    def allows(self, value: Any) -> bool:
        """Whether a value may be ignored."""
        return any(value == one and type(value) is type(one) for one in self.values)

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe exactly these values, without enumerations of several types, which no generator of clients takes."""
        schemas = [_schema_of(value) for value in self.values]
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _schema_of(value: Any) -> dict[str, Any]:
    if value is None:
        return {"type": "null"}
    if isinstance(value, dict):
        properties = {name: _schema_of(one) for name, one in value.items()}
        closed = {"type": "object", "properties": properties, "additionalProperties": False}
        return closed | ({"required": list(properties)} if properties else {})
    if isinstance(value, list):
        items = _schema_of(value[0]) if value else {}
        return {"type": "array", "items": items, "minItems": len(value), "maxItems": len(value)}
    return {"type": "boolean" if isinstance(value, bool) else "string", "enum": [value]}


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
    n: Annotated[int, Field(ge=1, le=8), WHOLE] | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: Index | None = None
    max_tokens: Count | None = None
    stop: Stops | None = None
    seed: Annotated[int, Field(ge=MIN_INTEGER, le=MAX_INTEGER), WHOLE] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    # not OpenAI's, as transformers and vLLM have them
    repetition_penalty: RepetitionPenalty | None = None
    min_p: MinP | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Annotated[str, Field(max_length=512)] | None = None
    metadata: Metadata | None = None
    # OpenAI's, without effect on the answer here
    store: bool | None = None
    service_tier: str | None = None
    # OpenAI's, refused by name when set to anything that would change the answer
    logit_bias: Annotated[Any, Harmless(None, {})] = None

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

    def sampling(self) -> Sampling:
        """Return how to sample, as far as the request says."""
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            max_tokens=self.completion_limit,
            seed=self.seed % 2**32 if self.seed is not None else None,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            repetition_penalty=self.repetition_penalty,
            min_p=self.min_p,
            stop=stop,
        )


class ChatBody(SamplingBody):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=2000)]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20), WHOLE] | None = None
    # ours
    conversation_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    truncation: Literal["auto", "disabled"] | None = Field(
        None, description="auto (default): a conversation past the context loses its oldest turns"
    )
    chat_template_kwargs: TemplateArguments | None = Field(
        None, description="arguments of the model's chat template, such as enable_thinking, over those of the settings"
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
    audio: Annotated[Any, Harmless(None)] = None
    function_call: Annotated[Any, Harmless(None, "none", "auto")] = None
    functions: Annotated[Any, Harmless(None, [])] = None
    modalities: Annotated[Any, Harmless(None, ["text"])] = None
    reasoning_effort: Annotated[Any, Harmless(None, "none")] = None
    response_format: Annotated[Any, Harmless(None, {"type": "text"})] = None
    tool_choice: Annotated[Any, Harmless(None, "none", "auto")] = None
    tools: Annotated[Any, Harmless(None, [])] = None
    verbosity: Annotated[Any, Harmless(None, "medium")] = None
    web_search_options: Annotated[Any, Harmless(None)] = None

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
    logprobs: Annotated[int, Field(ge=0, le=5), WHOLE] | None = None
    best_of: Annotated[Any, Harmless(None)] = None  # as many as `n` are taken too
    echo: Annotated[Any, Harmless(None, False)] = None
    suffix: Annotated[Any, Harmless(None, "")] = None


def refuse_unsupported(body: SamplingBody) -> None:
    """Raise UnsupportedParameter for a field of OpenAI's that would change the answer but is not supported."""
    given = body.model_fields_set
    for name, info in type(body).model_fields.items():
        if name not in given:
            continue
        harmless = next((one for one in info.metadata if isinstance(one, Harmless)), None)
        if harmless is None or harmless.allows(getattr(body, name)):
            continue
        if name != "best_of":
            raise UnsupportedParameter(f"{name} is not supported by this service; leave it out", param=name)
        if body.best_of != (body.n or 1):  # type: ignore[attr-defined]
            message = f"best_of is not supported by this service (it was {shown(body.best_of)})"  # type: ignore[attr-defined]
            raise UnsupportedParameter(f"{message}; ask for n answers instead", param=name)
