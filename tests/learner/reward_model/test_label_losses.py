"""Examples as labels: rows follow the completions, and each kind has its margin."""

from dataclasses import replace

import torch

from learner.data.examples import CompletionTokens, Example
from learner.reward_model.label_losses import Labels, PairLabel, ThumbLabel, completions_of

GOOD, BAD = CompletionTokens((10, 11, 12, 2)), CompletionTokens((10, 11, 13, 2))
PAIR = Example("pair", (1, 4), GOOD, BAD, "ben", ("a",), 1)
EXAMPLES = [
    replace(PAIR, kind="thumb", bad=None, rater_id="ann", flip_rate=0.1),
    PAIR,
    replace(PAIR, kind="correction", example_weight=1.5),
    replace(PAIR, kind="thumb", good=None),
    replace(PAIR, is_tie=True),
]


def test_rows_are_those_of_the_completions() -> None:
    labels, completions = Labels.of(EXAMPLES), completions_of(EXAMPLES)
    assert labels.pairs == [PairLabel(1, 1, 2), PairLabel(2, 3, 4), PairLabel(4, 6, 7)]
    assert labels.thumbs == [ThumbLabel(0, 0, True, 0), ThumbLabel(3, 5, False, 1)]
    assert labels.raters == ["ann", "ben"]
    assert [ids for _, ids in completions] == [
        GOOD.ids,
        GOOD.ids,
        BAD.ids,
        GOOD.ids,
        BAD.ids,
        BAD.ids,
        GOOD.ids,
        BAD.ids,
    ]


def test_only_a_correction_has_a_margin_half_its_changed_share() -> None:
    labels = Labels.of(EXAMPLES)
    assert labels.margins.tolist() == [0.0, 0.5 * 1 / 4, 0.0]
    assert labels.is_tie.tolist() == [False, False, True]
    assert labels.flip_rates[:2].tolist() == torch.tensor([0.1, 0.0]).tolist()
    assert labels.example_weights.tolist() == [1.0, 1.0, 1.5, 1.0, 1.0]


def test_losses_are_by_head_and_example() -> None:
    labels = Labels.of(EXAMPLES)
    rows = torch.zeros(8, 1)
    rows[0] = 4.0  # the thumb up scores high
    directions = labels.directions(rows)
    assert directions.flatten().tolist() == [4.0, 0.0, 0.0, 0.0, 0.0]
    losses = labels.losses(torch.ones(3, 1) @ directions.T, torch.zeros(3, 2))
    assert losses.shape == (3, 5)
    assert bool((losses[:, 0] < losses[:, 3]).all())
    torch.testing.assert_close(losses[:, 1], torch.full((3,), 2.0).log())
    torch.testing.assert_close(losses[:, 4], torch.full((3,), 2.0).log())


def test_a_direction_is_the_better_row_less_the_worse_or_a_thumb_s_own() -> None:
    rows = torch.arange(8.0)[:, None] ** 2
    assert Labels.of(EXAMPLES).directions(rows).flatten().tolist() == [0.0, 1.0 - 4.0, 9.0 - 16.0, 25.0, 36.0 - 49.0]
