"""Speed, memory and MFU of DPO and PPO steps on a GPU, with random Qwen3-shaped models.

    python -m bench.gpu                      all measurements, on CUDA; bench/gpu.sh sets the machine up first
    python -m bench.gpu --tiny               the same code on a CPU with a tiny model, to see that it runs

A step is a forward and backward pass over packed rows, clipping and AdamW on LoRA adapters, with the base in bf16. MFU
is relative to the card's dense bf16 peak. It counts 4 x frozen weights x tokens (forward pass and gradients of
activations) and 6 x adapter weights x tokens. PPO's step is a round: it samples completions, scores them with sampler
and reference, and makes one pass of clipped updates with the value head.
"""

import argparse
import random
import time
from dataclasses import dataclass
from typing import Any

import torch

from bench.record import record
from learner.algorithms.dpo import PairLogps, sigmoid_loss
from learner.algorithms.ppo import ValueHead, advantages_and_returns, token_rewards, value_loss
from learner.algorithms.reduction import Term, combine
from learner.algorithms.surrogate import surrogate_loss
from learner.model.rollouts import Rollout, row_settings, sample_rollouts
from learner.model.scoring import hidden_states
from policy.logprobs import response_logps, score_rows
from policy.row_layout import Row

PEAKS = {
    "H100": 989e12,
    "H200": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "4090": 165e12,
}  # dense bf16 FLOP/s, by NVIDIA's data sheets
WARM, STEPS = 3, 10


@dataclass(frozen=True)
class Shape:
    """A Qwen3-shaped model: width, layers, heads, and the sizes of the steps on it."""

    name: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    pairs: int = 16
    prompt: int = 256
    completion: int = 256
    prompts: int = 16
    group: int = 4


SHAPES = (
    Shape("0.6B", 1024, 3072, 28, 16, 8, 128, 151_936),
    Shape("1.7B", 2048, 6144, 28, 16, 8, 128, 151_936),
)
TINY = (Shape("tiny", 32, 64, 2, 4, 2, 8, 96, pairs=3, prompt=7, completion=6, prompts=3, group=2),)


def random_model(shape: Shape, device: str, dtype: torch.dtype) -> tuple[Any, int]:
    """Return a model with random weights under LoRA on all linear layers, and the number of its frozen weights."""
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        tie_word_embeddings=True,
        max_position_embeddings=4096,
    )
    with torch.device(device):
        model = Qwen3ForCausalLM(config).to(dtype)
    frozen = sum(parameter.numel() for parameter in model.parameters())
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(model, lora).eval(), frozen  # adapters are float32: PEFT casts them up


def optimizer_of(model: torch.nn.Module) -> torch.optim.Optimizer:
    """Return AdamW over the trainable parameters."""
    return torch.optim.AdamW(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=1e-5,
        weight_decay=0.0,
        fused=True,
    )


def applied(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Clip and apply the gradients."""
    torch.nn.utils.clip_grad_norm_([parameter for parameter in model.parameters() if parameter.requires_grad], 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def ids(rng: random.Random, shape: Shape, length: int) -> list[int]:
    """Return random token ids."""
    return [rng.randrange(4, shape.vocabulary) for _ in range(length)]


class DpoStep:
    """Pairs with a shared prompt, with known log-probabilities of the reference."""

    def __init__(self, model: Any, shape: Shape) -> None:
        rng = random.Random(0)
        self.model, self.optimizer = model, optimizer_of(model)
        self.rows = [
            Row(ids(rng, shape, shape.prompt), [ids(rng, shape, shape.completion) for _ in range(2)])
            for _ in range(shape.pairs)
        ]
        self.tokens = sum(row.length for row in self.rows)
        self.items = shape.pairs
        known = torch.stack(
            [branch.sum() for branches in score_rows(model, self.rows, token_budget=8192) for branch in branches]
        )
        self.reference = PairLogps(known[0::2], known[1::2])

    def __call__(self) -> float:
        """Make one step; return its loss."""
        device = next(self.model.parameters()).device
        sums = response_logps(self.model, self.rows).sums()
        reference = PairLogps(*(side.to(device) for side in self.reference))
        loss = sigmoid_loss(PairLogps(sums[0::2], sums[1::2]), reference, beta=0.1).mean()
        loss.backward()
        applied(self.model, self.optimizer)
        return loss.item()


class PpoStep:
    """A round of PPO on sampled completions; the reward is the share of tokens in the vocabulary's lower half."""

    def __init__(self, model: Any, shape: Shape) -> None:
        rng = random.Random(1)
        self.model, self.optimizer, self.shape = model, optimizer_of(model), shape
        self.prompts = [ids(rng, shape, shape.prompt) for _ in range(shape.prompts) for _ in range(shape.group)]
        self.head = ValueHead(shape.hidden).to(next(model.parameters()).device)
        self.values = torch.optim.Adam(self.head.parameters(), lr=1e-3)
        self.items, self.tokens, self.round = len(self.prompts), 0, 0

    def __call__(self) -> float:
        """Make one round; return its loss."""
        shape, model = self.shape, self.model
        device = next(model.parameters()).device
        self.round += 1
        settings = row_settings(len(self.prompts), end_ids=(2,), max_tokens=shape.completion, seed=self.round)
        rollouts = sample_rollouts(model, self.prompts, settings)
        rows = [Row(rollout.prompt_ids, [rollout.ids]) for rollout in rollouts]
        self.tokens = sum(row.length for row in rows)
        old = padded([branches[0] for branches in score_rows(model, rows, token_budget=8192)], device)
        with model.disable_adapter():
            reference = padded([branches[0] for branches in score_rows(model, rows, token_budget=8192)], device)
        mask = padded([torch.ones(len(rollout.ids)) for rollout in rollouts], device)
        states = self.states(rollouts, device)
        scores = torch.tensor(
            [sum(token < shape.vocabulary / 2 for token in rollout.ids) / len(rollout.ids) for rollout in rollouts]
        ).to(device)
        rewards = token_rewards(scores, old, reference, mask, kl_weight=0.05)
        values = self.head(states) * mask
        advantages, returns = advantages_and_returns(rewards, values.detach(), mask)
        critic, _ = value_loss(values, values.detach(), returns, mask, clip=0.2)
        (critic.sum() / mask.sum()).backward()
        self.values.step()
        self.values.zero_grad()
        total, size = float(mask.sum()), 16
        loss_sum = 0.0
        for start in range(0, len(rows), size):
            logps = padded(response_logps(model, rows[start : start + size]).split(), device)
            width = logps.size(1)
            here = slice(start, start + size)
            losses, _ = surrogate_loss(
                logps, old[here, :width], advantages[here, :width], mask[here, :width], eps_low=0.2, eps_high=0.2
            )
            loss, _ = combine([Term("ppo", losses, mask[here, :width], total)])
            loss.backward()
            loss_sum += loss.item()
        applied(model, self.optimizer)
        return loss_sum

    @torch.no_grad()
    def states(self, rollouts: list[Rollout], device: torch.device) -> torch.Tensor:
        """Return the hidden states (N, T, d) that predict the completion tokens."""
        found = []
        for start in range(0, len(rollouts), 16):
            some = rollouts[start : start + 16]
            hidden = hidden_states(self.model, [(rollout.prompt_ids, rollout.ids) for rollout in some]).float()
            for row, rollout in enumerate(some):
                first = len(rollout.prompt_ids) - 1
                found.append(hidden[row, first : first + len(rollout.ids)])
        return padded(found, device)


def padded(sequences: Any, device: torch.device) -> torch.Tensor:
    """Return sequences (T_n, ...) as (N, T, ...), padded with zeros on the right."""
    return torch.nn.utils.rnn.pad_sequence([sequence.to(device) for sequence in sequences], batch_first=True)


def measured(step: DpoStep | PpoStep, frozen: int, device: str, steps: int) -> dict[str, Any]:
    """Return a step's numbers: items/s, tokens/s, peak memory (GiB, on a GPU), and MFU for a known card."""
    losses = [step() for _ in range(WARM)]
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    began, tokens = time.perf_counter(), 0
    for _ in range(steps):
        losses.append(step())
        tokens += step.tokens
    if device == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    moving = sum(parameter.numel() for parameter in step.model.parameters() if parameter.requires_grad)
    peak = next(
        (peak for name, peak in PEAKS.items() if device == "cuda" and name in torch.cuda.get_device_name()), None
    )
    return {
        "items_per_s": steps * step.items / seconds,
        "tokens_per_s": tokens / seconds,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None,
        "mfu": (4 * frozen + 6 * moving) * tokens / seconds / peak if peak else None,
        "finite": all(loss == loss and abs(loss) < 1e6 for loss in losses),
    }


def main() -> None:
    """Measure, print, and on a GPU write bench/results/gpu.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="on a CPU, with a tiny model")
    asked = parser.parse_args()
    device = "cpu" if asked.tiny else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU; --tiny runs the same code on a CPU")
    results: dict[str, Any] = {}
    for shape in TINY if asked.tiny else SHAPES:
        for name, kind in (("dpo", DpoStep), ("ppo", PpoStep)):
            model, frozen = random_model(shape, device, torch.float32 if asked.tiny else torch.bfloat16)
            results[f"{name} {shape.name}"] = seen = measured(
                kind(model, shape), frozen, device, 2 if asked.tiny else STEPS
            )
            numbers = [
                f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in seen.items()
            ]
            print(f"{name} {shape.name}: {', '.join(numbers)}")
            del model
    if device == "cuda":
        record("gpu", {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "results": results})


if __name__ == "__main__":
    main()
