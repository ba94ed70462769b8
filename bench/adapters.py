"""Cost and gain of shared base weights: merged adapters against adapters over shared weights (transformers runner).

    python -m bench.adapters [--model pocket | --layers 28 --width 1024] [--device cuda] [--precision bfloat16]
    [--rounds 3]

Both load two versions, as a swap does. Each is a random adapter (rank 16, all linear layers). One version generates
completions of exactly `TOKENS` tokens, one at a time and 16 at once. Merged and shared alternate within a round. Memory
is that of all processes together, and of the pages that one process alone uses; on a GPU, the decrease in free memory.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from bench.record import machine, record
from policy.model import load_model, model_digest, resolve_model
from policy.runners.base import RunnerOptions, SamplingSettings, VersionSource, generate_all
from policy.runners.process import RunnerProcess, WeightsProcess

TOKENS, PROMPT, RANK = 64, 48, 16
STREAMS = (1, 16)


def random_model(folder: Path, layers: int, width: int) -> Path:
    """Write a Llama of this shape with random weights and pocket's tokenizer."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("pocket"))
    heads = {"num_attention_heads": width // 64, "num_key_value_heads": width // 64, "intermediate_size": 3 * width}
    config = LlamaConfig(
        vocab_size=32000, hidden_size=width, num_hidden_layers=layers, max_position_embeddings=1024, **heads
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def random_adapter(model: Any, folder: Path, seed: int) -> Path:
    """Write an adapter with small random numbers on all linear layers."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    adapted = get_peft_model(
        model, LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.01)
    adapted.save_pretrained(folder)
    adapted.unload()
    return folder


def memory_mib(pids: list[int], device: str, free_before: int) -> dict[str, float]:
    """Return the processes' memory in MiB, private and in total, or on a GPU the decrease in free memory."""
    if device == "cuda":
        return {"gpu": round((free_before - torch.cuda.mem_get_info()[0]) / 2**20)}
    sums = {"Pss": 0, "Private_Dirty": 0}
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in sums:
                sums[name] += int(value.split()[0])
    return {"together": round(sums["Pss"] / 1024), "alone": round(sums["Private_Dirty"] / 1024)}


def measured(
    name: str, adapters: list[Path], cache: Path, options: RunnerOptions, *, is_shared: bool
) -> dict[str, Any]:
    """Load two versions and time one of them."""
    free = torch.cuda.mem_get_info()[0] if options.device == "cuda" else 0
    held = WeightsProcess.start(name, options) if is_shared else None
    runners: list[RunnerProcess] = []
    try:
        loads = []
        for number, adapter in enumerate(adapters, 1):
            began = time.perf_counter()
            source = VersionSource(
                number, name, f"{model_digest(name)}-{number}", cache, adapter, weights=held.weights if held else b""
            )
            runners.append(RunnerProcess.load(source, options))
            loads.append(time.perf_counter() - began)
        prompts = [[(31 * index + 7 * step) % 1000 + 5 for step in range(PROMPT)] for index in range(max(STREAMS))]
        settings = [SamplingSettings(temperature=1.0, max_tokens=TOKENS, seed=seed) for seed in range(max(STREAMS))]
        generate_all(runners[0], prompts[:2], settings[:2])
        speeds = {}
        for streams in STREAMS:
            began = time.perf_counter()
            generations = generate_all(runners[0], prompts[:streams], settings[:streams])
            speeds[f"tokens_per_s_{streams}"] = sum(len(generation[0]) for generation in generations) / (
                time.perf_counter() - began
            )
        pids = [runner.stats()["pid"] for runner in runners] + ([held.pid] if held else [])
        return {"load_s": loads[-1], **speeds, "mib": memory_mib(pids, options.device, free)}
    finally:
        for runner in runners:
            runner.close()
        if held:
            held.close()


def main() -> None:
    """Run the rounds, print the ratios, write bench/results/adapters.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--layers", type=int, help="measure a random model with this number of layers")
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    options = RunnerOptions(
        device=asked.device, precision=asked.precision, kinds=("transformers",), max_batch=16, threads=1, kv_gib=0.25
    )
    rounds: dict[str, list[dict[str, Any]]] = {"merged": [], "shared": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        name = str(random_model(folder / "model", asked.layers, asked.width)) if asked.layers else asked.model
        model = load_model(name, "cpu", "float32")
        size = sum(parameter.numel() for parameter in model.parameters())
        adapters = [random_adapter(model, folder / f"adapter-{seed}", seed) for seed in (1, 2)]
        del model
        for _ in range(asked.rounds):
            for way, results in rounds.items():
                results.append(measured(name, adapters, folder / "cache", options, is_shared=way == "shared"))
                print(way, results[-1], flush=True)
    ratios = {
        key: sorted(
            round(ours[key] / theirs[key], 3) for ours, theirs in zip(rounds["shared"], rounds["merged"], strict=True)
        )
        for key in ("load_s", *(f"tokens_per_s_{streams}" for streams in STREAMS))
    }
    print("shared, times merged:", ratios)
    about = {
        "model": asked.model if not asked.layers else f"random Llama, {asked.layers} layers of {asked.width}",
        "parameters": size,
    }
    about |= {
        "device": torch.cuda.get_device_name() if asked.device == "cuda" else machine()["cpu"],
        "precision": asked.precision,
    }
    suffix = "-gpu" if asked.device == "cuda" else ""
    record(
        f"adapters{suffix}",
        {**about, "shared_times_merged": ratios, "rounds": rounds, "load_average": os.getloadavg()[1]},
    )


if __name__ == "__main__":
    main()
