"""Settings: flags over environment over file over defaults, and one line for what cannot be."""

from pathlib import Path

import pytest

from service.errors import CannotStart
from service.settings import ServeSettings, is_loopback, load_settings


def test_flags_come_before_environment_before_file_before_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "attune.toml"
    file.write_text('port = 1\nmodel = "file"\nmax_slots = 7\ncompare = ["a=http://x"]\n[learner]\nanything = "its own"\n')
    monkeypatch.setenv("ATTUNE_PORT", "2")
    monkeypatch.setenv("ATTUNE_MODEL", "environment")
    monkeypatch.setenv("ATTUNE_LEARNER_SEED", "3")
    monkeypatch.setenv("ATTUNE_API_KEY", "the client's, not ours")
    known = load_settings({"port": 3, "host": None}, file)
    assert (known.port, known.model, known.max_slots, known.host, known.compare) == (3, "environment", 7, "127.0.0.1", ("a=http://x",))
    assert known.config == file
    monkeypatch.setenv("ATTUNE_CONFIG", str(file))
    assert load_settings({}).max_slots == 7


def test_lists_in_the_environment_are_separated_by_commas_or_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTUNE_COMPARE", "gpt=https://one/v1, mine=http://two")
    assert load_settings({}).backends == {"gpt": "https://one/v1", "mine": "http://two"}


@pytest.mark.parametrize("wrong", ["nourl", "=http://x", "attune=http://x", "a b=http://x", "a=ftp://x", "attune@3=http://x"])
def test_a_backend_needs_a_name_and_a_url(wrong: str) -> None:
    with pytest.raises(CannotStart, match="NAME=URL") as refused:
        load_settings({"compare": [wrong]})
    assert str(refused.value).startswith("--compare cannot be")
    assert "\n" not in str(refused.value)


def test_every_setting_is_a_flag() -> None:
    from service.commands import _more_flags

    assert _more_flags(["--max-slots", "6", "--quantize=q4_0"]) == {"max_slots": "6", "quantize": "q4_0"}
    known = load_settings(_more_flags(["--max-slots", "6", "--memory-gib", "3.5"]))
    assert (known.max_slots, known.memory_gib) == (6, 3.5)
    for words, said in ((["--colour", "red"], "--colour is no flag"), (["--max-slots"], "needs a value"), (["here"], "here is no flag")):
        with pytest.raises(CannotStart, match=said):
            _more_flags(words)


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in ServeSettings.model_fields.items() if not field.description] == []


def test_loopback_is_this_machine_alone() -> None:
    assert [host for host in ("127.0.0.1", "127.8.8.8", "localhost", "::1", "0.0.0.0", "::", "10.0.0.1", "example.com") if is_loopback(host)] == [
        "127.0.0.1",
        "127.8.8.8",
        "localhost",
        "::1",
    ]
