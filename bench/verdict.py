"""Simulated people compare two sets of weights: wins on held-out questions, right answers, and retention."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clients.simulated.measurement import Answers, taste_table, win_table
from clients.simulated.populations import Population
from clients.simulated.questions import Question, held_out
from pocket.generation import answers
from pocket.skills import RETENTION_SKILLS, Prompt

LUCK = 16  # sampled answers to each retention prompt: the error of the share is 0.2 points, with 3 it is 0.5


@dataclass(frozen=True)
class Exam:
    """Held-out questions of the feedback skills, `samples` times each, and prompts of skills without feedback."""

    questions: tuple[Question, ...]
    samples: int
    retention: tuple[Prompt, ...]

    @classmethod
    def of(cls, questions: int, samples: int, retention: int) -> "Exam":
        """Return an exam with these numbers of questions and retention prompts, always the same."""
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
    """Return a model's result in an exam, sampled with this seed."""
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
    """Return the share of won pairs, ties counting half, and its standard error.

    The error is over questions, since answers to one question are not independent.
    """
    table = win_table(taste_table(people, exam.questions, mine.texts), taste_table(people, exam.questions, base.texts))
    return float(table.mean()), float(table.std(ddof=1) / len(table) ** 0.5)


def _share(prompts: Sequence[Prompt], texts: Sequence[str]) -> float:
    right = [
        RETENTION_SKILLS[prompt.skill].check(prompt, text).correct for prompt, text in zip(prompts, texts, strict=True)
    ]
    return float(np.mean(right))
