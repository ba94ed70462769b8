"""A real vLLM server on this CPU over a tiny model, started once for all tests of this folder."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.models import tiny_adapter, tiny_model
from tests.served import free_port

PYTHON = os.environ.get("ATTUNE_VLLM_PYTHON", ".venv-vllm/bin/python")
START_S = 900  # on a busy machine its imports alone take minutes


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("vllm") / "model", head_dim=64)  # vLLM on a CPU supports no smaller heads


@pytest.fixture(scope="session")
def adapters(model: Path) -> list[Path]:
    return [tiny_adapter(model, model.parent / f"adapter{seed}", seed=seed) for seed in (1, 2)]


@pytest.fixture(scope="session")
def url(model: Path) -> Iterator[str]:
    with vllm_server(model, model.parent / "vllm.log") as base:
        yield base


@contextmanager
def vllm_server(model: Path, log_path: Path) -> Iterator[str]:
    """A server of this model for the length of a with-block; yields its address. Its output goes to `log_path`."""
    port = free_port()
    lora = "--enable-lora --max-lora-rank 16 --max-loras 3"
    flags = f"--dtype float32 --max-model-len 512 --enforce-eager {lora} --host 127.0.0.1"
    settings = {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}
    settings["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"  # else it binds to one core, which others use
    command = [
        PYTHON,
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        str(model),
        *flags.split(),
        "--port",
        str(port),
    ]
    with log_path.open("wb") as log:
        server = subprocess.Popen(command, env={**os.environ, **settings}, stdout=log, stderr=subprocess.STDOUT)
    base = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_S
        while True:
            assert server.poll() is None, log_path.read_text()[-3000:]
            assert time.monotonic() < deadline, f"the vLLM server was not ready within {START_S} s"
            try:
                if httpx.get(base + "/health", timeout=2).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.5)
        yield base
    finally:
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
