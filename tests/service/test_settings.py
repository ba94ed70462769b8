"""The service's settings: flags over environment over file over defaults, and one line on a bad one."""

import os
import re
from pathlib import Path

import pytest

from config.fields import fields_of, groups_of, range_of
from service.errors import CannotStart
from service.settings import NAMES, RENAMED, ServeSettings, is_loopback, load_settings

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
        'port = 1\nmodel = "file"\ncompare = ["a=http://x"]\n'
        '[engine]\nmax_slots = 7\nthreads = 3\n[learner]\nanything = "its own"\n[learner.gate]\nanything = 1\n'
    )
    monkeypatch.setenv("ATTUNE_PORT", "2")
    monkeypatch.setenv("ATTUNE_MODEL", "environment")
    monkeypatch.setenv("ATTUNE_ENGINE__THREADS", "4")
    monkeypatch.setenv("ATTUNE_LEARNER__SEED", "3")
    monkeypatch.setenv("ATTUNE_API_KEY", "a client's")
    known = load_settings({"port": 3, "host": None}, file)
    assert (known.port, known.model, known.engine.max_slots, known.host, known.compare) == (
        3,
        "environment",
        7,
        "127.0.0.1",
        ("a=http://x",),
    )
    assert known.engine.threads == 4
    assert known.config == file
    monkeypatch.setenv("ATTUNE_CONFIG", str(file))
    assert load_settings({}).engine.max_slots == 7


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
    ("variable", "message"),
    [
        ("ATTUNE_PROT", "ATTUNE_PROT is no setting of attune serve; did you mean ATTUNE_PORT?"),
        (
            "ATTUNE_ENGINE__MAX_SLOT",
            "ATTUNE_ENGINE__MAX_SLOT is no setting of attune serve; did you mean ATTUNE_ENGINE__MAX_SLOTS?",
        ),
        ("ATTUNE_MAX_SLOTS", "ATTUNE_MAX_SLOTS is no setting of attune serve; it is ATTUNE_ENGINE__MAX_SLOTS now"),
        (
            "ATTUNE_ENGINE",
            "ATTUNE_ENGINE is no setting of attune serve; it is a group of settings, such as ATTUNE_ENGINE__MAX_SLOTS",
        ),
        ("ATTUNE_KEY", "ATTUNE_KEY is no setting of attune serve; did you mean ATTUNE_API_KEY?"),
        (
            "ATTUNE_ZZZ",
            "ATTUNE_ZZZ is no setting of attune serve; docs/settings.md lists them all; "
            "the learner's are --learner.*, ATTUNE_LEARNER__* and the [learner] table",
        ),
    ],
)
def test_a_variable_that_is_no_setting_is_one_line(
    monkeypatch: pytest.MonkeyPatch, variable: str, message: str
) -> None:
    monkeypatch.setenv(variable, "3")
    with pytest.raises(CannotStart) as refused:
        load_settings({})
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("prot = 3\n", "is unknown; did you mean port?"),
        ("max_slots = 3\n", "is unknown; it is engine.max_slots now"),
        ("[engine]\nmax_slot = 3\n", "the setting 'max_slot' in the [engine] table of"),
        ("[engine]\nmax_slot = 3\n", "is unknown; did you mean engine.max_slots?"),
        ("engine = 3\n", "is a group of settings; write it as the table [engine]"),
        ("[engin]\nmax_slots = 3\n", "is unknown; did you mean [engine]?"),
        ("[engine]\nmax_slots = 1\n", "engine.max_slots in"),
        ("zzz = 3\n", "is unknown; docs/settings.md lists them all; the learner's are --learner.*"),
        ("api_key = 3\n", "is unknown; docs/settings.md lists them all"),
        ("[lerner]\nsteps = 3\n", "the table 'lerner' in"),
        ("[lerner]\nsteps = 3\n", "did you mean [learner]?"),
    ],
)
def test_a_line_of_the_file_that_is_no_setting_is_one_line(tmp_path: Path, toml: str, message: str) -> None:
    file = tmp_path / "attune.toml"
    file.write_text(toml)
    with pytest.raises(CannotStart) as refused:
        load_settings({}, file)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_variables_that_the_other_rooms_read_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [ROOT / "Makefile", ROOT / "Dockerfile", ROOT / "compose.yaml"]
    files += [
        path
        for room in ("config", "service", "learner", "policy", "pocket", "store", "clients", "bench")
        for path in (ROOT / room).rglob("*.py")
    ]
    files += (ROOT / "tests" / "integration").rglob("*.py")
    named = {name for path in files for name in re.findall(r"(?<!\w)ATTUNE_[A-Z][A-Z0-9_]*", path.read_text())}
    own = {NAMES.variable(path) for path in NAMES.paths}
    others = {name for name in named - own if name not in ("ATTUNE_ENGINE__", "ATTUNE_")}
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

    arguments = ["--engine.max-slots", "6", "--engine.quantize=q4_0"]
    assert _more_flags(arguments) == {"engine.max_slots": "6", "engine.quantize": "q4_0"}
    known = load_settings(_more_flags(["--engine.max-slots", "6", "--engine.memory-gib", "3.5"]))
    assert (known.engine.max_slots, known.engine.memory_gib) == (6, 3.5)
    for flags, message in (
        (["--colour", "red"], "--colour is no flag"),
        (["--max-slots", "6"], "--max-slots is no flag of attune serve; it is --engine.max-slots now"),
        (["--engine.max-slots"], "needs a value"),
        (["here"], "here is no flag"),
    ):
        with pytest.raises(CannotStart, match=message):
            _more_flags(flags)


def test_every_setting_and_group_has_a_description_and_every_number_a_range() -> None:
    fields = dict(fields_of(ServeSettings))
    assert [path for path, field in fields.items() if not field.description] == []
    assert [name for name, group in groups_of(ServeSettings).items() if not group.__doc__] == []
    numbers = {path: field for path, field in fields.items() if field.annotation in (int, float)}
    assert len(numbers) > 20
    assert [path for path, field in numbers.items() if not range_of(field)] == []


def test_an_earlier_name_is_a_setting_today() -> None:
    assert not set(RENAMED) & set(NAMES.paths)
    assert set(RENAMED.values()) <= set(NAMES.paths)


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


def test_the_learners_flags_go_to_the_learner() -> None:
    from service.commands import _without_learner_flags

    given = ["--engine.max-slots", "6", "--learner.steps", "30", "--learner.gate.holdout=0", "--limits.body-mb=2"]
    own, learners = _without_learner_flags(given)
    assert own == ["--engine.max-slots", "6", "--limits.body-mb=2"]
    assert learners == ["--steps", "30", "--gate.holdout=0"]
    with pytest.raises(CannotStart, match="^--learner.steps needs a value$"):
        _without_learner_flags(["--learner.steps", "--learner.seed", "3"])
    for name in ("once", "check", "config", "data", "model"):
        with pytest.raises(CannotStart, match=f"--learner.{name} is no setting"):
            _without_learner_flags([f"--learner.{name}", "x"])
