"""The settings of the engine as the runners take them, with the runner that `auto` chose."""

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version as installed_version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from policy.model import model_digest, resolve_model
from policy.runners.base import RunnerOptions, VersionSource
from policy.runners.choice import Choice, choose, keep, rates_for, reasons_against
from service.settings import ServeSettings


def runner_options(settings: ServeSettings) -> RunnerOptions:
    """Return how runners are built, as the settings say; no kinds where the runner is auto."""
    return RunnerOptions(
        device=device_of(settings.device),
        precision=settings.engine.precision,
        quantize=settings.engine.quantize,
        kv_gib=settings.engine.kv_gib,
        threads=settings.engine.threads,
        max_batch=settings.limits.max_active,
        kinds=() if settings.engine.runner == "auto" else (settings.engine.runner,),
        hang_s=settings.limits.hang_s,
        step_s=settings.limits.step_s,
    )


def chosen_runner(settings: ServeSettings) -> tuple[RunnerOptions, Choice]:
    """Return the options with the engines to try, and the choice. Raises as `resolve_model` does."""
    options = runner_options(settings)
    if settings.vllm is not None:
        return options, Choice(("vllm",), "the setting vllm names a server")
    folder = resolve_model(settings.model)
    choice = choose(folder, model_digest(str(folder)), options)
    return replace(options, kinds=choice.kinds), choice


def measured_runners(settings: ServeSettings, note: Callable[[str], None]) -> None:
    """Measure the engines that can run the model, and keep the rates for `auto`. `note` gets a line for each round.

    Raises ValueError where there is nothing to choose between, RunnerFailed when none loads the model.
    """
    from policy.runners.calibration import measure

    options = replace(runner_options(settings), kinds=())
    folder = resolve_model(settings.model)
    against = reasons_against(folder, options)
    able = [kind for kind, reason in against.items() if not reason]
    if options.device == "cuda" or settings.vllm is not None or len(able) < len(against):
        raise ValueError(f"there is nothing to choose between: {chosen_runner(settings)[1].line}")
    digest = model_digest(str(folder))
    with TemporaryDirectory(prefix="attune-runners-") as cache:
        source = VersionSource(0, str(folder), digest, Path(cache))
        keep(folder, digest, options, measure(source, options, able, note=note))


def runner_report(settings: ServeSettings) -> dict[str, Any]:
    """Return the choice with the rates behind it, those of this machine or of the table."""
    _, choice = chosen_runner(settings)
    folder = resolve_model(settings.model)
    found, source = rates_for(folder, model_digest(str(folder)), runner_options(settings))
    return {"runner": choice.kinds[0], "kinds": choice.kinds, "why": choice.why, "rates": found, "source": source}


def device_of(device: str) -> str:
    """Return the device for auto, without importing torch.

    It is cuda where there is an NVIDIA driver and torch is no build for the CPU alone, else cpu.
    """
    if device != "auto":
        return device
    has_cuda = Path("/proc/driver/nvidia/version").exists() and "+cpu" not in installed_version("torch")
    return "cuda" if has_cuda else "cpu"
