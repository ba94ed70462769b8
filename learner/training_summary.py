"""The summary that `attune train` prints at its end, line by line. Light: no torch."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from learner.update_result import UpdateResult


def summary_of(result: "UpdateResult", out: Path, count: int, seconds: float) -> list[str]:
    """Return a training's summary, line by line. `count` is of the file's examples, `out` the version's folder."""
    metrics, curve = result.metrics, result.trained.curve
    trained, held_out = (
        len({row for example in some for row in example.feedback_ids})
        for some in (result.plan.trained, result.plan.held_out)
    )
    unused = f", {count - trained - held_out} not used" if count > trained + held_out else ""
    stopped = (
        f"; went back to the last weights within the limits: {result.trained.stopped}" if result.trained.stopped else ""
    )
    reasons = result.report["reasons"]
    shown = [
        ("examples", f"{trained} trained on, {held_out} held out{unused}"),
        ("steps", f"{result.trained.steps} in {metrics['train_seconds']:.1f} s, {seconds:.1f} s in all{stopped}"),
        *_losses(curve),
        *_numbers(metrics, curve),
        *_held_out(result),
        ("verdict", f"the gate would not pass it: {'; '.join(reasons)}" if reasons else "the gate passes it"),
        ("report", f"{out / 'report.json'}, curves in {out / 'logs'}"),
        ("serve", _serve(out)),
    ]
    return [f"{name:<9} {text}" for name, text in shown]


def _losses(curve: Sequence[dict[str, float]]) -> list[tuple[str, str]]:
    """Return the first and the last loss; ilql has one of its heads and one of the policy."""
    heads = [step for step in curve if "ilql/q" in step]
    policy = [step for step in curve if "ilql/q" not in step]
    parts = [(name, steps) for name, steps in (("heads", heads), ("policy" if heads else "loss", policy)) if steps]
    if not heads:
        return [(name, _first_and_last(steps, "loss")) for name, steps in parts]
    return [(name, f"loss {_first_and_last(steps, 'loss')}, {len(steps)} steps") for name, steps in parts]


def _first_and_last(curve: Sequence[dict[str, float]], name: str) -> str:
    values = [step[name] for step in curve if name in step]
    return f"{values[0]:.3f} at first, {values[-1]:.3f} at last"


def _numbers(metrics: dict[str, Any], curve: Sequence[dict[str, float]]) -> list[tuple[str, str]]:
    """Return the numbers that this method has."""
    found = []
    if "pair/accuracy" in metrics:
        accuracy, margin = metrics["pair/accuracy"], metrics["pair/margin"]
        found.append(("pairs", f"accuracy {accuracy:.2f}, margin {margin:.1f} nats in the last step"))
    ways = {"good": "thumb/up_log_ratio", "bad": "thumb/down_log_ratio"}
    thumbs = [f"{way} answers {metrics[name]:+.1f}" for way, name in ways.items() if name in metrics]
    if thumbs:
        found.append(("thumbs", f"{', '.join(thumbs)} nats against the base model in the last step"))
    names = {"pairs": "reward/held_out_pair_accuracy", "thumbs (AUC)": "reward/held_out_thumb_auc"}
    measured = [f"{metrics[name]:.2f} of held-out {kind}" for kind, name in names.items() if name in metrics]
    if any("reward/mean" in step for step in curve):
        found.append(("reward", f"mean {_first_and_last(curve, 'reward/mean')}"))
    if measured:
        found.append(("accuracy", f"the reward model is right about {', '.join(measured)}"))
    return found


def _held_out(result: "UpdateResult") -> list[tuple[str, str]]:
    """Return how the weights that were kept fit the held-out feedback: where a guard stopped, the look before."""
    looks = [step for step in result.trained.curve if "held_out/accuracy" in step] or [result.metrics]
    seen = looks[-2] if result.trained.stopped and len(looks) > 1 else looks[-1]
    if "held_out/accuracy" not in seen:
        return []
    return [("held out", f"accuracy {seen['held_out/accuracy']:.2f}, loss {seen['held_out/loss']:.3f}")]


def _serve(out: Path) -> str:
    if (out / "config.json").exists():  # every weight was trained: it is a whole model
        return f"attune serve --model {shlex.quote(str(out))}"
    return f"attune export-model {shlex.quote(str(out))} --format hf --out merged && attune serve --model merged"
