"""The one model in memory: loaded once, its trainable weights replaced in place from version to version."""

import contextlib
import inspect
import json
import logging
import re
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from learner.errors import CannotLearn
from learner.model.cpu_products import use_fast_products
from learner.model.rollouts import Rollout, row_settings
from learner.model.sampler import Sampler, sampler_of
from learner.model.sampler_choice import check_sampler
from learner.model.scoring import Ids
from learner.model.tuned_layers import first_tuned_layer, is_below, is_small_here, lowest_layer, rate_factor
from learner.settings import LearnerSettings, learning_rate_for
from policy.chat import end_ids, load_tokenizer
from policy.chat_template import TEMPLATE_FILE, USUAL_ARGUMENTS, read_template
from policy.errors import first_line
from policy.logprobs import begin_at_layer, run_layout
from policy.lower_layers import LowerLayers, layers_and_path
from policy.model import load_model, model_digest, resolve_device, resolve_model
from policy.row_layout import Row
from policy.thoughts import thought_marks
from policy.versions import read_version

log = logging.getLogger(__name__)
BASE = b"base"  # the name of the base model's lower layers
DAY = date(2026, 1, 1)  # that templates write in prompts of the learner, so that its caches last
LORA_ALPHA = 32.0  # adapters are scaled by alpha / rank
Weights = dict[str, Tensor]


class Shape(NamedTuple):
    """What adapters are like: rank, alpha, whether the output layer has one, and the first layer that has some."""

    rank: int
    alpha: float
    with_head: bool
    first: int


class Resident:
    """Base model, tokenizer and trainable weights: adapters on linear layers (`lora`) or the weights (`full`).

    They are those of the upper layers (`tune_layers`); below them nothing changes during an update. The output layer
    has an adapter only where the version brings one. `model` is always in evaluation mode: without
    dropout the policy equals its reference at the start of an update. Only the trainable weights carry gradients. One
    thread uses it at a time.
    """

    def __init__(self, settings: LearnerSettings) -> None:
        """Load the model. Raises CannotLearn for a model that cannot be trained here, and as `load_model` does.

        Raises BadSetting for a sampler that cannot be used with it.
        """
        self.settings, self.folder = settings, resolve_model(settings.model)
        check_sampler(settings, self.folder)
        self.tokenizer = load_tokenizer(
            settings.model, settings.chat_template, {**USUAL_ARGUMENTS, **settings.chat_template_kwargs}, day=DAY
        )
        self.thoughts = thought_marks(self.tokenizer)
        self.base_digest = model_digest(settings.model)
        on_cuda = resolve_device(settings.device) == "cuda"
        self._half = settings.dtype == "bfloat16" or (settings.dtype == "auto" and on_cuda)
        precision = "bfloat16" if self._half and settings.tuning == "lora" else "float32"
        self.base = load_model(settings.model, settings.device, precision).eval().requires_grad_(False)
        # Rollouts are sampled with a KV cache; Mamba has a state instead.
        if "past_key_values" not in inspect.signature(self.base.forward).parameters:
            reason = f"{settings.model} is a {type(self.base).__name__}, which keeps no keys and values of attention"
            raise CannotLearn(f"{reason}; choose a model that does")
        self.device = next(self.base.parameters()).device
        self.num_parameters = sum(parameter.numel() for parameter in self.base.parameters())
        self.parent_digest = ""
        self.model: Any = self.base
        self._check: Callable[[], None] = lambda: None
        self.is_base = False
        """Whether it is the base model for a while (`as_base`)."""
        self.origin: tuple[str, Path | None] = ("", None)
        """The digest of the weights that `become` took on, and their version's folder; None for the base model's."""
        self._shape: Shape | None = None
        self._base_weights: Weights = {}
        layers, self._layers_path = layers_and_path(self.base)
        self.num_layers = 0 if layers is None else len(layers)
        self.is_small = is_small_here(self.num_parameters, self.device.type)
        if settings.dtype == "auto" and not self.is_small:
            use_fast_products()
        self._first = first_tuned_layer(
            settings.tune_layers, self.num_layers, is_small=self.is_small, tuning=settings.tuning
        )
        self.lower: LowerLayers | None = None
        """The layers below the trained ones, where they can be run apart."""
        if settings.tuning == "full":
            self._base_weights = {name: weight.detach().clone() for name, weight in self.base.named_parameters()}
            self._train_upper_layers()
        else:
            self._wrap(self._own_shape)
        self.sampler: Sampler = sampler_of(self)

    @property
    def context_length(self) -> int:
        """Most tokens that a row may hold, prompt included."""
        config = self.base.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", None) or 4096)

    @property
    def vocab_size(self) -> int:
        """Token ids that the model has; every id is below it."""
        return int(self.base.get_input_embeddings().num_embeddings)

    @property
    def learning_rate(self) -> float:
        """The step size in force."""
        chosen = learning_rate_for(self.num_parameters, self.settings.tuning)
        return self.settings.optimizer.learning_rate or chosen * rate_factor(self.num_layers, self.tuned_layers)

    @property
    def tuned_layers(self) -> int:
        """How many layers are trained, the upper ones."""
        return self.num_layers - self._first

    def trainable(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """The trainable weights, by name."""
        return ((name, parameter) for name, parameter in self.model.named_parameters() if parameter.requires_grad)

    def weights(self) -> Weights:
        """Return a copy of the trainable weights."""
        return {name: parameter.detach().clone() for name, parameter in self.trainable()}

    @torch.no_grad()
    def put(self, weights: Weights) -> None:
        """Put back a copy made by `weights`."""
        parameters = dict(self.model.named_parameters())
        for name, weight in weights.items():
            parameters[name].copy_(weight)

    def become(self, folder: Path | None, seed: int) -> None:
        """Take on the weights of a version folder; None is the base model, with fresh adapters drawn from `seed`.

        Raises CannotLearn for a version of the other tuning, and VersionCorrupt when its files are not what was
        published.
        """
        if self.lower is not None:
            self.lower.clear()  # so that an update is the same whatever came before it
        if folder is None:
            self._become_base(seed)
            self.parent_digest = self.base_digest
            self.origin = (self.weights_digest(), None)
            return
        manifest = read_version(folder)
        if (manifest.kind == "full") != (self.settings.tuning == "full"):
            other = "full" if manifest.kind == "full" else "lora"
            made = f"version {manifest.version} was made with tuning {other!r}"
            raise CannotLearn(f"{made}; set tuning to that, or roll back to version 0 first")
        if self.settings.tuning == "full":
            self._read_full(folder)
        else:
            self._read_adapter(folder, seed)
        self.parent_digest = manifest.digest
        if self.lower is not None and (self._shape is None or self._shape.first < self._first):
            self.lower.weights = manifest.digest.encode()  # the version's own lower layers
        self.origin = (self.weights_digest(), folder)

    def weights_digest(self) -> str:
        """Return the sha256 of the trainable weights as they are now."""
        found = sha256()
        for name, parameter in self.trainable():
            found.update(name.encode())
            found.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        return found.hexdigest()

    def sample(
        self, prompts: Sequence[Ids], *, max_tokens: int, seed: int, temperature: float = 1.0, top_p: float = 1.0
    ) -> list[Rollout]:
        """Return one completion per prompt, in order, from the weights as they are now; temperature 0 is greedy."""
        ends = end_ids(self.tokenizer)
        settings = row_settings(
            len(prompts), end_ids=ends, max_tokens=max_tokens, seed=seed, temperature=temperature, top_p=top_p
        )
        return self.sampler.sample(prompts, settings)

    def save(self, folder: Path) -> None:
        """Write the weights as PEFT (lora) or transformers (full) load them."""
        if self.settings.tuning == "full":
            self.base.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
            return
        if self.settings.chat_template is not None:  # the model's own is another, or none
            (folder / TEMPLATE_FILE).write_text(read_template(self.settings.chat_template))
        # Else PEFT asks the hub for the base model's configuration.
        self.model.save_pretrained(folder, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # a model card full of "more information needed"
        path = folder / "adapter_config.json"
        config = json.loads(path.read_text())
        # The kinds of layers, instead of a set of all layers, whose order would change the version's digest.
        config["target_modules"] = sorted({name.rpartition(".")[2] for name in config["target_modules"]})
        if config.get("layers_to_transform"):
            config["layers_to_transform"] = sorted(config["layers_to_transform"])
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")

    @contextlib.contextmanager
    def holding(self, weights: Weights) -> Generator[Any, None, None]:
        """The model with other weights for a while, for instance those of the live version."""
        now = dict(self.model.named_parameters())
        mine = {name: now[name].detach().clone() for name in weights}
        self.put(weights)
        try:
            yield self.model
        finally:
            self.put(mine)

    @contextlib.contextmanager
    def as_base(self) -> Generator[Any, None, None]:
        """The model as the base model for a while."""
        with self._lower_weights(BASE):
            if self.settings.tuning == "full":
                with self.holding(self._base_weights):
                    yield self.model
            else:
                try:
                    with self.model.disable_adapter():
                        self.is_base = True
                        yield self.model
                finally:
                    self.is_base = False
                    self._choose_trainable()  # PEFT lets all adapters carry gradients again

    def keep_lower(self, rows: Sequence[Row]) -> None:
        """Compute the base model's lower layers of these rows once and for all, as far as they are not kept yet."""
        if self.lower is not None:
            with self.as_base(), self.autocast():
                self.lower.pin(self.model, rows, run_layout)

    def check(self) -> None:
        """Raise what ends the work under way: see `checked`."""
        self._check()

    @contextlib.contextmanager
    def checked(self, check: Callable[[], None]) -> Generator[None, None, None]:
        """Call `check` before each forward pass, and while a sampler is at work; what it raises ends that."""
        before, self._check = self._check, check
        hook = self.base.get_input_embeddings().register_forward_pre_hook(lambda *_: check())
        try:
            yield
        finally:
            hook.remove()
            self._check = before

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """What forward passes run under."""
        return torch.autocast(self.device.type, torch.bfloat16) if self._half else contextlib.nullcontext()

    @property
    def _own_shape(self) -> "Shape":
        return Shape(self.settings.lora_rank, LORA_ALPHA, False, self._first)

    @contextlib.contextmanager
    def _lower_weights(self, name: bytes) -> Generator[None, None, None]:
        """The lower layers' states under this name for a while."""
        if self.lower is None:
            yield
            return
        before, self.lower.weights = self.lower.weights, name
        try:
            yield
        finally:
            self.lower.weights = before

    def _train_upper_layers(self) -> None:
        """Let the weights of the trained layers alone carry gradients; keep what those below compute."""
        self._choose_trainable()
        self.lower = begin_at_layer(self.model, self._first)

    def _choose_trainable(self) -> None:
        for name, parameter in self.model.named_parameters():
            adapted = self.settings.tuning == "full" or "lora_" in name
            if self.settings.tuning == "full" and self._first > 0:  # embeddings and norms stay as they are
                adapted = re.search(rf"(?:^|\.){re.escape(self._layers_path)}\.", name) is not None
            parameter.requires_grad_(adapted and not is_below(name, self._layers_path, self._first))

    def _become_base(self, seed: int) -> None:
        if self.lower is not None:
            self.lower.weights = BASE
        if self.settings.tuning == "full":
            self.put(self._base_weights)
            return
        if self._shape != self._own_shape:
            self._wrap(self._own_shape)
        self._reset_adapters(seed)

    def _reset_adapters(self, seed: int) -> None:
        """Draw the adapters anew; they change nothing yet."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for module in self.model.modules():
                if hasattr(module, "reset_lora_parameters"):
                    module.reset_lora_parameters("default", True)

    def _wrap(self, shape: "Shape") -> None:
        from peft import LoraConfig, get_peft_model

        if self._shape is not None:
            self.base = self.model.unload()
        given = {"r": shape.rank, "lora_alpha": shape.alpha, "lora_dropout": 0.0, "bias": "none"}
        given |= {"task_type": "CAUSAL_LM"}
        # Adapters are merged into a copy of the head: policy/weights.py.
        warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True`", UserWarning)
        # PEFT itself sets it right for each of GPT-2's layers.
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to", UserWarning)
        try:
            self.model = get_peft_model(self.base, LoraConfig(target_modules="all-linear", **given)).eval()
            if shape.with_head or shape.first:  # "all-linear" leaves out the head, and takes all layers
                names = sorted(self.model.peft_config["default"].target_modules)
                names += [self._head_name()] if shape.with_head else []
                if shape.first:
                    given["layers_to_transform"] = list(range(shape.first, self.num_layers))
                self.base = self.model.unload()
                self.model = get_peft_model(self.base, LoraConfig(target_modules=names, **given)).eval()
        except ValueError as error:  # PEFT cannot adapt this kind of layer
            reason = f"{self.settings.model} takes no adapters on its linear layers"
            raise CannotLearn(f"{reason}; set tuning to full ({first_line(error)})") from error
        self.model.peft_config["default"].base_model_name_or_path = self.settings.model
        self._shape = shape
        self._train_upper_layers()

    def _head_name(self) -> str:
        head = self.base.get_output_embeddings()
        return next((name for name, module in self.base.named_modules() if module is head), "")

    def _read_adapter(self, folder: Path, seed: int) -> None:
        from peft import set_peft_model_state_dict
        from safetensors.torch import load_file

        config = json.loads((folder / "adapter_config.json").read_text())
        has_head = self._head_name().rpartition(".")[2] in config["target_modules"]
        lowest = lowest_layer(config.get("layers_to_transform"))
        first = 0 if has_head else min(lowest, self._first)  # a head's adapter belongs to no layer
        shape = Shape(int(config["r"]), float(config["lora_alpha"]), has_head, first)
        if self._shape != shape:
            self._wrap(shape)
        if lowest > first:  # the version adapts fewer layers than are trained now
            self._reset_adapters(seed)
        found = set_peft_model_state_dict(self.model, load_file(folder / "adapter_model.safetensors"))
        adapted = [name for name in found.missing_keys if "lora_" in name]
        missing = [name for name in adapted if not is_below(name, self._layers_path, lowest)]
        if missing or found.unexpected_keys:
            name = (missing + found.unexpected_keys)[0]
            raise CannotLearn(f"the adapter in {folder} does not fit the base model {self.settings.model}: {name}")

    def _read_full(self, folder: Path) -> None:
        from safetensors import safe_open

        state: Weights = {}
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, "pt") as file:
                state |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- not a mapping
        absent = set(self._base_weights) - set(state)
        if absent:
            raise CannotLearn(f"the weights in {folder} lack {min(absent)}")
        self.put({name: state[name] for name in self._base_weights})
