"""Writes docs/benchmarks.md from bench/results/*.json: `python docs/benchmarks_page.py`. A test holds it to them."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))  # it runs as a script too
from docs.serving_section import PICTURE, picture, section

Numbers = dict[str, Any]
RESULTS = Path(__file__).parent.parent / "bench" / "results"
PAGE = Path(__file__).parent / "benchmarks.md"
HEAD = """# Benchmarks

Every number here comes from a file in `bench/results/`, and the command above each table writes that file.
`python docs/benchmarks_page.py` writes this page from the files.
Each section names the machine, the date and the commit that the file records.
A measurement holds for that commit: settings and code may differ today.
"""
# What the variants of bench.learn are, by the name in the file.
VARIANTS = {
    "ours": "Attune",
    "ours, bucketed": "Attune, rows of like length in one pass",
    "ours, z0 seldom": "Attune, KTO's baseline every fifth step, as the learner does it",
    "ours, z0 live": "Attune, the reference scores KTO's baseline within the step",
    "TRL float32": "TRL, float32",
    "TRL defaults": "TRL, its defaults (bfloat16)",
    "TRL precomputed": "TRL, reference precomputed",
}
STEPS = {
    "dpo": "DPO",
    "kto": "KTO",
    "grpo": "GRPO, 8 completions per prompt of 64 tokens, rounds of one step",
    "grpo-long": "GRPO, prompts of 256 tokens, rounds of one step",
    "grpo-round": "GRPO, prompts of 64 tokens, rounds of two steps",
}


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Return the median of some numbers with their least and their most."""
    ordered = sorted(values)
    middle = ordered[len(ordered) // 2]
    return f"{middle:.{digits}f} ({ordered[0]:.{digits}f} to {ordered[-1]:.{digits}f})"


def origin(numbers: Numbers) -> str:
    """Return how a file came about: command, machine, date, commit and load, as far as they are recorded."""
    found = [f"- Command: `{numbers['command']}`"]
    if machine := numbers.get("machine"):
        found.append(f"- Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB of memory")
    if at := numbers.get("at"):
        found.append(f"- Measured: {at[:10]}, at commit `{numbers['commit']}`")
    else:
        found.append("- Measured: the file records no commit; it names each source file by its sha256")
    if load := numbers.get("load_average"):
        found.append(f"- Load average of the machine at the end: {load:.1f}")
    return "\n".join(found)


def methods(numbers: Numbers) -> str:
    """Return what each method learns, one row per method and seed."""
    settings = numbers["settings"]
    users, acts = settings["users"], settings["acts"]
    model, questions, retention = settings["model"], settings["questions"], settings["retention_prompts"]
    rows = [
        (
            f"`{row['method']}`",
            row["seed"],
            f"{row['win']:.3f} ± {row['win_error']:.3f}",
            f"{100 * row['retention']:+.1f}",
            f"{100 * row['retention_greedy']:+.1f}",
            f"{row['base_right']:.0%} to {row['right']:.0%}",
            row["items"],
            f"{row['passed']} of {row['updates']}",
            f"{row['steps']:.0f}",
            f"{row['cpu_seconds']:.0f}",
            f"`{row.get('commit', numbers['commit'])}`",
        )
        for row in numbers["rows"]
    ]
    columns = ("method", "seed", "win rate", "retention, sampled", "retention, greedy", "right answers", "feedback")
    columns += ("passed", "steps", "CPU s", "commit")
    given = [
        (f"`{method}`", ", ".join(f"`{name}` {value}" for name, value in chosen.items()))
        for method, chosen in settings["learner"].items()
    ]
    return f"""## What each method learns

{users} simulated users prefer {settings["taste"]} answers. They rate `{model}`, {acts} times before each update.
The win rate is how often the users prefer the last version to the base model, over {questions} held-out questions.
A tie counts half, and ± is the standard error over questions.
Retention is the change in right answers, in points, on {retention} prompts of skills that get no feedback.
Right answers are those to the held-out questions, first of the base model and then of the last version.
Feedback, steps and CPU seconds are sums over the updates.

{origin(numbers)}

{table(columns, rows)}

The settings that differ from [the defaults](settings.md), by method.

{table(("method", "settings"), given)}"""


def learn(numbers: Numbers) -> str:
    """Return what a step costs beside TRL's."""
    rows = [
        (STEPS.get(step, step), VARIANTS.get(variant, variant), *_step(seen))
        for step, variants in numbers["results"].items()
        for variant, seen in variants.items()
    ]
    rounds, steps, batch, threads = (numbers[name] for name in ("rounds", "steps", "batch", "threads"))
    columns = ("step", "variant", "CPU s per pair", "times Attune's", "peak memory, MB", "preparation, s")
    return f"""## What a training step costs beside TRL

Every variant trains a random Llama on the same examples, in steps of {batch}, on {threads} thread.
There are {rounds} rounds of {steps} steps. Each cell is the median over rounds, with the least and the most.
A ratio above 1 means that the variant takes more CPU time than Attune.
Preparation is the time before the first step, with the reference where it is computed beforehand.

{origin(numbers)}

{table(columns, rows)}"""


def _step(seen: Numbers) -> list[str]:
    names = (("cpu_s_per_pair", 3), ("cpu_times_ours", 2), ("peak_mb", 0), ("before_s", 1))
    return [
        f"{seen[name]['median']:.{digits}f} ({seen[name]['min']:.{digits}f} to {seen[name]['max']:.{digits}f})"
        for name, digits in names
    ]


def swap(numbers: Numbers) -> str:
    """Return what a swap does to answers under way."""
    scored = numbers["scored_again"]
    what = {
        "gap_ms_steady": "gap between two chunks without swaps, ms",
        "gap_ms_during_swaps": "gap between two chunks during swaps, ms",
        "first_piece_ms_steady": "time to the first chunk without swaps, ms",
        "first_piece_ms_during_swaps": "time to the first chunk during swaps, ms",
        "swap_s": "duration of a swap, s",
    }
    rows = [(text, *(f"{value:.4g}" for value in numbers[name].values())) for name, text in what.items()]
    return f"""## Swaps under load

{numbers["streams"]} clients stream answers of `{numbers["model"]}` during {numbers["swaps"]} swaps.
{numbers["versions_that_answered"]} versions give {numbers["answers"]} answers.
{numbers["failed"]} answers fail, and {numbers["mixed_names"]} name two versions.
Torch scores {scored["tokens_scored"]} tokens again with the weights of the version that the answer names.
{scored["not_of_their_version"]} answers differ by more than {scored["tolerance_nats"]} nats.
The largest difference is {scored["worst_difference_nats"]} nats.
Torch scores {scored["scored_with_a_neighbour"]} answers with a neighbouring version too.
{scored["fit_the_neighbour_too"]} of those fit the neighbour.

{origin(numbers)}

{table(("", *numbers["swap_s"]), rows)}"""


def soak(numbers: Numbers) -> str:
    """Return what half an hour of unfriendly clients leaves behind."""
    medians = [
        (f"`{name}`", seen["first_third"], seen["last_third"], f"{seen['growth']:+.1%}")
        for name, seen in numbers["medians"].items()
    ]
    left = ", ".join(f"`{name}` {value:.0f}" for name, value in numbers["left_behind"].items())
    acts = ", ".join(f"`{name}` {count}" for name, count in numbers["did"].items())
    return f"""## A long run with unfriendly clients

{numbers["clients"]} clients read, cancel, hang, compare and ask old versions for {numbers["minutes"]:.0f} minutes.
There are {numbers["swaps"]} swaps meanwhile.
What they do: {acts}.
{numbers["failed"]} of them fail.
The table compares the median of the first third after the warm-up with that of the last third.
What remains once the clients have left: {left}.

{origin(numbers)}

{table(("", "first third", "last third", "growth"), medians)}"""


def precision(numbers: Numbers) -> str:
    """Return what fewer bits cost."""
    rows = [
        (
            seen["runner"],
            seen["precision"],
            seen["quantize"],
            *(f"{seen['error_nats'][name]:.2g}" for name in ("mean", "median", "p90", "p99", "max")),
            seen["greedy_replies_that_differ"],
            seen["runner_mib"],
        )
        for seen in numbers["results"]
    ]
    columns = ("runner", "precision", "quantize", "mean", "median", "90 %", "99 %", "largest")
    columns += ("greedy answers that differ", "runner, MiB")
    return f"""## What fewer bits cost

Differences in log-probability to torch in float32, in nats per token.
They are measured on {numbers["tokens"]} tokens of {numbers["replies"]} answers of `{numbers["model"]}`.
{numbers["greedy_replies"]} further answers are greedy.

{origin(numbers)}

{table(columns, rows)}"""


def adapters(numbers: Numbers) -> str:
    """Return what shared base weights cost beside merged adapters."""
    what = {
        "load_s": ("time to load a version, s", 2),
        "tokens_per_s_1": ("tokens per second, 1 answer at a time", 1),
        "tokens_per_s_16": ("tokens per second, 16 answers at a time", 1),
    }
    rounds = numbers["rounds"]
    rows = [
        (text, *(spread([one[name] for one in rounds[kind]], digits) for kind in ("merged", "shared")))
        for name, (text, digits) in what.items()
    ]
    rows.append(
        (
            "memory of two versions, MiB",
            *(spread([one["mib"]["together"] for one in rounds[kind]], 0) for kind in ("merged", "shared")),
        )
    )
    return f"""## Adapters: merged, or beside shared base weights

The transformers runner holds two versions of a {numbers["model"]}, in {numbers["precision"]}.
The model has {numbers["parameters"] / 1e6:.0f} million parameters.
Each cell is the median of {len(rounds["merged"])} rounds, with the least and the most.

{origin(numbers)}

{table(("", "merged", "shared"), rows)}"""


def first_answer(numbers: Numbers) -> str:
    """Return how soon a learned version answers."""
    busy = numbers["clients"]
    more = f"while {busy} more ask{'s' if busy == 1 else ''} without a pause"
    beside = more if busy else "while nobody else asks"
    return f"""## The first answer of a learned version, {beside}

A client that prefers {numbers["taste"]} answers makes sixteen choices in side-by-side questions of a fresh service.
The choices take {numbers["choices_s"]} s. `{numbers["version"]}` answers {numbers["seconds"]} s after the last of them.

{origin(numbers)}"""


def mutation(numbers: Numbers) -> str:
    """Return how many changed lines of the losses the tests notice."""
    rows = [
        (f"`{name}`", seen["mutants"], seen["noticed"], len(seen["equivalent"]), len(seen["survived"]))
        for name, seen in numbers["files"].items()
        if seen["mutants"]
    ]
    return f"""## Mutation tests of the losses

The command changes every constant and operator of `learner/algorithms/`, one at a time, and runs the tests.
{numbers["mutants"]} mutants: {numbers["survived"]} survive.
An equivalent mutant computes the same, and the file gives the reason.

{origin(numbers)}

{table(("file", "mutants", "noticed", "equivalent", "survived"), rows)}"""


def model_speed(numbers: Numbers) -> str:
    """Return how fast the bundled model answers beside the one before it."""
    rows = [
        (
            one["streams"],
            one["before_tokens_per_s"],
            one["now_tokens_per_s"],
            f"{one['ratio']:.3f} ({one['ratio_least']:.3f} to {one['ratio_most']:.3f})",
        )
        for one in numbers["results"]
    ]
    return f"""## The bundled model beside the one before it

Both answer on OpenVINO in turns, {numbers["max_tokens"]} tokens for each completion.
The ratio is the median of {numbers["rounds"]} rounds, with the least and the most.

{origin(numbers)}

{table(("streams", "before, tokens/s", "now, tokens/s", "ratio"), rows)}"""


def serve(numbers: Numbers) -> str:
    """Return how fast answers come beside other servers."""
    return section(numbers, origin(numbers), table)


def sampler(numbers: Numbers) -> str:
    """Return what it costs to sample for an update with one model."""
    rows = [
        (name, seen["start_cpu_s"], seen["weights_cpu_s"], seen["rollouts_cpu_s"], f"{seen['tokens']:g}")
        for name, seen in numbers["results"].items()
    ]
    columns = ("sampler", "start", "new weights", "64 rollouts", "their tokens")
    return f"""## What a sampler costs: `{numbers["model"]}`

CPU seconds of [what samples for an update](learning.md#what-samples), with {numbers["threads"]} thread, on 16 prompts.
A rollout has at most {numbers["tokens"]} tokens. Medians of {numbers["rounds"]} rounds, each with new weights.
A start is the first call, with the process and the files of the base model.

{origin(numbers)}

{table(columns, rows)}"""


def update_cost(numbers: Numbers) -> str:
    """Return where the time of one update goes."""
    last = {name: rounds[-1] for name, rounds in numbers["rounds"].items()}
    phases = dict.fromkeys(phase for one in last.values() for phase in one["phases"])
    rows = [
        (phase, *(f"{one['phases'].get(phase, {}).get('cpu_seconds', 0.0):.1f}" for one in last.values()))
        for phase in phases
    ]
    rows.append(("the whole update", *(f"{numbers['cpu_seconds'][name]:.1f}" for name in last)))
    now = last["now"]
    count = len(numbers["rounds"]["now"])
    return f"""## What an update of {numbers["model"]} costs

{now["trained"]} choices between answers of 64 tokens, {now["steps"]} steps, {now["tuned_layers"]} layers trained.
CPU seconds of one update after its anchors are made, by phase; the sum is the median of {count}.

{origin(numbers)}

{table(("phase", *(f"{name}, CPU s" for name in last)), rows)}"""


def start(numbers: Numbers) -> str:
    """Return how long a start takes on a data folder that was served before."""
    columns = ("model", "ready, s", "first answer, s", "CPU s of all processes until ready")
    kinds = ("ready_s", "answered_s", "cpu_s")
    rows = [
        (name, *(f"{seen[kind]['median']:.2f} ({seen[kind]['min']:.2f} to {seen[kind]['max']:.2f})" for kind in kinds))
        for name, seen in numbers["models"].items()
    ]
    return f"""## A start

Seconds from the command until `/readyz` answers 200, and until the first answer is there,
on a folder that was served before.
Each cell is a median, with the least and the most.

{origin(numbers)}

{table(columns, rows)}"""


SECTIONS: dict[str, Callable[[Numbers], str]] = {
    "serve": serve,
    "methods": methods,
    "learn": learn,
    "swap": swap,
    "start": start,
    "soak": soak,
    "precision": precision,
    "adapters": adapters,
    "first_answer": first_answer,
    "first_answer_busy": first_answer,
    "update_smollm2": update_cost,
    "update_pocket": update_cost,
    "model_speed": model_speed,
    "sampler_pocket": sampler,
    "sampler_smollm2": sampler,
    "mutation": mutation,
}


def page() -> str:
    """Return the whole page. Raises KeyError for a result that no section shows."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    if unknown := sorted(found.keys() - SECTIONS.keys()):
        raise KeyError(f"no section shows bench/results/{unknown[0]}.json; add one to SECTIONS")
    sections = [write(found[name]) for name, write in SECTIONS.items() if name in found]
    return "\n\n".join([HEAD.rstrip(), *sections]) + "\n"


def serving_picture() -> str | None:
    """Return the picture of the section on serving; None where nothing was measured."""
    path = RESULTS / "serve.json"
    return picture(json.loads(path.read_text())) if path.exists() else None


if __name__ == "__main__":
    PAGE.write_text(page())
    if (drawn := serving_picture()) is not None:
        PICTURE.write_text(drawn)
