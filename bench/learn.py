"""Cost of a gradient step on preferences, beside TRL's trainers on the same model, data, batch and precision.

    python -m bench.learn [--rounds 3] [--steps 12] [--method dpo kto grpo grpo-long grpo-round] [--threads 1]

Each variant runs in a process of its own. The variants of a round follow each other, so that other load on the machine
affects all of them. The model is a random Llama (5 M parameters, vocabulary 4096), trained in full. Prompts have 64
tokens, completions 32 to 128; a step has 8 pairs (16 rated completions) in the order of the data.

Ours: completions of one prompt share it in one row, and the LM head runs at completion tokens alone. The reference's
log-probabilities are known, as recorded at sampling; the time to compute them is reported beside.

KTO: both sides compute the baseline z0 anew at each step from 16 mismatched completions, so that losses are equal. The
reference's log-probabilities of those are known; they are computed before the steps, in the time beside. Two more
variants: both models score them within the step (live), and as in our learner 16 fixed ones every fifth step (seldom).

GRPO: a step has 2 prompts with 8 given completions each, the same on both sides (TRL's `rollout_func`), and rewards
from a rule. Both sides score the reference within the step, since completions are new in each round. The gain of a
shared prompt depends on its length, so `grpo-long` has prompts of 256 tokens, as in a conversation of a few turns. A
round of these is one step. `grpo-round` takes two steps, the default of our learner (TRL's `steps_per_generation`,
without its shuffle). Then the policy is no longer the sampler: TRL computes the sampler's log-probabilities, ours uses
the recorded ones and checks some.

CPU time is the process's own, in seconds, without the first two steps. The default is one thread: two threads on one
core, or threads that wait on a busy machine, count time without computation.
"""

import argparse
import itertools
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bench.record import record

VOCABULARY, BATCH, BETA, RATE, WARM = 4096, 8, 0.1, 1e-5, 2
GROUP, KL = 8, 0.04  # GRPO: completions of a prompt, weight of the KL to the reference
LONG = 256  # tokens of a long prompt
SELDOM, LIVE = "ours, z0 seldom", "ours, z0 live"
Z0_OF = {SELDOM: "seldom", LIVE: "live"}
VARIANTS = {
    "dpo": ("ours", "ours, bucketed", "TRL float32", "TRL defaults", "TRL precomputed"),
    "kto": ("ours", SELDOM, LIVE, "TRL float32", "TRL defaults", "TRL precomputed"),
    "grpo": ("ours", "TRL float32", "TRL defaults"),
    "grpo-long": ("ours", "TRL float32", "TRL defaults"),
    "grpo-round": ("ours", "TRL float32", "TRL defaults"),
}
ROUND = 2  # steps of a round of `grpo-round`, our learner's default
Pair = dict[str, list[int]]
Group = tuple[list[int], list[list[int]]]


def make_model() -> Any:
    """Return the random model, the same in every process."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {
        "hidden_size": 256,
        "intermediate_size": 704,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
    }
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=512, tie_word_embeddings=False, **shape, **ids)
    )


def make_pairs(count: int) -> list[Pair]:
    """Return random pairs of token ids; each completion ends with the end-of-sequence id."""
    rng = random.Random(1)
    return [{"prompt": _ids(rng, 64), "chosen": _completion(rng), "rejected": _completion(rng)} for _ in range(count)]


def make_groups(count: int, length: int = 64) -> list[Group]:
    """Return random prompts of `length` tokens with `GROUP` completions each."""
    rng = random.Random(1)
    return [(_ids(rng, length), [_completion(rng) for _ in range(GROUP)]) for _ in range(count)]


def steps_in_round(method: str) -> int:
    """Return the number of gradient steps on the completions of one round."""
    return ROUND if method == "grpo-round" else 1


def reward_of(completion: list[int]) -> float:
    """Return a reward that both sides can compute and that differs within a group."""
    return float(sum(completion) % 17)


def shared_rows(items: Iterable[tuple[Sequence[int], Sequence[int]]]) -> list[Any]:
    """Return rows of (prompt, completion) pairs; neighbors with the same prompt share a row, as in the learner."""
    from policy.row_layout import Row

    together = itertools.groupby(items, key=lambda item: tuple(item[0]))
    return [Row(prompt, [completion for _, completion in some]) for prompt, some in together]


def _ids(rng: random.Random, length: int) -> list[int]:
    return [rng.randrange(4, VOCABULARY) for _ in range(length)]


def _completion(rng: random.Random) -> list[int]:
    return [*_ids(rng, rng.randint(32, 128) - 1), 2]


class Stopwatch:
    """The time of each step: (wall, CPU) seconds."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, float]] = []
        self.start()

    def start(self) -> None:
        """Begin a step."""
        self._at = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """End a step, and begin the next."""
        self.steps.append((time.perf_counter() - self._at[0], time.process_time() - self._at[1]))
        self.start()


def ours(
    method: str, pairs: list[Pair], steps: int, *, bucketed: bool = False, z0: str = "known"
) -> tuple[Stopwatch, list[float], float]:
    """Run our steps; return times, losses, and the CPU seconds for the reference's log-probabilities."""
    import torch

    from policy.logprobs import score_rows
    from policy.row_layout import Row, length_buckets

    model = make_model().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0, fused=True)
    if method == "dpo":
        rows = [Row(pair["prompt"], [pair["chosen"], pair["rejected"]]) for pair in pairs]
        size = BATCH
    else:  # a prompt's two completions are neighbors in the data, and share a row
        rows = shared_rows((pair["prompt"], pair[side]) for pair in pairs for side in ("chosen", "rejected"))
        size = BATCH
    if bucketed:
        order = [index for group in length_buckets([row.length for row in rows], 1) for index in group]  # by length
        batches = [order[start : start + size] for start in range(0, len(rows), size)]
        random.Random(0).shuffle(batches)
    else:
        batches = [list(range(start, start + size)) for start in range(0, len(rows), size)]
    began = time.process_time()
    reference = [
        torch.stack([logps.sum() for logps in branches]) for branches in score_rows(model, rows, token_budget=4096)
    ]  # each (K,)
    step = _dpo_step(rows, reference) if method == "dpo" else _kto_step(rows, reference, model, batches[:steps], z0)
    reference_s = time.process_time() - began
    watch, losses = Stopwatch(), []
    for batch in batches[:steps]:
        watch.start()
        losses.append(step(model, batch))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        watch.stop()
    return watch, losses, reference_s


def ours_grpo(groups: list[Group], steps: int, in_round: int) -> tuple[Stopwatch, list[float], float]:
    """Run our GRPO steps on given completions, `in_round` a round; return times, losses, and 0 s of preparation."""
    import copy

    import torch
    from torch.nn.utils.rnn import pad_sequence

    from learner.algorithms.grpo import group_advantages, grpo_loss
    from learner.model.rollouts import Rollout, sampler_logps
    from policy.logprobs import response_logps, score_rows
    from policy.row_layout import Row

    model = make_model().train()
    frozen = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0, fused=True)
    watch, losses, size = Stopwatch(), [], 2 * BATCH // GROUP

    def flat(scorer: Any, rows: list[Any]) -> list[Any]:
        return [logps for branches in score_rows(scorer, rows, token_budget=4096) for logps in branches]

    for first in range(0, size * steps, size * in_round):
        some = groups[first : first + size * in_round]
        rows = [Row(prompt, completions) for prompt, completions in some]
        completions = [(prompt, completion) for prompt, group in some for completion in group]
        sampled_logps = flat(model, rows) if in_round > 1 else []  # a sampler records them, so they take no time here
        rollouts = [
            Rollout(tuple(prompt), tuple(completion), tuple(logps.tolist()), True)
            for (prompt, completion), logps in zip(completions, sampled_logps, strict=False)
        ]
        watch.start()
        old = sampler_logps(model, rollouts, rows, 4096, first) if rollouts else None  # None: the policy is the sampler
        reference = flat(frozen, rows)
        numbers = torch.arange(len(some)).repeat_interleave(GROUP)
        scores = torch.tensor([reward_of(completion) for _, completion in completions])
        advantages = group_advantages(scores, numbers, scale="group")
        tokens = sum(len(logps) for logps in reference) / in_round
        for start in range(0, len(rows), size):
            total = 0.0
            for part in _parts(rows, list(range(start, start + size)), model):
                members = [row * GROUP + index for row in part for index in range(GROUP)]
                current = response_logps(model, [rows[row] for row in part]).split()
                logps, theirs = (
                    pad_sequence(current, batch_first=True),
                    pad_sequence([reference[member] for member in members], batch_first=True),
                )
                before = pad_sequence([old[member] for member in members], batch_first=True) if old else logps.detach()
                mask = pad_sequence([torch.ones(len(logp_row)) for logp_row in current], batch_first=True)
                values, _ = grpo_loss(
                    logps, before, theirs, advantages[members], mask, eps_high=0.2, kl_weight=KL, kl_kind="k3"
                )
                loss = values.sum() / tokens
                loss.backward()
                total += loss.item()
            losses.append(total)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            watch.stop()
    return watch, losses, 0.0


def _parts(rows: list[Any], batch: list[int], model: Any) -> list[list[int]]:
    """Return a step's indices in passes of similar length, as in the learner."""
    from policy.logprobs import least_fill_for
    from policy.row_layout import length_buckets

    groups = length_buckets([rows[index].length for index in batch], 4096, least_fill=least_fill_for(model))
    return [[batch[index] for index in group] for group in groups]


def _dpo_step(rows: list[Any], reference: list[Any]) -> Callable[[Any, list[int]], float]:
    """Return a function that adds a step's gradients and returns its loss."""
    import torch

    from learner.algorithms.dpo import PairLogps, sigmoid_loss
    from policy.logprobs import response_logps

    def step(model: Any, batch: list[int]) -> float:
        total = 0.0
        for part in _parts(rows, batch, model):
            sums = response_logps(model, [rows[index] for index in part]).sums()
            known = torch.cat([reference[index] for index in part])
            values = sigmoid_loss(PairLogps(sums[0::2], sums[1::2]), PairLogps(known[0::2], known[1::2]), beta=BETA)
            loss = values.sum() / len(batch)
            loss.backward()
            total += loss.item()
        return total

    return step


def _kto_step(
    rows: list[Any], reference: list[Any], model: Any, batches: list[list[int]], z0_is: str
) -> Callable[[Any, list[int]], float]:
    """Return a function that adds a step's gradients and returns its loss.

    The reference's log-probabilities are known, except where `z0_is` "live".
    """
    import copy

    import torch

    from learner.algorithms.kto import KlBaseline, kto_loss
    from learner.methods.guards import LOOK_EVERY
    from policy.logprobs import response_logps, score_rows

    frozen = copy.deepcopy(model).eval().requires_grad_(False)

    def sums_of(scorer: Any, asked: list[Any]) -> Any:
        return torch.stack(
            [logps.sum() for branches in score_rows(scorer, asked, token_budget=4096) for logps in branches]
        )

    def turned(batch: list[int]) -> list[Any]:
        """Return rows of each prompt with its neighbor's completion, as TRL pairs them."""
        singles = [(rows[index].prompt_ids, branch) for index in batch for branch in rows[index].branches]
        return shared_rows(
            (prompt, singles[(index + 1) % len(singles)][1]) for index, (prompt, _) in enumerate(singles)
        )

    asked_for = {"known": batches, "seldom": batches[:1], "live": []}[z0_is]
    known_of = {tuple(batch): sums_of(frozen, turned(batch)) for batch in asked_for}
    baseline, count = KlBaseline(), itertools.count(1)

    def baseline_of(model: Any, batch: list[int]) -> float:
        nonlocal baseline
        if z0_is != "seldom":
            asked = turned(batch)
            theirs = sums_of(frozen, asked) if z0_is == "live" else known_of[tuple(batch)]
            return float((sums_of(model, asked) - theirs).mean().clamp(min=0))
        if next(count) % LOOK_EVERY == 0:
            theirs = known_of[tuple(batches[0])]
            baseline = baseline.updated(
                float((sums_of(model, turned(batches[0])) - theirs).sum()), len(theirs), decay=0.5
            )
        return baseline.z0

    def step(model: Any, batch: list[int]) -> float:
        z0, total = baseline_of(model, batch), 0.0
        for part in _parts(rows, batch, model):
            sums = response_logps(model, [rows[index] for index in part]).sums()
            known = torch.cat([reference[index] for index in part])
            up = torch.tensor([True, False] * len(part))  # the chosen completion is the row's first
            loss = kto_loss(sums, known, up, z0, beta=BETA)[0].sum() / (2 * len(batch))
            loss.backward()
            total += loss.item()
        return total

    return step


def trl(
    method: str, variant: str, pairs: list[Pair], groups: list[Group], steps: int
) -> tuple[Stopwatch, list[float], float]:
    """Run TRL's trainer; return times, losses, and the CPU seconds of its setup, with a precomputed reference."""
    import copy

    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, KTOConfig, KTOTrainer

    vocabulary = {"<pad>": 0, "<bos>": 1, "<eos>": 2, "<unk>": 3} | {
        f"t{number}": number for number in range(4, VOCABULARY)
    }
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>"
    )

    def text(ids: list[int]) -> str:
        return " ".join(f"t{number}" for number in ids if number != 2)

    watch, losses = Stopwatch(), []

    class Watch(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            watch.start()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            watch.stop()

    given: dict[str, Any] = {} if variant == "TRL defaults" else {"bf16": False, "gradient_checkpointing": False}
    if variant == "TRL precomputed":
        given["precompute_ref_log_probs"] = True
    given |= {
        "max_steps": steps,
        "learning_rate": RATE,
        "lr_scheduler_type": "constant",
        "report_to": [],
        "save_strategy": "no",
        "use_cpu": True,
    }
    given |= {
        "disable_tqdm": True,
        "seed": 0,
        "logging_steps": 1,
        "output_dir": tempfile.mkdtemp(),
        "max_grad_norm": 1.0,
    }
    if not method.startswith("grpo"):
        given |= {"beta": BETA, "train_sampling_strategy": "sequential", "max_length": None}
    model = make_model()
    began = time.process_time()
    rest: dict[str, Any] = {"model": model, "processing_class": tokenizer, "callbacks": [Watch()]}
    if not method.startswith("grpo"):
        rest["ref_model"] = None if variant == "TRL precomputed" else copy.deepcopy(model)
    else:  # this trainer loads its reference by the model's name
        model.save_pretrained(given["output_dir"])
        rest["model"] = type(model).from_pretrained(given["output_dir"])
    if method.startswith("grpo"):
        completions = {text(prompt): group for prompt, group in groups}

        def given_completions(prompts: list[str], _: Any) -> dict[str, Any]:
            taken = [completions[prompt][index % GROUP] for index, prompt in enumerate(prompts)]
            asked = [[int(token[1:]) for token in prompt.split()] for prompt in prompts]
            return {"prompt_ids": asked, "completion_ids": taken, "logprobs": None}

        def rewards(completion_ids: list[list[int]], **_: Any) -> list[float]:
            return [reward_of(completion) for completion in completion_ids]

        in_round = steps_in_round(method)
        batch = {
            "per_device_train_batch_size": 2 * BATCH,
            "num_generations": GROUP,
            "gradient_accumulation_steps": 1,
            "beta": KL,
        }
        batch["steps_per_generation"] = in_round
        if in_round > 1:  # without a shuffle both sides have the same completions in each step, and equal losses
            import trl.trainer.grpo_trainer as inside

            inside.shuffle_sequence_dict = lambda rows: rows
        config: Any = GRPOConfig(**batch, shuffle_dataset=False, max_completion_length=128, **given)
        rows = [{"prompt": prompt} for prompt in completions]
        trainer: Any = GRPOTrainer(
            args=config,
            train_dataset=Dataset.from_list(rows),
            reward_funcs=rewards,
            rollout_func=given_completions,
            **rest,
        )
    elif method == "dpo":
        rows = [
            {
                "prompt": text(pair["prompt"]),
                "chosen": " " + text(pair["chosen"]),
                "rejected": " " + text(pair["rejected"]),
            }
            for pair in pairs
        ]
        config = DPOConfig(per_device_train_batch_size=BATCH, **given)
        trainer = DPOTrainer(args=config, train_dataset=Dataset.from_list(rows), **rest)
    else:
        rated = [
            {"prompt": text(pair["prompt"]), "completion": " " + text(pair[side]), "label": side == "chosen"}
            for pair in pairs
            for side in ("chosen", "rejected")
        ]
        config = KTOConfig(per_device_train_batch_size=2 * BATCH, **given)
        trainer = KTOTrainer(args=config, train_dataset=Dataset.from_list(rated), **rest)
    compute = trainer.compute_loss

    def noted(*arguments: Any, **named: Any) -> Any:
        result = compute(*arguments, **named)
        losses.append((result[0] if isinstance(result, tuple) else result).item())
        return result

    trainer.compute_loss = noted
    setup_s = time.process_time() - began
    trainer.train()
    return watch, losses, setup_s


def one(method: str, variant: str, steps: int, threads: int) -> dict[str, Any]:
    """Run one variant in this process; return its numbers."""
    import torch

    torch.set_num_threads(threads)
    pairs, groups = (
        make_pairs(BATCH * steps),
        make_groups(2 * BATCH // GROUP * steps, LONG if method == "grpo-long" else 64),
    )
    if variant.startswith("ours") and method.startswith("grpo"):
        watch, losses, before_s = ours_grpo(groups, steps, steps_in_round(method))
    elif variant.startswith("ours"):
        watch, losses, before_s = ours(
            method, pairs, steps, bucketed="bucketed" in variant, z0=Z0_OF.get(variant, "known")
        )
    else:
        watch, losses, before_s = trl(method, variant, pairs, groups, steps)
    kept = watch.steps[WARM:]
    return {
        "cpu_s_per_pair": sum(cpu for _, cpu in kept) / (len(kept) * BATCH),
        "wall_s_per_pair": sum(wall for wall, _ in kept) / (len(kept) * BATCH),
        "before_s": before_s,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "losses": [round(loss, 6) for loss in losses[:3]],
    }


def spread(values: list[float]) -> dict[str, float]:
    """Return median, minimum and maximum, to three digits."""
    return {"median": round(statistics.median(values), 3), "min": round(min(values), 3), "max": round(max(values), 3)}


def main() -> None:
    """Run all rounds, print a table, write bench/results/learn.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--method", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", nargs=2, metavar=("METHOD", "VARIANT"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        method, variant = asked.one
        print(json.dumps(one(method, variant, asked.steps, asked.threads)))
        return
    results: dict[str, Any] = {}
    environment = {**os.environ, "OMP_NUM_THREADS": str(asked.threads), "OMP_WAIT_POLICY": "PASSIVE"}
    environment |= {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    for method in asked.method:
        seen: dict[str, list[dict[str, Any]]] = {variant: [] for variant in VARIANTS[method]}
        for _ in range(asked.rounds):
            for variant, rounds in seen.items():
                command = [
                    sys.executable,
                    "-W",
                    "ignore",
                    "-m",
                    "bench.learn",
                    "--steps",
                    str(asked.steps),
                    "--threads",
                    str(asked.threads),
                ]
                command += ["--one", method, variant]
                done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
                if done.returncode:
                    raise SystemExit(f"{variant} failed:\n{done.stderr[-2000:]}")
                rounds.append(json.loads(done.stdout.strip().splitlines()[-1]))
        base = [entry["cpu_s_per_pair"] for entry in seen["ours"]]
        results[method] = {
            variant: {
                "cpu_s_per_pair": spread([entry["cpu_s_per_pair"] for entry in rounds]),
                "wall_s_per_pair": spread([entry["wall_s_per_pair"] for entry in rounds]),
                "cpu_times_ours": spread(
                    [entry["cpu_s_per_pair"] / mine for entry, mine in zip(rounds, base, strict=True)]
                ),
                "peak_mb": spread([entry["peak_mb"] for entry in rounds]),
                "before_s": spread([entry["before_s"] for entry in rounds]),
                "first_losses": rounds[0]["losses"],
            }
            for variant, rounds in seen.items()
        }
        print(f"{method}: CPU-seconds per pair, times ours (least - most), peak MB, first losses")
        for variant, numbers in results[method].items():
            times, cpu = numbers["cpu_times_ours"], numbers["cpu_s_per_pair"]["median"]
            ratio = f"{times['median']:.2f}x ({times['min']:.2f} - {times['max']:.2f})"
            print(
                f"  {variant:16} {cpu:.4f}  {ratio:22} {numbers['peak_mb']['median']:6.0f}  {numbers['first_losses']}"
            )
    record(
        "learn",
        {"rounds": asked.rounds, "steps": asked.steps, "batch": BATCH, "threads": asked.threads, "results": results},
    )


if __name__ == "__main__":
    main()
