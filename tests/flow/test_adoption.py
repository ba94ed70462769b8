"""From one base model to another: what people said to the first is learned by the second, through the real commands."""

import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.served import ROOT, serve

NUM_CORRECTIONS = 24


@pytest.mark.slow
def test_another_base_model_learns_from_the_feedback_on_the_first(tmp_path: Path) -> None:
    old, new = tmp_path / "old" / "data", tmp_path / "new" / "data"
    with serve(old, "--no-learner") as served, httpx.Client(base_url=served.url, timeout=60) as http:
        given = []
        for number in range(NUM_CORRECTIONS):
            chat = {"model": "attune", "messages": [{"role": "user", "content": f"Name three animals, {number}."}]}
            answer = http.post("/v1/chat/completions", json={**chat, "max_tokens": 24}).raise_for_status().json()
            body = {"completion_id": answer["id"], "correction": "cat, dog, owl"}
            given.append(http.post("/v1/feedback", json=body).raise_for_status().json()["id"])
        command = [str(Path(sys.executable).parent / "attune"), "adopt", str(old), "--data", str(new)]
        done = subprocess.run([*command, "--model", "pocket"], cwd=ROOT, capture_output=True, text=True, check=True)
        assert f"{NUM_CORRECTIONS} feedback" in done.stdout  # while the first service runs
    flags = ["--learner.steps", "8", "--learner.trigger.seconds", "1"]
    with serve(new, *flags, model="pocket") as served, httpx.Client(base_url=served.url, timeout=60) as http:
        deadline, learned = time.monotonic() + 900, None
        while learned is None and time.monotonic() < deadline:
            rows = http.get("/v1/versions").json()["data"]
            learned = next((row["version"] for row in rows if row["version"] > 0), None)
            time.sleep(0.5)
        assert learned is not None, (served.data / "logs" / "learner.log").read_text()
        made_of = {row["id"] for row in http.get(f"/v1/versions/{learned}/feedback").json()["data"]}
        assert made_of
        assert made_of <= set(given)
        talks = http.get("/v1/conversations").json()["data"]
        assert len(talks) == NUM_CORRECTIONS
