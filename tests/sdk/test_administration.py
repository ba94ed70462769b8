"""The methods on versions, the learner and raters."""

from typing import Any

import attune
from tests.sdk.conftest import Either
from tests.sdk.fake_service import FakeService


def test_versions_come_in_order_with_their_record(either: Either, client: Any) -> None:
    versions = either.get(client.versions())
    assert [version.version for version in versions] == [0, 1, 2]
    live = versions[1]
    assert (live.thumbs.up, live.comparisons.wins, live.win_rate, live.win_rate_interval) == (3, 5, 0.6875, (0.36, 0.9))
    shown = either.get(client.version(2))
    assert shown.gate is not None
    assert not shown.gate.passed
    assert shown.gate.checks[0].limit == ">= 0"


def test_promote_and_roll_back(either: Either, client: Any, fake: FakeService) -> None:
    assert either.get(client.promote(0, canary=0.25)).state == "live"
    assert fake.seen[-1].body == {"canary": 0.25}
    assert either.get(client.rollback(1)).version == 1
    assert fake.seen[-1].body == {"to": 1}


def test_orders_to_the_learner(either: Either, client: Any) -> None:
    assert either.get(client.pause()).state == "paused"
    assert either.get(client.resume()).run.step == 3
    assert either.get(client.update()).trigger.items == 16


def test_raters_are_kept_out_and_let_in(either: Either, client: Any, fake: FakeService) -> None:
    assert either.get(client.quarantine("alice", reason="spam")).quarantined
    assert fake.seen[-1].body == {"reason": "spam"}
    assert not either.get(client.release("alice")).quarantined
    alice, spammer = either.get(client.raters())
    assert (alice.proposal, spammer.proposal) == (None, attune.Proposal((2,), 1))
    assert either.get(client.withdraw("spammer", reason="spam")) == attune.Withdrawn("spammer", (2,), 1)
    assert fake.seen[-1].body == {"reason": "spam"}
    assert either.get(client.erase("alice")) == attune.Erased("alice", (2,), 3, 4, 1)
