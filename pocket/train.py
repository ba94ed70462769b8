"""Training of a bundled model from scratch: `python -m pocket.train --size pocket --out DIR`.

The skills generate the corpus for tokenizer and weights from a seed. A run keeps its state in its run folder and
resumes from there. The same seed gives the same weights on the same machine.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from pocket.batches import Batch, Encoder, part_batches
from pocket.corpus import Stage
from pocket.errors import RunMismatch
from pocket.evaluate import evaluate, overall
from pocket.model_folder import save_folder
from pocket.muon import optimizers_of
from pocket.tokenizer import train_tokenizer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """The size of a model and the plan of its training."""

    size: str
    hidden: int
    layers: int
    heads: int
    feed_forward: int
    steps: int
    tokens: int
    """Token ids per step, padding included."""
    lr: float
    context: int
    """Most tokens of a conversation."""
    bf16: bool
    """Matrix products in bfloat16 where the CPU has them."""
    school: float = 0.35
    """Share of the steps at which school ends."""
    practice: float = 0.72
    """Share of the steps at which practice ends; the rest is raw."""
    seed: int = 0


PLANS = {
    "pocket": Plan(
        "pocket",
        hidden=256,
        layers=6,
        heads=4,
        feed_forward=640,
        steps=5200,
        tokens=4096,
        lr=2e-3,
        context=1024,
        bf16=True,
    ),
    # This size learns little from practice, so it has more of the raw mixture.
    "nano": Plan(
        "nano",
        hidden=128,
        layers=4,
        heads=4,
        feed_forward=256,
        steps=1500,
        tokens=1280,
        lr=4e-3,
        context=512,
        bf16=True,
        school=0.5,
        practice=0.6,
    ),
}


def new_model(plan: Plan, tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """Return a Llama of this size with random weights from the plan's seed."""
    torch.manual_seed(plan.seed)
    config = LlamaConfig(
        vocab_size=-(-len(tokenizer) // 64) * 64,
        hidden_size=plan.hidden,
        num_hidden_layers=plan.layers,
        num_attention_heads=plan.heads,
        num_key_value_heads=plan.heads,
        head_dim=plan.hidden // plan.heads,
        intermediate_size=plan.feed_forward,
        max_position_embeddings=plan.context,
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        tie_word_embeddings=True,
        initializer_range=0.02,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    # on a CPU the fused kernel's backward pass in bfloat16 takes eight times as long for such short rows
    model.set_attn_implementation("eager")
    return model


def completion_loss(model: LlamaForCausalLM, batch: Batch) -> Tensor:
    """Return the mean cross-entropy in nats per completion token, shape ().

    The head is applied to completion tokens only. Rows are padded on the right, so causal attention needs no mask.
    """
    hidden = model.model(input_ids=batch.ids, use_cache=False).last_hidden_state
    rows, positions, targets = batch.targets.unbind(1)
    return F.cross_entropy(model.lm_head(hidden[rows, positions]).float(), targets)


def learning_rate(plan: Plan, step: int) -> float:
    """Return the rate at a step: linear warm-up over 60 steps, constant, linear to 5 % over the last half."""
    fall = max(0.0, (step - plan.steps * 0.5) / (plan.steps * 0.5))
    return plan.lr * min(1.0, (step + 1) / 60) * (1 - 0.95 * fall)


def stage_at(plan: Plan, step: int) -> Stage:
    """Return the stage of the corpus at a step."""
    return "school" if step < plan.steps * plan.school else "practice" if step < plan.steps * plan.practice else "raw"


class Run:
    """One training run: model, optimizers, position in the corpus, and the folder with its state."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self.folder = plan, folder
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer = self._tokenizer()
        self.encoder = Encoder(self.tokenizer, plan.context)
        self.model = new_model(plan, self.tokenizer).to(self.device)
        self.bf16 = plan.bf16 and (self.device == "cuda" or torch.cpu._is_avx512_bf16_supported())
        self.optimizers = optimizers_of(self.model, plan.lr, fast=self.bf16)
        self.step, self.part, self.position = 0, 0, 0
        self.stage: Stage = "school"
        self.seconds = 0.0
        self._batches: list[Batch] = []
        self._resume()

    def _tokenizer(self) -> PreTrainedTokenizerBase:
        kept = self.folder / "tokenizer"
        if not kept.exists():
            train_tokenizer(self.plan.seed, self.plan.context).save_pretrained(kept)
        return PreTrainedTokenizerFast.from_pretrained(kept)

    def _resume(self) -> None:
        path = self.folder / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        if not self._is_same_so_far(state["plan"], state["step"]):
            held = f"{self.folder} holds a run with other settings ({state['plan']})"
            raise RunMismatch(f"{held}; use another --run folder or delete it")
        self.model.load_state_dict(state["model"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.step, self.part, self.position, self.stage, self.seconds = (
            state[k] for k in ("step", "part", "position", "stage", "seconds")
        )
        if self.position:
            self._batches = self._part()
        log.info("goes on at step %d of %d", self.step, self.plan.steps)

    def _is_same_so_far(self, plan: dict[str, Any], step: int) -> bool:
        """Return whether a run by `plan` is the same as ours up to `step`.

        The number of steps has no effect before the end of school, so until then it may change.
        """
        same_steps = plan["steps"] == self.plan.steps or step < self.plan.school * min(plan["steps"], self.plan.steps)
        return {**plan, "steps": 0} == {**asdict(self.plan), "steps": 0} and same_steps

    def save(self) -> None:
        """Save all that the run needs to resume, atomically."""
        state: dict[str, Any] = {
            "plan": asdict(self.plan),
            "model": self.model.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "step": self.step,
            "part": self.part,
            "position": self.position,
            "stage": self.stage,
            "seconds": self.seconds,
        }
        torch.save(state, self.folder / "state.tmp")
        os.replace(self.folder / "state.tmp", self.folder / "state.pt")

    def next_batch(self) -> Batch:
        """Return the next batch of the corpus; a new part follows when one is used up."""
        if self.position >= len(self._batches):
            self.part += bool(self._batches)
            self.position, self.stage = 0, stage_at(self.plan, self.step)
            self._batches = self._part()
        batch = self._batches[self.position]
        self.position += 1
        return Batch(batch.ids.to(self.device), batch.targets.to(self.device))

    def _part(self) -> list[Batch]:
        return part_batches(self.encoder, self.plan.seed, self.part, self.plan.tokens, self.stage)

    def train_step(self) -> Tensor:
        """Make one optimizer step; return the loss, detached."""
        began = time.perf_counter()
        for optimizer in self.optimizers:
            optimizer.param_groups[0]["lr"] = learning_rate(self.plan, self.step)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            loss = completion_loss(self.model, self.next_batch())
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.seconds += time.perf_counter() - began
        return loss.detach()


def train(plan: Plan, out: Path, run_folder: Path, probe_every: int = 400, save_every: int = 100) -> dict[str, Any]:
    """Train to the plan's last step, log loss and accuracy, and write the Hugging Face folder."""
    run = Run(plan, run_folder)
    losses: list[Tensor] = []
    log.info(
        "%s: %d parameters, %d steps on %s",
        plan.size,
        sum(p.numel() for p in run.model.parameters()),
        plan.steps,
        run.device,
    )
    while run.step < plan.steps:
        losses.append(run.train_step())
        if run.step % 50 == 0:
            log.info("step %d %s loss %.3f %.0f s", run.step, run.stage, torch.stack(losses).mean().item(), run.seconds)
            losses.clear()
        if run.step % save_every == 0:
            run.save()
        if probe_every and run.step % probe_every == 0 and run.step < plan.steps:
            rows = evaluate(run.model, run.tokenizer, per_cell=4, seed=1, sampled=False)
            log.info(
                "step %d greedy %.2f | %s",
                run.step,
                overall(rows, "greedy"),
                " ".join(f"{r.skill}.{r.lang} {r.greedy:.2f}" for r in rows),
            )
    run.save()
    record = {
        "plan": asdict(plan),
        "steps": run.step,
        "seconds": round(run.seconds),
        "parts": run.part + 1,
        "torch": torch.__version__,
        "device": run.device,
        "threads": torch.get_num_threads(),
    }
    save_folder(run.model, run.tokenizer, out, record)
    return record


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m pocket.train", description="Train a bundled model from scratch.")
    parser.add_argument("--size", choices=sorted(PLANS), default="pocket")
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished model")
    parser.add_argument("--run", type=Path, help="folder for the run's state (default: runs/SIZE-SEED)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="optimizer steps (default: the plan's)")
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        help="CPU threads; another number changes the last digits. One is nearly as fast as two "
        "for such small matrices, and suffers least from other load on the machine",
    )
    parser.add_argument("--probe-every", type=int, default=400, help="steps between accuracy probes; 0 is never")
    a = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(a.threads)
    plan = replace(PLANS[a.size], seed=a.seed, **({"steps": a.steps} if a.steps else {}))
    record = train(plan, a.out, a.run or Path("runs") / f"{a.size}-{a.seed}", a.probe_every)
    log.info("%s", json.dumps(record))


if __name__ == "__main__":
    main()
