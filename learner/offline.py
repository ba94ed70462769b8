"""Training on a file without service or store: the same update, from the base model to a version folder."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Generator
from hashlib import sha256
from pathlib import Path
from typing import Any

from learner.data.datasets import LeftOut, read_examples, render_with, require_both_labels
from learner.data.examples import Example
from learner.data.material import Material
from learner.errors import BadData, BadSetting
from learner.model import distributed
from learner.model.resident import Resident
from learner.publish import fingerprint_of
from learner.settings import LearnerSettings
from learner.tensorboard import TensorBoardLog
from learner.update import Phase, Updater
from learner.update_result import UpdateResult
from policy.errors import CannotWrite
from policy.versions import Manifest, prove_writable, read_version, write_version
from store.trl_rows import Form

CONTRAST = ("grpo", "rloo", "ppo", "ilql")  # they need good and bad completions to compare
NEEDS: dict[str, tuple[Form, ...]] = {
    "dpo": ("preference",),
    "kto": ("preference", "unpaired"),
    "sft": ("preference", "unpaired", "sft"),
    "mixed": ("preference", "unpaired", "sft"),
    **dict.fromkeys(CONTRAST, ("preference", "unpaired")),
}


def train_file(
    file: Path,
    out: Path,
    settings: LearnerSettings,
    phase: Phase,
    *,
    opened: Callable[[Form, int, LeftOut], None] = lambda *_: None,
) -> tuple[Manifest, UpdateResult]:
    """Train on a file and write `out`, a version folder. Return its manifest and the update's result.

    The folder's `report.json` holds the run's metrics, the gate's report, the file's digest, and which of its lines
    were trained on and held out. TensorBoard's files are in its `logs`. `opened(form, examples, left_out)` is called
    when the file has been read.

    Raises BadData; BadSetting where `out` cannot be a new folder, or where the algorithm cannot learn from this form;
    NothingToLearn; Diverged; CannotWrite.
    """
    out = out.expanduser().resolve()
    with _new_folder(out), _cache() as cache:
        settings = settings.model_copy(update={"data": cache})
        resident = Resident(settings)
        examples = _examples_of(file, resident, settings, opened)
        scalars = TensorBoardLog(cache / "logs") if distributed.is_first() else None

        def recorded(name: str, step: int, steps: int, loss: float | None, metrics: dict[str, float]) -> None:
            phase(name, step, steps, loss, metrics)
            if scalars is not None and name == "train":
                scalars.add(step, {"loss": loss, **metrics})

        material = Material(tuple(examples))
        # closed before the folder goes, also by a signal: its writer has a thread of its own
        closed = contextlib.nullcontext() if scalars is None else contextlib.closing(scalars)
        with contextlib.closing(resident.sampler), closed:
            updater = Updater(resident, settings)
            updater.follows_feedback = False  # nobody asks for the reward model of a file afterwards
            result = updater.update(material, settings, recorded, parent=0, seed=settings.seed)
        written = _written(out, file, resident, result, settings) if distributed.is_first() else None
        return distributed.the_first(written) or read_version(out), result


def _examples_of(
    file: Path, resident: Resident, settings: LearnerSettings, opened: Callable[[Form, int, LeftOut], None]
) -> list[Example]:
    """Return a file's examples. Raises BadSetting where the algorithm cannot learn from them, and BadData."""
    algorithm, context = settings.algorithm, resident.context_length
    form, examples, left_out = read_examples(file, render_with(resident.tokenizer), max_tokens=context)
    if form not in NEEDS[algorithm]:
        needs = " or ".join(NEEDS[algorithm])
        raise BadSetting(f"{algorithm} cannot learn from a file in the {form} form; it needs {needs}")
    if not examples:
        reason = f"{left_out} ({context} tokens are the model's context)"
        raise BadData(f"{file} holds nothing to learn from; left out: {reason}")
    if algorithm in CONTRAST:
        require_both_labels(form, examples, file, algorithm)
    opened(form, len(examples), left_out)
    return examples


@contextlib.contextmanager
def _new_folder(out: Path) -> Generator[None, None, None]:
    """Make a version's folder, after a check that it can be written; remove it again if nothing was written.

    Raises BadSetting.
    """
    reason, made = _prepared(out) if distributed.is_first() else ("", [])
    reason = distributed.the_first(reason)  # the other ranks would see what the first one tries
    try:
        if reason:
            raise BadSetting(f"{reason}; name a new folder with --out")
        yield
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # it holds the version, or what others put there
                folder.rmdir()


def _prepared(out: Path) -> tuple[str, list[Path]]:
    """Return why a version cannot be written to `out` ("" if it can), and the folders made for it, innermost first."""
    made: list[Path] = []
    try:  # for a name that is too long, `exists` itself raises
        nearest = next(folder for folder in (out, *out.parents) if folder.exists())
        if not nearest.is_dir():
            return f"{nearest} is a file and no folder", made
        if out.exists() and any(out.iterdir()):
            return f"the folder {out} is not empty", made
        made = [folder for folder in out.parents if not folder.exists()]
        prove_writable(out)
    except CannotWrite as error:
        return str(error), made
    except OSError as error:
        return f"nothing can be written to {out} ({error.strerror})", made
    return "", made


@contextlib.contextmanager
def _cache() -> Generator[Path, None, None]:
    """A temporary folder for what a training makes on its way."""
    cache = Path(tempfile.mkdtemp(prefix="attune-train-"))
    try:
        yield cache
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def _written(out: Path, file: Path, resident: Resident, result: UpdateResult, settings: LearnerSettings) -> Manifest:
    def save(folder: Path) -> None:
        resident.save(folder)
        if (settings.data / "logs").exists():
            shutil.copytree(settings.data / "logs", folder / "logs")
        sides = {"trained": result.plan.trained, "held_out": result.plan.held_out}
        lines = {name: [row for example in some for row in example.feedback_ids] for name, some in sides.items()}
        data = {"file": file.name, "sha256": sha256(file.read_bytes()).hexdigest(), **lines}
        report: dict[str, Any] = {
            "gate": result.report,
            "metrics": result.metrics,
            "data": data,
            "curve": result.trained.curve,
        }
        (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")

    return write_version(
        out,
        version=1,
        parent=0,
        base_model=settings.model,
        base_digest=resident.base_digest,
        save=save,
        fingerprint=fingerprint_of(resident),
        seed=settings.seed,
        settings=settings.model_dump(mode="json", exclude={"data"}) | {"tune_layers": resident.tuned_layers},
        kind="full" if settings.tuning == "full" else "adapter",
    )
