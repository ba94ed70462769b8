"""What this service exports itself: an import of it adds nothing."""

from collections.abc import Iterator

from sqlite_utils import Database

from service.feedback_export import ExportFormat, exported
from service.feedback_import_formats import parse_record
from store.completions import get_completion
from store.feedback import Feedback, feedback_to_learn
from store.outcomes import last_feedback_seq

TRL_FORMS: tuple[ExportFormat, ...] = ("preference", "unpaired", "sft")
WINDOW = 500  # feedback rows in memory at a time
IMPORTED = "fb-import-"  # the ids of feedback that came in TRL's forms already


def exported_ids(db: Database) -> set[str]:
    """Return the ids that all feedback given here has where it comes back in one of TRL's forms."""
    last = last_feedback_seq(db)
    found: set[str] = set()
    for after in range(0, last, WINDOW):
        for feedback in feedback_to_learn(db, after, after + WINDOW):
            if not feedback.id.startswith(IMPORTED):
                found.update(_ids(db, feedback))
    return found


def _ids(db: Database, feedback: Feedback) -> Iterator[str]:
    for form in TRL_FORMS:
        for record in exported(feedback, form, lambda completion_id, choice: get_completion(db, completion_id, choice)):
            try:
                yield parse_record(record, form).id
            except ValueError:  # what is refused when it comes back adds nothing either
                continue
