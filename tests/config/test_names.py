"""Names that are no settings are refused, with advice."""

from collections.abc import Callable

import pytest

from config.errors import ConfigError
from config.fields import groups_of
from config.names import Names
from learner.settings import NAMES as LEARNER
from service.settings import NAMES as SERVICE
from tests.config.conftest import BOTH, EVERY_PATH


@pytest.mark.parametrize(("names", "path"), EVERY_PATH)
def test_a_variable_with_one_letter_more_is_refused(names: Names, path: str) -> None:
    variable = names.variable(path)
    with pytest.raises(ConfigError, match="no setting of"):
        names.check_environment({f"{variable}X": "1"})
    names.check_environment({variable: "1", variable.lower(): "1"})


@pytest.mark.parametrize("names", BOTH)
def test_every_earlier_variable_is_refused_with_today_s(names: Names) -> None:
    prefix = "ATTUNE_LEARNER_" if names.table else "ATTUNE_"
    for name, path in names.renamed.items():
        with pytest.raises(ConfigError) as refused:
            names.check_environment({prefix + name.upper(): "1"})
        assert str(refused.value).endswith(f"it is {names.variable(path)} now" if path else "leave it out")


@pytest.mark.parametrize("spelled", [str, lambda path: f"--{path}"])
def test_advice_is_in_the_spelling_that_was_asked_for(spelled: Callable[[str], str]) -> None:
    assert LEARNER.advice("gate.holdot", spelled) == f"did you mean {spelled('gate.holdout')}?"
    assert LEARNER.advice("holdout", spelled) == f"it is {spelled('gate.holdout')} now"
    assert LEARNER.advice("sampler.rater_cap", spelled) == f"did you mean {spelled('trust.rater_cap')}?"


def test_only_a_variable_may_be_meant_for_a_client() -> None:
    assert SERVICE.unknown_variable("ATTUNE_API_KE", "api_ke").endswith("did you mean ATTUNE_API_KEY?")
    assert "api_key" not in SERVICE.advice("api_ke")


@pytest.mark.parametrize("names", BOTH)
def test_every_group_misspelled_is_advised(names: Names) -> None:
    for group in groups_of(names.kind):
        table = f"{names.table}.{group}" if names.table else group
        assert names.table_advice(group + "x") == f"did you mean [{table}]?"


@pytest.mark.parametrize("names", BOTH)
def test_variables_that_docker_and_kubernetes_set_are_ignored(names: Names) -> None:
    for service in ("ATTUNE", "ATTUNE_LEARNER"):
        names.check_environment(
            {
                f"{service}_SERVICE_HOST": "10.0.0.1",
                f"{service}_SERVICE_PORT_HTTP": "80",
                f"{service}_WEB_PORT": "tcp://10.0.0.1:80",
                f"{service}_PORT_80_TCP_ADDR": "10.0.0.1",
            }
        )


def test_the_service_ignores_the_learner_s_variables_and_the_learner_those_of_the_service() -> None:
    SERVICE.check_environment({LEARNER.variable(path): "1" for path in LEARNER.paths})
    LEARNER.check_environment({SERVICE.variable(path): "1" for path in SERVICE.paths})
