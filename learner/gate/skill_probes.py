"""Probes: prompts whose right answers are known, by which the gate sees that a version has not become wrong more often.

A file of them is JSON Lines, for any model: `{"prompt": text or messages, "expect": [regex, ...], "forbid": [regex,
...]}`. An answer is right when
every `expect` is found in it and no `forbid` is, upper and lower case alike. The bundled models have theirs beside
their folders.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learner.data.prompt_files import read_prompts
from learner.errors import BadData
from learner.gate.checks import MIN_PROBES
from learner.model.resident import Resident
from learner.model.rollouts import sample_rollouts
from learner.settings import LearnerSettings
from policy.chat import decode, end_ids, render_prompt
from policy.model import bundled_models, resolve_model

log = logging.getLogger(__name__)
NAME = "probes.jsonl"


@dataclass(frozen=True)
class SkillProbe:
    """One prompt and what a right answer says."""

    prompt_ids: tuple[int, ...]
    expect: tuple[re.Pattern[str], ...]
    forbid: tuple[re.Pattern[str], ...]

    def is_right(self, answer: str) -> bool:
        """Whether an answer is right."""
        return all(pattern.search(answer) for pattern in self.expect) and not any(
            pattern.search(answer) for pattern in self.forbid
        )


def skill_probe_file(settings: LearnerSettings) -> Path | None:
    """Return the file of probes in force: the one of the settings, else that in the model's folder or beside the
    bundled models', if any.
    """
    if settings.gate.skill_probes is not None:
        return settings.gate.skill_probes
    folder = resolve_model(settings.model).resolve()
    is_bundled = folder in [bundled.resolve() for bundled in bundled_models().values()]
    files = [folder / NAME, *([folder.parent / NAME] if is_bundled else [])]
    return next((file for file in files if file.is_file()), None)


def read_skill_probes(resident: Resident) -> list[SkillProbe]:
    """Return the probes in force for the resident model, at most `gate_probe_items`, spread over the file.

    Raises BadData for a file that is none, and where settings ask for probes of which there are too few to decide
    anything.
    """
    settings = resident.settings
    path = skill_probe_file(settings)
    if (
        settings.gate.skill_probes is not None and not settings.gate.skill_probes.expanduser().is_file()
    ):  # said even where nothing would be asked
        raise BadData(
            f"the file of probes {settings.gate.skill_probes} cannot be read: there is no such file; set gate_probes to one, or leave it out"
        )
    if path is None or not settings.gate.num_skill_probes:
        return []
    if settings.gate.num_skill_probes < MIN_PROBES:
        raise BadData(
            f"gate_probe_items is {settings.gate.num_skill_probes}: fewer than {MIN_PROBES} probes decide nothing; 0 asks none"
        )
    found = []
    for number, (messages, row) in enumerate(read_prompts(path), 1):
        where = f"{path}, prompt {number}"
        expect, forbid = (_patterns(row.get(name, []), name, where) for name in ("expect", "forbid"))
        if not expect and not forbid:
            raise BadData(f"{where}: want expect or forbid, lists of regular expressions, or every answer is right")
        ids = render_prompt(resident.tokenizer, messages)
        if len(ids) + settings.gate.max_tokens <= resident.context_length:
            found.append(SkillProbe(tuple(ids), expect, forbid))
    if len(found) < MIN_PROBES:
        room = f"room for a reply of gate_max_tokens={settings.gate.max_tokens}"
        few = f"{len(found)} probes of {path} leave {room}; fewer than {MIN_PROBES} decide nothing"
        if settings.gate.skill_probes is not None:
            raise BadData(f"{few}: add some, shorten them, or set gate_probe_items to 0")
        log.warning(few)
    most = min(len(found), settings.gate.num_skill_probes)
    return [found[place * len(found) // most] for place in range(most)]


def right_answers(resident: Resident, probes: Sequence[SkillProbe]) -> tuple[bool, ...]:
    """Return which probes the resident weights answer rightly, taking the likeliest token each time."""
    with resident.autocast():
        replies = sample_rollouts(
            resident.model,
            [probe.prompt_ids for probe in probes],
            end_ids=end_ids(resident.tokenizer),
            max_tokens=resident.settings.gate.max_tokens,
            seed=0,
            temperature=0.0,
        )
    return tuple(
        probe.is_right(decode(resident.tokenizer, reply.ids)) for probe, reply in zip(probes, replies, strict=True)
    )


def _patterns(value: Any, name: str, where: str) -> tuple[re.Pattern[str], ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise BadData(f"{where}: {name} is a list of regular expressions, not {value!r}")
    try:
        return tuple(re.compile(text, re.IGNORECASE) for text in value)
    except re.error as error:
        raise BadData(f"{where}: {error.pattern!r} in {name} is no regular expression ({error})") from error
