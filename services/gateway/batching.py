"""The micro-batcher: texts of many callers share calls to the classifier.

It waits for nothing. While few calls are in flight, whatever has come is sent at the end of the event loop's turn;
otherwise texts gather and go with the next call. Several calls in flight keep the classifier's tokeniser and Triton
busy at the same time. When calls take long, because the model is large, further ones start at intervals: texts that
wait in the classifier's queue fill Triton's next batch, those that wait here do not.

Each caller gets the result of its own text. A text whose deadline passed, or whose caller went away, before it was sent
is not sent; a call whose callers have all gone is cancelled.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from services.gateway.answers import Classification
from services.gateway.requests import Query
from services.kernel.errors import AssayError, Reason

Send = Callable[[Sequence[Query], float], Awaitable[list[Classification | AssayError]]]
"""Classifies queries until a deadline, as Classifier.classify does."""

_log = logging.getLogger(__name__)

# Fewer texts than this go in one call even when several may start: a call costs about as much as the half of it saves.
_WORTH_SPLITTING = 8


@dataclass(frozen=True, slots=True)
class BatchingLimits:
    """The sizes of the queue and the calls."""

    batch_texts: int = 64
    """Texts in one call at most."""

    calls_in_flight: int = 2
    """Calls that start as soon as there is a text."""

    slow_calls: int = 6
    """Further calls in flight, which start only when `interval` has passed since the last."""

    interval: float = 0.002
    """Seconds; a call to a fast model is over by then."""

    waiting: int = 4096
    """Texts that wait for a call at most; more are refused."""


class Ticket:
    """One text on its way. Await `future` for what became of it; it raises nothing but cancellation."""

    __slots__ = ("call", "deadline", "future", "left", "query", "timer")

    def __init__(self, query: Query, deadline: float, future: asyncio.Future[Classification | AssayError]) -> None:
        self.query = query
        self.deadline = deadline
        self.future = future
        self.call: _BatchCall | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.left = False  # its caller waits no longer, and that has been counted

    def end(self, result: Classification | AssayError) -> None:
        """Gives the caller its result, if it still waits for one."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if not self.future.done():
            self.future.set_result(result)


class _BatchCall:
    """A call in flight and how many of its callers still want it."""

    __slots__ = ("task", "wanted")

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.task: asyncio.Task[None] | None = None

    def abandon_one(self) -> None:
        self.wanted -= 1
        if self.wanted == 0 and self.task is not None:
            self.task.cancel()


class MicroBatcher:
    """Gathers texts for one classifier."""

    def __init__(self, send: Send, limits: BatchingLimits, observe: Callable[[int], None] | None = None) -> None:
        """`observe` hears the number of texts of each call."""
        self._send = send
        self._limits = limits
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Ticket] = deque()
        self._gone = 0  # of those in _waiting: nobody waits for them any more
        self._calls: set[_BatchCall] = set()
        self._planned_soon = False
        self._planned_later: asyncio.TimerHandle | None = None
        self._started_at = 0.0
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many texts wait for a call."""
        return len(self._waiting) - self._gone

    @property
    def calls_in_flight(self) -> int:
        return len(self._calls)

    def submit(self, query: Query, deadline: float) -> Ticket:
        """Takes a text that has passed validation; `deadline` is a time of the event loop's clock.

        Raises:
            AssayError: OVERLOADED, or PART_UNAVAILABLE after `close`.
        """
        if self._closed:
            raise AssayError(Reason.PART_UNAVAILABLE, part="gateway")
        if len(self._waiting) - self._gone >= self._limits.waiting:
            raise AssayError(Reason.OVERLOADED, part="gateway", limit=self._limits.waiting)
        if self._gone > self._limits.waiting:
            self._sweep()
        ticket = Ticket(query, deadline, self._loop.create_future())
        ticket.timer = self._loop.call_at(deadline, self._expire, ticket)
        self._waiting.append(ticket)
        self._plan_turn()
        return ticket

    def withdraw(self, ticket: Ticket) -> None:
        """Gives a text up, because its caller went away. Its future ends cancelled, unless the result was there."""
        ticket.future.cancel()
        # Cancelling the task that awaits the future has cancelled it already; that counts the same.
        if ticket.future.cancelled():
            self._leave(ticket)

    async def close(self) -> None:
        """Cancels every call and ends every text that is left with PART_UNAVAILABLE."""
        self._closed = True
        for ticket in self._waiting:
            ticket.end(AssayError(Reason.PART_UNAVAILABLE, part="gateway"))
        self._waiting.clear()
        self._gone = 0
        tasks = [call.task for call in self._calls if call.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _expire(self, ticket: Ticket) -> None:
        if not ticket.future.done():
            ticket.end(AssayError(Reason.DEADLINE_EXCEEDED))
            self._leave(ticket)

    def _leave(self, ticket: Ticket) -> None:
        if ticket.left:
            return
        ticket.left = True
        if ticket.timer is not None:
            ticket.timer.cancel()
            ticket.timer = None
        if ticket.call is not None:
            ticket.call.abandon_one()
        elif not self._closed:
            self._gone += 1

    def _dropped(self, ticket: Ticket) -> None:
        """Stops counting a text that nobody waits for and that is not in the queue any more."""
        if ticket.left:
            self._gone -= 1
        elif ticket.timer is not None:
            ticket.timer.cancel()
        # Cancelled a moment ago and not withdrawn yet: then it must not be counted any more.
        ticket.left = True

    def _sweep(self) -> None:
        kept: deque[Ticket] = deque()
        for ticket in self._waiting:
            if ticket.future.done():
                self._dropped(ticket)
            else:
                kept.append(ticket)
        self._waiting = kept

    def _plan_turn(self) -> None:
        calls = len(self._calls) - self._limits.calls_in_flight
        if self._planned_soon:
            return
        if calls < 0:
            # At the end of this turn of the loop, so that texts which arrived together go together.
            self._planned_soon = True
            self._loop.call_soon(self._turn)
        elif calls < self._limits.slow_calls and self._planned_later is None:
            self._planned_later = self._loop.call_at(self._started_at + self._limits.interval, self._turn)

    def _turn(self) -> None:
        self._planned_soon = False
        if self._planned_later is not None:
            self._planned_later.cancel()
            self._planned_later = None
        while True:
            now = self._loop.time()
            free = self._limits.calls_in_flight - len(self._calls)
            if free <= 0:
                if free <= -self._limits.slow_calls:
                    return
                if now < self._started_at + self._limits.interval:
                    break
            tickets = self._take(max(free, 1), now)
            if not tickets:
                return
            call = _BatchCall(len(tickets))
            for ticket in tickets:
                ticket.call = call
            self._calls.add(call)
            self._started_at = now
            call.task = self._loop.create_task(self._run(call, tickets))
        if self._waiting:
            self._plan_turn()

    def _take(self, free: int, now: float) -> list[Ticket]:
        share = max(-(-self.waiting // free), _WORTH_SPLITTING)
        size = min(share, self._limits.batch_texts)
        tickets: list[Ticket] = []
        while self._waiting and len(tickets) < size:
            ticket = self._waiting.popleft()
            if ticket.future.done():
                self._dropped(ticket)
            elif ticket.deadline <= now:
                ticket.end(AssayError(Reason.DEADLINE_EXCEEDED))
            else:
                tickets.append(ticket)
        return tickets

    async def _run(self, call: _BatchCall, tickets: list[Ticket]) -> None:
        if self._observe is not None:
            self._observe(len(tickets))
        try:
            deadline = max(ticket.deadline for ticket in tickets)
            results = await self._send([ticket.query for ticket in tickets], deadline)
            if len(results) != len(tickets):
                _log.error("the classifier answered another number of texts", extra={"texts": len(tickets)})
                raise AssayError(Reason.INTERNAL)
            for ticket, result in zip(tickets, results, strict=True):
                ticket.end(result)
        except AssayError as error:
            _end_all(tickets, error)
        except asyncio.CancelledError:
            _end_all(tickets, AssayError(Reason.PART_UNAVAILABLE, part="gateway"))
            if self._closed:
                raise
        except Exception:
            _log.exception("a call to the classifier failed unexpectedly")
            _end_all(tickets, AssayError(Reason.INTERNAL))
        finally:
            self._calls.discard(call)
            if self._waiting:
                self._plan_turn()


def _end_all(tickets: Sequence[Ticket], error: AssayError) -> None:
    for ticket in tickets:
        # One of its own for each: callers raise it, and add the place of their text to it.
        ticket.end(AssayError(error.reason, **error.metadata))
