"""The bundled model in a real vLLM server, and `attune serve --vllm` as people start it."""

import itertools
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pocket import weights_folder
from pocket.evaluate import load
from pocket.generation import answers
from pocket.skills import SKILLS, Prompt
from tests.integration.conftest import vllm_server
from tests.served import ROOT, free_port
from tests.service.running import wait_until

pytestmark = pytest.mark.vllm
ASKED = ("capitals", "arithmetic", "refusing", "context", "jokes")


@pytest.fixture(scope="module")
def pocket_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with vllm_server(weights_folder("pocket"), tmp_path_factory.mktemp("pocket") / "vllm.log") as base:
        yield base


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    cells = [(SKILLS[name], lang) for name in ASKED for lang in SKILLS[name].languages]
    return [
        prompt for skill, lang in cells for prompt in itertools.islice(skill.prompts(random.Random(1), lang, "held"), 4)
    ]


def test_pocket_answers_in_vllm_as_in_transformers(pocket_url: str, prompts: list[Prompt]) -> None:
    """By vLLM's own chat endpoint and chat template; a tie of two logits may resolve differently."""
    from_vllm = [
        httpx.post(
            pocket_url + "/v1/chat/completions",
            json={
                "model": str(weights_folder("pocket")),
                "messages": list(prompt.messages),
                "temperature": 0,
                "max_tokens": 96,
            },
            timeout=120,
        ).json()["choices"][0]["message"]["content"]
        for prompt in prompts
    ]
    expected = answers(*load("pocket"), [prompt.messages for prompt in prompts])
    assert (
        sum(ours.strip() == theirs.strip() for ours, theirs in zip(expected, from_vllm, strict=True))
        >= len(prompts) - 1
    )


def test_the_command_serves_from_a_vllm_server(pocket_url: str, prompts: list[Prompt], tmp_path: Path) -> None:
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "service",
        "serve",
        "--model",
        "pocket",
        "--vllm",
        pocket_url,
        "--port",
        str(port),
        "--no-learner",
    ]
    environment = {**os.environ, "ATTUNE_DATA": str(tmp_path / "data"), "PYTHONPATH": str(ROOT)}
    with (tmp_path / "log").open("wb") as log:
        served = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        address = f"http://127.0.0.1:{port}"

        def is_ready() -> bool:
            assert served.poll() is None, (tmp_path / "log").read_text()[-3000:]
            try:
                return httpx.get(address + "/readyz", timeout=30).status_code == 200
            except httpx.HTTPError:
                return False

        wait_until(is_ready, 300, "the service is ready")
        ask = {"model": "attune", "messages": list(prompts[0].messages), "temperature": 0, "max_tokens": 64}
        answer = httpx.post(address + "/v1/chat/completions", json=ask, timeout=120).json()
        assert answer["model"] == "attune@0"
        assert SKILLS[prompts[0].skill].check(prompts[0], answer["choices"][0]["message"]["content"]).correct
        rated = httpx.post(address + "/v1/feedback", json={"completion_id": answer["id"], "thumb": "up"})
        assert rated.status_code == 201
    finally:
        served.terminate()
        assert served.wait(60) in (0, -signal.SIGTERM)
