"""Settings: flags over environment over file over defaults, and one line for what cannot be."""

import os
import re
from pathlib import Path

import pytest

from service.errors import CannotStart
from service.settings import ServeSettings, is_loopback, load_settings

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ATTUNE_")]:
        monkeypatch.delenv(name)


def test_flags_come_before_environment_before_file_before_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "attune.toml"
    file.write_text(
        'port = 1\nmodel = "file"\nmax_slots = 7\ncompare = ["a=http://x"]\n[learner]\nanything = "its own"\n'
    )
    monkeypatch.setenv("ATTUNE_PORT", "2")
    monkeypatch.setenv("ATTUNE_MODEL", "environment")
    monkeypatch.setenv("ATTUNE_LEARNER_SEED", "3")
    monkeypatch.setenv("ATTUNE_API_KEY", "the client's, not ours")
    known = load_settings({"port": 3, "host": None}, file)
    assert (known.port, known.model, known.max_slots, known.host, known.compare) == (
        3,
        "environment",
        7,
        "127.0.0.1",
        ("a=http://x",),
    )
    assert known.config == file
    monkeypatch.setenv("ATTUNE_CONFIG", str(file))
    assert load_settings({}).max_slots == 7


def test_lists_in_the_environment_are_separated_by_commas_or_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTUNE_COMPARE", "gpt=https://one/v1, mine=http://two")
    assert load_settings({}).backends == {"gpt": "https://one/v1", "mine": "http://two"}


@pytest.mark.parametrize(
    "wrong", ["nourl", "=http://x", "attune=http://x", "a b=http://x", "a=ftp://x", "attune@3=http://x"]
)
def test_a_backend_needs_a_name_and_a_url(wrong: str) -> None:
    with pytest.raises(CannotStart, match="NAME=URL") as refused:
        load_settings({"compare": [wrong]})
    assert str(refused.value).startswith("--compare cannot be")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("ATTUNE_MAX_SLOT", "ATTUNE_MAX_SLOT is no setting; did you mean ATTUNE_MAX_SLOTS?"),
        ("ATTUNE_KEY", "ATTUNE_KEY is no setting; did you mean ATTUNE_API_KEY?"),
        (
            "ATTUNE_ZZZ",
            "ATTUNE_ZZZ is no setting; docs/settings.md lists them all; the learner's begin with ATTUNE_LEARNER_",
        ),
    ],
)
def test_a_variable_that_is_no_setting_is_one_line(monkeypatch: pytest.MonkeyPatch, variable: str, said: str) -> None:
    monkeypatch.setenv(variable, "3")
    with pytest.raises(CannotStart) as refused:
        load_settings({})
    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("max_slot = 3\n", "is unknown; did you mean max_slots?"),
        ("zzz = 3\n", "is unknown; docs/settings.md lists them all; the learner's belong in the [learner] table"),
        ("[lerner]\nsteps = 3\n", "the setting 'lerner' in"),
    ],
)
def test_a_line_of_the_file_that_is_no_setting_is_one_line(tmp_path: Path, toml: str, said: str) -> None:
    file = tmp_path / "attune.toml"
    file.write_text(toml)
    with pytest.raises(CannotStart) as refused:
        load_settings({}, file)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_variables_that_anything_else_of_ours_reads_are_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [ROOT / "Makefile", ROOT / "Dockerfile", ROOT / "compose.yaml"]
    files += [
        path
        for room in ("service", "learner", "policy", "pocket", "store", "clients", "bench")
        for path in (ROOT / room).rglob("*.py")
    ]
    files += (ROOT / "tests" / "integration").rglob("*.py")
    named = {name for path in files for name in re.findall(r"(?<!\w)ATTUNE_[A-Z][A-Z0-9_]*", path.read_text())}
    others = {name for name in named if name.removeprefix("ATTUNE_").lower() not in ServeSettings.model_fields}
    assert others >= {
        "ATTUNE_API_KEY",
        "ATTUNE_BASE_URL",
        "ATTUNE_DEBUG",
        "ATTUNE_VLLM_KEY",
        "ATTUNE_LOG_LEVEL",
        "ATTUNE_COMPARE_KEY_",
    }
    linked = {
        "ATTUNE_SERVICE_HOST": "10.0.0.1",
        "ATTUNE_SERVICE_PORT_HTTP": "80",
        "ATTUNE_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    for name, value in {
        **dict.fromkeys(others, "x"),
        **linked,
        "ATTUNE_WEB_PORT": "tcp://10.0.0.1:80",
        "ATTUNE_PORT": "8000",
    }.items():
        monkeypatch.setenv(name, value)
    assert load_settings({}).port == 8000


def test_every_setting_is_a_flag() -> None:
    from service.commands import _more_flags

    assert _more_flags(["--max-slots", "6", "--quantize=q4_0"]) == {"max_slots": "6", "quantize": "q4_0"}
    known = load_settings(_more_flags(["--max-slots", "6", "--memory-gib", "3.5"]))
    assert (known.max_slots, known.memory_gib) == (6, 3.5)
    for words, said in (
        (["--colour", "red"], "--colour is no flag"),
        (["--max-slots"], "needs a value"),
        (["here"], "here is no flag"),
    ):
        with pytest.raises(CannotStart, match=said):
            _more_flags(words)


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in ServeSettings.model_fields.items() if not field.description] == []


def test_loopback_is_this_machine_alone() -> None:
    assert [
        host
        for host in ("127.0.0.1", "127.8.8.8", "localhost", "::1", "0.0.0.0", "::", "10.0.0.1", "example.com")
        if is_loopback(host)
    ] == [
        "127.0.0.1",
        "127.8.8.8",
        "localhost",
        "::1",
    ]
