"""Old SDKs with new services and the other way round: unknown fields, missing fields and wrong types."""

import math
from dataclasses import fields, is_dataclass

import pytest

import attune
from attune._answer_data import answers_of
from attune._questions import asked
from attune._types.reading import read

RECORDS = [kind for name in attune.__all__ if is_dataclass(kind := getattr(attune, name)) and not hasattr(kind, "rate")]


@pytest.mark.parametrize("kind", RECORDS)
def test_records_are_frozen(kind: type) -> None:
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]


def test_unknown_fields_are_ignored_at_every_depth() -> None:
    body = {
        "version": 3,
        "state": "live",
        "mood": "good",
        "thumbs": {"up": 2, "sideways": 1},
        "gate": {"passed": True, "checks": [{"name": "kl", "unit": "nat"}]},
    }
    version = read(attune.Version, body)
    assert version.thumbs == attune.Tally(up=2)
    assert version.gate is not None
    assert version.gate.checks == (attune.Check("kl"),)


def test_missing_and_null_fields_have_defaults() -> None:
    assert read(attune.Learner, {"state": "idle", "waiting": None, "run": None}) == attune.Learner("idle")


def test_numbers_that_json_wrote_without_a_point_are_floats() -> None:
    trigger = read(attune.Trigger, {"items": 16, "seconds": 20, "min_items": 4})
    assert isinstance(trigger.seconds, float)
    interval = read(attune.Version, {"version": 1, "win_rate": 1, "win_rate_interval": [0, 1]})
    assert (interval.win_rate, interval.win_rate_interval) == (1.0, (0.0, 1.0))


def test_numbers_that_json_does_not_have_arrive_as_text() -> None:
    check = read(attune.Check, {"name": "kl_to_live", "value": "nan", "limit": "<= 4"})
    assert check.value is not None
    assert math.isnan(check.value)
    assert check.limit == "<= 4"


@pytest.mark.parametrize("body", [None, [], "text", 3, {}, {"state": "live"}, {"version": None}])
def test_what_is_no_version_is_refused(body: object) -> None:
    with pytest.raises(attune.UnexpectedResponse):
        read(attune.Version, body)


def test_every_record_can_be_made_from_its_own_fields() -> None:
    for kind in RECORDS:
        known = {field.name for field in fields(kind)}
        body = {
            name: value
            for name, value in {"id": "x", "version": 1, "state": "s", "label": "A", "name": "n"}.items()
            if name in known
        }
        body |= {
            name: "t"
            for name in ("completion_id", "content", "role", "winner", "text", "token", "kind")
            if name in known
        }
        body |= {name: 1 for name in ("seq", "logprob") if name in known}
        body |= {name: [] for name in ("messages",) if name in known}
        body |= {name: True for name in ("alive", "ready") if name in known}
        if kind is not attune.Retry and not kind.__name__.endswith("Comparison"):
            assert isinstance(read(kind, body), kind)


@pytest.mark.parametrize(
    ("model", "header", "version"),
    [("attune@12", None, 12), ("attune", "7", 7), ("gpt-x", None, None), ("a@b", None, None)],
)
def test_the_version_is_read_from_the_model_name(model: str, header: str | None, version: int | None) -> None:
    body = {"id": "c", "model": model, "choices": [{"index": 0, "message": {"content": None}}]}
    answer = answers_of(body, header, asked("Hi", "attune", {}))[0]
    assert (answer.version, answer.text) == (version, "")
