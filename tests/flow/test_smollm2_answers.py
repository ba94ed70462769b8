"""A real chat model behind the service answers a question. `make test` fetches it; without it this is skipped."""

from pathlib import Path

import pytest

from policy.catalog import FETCHED
from policy.model_fetch import is_fetched
from service.model import LocalModel
from tests.service.running import running


@pytest.mark.skipif(not is_fetched(FETCHED["smollm2"]), reason="fetch it: attune models get smollm2")
def test_smollm2_answers_a_question_in_a_fast_runner(tmp_path: Path) -> None:
    with running(tmp_path / "data", make_model=LocalModel, model="smollm2") as served:
        answer = served.chat("What is the capital of France? Answer in one sentence.", temperature=0, max_tokens=16)
        assert "Paris" in answer["choices"][0]["message"]["content"]
        assert served.http.get("/readyz").json()["runner"] in ("openvino", "llamacpp")
