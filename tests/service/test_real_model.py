"""The service over a real (tiny, random) model in real runner processes: only what was trained answers."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from policy.chat import load_tokenizer, render_prompt
from policy.errors import RunnerFailed
from policy.model import model_digest
from policy.versions import Fingerprint, write_version
from service.model import LocalModel
from store.completions import get_completion
from store.ids import now
from store.versions import Version, add_version, next_version_number, set_verdict
from tests.models import tiny_adapter, tiny_model
from tests.served import ROOT
from tests.service.running import Running, running, serve_settings

PROMPT = [{"role": "user", "content": "Hello! 你好"}]


@dataclass
class Tiny:
    """A running service over a tiny model, and a way to give it versions."""

    served: Running
    folder: Path

    def probe(self, adapter: Path) -> Fingerprint:
        """Return what the trained weights compute after a prompt."""
        ids = render_prompt(load_tokenizer(str(self.folder)), PROMPT)
        top = logits_of(self.folder, adapter, ids)[-1].log_softmax(-1).topk(32)
        return Fingerprint(ids, top.indices.tolist(), top.values.tolist())

    def publish(self, adapter: Path, probe: Fingerprint, damage: bool = False) -> int:
        """Write a version and record that it passed its gate."""
        with self.served.db() as db:
            number = next_version_number(db)
        folder = self.served.data / "versions" / f"{number:06d}"
        manifest = write_version(
            folder,
            version=number,
            parent=0,
            base_model=str(self.folder),
            base_digest=model_digest(str(self.folder)),
            save=lambda to: copy_adapter(adapter, to),
            fingerprint=probe,
            seed=0,
            settings={},
        )
        if damage:
            weights = folder / "adapter_model.safetensors"
            weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
        with self.served.db() as db:
            live = next(iter(db.query("SELECT number FROM versions WHERE state = 'live'")))["number"]
            add_version(
                db, Version(number, live, "candidate", manifest.digest, f"versions/{number:06d}", 0, "mixed", now()), ()
            )
            set_verdict(db, number, True, {"passed": True, "checks": [], "reasons": []})
        return number


def copy_adapter(adapter: Path, to: Path) -> None:
    """Copy an adapter's files."""
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(adapter / name, to)


def logits_of(folder: Path, adapter: Path | None, ids: list[int]) -> torch.Tensor:
    """Return the plain model's logits, (T, V)."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.tensor([ids])).logits[0].float()
    return logits


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Generator[Tiny, None, None]:
    folder = tiny_model(tmp_path_factory.mktemp("tiny") / "model")
    data = tmp_path_factory.mktemp("tiny-data") / "data"
    with running(data, make_model=LocalModel, model=str(folder)) as served:
        yield Tiny(served, folder)


def test_what_is_recorded_is_what_the_version_named_would_say(tiny: Tiny, tmp_path: Path) -> None:
    adapter = tiny_adapter(tiny.folder, tmp_path / "adapter", scale=0.3)
    number = tiny.publish(adapter, tiny.probe(adapter))
    tiny.served.wait_for_state(number, "live", 60)
    for name, weights in (("attune", adapter), ("attune@0", None)):
        answer = tiny.served.openai().chat.completions.create(
            model=name, messages=[{"role": "user", "content": "Hello! 你好"}], max_tokens=24, seed=3, logprobs=True
        )
        assert answer.model == (f"attune@{number}" if weights else "attune@0")
        with tiny.served.db() as db:
            kept = get_completion(db, answer.id)
        logits = logits_of(tiny.folder, weights, [*kept.prompt_ids, *kept.completion_ids])
        expected = (
            logits[len(kept.prompt_ids) - 1 : -1]
            .log_softmax(-1)
            .gather(1, torch.tensor(kept.completion_ids)[:, None])[:, 0]
        )
        assert kept.logps == pytest.approx(expected.tolist(), abs=0.02)
        shown = answer.choices[0].logprobs
        assert shown is not None
        assert shown.content is not None
        assert [token.logprob for token in shown.content] == pytest.approx(kept.logps[: len(shown.content)], abs=1e-6)


def answers_are_what_was_trained(made: Tiny, adapter: Path, tolerance: float) -> None:
    """Compare log-probabilities of the live version and of the base model with PEFT's, within `tolerance` nats."""
    for name, weights in (("attune", adapter), ("attune@0", None)):
        answer = made.served.openai().chat.completions.create(model=name, messages=PROMPT, max_tokens=16, seed=3)  # type: ignore[arg-type]
        with made.served.db() as db:
            kept = get_completion(db, answer.id)
        logits = logits_of(made.folder, weights, [*kept.prompt_ids, *kept.completion_ids])
        expected = (
            logits[len(kept.prompt_ids) - 1 : -1]
            .log_softmax(-1)
            .gather(1, torch.tensor(kept.completion_ids)[:, None])[:, 0]
        )
        assert kept.logps == pytest.approx(expected.tolist(), abs=tolerance)


@pytest.mark.parametrize("runner", ["transformers", "llamacpp"])
def test_versions_that_share_base_weights_say_what_was_trained(runner: str, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    adapter = tiny_adapter(folder, tmp_path / "adapter", scale=0.3)
    with running(
        tmp_path / "data",
        make_model=LocalModel,
        model=str(folder),
        engine__runner=runner,
        engine__adapters="shared",
        engine__threads=1,
    ) as served:
        made = Tiny(served, folder)
        number = made.publish(adapter, made.probe(adapter))
        served.wait_for_state(number, "live", 120)
        answers_are_what_was_trained(made, adapter, 1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"engine__runner": "transformers", "engine__adapters": "merged"},
        {"engine__runner": "transformers", "engine__adapters": "shared"},
        {"engine__runner": "llamacpp"},
    ],
)
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
def test_a_shift_of_the_output_layer_is_served_where_the_embeddings_are_tied(
    options: dict[str, Any], tmp_path: Path
) -> None:
    folder = tiny_model(tmp_path / "model", tie_word_embeddings=True)
    adapter = tiny_adapter(folder, tmp_path / "adapter", scale=0.15, with_head=True)
    with running(tmp_path / "data", make_model=LocalModel, model=str(folder), engine__threads=1, **options) as served:
        made = Tiny(served, folder)
        number = made.publish(adapter, made.probe(adapter))
        served.wait_for_state(number, "live", 120)
        answers_are_what_was_trained(made, adapter, 0.05)


def test_a_gpu_that_cannot_share_has_versions_with_weights_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def cannot(*_: Any, room: int, **__: Any) -> None:
        asked.append(room)
        raise RunnerFailed("the base weights cannot be shared: x is not among them")

    monkeypatch.setattr("service.model.WeightsProcess.start", cannot)
    known: dict[str, Any] = {"data": tmp_path, "model": "pocket-nano", "device": "cuda"}
    model = LocalModel(serve_settings(**known))
    assert (model.shared_gib, len(asked)) == (0.0, 1)
    model.close()
    assert asked[0] == pytest.approx(
        4 * model.memory_gib(Version(0, None, "live", "", "", 0, "", now())) * 2**30, rel=1e-6
    )
    LocalModel(serve_settings(**known, engine__memory_gib=0.01)).close()
    assert asked[1] == 0  # it is known not to fit: whatever the GPU has free
    with pytest.raises(RunnerFailed, match="x is not among them"):
        LocalModel(serve_settings(**known, engine__adapters="shared"))


def test_adapters_are_not_shared_by_a_runner_that_merges_them(tmp_path: Path) -> None:
    with pytest.raises(
        AssertionError, match="the runner openvino merges them; set runner to transformers, or adapters to auto"
    ):
        with running(tmp_path / "data", make_model=LocalModel, model="pocket-nano", engine__adapters="shared"):
            pass


def test_a_version_whose_probe_differs_is_withdrawn(tiny: Tiny, tmp_path: Path) -> None:
    trained, saved = (tiny_adapter(tiny.folder, tmp_path / f"adapter-{seed}", seed=seed, scale=0.3) for seed in (5, 6))
    number = tiny.publish(saved, tiny.probe(trained))
    tiny.served.wait_for_state(number, "withdrawn", 60)
    numbers = tiny.served.http.get("/metrics").text
    assert "attune_versions_refused_total 1.0" in numbers


def test_a_version_whose_file_was_damaged_is_withdrawn(tiny: Tiny, tmp_path: Path) -> None:
    adapter = tiny_adapter(tiny.folder, tmp_path / "adapter", seed=7, scale=0.3)
    number = tiny.publish(adapter, tiny.probe(adapter), damage=True)
    tiny.served.wait_for_state(number, "withdrawn", 60)
    with tiny.served.db() as db:
        events = [
            json.loads(row["data"]) for row in db.query("SELECT data FROM events WHERE kind = 'version.withdrawn'")
        ]
    assert "adapter_model.safetensors" in events[-1]["reason"]


def test_a_probe_that_was_recorded_in_bfloat16_may_be_as_far_off_as_that(tiny: Tiny, tmp_path: Path) -> None:
    adapter = tiny_adapter(tiny.folder, tmp_path / "adapter", seed=8, scale=0.3)
    exact = tiny.probe(adapter)
    off = [logp + 0.1 for logp in exact.top_logps]  # five times what float32 allows
    number = tiny.publish(adapter, replace(exact, top_logps=off, precision="bfloat16"))
    tiny.served.wait_for_state(number, "live", 60)
    number = tiny.publish(
        tiny_adapter(tiny.folder, tmp_path / "other", seed=9, scale=0.3), replace(exact, top_logps=off)
    )
    tiny.served.wait_for_state(number, "withdrawn", 60)


def test_a_seed_gives_the_same_answer_alone_and_among_others(tiny: Tiny) -> None:
    ask = {"model": "attune@0", "messages": [{"role": "user", "content": "Tell me"}], "seed": 11, "max_tokens": 20}
    alone = tiny.served.http.post("/v1/chat/completions", json=ask).json()["choices"][0]["message"]["content"]
    among = tiny.served.http.post("/v1/chat/completions", json={**ask, "n": 8}).json()["choices"]
    assert among[0]["message"]["content"] == alone
    assert len({choice["message"]["content"] for choice in among}) > 1


@pytest.mark.parametrize("stream", [False, True])
def test_top_logprobs_are_the_versions_likeliest_tokens(tiny: Tiny, stream: bool) -> None:
    ask: Any = {
        "model": "attune@0",
        "messages": [{"role": "user", "content": "Hello! 你好"}],
        "seed": 5,
        "max_tokens": 24,
        "n": 2,
    }
    answer: Any = tiny.served.openai().chat.completions.create(**ask, logprobs=True, top_logprobs=4, stream=stream)
    if stream:
        chunks = list(answer)
        deltas = [choice for chunk in chunks for choice in chunk.choices if choice.logprobs]
        completion_id, shown = (
            chunks[0].id,
            [[token for delta in deltas if delta.index == i for token in delta.logprobs.content] for i in range(2)],
        )
    else:
        completion_id, shown = answer.id, [choice.logprobs.content for choice in answer.choices]
    for choice, tokens in enumerate(shown):
        with tiny.served.db() as db:
            kept = get_completion(db, completion_id, choice)
        best = (
            logits_of(tiny.folder, None, [*kept.prompt_ids, *kept.completion_ids])[len(kept.prompt_ids) - 1 : -1]
            .log_softmax(-1)
            .topk(4)
        )
        assert len(tokens) >= len(kept.completion_ids) - 1 > 0
        for token, own, logps in zip(tokens, kept.logps, best.values.tolist(), strict=False):
            assert token.logprob == pytest.approx(own, abs=1e-6)
            assert [other.logprob for other in token.top_logprobs] == pytest.approx(logps, abs=0.02)
            assert all(
                other.logprob == token.logprob
                for other in token.top_logprobs
                if other.bytes == token.bytes and other.token == token.token
            )
    assert not tiny.served.service.engine.slots[0].leases


def test_legacy_completions_give_the_likeliest_tokens(tiny: Tiny) -> None:
    create: Any = tiny.served.openai().completions.create
    whole = create(model="attune@0", prompt="Hello!", logprobs=3, max_tokens=12, seed=3).choices[0].logprobs
    chunks = list(create(model="attune@0", prompt="Hello!", logprobs=3, max_tokens=12, seed=3, stream=True))
    streamed = next(chunk.choices[0].logprobs for chunk in chunks if chunk.choices[0].logprobs)
    assert len(whole.top_logprobs) == len(whole.tokens) > 0
    assert all(1 <= len(likeliest) <= 3 for likeliest in whole.top_logprobs)  # two tokens may have one text
    assert (streamed.tokens, streamed.token_logprobs, streamed.text_offset) == (
        whole.tokens,
        whole.token_logprobs,
        whole.text_offset,
    )


def test_streamed_text_is_whole_and_the_same(tiny: Tiny) -> None:
    for seed in range(8):
        ask = {
            "model": "attune@0",
            "messages": [{"role": "user", "content": "你好"}],
            "seed": seed,
            "max_tokens": 40,
            "temperature": 2.0,
        }
        whole = tiny.served.http.post("/v1/chat/completions", json=ask).json()["choices"][0]["message"]["content"]
        stream = tiny.served.openai().chat.completions.create(**ask, stream=True)  # type: ignore[call-overload]
        deltas = [chunk.choices[0].delta.content or "" for chunk in stream]
        assert "".join(deltas) == whole


def test_tokens_are_shown_with_their_bytes(tiny: Tiny) -> None:
    ids = list(LocalModel.completion_ids(tiny.served.service.model, PROMPT, "🦜")[1][:-1])  # type: ignore[arg-type]
    octets = [octet for token in ids for octet in tiny.served.service.model.token(token)[1]]
    assert bytes(octets) == "🦜".encode()


def test_the_services_process_has_no_torch(tmp_path: Path) -> None:
    """Neither after its imports nor once it has answered."""
    code = (
        "import os, sys, threading, httpx\n"
        "from service.serving import run, Server\n"
        "import service.serving as serving\n"
        "def greet(service, port, num_keys):\n"
        "    threading.Thread(target=ask, args=(port,), daemon=True).start()\n"
        "    return 'ready'\n"
        "def ask(port):\n"
        "    body = {'model': 'attune', 'messages': [{'role': 'user', 'content': 'Hello!'}], 'max_tokens': 4}\n"
        "    status = httpx.post(f'http://127.0.0.1:{port}/v1/chat/completions', json=body, timeout=30).status_code\n"
        "    print(status, [name for name in ('torch', 'peft', 'openvino_genai') if name in sys.modules], flush=True)\n"
        "    os.kill(os.getpid(), 2)\n"
        "serving.greeting = greet\n"
        f"run({{'port': 0, 'data': {str(tmp_path / 'data')!r}, 'model': 'pocket-nano', 'no_learner': True}}, None)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=dict(os.environ),
        timeout=240,
        check=False,
    )
    assert done.stdout.splitlines() == ["ready", "200 []"], done.stderr
