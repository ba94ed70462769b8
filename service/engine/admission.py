"""Who may start now. A bounded queue in front of the engine that serves callers in turn, so that one cannot crowd out the others."""

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from service.errors import Overloaded


@dataclass(eq=False)
class Ticket:
    """A place in the engine for `cost` replies, held until it is given back."""

    cost: int
    caller: str
    _admitted: "asyncio.Future[None] | None" = field(default=None, repr=False)
    _returned: bool = False


class Admission:
    """At most `max_active` replies at once, at most `max_queued` requests waiting. Used from the event loop only."""

    def __init__(self, max_active: int, max_queued: int) -> None:
        self.max_active, self.max_queued = max_active, max_queued
        self.active = 0
        self.queued = 0
        self.closed_reason = ""
        self._waiting: OrderedDict[str, deque[Ticket]] = OrderedDict()  # by caller; the first caller is next

    async def enter(self, caller: str, cost: int) -> Ticket:
        """Wait for a place and return it. Raises Overloaded when the queue is full or the service stops."""
        if self.closed_reason:
            raise Overloaded(self.closed_reason, code="shutting_down", retry_after_s=5)
        ticket = Ticket(min(cost, self.max_active), caller)  # a request larger than the engine runs alone
        if not self.queued and self.active + ticket.cost <= self.max_active:
            self.active += ticket.cost
            return ticket
        if self.queued >= self.max_queued:
            said = f"all {self.max_active} places are taken and {self.queued} requests wait already; try again soon"
            raise Overloaded(said, retry_after_s=1.0 + self.queued / self.max_active)
        ticket._admitted = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(ticket)
        self.queued += 1
        try:
            await ticket._admitted
        except asyncio.CancelledError:
            self._leave_queue(ticket)
            raise
        return ticket

    def give_back(self, ticket: Ticket) -> None:
        """Free the place for the next in turn; a second time changes nothing."""
        if not ticket._returned:
            ticket._returned = True
            self.active -= ticket.cost
            self._admit()

    def close(self, reason: str) -> None:
        """Refuse all who come from now on and all who wait."""
        self.closed_reason = reason
        for tickets in self._waiting.values():
            for ticket in tickets:
                if ticket._admitted is not None and not ticket._admitted.done():
                    ticket._admitted.set_exception(Overloaded(reason, code="shutting_down", retry_after_s=5))
        self._waiting.clear()
        self.queued = 0

    def _admit(self) -> None:
        while self._waiting and not self.closed_reason:
            caller, tickets = next(iter(self._waiting.items()))
            if self.active + tickets[0].cost > self.max_active:
                return  # large requests are not overtaken, or they would wait for ever
            ticket = tickets.popleft()
            self.queued -= 1
            del self._waiting[caller]
            if tickets:
                self._waiting[caller] = tickets  # at the end: the next caller has its turn first
            assert ticket._admitted is not None
            if not ticket._admitted.done():  # else its caller left a moment ago
                self.active += ticket.cost
                ticket._admitted.set_result(None)

    def _leave_queue(self, ticket: Ticket) -> None:
        assert ticket._admitted is not None
        if ticket._admitted.done() and not ticket._admitted.cancelled():  # it was let in at the moment when its caller left
            if ticket._admitted.exception() is None:
                self.give_back(ticket)
            return
        tickets = self._waiting.get(ticket.caller)
        if tickets and ticket in tickets:
            tickets.remove(ticket)
            self.queued -= 1
            if not tickets:
                del self._waiting[ticket.caller]
            self._admit()
