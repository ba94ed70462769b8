"""The whole service over a real vLLM server: chat, feedback and swaps through adapters that are loaded over HTTP."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from peft import PeftModel

from policy.chat import load_tokenizer, render_prompt
from policy.model import load_model, model_digest
from policy.versions import Fingerprint, write_version
from service.model import LocalModel
from store.completions import Completion, get_completion
from store.ids import now
from store.versions import Version, add_version, next_version_number, set_verdict
from tests.service.running import Running, running, wait_until

pytestmark = pytest.mark.vllm
WAIT_S = 180  # patient: both servers share the processor
TURNS = ["Hello! 你好", "what is the capital of France?", "sort these words: pear, apple, fig", "thank you 🦜"]


@pytest.fixture(scope="module")
def remote(url: str, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The service with `--vllm URL`."""
    with running(
        tmp_path_factory.mktemp("remote") / "data",
        make_model=LocalModel,
        model=str(model),
        vllm=url,
        engine__fingerprint_tolerance=0.02,
    ) as served:
        yield served


@pytest.fixture(scope="module")
def local(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The service with its own runner in float32."""
    with running(
        tmp_path_factory.mktemp("local") / "data",
        make_model=LocalModel,
        model=str(model),
        engine__runner="transformers",
        engine__threads=1,
    ) as served:
        yield served


def plain(model: Path, adapter: Path | None) -> Any:
    """Return the model as peft has it, in float32."""
    base = load_model(str(model), "cpu", "float32")
    return PeftModel.from_pretrained(base, adapter).eval() if adapter is not None else base


@torch.no_grad()
def logits_after(model: Any, ids: list[int]) -> torch.Tensor:
    """Return (T, V) logits in float32."""
    logits: torch.Tensor = model(input_ids=torch.tensor([ids])).logits[0].float()
    return logits


def publish(served: Running, model: Path, adapter: Path) -> int:
    """Publish a version that passed its gate, as the learner does."""
    ids = render_prompt(load_tokenizer(str(model)), [{"role": "user", "content": TURNS[0]}])
    top = logits_after(plain(model, adapter), ids)[-1].log_softmax(-1).topk(32)

    def save(folder: Path) -> None:
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copy(adapter / name, folder)

    with served.db() as db:
        number = next_version_number(db)
        live = next(iter(db.query("SELECT number FROM versions WHERE state = 'live'")))["number"]
        manifest = write_version(
            served.data / "versions" / f"{number:06d}",
            version=number,
            parent=live,
            base_model=str(model),
            base_digest=model_digest(str(model)),
            save=save,
            fingerprint=Fingerprint(ids, top.indices.tolist(), top.values.tolist()),
            seed=0,
            settings={},
        )
        add_version(
            db, Version(number, live, "candidate", manifest.digest, f"versions/{number:06d}", 0, "mixed", now()), ()
        )
        set_verdict(db, number, True, {"passed": True, "checks": [], "reasons": []})
    served.wait_for_state(number, "live", WAIT_S)
    return number


def converse(served: Running, version: int, assistant_turns: list[str]) -> list[Completion]:
    """Ask each turn of a conversation with given assistant turns; return the completions as recorded."""
    messages: list[dict[str, str]] = []
    kept = []
    for turn, before in zip(TURNS, assistant_turns, strict=True):
        messages.append({"role": "user", "content": turn})
        ask = {"model": f"attune@{version}", "messages": messages, "temperature": 0, "max_tokens": 24}
        answer = served.http.post("/v1/chat/completions", json=ask, timeout=WAIT_S).json()
        assert answer["model"] == f"attune@{version}"
        with served.db() as db:
            kept.append(get_completion(db, answer["id"]))
        messages.append({"role": "assistant", "content": before})
    return kept


def adapters_at(url: str) -> list[str]:
    """Return the names of our adapters that the server holds."""
    return [entry["id"] for entry in httpx.get(url + "/v1/models").json()["data"] if entry["id"].startswith("attune-")]


def test_the_same_conversation_with_the_same_adapter_is_answered_alike(
    remote: Running, local: Running, model: Path, adapters: list[Path]
) -> None:
    numbers = {publish(served, model, adapters[0]) for served in (remote, local)}
    assert numbers == {1}
    compared = 0
    for version, adapter in ((0, None), (1, adapters[0])):
        truth = plain(model, adapter)
        assistant_turns = ["well then", "Paris.", "apple fig pear", "you are welcome"]
        for theirs, ours in zip(
            converse(remote, version, assistant_turns), converse(local, version, assistant_turns), strict=True
        ):
            assert theirs.prompt_ids == ours.prompt_ids
            logits = logits_after(truth, [*ours.prompt_ids, *ours.completion_ids])[len(ours.prompt_ids) - 1 : -1]
            for index, (their, our) in enumerate(zip(theirs.completion_ids, ours.completion_ids, strict=False)):
                first, second = logits[index].topk(2).values.tolist()
                if their != our:
                    assert first - second <= 1e-3  # from here on the two differ
                    break
                assert theirs.logps[index] == pytest.approx(ours.logps[index], abs=1e-3)
                assert ours.logps[index] == pytest.approx(logits[index].log_softmax(-1)[our].item(), abs=1e-3)
                compared += 1
    assert compared > 100


def test_chat_streams_and_takes_feedback(remote: Running) -> None:
    client = remote.openai(timeout=WAIT_S)
    chunks = list(
        client.chat.completions.create(
            model="attune",
            messages=[{"role": "user", "content": TURNS[1]}],
            max_tokens=24,
            seed=3,
            n=2,
            stream=True,
            logprobs=True,
            presence_penalty=0.5,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[-1].usage is not None
    assert len({chunk.model for chunk in chunks}) == 1
    with remote.db() as db:
        kept = [get_completion(db, chunks[0].id, choice) for choice in (0, 1)]
    assert kept[0].text == "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices if c.index == 0)
    assert [len(one.logps) for one in kept] == [len(one.completion_ids) for one in kept]
    assert chunks[-1].usage.completion_tokens == sum(len(one.completion_ids) for one in kept)
    rated = remote.http.post("/v1/feedback", json={"completion_id": chunks[0].id, "choice": 1, "thumb": "up"})
    assert rated.status_code == 201
    top = client.chat.completions.create(
        model="attune",
        messages=[{"role": "user", "content": "hi"}],
        max_tokens=4,
        temperature=0,
        logprobs=True,
        top_logprobs=3,
    )
    assert top.choices[0].logprobs is not None
    for token in top.choices[0].logprobs.content or ():
        assert len(token.top_logprobs) == 3
        assert token.logprob == pytest.approx(token.top_logprobs[0].logprob, abs=1e-3)  # greedy: it is the likeliest


def test_a_seed_gives_the_same_answer(remote: Running) -> None:
    ask = {"model": "attune", "messages": [{"role": "user", "content": "Tell me"}], "seed": 11, "max_tokens": 16}
    first, again = (
        remote.http.post("/v1/chat/completions", json=ask, timeout=WAIT_S).json()["choices"][0]["message"]["content"]
        for _ in range(2)
    )
    assert first == again


def test_a_swap_under_load_drops_nothing_and_leaves_no_adapter_behind(
    remote: Running, url: str, model: Path, adapters: list[Path]
) -> None:
    stop, failures, models = threading.Event(), [], set()

    def talk(index: int) -> None:
        while not stop.is_set():
            names = set()
            try:
                stream = remote.openai(timeout=WAIT_S).chat.completions.create(
                    model="attune",
                    messages=[{"role": "user", "content": f"{TURNS[index % 4]} {index}"}],
                    max_tokens=32,
                    stream=True,
                )
                names = {chunk.model for chunk in stream}
                if len(names) != 1:
                    failures.append(f"one answer by {names}")
            except Exception as error:
                failures.append(repr(error))
            models.update(names)

    threads = [threading.Thread(target=talk, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    try:
        before = remote.chat("who answers?", max_tokens=4)["model"]
        number = publish(remote, model, adapters[1])
        wait_until(lambda: f"attune@{number}" in models, WAIT_S, "the new version answers")
    finally:
        stop.set()
        for thread in threads:
            thread.join(WAIT_S)
    assert failures == []
    assert {before, f"attune@{number}"} <= models
    with remote.db() as db:
        digest = next(iter(db.query("SELECT digest FROM versions WHERE number = ?", [number])))["digest"]
        fitting = [
            get_completion(db, row["id"])
            for row in db.query("SELECT id FROM completions WHERE version = ? LIMIT 5", [number])
        ]
    truth = plain(model, adapters[1])
    for one in fitting:
        logits = logits_after(truth, [*one.prompt_ids, *one.completion_ids])[len(one.prompt_ids) - 1 : -1]
        own = logits.log_softmax(-1).gather(1, torch.tensor(one.completion_ids)[:, None])[:, 0]
        assert one.logps == pytest.approx(own.tolist(), abs=1e-3)
    wait_until(
        lambda: adapters_at(url) == [f"attune-{number:06d}-{digest[:16]}"],
        WAIT_S,
        "only the live version's adapter is left",
    )


def test_an_adapter_that_is_not_what_was_trained_never_answers(
    remote: Running, url: str, model: Path, adapters: list[Path]
) -> None:
    live = remote.chat("hi", max_tokens=2)["model"]
    names = adapters_at(url)
    with remote.db() as db:
        number = next_version_number(db)
        live_number = next(iter(db.query("SELECT number FROM versions WHERE state = 'live'")))["number"]
        manifest = write_version(
            remote.data / "versions" / f"{number:06d}",
            version=number,
            parent=live_number,
            base_model=str(model),
            base_digest=model_digest(str(model)),
            save=lambda folder: [shutil.copy(file, folder) for file in adapters[0].glob("adapter_*")] and None,
            fingerprint=Fingerprint([1, 4, 70, 5], [10, 11], [-1.0, -20.0]),
            seed=0,
            settings={},
        )
        add_version(
            db,
            Version(number, live_number, "candidate", manifest.digest, f"versions/{number:06d}", 0, "mixed", now()),
            (),
        )
        set_verdict(db, number, True, {"passed": True, "checks": [], "reasons": []})
    remote.wait_for_state(number, "withdrawn", WAIT_S)
    assert remote.chat("hi", max_tokens=2)["model"] == live
    assert adapters_at(url) == names
