"""The heads are at the optimum of a known likelihood, wherever the fit begins; length is apart from the rest."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from learner.data.examples import CompletionTokens, Example
from learner.model.features import NUM_SCALARS
from learner.reward_model import training
from learner.reward_model.frame import Frame
from learner.reward_model.model import RewardModel
from learner.reward_model.training import fitted_reward_model

HIDDEN = 6
D = HIDDEN + NUM_SCALARS


def features(count: int, seed: int = 0) -> Tensor:
    """Features of `count` completions, numbered by the token id that stands for them."""
    return torch.randn(count, D, generator=torch.Generator().manual_seed(seed))


def pairs(table: Tensor, worth: Tensor, *, count: int, seed: int = 1) -> list[Example]:
    """Choices between random completions, drawn from Bradley-Terry on their worth."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for number in range(1, count + 1):
        a, b = torch.randperm(len(table), generator=generator)[:2].tolist()
        first = torch.rand((), generator=generator) < torch.sigmoid(worth[a] - worth[b])
        good, bad = (a, b) if first else (b, a)
        sides = CompletionTokens((good,)), CompletionTokens((bad,))
        found.append(Example("pair", (1,), *sides, f"r{number % 3}", (f"f{number}",), number))
    return found


def fitted(table: Tensor, examples: Sequence[Example], **how: object) -> RewardModel:
    def features_of(completions: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> Tensor:
        return torch.stack([table[ids[0]] for _, ids in completions])

    given = {"min_labels": 1, "base_digest": "base", "seed": 0, "frame": Frame.of(table)} | how
    return fitted_reward_model(features_of, examples, **given)[0]  # type: ignore[arg-type]


def newton(directions: Tensor, deviation: Tensor, bias_of: Tensor | None = None, up: Tensor | None = None) -> Tensor:
    """Return the ridge-penalized logistic optimum (D + K,) by Newton's method, with K thresholds after the weights."""
    rows = directions if up is None else torch.where(up[:, None], directions, -directions)
    precision = deviation.double() ** -2
    if bias_of is not None and up is not None:
        signs = torch.where(up, -1.0, 1.0).double()
        rows = torch.cat([rows, torch.nn.functional.one_hot(bias_of).double() * signs[:, None]], 1)
        precision = torch.cat([precision, torch.ones(int(bias_of.max()) + 1).double()])
    weights = torch.zeros(rows.size(1)).double()
    for _ in range(50):
        chance = torch.sigmoid(-(rows @ weights))
        gradient = -(rows * chance[:, None]).sum(0) + precision * weights
        curvature = (rows.T * (chance * (1 - chance))) @ rows + torch.diag(precision)
        weights = weights - torch.linalg.solve(curvature, gradient)
    return weights


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads without a draw of their own and without resampling: each is the maximum a posteriori."""
    monkeypatch.setattr(training, "bootstrap_weights", lambda heads, numbers, seed: torch.ones(heads, len(numbers)))
    drawn = training.RewardHeads

    def at_zero(deviation: Tensor, num_heads: int, *, seed: int) -> object:
        heads = drawn(deviation, num_heads, seed=seed)
        heads.initial.zero_()
        return heads

    monkeypatch.setattr(training, "RewardHeads", at_zero)


@pytest.mark.usefixtures("plain")
def test_choices_give_the_ridge_bradley_terry_fit() -> None:
    table = features(60)
    examples = pairs(table, 2.0 * table[:, 0] - table[:, -1], count=150)
    model = fitted(table, examples)
    rows = model.frame.rows(table).double()
    directions = torch.stack([rows[one.good.ids[0]] - rows[one.bad.ids[0]] for one in examples if one.good and one.bad])
    expected = newton(directions, model.frame.deviation)
    for head in model.heads.weight.detach().double():
        torch.testing.assert_close(head, expected, atol=2e-4, rtol=1e-3)


@pytest.mark.usefixtures("plain")
def test_thumbs_give_the_logistic_fit_with_a_threshold_for_each_person() -> None:
    table = features(80)
    generator, examples = torch.Generator().manual_seed(2), []
    for number in range(80):
        easy = number % 2 == 0  # this person likes most answers
        up = bool(torch.rand((), generator=generator) < torch.sigmoid(table[number, 0] + (1.5 if easy else -1.0)))
        side = CompletionTokens((number,))
        rater = "a" if easy else "b"
        examples.append(
            Example("thumb", (1,), side if up else None, None if up else side, rater, (str(number),), number)
        )
    model = fitted(table, examples)
    ups = torch.tensor([example.up for example in examples])
    raters = torch.arange(80) % 2
    expected = newton(model.frame.rows(table).double(), model.frame.deviation, raters, ups)
    torch.testing.assert_close(model.heads.weight[0].detach().double(), expected[:D], atol=2e-4, rtol=1e-3)
    assert model.biases == pytest.approx({"a": float(expected[D]), "b": float(expected[D + 1])}, abs=1e-3)
    assert model.biases["a"] < model.biases["b"]


def test_the_optimum_does_not_depend_on_where_the_fit_begins() -> None:
    table = features(60)
    examples = pairs(table, table[:, 0], count=80)
    opposite = fitted(table, pairs(table, -5.0 * table[:, 0], count=200, seed=9))
    cold, warm = fitted(table, examples), fitted(table, examples, start=opposite)
    assert (opposite.heads.weight - cold.heads.weight).abs().max() > 0.3
    torch.testing.assert_close(warm.heads.weight, cold.heads.weight, atol=1e-3, rtol=0)


def test_one_choice_is_enough_to_lean_and_the_heads_stay_unsure() -> None:
    table = features(60)
    one = fitted(table, pairs(table, table[:, 0], count=1))
    many = fitted(table, pairs(table, table[:, 0], count=400))
    assert one.scores(table).std(0).mean() > 1.3 * many.scores(table).std(0).mean()
    assert one.rewards(table, pessimism=0.0).abs().mean() < many.rewards(table, pessimism=0.0).abs().mean()


def test_beyond_the_lengths_that_were_rated_length_earns_no_more() -> None:
    table = features(60)
    table[:, -1] = torch.linspace(1.0, 4.0, 60)
    model = fitted(table, pairs(table, 3.0 * table[:, -1], count=200))
    longer = table[:1].repeat(4, 1)
    longer[:, -1] = torch.tensor([2.0, 3.9, 5.0, 50.0])
    scores = model.scores(longer).mean(0)
    assert scores[0] < scores[1] < scores[2]
    assert scores[2] == scores[3]


def test_what_hidden_states_show_of_the_length_is_taken_out_of_the_score_at_equal_length() -> None:
    table = features(200)
    table[:, -1] = torch.randn(200, generator=torch.Generator().manual_seed(5))
    table[:, 0] = table[:, -1] + 0.05 * table[:, 1]  # the hidden state is nearly the length
    model = fitted(table, pairs(table, 2.0 * table[:, -1], count=400))
    whole, apart = model.scores(table).mean(0), model.equal_length_scores(table).mean(0)

    def correlation(values: Tensor) -> float:
        return float(torch.corrcoef(torch.stack([values, table[:, -1]]))[0, 1])

    assert correlation(whole) > 0.9
    assert abs(correlation(apart)) < 0.35
    assert apart.std() < 0.2 * whole.std()
