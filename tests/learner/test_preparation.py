"""What the learner does while it waits: anchors, not before there is feedback, and never before an update."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from learner.loop import Loop
from learner.preparation import DueWatch, Interrupted, UpdateDue
from learner.schedule import Decision
from policy.versions import read_version
from service.learner_state import describe_learner
from store.database import transaction
from store.events import events_after
from store.learner import add_order, report_status
from store.runs import add_run, runs
from tests.learner.world import World

PARTS = 4  # of two anchors each
Start = Callable[..., Loop]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learner.model.anchor_stock.PART_SMALL", 2)
    monkeypatch.setattr("learner.model.anchor_stock.SUFFICIENT", 2)
    monkeypatch.setattr("learner.preparation.LOOK_S", 0.0)


def made(loop: Loop) -> int:
    return len(loop._updater.anchors().made)


def test_without_feedback_nothing_is_prepared(world: World, start: Start) -> None:
    loop = start()
    assert not loop.tick()
    assert not loop.prepare()
    world.likes_short(1)
    assert loop.prepare()
    assert made(loop) == 2


def test_all_anchors_are_made_part_by_part_and_read_after_a_restart(world: World, start: Start) -> None:
    world.likes_short(1)
    loop = start()
    assert [loop.prepare() for _ in range(PARTS + 1)] == [True] * PARTS + [False]
    assert made(start()) == 8


def test_a_paused_learner_prepares_nothing(world: World, start: Start) -> None:
    world.likes_short(1)
    with transaction(world.db):
        add_order(world.db, "pause")
    loop = start()
    loop.decide()
    assert not loop.prepare()


def test_an_update_that_falls_due_ends_the_preparation_and_does_with_what_is_made(world: World, start: Start) -> None:
    world.likes_short(15)
    loop = start()
    assert loop.prepare()
    stock, make_part = loop._updater.anchors(), loop._updater.anchors().make_part

    def rated_meanwhile() -> None:
        world.likes_short(1, first=15)
        make_part()

    stock.make_part = rated_meanwhile  # type: ignore[method-assign]
    assert loop.prepare()
    assert made(loop) == 2
    stock.make_part = make_part  # type: ignore[method-assign]
    assert loop.tick()
    (run,) = runs(world.db)
    assert (run.state, run.settings["anchors"]["count"], made(loop)) == ("finished", 2, 2)


def test_a_run_has_the_same_anchors_when_it_is_done_again(world: World, start: Start, tmp_path: Path) -> None:
    """And so the same weights, though more anchors are there by then."""
    world.likes_short(16)
    assert start().tick()
    (run,) = runs(world.db)
    again = World(tmp_path / "again", world.base_digest)
    again.likes_short(16)
    with transaction(again.db):
        add_run(again.db, replace(run, state="running", version=None, finished_at=None))
    loop = start(data=again.folder)
    loop._updater.anchors().first(8)
    assert loop.take_up()
    first, second = (folder / "versions" / "000001" for folder in (world.folder, again.folder))
    assert read_version(second).digest == read_version(first).digest


def test_the_anchors_that_an_update_lacks_are_made_in_a_phase_of_their_own(
    world: World, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.likes_short(16)
    loop = start()
    phases: list[tuple[str, int, int]] = []
    monkeypatch.setattr(
        "learner.run_recorder.RunRecorder.phase",
        lambda _self, name, step, steps, *_: phases.append((name, step, steps)),
    )
    assert loop.tick()
    assert phases[:2] == [("prepare", 0, 2), ("reference", 0, 0)]


def test_a_stop_ends_an_update_before_its_next_forward_pass(world: World, start: Start) -> None:
    world.likes_short(16)
    loop, passes = start(), []

    def stop_at_the_fifth(*_: Any) -> None:
        passes.append(1)
        if len(passes) == 5:
            loop._stop.set()

    hook = loop.resident.base.get_input_embeddings().register_forward_pre_hook(stop_at_the_fifth)
    assert loop.tick()
    hook.remove()
    assert len(passes) == 5
    assert runs(world.db)[0].state == "running"  # it begins again with the next start


def test_a_stop_ends_the_preparation(world: World, start: Start) -> None:
    world.likes_short(1)
    loop = start()
    loop._stop.set()
    with pytest.raises(Interrupted):
        loop.prepare()
    assert loop.run() == 0


def test_the_watch_looks_at_the_store_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learner.preparation.LOOK_S", 1e9)
    looks: list[int] = []

    def decide() -> Decision:
        looks.append(1)
        return Decision("feedback")

    watch = DueWatch(decide, threading.Event())
    for _ in range(100):
        watch.look()
    assert not looks
    monkeypatch.setattr("learner.preparation.LOOK_S", 0.0)
    with pytest.raises(UpdateDue):
        watch.look()


def test_people_see_how_far_the_preparation_is(world: World) -> None:
    for done in (2, 2, 4):
        with transaction(world.db):
            report_status(world.db, "preparing", progress={"done": done, "total": 8})
    described = describe_learner(world.db)
    assert (described["state"], described["preparation"], described["run"]) == (
        "preparing",
        {"done": 4, "total": 8},
        None,
    )
    announced = [event.data for event in events_after(world.db, 0) if event.kind == "learner.state"]
    assert announced == [{"state": "preparing", "done": 2, "total": 8}, {"state": "preparing", "done": 4, "total": 8}]
    with transaction(world.db):
        report_status(world.db, "idle")
    assert describe_learner(world.db)["preparation"] is None
