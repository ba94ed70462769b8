"""One update of 16 choices, timed by phase; prints JSON. `bench.update` runs it in a process of its own for each tree.

    python -P bench/update/phases.py --model smollm2 --choices choices.json --data FOLDER [setting=value ...]

The choices are between two answers of 64 tokens that the base model sampled: the shorter text wins. A phase's seconds
are without those of the phases within it. A name that the tree lacks is left out.
"""

import argparse
import functools
import importlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TOKENS = 64
PHASES: dict[str, tuple[str, ...]] = {
    "reference": ("learner.model.reference:Reference.learn",),
    "lower layers": ("learner.model.resident:Resident.keep_lower",),
    "samples of live": ("learner.update:Updater.samples",),
    "guards": ("learner.update:Updater._guards", "learner.methods.guards:Guards.look"),
    "training": ("learner.methods.mixed:backward",),
    "anchors": ("learner.methods.steps:anchor_backward",),
    "optimizer": ("learner.model.optimizer:Optimizer.step",),
    "gate": ("learner.update:evidence_of",),
    "samples of candidate": ("learner.gate.evidence:samples_of",),
    "skill probes": ("learner.gate.evidence:right_answers", "learner.gate.evidence:probe_answers"),
    "publishing": ("learner.model.resident:Resident.save", "learner.publish:fingerprint_of"),
}
QUESTIONS = (
    "Why is the sky blue?",
    "Give me a tip for better sleep.",
    "What should I cook tonight?",
    "Explain gravity.",
    "Write a short poem about rain.",
    "How do I boil an egg?",
    "Tell me about the moon.",
    "What is a black hole?",
    "How do I learn to swim?",
    "Name three animals and describe them.",
    "What is the capital of France?",
    "Plan a weekend in Rome.",
    "What makes a good friend?",
    "Explain how rainbows form.",
    "How can I save money?",
    "What is photosynthesis?",
)


class Stopwatch:
    """Seconds and CPU seconds by phase; those of an inner phase do not count for the outer one."""

    def __init__(self, cpu_seconds: Callable[[], float]) -> None:
        self._cpu_seconds = cpu_seconds
        self.found: dict[str, dict[str, float]] = {}
        self._inner: list[list[float]] = []

    def wrap(self, phase: str, name: str) -> None:
        """Time a function or method, given as `module:attribute`, as part of a phase."""
        module, _, path = name.partition(":")
        owner: Any = importlib.import_module(module)
        *owners, leaf = path.split(".")
        for part in owners:
            owner = getattr(owner, part, None)
        if owner is not None and hasattr(owner, leaf):
            setattr(owner, leaf, self.timed(phase, getattr(owner, leaf)))

    def timed(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed."""

        @functools.wraps(function)
        def run(*given: Any, **named: Any) -> Any:
            began = (time.monotonic(), self._cpu_seconds())
            self._inner.append([0.0, 0.0])
            try:
                return function(*given, **named)
            finally:
                ended = (time.monotonic(), self._cpu_seconds())
                taken = [now - then for now, then in zip(ended, began, strict=True)]
                inner = self._inner.pop()
                if self._inner:
                    self._inner[-1] = [sum(pair) for pair in zip(self._inner[-1], taken, strict=True)]
                kept = self.found.setdefault(phase, {"calls": 0, "seconds": 0.0, "cpu_seconds": 0.0})
                kept["calls"] += 1
                kept["seconds"] += taken[0] - inner[0]
                kept["cpu_seconds"] += taken[1] - inner[1]

        return run


def main() -> None:
    """Make one update and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--choices", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("settings", nargs="*")
    asked = parser.parse_args()
    flags = dict(setting.split("=", 1) for setting in asked.settings)
    print(json.dumps(measured(asked.model, asked.choices, asked.data, flags)))


def measured(model: str, choices: Path, data: Path, flags: dict[str, str]) -> dict[str, Any]:
    """Return the phases of one update, and what came of it."""
    from learner.data.material import Material
    from learner.model.resident import Resident
    from learner.settings import load_settings
    from learner.update import Updater

    began = (time.monotonic(), time.process_time())
    settings = load_settings({"data": data, "model": model, "device": "cpu", **flags})
    resident = Resident(settings)
    examples = _examples(resident, choices)
    updater = Updater(resident, settings)
    anchors: Any = updater.anchors()
    if hasattr(anchors, "first"):
        anchors.first(anchors.goal)
    updater.skill_probes()
    beside = resident.sampler.cpu_seconds if hasattr(resident, "sampler") else float  # of its process

    def cpu_seconds() -> float:
        return time.process_time() + beside()

    prepared = (time.monotonic(), cpu_seconds())
    watch = Stopwatch(cpu_seconds)
    for phase, names in PHASES.items():
        for name in names:
            watch.wrap(phase, name)
    result = updater.update(Material(tuple(examples)), settings, lambda *_: None, parent=0, seed=7)
    resident.save(data / "saved")
    ended = (time.monotonic(), cpu_seconds())
    if hasattr(resident, "sampler"):
        resident.sampler.close()
    gains = next((check["value"] for check in result.report["checks"] if check["name"] == "held_out_gain"), None)
    return {
        "prepare_cpu_seconds": prepared[1] - began[1],
        "seconds": ended[0] - prepared[0],
        "cpu_seconds": ended[1] - prepared[1],
        "steps": result.trained.steps,
        "trained": len(result.plan.trained),
        "tuned_layers": getattr(resident, "tuned_layers", None),
        "passed": result.report["passed"],
        "held_out_gain": gains,
        "margin": result.metrics.get("pair/margin"),
        "peak_memory_mb": result.metrics["peak_memory_mb"],
        "phases": watch.found,
    }


def _examples(resident: Any, choices: Path) -> list[Any]:
    """Return the choices of the file as examples; the file is made where it is not there."""
    from learner.data.examples import CompletionTokens, Example
    from policy.chat import decode

    if not choices.exists():
        _sample(resident, choices)
    examples = []
    for number, (prompt, *sides) in enumerate(json.loads(choices.read_text()), 1):
        good, bad = sorted(sides, key=lambda side: len(decode(resident.tokenizer, side[0])))
        chosen, rejected = (CompletionTokens(tuple(ids), tuple(logps), 0) for ids, logps in (good, bad))
        examples.append(Example("pair", tuple(prompt), chosen, rejected, "ann", (f"choice-{number}",), number))
    return examples


def _sample(resident: Any, choices: Path) -> None:
    """Write two answers of exactly `TOKENS` tokens to each question."""
    from learner.model.rollouts import row_settings, sample_rollouts
    from policy.chat import render_prompt

    prompts = [render_prompt(resident.tokenizer, [{"role": "user", "content": text}]) for text in QUESTIONS]
    settings = row_settings(2 * len(prompts), end_ids=(), max_tokens=TOKENS, seed=5)
    rollouts = sample_rollouts(resident.model, [*prompts, *prompts], settings)
    sides = [(rollout.ids, rollout.logps) for rollout in rollouts]
    rows = [[prompt, sides[index], sides[index + len(prompts)]] for index, prompt in enumerate(prompts)]
    choices.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
