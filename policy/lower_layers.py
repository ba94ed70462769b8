"""The layers below those that are trained: their hidden states, computed once for each prompt and completion.

Where training changes only the upper layers, what the lower ones compute of a token stays. A pass then begins at the
first trained layer. Log-probabilities and gradients equal those of the whole model (to 1e-6 in float32).
"""

import hashlib
import logging
import weakref
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from policy.row_layout import Layout, Row, lay_out

log = logging.getLogger(__name__)
MOST_BYTES = 2**30  # of hidden states that are kept; the least recently used are dropped
Run = Callable[[torch.nn.Module, Layout], Any]
"""Runs the model over a layout."""
_attached: "weakref.WeakKeyDictionary[torch.nn.Module, LowerLayers]" = weakref.WeakKeyDictionary()


class LowerLayers:
    """The layers below index `first` of a model whose weights there do not change, and what they computed so far.

    `weights` names the weights that the lower layers have now; states of other weights are kept apart.
    """

    def __init__(self, body: torch.nn.Module, first: int, most_bytes: int = MOST_BYTES) -> None:
        """Raises ValueError where the model has no list of layers, or fewer than `first`."""
        layers = layers_of(body)
        if layers is None or not 0 < first < len(layers):
            raise ValueError(f"{type(body).__name__} has no layer {first} to begin at")
        self.weights = b"base"
        self.num_passes = 0  # of rows through the lower layers
        self._below, self._first, self._most = list(layers[:first]), layers[first], most_bytes
        self._states: OrderedDict[bytes, Tensor] = OrderedDict()  # by weights, prompt and completion: (T, d)
        self._bytes = 0
        self._pinned: dict[bytes, Tensor] = {}

    def clear(self) -> None:
        """Drop what is not pinned."""
        self._states.clear()
        self._bytes = 0

    @torch.no_grad()
    def pin(self, model: torch.nn.Module, rows: Sequence[Row], run: Run) -> None:
        """Compute the states of these rows and keep them as long as the model.

        Each row is computed alone, so its states are the same to the last bit whenever that happens.
        """
        for row in rows:
            if not self._pinned.keys() >= set(self._keys(row)):
                self._pinned |= self._computed(model, [row], run)

    @torch.no_grad()
    def states(self, model: torch.nn.Module, layout: Layout, run: Run) -> Tensor:
        """Return the hidden states (N, T, d) that enter layer `first`, zero at padding."""
        keys = [self._keys(row) for row in layout.rows]
        known = {key: state for row in keys for key in row if (state := self._known(key)) is not None}
        missing = [row for row, own in zip(layout.rows, keys, strict=True) if not known.keys() >= set(own)]
        if missing:
            computed = self._computed(model, missing, run)
            self._add(computed)
            known |= computed
        some = next(iter(known.values()))
        whole = some.new_zeros(*layout.ids.shape, some.shape[-1])
        for number, own in enumerate(keys):
            states = torch.cat([known[key] for key in own])
            whole[number, : len(states)] = states
        return whole

    @contextmanager
    def skipped(self, states: Tensor) -> Generator[None, None, None]:
        """The model without its lower layers: `states` enter layer `first`."""

        def enter(module: torch.nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            return (states, *arguments[1:])

        handle = self._first.register_forward_pre_hook(enter)
        try:
            for layer in self._below:
                layer.forward = _unchanged  # type: ignore[method-assign]
            yield
        finally:
            handle.remove()
            for layer in self._below:
                layer.__dict__.pop("forward", None)

    def _computed(self, model: torch.nn.Module, rows: Sequence[Row], run: Run) -> dict[bytes, Tensor]:
        """Return the states of these rows' prompts and completions, computed in one pass that ends at layer `first`."""
        reached: list[Tensor] = []

        def leave(module: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
            reached.append(arguments[0])
            raise _Reached

        handle = self._first.register_forward_pre_hook(leave)
        self.num_passes += len(rows)
        try:
            run(model, lay_out(rows))
        except _Reached:
            pass
        finally:
            handle.remove()
        found: dict[bytes, Tensor] = {}
        for row, hidden in zip(rows, reached[0], strict=True):
            at = 0
            for key, length in zip(self._keys(row), (len(row.prompt_ids), *map(len, row.branches)), strict=True):
                found[key] = hidden[at : at + length].clone()
                at += length
        return found

    def _known(self, key: bytes) -> Tensor | None:
        if key in self._pinned:
            return self._pinned[key]
        if key in self._states:
            self._states.move_to_end(key)
        return self._states.get(key)

    def _add(self, computed: dict[bytes, Tensor]) -> None:
        for key, state in computed.items():
            if key not in self._states:
                self._states[key] = state
                self._bytes += state.nbytes
        while self._bytes > self._most and self._states:
            self._bytes -= self._states.popitem(last=False)[1].nbytes

    def _keys(self, row: Row) -> list[bytes]:
        """Return the keys of a row's prompt and of each of its completions."""
        half = b"1" if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda") else b"0"
        prompt = _digest(self.weights + half, row.prompt_ids)
        return [prompt, *(_digest(prompt, branch) for branch in row.branches)]


class _Reached(Exception):
    """The pass has come to the first trained layer."""


def attach(body: torch.nn.Module, lower: LowerLayers | None) -> None:
    """Let the log-probabilities of `body`, a transformers model, begin at its trained layers; None ends that."""
    _attached.pop(body, None)
    if lower is not None:
        _attached[body] = lower


def lower_layers_of(body: torch.nn.Module) -> LowerLayers | None:
    """Return what is attached to a transformers model."""
    return _attached.get(body)


def layers_of(body: torch.nn.Module) -> torch.nn.ModuleList | None:
    """Return a transformers model's decoder layers, from the first to the last; None where there is no such list."""
    return layers_and_path(body)[0]


def layers_and_path(body: torch.nn.Module) -> tuple[torch.nn.ModuleList | None, str]:
    """Return the decoder layers and their name within the model, "" where there is none."""
    config: Any = body.config
    count = getattr(config.get_text_config(), "num_hidden_layers", 0)
    for name, module in body.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count and count > 0:
            return module, name
    return None, ""


def _unchanged(hidden: Tensor, *_: Any, **__: Any) -> Tensor:
    return hidden


def _digest(lead: bytes, ids: Sequence[int]) -> bytes:
    return hashlib.blake2b(lead + torch.tensor(list(ids), dtype=torch.int32).numpy().tobytes(), digest_size=16).digest()
