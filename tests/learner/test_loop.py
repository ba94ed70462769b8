"""The conductor, on a real store and a tiny model: what it starts, what it leaves, and what it does after a crash."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlite_utils import Database

from learner.loop import Loop
from learner.settings import LearnerSettings
from policy.versions import read_version
from store.database import connect, transaction
from store.events import events_after
from store.ids import new_id, now
from store.learner import add_order, learner_status
from store.runs import Run, add_run, get_run, note_run, runs
from store.versions import feedback_of_version, get_version, live_version, passed_candidate, set_live, versions
from tests.learner.world import World

Start = Callable[..., Loop]


def go_live(db: Database, number: int) -> None:
    with transaction(db):
        set_live(db, number, "test")


def test_the_reward_model_of_an_update_names_its_base_model(
    world: World, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.likes_short(16)
    small = {
        "rollout.rounds": 1,
        "rollout.prompts": 2,
        "rollout.group_size": 2,
        "rollout.max_tokens": 8,
        "reward_model.min_labels": 4,
    }
    monkeypatch.setattr("learner.reward_model.training.MAX_STEPS", 5)
    loop = start(algorithm="grpo", **small)
    assert loop.tick()
    assert read_version(world.folder / "rewards" / "000001").base_model == loop.settings.model


def test_enough_feedback_makes_a_version_and_everything_about_it_is_on_record(world: World, start: Start) -> None:
    rows = world.likes_short(16)
    loop = start()
    assert loop.tick()
    version = passed_candidate(world.db)
    assert version is not None
    assert (version.number, version.parent, version.watermark, version.algorithm) == (1, 0, rows[-1].seq, "mixed")
    assert feedback_of_version(world.db, 1) == [row.id for row in rows]
    (run,) = runs(world.db)
    assert (run.state, run.version, run.items, run.id) == ("finished", 1, 16, version.run_id)
    manifest = read_version(world.folder / version.folder)
    assert (manifest.digest, manifest.parent, manifest.seed) == (version.digest, 0, run.seed)
    assert version.gate is not None
    assert version.gate["passed"]
    assert learner_status(world.db).attempted_seq == rows[-1].seq
    kinds = ("run.started", "version.candidate", "run.finished")
    assert [event.kind for event in events_after(world.db, 0) if event.kind in kinds] == list(kinds)


DAMAGES = (
    "UPDATE completions SET completion_ids = x'ffff0000' WHERE id = :completion",
    "UPDATE completions SET completion_ids = x'ffffff' WHERE id = :completion",
    "UPDATE completions SET prompt_ids = x'ff00000000ff0000' WHERE id = :completion",
    "UPDATE completions SET logps = x'0000c07f0000c07f' WHERE id = :completion",
    "UPDATE feedback SET value = 'much', kind = 'score' WHERE id = :feedback",
    "UPDATE feedback SET value = 9e999, kind = 'score' WHERE id = :feedback",
    "UPDATE completions SET messages = '7' WHERE id = :completion; "
    "UPDATE feedback SET kind = 'correction', text = 'x' WHERE id = :feedback",
)
HARMLESS = (  # damaged where learning does not look
    "UPDATE feedback SET created_at = 'garbage' WHERE id = :feedback",
    "UPDATE feedback SET created_at = 'now' WHERE id = :feedback",
    "UPDATE feedback SET created_at = '', metadata = '{nope' WHERE id = :feedback",
    "UPDATE completions SET messages = '7', settings = '' WHERE id = :completion",
)


def test_damaged_rows_keep_nobody_elses_feedback_from_being_learned(
    world: World, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = []
    for number, damage in enumerate((*DAMAGES, *HARMLESS)):
        completion = world.completion((1, 4, 20, 30 + number, 2, 5), (50, 2))
        row = world.thumb(completion, True)
        damaged.append(row.id)
        with transaction(world.db):
            for statement in damage.split("; "):
                world.db.execute(statement, {"completion": completion.id, "feedback": row.id})
    rows = world.likes_short(16)
    loop = start()
    assert loop.tick()
    (run,) = runs(world.db)
    assert (run.state, run.version) == ("finished", 1)
    assert list(run.metrics["left_out"]) == damaged[: len(DAMAGES)]
    assert run.metrics["items/left_out"] == len(DAMAGES)
    assert all(row in caplog.text for row in damaged[: len(DAMAGES)])
    assert set(feedback_of_version(world.db, 1)) == {*damaged[len(DAMAGES) :], *(row.id for row in rows)}


def test_a_damaged_row_alone_is_not_tried_again_and_again(world: World, start: Start) -> None:
    completion = world.completion((1, 4, 20, 2, 5), (70_000, 2))
    row = world.thumb(completion, True)
    with transaction(world.db):
        world.db.execute("UPDATE feedback SET created_at = 'garbage'")
    loop = start()
    assert loop.tick(ordered=True)
    (run,) = runs(world.db)
    assert (run.state, run.metrics["items/left_out"]) == ("finished", 1)
    assert not loop.tick()
    assert learner_status(world.db).attempted_seq == row.seq


def test_nothing_starts_while_a_candidate_waits_and_the_next_update_starts_from_what_became_of_it(
    world: World, start: Start
) -> None:
    world.likes_short(16)
    loop = start()
    loop.tick()
    more = world.likes_short(16, first=16)
    assert not loop.tick()
    go_live(world.db, 1)
    assert loop.tick()
    second = get_version(world.db, 2)
    assert (second.parent, second.watermark) == (1, more[-1].seq)
    assert feedback_of_version(world.db, 2) == [row.id for row in more]
    assert second.metrics["warm_start"]
    assert second.metrics["items/trained"] > 16


def test_an_order_is_obeyed_with_a_single_row_and_forgotten_without_one(world: World, start: Start) -> None:
    loop = start()
    with transaction(world.db):
        add_order(world.db, "update")
    assert not loop.tick()
    world.likes_short(1)
    assert not loop.tick()
    with transaction(world.db):
        add_order(world.db, "update")
    assert loop.tick()
    assert feedback_of_version(world.db, 1)


def test_a_pause_holds_until_it_is_taken_back_also_after_a_restart(world: World, start: Start) -> None:
    world.likes_short(16)
    with transaction(world.db):
        add_order(world.db, "pause")
    assert not start().tick()
    loop = start()
    assert not loop.tick()
    assert learner_status(world.db).paused
    with transaction(world.db):
        add_order(world.db, "resume")
    assert loop.tick()


def test_the_clock_decides_when_it_will_start(world: World, start: Start) -> None:
    world.likes_short(5)
    loop = start(trigger__seconds=30)
    decided = loop.decide()
    assert not decided.start
    assert decided.next_at is not None
    assert 20 < (decided.next_at - datetime.now(UTC)).total_seconds() <= 30


def test_a_rejected_candidate_is_tried_once_more_and_then_waits_for_more_feedback(world: World, start: Start) -> None:
    world.likes_short(16)
    loop = start(gate__max_anchor_kl=1e-9, steps=8)
    assert loop.tick()
    assert loop.tick()
    assert not loop.tick()
    first, second = runs(world.db)[::-1]
    assert [version.state for version in versions(world.db)[1:]] == ["rejected", "rejected"]
    assert second.settings["retry_of"] == first.id
    assert (first.settings["steps"], second.settings["steps"]) == (8, 4)
    assert first.settings["model"] == loop.settings.model
    assert (second.after_seq, second.upto_seq) == (first.after_seq, first.upto_seq)
    assert live_version(world.db).number == 0
    world.likes_short(16, first=16)
    assert loop.tick()
    assert runs(world.db, 1)[0].items == 32  # what was rejected is learned from again, on top of live


def test_a_diverged_run_fails_and_live_is_untouched(
    world: World, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.likes_short(16)
    loop = start()
    steps = iter([0.5, 0.4, float("nan")])
    monkeypatch.setattr("learner.methods.mixed.backward", lambda *_: (next(steps), {"pair/accuracy": 0.5}))
    assert loop.tick()
    (run,) = runs(world.db)
    assert run.state == "failed"
    assert "nan" in run.error
    assert [entry["loss"] for entry in run.metrics["curve"]] == [
        0.5,
        0.4,
    ]  # what it had come to stays, and what it cost
    assert run.metrics["pair/accuracy"] == 0.5
    assert run.metrics["seconds"] > 0
    assert [version.number for version in versions(world.db)] == [0]
    assert not loop.tick()
    assert learner_status(world.db).attempted_seq == run.upto_seq
    monkeypatch.undo()
    monkeypatch.setattr("learner.run_history.back_off_s", lambda failures: 0.0)
    world.likes_short(16, first=16)
    assert loop.tick()
    assert passed_candidate(world.db) is not None


def test_what_a_run_has_come_to_is_on_record_while_it_goes_on(
    world: World, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.likes_short(16)
    monkeypatch.setattr("learner.run_recorder.WRITE_EVERY_S", 0.0)
    loop, seen = start(steps=4), []
    monkeypatch.setattr(
        "learner.run_recorder.note_run",
        lambda db, run_id, metrics: (note_run(db, run_id, metrics), seen.append(get_run(db, run_id))),
    )
    assert loop.tick()
    assert [run.state for run in seen] == ["running"] * 4
    assert [len(run.metrics["curve"]) for run in seen] == [1, 2, 3, 4]


def test_a_run_that_fails_is_tried_again_after_a_while_but_not_for_ever(
    world: World, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.likes_short(16)
    loop = start()
    monkeypatch.setattr(
        "learner.loop.publish", lambda *_, **__: (_ for _ in ()).throw(OSError("no space left\non the disk"))
    )
    assert loop.tick()
    assert not loop.tick()  # it waits first
    monkeypatch.setattr("learner.run_history.back_off_s", lambda failures: 0.0)
    for _ in range(5):
        loop.tick()
    failed = runs(world.db)
    assert [run.error for run in failed] == ["no space left"] * 3
    monkeypatch.undo()
    monkeypatch.setattr("learner.run_history.back_off_s", lambda failures: 0.0)
    assert not loop.tick()
    world.likes_short(16, first=16)
    assert loop.tick()
    assert get_version(world.db, 1).watermark > failed[0].upto_seq


def test_what_a_crash_left_behind_is_done_again_as_it_was_planned(
    world: World, start: Start, make_settings: Callable[..., LearnerSettings]
) -> None:
    rows = world.likes_short(16)
    kept = make_settings(steps=3).model_dump(mode="json", exclude={"data", "model", "device", "nice", "threads"})
    left = Run(new_id("run-"), "mixed", "running", kept, 77, 0, 12, 0, rows[11].seq or 0, now())
    with transaction(world.db):
        add_run(world.db, left)
    loop = start()
    assert loop.take_up()
    done, version = get_run(world.db, left.id), get_version(world.db, 1)
    assert (done.state, done.attempt, done.version) == ("finished", 2, 1)
    assert (version.watermark, version.metrics["steps"]) == (rows[11].seq, 3)
    assert feedback_of_version(world.db, 1) == [row.id for row in rows[:12]]
    assert read_version(world.folder / version.folder).seed == 77


def test_a_run_that_an_earlier_release_planned_is_on_record_with_the_settings_that_it_has(
    world: World, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    rows = world.likes_short(16)
    flat = {
        "algorithm": "mixed",
        "steps": 3,
        "batch_items": 4,
        "anchor_items": 8,
        "anchor_batch": 2,
        "lora_alpha": 16.0,
    }
    flat |= {"gate_samples": 8, "gate_max_tokens": 16, "cooldown": 0.5, "retry_of": "run-before"}
    left = Run(new_id("run-"), "mixed", "running", flat, 77, 0, 12, 0, rows[11].seq or 0, now())
    with transaction(world.db):
        add_run(world.db, left)
    assert start().take_up()
    done, version = get_run(world.db, left.id), get_version(world.db, 1)
    assert (done.state, done.settings["anchors"]["count"], done.settings["retry_of"]) == ("finished", 8, "run-before")
    assert not {"cooldown", "anchor_items", "data"} & done.settings.keys()
    assert read_version(world.folder / version.folder).settings == done.settings
    assert "planned it with lora_alpha=16.0, cooldown=0.5, which is no setting now" in caplog.text


def test_a_run_whose_settings_are_refused_now_does_not_keep_the_learner_from_its_work(
    world: World, start: Start, make_settings: Callable[..., LearnerSettings]
) -> None:
    rows = world.likes_short(16)
    kept = make_settings().model_dump(mode="json", exclude={"data", "model", "device", "nice", "threads"}) | {
        "rollout": {"minibatches": 99}
    }
    left = Run(new_id("run-"), "mixed", "running", kept, 77, 0, 12, 0, rows[11].seq or 0, now())
    with transaction(world.db):
        add_run(world.db, left)
    assert start().take_up()
    run = get_run(world.db, left.id)
    assert run.state == "failed"
    assert "its settings are refused now: " in run.error
    assert "rollout.minibatches 99" in run.error


@pytest.mark.parametrize(
    ("attempt", "parent_is_live", "reason"), [(5, True, "5 times in the middle"), (1, False, "not live any more")]
)
def test_a_run_that_cannot_be_taken_up_is_failed_with_the_reason(
    world: World, start: Start, attempt: int, parent_is_live: bool, reason: str
) -> None:
    rows = world.likes_short(16)
    loop = start()
    if not parent_is_live:
        loop.tick()
        go_live(world.db, 1)
    left = Run(new_id("run-"), "mixed", "running", {}, 7, 0, 16, 0, rows[-1].seq or 0, now(), attempt=attempt)
    with transaction(world.db):
        add_run(world.db, left)
    assert not loop.take_up()
    assert reason in get_run(world.db, left.id).error


def test_feedback_that_teaches_nothing_is_not_looked_at_for_ever(world: World, start: Start) -> None:
    for number in range(16):
        same = world.completion((1, 4, number, 2, 5), (50, 2))
        world.choice(same, world.completion((1, 4, number, 2, 5), (50, 2)), "A")
    loop = start()
    assert loop.tick()
    assert runs(world.db)[0].version is None
    assert not loop.tick()


def test_the_service_sees_a_heartbeat_every_second_even_while_the_loop_is_busy(world: World, start: Start) -> None:
    loop = start()
    loop.decide()
    watched = connect(world.folder)
    beats = set()
    waiter = threading.Event()
    for _ in range(13):
        waiter.wait(0.2)  # the loop's own thread does nothing all the while
        beats.add(learner_status(watched).heartbeat_at)
    watched.close()
    assert len(beats) >= 3


def test_it_reports_that_it_is_down_when_it_ends(world: World, start: Start) -> None:
    loop = start()
    loop.decide()
    loop.close()
    assert learner_status(world.db).state == "down"


def test_a_folder_without_a_row_is_replaced(world: World, start: Start) -> None:
    stale = world.folder / "versions" / "000001"
    stale.mkdir(parents=True)
    (stale / "adapter_model.safetensors").write_bytes(b"of a run that died before its transaction")
    world.likes_short(16)
    assert start().tick()
    assert read_version(stale).version == 1
    assert not [path for path in Path(world.folder / "versions").iterdir() if path.name.startswith(".")]
