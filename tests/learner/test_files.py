"""TRL's three forms of JSON Lines, read and refused; and a version made of a file, with no service."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from learner.errors import BadData, BadSetting
from learner.files import read_examples
from learner.offline import train_file
from learner.settings import LearnerSettings
from policy.versions import read_version

ROOT = Path(__file__).parent.parent.parent


def render(messages: Sequence[Mapping[str, Any]], text: str) -> tuple[list[int], list[int]]:
    prompt = [ord(letter) for message in messages for letter in f"{message['role'][0]}{message['content']}"]
    return prompt, [*map(ord, text), 2]


def written(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def ids(text: str) -> tuple[int, ...]:
    return (*map(ord, text), 2)


def test_preferences_as_text_as_messages_and_without_a_prompt(tmp_path: Path) -> None:
    user, good, bad = {"role": "user", "content": "q"}, {"role": "assistant", "content": "yes"}, {"role": "assistant", "content": "no"}
    file = written(
        tmp_path / "a.jsonl",
        {"prompt": "q", "chosen": "yes", "rejected": "no"},
        {"prompt": [user], "chosen": [good], "rejected": [bad]},
        {"chosen": [user, good], "rejected": [user, bad]},
    )
    form, examples, left_out = read_examples(file, render, max_tokens=20)
    assert (form, left_out) == ("preference", 0)
    for example in examples:
        assert example.good is not None
        assert example.bad is not None
        assert (example.kind, example.prompt_ids, example.good.ids, example.bad.ids) == ("pair", (ord("u"), ord("q")), ids("yes"), ids("no"))


def test_unpaired_and_demonstrations(tmp_path: Path) -> None:
    thumbs = written(tmp_path / "t.jsonl", {"prompt": "q", "completion": "yes", "label": True}, {"prompt": "q", "completion": "no", "label": False})
    form, examples, _ = read_examples(thumbs, render, max_tokens=20)
    assert (form, [example.up for example in examples]) == ("unpaired", [True, False])
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "yes"}]
    shown = written(tmp_path / "s.jsonl", {"prompt": "q", "completion": "yes"}, {"messages": turns})
    form, examples, _ = read_examples(shown, render, max_tokens=20)
    assert form == "sft"
    assert [example.replies[0].ids for example in examples] == [ids("yes")] * 2


def test_rows_longer_than_the_context_are_counted_and_left_out(tmp_path: Path) -> None:
    file = written(tmp_path / "a.jsonl", {"prompt": "q", "completion": "y" * 30, "label": True}, {"prompt": "q", "completion": "y", "label": True})
    assert [len(read_examples(file, render, max_tokens=20)[1]), read_examples(file, render, max_tokens=20)[2]] == [1, 1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no examples"),
        ("{", "line 1: not JSON"),
        ("[]", "line 1: a line is an object"),
        ('{"text": "a"}', "found ['text']"),
        ('{"prompt": "q", "completion": "y", "label": 1}', "true or false, not 1"),
        ('{"prompt": "q", "completion": "y"}\n\n{"prompt": "q", "chosen": "a", "rejected": "b"}', "line 3: this is a line in the preference form"),
        ('{"messages": [{"role": "user", "content": "q"}]}', "end with the assistant's reply"),
        ('{"chosen": [{"role": "assistant", "content": "a"}], "rejected": [{"role": "assistant", "content": "b"}]}', "without a prompt"),
        ('{"prompt": [{"role": "user"}], "completion": "y"}', "role and content"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(text)
    with pytest.raises(BadData) as caught:
        read_examples(file, render, max_tokens=20)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def preferences(path: Path) -> Path:
    return written(path, *({"prompt": f"say {n}", "chosen": "no", "rejected": "well, let me think about it"} for n in range(16)))


def test_a_file_becomes_a_version_folder(make_settings: Callable[..., LearnerSettings], tmp_path: Path) -> None:
    settings = make_settings(passes=2, steps=100, learning_rate=1e-3, max_kl=50, gate_max_kl=50, gate_max_base_kl=50)
    told: list[str] = []
    manifest, result = train_file(preferences(tmp_path / "p.jsonl"), tmp_path / "out", settings, lambda name, *_: told.append(name))
    assert read_version(tmp_path / "out") == manifest
    assert result.trained.steps == 7  # 14 of the 16 pairs, twice, four at a time
    assert result.metrics["pair/accuracy"] == 1.0
    assert set(told) == {"reference", "train", "gate", "save"}
    assert json.loads((tmp_path / "out" / "report.json").read_text())["gate"] == result.report
    with pytest.raises(BadSetting, match="not empty"):
        train_file(tmp_path / "p.jsonl", tmp_path / "out", settings, lambda *_: None)


def test_an_algorithm_that_cannot_learn_from_a_form_says_so(make_settings: Callable[..., LearnerSettings], tmp_path: Path) -> None:
    file = written(tmp_path / "s.jsonl", {"prompt": "q", "completion": "yes"})
    with pytest.raises(BadSetting, match="dpo cannot learn from a file in the sft form; it needs preference"):
        train_file(file, tmp_path / "out", make_settings(algorithm="dpo"), lambda *_: None)


def attune(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).parent / "attune"), *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300, check=False)


def test_the_command_trains_and_refuses_in_one_line(tiny: Path, tmp_path: Path) -> None:
    file, out = preferences(tmp_path / "p.jsonl"), tmp_path / "out"
    small = ["--device", "cpu", "--anchor-items", "8", "--gate-samples", "8", "--gate-max-tokens", "16", "--steps", "4"]
    done = attune("train", "--data", str(file), "--model", str(tiny), "--out", str(out), *small)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(out), read_version(out).digest]
    for flags, said in ((["--data", str(tmp_path / "absent.jsonl")], "no training file"), (["--data", str(file), "--stepz", "3"], "--stepz")):
        refused = attune("train", "--model", str(tiny), "--out", str(tmp_path / "other"), *flags)
        assert refused.returncode == 1
        assert said in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
