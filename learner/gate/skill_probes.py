"""Skill probes: questions with known answers. By them the gate sees whether a version is wrong more often.

A file of skill probes is JSON Lines, for any model: `{"prompt": text or messages, "expect": [regex, ...], "forbid":
[regex, ...]}`. An answer is right when every `expect` matches in it and no `forbid` does, ignoring case. The bundled
models have such files beside their folders.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learner.data.prompt_files import model_file, read_prompts
from learner.errors import BadData
from learner.gate.checks import MIN_PROBES
from learner.model.greedy import greedy_answers
from learner.model.resident import Resident
from learner.settings import GateSettings
from policy.chat import decode, render_prompt

log = logging.getLogger(__name__)
NAME = "probes.jsonl"


@dataclass(frozen=True)
class SkillProbe:
    """One question, and the patterns that decide whether an answer is right."""

    prompt_ids: tuple[int, ...]
    expect: tuple[re.Pattern[str], ...]
    forbid: tuple[re.Pattern[str], ...]

    def is_right(self, answer: str) -> bool:
        """Whether an answer is right."""
        is_forbidden = any(pattern.search(answer) for pattern in self.forbid)
        return all(pattern.search(answer) for pattern in self.expect) and not is_forbidden


@dataclass(frozen=True)
class ProbeAnswers:
    """One version's greedy answers to skill probes as token ids, which are right, and how many had to be decoded."""

    ids: tuple[tuple[int, ...], ...] = ()
    right: tuple[bool, ...] = ()
    decoded: int = 0


NONE_ASKED = ProbeAnswers()


def skill_probe_file(limits: GateSettings, model: str) -> Path | None:
    """Return the file of skill probes in force: that of the settings, else that of the model, else None."""
    if limits.skill_probes is not None:
        return limits.skill_probes
    return model_file(model, NAME)


def read_skill_probes(resident: Resident) -> list[SkillProbe]:
    """Return the skill probes in force, at most `gate.num_skill_probes`, spread over the file.

    Raises BadData for a file that cannot be read, and where settings ask for probes but too few are there to decide
    anything.
    """
    limits = resident.settings.gate
    path = skill_probe_file(limits, resident.settings.model)
    if limits.skill_probes is not None and not limits.skill_probes.expanduser().is_file():  # even where none is asked
        raise BadData(
            f"the file of skill probes {limits.skill_probes} cannot be read: there is no such file; "
            "set gate.skill_probes to one, or leave it out"
        )
    if path is None or not limits.num_skill_probes:
        return []
    if limits.num_skill_probes < MIN_PROBES:
        few = f"fewer than {MIN_PROBES} decide nothing"
        raise BadData(f"gate.num_skill_probes is {limits.num_skill_probes}: {few}; 0 asks none")
    found = _probes_that_fit(resident, path)
    if len(found) < MIN_PROBES:
        room = f"room for an answer of gate.max_tokens={limits.max_tokens}"
        few = f"{len(found)} skill probes of {path} leave {room}; fewer than {MIN_PROBES} decide nothing"
        if limits.skill_probes is not None:
            raise BadData(f"{few}: add some, shorten them, or set gate.num_skill_probes to 0")
        log.warning(few)
    count = min(len(found), limits.num_skill_probes)
    return [found[index * len(found) // count] for index in range(count)]


def _probes_that_fit(resident: Resident, path: Path) -> list[SkillProbe]:
    """Return the file's probes whose prompt leaves room for an answer. Raises BadData."""
    found = []
    for number, (messages, row) in enumerate(read_prompts(path), 1):
        where = f"{path}, prompt {number}"
        expect, forbid = (_patterns(row.get(name, []), name, where) for name in ("expect", "forbid"))
        if not expect and not forbid:
            raise BadData(f"{where}: want expect or forbid, lists of regular expressions, or every answer is right")
        ids = render_prompt(resident.tokenizer, messages, row.get("tools", []))
        if len(ids) + resident.settings.gate.max_tokens <= resident.context_length:
            found.append(SkillProbe(tuple(ids), expect, forbid))
    return found


def probe_answers(resident: Resident, probes: Sequence[SkillProbe], known: ProbeAnswers | None = None) -> ProbeAnswers:
    """Return the resident weights' greedy answers. `known` are those of other weights: only what changed is decoded."""
    begun = known.ids if known is not None else ()
    ids, decoded = greedy_answers(
        resident, [probe.prompt_ids for probe in probes], begun, resident.settings.gate.max_tokens
    )
    right = tuple(probe.is_right(decode(resident.tokenizer, answer)) for probe, answer in zip(probes, ids, strict=True))
    return ProbeAnswers(tuple(ids), right, decoded)


def _patterns(value: Any, name: str, where: str) -> tuple[re.Pattern[str], ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise BadData(f"{where}: {name} is a list of regular expressions, not {value!r}")
    try:
        return tuple(re.compile(text, re.IGNORECASE) for text in value)
    except re.error as error:
        raise BadData(f"{where}: {error.pattern!r} in {name} is no regular expression ({error})") from error
