"""TRL's three forms of JSON Lines, read and refused; and a version made of a file, with no service."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from trl.data_utils import extract_prompt, maybe_extract_prompt

from learner.data.datasets import LeftOut, read_examples, render_with
from learner.errors import BadData, BadSetting
from learner.offline import train_file
from learner.reward_model.standalone import train_reward_model
from learner.settings import LearnerSettings
from policy.versions import read_version
from tests.models import tiny_tokenizer

ROOT = Path(__file__).parents[3]


def render(messages: Sequence[Mapping[str, Any]], text: str) -> tuple[list[int], list[int]]:
    prompt = [ord(letter) for message in messages for letter in f"{message['role'][0]}{message['content']}"]
    return prompt, [*map(ord, text), 2]


def written(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def ids(text: str) -> tuple[int, ...]:
    return (*map(ord, text), 2)


def test_preferences_as_text_as_messages_and_without_a_prompt(tmp_path: Path) -> None:
    user, good, bad = (
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "yes"},
        {"role": "assistant", "content": "no"},
    )
    file = written(
        tmp_path / "a.jsonl",
        {"prompt": "q", "chosen": "yes", "rejected": "no"},
        {"prompt": [user], "chosen": [good], "rejected": [bad]},
        {"chosen": [user, good], "rejected": [user, bad]},
        {"prompt": "q", "chosen": [user, good], "rejected": [user, bad]},
        {
            "prompt": [{"role": "user", "content": [{"type": "text", "text": "q"}]}],
            "chosen": "yes",
            "rejected": "no",
            "tools": None,
        },
    )
    form, examples, left_out = read_examples(file, render, max_tokens=20)
    assert (form, left_out) == ("preference", LeftOut(0, 0))
    for example in examples:
        assert example.good is not None
        assert example.bad is not None
        assert (example.kind, example.prompt_ids, example.good.ids, example.bad.ids) == (
            "pair",
            (ord("u"), ord("q")),
            ids("yes"),
            ids("no"),
        )


TEXTS = [
    ("The sky is blue.", "The sky is green."),
    ("The sky is blue.", "The sky is black."),
    ("Q: a?\n\nA: yes", "Q: a?\n\nA: no"),
    ("So  we go.", "So  they go."),
    ("q!a", "q!b"),
]


@pytest.mark.parametrize(("chosen", "rejected"), TEXTS)
def test_two_texts_without_a_prompt_are_cut_where_trl_cuts_them(tmp_path: Path, chosen: str, rejected: str) -> None:
    _, examples, _ = read_examples(
        written(tmp_path / "a.jsonl", {"chosen": chosen, "rejected": rejected}), render, max_tokens=99
    )
    cut = extract_prompt({"chosen": chosen, "rejected": rejected})
    assert [(example.prompt_ids, *(side.ids for side in example.completions)) for example in examples] == [
        ((ord("u"), *map(ord, cut["prompt"])), ids(cut["chosen"]), ids(cut["rejected"]))
    ]


def test_a_prompt_as_text_beside_conversations_is_read_as_trl_reads_it(tmp_path: Path) -> None:
    turns = [{"role": role, "content": text} for role, text in (("user", "q"), ("assistant", "a"), ("user", "r"))]
    row = {
        "prompt": "q",
        "chosen": [*turns, {"role": "assistant", "content": "s"}],
        "rejected": [*turns, {"role": "assistant", "content": "t"}],
    }
    _, (example,), _ = read_examples(written(tmp_path / "a.jsonl", row), render, max_tokens=99)
    cut = maybe_extract_prompt(row)
    assert example.prompt_ids == tuple(render(cut["prompt"], "")[0])
    assert [side.ids for side in example.completions] == [
        ids(cut[name][0]["content"]) for name in ("chosen", "rejected")
    ]


def test_parts_of_text_are_one_text(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "ye"}, {"type": "text", "text": "s"}]
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": parts, "tool_calls": None}]
    _, examples, _ = read_examples(written(tmp_path / "a.jsonl", {"messages": turns}), render, max_tokens=20)
    assert [example.completions[0].ids for example in examples] == [ids("yes")]


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    lines = [
        json.dumps({"prompt": "q", "completion": f"a{odd}b", "label": True}, ensure_ascii=False)
        for odd in "\u2028\u2029\u0085"
    ]
    file.write_bytes("\r\n".join(["\ufeff" + lines[0], "", *lines[1:]]).encode())
    _, examples, left_out = read_examples(file, render, max_tokens=20)
    assert [example.completions[0].ids for example in examples] == [ids("a\u2028b"), ids("a\u2029b"), ids("a\u0085b")]
    assert [example.feedback_ids for example in examples] == [("line 1",), ("line 3",), ("line 4",)]
    assert left_out == LeftOut(0, 0)


def test_unpaired_and_demonstrations(tmp_path: Path) -> None:
    thumbs = written(
        tmp_path / "t.jsonl",
        {"prompt": "q", "completion": "yes", "label": True},
        {"prompt": "q", "completion": "no", "label": False},
    )
    form, examples, _ = read_examples(thumbs, render, max_tokens=20)
    assert (form, [example.up for example in examples]) == ("unpaired", [True, False])
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "yes"}]
    shown = written(tmp_path / "s.jsonl", {"prompt": "q", "completion": "yes"}, {"messages": turns})
    form, examples, _ = read_examples(shown, render, max_tokens=20)
    assert form == "sft"
    assert [example.completions[0].ids for example in examples] == [ids("yes")] * 2


def test_a_json_array_is_read_as_lines_are(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "chosen": "yes", "rejected": "no"}, {"prompt": "r", "chosen": "a", "rejected": "b"}]
    file = tmp_path / "a.json"
    file.write_text(json.dumps(rows, indent=1))
    by_item = read_examples(file, render, max_tokens=20)[1]
    by_line = read_examples(written(tmp_path / "a.jsonl", *rows), render, max_tokens=20)[1]
    assert [example.feedback_ids for example in by_item] == [("item 1",), ("item 2",)]
    assert [replace(example, feedback_ids=()) for example in by_item] == [
        replace(example, feedback_ids=()) for example in by_line
    ]
    file.write_text(json.dumps([rows[0], {"prompt": [], "chosen": "a", "rejected": "b"}]))
    with pytest.raises(BadData, match=r"a\.json, item 2: messages are"):
        read_examples(file, render, max_tokens=20)


def test_rows_longer_than_the_context_are_counted_and_left_out(tmp_path: Path) -> None:
    file = written(
        tmp_path / "a.jsonl",
        {"prompt": "q", "completion": "y" * 30, "label": True},
        {"prompt": "q", "completion": "y", "label": True},
    )
    assert [len(read_examples(file, render, max_tokens=20)[1]), read_examples(file, render, max_tokens=20)[2]] == [
        1,
        LeftOut(1, 0),
    ]


def test_rows_with_nothing_to_learn_are_counted_and_left_out(tmp_path: Path) -> None:
    sides = [("yes", "no"), ("no", "no"), ("", "no"), ("yes", " "), ("", "")]
    file = written(
        tmp_path / "a.jsonl", *({"prompt": "q", "chosen": chosen, "rejected": rejected} for chosen, rejected in sides)
    )
    _, examples, left_out = read_examples(file, render, max_tokens=20)
    assert [example.feedback_ids for example in examples] == [("line 1",)]
    assert left_out == LeftOut(0, 4)
    shown = written(tmp_path / "s.jsonl", {"prompt": "q", "completion": ""}, {"prompt": "q", "completion": "yes"})
    assert read_examples(shown, render, max_tokens=20)[2] == LeftOut(0, 1)
    assert (
        str(LeftOut(2, 1))
        == "2 longer than the model's context, 1 with an empty completion, or the same completion on both sides"
    )
    assert str(LeftOut(0, 3)) == "3 with an empty completion, or the same completion on both sides"


TURNS = (
    '{"prompt": %s, "chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], '
    '"rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]}'
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no examples"),
        ("{", "line 1: not JSON"),
        ("[]", "holds no examples"),
        ("[[]]", "item 1: a line is an object"),
        ('{"text": "a"}', "found ['text']; a text by itself does not show where the completion begins"),
        (
            '{"prompt": "q", "chosen": "a", "rejected": "b", "tools": [{"type": "x"}]}',
            "not supported, and this line has tools",
        ),
        (
            '{"messages": [{"role": "user", "content": "q"}, '
            '{"role": "assistant", "content": null, "tool_calls": [{}]}]}',
            "line has tool_calls",
        ),
        (
            '{"prompt": [{"role": "user", "content": "q"}, {"role": "tool", "content": "7"}], "completion": "y"}',
            "has a message of the role tool",
        ),
        (
            '{"prompt": [{"role": "function", "content": "7"}], "chosen": "y", "rejected": "n"}',
            "has a message of the role function",
        ),
        (
            '{"messages": [{"role": "user", "content": null}, {"role": "assistant", "content": "y"}]}',
            "line 1: the content of a message is null",
        ),
        (
            '{"prompt": [{"role": "user", "content": [{"type": "image_url"}]}], "completion": "y"}',
            "parts of type 'image_url' are not supported",
        ),
        (
            '{"prompt": [{"role": "user", "content": ["q"]}], "completion": "y"}',
            "line 1: content is text, or a list of parts",
        ),
        (
            '{"prompt": [{"role": "user", "content": [{"type": "text"}]}], "completion": "y"}',
            "a content part of type 'text' has no text",
        ),
        (
            '{"chosen": "yes", "rejected": "no"}',
            "line 1: without a prompt, chosen and rejected begin with the same text, and these do not",
        ),
        ('{"chosen": " yes", "rejected": " no"}', "begin with the same text, and these do not"),
        ('{"chosen": "yes", "rejected": "yes, sir"}', "here one is the beginning of the other"),
        ('{"chosen": "yes", "rejected": [{"role": "user", "content": "q"}]}', "line 1: messages are a list"),
        (TURNS % '"other"', "do not begin with the prompt"),
        (
            TURNS % '[{"role": "user", "content": "q"}]',
            "begin with the prompt's turns again; leave the prompt out, or those turns",
        ),
        ('{"prompt": "q", "completion": "y", "label": 1}', "true or false, not 1"),
        (
            '{"prompt": "q", "completion": "y"}\n\n{"prompt": "q", "chosen": "a", "rejected": "b"}',
            "line 3: this is in the preference form",
        ),
        ('{"messages": [{"role": "user", "content": "q"}]}', "end with the assistant's answer"),
        (
            '{"chosen": [{"role": "assistant", "content": "a"}], "rejected": [{"role": "assistant", "content": "b"}]}',
            "without a prompt",
        ),
        ('{"prompt": [{"role": "user"}], "completion": "y"}', "role and content"),
        (
            '{"prompt": [{"role": 1, "content": "q"}], "completion": "y"}',
            "line 1: messages are a list of objects with role and content",
        ),
        (
            '{"messages": [{"role": null, "content": "q"}, {"role": "assistant", "content": "y"}]}',
            "line 1: messages are a list of objects",
        ),
        (r'{"prompt": "q\ud83d", "completion": "y"}', r"line 1: '\ud83d' is half of a surrogate pair and no character"),
        pytest.param('{"prompt": ' + "[" * 100_000, "line 1: lists or objects lie too deep in one another", id="deep"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(text)
    with pytest.raises(BadData) as caught:
        read_examples(file, render, max_tokens=20)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def preferences(path: Path) -> Path:
    return written(
        path, *({"prompt": f"say {n}", "chosen": "no", "rejected": "well, let me think about it"} for n in range(16))
    )


def test_a_file_becomes_a_version_folder(
    make_settings: Callable[..., LearnerSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learner.gate.checks.MAX_LIVE_KL", 50.0)
    wide = {"max_kl": 50, "gate.max_base_kl": 50}
    settings = make_settings(passes=2, steps=100, optimizer__learning_rate=1e-3, **wide)
    phases: list[str] = []
    manifest, result = train_file(
        preferences(tmp_path / "p.jsonl"), tmp_path / "out", settings, lambda name, *_: phases.append(name)
    )
    assert read_version(tmp_path / "out") == manifest
    assert result.trained.steps == 7  # 14 of the 16 pairs, twice, four at a time
    assert result.metrics["pair/accuracy"] == 1.0
    assert set(phases) == {"prepare", "reference", "train", "gate", "save"}
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["gate"] == result.report
    assert {*report["data"]["trained"], *report["data"]["held_out"]} == {f"line {n}" for n in range(1, 17)}
    assert (report["data"]["file"], len(report["data"]["held_out"])) == ("p.jsonl", 2)
    assert report["data"]["sha256"] == sha256((tmp_path / "p.jsonl").read_bytes()).hexdigest()
    assert {"loss", "pair/accuracy", "guard/kl"} <= tags(tmp_path / "out" / "logs")
    with pytest.raises(BadSetting, match="not empty"):
        train_file(tmp_path / "p.jsonl", tmp_path / "out", settings, lambda *_: None)


def test_a_file_at_the_path_of_the_new_folder_is_refused(
    make_settings: Callable[..., LearnerSettings], tmp_path: Path
) -> None:
    file = preferences(tmp_path / "p.jsonl")
    for out in (file, file / "below"):
        with pytest.raises(BadSetting, match=r"p\.jsonl is a file and no folder; name a new folder with --out"):
            train_file(file, out, make_settings(), lambda *_: None)


@pytest.fixture
def without_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is looked at before the model loads is looked at for nothing."""
    monkeypatch.setattr("learner.offline.Resident", lambda settings: pytest.fail("the model was loaded"))


@pytest.mark.usefixtures("without_a_model")
@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("/proc/attune/out", "nothing can be written to /proc/attune/out .No such file or directory."),
        ("/sys/out", "nothing can be written to /sys/out"),
        ("/tmp/" + "x" * 300, "File name too long"),
        ("/tmp/" + "x" * 255, "File name too long"),  # it fits, but not what it is called while it is written
    ],
)
def test_a_folder_that_cannot_be_written_is_refused_before_the_model_loads(
    make_settings: Callable[..., LearnerSettings], tmp_path: Path, out: str, message: str
) -> None:
    with pytest.raises(BadSetting, match=f"{message}.*; name a new folder with --out"):
        train_file(preferences(tmp_path / "p.jsonl"), Path(out), make_settings(), lambda *_: None)


def test_an_empty_folder_is_filled_where_it_lies(
    make_settings: Callable[..., LearnerSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    number = out.stat().st_ino
    monkeypatch.chdir(out)
    manifest, _ = train_file(preferences(tmp_path / "p.jsonl"), Path("."), make_settings(max_kl=1e9), lambda *_: None)
    assert Path.cwd() == out
    assert out.stat().st_ino == number  # somebody stands in it
    assert read_version(out) == manifest
    assert {path.name for path in out.iterdir()} == {*(Path(name).parts[0] for name in manifest.files), "manifest.json"}


def test_what_was_made_for_a_version_goes_when_there_is_none(
    make_settings: Callable[..., LearnerSettings], tmp_path: Path
) -> None:
    file = written(tmp_path / "p.jsonl", {"prompt": "q", "chosen": "a", "rejected": "a"})
    with pytest.raises(BadData):
        train_file(file, tmp_path / "a" / "b" / "out", make_settings(), lambda *_: None)
    assert [path.name for path in tmp_path.iterdir()] == ["p.jsonl"]


def test_transformers_does_not_warn_of_a_line_that_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer = tiny_tokenizer.__wrapped__()
    tokenizer.model_max_length = 64
    logger = logging.getLogger("transformers")
    monkey = logger.propagate
    logger.propagate = True
    try:
        read_examples(
            written(tmp_path / "a.jsonl", {"prompt": "q" * 600, "completion": "y"}),
            render_with(tokenizer),
            max_tokens=64,
        )
    finally:
        logger.propagate = monkey
    assert "longer than" not in caplog.text


def tags(folder: Path) -> set[str]:
    """Names of the curves in a folder of TensorBoard's event files."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return set(events.Tags()["scalars"])


def test_an_algorithm_that_cannot_learn_from_a_form_is_refused(
    make_settings: Callable[..., LearnerSettings], tmp_path: Path
) -> None:
    file = written(tmp_path / "s.jsonl", {"prompt": "q", "completion": "yes"})
    with pytest.raises(BadSetting, match="dpo cannot learn from a file in the sft form; it needs preference"):
        train_file(file, tmp_path / "out", make_settings(algorithm="dpo"), lambda *_: None)


@pytest.mark.parametrize("algorithm", ["grpo", "rloo", "ppo", "ilql"])
def test_praise_alone_trains_no_method_that_needs_a_contrast(
    make_settings: Callable[..., LearnerSettings], tmp_path: Path, algorithm: str
) -> None:
    file = written(tmp_path / "s.jsonl", *({"prompt": f"say {n}", "completion": "yes"} for n in range(16)))
    with pytest.raises(
        BadSetting, match=f"{algorithm} cannot learn from a file in the sft form; it needs preference or unpaired"
    ):
        train_file(file, tmp_path / "out", make_settings(algorithm=algorithm), lambda *_: None)


@pytest.mark.parametrize("label", [True, False])
@pytest.mark.parametrize("algorithm", ["grpo", "rloo", "ppo", "ilql"])
def test_thumbs_of_one_kind_train_no_method_that_needs_a_contrast(
    make_settings: Callable[..., LearnerSettings], tmp_path: Path, algorithm: str, label: bool
) -> None:
    file = written(
        tmp_path / "u.jsonl", *({"prompt": f"say {n}", "completion": "yes", "label": label} for n in range(16))
    )
    with pytest.raises(
        BadData,
        match=f"every label in .* is {str(label).lower()}, and {algorithm} learns from what is better than what",
    ):
        train_file(file, tmp_path / "out", make_settings(algorithm=algorithm), lambda *_: None)
    with pytest.raises(BadData, match="every label in .* and a reward model learns from what is better"):
        train_reward_model(make_settings(), file)


@pytest.mark.parametrize("algorithm", ["kto", "mixed"])
def test_thumbs_of_one_kind_train_methods_that_look_at_each_by_itself(
    make_settings: Callable[..., LearnerSettings], tmp_path: Path, algorithm: str
) -> None:
    file = written(
        tmp_path / "u.jsonl", *({"prompt": f"say {n}", "completion": "yes", "label": True} for n in range(8))
    )
    _, result = train_file(file, tmp_path / "out", make_settings(algorithm=algorithm, max_kl=1e9), lambda *_: None)
    assert result.trained.steps > 0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"prompt": "q", "chosen": "a", "rejected": "a"},
            "left out: 1 with an empty completion, or the same completion on both sides",
        ),
        ({"prompt": "q", "chosen": "", "rejected": "a"}, "left out: 1 with an empty completion"),
        (
            {"prompt": "q" * 600, "chosen": "a", "rejected": "b"},
            "left out: 1 longer than the model's context .512 tokens",
        ),
    ],
)
def test_a_file_with_nothing_in_it_to_learn_is_refused(
    make_settings: Callable[..., LearnerSettings], tmp_path: Path, row: dict[str, str], message: str
) -> None:
    with pytest.raises(BadData, match=f"nothing to learn from; {message}"):
        train_file(written(tmp_path / "p.jsonl", row), tmp_path / "out", make_settings(), lambda *_: None)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            {"gate.max_tokens": 600},
            "gate.max_tokens is 600, but prompt and answer share the model's context of 512 tokens",
        ),
        ({"gate.max_tokens": 511}, "gate.max_tokens 511 leaves no prompt room in the model's context of 512 tokens"),
        (
            {"algorithm": "ppo", "rollout.max_tokens": 600},
            "rollout.max_tokens is 600, but prompt and answer share the model's context of 512 tokens",
        ),
        (
            {"algorithm": "grpo", "rollout.max_tokens": 511, "reward_model.min_labels": 4},
            "rollout.max_tokens 511 leaves no prompt room in the model's context of",
        ),
    ],
)
def test_completions_longer_than_the_context_are_refused_before_training(
    make_settings: Callable[..., LearnerSettings], tmp_path: Path, flags: dict[str, Any], message: str
) -> None:
    phases: list[str] = []
    with pytest.raises(BadSetting, match=message):
        train_file(
            preferences(tmp_path / "p.jsonl"),
            tmp_path / "out",
            make_settings(**flags),
            lambda name, *_: phases.append(name),
        )
    assert "train" not in phases


def attune(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).parent / "attune"), *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_command_trains_and_refuses_in_one_line(tiny: Path, tmp_path: Path) -> None:
    file, out = preferences(tmp_path / "p.jsonl"), tmp_path / "out"
    small = ["--device", "cpu", "--anchors.count", "8", "--steps", "4"]
    small += ["--gate.num-samples", "8", "--gate.max-tokens", "16"]
    done = attune("train", "--data", str(file), "--model", str(tiny), "--out", str(out), *small)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(out), read_version(out).digest]
    for flags, message in (
        (["--data", str(tmp_path / "absent.jsonl")], "no training file"),
        (["--data", str(file), "--stepz", "3"], "--stepz"),
    ):
        refused = attune("train", "--model", str(tiny), "--out", str(tmp_path / "other"), *flags)
        assert refused.returncode == 1
        assert message in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
