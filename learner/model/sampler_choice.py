"""Which sampler an update uses, and why. No torch: the settings are checked before it is loaded."""

from importlib.util import find_spec
from pathlib import Path

from learner.errors import BadSetting
from learner.settings import LearnerSettings
from policy.gguf_shapes import reasons_against_gguf
from policy.model import read_config
from policy.openvino_ir import reasons_against_openvino
from policy.runners import llamacpp_library

LARGE = 50_000_000  # parameters from which handing new weights to a runner takes less time than it saves
QUICK = ("openvino", "llamacpp")  # on a CPU the first takes half of torch's time, the second a sixth less than torch


def check_sampler(settings: LearnerSettings, folder: Path) -> None:
    """Raise BadSetting where the sampler that the setting names cannot be used with the model in `folder`."""
    name = settings.sampler
    if is_server(name) and settings.tuning == "full":
        raise BadSetting(f"sampler is {name}, but a vLLM server takes no full weights; set sampler to auto")
    if name not in ("auto", "torch") and (reason := reason_against(name, folder)):
        raise BadSetting(f"sampler is {name}, but {reason}; set it to auto")


def chosen_sampler(
    settings: LearnerSettings, folder: Path, *, num_parameters: int, on_cpu: bool, num_processes: int
) -> tuple[str, str]:
    """Return the sampler in force, "torch", a runner's kind or a server's URL, and the reason for it.

    Raises BadSetting for one that cannot be used.
    """
    check_sampler(settings, folder)
    millions = f"{num_parameters / 1e6:.3g} million parameters"
    if num_processes > 1:
        if settings.sampler not in ("auto", "torch"):
            raise BadSetting(f"sampler is {settings.sampler}, but several processes train; set it to torch")
        return "torch", "several processes train"
    if settings.sampler != "auto":
        return settings.sampler, "the setting `sampler` says so"
    if not on_cpu:
        return "torch", "the model is on a GPU"
    if num_parameters < LARGE:
        return "torch", f"for {millions} handing new weights to a runner takes longer than it saves"
    if settings.tuning == "full":
        return "torch", "with tuning full a runner would read all weights anew after each step"
    reasons = {kind: reason_against(kind, folder) for kind in QUICK}
    usable = next((kind for kind in QUICK if not reasons[kind]), None)
    if usable is None:
        return "torch", "; ".join(f"{kind}: {reason}" for kind, reason in reasons.items())
    return usable, f"for {millions} on a CPU it takes less time than torch"


def reason_against(name: str, folder: Path) -> str:
    """Return why a runner cannot sample from the model in `folder`, "" where nothing is known against it."""
    if name == "llamacpp":
        missing = "" if llamacpp_library.is_installed() else "llama.cpp is not installed (xllamacpp)"
        return missing or "; ".join(reasons_against_gguf(read_config(folder)))
    if name == "openvino":
        missing = "" if find_spec("openvino_genai") is not None else "OpenVINO GenAI is not installed"
        return missing or "; ".join(reasons_against_openvino(read_config(folder)))
    return ""


def is_server(name: str) -> bool:
    """Whether a sampler's name is the URL of a vLLM server."""
    return name.startswith(("http://", "https://"))
