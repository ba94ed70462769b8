"""Which examples an algorithm reads, and in what form."""

from collections.abc import Sequence
from dataclasses import replace

from learner.data.examples import Example

READ_ALL = ("mixed", "grpo", "rloo", "ppo", "ilql")  # algorithms that read every example as it is


def for_algorithm(examples: Sequence[Example], algorithm: str) -> list[Example]:
    """Return the examples in the form that an algorithm reads.

    dpo: pairs, and corrections as pairs. kto: everything as thumbs; a pair is two of half share. sft: all with a good
    completion; of pairs that side alone, while corrections keep their original, which shows what changed. The others
    read all examples as they are.
    """
    if algorithm in READ_ALL:
        return list(examples)
    if algorithm == "dpo":
        return [replace(example, kind="pair") for example in examples if example.kind != "thumb"]
    if algorithm == "sft":
        good = [example for example in examples if example.good is not None]
        return [replace(example, kind="thumb", bad=None) if example.kind == "pair" else example for example in good]
    if algorithm == "kto":
        return [single for example in examples for single in _singles(example)]
    raise ValueError(f"unknown algorithm {algorithm!r}; use mixed, dpo, kto, sft, grpo, rloo, ppo or ilql")


def _singles(example: Example) -> list[Example]:
    if example.kind == "thumb":
        return [example]
    half = replace(example, kind="thumb", share=example.share / 2)
    return [replace(half, bad=None), replace(half, good=None)]
