"""What the clients do: streaming chat at 1, 8 and 32 clients, and the second turn of a long conversation."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.serve.answers import Answer, Ask

THINGS = (  # one for each client
    *("sea", "harbor", "lantern", "river", "orchard", "violin", "glacier", "market", "desert", "teapot", "bicycle"),
    *("castle", "meadow", "engine", "spider", "library", "comet", "pepper", "anchor", "tunnel", "feather", "compass"),
    *("canyon", "mirror", "carpet", "pigeon", "bakery", "volcano", "needle", "puzzle", "ladder", "whistle"),
)
DEEDS = ("finds", "loses", "paints", "repairs", "steals", "sells", "buries", "follows", "hides", "cleans", "draws")
WARM_TOKENS = 4
SECOND_TOKENS = 16  # of each answer in a long conversation
TOKENS_PER_SENTENCE = 11.6  # with the tokenizer of SmolLM2


@dataclass(frozen=True)
class Scenario:
    """So many clients at once, each with one answer of `tokens`; or one with a conversation of `history` tokens."""

    name: str
    clients: int
    tokens: int
    history: int = 0

    def turns(self, number: int) -> "Iterator[Callable[[list[Answer]], list[Ask]]]":
        """Yield what is asked in each turn, given the answers before. No two numbers have a long text in common."""
        if not self.history:
            about = 100 * number + self.clients
            yield lambda _: [
                Ask([{"role": "user", "content": _question(about, client)}], self.tokens, 100 * about + client)
                for client in range(self.clients)
            ]
            return
        opening = [{"role": "user", "content": f"{_tale(number, self.history)} Who was first?"}]
        yield lambda _: [Ask(opening, self.tokens, number)]
        yield lambda answers: [
            Ask(
                [*opening, {"role": "assistant", "content": answers[0].text}, {"role": "user", "content": "And then?"}],
                self.tokens,
                number,
            )
        ]


SCENARIOS = (
    Scenario("1 stream", 1, 128),
    Scenario("8 streams", 8, 64),
    Scenario("32 streams", 32, 64),
    Scenario("second turn", 1, SECOND_TOKENS, history=1800),
)


def warm_up(clients: int) -> list[Ask]:
    """Return requests after which a server has made what it makes at its first ones."""
    return [
        Ask([{"role": "user", "content": f"Hello, {THINGS[client % len(THINGS)]}!"}], WARM_TOKENS, client)
        for client in range(clients)
    ]


def _question(number: int, client: int) -> str:
    thing, other = THINGS[client % len(THINGS)], THINGS[(client + number + 1) % len(THINGS)]
    return f"Story {number}: write a long story about a {thing} and a {other}. Describe every day of a whole year."


def _tale(number: int, tokens: int) -> str:
    rng = random.Random(number)
    sentences = [
        f"On day {day} the {rng.choice(THINGS)} {rng.choice(DEEDS)} the {rng.choice(THINGS)}."
        for day in range(1, 1 + max(1, round(tokens / TOKENS_PER_SENTENCE)))
    ]
    return f"Chronicle {number}. {' '.join(sentences)}"
