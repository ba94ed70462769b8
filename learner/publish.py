"""From trained weights to a version that the service finds: the folder first, then its rows in one transaction."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from sqlite_utils import Database

from learner.model.resident import Resident
from learner.priority import prompt_transaction
from policy.chat import render_prompt
from policy.versions import Fingerprint, write_version
from store.ids import now
from store.learner import set_attempted
from store.runs import Run, finish_run
from store.versions import Version, add_version, feedback_of_version, get_version, next_version_number, set_verdict

FINGERPRINT_TEXT = "Hello! Who are you, and what is 7 + 5?"
FINGERPRINT_TOP = 32  # tokens whose log-probabilities are kept


def version_folder(data: Path, number: int) -> Path:
    """Return the folder of a version."""
    return data / "versions" / f"{number:06d}"


@torch.no_grad()
def fingerprint_of(resident: Resident) -> Fingerprint:
    """Return the resident weights' likeliest tokens after a fixed prompt, in the base model's own precision."""
    prompt = render_prompt(resident.tokenizer, [{"role": "user", "content": FINGERPRINT_TEXT}])
    input_ids = torch.tensor([prompt], device=resident.device)
    logits = resident.model(input_ids=input_ids, use_cache=False).logits[0, -1].float()
    top = logits.log_softmax(-1).topk(min(FINGERPRINT_TOP, logits.numel()))
    precision = "bfloat16" if resident.base.get_input_embeddings().weight.dtype == torch.bfloat16 else "float32"
    return Fingerprint(prompt, top.indices.tolist(), top.values.tolist(), precision)


def publish(
    db: Database,
    data: Path,
    resident: Resident,
    run: Run,
    *,
    feedback_ids: Iterable[str],
    metrics: dict[str, Any],
    report: dict[str, Any],
) -> Version:
    """Write the resident weights as the next version, and record it in one transaction.

    The transaction holds the version, its run, the feedback that made it and the gate's verdict. A crash before it
    leaves a folder that no row names; the next version takes its number and replaces it.
    """
    number = next_version_number(db)
    manifest = write_version(
        version_folder(data, number),
        version=number,
        parent=run.parent,
        base_model=resident.settings.model,
        base_digest=resident.base_digest,
        save=resident.save,
        fingerprint=fingerprint_of(resident),
        seed=run.seed,
        settings=run.settings,
        kind="full" if resident.settings.tuning == "full" else "adapter",
    )
    folder = str(version_folder(data, number).relative_to(data))
    version = Version(
        number,
        run.parent,
        "candidate",
        manifest.digest,
        folder,
        run.upto_seq,
        run.algorithm,
        now(),
        run_id=run.id,
        metrics=metrics,
    )
    with prompt_transaction(db):
        known = ancestral_feedback(db, run.parent)
        add_version(db, version, [feedback_id for feedback_id in feedback_ids if feedback_id not in known])
        finish_run(db, run.id, number, metrics)
        set_attempted(db, run.upto_seq)
        set_verdict(db, number, report["passed"], report)
    return get_version(db, number)


def ancestral_feedback(db: Database, number: int) -> set[str]:
    """Return the ids of all feedback that a version and its ancestors learned from."""
    found: set[str] = set()
    at: int | None = number
    while at is not None:
        found |= set(feedback_of_version(db, at))
        at = get_version(db, at).parent
    return found
