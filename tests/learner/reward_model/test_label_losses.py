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
    scores = torch.zeros(3, 8)
    scores[:, 0] = 4.0  # the thumb up scores high
    losses = Labels.of(EXAMPLES).losses(scores, torch.zeros(2))
    assert losses.shape == (3, 5)
    assert bool((losses[:, 0] < losses[:, 3]).all())
    torch.testing.assert_close(losses[:, 1], torch.full((3,), 2.0).log())
    torch.testing.assert_close(losses[:, 4], torch.full((3,), 2.0).log())
