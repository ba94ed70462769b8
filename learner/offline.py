"""Training from a file, with no service and no store: the same update, from the base model to a version folder."""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from learner import ranks
from learner.errors import BadData, BadSetting
from learner.files import Form, read_examples, render_with
from learner.publish import probe_of
from learner.resident import Resident
from learner.settings import LearnerSettings
from learner.update import Material, Phase, Result, Updater
from policy.versions import Manifest, read_version, write_version
from store.ids import now
from store.runs import Run

NEEDS: dict[str, tuple[Form, ...]] = {
    "dpo": ("preference",),
    "kto": ("preference", "unpaired"),
    "sft": ("preference", "unpaired", "sft"),
    "mixed": ("preference", "unpaired", "sft"),
}


def train_file(
    file: Path, out: Path, settings: LearnerSettings, phase: Phase, *, opened: Callable[[Form, int, int], None] = lambda *_: None
) -> tuple[Manifest, Result]:
    """Train on a file and write `out`, a version folder with `report.json` in it: the run's metrics and the gate's verdict.

    `opened(form, examples, left_out)` is called when the file has been read. Raises BadData, BadSetting when `out` is there already or
    the algorithm cannot learn from this form, NothingToLearn, Diverged.
    """
    if out.exists() and any(out.iterdir()):
        raise BadSetting(f"the folder {out} is not empty; name a new one with --out")
    cache = Path(tempfile.mkdtemp(prefix="attune-train-"))
    try:
        settings = settings.model_copy(update={"data": cache})
        resident = Resident(settings)
        form, examples, left_out = read_examples(file, render_with(resident.tokenizer), max_tokens=resident.context_length)
        if form not in NEEDS.get(settings.algorithm, (form,)):
            raise BadSetting(f"{settings.algorithm} cannot learn from a file in the {form} form; it needs {' or '.join(NEEDS[settings.algorithm])}")
        if not examples:
            raise BadData(f"every line of {file} is longer than the model's context of {resident.context_length} tokens")
        opened(form, len(examples), left_out)
        run = Run("offline", settings.algorithm, "running", {}, settings.seed, 0, len(examples), 0, len(examples), now())
        result = Updater(resident, settings).update(run, Material(tuple(examples), ()), settings, phase)
        written = _written(out, resident, result, run, settings) if ranks.is_first() else None
        return ranks.the_first(written) or read_version(out), result
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def _written(out: Path, resident: Resident, result: Result, run: Run, settings: LearnerSettings) -> Manifest:
    def save(folder: Path) -> None:
        resident.save(folder)
        report: dict[str, Any] = {"gate": result.report, "metrics": result.metrics, "curve": result.trained.curve}
        (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")

    return write_version(
        out,
        version=1,
        parent=0,
        base_model=settings.model,
        base_digest=resident.base_digest,
        save=save,
        probe=probe_of(resident),
        seed=run.seed,
        settings=settings.model_dump(mode="json", exclude={"data"}),
        kind="full" if settings.tuning == "full" else "adapter",
    )
