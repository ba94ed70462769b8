"""The language model without torch: text to token ids and back, and runners for its versions."""

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any, Protocol
from weakref import WeakSet

from policy.chat import ChatEncoder, TextStream, end_ids, load_tokenizer, render_completion, render_prompt
from policy.errors import FingerprintMismatch, RunnerFailed, VersionCorrupt
from policy.generation_config import sampling_of
from policy.memory import memory_need, weights_need
from policy.memory_check import check_memory
from policy.model import model_digest, resolve_model
from policy.runners.base import Runner, SamplingSettings, VersionSource, generate_all
from policy.runners.process import RunnerProcess, WeightsProcess, WorkerProcess
from policy.runners.vllm import VllmRunner
from policy.token_text import token_text
from policy.versions import Manifest, fingerprint_difference, fingerprint_tolerance, read_version
from service.context_fit import PromptEncoder
from service.engine.generation import Decoder
from service.errors import VersionRefused
from service.runner_choice import chosen_runner
from service.settings import ServeSettings
from store.permissions import share_folder
from store.versions import Version

log = logging.getLogger(__name__)
WARM_UP = [{"role": "user", "content": "Hello!"}]
WARM_UP_TOKENS = 4
SPARE_AFTER_S = 2.0  # from a load to the start of the next spare worker


class Model(Protocol):
    """What the service needs of a base model and its versions. Slow methods are called on worker threads."""

    digest: str
    end_ids: tuple[int, ...]
    vocab_size: int
    """The number of token ids; every id is below it."""
    sampling: Mapping[str, float]
    """How the model's makers sample, by the names of `service.sampling.PLAIN`; what they do not name is missing."""
    runner_reason: str
    """Why its runner is that one."""

    def prompt_ids(self, messages: Sequence[dict[str, Any]]) -> list[int]:
        """Return the token ids of a rendered conversation."""

    def prompt_encoder(
        self, is_interrupted: Callable[[], bool], arguments: Mapping[str, Any] | None = None
    ) -> PromptEncoder:
        """Return what renders the conversations of one request, on one thread; it raises Interrupted.

        `arguments` are the request's own for the chat template.
        """

    def completion_ids(self, messages: Sequence[dict[str, Any]], text: str) -> tuple[list[int], list[int]]:
        """Return the prompt's and the completion's ids, end of turn included."""

    def text_stream(self) -> Decoder:
        """Return a fresh incremental decoder."""

    def token(self, token_id: int, is_first: bool = False) -> tuple[str, list[int]]:
        """Return one token as text and as its bytes, inside a completion or as its first."""

    def load(self, version: Version) -> Runner:
        """Return a checked and warm runner of this version.

        Raises VersionRefused when its weights are not what was trained. After any other error loading may be retried.
        """

    def memory_gib(self, version: Version) -> float:
        """Return the estimated memory in GiB that this version takes on this machine."""

    @property
    def shared_gib(self) -> float:
        """The memory in GiB that all versions share, beside each one's own."""

    def manifest(self, version: Version) -> dict[str, Any] | None:
        """Return the manifest in the version's folder; None for the base model or a folder that is gone."""

    def prepare(self) -> None:
        """Get ready for the next `load`, so that it is quick."""

    def close(self) -> None:
        """Release everything that `prepare` made."""


class LocalModel:
    """A model on this machine; policy/runners run its versions in processes of their own.

    Raises ModelNotFound, ModelCorrupt, and ValueError or RunnerFailed where base weights cannot be shared as set.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._folder = resolve_model(settings.model)
        self._options, choice = chosen_runner(settings)
        self.runner_reason = choice.why
        log.info("the runner is %s", choice.line)
        # bfloat16 is the default of a vLLM server
        self._precision = settings.engine.precision if settings.vllm is None else "bfloat16"
        self._spare: WorkerProcess | None = None
        self._closed = False
        self._workers: WeakSet[WorkerProcess] = WeakSet()  # of every version
        self._weights: WeightsProcess | None = None
        self._adapters = settings.engine.adapters
        self._lock, self._weights_lock = threading.Lock(), threading.Lock()
        self._check_sharing()
        if settings.vllm is None:
            check_memory(settings.model, self._folder, self._options)
        self.prepare()  # the worker reads its libraries while we read ours
        try:
            self._tokenizer = load_tokenizer(settings.model, settings.chat_template, settings.chat_template_kwargs)
            self.digest = model_digest(settings.model)
            self.end_ids = end_ids(self._tokenizer)
            self.vocab_size = len(self._tokenizer)
            self.sampling: Mapping[str, float] = sampling_of(self._folder)
            self._shared()
        except BaseException:
            self.close()
            raise
        self.token = lru_cache(maxsize=65536)(self._token)

    def prompt_ids(self, messages: Sequence[dict[str, Any]]) -> list[int]:
        return render_prompt(self._tokenizer, messages)

    def prompt_encoder(
        self, is_interrupted: Callable[[], bool], arguments: Mapping[str, Any] | None = None
    ) -> PromptEncoder:
        return ChatEncoder(self._tokenizer, is_interrupted, arguments)

    def completion_ids(self, messages: Sequence[dict[str, Any]], text: str) -> tuple[list[int], list[int]]:
        return render_completion(self._tokenizer, messages, text)

    def text_stream(self) -> Decoder:
        return TextStream(self._tokenizer)

    def load(self, version: Version) -> Runner:
        manifest = self._checked_manifest(version) if version.folder else None
        folder = self._settings.data / version.folder
        source = VersionSource(
            number=version.number,
            base=str(self._folder),
            adapter=folder if manifest is not None and manifest.kind == "adapter" else None,
            full=folder if manifest is not None and manifest.kind == "full" else None,
            digest=version.digest,
            cache=self._settings.data / "cache",
            weights=self._shared(),
        )
        if self._settings.share_versions and manifest is not None:
            share_folder(folder)
        runner = self._runner(source)
        try:
            if manifest is not None:
                seen = runner.fingerprint(manifest.fingerprint.prompt_ids, manifest.fingerprint.top_ids)
                usual = fingerprint_tolerance(
                    self._precision, self._settings.engine.quantize, manifest.fingerprint.precision
                )
                tolerance = self._settings.engine.fingerprint_tolerance or usual
                difference = fingerprint_difference(manifest.fingerprint, seen, tolerance)
                log.info("version %d has its fingerprint within %.2g nat", version.number, difference)
            self._warm_up(runner)
        except FingerprintMismatch as error:
            runner.close()
            raise VersionRefused(f"version {version.number}: {error}") from error
        except BaseException:
            runner.close()
            raise
        self._prepare_later()
        return runner

    def _runner(self, source: VersionSource) -> Runner:
        if self._settings.vllm is not None:
            return VllmRunner(self._settings.vllm, source, os.environ.get("ATTUNE_VLLM_KEY", ""))
        spare, limit_s = self._take_spare(), self._settings.limits.load_s
        return RunnerProcess.load(source, self._options, spare=spare, timeout_s=limit_s, started=self._note_worker)

    def _note_worker(self, worker: WorkerProcess) -> None:
        with self._lock:
            self._workers.add(worker)

    def memory_gib(self, version: Version) -> float:
        if self._settings.vllm is not None:
            return 0.0
        is_full = bool(version.folder) and (self.manifest(version) or {}).get("kind") == "full"
        return memory_need(self._folder, self._options, is_shared=bool(self._shared()) and not is_full) / 2**30

    @property
    def shared_gib(self) -> float:
        return weights_need(self._folder, self._options) / 2**30 if self._shared() else 0.0

    def manifest(self, version: Version) -> dict[str, Any] | None:
        try:
            return asdict(read_version(self._settings.data / version.folder, verify=False)) if version.folder else None
        except VersionCorrupt:
            return None

    def _prepare_later(self) -> None:
        """Start the next spare worker when the version that was loaded has answered, since its imports take a core."""
        later = threading.Timer(SPARE_AFTER_S, self.prepare)
        later.daemon = True
        later.start()

    def prepare(self) -> None:
        with self._lock:
            if self._spare is None and self._settings.vllm is None and not self._closed:
                self._spare = WorkerProcess(self._options.kinds, self._options.hang_s)

    def close(self) -> None:
        with self._lock:
            self._closed = True
        if (spare := self._take_spare()) is not None:
            spare.end(1.0)
        with self._lock:
            workers = list(self._workers)
        for worker in workers:
            if worker.process.poll() is None:
                worker.kill()  # it is still loading: one that hangs would outlive the service
        with self._weights_lock:
            if self._weights is not None:
                self._weights.close()

    def _check_sharing(self) -> None:
        """Raise ValueError where `adapters` asks for what the runner cannot do."""
        runner = "vllm" if self._settings.vllm is not None else self._options.kinds[0]
        if self._settings.engine.adapters == "shared" and runner not in ("transformers", "llamacpp"):
            lead = f"adapters is shared, but the runner {runner} merges them"
            raise ValueError(f"{lead}; set runner to transformers, or adapters to auto")

    def _shared(self) -> bytes:
        """Return handles of the shared base weights, b"" where each version has its own copy.

        The first call starts the process that holds them. Raises RunnerFailed where they must be shared and cannot be.
        """
        mode, on_gpu = self._adapters, self._options.device == "cuda"
        if mode == "merged" or self._settings.vllm is not None or (mode == "auto" and not on_gpu):
            return b""
        if self._options.kinds[:1] == ("llamacpp",):  # its processes map one file
            return b""
        with self._weights_lock:
            if self._weights is None or not self._weights.is_alive:
                need = self._settings.engine.max_slots * memory_need(self._folder, self._options)
                limit = self._settings.engine.memory_gib * 2**30
                room = need if mode == "auto" and not 0 < limit < need else 0
                try:
                    self._weights = WeightsProcess.start(
                        str(self._folder), self._options, room=room, timeout_s=self._settings.limits.load_s
                    )
                except RunnerFailed as error:
                    if mode != "auto":
                        raise
                    log.warning("each version has base weights of its own, since %s", error)
                    self._adapters = "merged"
                    return b""
                sharing = "shared between versions" if self._weights.weights else "each version's own"
                log.info("base weights are %s", sharing)
            return self._weights.weights

    def _take_spare(self) -> WorkerProcess | None:
        with self._lock:
            spare, self._spare = self._spare, None
        return spare

    def _checked_manifest(self, version: Version) -> Manifest:
        try:
            manifest = read_version(self._settings.data / version.folder)
        except VersionCorrupt as error:
            raise VersionRefused(str(error)) from error
        if manifest.digest != version.digest or manifest.base_digest != self.digest:
            lead = f"version {version.number} in {version.folder}"
            raise VersionRefused(f"{lead} is not the one that the store knows: its digest differs")
        return manifest

    def _warm_up(self, runner: Runner) -> None:
        settings = SamplingSettings(temperature=0.0, max_tokens=WARM_UP_TOKENS, seed=1, end_ids=self.end_ids)
        generate_all(runner, [self.prompt_ids(WARM_UP)], [settings], timeout_s=self._settings.limits.load_s)

    def _token(self, token_id: int, is_first: bool = False) -> tuple[str, list[int]]:
        text, octets = token_text(self._tokenizer, token_id, is_first=is_first)
        return text, list(octets)
