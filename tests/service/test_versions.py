"""Versions: who answers, candidates that go live, canaries, rollback, and weights that are not what was trained."""

import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from policy.chat_template import CHATML
from policy.served_model import ServedModel, served_model
from store.traffic import current_traffic
from tests.service.parrot import ParrotModel
from tests.service.running import Running, running, wait_until

LONG: dict[str, Any] = {"model": "attune", "messages": [{"role": "user", "content": "long"}], "max_tokens": 60}


def versions_in(text: str) -> set[str]:
    """Return which versions gave the parts of a parrot's completion."""
    return {part.split("-")[0] for part in text.split() if "-" in part}


def test_a_candidate_that_passed_goes_live_and_answers(served: Running) -> None:
    assert served.chat()["model"] == "attune@0"
    number = served.add_candidate()
    served.wait_for_state(number, "live")
    wait_until(lambda: served.chat()["model"] == f"attune@{number}", what="the new version answers")
    rows = served.versions()
    assert (rows[0]["state"], rows[number]["serving"], rows[number]["share"], rows[0]["serving"]) == (
        "retired",
        True,
        1.0,
        False,
    )
    assert rows[number]["digest"] == served.chat()["system_fingerprint"]


def test_a_rejected_candidate_never_answers(served: Running) -> None:
    number = served.add_candidate(passed=False)
    time.sleep(0.3)
    assert served.versions()[0]["state"] == "live"
    assert served.http.post("/v1/chat/completions", json={**LONG, "model": f"attune@{number}"}).status_code == 404
    assert served.http.post(f"/v1/versions/{number}/promote").status_code == 409
    assert f"attune@{number}" not in [model["id"] for model in served.http.get("/v1/models").json()["data"]]


def test_weights_that_are_not_what_was_trained_never_answer(tmp_path: Path) -> None:
    with running(tmp_path / "data", ParrotModel(refused={1})) as served:
        number = served.add_candidate()
        served.wait_for_state(number, "withdrawn")
        assert served.chat()["model"] == "attune@0"
        numbers = served.http.get("/metrics").text
        assert "attune_versions_refused_total 1.0" in numbers
        assert f'attune_probe_alarm{{version="{number}"}} 1.0' in numbers
        with served.db() as db:
            payloads = [row["data"] for row in db.query("SELECT data FROM events WHERE kind = 'version.withdrawn'")]
        assert len(payloads) == 1
        assert "differs from what was trained" in payloads[0]


def test_a_candidate_that_does_not_fit_waits_with_one_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.traffic.MEMORY_RETRY_S", 0.2)
    parrot = ParrotModel(gib={1: 1.5})
    with running(tmp_path / "data", parrot, engine__memory_gib=2.0) as served:
        late = served.add_candidate()

        def failures() -> list[str]:
            with served.db() as db:
                return [row["data"] for row in db.query("SELECT data FROM events WHERE kind = 'slot.failed'")]

        wait_until(lambda: failures(), what="the failure is an event")
        refused = served.http.post("/v1/chat/completions", json={**LONG, "model": f"attune@{late}"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "out_of_memory")
        assert "memory_gib" in failures()[0]
        parrot.gib.clear()
        served.wait_for_state(late, "live")
        assert len(failures()) == 1


def test_a_service_whose_memory_holds_no_swap_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"raise it to 2\.00 or more"):
        with running(tmp_path / "data", engine__memory_gib=1.5):
            pass


def test_shared_base_weights_are_taken_from_the_memory_of_versions(tmp_path: Path) -> None:
    with pytest.raises(
        AssertionError, match=r"1\.00 GiB beside 2\.00 GiB of base weights .* raise it to 4\.00 or more"
    ):
        with running(tmp_path / "data", ParrotModel(shared=2.0), engine__memory_gib=3.5):
            pass
    with running(tmp_path / "more", ParrotModel(shared=2.0), engine__memory_gib=4.0) as served:
        assert served.service.engine.limits.memory_gib == 2.0


def test_a_load_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.traffic.RETRY_S", 0.05)
    with running(tmp_path / "data", ParrotModel(broken={1: 2, 2: 9})) as served:
        number = served.add_candidate()
        served.wait_for_state(number, "live")
        hopeless = served.add_candidate()
        served.wait_for_state(hopeless, "withdrawn")
        assert served.versions()[number]["state"] == "live"
        with served.db() as db:
            assert db.table("events").count_where("kind = 'slot.failed'") == 5


def test_a_candidate_of_a_parent_that_is_no_longer_live_is_withdrawn(served: Running) -> None:
    first = served.add_candidate()
    served.wait_for_state(first, "live")
    late = served.add_candidate(parent=0)
    served.wait_for_state(late, "withdrawn")
    assert served.versions()[first]["state"] == "live"


def test_an_old_version_is_loaded_when_it_is_asked_for_and_leaves_when_idle(tmp_path: Path) -> None:
    with running(tmp_path / "data", engine__idle_unload_s=0.3) as served:
        number = served.add_candidate()
        served.wait_for_state(number, "live")
        wait_until(lambda: not served.versions()[0]["loaded"], what="the old version has left memory")
        answer = served.chat("long", model="attune@0", max_tokens=60)
        assert answer["model"] == "attune@0"
        assert versions_in(answer["choices"][0]["message"]["content"]) == {"w0"}
        assert served.versions()[0]["loaded"]
        wait_until(lambda: not served.versions()[0]["loaded"], what="it left again")
        assert served.versions()[number]["loaded"]
        wait_until(
            lambda: all(runner.is_closed for runner in served.model.runners if runner.number == 0),
            what="its runners have ended",
        )


def test_there_are_never_more_slots_than_allowed(tmp_path: Path) -> None:
    with running(tmp_path / "data", ParrotModel(step_s=0.001), engine__max_slots=2) as served:
        numbers = [served.add_candidate()]
        served.wait_for_state(numbers[0], "live")
        for _ in range(3):
            numbers.append(served.add_candidate())
            served.wait_for_state(numbers[-1], "live")
        most, results = 0, []

        def ask(number: int) -> None:
            results.append(served.chat("long", model=f"attune@{number}", max_tokens=80)["model"])

        threads = [threading.Thread(target=ask, args=[number]) for number in [*numbers, 0] * 2]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            most = max(most, sum(not runner.is_closed for runner in served.model.runners))
            time.sleep(0.005)
        assert sorted(results) == sorted(f"attune@{number}" for number in [*numbers, 0] * 2)
        assert most <= 3  # two, and for a moment the one that is just being closed


def test_rollback_brings_the_version_before_back_and_withdraws_the_present_one(served: Running) -> None:
    first = served.add_candidate()
    served.wait_for_state(first, "live")
    second = served.add_candidate()
    served.wait_for_state(second, "live")
    back = served.http.post("/v1/versions/rollback")
    assert (back.status_code, back.json()["version"], back.json()["state"]) == (200, first, "live")
    assert served.chat()["model"] == f"attune@{first}"
    assert served.versions()[second]["state"] == "withdrawn"
    assert served.http.post("/v1/versions/rollback", json={"to": 0}).json()["version"] == 0
    assert served.http.post("/v1/versions/rollback").status_code == 409
    assert served.http.post("/v1/versions/rollback", json={"to": 99}).status_code == 404


def test_a_canary_gets_its_share_of_conversations_and_keeps_them(served: Running) -> None:
    number = served.add_candidate()
    served.wait_for_state(number, "live")
    shown = served.http.post("/v1/versions/0/promote", json={"canary": 0.3}).json()
    assert (shown["state"], shown["share"], shown["serving"]) == ("canary", 0.3, True)
    answers = [served.chat() for _ in range(60)]
    counts = Counter(answer["model"] for answer in answers)
    assert 5 <= counts["attune@0"] <= 33
    for answer in answers[:10]:
        assert served.chat(conversation_id=answer["conversation_id"])["model"] == answer["model"]
    with served.db() as db:
        by_version = {
            row["version"]: row["propensity"]
            for row in db.query("SELECT DISTINCT version, propensity FROM completions")
        }
    assert by_version == {0: 0.3, number: 0.7}
    assert served.http.post("/v1/versions/0/promote", json={"canary": 0}).json()["state"] == "withdrawn"
    assert {served.chat()["model"] for _ in range(10)} == {f"attune@{number}"}


def test_traffic_that_was_moved_elsewhere_is_followed(served: Running) -> None:
    number = served.add_candidate()
    served.wait_for_state(number, "live")
    with served.db() as db:
        from store.versions import roll_back

        roll_back(db, 0, "by hand, in the database")
    wait_until(lambda: served.chat()["model"] == "attune@0", what="the service follows")


def test_swaps_under_load_fail_nothing_and_mix_nothing(tmp_path: Path) -> None:
    with running(tmp_path / "data", ParrotModel(step_s=0.001, load_s=0.05)) as served:
        stop, texts, failed = threading.Event(), [], []

        def talk(index: int) -> None:
            client: OpenAI = served.openai()
            while not stop.is_set():
                try:
                    if index % 2:
                        stream = client.chat.completions.create(**LONG, stream=True)
                        chunks = [chunk for chunk in stream if chunk.choices]
                        model, text = chunks[0].model, "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
                        assert {chunk.model for chunk in chunks} == {model}
                    else:
                        answer = client.chat.completions.create(**LONG)
                        model, text = answer.model, answer.choices[0].message.content or ""
                    texts.append((model, text))
                except Exception as error:
                    failed.append(repr(error))

        threads = [threading.Thread(target=talk, args=[index]) for index in range(8)]
        for thread in threads:
            thread.start()
        numbers = []
        for _ in range(8):
            numbers.append(number := served.add_candidate())
            served.wait_for_state(number, "live")
            wait_until(lambda: failed or any(model == f"attune@{number}" for model, _ in texts), 60, "it answers")
        stop.set()
        for thread in threads:
            thread.join(20)
        assert not failed
        assert {model for model, _ in texts} >= {f"attune@{number}" for number in numbers}
        for model, text in texts:
            assert {part[0] for part in (part.split("-") for part in text.split()[:-1])} == {
                model.replace("attune@", "w")
            }
        wait_until(
            lambda: sum(not runner.is_closed for runner in served.model.runners) == 1,
            what="replaced versions left memory",
        )


def test_answers_past_the_drain_limit_are_cut_with_a_clear_error(tmp_path: Path) -> None:
    with running(tmp_path / "data", ParrotModel(step_s=0.02), limits__drain_s=0.3) as served:
        stream = served.openai().chat.completions.create(
            model="attune", messages=[{"role": "user", "content": "long"}], max_tokens=800, stream=True
        )
        next(iter(stream))
        served.wait_for_state(served.add_candidate(), "live")
        with pytest.raises(Exception, match=r"replaced .* limit of 0\.3 s"):
            list(stream)


def test_a_runner_that_dies_is_an_error_for_its_answers_and_comes_back(served: Running) -> None:
    dead = served.http.post(
        "/v1/chat/completions", json={"model": "attune", "messages": [{"role": "user", "content": "die"}]}
    )
    assert (dead.status_code, dead.json()["error"]["code"]) == (500, "engine_failed")
    wait_until(
        lambda: served.http.post("/v1/chat/completions", json=LONG).status_code == 200, what="the version is back"
    )
    with served.db() as db:
        assert db.table("events").count_where("kind = 'slot.failed'") == 1
    assert len(served.model.runners) == 2


def test_after_a_restart_the_same_version_answers(tmp_path: Path) -> None:
    with running(tmp_path / "data") as served:
        number = served.add_candidate()
        served.wait_for_state(number, "live")
    with running(tmp_path / "data") as served:
        assert served.chat()["model"] == f"attune@{number}"


def test_a_live_version_that_was_damaged_is_rolled_back_at_the_start(tmp_path: Path) -> None:
    with running(tmp_path / "data") as served:
        served.wait_for_state(served.add_candidate(), "live")
    with running(tmp_path / "data", ParrotModel(refused={1})) as served:
        assert served.chat()["model"] == "attune@0"
        assert served.versions()[1]["state"] == "withdrawn"
        with served.db() as db:
            assert current_traffic(db).live == 0


def test_what_made_a_version_and_how_two_answer(served: Running) -> None:
    number = served.add_candidate()
    served.wait_for_state(number, "live")
    shown = served.http.get(f"/v1/versions/{number}").json()
    assert (shown["gate"]["passed"], shown["manifest"], shown["run"], shown["parent"]) == (
        True,
        {"version": number},
        None,
        0,
    )
    assert served.http.get(f"/v1/versions/{number}/feedback").json() == {"data": [], "next_cursor": None}
    served.chat("How are you?")
    both = served.http.get(f"/v1/versions/{number}/samples", params={"against": 0}).json()
    assert [row["messages"][0]["content"] for row in both["data"]] == ["How are you?"]
    assert versions_in(both["data"][0]["text"]) == {f"w{number}"}
    assert versions_in(both["data"][0]["against"]) == {"w0"}
    assert served.http.get("/v1/versions/99").status_code == 404


def test_lists_show_a_run_s_numbers_and_the_version_its_whole_curve(served: Running) -> None:
    number = served.add_candidate()
    metrics = {"loss": 0.5, "curve": [{"step": 1, "loss": 0.7}], "raters": {"ann": {"items": 1}}}
    with served.db() as db:
        db.table("versions").update(number, {"metrics": json.dumps(metrics)})
    assert served.versions()[number]["metrics"] == {"loss": 0.5}


def test_the_data_folder_knows_which_model_it_serves_and_with_which_template(
    served: Running, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert served_model(served.data) == ServedModel("parrot", served.model.digest)
    with running(tmp_path_factory.mktemp("chatml") / "data", chat_template="chatml") as other:
        assert served_model(other.data) == ServedModel("parrot", other.model.digest, CHATML)
