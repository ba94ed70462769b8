"""What simulated people think of two sets of weights: wins at temperature 1 on held-out questions, right answers, and
retention.
"""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clients.simulated.measuring import Answers, taste_table, win_table
from clients.simulated.populations import Population
from clients.simulated.questions import Question, held_out
from pocket.generation import answers
from pocket.skills import RETENTION_SKILLS, Prompt

LUCK = 16  # answers to each retention prompt, sampled: of 3 the share of right ones is off by half a point, of 16 by a fifth


@dataclass(frozen=True)
class Exam:
    """What is asked: held-out questions of the feedback skills, `samples` times each, and prompts of skills that nobody
    gives feedback on.
    """

    questions: tuple[Question, ...]
    samples: int
    retention: tuple[Prompt, ...]

    @classmethod
    def of(cls, questions: int, samples: int, retention: int) -> "Exam":
        """Return an exam with that many questions and retention prompts; the same whenever it is made."""
        cells = [(skill, lang) for skill in RETENTION_SKILLS.values() for lang in skill.languages]
        per_cell = -(-retention // len(cells))
        prompts = [
            prompt
            for skill, lang in cells
            for prompt in itertools.islice(
                skill.prompts(random.Random(f"retention {skill.name} {lang}"), lang, "held"), per_cell
            )
        ]
        return cls(tuple(held_out(questions)), samples, tuple(prompts))


@dataclass(frozen=True)
class ExamResult:
    """One set of weights' answers to an exam."""

    texts: Answers
    right: float  # share of right answers to the questions
    length: float  # mean characters
    retention: float  # share of right answers to the retention prompts, sampled at temperature 1
    retention_greedy: float


def take_exam(model: Any, tokenizer: Any, exam: Exam, seed: int) -> ExamResult:
    """Let a model sit an exam. The seed is that of its luck."""
    chats = [question.messages for question in exam.questions for _ in range(exam.samples)]
    texts = answers(model, tokenizer, chats, sampled=True, seed=seed)
    rows = [texts[start : start + exam.samples] for start in range(0, len(texts), exam.samples)]
    right = [question.is_right(text) for question, row in zip(exam.questions, rows, strict=True) for text in row]
    asked = [prompt.messages for prompt in exam.retention]
    kept = [
        _share(exam.retention, answers(model, tokenizer, asked, sampled=True, seed=1000 * seed + luck))
        for luck in range(LUCK)
    ]
    greedy = _share(exam.retention, answers(model, tokenizer, asked))
    return ExamResult(
        Answers(rows),
        float(np.mean(right)),
        float(np.mean([len(text) for text in texts])),
        float(np.mean(kept)),
        greedy,
    )


def wins(people: Population, exam: Exam, mine: ExamResult, base: ExamResult) -> tuple[float, float]:
    """Return the share of won pairs, ties counting half, and its standard error over questions: answers to one question
    are not independent.
    """
    table = win_table(taste_table(people, exam.questions, mine.texts), taste_table(people, exam.questions, base.texts))
    return float(table.mean()), float(table.std(ddof=1) / len(table) ** 0.5)


def _share(prompts: Sequence[Prompt], texts: Sequence[str]) -> float:
    right = [
        RETENTION_SKILLS[prompt.skill].check(prompt, text).correct for prompt, text in zip(prompts, texts, strict=True)
    ]
    return float(np.mean(right))
