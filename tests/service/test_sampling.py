"""How an answer is sampled where the request does not say: as the settings say, else as the model's makers do."""

import json
from pathlib import Path
from typing import Any

import pytest

from policy.errors import ModelCorrupt
from policy.generation_config import sampling_of
from service.sampling import PLAIN, defaults_of
from service.settings import SamplingDefaults
from tests.service.parrot import ParrotModel
from tests.service.running import Running, running

MAKERS = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "presence_penalty": 1.5, "repetition_penalty": 1.1}


def recorded(served: Running) -> dict[str, Any]:
    """Return the settings that are kept with the newest completion."""
    with served.db() as db:
        row = next(iter(db.query("SELECT settings FROM completions ORDER BY rowid DESC LIMIT 1")))
    settings: dict[str, Any] = json.loads(row["settings"])
    return {name: settings[name] for name in PLAIN if name in settings}


def test_the_request_comes_before_the_settings_before_the_makers(tmp_path: Path) -> None:
    with running(tmp_path, ParrotModel(sampling=MAKERS), sampling__top_p=0.5) as served:
        served.chat("Hello!")
        usual = {**PLAIN, **MAKERS, "top_p": 0.5}
        assert recorded(served) == usual
        served.chat("Hello!", temperature=0, top_k=0, top_p=1, presence_penalty=0, frequency_penalty=0.25, min_p=0.1)
        changed = {"temperature": 0.0, "frequency_penalty": 0.25, "repetition_penalty": 1.1, "min_p": 0.1}
        assert recorded(served) == {**PLAIN, **changed}
        served.openai().completions.create(model="attune", prompt="Hello!")
        assert recorded(served) == usual
        ask = {"messages": [{"role": "user", "content": "Hello!"}]}
        assert served.http.post("/v1/comparisons", json=ask).status_code == 201
        assert recorded(served) == usual
        assert (
            served.http.post("/v1/comparisons", json={**ask, "min_p": 0.2, "repetition_penalty": 1}).status_code == 201
        )
        assert recorded(served) == {**usual, "min_p": 0.2, "repetition_penalty": 1.0}


def test_a_backend_is_sent_only_what_somebody_named(tmp_path: Path) -> None:
    with running(tmp_path / "there", ParrotModel(sampling={"top_k": 7})) as there:
        makers = ParrotModel(sampling=MAKERS)
        with running(tmp_path / "here", makers, compare=(f"other={there.url}",), sampling__top_p=0.5) as here:
            here.chat("Hello!", model="other")
            assert recorded(here) == {"top_p": 0.5}
            assert recorded(there) == {**PLAIN, "top_p": 0.5, "top_k": 7}
            here.chat("Hello!", model="other", temperature=0.3)
            assert recorded(here) == {"top_p": 0.5, "temperature": 0.3}


def test_without_makers_the_model_answers_from_its_own_distribution() -> None:
    assert defaults_of(SamplingDefaults(), {}) == PLAIN
    assert defaults_of(SamplingDefaults(temperature=0.0, top_k=0), MAKERS) == {
        **PLAIN,
        **MAKERS,
        "temperature": 0.0,
        "top_k": 0,
    }


@pytest.mark.parametrize(
    ("named", "read"),
    [
        ({"temperature": 0.7, "top_p": 0.8, "top_k": 20}, {"temperature": 0.7, "top_p": 0.8, "top_k": 20}),
        ({"temperature": 1, "top_k": 40.0}, {"temperature": 1.0, "top_k": 40}),
        ({"repetition_penalty": 1.05, "min_p": 0.1}, {"repetition_penalty": 1.05, "min_p": 0.1}),
        ({"repetition_penalty": 0, "min_p": 1.5}, {}),
        ({"temperature": -1, "top_p": -0.1, "top_k": 1.5, "presence_penalty": 9}, {}),
        ({"temperature": "hot", "top_p": True, "top_k": None, "frequency_penalty": [1]}, {}),
        ({"temperature": float("nan"), "top_p": float("inf")}, {}),
        ({"eos_token_id": 2, "max_new_tokens": 9}, {}),
    ],
)
def test_what_a_generation_config_can_name(named: dict[str, Any], read: dict[str, float], tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps(named))
    assert sampling_of(tmp_path) == read


def test_a_model_without_a_generation_config_names_nothing_and_a_broken_one_is_one_line(tmp_path: Path) -> None:
    assert sampling_of(tmp_path) == {}
    for broken in ("{", "[]", ""):
        (tmp_path / "generation_config.json").write_text(broken)
        with pytest.raises(ModelCorrupt, match="repair it, or remove it") as caught:
            sampling_of(tmp_path)
        assert "\n" not in str(caught.value)


def test_what_no_runner_has_is_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"no_repeat_ngram_size": 3, "typical_p": 1.0}))
    assert sampling_of(tmp_path) == {}
    assert "asks for no_repeat_ngram_size 3" in caplog.text
    assert "typical_p" not in caplog.text
