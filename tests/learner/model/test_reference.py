"""Reference log-probabilities: those on record where they can be trusted, computed ones elsewhere, each only once."""

from collections.abc import Callable

import pytest
import torch

from learner.data.examples import CompletionTokens, Example
from learner.model.reference import Reference
from learner.model.resident import Resident
from learner.model.scoring import completion_logps
from learner.settings import LearnerSettings

Build = Callable[..., LearnerSettings]


@pytest.fixture
def resident(make_settings: Build) -> Resident:
    made = Resident(make_settings())
    made.become(None, 0)
    return made


def example(resident: Resident, number: int, *, version: int = 0, off: float = 0.0) -> Example:
    prompt, ids = (1, 4, 20 + number, 2, 5), (50 + number, 51, 2)
    (logps,) = completion_logps(resident.model, [(prompt, ids)], 4096)
    return Example(
        "thumb",
        prompt,
        CompletionTokens(ids, tuple((logps + off).tolist()), version),
        None,
        "ann",
        (f"f{number}",),
        number,
    )


def test_what_the_live_version_sampled_is_on_record(resident: Resident) -> None:
    reference, examples = Reference(resident, 4096), [example(resident, n, off=0.001) for n in range(10)]
    audit = reference.learn(examples, live=0, seed=0)
    assert (audit.trusted, audit.checked) == (True, 4)
    assert audit.mean_difference == pytest.approx(0.001, abs=1e-4)
    used = [reference.token_logps(e.prompt_ids, e.completions[0].ids) for e in examples]
    recorded = [torch.tensor(e.completions[0].logps) for e in examples]
    assert sum(torch.equal(one, other) for one, other in zip(used, recorded, strict=True)) == 6  # all but the audited


@pytest.mark.parametrize("off", [0.1, float("nan")])
def test_records_that_are_off_are_computed_again(resident: Resident, off: float) -> None:
    reference, examples = Reference(resident, 4096), [example(resident, n, off=off) for n in range(10)]
    assert not reference.learn(examples, live=0, seed=0).trusted
    right = torch.stack(
        [
            logps.sum()
            for logps in completion_logps(
                resident.model, [(e.prompt_ids, e.completions[0].ids) for e in examples], 4096
            )
        ]
    )
    assert torch.allclose(reference.sums(examples), right, atol=1e-5)


def test_completions_of_other_versions_and_of_people_are_computed(resident: Resident) -> None:
    reference = Reference(resident, 4096)
    other = example(resident, 1, version=3, off=5.0)
    assert reference.learn([other], live=0, seed=0).checked == 0
    (right,) = completion_logps(resident.model, [(other.prompt_ids, other.completions[0].ids)], 4096)
    assert torch.allclose(reference.sums([other]), right.sum(), atol=1e-5)


def test_only_a_sample_is_computed_twice_for_a_version_and_everything_again_for_another(
    resident: Resident, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, computed = Reference(resident, 4096), []

    def counted(model: torch.nn.Module, completions: list[object], budget: int) -> list[torch.Tensor]:
        computed.append(len(completions))
        return completion_logps(model, completions, budget)  # type: ignore[arg-type]

    monkeypatch.setattr("learner.model.reference.completion_logps", counted)
    items = [example(resident, n, version=7) for n in range(100)]
    reference.learn(items, live=0, seed=0)
    reference.learn(items, live=0, seed=0)
    assert [count for count in computed if count] == [100, 5]  # 5 % of what is cached
    resident.parent_digest = "another version"
    reference.learn(items, live=1, seed=0)
    assert sum(computed) == 205


def test_what_is_cached_and_not_so_any_more_is_computed_again(
    resident: Resident, caplog: pytest.LogCaptureFixture
) -> None:
    reference, items = Reference(resident, 4096), [example(resident, n, version=7) for n in range(10)]
    reference.learn(items, live=0, seed=0)
    with torch.no_grad():
        resident.model.get_output_embeddings().weight.mul_(1.5)  # the weights have changed behind the version's back
    reference.learn(items, live=0, seed=0)
    assert "cached log-probabilities are off" in caplog.text
    right = torch.stack(
        [
            logps.sum()
            for logps in completion_logps(resident.model, [(e.prompt_ids, e.completions[0].ids) for e in items], 4096)
        ]
    )
    assert torch.allclose(reference.sums(items), right, atol=1e-5)
