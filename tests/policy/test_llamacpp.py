"""What is llama.cpp's alone: kept prompts, long and short memory, weights of few bits, and adapters beside them."""

import ctypes
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.array_sampler import likeliest, sampled_token, token_logps
from policy.errors import UnsupportedModel
from policy.gguf_files import KEPT, adapter_gguf, base_gguf, write_adapter
from policy.gguf_shapes import reasons_against_gguf
from policy.model import read_config
from policy.runners import llamacpp, llamacpp_library
from policy.runners.base import RunnerOptions, SamplingSettings
from policy.runners.llamacpp import LlamaCppEngine
from policy.sampler import generate, sampled_tokens
from tests.models import FAMILIES, LLAMA3, tiny_adapter, tiny_config, tiny_model
from tests.policy.conftest import plain_model, rounded_model, source_of

GREEDY = SamplingSettings(temperature=0.0, max_tokens=12)
PROMPTS = [[1, 4, *range(60 + 11 * number, 90 + 12 * number), 5] for number in range(12)]
SETTINGS = st.builds(
    SamplingSettings,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 1.7]),
    top_p=st.sampled_from([1.0, 0.95, 0.5, 0.01]),
    top_k=st.sampled_from([0, 1, 3, 1000]),
    presence_penalty=st.sampled_from([0.0, 0.7, -1.0]),
    frequency_penalty=st.sampled_from([0.0, 0.4]),
    repetition_penalty=st.sampled_from([1.0, 1.3, 0.7]),
    min_p=st.sampled_from([0.0, 0.1, 1.0]),
    seed=st.integers(0, 9),
)


@pytest.fixture
def engine(models: Callable[[str], Path], tmp_path: Path) -> Iterator[Callable[..., LlamaCppEngine]]:
    """Engines in this process, closed at the end."""
    made: list[LlamaCppEngine] = []

    def make(shape: str = "llama", *, adapter: Path | None = None, **options: Any) -> LlamaCppEngine:
        source = source_of(models(shape), tmp_path, adapter=adapter)
        made.append(LlamaCppEngine(source, RunnerOptions(**({"threads": 1, "max_batch": 8} | options))))
        return made[-1]

    yield make
    for one in made:
        one.close()


def completions(engine: LlamaCppEngine, requests: list[tuple[list[int], SamplingSettings]]) -> list[Any]:
    """Return (ids, logps, finish) of all requests, generated together."""
    found: list[Any] = [([], [], "") for _ in requests]
    for number, (prompt, setting) in enumerate(requests):
        engine.add(str(number), prompt, setting)
    while engine.busy:
        for delta in engine.advance():
            ids, logps, _ = found[int(delta.request_id)]
            found[int(delta.request_id)] = ([*ids, *delta.ids], [*logps, *delta.logps], delta.finish or "")
    return found


def same(ours: list[Any], theirs: list[Any]) -> bool:
    """Whether ids and finish are equal and log-probabilities within 1e-4."""
    return all(
        (one[0], one[2]) == (other[0], other[2]) and np.allclose(one[1], other[1], atol=1e-4)
        for one, other in zip(ours, theirs, strict=True)
    )


@given(SETTINGS, st.integers(0, 10_000), st.sampled_from([0.5, 3.0]))
@settings(max_examples=150, deadline=None)
def test_the_sampler_in_numpy_is_the_plain_one(setting: SamplingSettings, seed: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    logits = (scale * random.normal(size=3000)).astype(np.float32)
    prompt = random.integers(0, 3000, 40).tolist()
    history = [int(token) for token in random.integers(0, 40, 30)]
    tokens, logps = sampled_tokens(torch.from_numpy(logits)[None], [setting], [history], [prompt])
    token, logp = sampled_token(logits, setting, history, prompt)
    assert token == tokens[0]
    assert logp == pytest.approx(logps[0], abs=1e-5)
    exact = torch.log_softmax(torch.from_numpy(logits).double(), -1)
    assert token_logps(logits[None], [7]) == pytest.approx([float(exact[7])], abs=1e-5)
    assert [token for token, _ in likeliest(logits, 5)] == exact.topk(5).indices.tolist()


def test_the_next_turn_computes_new_tokens_only_and_gives_the_same_log_probabilities(
    engine: Callable[..., LlamaCppEngine],
) -> None:
    warm = engine()
    conversation = PROMPTS[0]
    for turn in range(3):
        before = warm.reused
        seen = completions(warm, [(conversation, replace(GREEDY, temperature=1.0, seed=turn))])
        assert warm.reused - before == (0 if turn == 0 else len(conversation) - 8)  # all but a new question
        cold = completions(engine(), [(conversation, replace(GREEDY, temperature=1.0, seed=turn))])
        assert same(seen, cold)
        conversation = [*conversation, *seen[0][0], 2, 4, *range(100 + turn, 104 + turn), 5]


def test_answers_to_one_question_share_its_prompt(engine: Callable[..., LlamaCppEngine]) -> None:
    prompt = list(range(6, 106))
    requests = [(prompt, replace(GREEDY, temperature=1.0, seed=seed)) for seed in range(6)]
    together = engine()
    seen = completions(together, requests)
    assert together.reused == 5 * (len(prompt) - 1)
    assert same(seen, [completions(engine(), [request])[0] for request in requests])


def test_more_generations_than_sequences_wait_their_turn(engine: Callable[..., LlamaCppEngine]) -> None:
    requests = [(prompt, replace(GREEDY, temperature=1.0, seed=n)) for n, prompt in enumerate(PROMPTS)]
    seen = completions(engine(max_batch=3), requests)
    assert same(seen, completions(engine(max_batch=64), requests))


def test_long_generations_share_memory_and_outgrown_ones_move(
    engine: Callable[..., LlamaCppEngine], models: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SHORT": 256, "AHEAD": 16}.items():
        monkeypatch.setattr(llamacpp, name, value)
    tight = engine(kv_gib=1024 * 512 / 2**30)  # 1,024 tokens of 512 bytes
    assert [(shape.cells, shape.sequences, shape.is_shared) for shape in tight._shapes] == [
        (768, 3, False),
        (512, 9, True),
    ]
    requests = [
        (PROMPTS[0], replace(GREEDY, max_tokens=300)),  # begins in the short memory
        (PROMPTS[1], replace(GREEDY, max_tokens=40)),
        (list(range(6, 306)), replace(GREEDY, max_tokens=20)),  # too long for it
        (list(range(7, 307)), replace(GREEDY, max_tokens=100)),  # no room beside the one before
    ]
    seen = completions(tight, requests)
    model = plain_model(models("llama"))
    for (ids, logps, finish), (prompt, setting) in zip(seen, requests, strict=True):
        assert (len(ids), finish) == (setting.max_tokens, "length")
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
        exact = torch.log_softmax(logits, -1).gather(1, torch.tensor(ids)[:, None])[:, 0]
        assert np.abs(np.array(logps) - exact.numpy()).mean() < 0.02  # float16 in the shared memory
    assert tight.active == 0


def test_scores_wait_for_room_and_open_generations_go_on(
    engine: Callable[..., LlamaCppEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llamacpp, "SHORT", 256)
    tight = engine(kv_gib=1024 * 512 / 2**30)
    tight.add("long", list(range(6, 306)), replace(GREEDY, max_tokens=60))
    tight.advance()
    scores = tight.score([(list(range(8, 308)), [9, 10, 11])])
    deltas = tight.advance()
    while tight.busy:
        deltas += tight.advance()
    assert sum(len(delta.ids) for delta in deltas) in (59, 60)
    assert deltas[-1].finish == "length"
    assert scores[0] == pytest.approx(engine().score([(list(range(8, 308)), [9, 10, 11])])[0], abs=0.1)


def test_an_adapter_is_loaded_beside_mapped_weights(
    engine: Callable[..., LlamaCppEngine], tmp_path: Path, models: Callable[[str], Path]
) -> None:
    from peft import PeftModel

    adapter = tiny_adapter(models("llama"), tmp_path / "adapter")
    plain = PeftModel.from_pretrained(plain_model(models("llama")), adapter).eval()
    expected = [generate(plain, prompt, GREEDY) for prompt in PROMPTS[:4]]
    seen = completions(engine(adapter=adapter), [(prompt, GREEDY) for prompt in PROMPTS[:4]])
    assert same(seen, expected)
    base = completions(engine(), [(prompt, GREEDY) for prompt in PROMPTS[:4]])
    assert not same(seen, base)
    names = sorted(path.name.partition("-")[0] for path in (tmp_path / "llamacpp").iterdir())
    assert names == ["adapter", "base"]  # nothing merged, and one base file for both versions


def test_an_adapter_of_a_tied_output_layer_is_merged(tmp_path: Path) -> None:
    from peft import PeftModel

    folder = rounded_model(tmp_path / "model", tie_word_embeddings=True)
    adapter = tiny_adapter(folder, tmp_path / "adapter", with_head=True)
    with pytest.raises(UnsupportedModel, match=r"changes lm_head\.weight"):
        write_adapter(folder, adapter, tmp_path / "adapter.gguf")
    one = LlamaCppEngine(source_of(folder, tmp_path, adapter=adapter), RunnerOptions(threads=1, max_batch=4))
    try:
        seen = completions(one, [(PROMPTS[0], GREEDY)])
    finally:
        one.close()
    plain = PeftModel.from_pretrained(plain_model(folder), adapter).eval()
    assert same(seen, [generate(plain, PROMPTS[0], GREEDY)])


@pytest.mark.parametrize("quantize", ["q8_0", "q4_0", "q4_k"])
def test_quantized_weights_are_served_as_they_are_stored(quantize: str, tmp_path: Path) -> None:
    """llama.cpp rounds activations to 8 bits too, so the log-probabilities are near those of the stored weights."""
    from gguf import GGUFReader, quants

    from policy.gguf_shapes import tensor_name

    folder = rounded_model(tmp_path / "model", hidden_size=256, initializer_range=0.05)
    kept = base_gguf(folder, tmp_path, quantize)
    stored = {tensor.name: quants.dequantize(tensor.data, tensor.tensor_type) for tensor in GGUFReader(kept).tensors}
    assert any(tensor.tensor_type.name.lower() == quantize for tensor in GGUFReader(kept).tensors)
    model, exact = plain_model(folder), plain_model(folder)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            written = tensor_name(name, read_config(folder))
            if weights.ndim == 2 and written is not None and "attn_q" not in written and "attn_k" not in written:
                weights.copy_(torch.from_numpy(stored[written].copy()))
    one = LlamaCppEngine(source_of(folder, tmp_path), RunnerOptions(threads=1, max_batch=4, quantize=quantize))
    try:
        seen = one.score([(PROMPTS[0], PROMPTS[1])])[0]
    finally:
        one.close()
    ids = torch.tensor([[*PROMPTS[0], *PROMPTS[1]]])
    with torch.no_grad():
        near, far = (
            torch.log_softmax(each(ids).logits[0, len(PROMPTS[0]) - 1 : -1], -1).gather(
                1, ids[0, len(PROMPTS[0]) :, None]
            )[:, 0]
            for each in (model, exact)
        )
    to_near, to_far = (np.abs(np.array(seen) - each.numpy()).mean() for each in (near, far))
    assert to_far < 0.5
    assert to_near < to_far or quantize == "q8_0"


def test_few_files_are_kept(models: Callable[[str], Path], tmp_path: Path) -> None:
    adapter = tiny_adapter(models("llama"), tmp_path / "adapter")
    made = [adapter_gguf(models("llama"), adapter, tmp_path, f"{number:032d}") for number in range(KEPT["adapter"] + 2)]
    assert len(list((tmp_path / "llamacpp").iterdir())) == KEPT["adapter"]
    assert made[-1].exists()


def test_another_layout_of_the_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = (("added", ctypes.c_int32), *llamacpp_library.ContextParams._fields_)
    Shifted = type("Shifted", (ctypes.Structure,), {"_fields_": fields})
    monkeypatch.setitem(llamacpp_library._CALLS, "llama_context_default_params", (Shifted, []))
    with pytest.raises(ImportError, match=r"another layout; pip install xllamacpp=="):
        llamacpp_library.library.__wrapped__()


def test_what_llama_cpp_cannot_load_is_one_line(models: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="llama.cpp cannot load this model: its model_type 'gemma'"):
        LlamaCppEngine(source_of(models("gemma"), tmp_path), RunnerOptions(threads=1))
    folder = tiny_model(tmp_path / "model")
    kept = base_gguf(folder, tmp_path, "f32")
    kept.write_bytes(kept.read_bytes()[:5000])
    with pytest.raises(UnsupportedModel, match="llama.cpp cannot load this model: ") as caught:
        llamacpp_library.Weights(kept, None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_is_served_with_and_without_an_adapter(family: str, tmp_path: Path) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model

    shape, overrides = FAMILIES[family]
    folder = rounded_model(tmp_path / "model", shape, **({"head_dim": 16} if shape != "phi3" else {}), **overrides)
    targets = (
        ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"] if shape == "phi3" else ["q_proj", "k_proj", "down_proj"]
    )
    learned = get_peft_model(plain_model(folder), LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, parameter in learned.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    learned.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    prompt, completion = list(range(6, 106)), list(range(150, 180))
    for adapter in (None, tmp_path / "adapter"):
        plain = plain_model(folder)
        if adapter is not None:
            plain = PeftModel.from_pretrained(plain, adapter).eval()
        with torch.no_grad():
            logits = plain(torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1]
        exact = torch.log_softmax(logits, -1).gather(1, torch.tensor(completion)[:, None])[:, 0]
        one = LlamaCppEngine(source_of(folder, tmp_path, adapter=adapter), RunnerOptions(threads=1, max_batch=4))
        try:
            assert one.score([(prompt, completion)])[0] == pytest.approx(exact.tolist(), abs=5e-3)
            assert one.context_length == (256 if family == "Phi 3.5" else 512)
        finally:
            one.close()


def test_shapes_that_llama_cpp_would_compute_otherwise_are_named() -> None:
    def reasons(shape: str, **overrides: Any) -> str:
        return "; ".join(reasons_against_gguf(tiny_config(shape, **overrides).to_dict()))

    assert not reasons("llama", rope_parameters=LLAMA3)
    assert "scaled (llama3)" in reasons("qwen2", rope_parameters=LLAMA3)
    assert "without rotary embedding" in reasons("smollm3", no_rope_layers=[1, 0])
    assert "slides over 100" in reasons("phi3", sliding_window=100)
    assert "size of a head" in reasons("gemma3_text", query_pre_attn_scalar=256)
    assert "sliding window" in reasons("gemma3_text", query_pre_attn_scalar=16, layer_types=["full_attention"] * 2)
    assert "capped" in reasons("gemma3_text", query_pre_attn_scalar=16, final_logit_softcapping=30.0)


def test_alternatives_of_an_answer_do_not_compute_its_prompt_again(
    engine: Callable[..., LlamaCppEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = list(range(6, 206))
    warm = engine()
    ids = completions(warm, [(prompt, GREEDY)])[0][0]
    computed: list[int] = []
    decode = llamacpp_library.Llama.decode

    def counted(self: Any, batch: Any) -> Any:
        computed.append(len(batch))
        return decode(self, batch)

    monkeypatch.setattr(llamacpp_library.Llama, "decode", counted)
    seen = warm.alternatives(prompt, ids, 3)
    assert sum(computed) <= len(ids) + 1
    assert [best[0][0] for best in seen] == ids
    for ours, theirs in zip(seen, engine().alternatives(prompt, ids, 3), strict=True):
        assert ours[0][1] == pytest.approx(theirs[0][1], abs=1e-4)


def test_the_environment_decides_how_threads_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_PROC_BIND"):
        monkeypatch.delenv(name, raising=False)
    llamacpp._set_openmp(1)
    assert "GOMP_SPINCOUNT" not in os.environ
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    llamacpp._set_openmp(3)
    assert not {"GOMP_SPINCOUNT", "OMP_PROC_BIND"} & os.environ.keys()
    monkeypatch.delenv("OMP_WAIT_POLICY")
    llamacpp._set_openmp(4)
    assert os.environ.pop("GOMP_SPINCOUNT") == llamacpp.SPINS
    assert "OMP_PROC_BIND" not in os.environ  # a thread that is bound to a busy CPU holds up the others
