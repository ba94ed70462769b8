"""The service's settings: flags over `ATTUNE_*` in the environment over a TOML file over these defaults."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from config.errors import ConfigError
from config.loader import Group, Settings, load
from config.names import Names
from policy.chat_template import check_template_name, checked_arguments
from policy.runners.destinations import check_url
from service.addresses import is_loopback
from service.errors import CannotStart
from service.origins import check_origin

# The names that settings had before they stood in groups.
RENAMED: dict[str, str | None] = {
    "default_temperature": "sampling.temperature",
    "default_max_tokens": "sampling.max_tokens",
    "candidates": "sampling.candidates",
    "train_on_foreign": "train_on_backends",
    "max_active": "limits.max_active",
    "max_queued": "limits.max_queued",
    "request_limit_s": "limits.request_s",
    "requests_per_minute": "limits.requests_per_minute",
    "max_body_mb": "limits.body_mb",
    "drain_limit_s": "limits.drain_s",
    "shutdown_limit_s": "limits.shutdown_s",
    "load_limit_s": "limits.load_s",
    "canary_share": "canary.share",
    "canary_s": "canary.seconds",
    "canary_items": "canary.feedback",
    "rollback_alpha": "canary.rollback_alpha",
    "max_slots": "engine.max_slots",
    "idle_unload_s": "engine.idle_unload_s",
    "probe_tolerance": "engine.fingerprint_tolerance",
    "precision": "engine.precision",
    "runner": "engine.runner",
    "quantize": "engine.quantize",
    "adapters": "engine.adapters",
    "memory_gib": "engine.memory_gib",
    "kv_gib": "engine.kv_gib",
    "threads": "engine.threads",
    "poll_s": "engine.poll_s",
}


class SamplingDefaults(Group):
    """Sampling where a request names no value. None takes the model's own value, from its generation_config.json."""

    temperature: float | None = Field(None, ge=0, le=2)
    """Sampling temperature of requests that name none. None takes the model's, else 1."""
    top_p: float | None = Field(None, ge=0, le=1)
    """Share of the probability that is sampled from, for requests that name none. None takes the model's, else 1."""
    top_k: int | None = Field(None, ge=0)
    """Number of likeliest tokens that are sampled from, for requests that name none; 0 means all. None takes the
    model's, else 0."""
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    """Penalty in nats on tokens that an answer has already, for requests that name none. None takes the model's, else
    0."""
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    """Penalty in nats for each time that an answer has a token already, for requests that name none. None takes the
    model's, else 0."""
    repetition_penalty: float | None = Field(None, gt=0, le=2)
    """Factor by which tokens of prompt and answer become less likely, for requests that name none; 1 is off. None takes
    the model's, else 1."""
    min_p: float | None = Field(None, ge=0, le=1)
    """Least probability of a token relative to the likeliest, for requests that name none; 0 is off. None takes the
    model's, else 0."""
    max_tokens: int = Field(512, ge=1)
    """Most tokens of an answer, for requests that name none. The context may end it earlier."""
    candidates: int = Field(4, ge=2, le=16)
    """Answers sampled for a side-by-side choice. Two of them are shown."""


class LimitSettings(Group):
    """How many requests at once, and how long they may take."""

    max_active: int = Field(64, ge=1)
    """Answers generated at the same time. More wait in the queue."""
    max_queued: int = Field(256, ge=0)
    """Requests that may wait. More are refused with 503."""
    request_s: float = Field(300.0, gt=0)
    """Seconds that one request may take, its wait included."""
    hang_s: float = Field(60.0, ge=2)
    """Seconds without a sign of life after which a version's process is killed and loaded again. Computing is one
    too."""
    step_s: float = Field(600.0, ge=0)
    """Seconds that a version's process may compute without a result. A longer step counts as a hang. 0 means no
    limit."""
    learner_hang_s: float = Field(180.0, ge=2)
    """Seconds without a sign of life after which the learner's process is killed and started again."""
    requests_per_minute: int = Field(0, ge=0)
    """Requests of one API key per minute, with bursts of a tenth (at least 10). 0 means no limit."""
    body_mb: float = Field(4.0, gt=0)
    """Largest request body in MiB, and largest record of an import."""
    import_mb: float = Field(256.0, gt=0)
    """Largest import in MiB. It is read as it comes, a record at a time."""
    drain_s: float = Field(120.0, ge=0)
    """Seconds that answers of a replaced version may still take. Then they end with an error."""
    shutdown_s: float = Field(10.0, ge=0)
    """Seconds that open answers may still take when the service stops. Then they end with an error."""
    load_s: float = Field(600.0, gt=0)
    """Seconds that loading a version may take."""
    header_s: float = Field(20.0, gt=0)
    """Seconds that the headers of a request may take to arrive."""
    body_s: float = Field(30.0, gt=0)
    """Seconds that the body of a request may take to arrive, and one more for every 16 KiB of it."""
    unread_s: float = Field(60.0, gt=0)
    """Seconds that a client may read nothing of what it is sent. Then its connection is closed."""
    connections_per_address: int = Field(512, ge=0)
    """Open connections of one address. More are refused with 503. Raise it behind a reverse proxy. 0 means no limit."""
    event_streams: int = Field(64, ge=1)
    """Event streams that one API key may have open. More are refused with 429."""


class CanarySettings(Group):
    """The trial of a new version on some conversations, and its rollback."""

    share: float = Field(0.0, ge=0, lt=1)
    """Share of conversations that a version answers first, after its gate. 0 lets it answer all at once."""
    seconds: float = Field(600.0, ge=0)
    """Fewest seconds that a canary takes before it answers everybody."""
    feedback: int = Field(8, ge=0)
    """Outcomes on a canary before it answers everybody. Each rater counts once a day."""
    rollback_alpha: float = Field(0.05, ge=0, le=0.5)
    """Chance that feedback rolls back a version that is as good as the one before. 0 rolls none back."""


class EngineSettings(Group):
    """The versions in memory, and the runner that generates their answers."""

    max_slots: int = Field(4, ge=2)
    """Versions held in memory at the same time."""
    idle_unload_s: float = Field(300.0, ge=0)
    """Seconds after which an unused version leaves memory. Live and canary stay."""
    memory_gib: float = Field(0.0, ge=0)
    """Memory in GiB for all versions together. A swap needs room for two. 0 means no limit."""
    kv_gib: float = Field(1.0, gt=0)
    """Memory in GiB for the keys and values of answers under way, per version."""
    threads: int = Field(0, ge=0)
    """CPU threads of each version's runner. 0 leaves it to the runner; llamacpp takes as many as are fastest."""
    runner: Literal["auto", "openvino", "llamacpp", "transformers"] = "auto"
    """The runner. On a CPU auto takes openvino or llamacpp, whichever was measured to be faster (`attune runners`). It
    takes transformers on CUDA and for models that neither can load."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of the computation on a CPU."""
    quantize: Literal["none", "q8_0", "q4_0", "q4_k", "file"] = "none"
    """Weights on a CPU: none (float16), q8_0 (half of that), q4_0 (a quarter), q4_k (a quarter; llamacpp only), or file
    (llamacpp only: those of the GGUF file that the model came from, mapped as they are).
    docs/operating.md shows what they cost in quality."""
    adapters: Literal["auto", "merged", "shared"] = "auto"
    """Adapters in the transformers runner. merged is fastest: each version has weights of its own. shared keeps one
    copy of the base weights. auto is merged where `max_slots` versions fit the memory."""
    fingerprint_tolerance: float | None = Field(None, gt=0)
    """Largest difference, in nats, between a version's recorded fingerprint and the loaded weights. None chooses by the
    precision."""
    poll_s: float = Field(0.2, gt=0)
    """Seconds until the store is read again where nothing seems to have changed in it; a change is seen at once."""


class ServeSettings(Settings):
    """Every setting of `attune serve`."""

    model_config = SettingsConfigDict(env_prefix="ATTUNE_")

    host: str = Field("127.0.0.1", min_length=1)
    """Address to listen on. Beyond loopback it needs at least one API key."""
    port: int = Field(8000, ge=0, le=65535)
    """TCP port. 0 takes a free one."""
    data: Path = Path("~/.attune")
    """Folder for everything that lasts: database, versions, logs."""
    share_versions: bool = False
    """Let the data folder's group read the versions, for a vLLM server that runs as another user. Everything else in
    the folder stays its owner's."""
    model: str = Field("pocket", min_length=1)
    """Base model: a name of `attune models` (`pocket`, `smollm2`), a folder, a GGUF file, or a hub id. A hub id may end
    with @ and a revision."""
    chat_template: str | None = Field(None, min_length=1)
    """Chat template in place of the model's own: a Jinja file, `chatml` or `plain`. Base models have none."""
    chat_template_kwargs: Annotated[dict[str, Any], NoDecode] = Field({})
    """Arguments of the chat template, a JSON object. A request may give its own. Without `enable_thinking` hybrid
    models do as their makers meant in chats, and the learner's own prompts are without thinking."""
    system_prompt: str | None = Field(None, min_length=1, max_length=100_000)
    """System message of conversations that begin with none. It is kept with each answer."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device for answers: auto, cpu or cuda."""
    vllm: str | None = Field(None, pattern="^https?://.+")
    """URL of a vLLM server of the same base model that generates in place of this machine. Its key is in
    ATTUNE_VLLM_KEY."""
    compare: Annotated[tuple[str, ...], NoDecode] = ()
    """OpenAI-compatible backends to compare with, each NAME=URL. A key is in ATTUNE_COMPARE_KEY_NAME."""
    origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Web origins, such as https://chat.example, whose pages may call this service from a browser (CORS). The page that
    this service gives needs none."""
    train_on_backends: bool = False
    """Whether to learn from feedback on other backends' answers too, as token ids of the model's own tokenizer."""
    config: Path | None = None
    """The TOML file that was read; None means none."""
    no_learner: bool = False
    """Serve without the learner as a child process."""

    sampling: SamplingDefaults = SamplingDefaults()
    limits: LimitSettings = LimitSettings()
    canary: CanarySettings = CanarySettings()
    engine: EngineSettings = EngineSettings()

    @field_validator("chat_template")
    @classmethod
    def _check_template(cls, value: str | None) -> str | None:
        return check_template_name(value)

    @field_validator("chat_template_kwargs", mode="before")
    @classmethod
    def _check_arguments(cls, value: Any) -> dict[str, Any]:
        return checked_arguments(value)

    @field_validator("data", "config")
    @classmethod
    def _home(cls, value: Path | None) -> Path | None:
        return value.expanduser() if value is not None else None

    @field_validator("compare", "origins", mode="before")
    @classmethod
    def _separate(cls, value: Any) -> Any:
        return tuple(part for part in value.replace(",", " ").split()) if isinstance(value, str) else value

    @field_validator("compare")
    @classmethod
    def _name_backends(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for part in value:
            name, _, url = part.partition("=")
            if (
                not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]*", name)
                or name == "attune"
                or not re.match("https?://.", url)
            ):
                raise ValueError(
                    f"each is NAME=URL, with a name other than attune and http:// or https://, unlike {part!r}"
                )
            check_url(url)
        return value

    @field_validator("vllm")
    @classmethod
    def _check_vllm(cls, value: str | None) -> str | None:
        return check_url(value) if value is not None else None

    @field_validator("origins")
    @classmethod
    def _check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_origin(origin) for origin in value)

    @property
    def backends(self) -> dict[str, str]:
        """URLs by the names of backends."""
        return dict(part.split("=", 1) for part in self.compare)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        return is_loopback(self.host)


NAMES = Names(
    ServeSettings,
    command="attune serve",
    renamed=RENAMED,
    # Variables of the clients, secrets, the tests' variables, and what the learner checks itself.
    others=(
        "API_KEY",
        "BASE_URL",
        "DEBUG",
        "LOG_LEVEL",
        "VLLM_KEY",
        "VLLM_PYTHON",
        "COMPARE_KEY_",
        "LEARNER_",
    ),
    other_tables=("learner",),
    hint="; the learner's are --learner.*, ATTUNE_LEARNER__* and the [learner] table",
)


def load_settings(flags: dict[str, Any], config: Path | None = None) -> ServeSettings:
    """Return the settings in force; a flag that is None counts as not given.

    Raises CannotStart with one line that names the value at fault.
    """
    try:
        return load(ServeSettings, NAMES, flags, config)
    except ConfigError as error:
        raise CannotStart(str(error)) from error
