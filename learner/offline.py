"""Training from a file, with no service and no store: the same update, from the base model to a version folder."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Generator
from hashlib import sha256
from pathlib import Path
from typing import Any

from learner.data.datasets import Form, LeftOut, read_examples, render_with, require_both_labels
from learner.data.material import Material
from learner.errors import BadData, BadSetting
from learner.model import distributed
from learner.model.resident import Resident
from learner.publish import fingerprint_of
from learner.settings import LearnerSettings
from learner.tensorboard import TensorBoardLog
from learner.update import Phase, Result, Updater
from policy.errors import CannotWrite
from policy.versions import Manifest, prove_writable, read_version, write_version
from store.ids import now
from store.runs import Run

CONTRAST = ("grpo", "rloo", "ppo", "ilql")  # praise alone, or blame alone, says nothing of what is better than what
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
) -> tuple[Manifest, Result]:
    """Train on a file and write `out`, a version folder with `report.json` in it: the run's metrics, the gate's
    verdict, the file's digest and which
    of its lines were trained on and judged by. TensorBoard's event files are in its `logs`.

    `opened(form, examples, left_out)` is called when the file has been read. Raises BadData, BadSetting when `out` is
    there already, no folder or
    nothing can be written there, or the algorithm cannot learn from this form, NothingToLearn, Diverged, CannotWrite.
    """
    out = out.expanduser().resolve()
    with _place_for(out), _cache() as cache:
        settings = settings.model_copy(update={"data": cache})
        resident = Resident(settings)
        form, examples, left_out = read_examples(
            file, render_with(resident.tokenizer), max_tokens=resident.context_length
        )
        if form not in NEEDS[settings.algorithm]:
            raise BadSetting(
                f"{settings.algorithm} cannot learn from a file in the {form} form; it needs {' or '.join(NEEDS[settings.algorithm])}"
            )
        if not examples:
            raise BadData(
                f"{file} holds nothing to learn from; left out: {left_out} ({resident.context_length} tokens are the model's context)"
            )
        if settings.algorithm in CONTRAST:
            require_both_labels(form, examples, file, settings.algorithm)
        opened(form, len(examples), left_out)
        scalars = TensorBoardLog(cache / "logs") if distributed.is_first() else None

        def noted(name: str, step: int, steps: int, loss: float | None, metrics: dict[str, float]) -> None:
            phase(name, step, steps, loss, metrics)
            if scalars is not None and name == "train":
                scalars.add(step, {"loss": loss, **metrics})

        run = Run(
            "offline", settings.algorithm, "running", {}, settings.seed, 0, len(examples), 0, len(examples), now()
        )
        result = Updater(resident, settings).update(run, Material(tuple(examples)), settings, noted)
        if scalars is not None:
            scalars.close()
        written = _written(out, file, resident, result, run, settings) if distributed.is_first() else None
        return distributed.the_first(written) or read_version(out), result


@contextlib.contextmanager
def _place_for(out: Path) -> Generator[None, None, None]:
    """Make the folder that a new version is to lie in, having seen that one can be written there; take it away again if
    nothing was.

    Raises BadSetting.
    """
    reason, made = _prepared(out) if distributed.is_first() else ("", [])
    reason = distributed.the_first(reason)  # the others would see what the first one tries
    try:
        if reason:
            raise BadSetting(f"{reason}; name a new folder with --out")
        yield
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # it holds the version, or what others put there
                folder.rmdir()


def _prepared(out: Path) -> tuple[str, list[Path]]:
    """Return what keeps a version from being written ("" for nothing), and which folders were made for it, innermost
    first.
    """
    made: list[Path] = []
    try:  # a name that is too long is an error already where one asks whether it exists
        nearest = next(place for place in (out, *out.parents) if place.exists())
        if not nearest.is_dir():
            return f"{nearest} is a file and no folder", made
        if out.exists() and any(out.iterdir()):
            return f"the folder {out} is not empty", made
        made = [place for place in out.parents if not place.exists()]
        prove_writable(out)
    except CannotWrite as error:
        return str(error), made
    except OSError as error:
        return f"nothing can be written to {out} ({error.strerror})", made
    return "", made


@contextlib.contextmanager
def _cache() -> Generator[Path, None, None]:
    """A folder for what a training makes on its way."""
    cache = Path(tempfile.mkdtemp(prefix="attune-train-"))
    try:
        yield cache
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def _written(
    out: Path, file: Path, resident: Resident, result: Result, run: Run, settings: LearnerSettings
) -> Manifest:
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
        seed=run.seed,
        settings=settings.model_dump(mode="json", exclude={"data"}),
        kind="full" if settings.tuning == "full" else "adapter",
    )
