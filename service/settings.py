"""How the service is set up: flags over `ATTUNE_*` in the environment over a TOML file over these defaults."""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from service.errors import CannotStart

_file_values: ContextVar[dict[str, Any]] = ContextVar("_file_values", default={})  # noqa: B039 -- never changed in place
LEARNER_TABLE = "learner"  # the learner's part of the same file; it reads that itself
# Variables of the same prefix that are no settings: the clients', secrets, the tests', and what the learner looks at
# itself.
OTHER_VARIABLES = ("API_KEY", "BASE_URL", "DEBUG", "LOG_LEVEL", "VLLM_KEY", "VLLM_PYTHON")
OTHER_PREFIXES = ("COMPARE_KEY_", "LEARNER_")
# Variables that Kubernetes and Docker set for a service called attune.
_LINK = re.compile(r"\w*_(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_\w+)=.*|\w*_PORT=\w+://.*", re.DOTALL)


class _TomlValues(PydanticBaseSettingsSource):
    """The TOML file's top level, already read by `load_settings`."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        return _file_values.get()


class ServeSettings(BaseSettings):
    """Everything that `attune serve` can be told."""

    model_config = SettingsConfigDict(env_prefix="ATTUNE_", extra="forbid", frozen=True, use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """Address to listen on. Beyond loopback it needs at least one API key."""
    port: int = Field(8000, ge=0, le=65535)
    """TCP port; 0 takes a free one."""
    data: Path = Path("~/.attune")
    """Folder for everything that lasts: database, versions, logs."""
    model: str = Field("pocket", min_length=1)
    """Base model: a bundled name (`pocket`), a folder, or a hub id."""
    device: str = Field("auto", pattern="^(auto|cpu|cuda)$")
    """Where models run: auto, cpu or cuda."""
    vllm: str | None = Field(None, pattern="^https?://.+")
    """URL of a vLLM server of the same base model that generates in place of this machine; its key is in
    ATTUNE_VLLM_KEY.
    """
    compare: Annotated[tuple[str, ...], NoDecode] = ()
    """OpenAI-compatible backends to compare with, each NAME=URL; a key is in ATTUNE_COMPARE_KEY_NAME. Not learned from
    without train_on_backends.
    """
    train_on_backends: bool = False
    """Whether what people say of other backends' answers is learned from too: those are then recorded as token ids of
    our own tokenizer.
    """
    config: Path | None = None
    """The TOML file that was read; None means none."""
    no_learner: bool = False
    """Serve without the learner as a child process."""

    default_temperature: float = Field(1.0, ge=0, le=2)
    """Sampling temperature of requests that name none."""
    default_max_tokens: int = Field(512, ge=1)
    """Reply length in tokens of requests that name none; less where the context ends."""
    candidates: int = Field(4, ge=2, le=16)
    """Replies sampled for a side-by-side question, of which two are shown."""

    max_active: int = Field(64, ge=1)
    """Replies generated at the same time; more wait in the queue."""
    max_queued: int = Field(256, ge=0)
    """Requests that may wait; more are refused with 503."""
    request_limit_s: float = Field(300.0, gt=0)
    """Seconds that one request may take, its wait included."""
    requests_per_minute: int = Field(0, ge=0)
    """Requests that one API key may make in a minute (short bursts of a tenth of it at least 10); 0 means no limit."""
    max_body_mb: float = Field(4.0, gt=0)
    """Largest request body in MiB; imports may be 64 times as large."""

    canary_share: float = Field(0.0, ge=0, lt=1)
    """Share of conversations that a version which passed its gate answers at first; 0 lets it answer all at once."""
    canary_s: float = Field(600.0, ge=0)
    """Seconds that a canary has at least, before it answers everybody."""
    canary_items: int = Field(8, ge=0)
    """Judgements on a canary (each rater once a day) that are waited for, before it answers everybody."""
    rollback_alpha: float = Field(0.05, ge=0, le=0.5)
    """Chance with which a version that is as good as the one before may be taken back by what people say of it; 0 takes
    none back.
    """

    max_slots: int = Field(4, ge=2)
    """Versions held in memory at the same time."""
    idle_unload_s: float = Field(300.0, ge=0)
    """Seconds after which a version that nobody asks for leaves memory (live and canary stay)."""
    drain_limit_s: float = Field(120.0, ge=0)
    """Seconds that answers of a replaced version may still take; then they are cut with an error."""
    shutdown_limit_s: float = Field(10.0, ge=0)
    """Seconds that open answers may still take when the service stops; then they are cut with an error."""
    load_limit_s: float = Field(600.0, gt=0)
    """Seconds that loading a version may take."""
    fingerprint_tolerance: float | None = Field(None, gt=0)
    """Largest difference (nats) between a version's recorded probe and what was loaded; None: what suits the precision.
    """
    precision: str = Field("float32", pattern="^(float32|bfloat16)$")
    """Numbers that are computed with on a CPU: float32 or bfloat16."""
    runner: str = Field("auto", pattern="^(auto|openvino|transformers)$")
    """What generates on this machine: auto (openvino on a CPU, transformers on CUDA and for models that openvino cannot
    load), or one of them.
    """
    quantize: str = Field("none", pattern="^(none|q8_0|q4_0)$")
    """Weights on a CPU: none (float16), q8_0 (half of that) or q4_0 (a quarter); docs/operating.md says what that
    costs.
    """
    adapters: str = Field("auto", pattern="^(auto|merged|shared)$")
    """What the transformers runner does with adapters: merged (each version has weights of its own: fastest), shared
    (one copy of the base weights
    for all versions, adapters beside them), auto (merged where `max_slots` versions fit the GPU's memory and
    `memory_gib`, else shared).
    """
    memory_gib: float = Field(0.0, ge=0)
    """Memory in GiB that all versions together may take on this machine; a swap needs room for two. 0 means no limit.
    """
    kv_gib: float = Field(1.0, gt=0)
    """Memory in GiB for the keys and values of answers under way, per version."""
    threads: int = Field(0, ge=0)
    """CPU threads of each version's runner; 0 leaves it to the runner."""
    poll_s: float = Field(0.2, gt=0)
    """Seconds between two looks at the store for what the learner did."""

    @field_validator("data", "config")
    @classmethod
    def _home(cls, value: Path | None) -> Path | None:
        return value.expanduser() if value is not None else None

    @field_validator("compare", mode="before")
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
        return value

    @property
    def backends(self) -> dict[str, str]:
        """URLs by the names of foreign backends."""
        return dict(part.split("=", 1) for part in self.compare)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _TomlValues(settings_cls)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine alone."""
    return host in ("localhost", "::1", "[::1]") or host.startswith("127.")


def load_settings(flags: dict[str, Any], config: Path | None = None) -> ServeSettings:
    """Return the settings in force; flags that are None count as not given. Raises CannotStart with one line that names
    the value at fault.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    _check_names(os.environ)
    config = config or (Path(os.environ["ATTUNE_CONFIG"]) if os.environ.get("ATTUNE_CONFIG") else None)
    token = _file_values.set(_read_toml(config) if config is not None else {})
    try:
        return ServeSettings(**{**given, **({"config": config} if config is not None else {})})
    except ValidationError as error:
        raise CannotStart(_one_line(error, given, config)) from error
    finally:
        _file_values.reset(token)


def _check_names(environment: Mapping[str, str]) -> None:
    """Raise CannotStart for an `ATTUNE_*` variable that is no setting, and that nothing else of ours reads."""
    known = {name.upper() for name in ServeSettings.model_fields} | set(OTHER_VARIABLES)
    for variable, value in sorted(environment.items()):
        prefix, _, name = variable.upper().partition("ATTUNE_")
        if (
            prefix
            or not name
            or name in known
            or name.startswith(OTHER_PREFIXES)
            or _LINK.fullmatch(f"{variable.upper()}={value}")
        ):
            continue
        near = difflib.get_close_matches(name, sorted(known), 1)
        said = (
            f"did you mean ATTUNE_{near[0]}?"
            if near
            else "docs/settings.md lists them all; the learner's begin with ATTUNE_LEARNER_"
        )
        raise CannotStart(f"{variable} is no setting; {said}")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise CannotStart(
            f"the settings file {path} cannot be read ({error.strerror}); name another with --config"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CannotStart(f"the settings file {path} is not TOML: {error}") from error
    return {name: value for name, value in values.items() if name != LEARNER_TABLE}


def _one_line(error: ValidationError, flags: dict[str, Any], config: Path | None) -> str:
    first = error.errors()[0]
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, ServeSettings.model_fields, 1)
        said = (
            f"did you mean {near[0]}?"
            if near
            else "docs/settings.md lists them all; the learner's belong in the [learner] table"
        )
        return f"the setting {name!r} in {config} is unknown; {said}"
    source = (
        f"--{name.replace('_', '-')}"
        if name in flags
        else f"{name} (from {config})"
        if name in _file_values.get()
        else f"ATTUNE_{name.upper()}"
    )
    return f"{source} cannot be {first['input']!r}: {first['msg'][0].lower() + first['msg'][1:]}"
