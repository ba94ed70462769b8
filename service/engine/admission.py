"""Who may start now: a bounded, fair queue in front of the engine, so that no key crowds out the others."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from service.errors import Overloaded


@dataclass(eq=False)
class Ticket:
    """Admission for `cost` generations, held until it is given back. `key` is charged for it, `rater` asked for it."""

    cost: int
    key: str
    rater: str
    _admitted: "asyncio.Future[None] | None" = field(default=None, repr=False)
    _returned: bool = False


class FairQueue:
    """Tickets that wait: keys take turns, and so do the raters of one key. Pure."""

    def __init__(self) -> None:
        # the first key, and its first rater, are next
        self._keys: OrderedDict[str, OrderedDict[str, deque[Ticket]]] = OrderedDict()
        self._counts: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(self._counts.values())

    def __iter__(self) -> Iterator[Ticket]:
        return (ticket for raters in self._keys.values() for tickets in raters.values() for ticket in tickets)

    def add(self, ticket: Ticket) -> None:
        """Put a ticket at the end of its rater's queue."""
        self._keys.setdefault(ticket.key, OrderedDict()).setdefault(ticket.rater, deque()).append(ticket)
        self._counts[ticket.key] = self._counts.get(ticket.key, 0) + 1

    def next(self) -> Ticket | None:
        """Return whose turn it is, None when nobody waits."""
        return next(iter(self), None)

    def remove(self, ticket: Ticket) -> bool:
        """Remove a ticket; its key and its rater then stand last. Return whether it was waiting."""
        raters = self._keys.get(ticket.key, OrderedDict())
        tickets = raters.get(ticket.rater, deque())
        if ticket not in tickets:
            return False
        tickets.remove(ticket)
        self._counts[ticket.key] -= 1
        raters.move_to_end(ticket.rater)
        if not tickets:
            del raters[ticket.rater]
        self._keys.move_to_end(ticket.key)
        if not raters:
            del self._keys[ticket.key], self._counts[ticket.key]
        return True

    def excess_ticket(self, key: str) -> Ticket | None:
        """Return the ticket that makes room for `key` in a full queue, None if there is none.

        It is the newest of the key with the most tickets, if that key has at least two more than `key`.
        """
        largest = max(self._counts, key=lambda one: self._counts[one], default=key)
        if self._counts.get(largest, 0) < self._counts.get(key, 0) + 2:
            return None
        raters = self._keys[largest].values()
        return max(raters, key=len)[-1]


class Admission:
    """At most `max_active` generations at once and `max_queued` requests waiting. Used from the event loop only."""

    def __init__(self, max_active: int, max_queued: int) -> None:
        self.max_active, self.max_queued = max_active, max_queued
        self.active = 0
        self.closed_reason = ""
        self._waiting = FairQueue()

    @property
    def queued(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    async def enter(self, key: str, rater: str, cost: int) -> Ticket:
        """Wait for admission and return its ticket. Raises Overloaded when the queue is full or the service stops.

        A full queue still takes a key that has fewer requests in it than another: the newest of the other's is refused
        instead.
        """
        if self.closed_reason:
            raise Overloaded(self.closed_reason, code="shutting_down", retry_after_s=5)
        ticket = Ticket(min(cost, self.max_active), key, rater)  # a request larger than the engine runs alone
        if not self.queued and self.active + ticket.cost <= self.max_active:
            self.active += ticket.cost
            return ticket
        if self.queued >= self.max_queued:
            excess = self._waiting.excess_ticket(key)
            if excess is None:
                raise self._full()
            self._refuse(excess, self._full())
        ticket._admitted = asyncio.get_running_loop().create_future()
        self._waiting.add(ticket)
        try:
            await ticket._admitted
        except asyncio.CancelledError:
            self._leave_queue(ticket)
            raise
        return ticket

    def give_back(self, ticket: Ticket) -> None:
        """Admit the next in turn in this ticket's stead; a second call changes nothing."""
        if not ticket._returned:
            ticket._returned = True
            self.active -= ticket.cost
            self._admit()

    def close(self, reason: str) -> None:
        """Refuse all who come from now on and all who wait."""
        self.closed_reason = reason
        for ticket in list(self._waiting):
            self._refuse(ticket, Overloaded(reason, code="shutting_down", retry_after_s=5))

    def _full(self) -> Overloaded:
        busy = f"{self.active} of {self.max_active} answers are under way and {self.queued} requests wait already"
        return Overloaded(f"{busy}; try again soon", retry_after_s=1.0 + self.queued / self.max_active)

    def _refuse(self, ticket: Ticket, error: Overloaded) -> None:
        self._waiting.remove(ticket)
        if ticket._admitted is not None and not ticket._admitted.done():
            ticket._admitted.set_exception(error)

    def _admit(self) -> None:
        while (ticket := self._waiting.next()) is not None and not self.closed_reason:
            if self.active + ticket.cost > self.max_active:
                return  # large requests are not overtaken, or they would wait for ever
            self._waiting.remove(ticket)
            assert ticket._admitted is not None
            if not ticket._admitted.done():  # else its caller left a moment ago
                self.active += ticket.cost
                ticket._admitted.set_result(None)

    def _leave_queue(self, ticket: Ticket) -> None:
        assert ticket._admitted is not None
        if ticket._admitted.done() and not ticket._admitted.cancelled():  # it was admitted just as its caller left
            if ticket._admitted.exception() is None:
                self.give_back(ticket)
            return
        if self._waiting.remove(ticket):
            self._admit()
