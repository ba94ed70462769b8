"""Training: the same seed gives the same weights, and a resumed run equals an uninterrupted one."""

import json
import re
from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer

from pocket.errors import RunMismatch
from pocket.muon import orthogonalized
from pocket.tokenizer import CHINESE
from pocket.train import PLANS, Run, learning_rate

torch.set_num_threads(2)
TINY = replace(PLANS["nano"], hidden=32, layers=1, heads=2, feed_forward=32, steps=12, tokens=256)


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first")
    Run(TINY, folder)
    return folder / "tokenizer"


def new_run(folder, tokenizer_folder, plan=TINY):
    folder.mkdir(exist_ok=True)
    if not (folder / "tokenizer").exists():
        (folder / "tokenizer").symlink_to(tokenizer_folder)
    return Run(plan, folder)


def weights(run):
    return torch.cat([p.detach().flatten() for p in run.model.parameters()])


def test_same_seed_same_weights_and_a_stopped_run_goes_on(tmp_path, tokenizer_folder):
    whole = new_run(tmp_path / "whole", tokenizer_folder)
    losses = [whole.train_step().item() for _ in range(6)]
    stopped = new_run(tmp_path / "stopped", tokenizer_folder)
    for _ in range(3):
        stopped.train_step()
    stopped.save()
    resumed = new_run(tmp_path / "stopped", tokenizer_folder)
    assert resumed.step == 3
    assert [resumed.train_step().item() for _ in range(3)] == losses[3:]
    assert torch.equal(weights(resumed), weights(whole))


def test_every_weight_moves(tmp_path, tokenizer_folder):
    run = new_run(tmp_path / "run", tokenizer_folder)
    before = {n: p.detach().clone() for n, p in run.model.named_parameters()}
    for _ in range(2):
        run.train_step()
    assert all(not torch.equal(p, before[n]) for n, p in run.model.named_parameters())


def test_a_run_does_not_go_on_under_other_settings(tmp_path, tokenizer_folder):
    run = new_run(tmp_path / "run", tokenizer_folder)
    for _ in range(3):
        run.train_step()
    run.save()
    assert new_run(tmp_path / "run", tokenizer_folder, replace(TINY, steps=20)).step == 3
    with pytest.raises(RunMismatch, match="other settings"):
        new_run(tmp_path / "run", tokenizer_folder, replace(TINY, seed=1))
    with pytest.raises(RunMismatch, match="other settings"):  # too late: with four steps the rate falls earlier
        new_run(tmp_path / "run", tokenizer_folder, replace(TINY, steps=4))


def test_learning_rate_is_the_same_for_two_lengths_until_half_of_the_shorter():
    short, long = replace(TINY, steps=100), replace(TINY, steps=200)
    assert [learning_rate(short, s) for s in range(50)] == [learning_rate(long, s) for s in range(50)]
    assert learning_rate(short, 99) < learning_rate(long, 99)


@pytest.mark.parametrize("shape", [(3, 8, 20), (2, 20, 8)])
def test_orthogonalized_has_singular_values_near_one(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalized(torch.randn(shape)))
    assert values.min() > 0.5
    assert values.max() < 1.4


def test_no_token_joins_chinese_characters_although_readers_see_a_plain_splitter(tokenizer_folder):
    tokenizer = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    chinese = re.compile(CHINESE)
    texts = [tokenizer.decode([number]) for number in range(tokenizer.get_vocab_size())]
    assert sum(bool(chinese.fullmatch(text)) for text in texts) > 200
    assert not [text for text in texts if chinese.search(text) and not chinese.fullmatch(text)]
    kinds = [
        part["type"]
        for part in json.loads((tokenizer_folder / "tokenizer.json").read_text())["pre_tokenizer"]["pretokenizers"]
    ]
    assert kinds == ["Digits", "ByteLevel"]
