"""The first losses of a real DPOTrainer and of our loss in a plain loop agree on a tiny model."""

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from learner.algorithms.dpo import PairLogps, sigmoid_loss
from learner.algorithms.reduction import Term, combine

pytest.importorskip("trl", reason="the oracle needs trl")
VOCAB, BETA, LR, PAIRS_PER_STEP, NUM_STEPS = 64, 0.1, 1e-3, 4, 3
PAD, BOS, EOS, UNKNOWN = range(4)
Pair = dict[str, list[int]]


def pairs() -> list[Pair]:
    rng = random.Random(1)

    def ids(low: int, high: int) -> list[int]:
        return [rng.randrange(4, VOCAB) for _ in range(rng.randint(low, high))]

    batch = [
        {"prompt": ids(5, 5), "chosen": [*ids(2, 9), EOS], "rejected": [*ids(2, 9), EOS]} for _ in range(PAIRS_PER_STEP)
    ]
    return batch * NUM_STEPS  # the same pairs again, so that each step's effect shows in the next loss


def tiny_model() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config)


def tiny_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<pad>": PAD, "<bos>": BOS, "<eos>": EOS, "<unk>": UNKNOWN} | {f"t{i}": i for i in range(4, VOCAB)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>"
    )


def trl_losses(folder: Path) -> list[float]:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    def text(ids: list[int]) -> str:
        return " ".join(f"t{i}" for i in ids if i != EOS)

    rows = [
        {"prompt": text(p["prompt"]), "chosen": " " + text(p["chosen"]), "rejected": " " + text(p["rejected"])}
        for p in pairs()
    ]
    config = DPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=PAIRS_PER_STEP,
        max_steps=NUM_STEPS,
        learning_rate=LR,
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        beta=BETA,
        train_sampling_strategy="sequential",
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        max_length=None,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        logging_strategy="no",
    )
    model = tiny_model()
    trainer = DPOTrainer(
        model=model,
        ref_model=copy.deepcopy(model),
        args=config,
        processing_class=tiny_tokenizer(),
        train_dataset=Dataset.from_list(rows),
    )
    seen: list[float] = []
    compute = trainer.compute_loss

    def recorded(*args: Any, **kwargs: Any) -> Any:
        loss = compute(*args, **kwargs)
        seen.append((loss[0] if isinstance(loss, tuple) else loss).item())
        return loss

    trainer.compute_loss = recorded
    trainer.train()
    return seen


def completion_logps(model: Any, batch: list[Pair], side: str) -> Tensor:
    """Return (B,), each row by itself: without padding, mask, or code under test."""
    sums = []
    for pair in batch:
        ids = torch.tensor([pair["prompt"] + pair[side]])
        logps = model(input_ids=ids, use_cache=False).logits[0, :-1].log_softmax(-1)
        first = len(pair["prompt"]) - 1
        sums.append(logps[first:].gather(1, ids[0, first + 1 :, None]).sum())
    return torch.stack(sums)


def our_losses() -> list[float]:
    model = tiny_model()
    reference = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.0)
    data, seen = pairs(), []
    for start in range(0, len(data), PAIRS_PER_STEP):
        batch = data[start : start + PAIRS_PER_STEP]
        policy, ref = (
            PairLogps(completion_logps(m, batch, "chosen"), completion_logps(m, batch, "rejected"))
            for m in (model, reference)
        )
        values = sigmoid_loss(policy, ref, beta=BETA)
        loss, _ = combine([Term("pair", values, torch.ones(len(batch)), len(batch))])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seen.append(loss.item())
    return seen


def test_first_losses_agree(tmp_path: Path) -> None:
    ours, theirs = our_losses(), trl_losses(tmp_path)
    assert len(theirs) == NUM_STEPS
    assert ours == pytest.approx(theirs, abs=1e-5)
    assert ours[0] - ours[-1] > 1e-3, "the steps changed nothing, so this compared one model with itself"
