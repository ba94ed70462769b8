"""What responses hold, for the description at /openapi.json. Routes do not validate against them; tests do.

Fields may be added, so each model takes more than it names.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

JsonObject = dict[str, Any]


class Shown(BaseModel):
    """A response, or a part of one."""

    model_config = ConfigDict(extra="allow")


class ErrorDetail(Shown):
    """What went wrong."""

    message: str = Field(description="One sentence for people, with the value at fault and what to do.")
    type: str = Field(description="The kind of error, such as invalid_request_error.")
    param: str | None = Field(description="The field or header at fault, as the caller wrote it.")
    code: str | None = Field(description="The error for programs, such as invalid_value or model_not_found.")


class Error(Shown):
    """Every error, in OpenAI's shape."""

    error: ErrorDetail


class Usage(Shown):
    """Tokens of a request and its answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AnswerMessage(Shown):
    """What the assistant answers."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None = None


class ChatChoice(Shown):
    """One of the `n` answers."""

    index: int
    message: AnswerMessage
    logprobs: JsonObject | None
    finish_reason: str | None


class ChatCompletion(Shown):
    """OpenAI's chat completion. Feedback refers to its `id`."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str | None
    conversation_id: str
    choices: list[ChatChoice]
    usage: Usage
    metadata: dict[str, str] | None = None


class ChunkDelta(Shown):
    """What a chunk adds to an answer."""

    role: str | None = None
    content: str | None = None
    refusal: str | None = None


class ChunkChoice(Shown):
    """One answer's part of a chunk."""

    index: int
    delta: ChunkDelta
    logprobs: JsonObject | None
    finish_reason: str | None


class ChatCompletionChunk(Shown):
    """One event of a streamed chat completion."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None


class TextChoice(Shown):
    """One answer to one prompt."""

    index: int
    text: str
    logprobs: JsonObject | None
    finish_reason: str | None


class TextCompletion(Shown):
    """OpenAI's legacy completion, whole or one event of a stream."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage | None = None


class ModelName(Shown):
    """One name that a request may use."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelNames(Shown):
    """All names that a request may use."""

    object: Literal["list"]
    data: list[ModelName]


class Feedback(Shown):
    """One piece of feedback; fields without a value are left out."""

    id: str
    completion_id: str
    choice: int
    kind: Literal["thumb", "score", "correction", "preference", "choice", "regenerate"]
    created_at: str
    rater: str
    seq: int | None = None
    thumb: Literal["up", "down"] | None = None
    score: float | None = None
    correction: str | None = None
    preferred_over: JsonObject | None = None
    comparison_id: str | None = None
    winner: Literal["A", "B", "tie", "both_bad"] | None = None
    reason: str | None = None
    comment: str | None = None
    metadata: JsonObject | None = None
    retracted_at: str | None = None


class ForwardedFeedback(Feedback):
    """Feedback that another program forwarded."""

    ours: bool = Field(description="Whether it rates an answer of this service.")


class ChosenFeedback(Feedback):
    """A choice, after which the models are named."""

    models: dict[str, str]


class Candidate(Shown):
    """One side of a comparison, without the name of its model."""

    label: Literal["A", "B"]
    completion_id: str
    content: str


class Comparison(Shown):
    """Two answers to one prompt, shown blind."""

    id: str
    created_at: str
    conversation_id: str | None
    candidates: list[Candidate] = Field(min_length=2, max_length=2)
    missing: list[str] | None = None


class Page(Shown):
    """One page of a list."""

    next_cursor: str | None


class FeedbackPage(Page):
    """Feedback, newest first."""

    data: list[Feedback]


class Thumbs(Shown):
    """Numbers of thumbs."""

    up: int
    down: int


class Version(Shown):
    """One version and how people rate it."""

    version: int
    state: Literal["candidate", "rejected", "canary", "live", "retired", "withdrawn"]
    parent: int | None
    digest: str
    created_at: str
    live_at: str | None
    retired_at: str | None
    items: int
    algorithm: str
    passed: bool | None
    metrics: JsonObject
    loaded: bool
    serving: bool
    share: float
    answers: int
    thumbs: Thumbs
    comparisons: JsonObject
    win_rate: float | None
    win_rate_interval: list[float] | None


class VersionPage(Page):
    """All versions, oldest first."""

    data: list[Version]


class VersionDetail(Version):
    """One version with the run that made it, the gate's report and its manifest."""

    run: JsonObject | None
    gate: JsonObject | None
    manifest: JsonObject | None


class Sample(Shown):
    """Two versions' answers to one prompt."""

    messages: list[JsonObject]
    text: str
    against: str


class SamplePage(Page):
    """Answers of two versions to the same prompts."""

    version: int
    against: int
    data: list[Sample]


class Learner(Shown):
    """What the learner does."""

    state: Literal["idle", "running", "paused", "down"]
    paused: bool
    waiting: int
    first_waiting_at: str | None
    trigger: JsonObject | None
    run: JsonObject | None
    next_at: str | None
    live: int
    last_run: JsonObject | None
    heartbeat_at: str | None
    seen: int
    reward_model: JsonObject | None
    detail: JsonObject


class Proposal(Shown):
    """What the service proposes for a rater whose trust is below a half: to withdraw these versions."""

    withdraw: list[int]
    live: int


class Withdrawn(Shown):
    """The versions that were withdrawn because they had learned from a rater, and the version that is live now."""

    rater: str
    versions: list[int]
    live: int


class Rater(Shown):
    """One person, and how far they are trusted."""

    id: str
    name: str
    created_at: str
    trust: float | None
    quarantined: bool
    quarantined_at: str | None
    quarantine_reason: str | None
    proposal: Proposal | None
    answers: int
    feedback: int
    retracted: int
    thumbs: Thumbs
    choices: int
    agreement: float | None


class RaterPage(Page):
    """All raters."""

    data: list[Rater]


class Erased(Shown):
    """What was deleted with a person, and the versions that were withdrawn."""

    rater: str
    feedback: int
    completions: int
    conversations: int
    versions: list[int]
    rewritten: bool


class Conversation(Shown):
    """One conversation."""

    id: str
    title: str
    rater: str
    created_at: str
    updated_at: str


class ConversationPage(Page):
    """Conversations, latest first."""

    data: list[Conversation]


class ConversationCompletion(Shown):
    """One answer of a conversation with the messages before it and its feedback."""

    id: str
    choice: int
    kind: str
    model: str
    messages: list[JsonObject]
    content: str
    finish_reason: str
    created_at: str
    feedback: list[Feedback]


class ConversationDetail(Conversation):
    """One conversation with its answers."""

    completions: list[ConversationCompletion]


class ImportReport(Shown):
    """What became of the records of an import."""

    imported: int
    skipped: int
    already_here: int
    errors: list[str]


class Release(Shown):
    """The release of the service, the last migration of its store, and its Python."""

    version: str
    schema_: str = Field(alias="schema")
    python: str


class Alive(Shown):
    """The process is alive."""

    status: str


class Ready(Shown):
    """Whether the service can answer."""

    status: Literal["ready", "not ready"]
    model: str | None
    store: bool
    version: int | None
