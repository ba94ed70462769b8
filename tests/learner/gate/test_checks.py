"""The gate passes what is within its limits, and nothing else. NaN is not."""

from dataclasses import fields, replace

import pytest

from learner.gate.checks import Evidence, checks_of, report_of, upper_bound
from learner.settings import GateSettings

GOOD = Evidence(
    gains=(1.0, 0.5, 0.2, 2.0),
    live_kl=1.0,
    base_kl=2.0,
    anchor_kl=0.05,
    length_ratio=0.8,
    endless_rise=0.0,
    empty_rise=0.0,
    weights_finite=True,
)
LIMITS = GateSettings()


def passed(evidence: Evidence) -> bool:
    return bool(report_of(checks_of(evidence, LIMITS))["passed"])


def test_a_good_candidate_passes() -> None:
    report = report_of(checks_of(GOOD, LIMITS))
    assert report["passed"]
    assert report["reasons"] == []
    assert {check["name"] for check in report["checks"]} >= {
        "kl_to_live",
        "retention_kl",
        "held_out_gain",
        "length_ratio",
    }


@pytest.mark.parametrize("name", [field.name for field in fields(Evidence) if field.type in ("float", float)])
def test_what_is_not_a_number_is_rejected(name: str) -> None:
    assert not passed(replace(GOOD, **{name: float("nan")}))


def test_a_held_out_gain_that_is_not_a_number_is_rejected() -> None:
    report = report_of(checks_of(replace(GOOD, gains=(1.0, float("nan"), 1.0, 1.0)), LIMITS))
    assert not report["passed"]
    assert report["checks"][-1]["value"] == "nan"  # a report is JSON


@pytest.mark.parametrize(
    "change",
    [
        {"live_kl": 4.01},
        {"base_kl": 10.1},
        {"anchor_kl": 0.26},
        {"length_ratio": 0.19},
        {"length_ratio": 5.1},
        {"endless_rise": 0.3},
        {"empty_rise": 0.2},
        {"weights_finite": False},
        {"gains": (-1.0, -1.2, -0.9, -1.1, -1.0)},
    ],
)
def test_each_limit_alone_rejects_and_is_named(change: dict[str, object]) -> None:
    report = report_of(checks_of(replace(GOOD, **change), LIMITS))  # type: ignore[arg-type]
    assert not report["passed"]
    assert len(report["reasons"]) == 1


def test_few_held_out_examples_decide_nothing() -> None:
    assert passed(replace(GOOD, gains=(-5.0, -5.0, -5.0)))


def test_noise_around_zero_is_no_reason_to_reject() -> None:
    assert upper_bound((-1.0, 0.9, -0.8, 0.7)) > 0
    assert passed(replace(GOOD, gains=(-1.0, 0.9, -0.8, 0.7)))


def test_one_account_with_most_of_the_held_out_feedback_is_outweighed_and_vetoes_no_update() -> None:
    reversed_by_one, agreed = (-1.0, -0.8) * 30, (0.2, 0.4) * 20
    assert not passed(replace(GOOD, gains=reversed_by_one + agreed))
    capped = (0.1,) * 60 + (1.0,) * 40
    assert passed(replace(GOOD, gains=reversed_by_one + agreed, gain_weights=capped))
    assert not passed(replace(GOOD, gains=reversed_by_one + agreed, gain_weights=capped[::-1]))


def test_equal_weights_change_nothing_and_unequal_ones_widen_the_interval() -> None:
    values = (1.0, 2.0, 4.0, 7.0)
    error = (sum((value - 3.5) ** 2 for value in values) / 3 / 4) ** 0.5
    assert upper_bound(values) == pytest.approx(3.5 + 1.645 * error)
    assert upper_bound(values, (0.3,) * 4) == pytest.approx(upper_bound(values))
    assert upper_bound((-1.0, 1.0) * 4, (8.0, 8.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)) > upper_bound((-1.0, 1.0) * 4)


def test_a_report_of_no_checks_does_not_pass() -> None:
    assert not report_of([])["passed"]


def test_a_fall_of_skills_that_noise_does_not_explain_is_rejected() -> None:
    fell = (-1,) * 30 + (1,) * 4 + (0,) * 90  # right 26 of 124 times less often
    report = report_of(checks_of(replace(GOOD, skill_gains=fell), LIMITS))
    assert not report["passed"]
    assert report["reasons"][0].startswith("skills_to_live is -0.1")
    assert passed(replace(GOOD, skill_gains=(-1,) * 6 + (1,) * 4 + (0,) * 114))


def test_small_falls_that_add_up_against_the_base_model_are_rejected() -> None:
    fell = (-1,) * 20 + (0,) * 104
    report = report_of(checks_of(replace(GOOD, skill_gains=(0,) * 124, base_skill_gains=fell), LIMITS))
    assert [reason.split()[0] for reason in report["reasons"]] == ["skills_to_base"]


def test_a_dozen_probes_decide_nothing() -> None:
    assert passed(replace(GOOD, skill_gains=(-1,) * 12))
