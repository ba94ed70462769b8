"""Settings among command-line arguments."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import ConfigError
from config.fields import as_flag
from config.flags import flags_of
from config.names import Names
from learner.settings import NAMES
from tests.config.conftest import BOTH

TEXT = st.text("a0-=. ", max_size=8).filter(lambda text: not text.startswith("--"))


@given(st.dictionaries(st.sampled_from(NAMES.paths), st.tuples(TEXT, st.booleans())))
def test_flags_with_a_space_or_an_equals_sign_are_read(values: dict[str, tuple[str, bool]]) -> None:
    arguments: list[str] = []
    for path, (text, has_equals) in values.items():
        arguments += [f"{as_flag(path)}={text}"] if has_equals else [as_flag(path), text]
    assert flags_of(arguments, NAMES) == {path: text for path, (text, _) in values.items()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gate.holdout"], "--gate.holdout needs a value"),
        (["--gate.holdout", "--steps", "3"], "--gate.holdout needs a value"),
        (["gate.holdout", "0.1"], "gate.holdout is no flag of the learner; did you mean --gate.holdout?"),
        (["--gate.hold-out", "0.1"], "--gate.hold-out is no flag of the learner; did you mean --gate.holdout?"),
        (["--gate", "0.1"], "--gate is no flag of the learner; it is a group of settings, such as --gate.holdout"),
        (["--holdout", "0.1"], "--holdout is no flag of the learner; it is --gate.holdout now"),
        (["--adam-eps", "0.1"], "--adam-eps is no flag of the learner; it is a setting no more; leave it out"),
        (["--learner.gate.holdout", "1"], "--learner.gate.holdout is no flag of the learner; did you mean"),
        (["--zzz", "1"], "--zzz is no flag of the learner; docs/settings.md lists them all"),
        ([""], " is no flag of the learner"),
    ],
)
def test_an_argument_that_is_no_setting_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        flags_of(arguments, NAMES)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize("names", BOTH)
def test_every_earlier_name_is_refused_with_today_s(names: Names) -> None:
    assert names.renamed
    for name, path in names.renamed.items():
        with pytest.raises(ConfigError) as refused:
            flags_of([as_flag(name), "1"], names)
        assert str(refused.value).endswith(f"it is {as_flag(path)} now" if path else "leave it out")
