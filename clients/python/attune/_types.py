"""The service's JSON as frozen records.

Every record ignores unknown fields and has defaults for missing ones, so old SDKs work with new services and the other
way round. Times are UTC in ISO 8601, as the service sends them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, TypedDict, TypeVar, get_type_hints

from attune._errors import UnexpectedResponse

Thumb = Literal["up", "down"]
Winner = Literal["A", "B", "tie", "both_bad"]
Reason = Literal[
    "correct", "helpful", "clear", "style", "wrong", "unhelpful", "unsafe", "too_long", "too_short", "refused", "other"
]
ExportFormat = Literal["preference", "unpaired", "sft", "raw"]
ImportFormat = Literal["preference", "unpaired", "sft", "raw", "open-webui"]
Progress = Callable[[int, "int | None"], None]
NOT_NUMBERS = ("nan", "inf", "-inf")  # JSON has no such numbers, so the service sends them as text
T = TypeVar("T")


class Sampling(TypedDict, total=False):
    """How an answer is sampled; every field is optional and the service has the defaults.

    `temperature` 0 is greedy; `top_k` 0 is off; `n` is 1-8 answers to the same prompt. `stop` ends an answer before
    the given text. `logprobs` asks for each token's log-probability and `top_logprobs` for that many alternatives.
    `metadata` is stored with the answer.

    >>> settings: attune.Sampling = {"temperature": 0.0, "max_tokens": 48, "seed": 7}
    >>> client.chat("Hello!", **settings).text
    'Hello to you!'
    """

    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    n: int
    seed: int
    stop: str | list[str]
    logprobs: bool
    top_logprobs: int
    presence_penalty: float
    frequency_penalty: float
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; `role` is system, user or assistant.

    >>> client.chat([attune.Message("system", "Be brief."), attune.Message("user", "Hello!")]).text
    'Hello to you!'
    """

    role: str
    content: str


@dataclass(frozen=True)
class Usage:
    """Token counts of an answer.

    >>> client.chat("Hello!").usage.completion_tokens
    3
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


@dataclass(frozen=True)
class Token:
    """One token of an answer with its log-probability in nats, and the likeliest alternatives for `top_logprobs`.

    >>> answer = client.chat("Hello!", logprobs=True, top_logprobs=2)
    >>> answer.tokens[0]
    Token(token='Hello', logprob=-0.5, top={'Hello': -0.5, 'Hi': -1.5})
    """

    token: str
    logprob: float
    top: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Feedback:
    """One rater's feedback on one answer.

    `kind` is thumb, score, correction, preference, choice or regenerate. A `regenerate` row means that the rater asked
    for another answer; `instead` names that answer.

    >>> feedback = client.chat("Hello!").rate("up", reason="helpful")
    >>> feedback.kind, feedback.thumb, feedback.reason
    ('thumb', 'up', 'helpful')
    """

    id: str
    completion_id: str = ""
    choice: int = 0
    kind: str = ""
    created_at: str = ""
    rater: str = ""
    thumb: str | None = None
    score: float | None = None
    correction: str | None = None
    preferred_over: dict[str, Any] | None = None
    instead: dict[str, Any] | None = None
    comparison_id: str | None = None
    winner: str | None = None
    reason: str | None = None
    comment: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    retracted_at: str | None = None


@dataclass(frozen=True)
class Candidate:
    """One side of a blind comparison, without its version.

    >>> client.compare("Tell me a joke.").a.label
    'A'
    """

    label: str
    completion_id: str
    content: str
    choice: int = 0


@dataclass(frozen=True)
class Choice:
    """The outcome of a comparison, with the names of both models.

    >>> choice = client.compare("Tell me a joke.").choose("A")
    >>> choice.winner, choice.model_of("A"), choice.winning_model
    ('A', 'attune@1', 'attune@1')
    """

    id: str
    winner: str
    models: dict[str, str] = field(default_factory=dict)
    comparison_id: str = ""
    created_at: str = ""

    def model_of(self, label: str) -> str | None:
        """The model that wrote side "A" or "B".

        >>> client.compare("Tell me a joke.").choose("tie").model_of("B")
        'attune@0'
        """
        return self.models.get(label)

    @property
    def winning_model(self) -> str | None:
        """The model that wrote the better answer, None when neither won.

        >>> client.compare("Tell me a joke.").choose("both_bad").winning_model is None
        True
        """
        return self.models.get(self.winner)


@dataclass(frozen=True)
class Check:
    """One line of a gate report: the measured value, its limit (such as ">= 0" or "0.2 .. 5"), and whether it passed.

    >>> client.version(1).gate.checks[0]
    Check(name='held_out_gain', value=0.71, limit='>= 0', passed=True)
    """

    name: str
    value: float | None = None
    limit: str = ""
    passed: bool = False


@dataclass(frozen=True)
class Gate:
    """The gate's report on a version; `reasons` says why it was rejected.

    >>> client.version(2).gate.reasons
    ('held_out_gain is -0.41, wanted >= 0',)
    """

    passed: bool = False
    checks: tuple[Check, ...] = ()
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tally:
    """Counts of thumbs.

    >>> client.version(1).thumbs
    Tally(up=3, down=1)
    """

    up: int = 0
    down: int = 0


@dataclass(frozen=True)
class Record:
    """Counts of a version's comparisons.

    >>> client.version(1).comparisons
    Record(wins=5, losses=2, ties=1)
    """

    wins: int = 0
    losses: int = 0
    ties: int = 0


@dataclass(frozen=True)
class Version:
    """One version of the model and its record.

    `state` is candidate, rejected, canary, live, retired or withdrawn. `items` counts the feedback that made it.
    `share` is its share of the traffic (0..1), and `win_rate` its share of won comparisons, with a 95 % interval. Only
    `client.version(n)` fills `run`, `gate` and `manifest`.

    >>> [(version.version, version.state) for version in client.versions()]
    [(0, 'retired'), (1, 'live'), (2, 'rejected')]
    """

    version: int
    state: str = ""
    parent: int | None = None
    digest: str = ""
    created_at: str = ""
    live_at: str | None = None
    retired_at: str | None = None
    items: int = 0
    algorithm: str = ""
    passed: bool | None = None
    loaded: bool = False
    serving: bool = False
    share: float = 0.0
    answers: int = 0
    thumbs: Tally = Tally()
    comparisons: Record = Record()
    win_rate: float | None = None
    win_rate_interval: tuple[float, ...] | None = None
    run: dict[str, Any] | None = None
    gate: Gate | None = None
    manifest: dict[str, Any] | None = None
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """The name of this version for `chat(model=...)`.

        >>> client.chat("Hello!", model=client.version(0).model).version
        0
        """
        return f"attune@{self.version}"


@dataclass(frozen=True)
class Run:
    """One update of the model, under way or done: `step` of `steps` in `phase`, and the learner's `metrics`.

    >>> run = client.learner().run
    >>> run.phase, run.step, run.steps
    ('train', 3, 8)
    """

    id: str
    algorithm: str = ""
    phase: str = ""
    step: int = 0
    steps: int = 0
    loss: float | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    started_at: str = ""
    items: int = 0
    parent: int | None = None


@dataclass(frozen=True)
class Trigger:
    """When an update starts: at `items` waiting, or `seconds` after the first of at least `min_items`.

    >>> client.learner().trigger
    Trigger(items=16, seconds=20.0, min_items=4)
    """

    items: int = 0
    seconds: float = 0.0
    min_items: int = 0


@dataclass(frozen=True)
class Learner:
    """The learner's state.

    `state` is idle, running, paused or down. `waiting` counts the feedback that no update has used yet. `detail`
    describes the current work.

    >>> learner = client.learner()
    >>> learner.state, learner.live, learner.waiting
    ('running', 1, 5)
    """

    state: str
    paused: bool = False
    waiting: int = 0
    first_waiting_at: str | None = None
    live: int | None = None
    run: Run | None = None
    trigger: Trigger | None = None
    next_at: str | None = None
    last_run: dict[str, Any] | None = None
    heartbeat_at: str | None = None
    seen: int = 0
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rater:
    """One person or program that gives feedback; `trust` is the learner's trust in them (0..1).

    >>> [(rater.id, rater.quarantined) for rater in client.raters()]
    [('alice', False), ('spammer', True)]
    """

    id: str
    name: str = ""
    created_at: str = ""
    answers: int = 0
    feedback: int = 0
    retracted: int = 0
    thumbs: Tally = Tally()
    choices: int = 0
    agreement: float | None = None
    trust: float | None = None
    quarantined: bool = False
    quarantined_at: str | None = None
    quarantine_reason: str = ""


@dataclass(frozen=True)
class Erased:
    """What erasing a rater removed; `versions` lists the withdrawn versions, which had learned from them.

    >>> client.erase("spammer").rater
    'spammer'
    """

    rater: str = ""
    versions: tuple[int, ...] = ()
    feedback: int = 0
    completions: int = 0
    conversations: int = 0


@dataclass(frozen=True)
class Completion:
    """One answer in a conversation: its prompt, its text and its feedback, which points to `id` and `choice`.

    >>> completion = client.conversation("c1").completions[0]
    >>> completion.messages[-1].content, completion.content
    ('Hello!', 'Hello to you!')
    """

    id: str
    content: str = ""
    choice: int = 0
    model: str = ""
    messages: tuple[Message, ...] = ()
    finish_reason: str | None = None
    created_at: str = ""
    feedback: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Conversation:
    """One conversation; only `client.conversation(id)` fills `completions`.

    >>> client.conversation("c1").title
    'Hello!'
    """

    id: str
    title: str = ""
    rater: str = ""
    created_at: str = ""
    updated_at: str = ""
    completions: tuple[Completion, ...] = ()

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages up to and including the last answer.

        >>> client.chat([*client.conversation("c1").messages, attune.Message("user", "Hello!")]).text
        'Hello to you!'
        """
        if not self.completions:
            return ()
        last = self.completions[-1]
        return (*last.messages, Message("assistant", last.content))


@dataclass(frozen=True)
class Sample:
    """Answers of two versions to the same messages: `text` by the version asked for, `against` by the other.

    >>> sample = client.samples(1, against=0)[0]
    >>> sample.prompt, sample.text, sample.against
    ('Hello!', 'Hello to you!', 'Well, hello to you, my dear friend!')
    """

    messages: tuple[Message, ...]
    text: str
    against: str = ""

    @property
    def prompt(self) -> str:
        """The content of the last message before the answers.

        >>> client.samples(1, against=0)[0].prompt
        'Hello!'
        """
        return self.messages[-1].content if self.messages else ""


@dataclass(frozen=True)
class Event:
    """One event of the service: `kind` is its name (`version.live`, `run.progress`, ...), `seq` its number.

    >>> with client.events(after=0) as events:
    ...     next(events).kind
    'feedback'
    """

    seq: int
    kind: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """A name that `chat(model=...)` accepts.

    >>> [model.id for model in client.models()]
    ['attune', 'attune@0', 'attune@1']
    """

    id: str
    owned_by: str = ""
    created: int = 0
    version: int | None = None
    state: str | None = None


@dataclass(frozen=True)
class Health:
    """Whether the service is alive (it answers) and ready (a version is loaded, the store is writable).

    `detail` is the body of the readiness check.

    >>> client.health().ready
    True
    """

    alive: bool
    ready: bool
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Imported:
    """Counts of an import. Of the `skipped` rows, `already_here` were imported before; `errors` explain the others.

    >>> import pathlib
    >>> file = pathlib.Path("pairs.jsonl")
    >>> _ = file.write_text('{"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"}\\n')
    >>> client.import_file(file).imported
    1
    """

    imported: int = 0
    skipped: int = 0
    errors: tuple[str, ...] = ()
    already_here: int = 0


def read(kind: type[T], body: object) -> T:
    """Return a JSON value as a record of the given kind. Raises UnexpectedResponse when it is none."""
    if not isinstance(body, Mapping):
        raise UnexpectedResponse(
            f"The service sent {_brief(body)} instead of a {kind.__name__}. Is this an Attune service?"
        )
    hints = _hints(kind)
    values: dict[str, Any] = {}
    for known in fields(kind):  # type: ignore[arg-type]
        value = body.get(known.name)
        has_default = known.default is not MISSING or known.default_factory is not MISSING
        if value is None and not has_default:
            raise UnexpectedResponse(
                f"The service sent a {kind.__name__} without {known.name!r}. Is this an Attune service?"
            )
        if value is not None:
            values[known.name] = _convert(hints[known.name], value)
    return kind(**values)


def _convert(hint: Any, value: Any) -> Any:
    """Return a JSON value as its field's type: records, tuples and floats are converted, the rest is unchanged."""
    kinds = [kind for kind in getattr(hint, "__args__", ()) if kind is not type(None) and kind is not Ellipsis]
    origin = getattr(hint, "__origin__", None)
    if origin is tuple:
        return tuple(_convert(kinds[0], one) for one in value) if isinstance(value, (list, tuple)) else ()
    if origin is None and kinds:  # X | None
        return _convert(kinds[0], value)
    if hasattr(hint, "__dataclass_fields__"):
        return read(hint, value)
    if hint is float and (isinstance(value, int) or value in NOT_NUMBERS):
        return float(value)
    if hint is str and not isinstance(value, str):
        return str(value)
    return value


_known_hints: dict[type, dict[str, Any]] = {}


def _hints(kind: type) -> dict[str, Any]:
    if kind not in _known_hints:
        # our globals: __module__ of these classes is the package, which has fewer names
        _known_hints[kind] = get_type_hints(kind, globals())
    return _known_hints[kind]


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
