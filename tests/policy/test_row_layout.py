"""Batches of rows of similar length."""

from policy.row_layout import length_buckets


def test_buckets_hold_every_index_once_within_the_budget() -> None:
    lengths = [(37 * step) % 100 + 1 for step in range(200)] + [500]
    batches = length_buckets(lengths, 256)
    assert sorted(index for batch in batches for index in batch) == list(range(201))
    for batch in batches:
        longest = max(lengths[index] for index in batch)
        assert longest * len(batch) <= 256 or len(batch) == 1
    real = sum(lengths)
    padded = sum(max(lengths[index] for index in batch) * len(batch) for batch in batches)
    assert padded < 1.06 * real
    shuffled = length_buckets(lengths, 256, seed=3)
    assert shuffled != batches
    assert sorted(map(tuple, shuffled)) == sorted(map(tuple, batches))
    assert shuffled == length_buckets(lengths, 256, seed=3)
