"""Rounds of chats, choices, thumbs and corrections against a service, through the SDK alone."""

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

MIX = {"choice": 0.5, "thumb": 0.35, "correction": 0.15}  # shares of a user's actions
MAX_TOKENS = 96
AHEAD = 2  # users wait while more than this many triggers' worth of feedback is waiting
POLL_S = 0.5
AWAY_S = 60.0  # a learner that starts, or whose machine is busy, may be silent for this long
SETTLED_POLLS = 4  # polls in a row that must find the learner idle


@dataclass
class Progress:
    """The state of a simulation under way. `feedback_given` counts what each user's action came to, by kind."""

    rounds_done: int = 0
    feedback_given: Counter[str] = field(default_factory=Counter)
    live: int = 0
    waiting: int = 0
    learner: str = "idle"
    away_since: float | None = None  # when the learner was first seen down, in time.monotonic seconds

    @property
    def num_feedback(self) -> int:
        """Count of feedback, without ties."""
        return sum(count for kind, count in self.feedback_given.items() if kind not in ("tie", "silence"))


Report = Callable[[Progress], None]


@contextlib.asynccontextmanager
async def clients_for(
    address: tuple[str | None, str | None], users: Sequence[User]
) -> AsyncIterator[list[attune.AsyncClient]]:
    """Yield a client for each user as rater, over one pool of connections. `address` is the URL and the API key."""
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
    """Let every user take one action a round; return the counts. The same seed gives the same questions and actions.

    With `keep_pace` users wait while far more feedback is waiting than one update takes. Raises LearnerAway when the
    learner is down or paused during that wait.
    """
    questions = asked(seed, rounds * len(people.users))
    actions = random.Random(f"acts {seed}").choices(list(MIX), list(MIX.values()), k=len(questions))
    progress = Progress()
    for number in range(rounds):
        turn = slice(number * len(people.users), (number + 1) * len(people.users))
        plan = zip(people.users, clients, questions[turn], actions[turn], strict=True)
        progress.feedback_given.update(await asyncio.gather(*(_take_action(*arguments) for arguments in plan)))
        progress.rounds_done += 1
        learner = await _poll(clients[0], progress, report)
        while keep_pace and _is_behind(learner):
            _require_learner(progress)
            await asyncio.sleep(POLL_S)
            learner = await _poll(clients[0], progress, report)
    return progress


async def _take_action(user: User, client: attune.AsyncClient, question: Question, action: str) -> str:
    """Let one user take one action; return the kind of feedback that it came to."""
    if action == "choice" or not user.seen:
        comparison = await client.compare(question.messages, max_tokens=MAX_TOKENS)
        winner = user.choose(question, comparison.a.content, comparison.b.content)
        await comparison.choose(winner)
        return "tie" if winner == "tie" else "choice"
    answer = await client.chat(question.messages, max_tokens=MAX_TOKENS)
    if action == "correction":
        better = user.correction(question, answer.text)
        if better is not None:
            await answer.correct(better)
            return "correction"
    thumb = user.thumb(question, answer.text)
    if thumb is None:
        return "silence"
    await answer.rate(thumb)
    return "thumb"


async def _poll(client: attune.AsyncClient, progress: Progress, report: Report) -> attune.Learner:
    """Ask for the learner's state, note it in `progress` and report it."""
    learner = await client.learner()
    progress.live, progress.waiting, progress.learner = learner.live or 0, learner.waiting, learner.state
    progress.away_since = (progress.away_since or time.monotonic()) if learner.state == "down" else None
    report(progress)
    return learner


def _require_learner(progress: Progress) -> None:
    """Raise LearnerAway: at once when the learner is paused, after `AWAY_S` seconds when it is down."""
    is_away = progress.away_since is not None and time.monotonic() - progress.away_since >= AWAY_S
    if is_away or progress.learner == "paused":
        raise LearnerAway(
            f"the learner is {progress.learner}, so it cannot learn; start it, or simulate with --no-wait"
        )


def _is_behind(learner: attune.Learner) -> bool:
    items = learner.trigger.items if learner.trigger is not None else 16
    return learner.waiting >= AHEAD * items


async def wait_until_learned(client: attune.AsyncClient, progress: Progress, report: Report, limit_s: float) -> bool:
    """Wait until the learner is idle and no candidate is pending; return False after `limit_s` seconds."""
    began, quiet = time.monotonic(), 0
    with contextlib.suppress(attune.Forbidden, attune.Conflict):
        await client.update()  # sooner than the trigger's clock; it needs an admin key
    while time.monotonic() - began < limit_s:
        learner = await _poll(client, progress, report)
        _require_learner(progress)
        smallest = learner.trigger.min_items if learner.trigger is not None else 4
        is_pending = any(version.state == "candidate" for version in await client.versions())
        is_quiet = learner.state == "idle" and learner.waiting < smallest and not is_pending
        quiet = quiet + 1 if is_quiet else 0
        if quiet >= SETTLED_POLLS:
            return True
        await asyncio.sleep(POLL_S)
    return False
