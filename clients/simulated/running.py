"""The people at work: rounds of chats, thumbs, choices and corrections against a real service, through the SDK alone."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import httpx

import attune
from clients.simulated.errors import LearnerAway
from clients.simulated.populations import Population, User
from clients.simulated.questions import Question, asked

MIX = (
    ("choice", 0.5),
    ("thumb", 0.35),
    ("correction", 0.15),
)  # what a person does in a round (shared effort as people give it)
MAX_TOKENS = 96
AHEAD = 2  # people wait when so many times the learner's trigger waits to be learned: they are slower than it, and answer to what it learned
POLL_S = 0.5
AWAY_S = 60.0  # a learner may be silent for so long, as while it starts or its machine is busy, before we call it away
SETTLED_LOOKS = 4  # looks in a row at a learner with nothing to do before we believe it


@dataclass
class Progress:
    """What is shown while it runs."""

    rounds_done: int = 0
    said: Counter[str] = field(default_factory=Counter)
    live: int = 0
    waiting: int = 0
    learner: str = "idle"
    away_since: float | None = None  # when the learner was first seen down, in time.monotonic seconds

    @property
    def items(self) -> int:
        """Feedback given, ties left out."""
        return sum(count for kind, count in self.said.items() if kind not in ("tie", "silence"))


Report = Callable[[Progress], None]


@contextlib.asynccontextmanager
async def speakers(
    address: tuple[str | None, str | None], users: Sequence[User]
) -> AsyncIterator[list[attune.AsyncClient]]:
    """Give a client for each user, each with the user's name, over one pool of connections."""
    url, key = address
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
    async with httpx.AsyncClient(timeout=httpx.Timeout(300.0, connect=10.0), limits=limits) as http:
        yield [attune.AsyncClient(url, key, rater=user.name, retry=attune.Retry(times=6), http=http) for user in users]


async def run_rounds(
    people: Population,
    clients: Sequence[attune.AsyncClient],
    rounds: int,
    seed: int,
    report: Report,
    *,
    keep_pace: bool,
) -> Progress:
    """Let every user do one thing per round; return what was said. The same seed asks the same questions of the same
    users.

    With `keep_pace` users wait while the learner has far more to learn than one update takes. Raises LearnerAway then,
    when it is down.
    """
    questions = asked(seed, rounds * len(people.users))
    acts = random.Random(f"acts {seed}").choices(
        [kind for kind, _ in MIX], [share for _, share in MIX], k=len(questions)
    )
    progress = Progress()
    for number in range(rounds):
        turn = slice(number * len(people.users), (number + 1) * len(people.users))
        plan = zip(people.users, clients, questions[turn], acts[turn], strict=True)
        progress.said.update(
            await asyncio.gather(*(_act(user, client, question, act) for user, client, question, act in plan))
        )
        progress.rounds_done += 1
        learner = await _look(clients[0], progress, report)
        while keep_pace and _is_behind(learner):
            _require_learner(progress)
            await asyncio.sleep(POLL_S)
            learner = await _look(clients[0], progress, report)
    return progress


async def _act(user: User, client: attune.AsyncClient, question: Question, act: str) -> str:
    """One user does one thing; return what came of it."""
    if act == "choice" or not user.seen:
        comparison = await client.compare(question.messages, max_tokens=MAX_TOKENS)
        winner = user.choose(question, comparison.a.content, comparison.b.content)
        await comparison.choose(winner)
        return "tie" if winner == "tie" else "choice"
    reply = await client.chat(question.messages, max_tokens=MAX_TOKENS)
    if act == "correction":
        better = user.correction(question, reply.text)
        if better is not None:
            await reply.correct(better)
            return "correction"
    thumb = user.thumb(question, reply.text)
    if thumb is None:
        return "silence"
    await reply.rate(thumb)
    return "thumb"


async def _look(client: attune.AsyncClient, progress: Progress, report: Report) -> attune.Learner:
    learner = await client.learner()
    progress.live, progress.waiting, progress.learner = learner.live or 0, learner.waiting, learner.state
    progress.away_since = (progress.away_since or time.monotonic()) if learner.state == "down" else None
    report(progress)
    return learner


def _require_learner(progress: Progress) -> None:
    """Raise LearnerAway when nobody will learn from this: at once when the learner is paused, after a while when it is
    down.
    """
    is_away = progress.away_since is not None and time.monotonic() - progress.away_since >= AWAY_S
    if is_away or progress.learner == "paused":
        raise LearnerAway(
            f"the learner is {progress.learner}, so nobody learns from this; start it, or simulate with --no-wait"
        )


def _is_behind(learner: attune.Learner) -> bool:
    items = learner.trigger.items if learner.trigger is not None else 16
    return learner.waiting >= AHEAD * items


async def wait_until_learned(client: attune.AsyncClient, progress: Progress, report: Report, limit_s: float) -> bool:
    """Wait until the learner has taken in all it can, and what it made is live or rejected; return whether that came
    within the limit.
    """
    began, quiet = time.monotonic(), 0
    with contextlib.suppress(attune.Forbidden, attune.Conflict):
        await client.update()  # do not wait for the trigger's clock; without an admin key the clock it is
    while time.monotonic() - began < limit_s:
        learner = await _look(client, progress, report)
        _require_learner(progress)
        smallest = learner.trigger.min_items if learner.trigger is not None else 4
        is_pending = any(version.state == "candidate" for version in await client.versions())
        is_quiet = learner.state == "idle" and learner.waiting < smallest and not is_pending
        quiet = quiet + 1 if is_quiet else 0
        if quiet >= SETTLED_LOOKS:
            return True
        await asyncio.sleep(POLL_S)
    return False
