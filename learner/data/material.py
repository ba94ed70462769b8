"""What an update learns from: the examples of a range of feedback rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlite_utils import Database

from learner.data.examples import Example, RenderCompletion
from learner.data.feedback_examples import examples_of
from policy.thoughts import ThoughtMarks
from store.completions import get_completion
from store.feedback import feedback_to_learn, ties_to_learn
from store.raters import raters
from store.runs import Run

REPLAY_POOL = 5000  # earlier feedback rows that replay draws from, the newest
MOST_NAMED = 20  # rows that a run names
LAST_SEQ = 2**63 - 1  # the largest integer that SQLite stores


@dataclass(frozen=True)
class FeedbackRange:
    """The feedback rows with `after_seq < seq <= upto_seq`."""

    after_seq: int
    upto_seq: int

    @classmethod
    def of_run(cls, run: Run) -> "FeedbackRange":
        """Return the range that a run's row names."""
        return cls(run.after_seq, run.upto_seq)

    @classmethod
    def everything(cls) -> "FeedbackRange":
        """Return the range of all feedback."""
        return cls(0, LAST_SEQ)

    @classmethod
    def nothing_new(cls) -> "FeedbackRange":
        """Return the empty range after all feedback: what the newest rows teach is then `earlier`."""
        return cls(LAST_SEQ, LAST_SEQ)


@dataclass(frozen=True)
class Material:
    """The examples that an update learns from."""

    new: tuple[Example, ...]
    earlier: tuple[Example, ...] = ()
    """Examples before the range, for replay."""
    trust: Mapping[str, float] = field(default_factory=dict)
    """Each rater's trust, as last estimated."""
    ties: tuple[Example, ...] = ()
    """Pairs of equally good completions, which the reward model alone learns from."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """By feedback id, why a row is left out because something in it is damaged."""

    @property
    def metrics(self) -> dict[str, Any]:
        """What a run records of the rows that are left out: their number, and the first of them with the reason."""
        first = dict(list(self.left_out.items())[:MOST_NAMED])
        return {"items/left_out": len(self.left_out), "left_out": first} if first else {}


def material_of(
    db: Database,
    feedback_range: FeedbackRange,
    render_completion: RenderCompletion,
    *,
    max_tokens: int,
    vocab_size: int | None = None,
    thoughts: ThoughtMarks | None = None,
) -> Material:
    """Return what a range of feedback teaches, and earlier feedback for replay.

    Feedback of raters in quarantine is left out. `render_completion(messages, text)` returns (prompt_ids,
    completion_ids). Examples longer than `max_tokens` are left out, and so are damaged rows, which `left_out` names.
    What is between the marks `thoughts` is not rated.
    """
    left_out: dict[str, str] = {}

    def examples(rows: Sequence[Any]) -> tuple[Example, ...]:
        made = examples_of(
            rows,
            lambda completion_id, choice: get_completion(db, completion_id, choice),
            render_completion,
            max_tokens=max_tokens,
            vocab_size=vocab_size,
            thoughts=thoughts,
        )
        left_out.update(made.left_out)
        return tuple(made.found)

    after, upto = feedback_range.after_seq, feedback_range.upto_seq
    return Material(
        left_out=left_out,
        new=examples(feedback_to_learn(db, after, upto)),
        earlier=examples(feedback_to_learn(db, 0, after)[-REPLAY_POOL:]) if after > 0 else (),
        trust={rater.id: rater.trust for rater in raters(db) if rater.trust is not None},
        ties=examples(ties_to_learn(db, upto, REPLAY_POOL)),
    )
