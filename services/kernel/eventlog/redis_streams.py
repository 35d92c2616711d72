"""The event log on Redis Streams (Valkey or Redis): a stream for each topic, a consumer group for its one consumer.

A topic has a single group here, so a committed event is deleted from the stream in the same transaction that
acknowledges it: memory holds what is not consumed yet and nothing else, without a trimming rule that could cut
unread events. A topic that nobody consumes (topics.py) keeps its newest entries instead. A topic with several groups
needs another rule (trim to the slowest group); until there is one, a second group is refused.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from services.kernel.eventlog.port import Delivery, Event, EventLogUnavailable
from services.kernel.eventlog.topics import settings_of

_REPLY_SECONDS = 5.0  # how long a reply may take, on top of the time that a poll waits on purpose
_CONNECT_SECONDS = 2.0
_KEY, _PAYLOAD, _TRIES = b"key", b"payload", b"tries"

# One command and one short reply for all events, an eighth of the client's time that a pipeline of XADDs takes.
_APPEND = """
for i = 2, #ARGV, 3 do
    if ARGV[i + 2] == '0' then
        redis.call('XADD', KEYS[1], '*', 'key', ARGV[i], 'payload', ARGV[i + 1])
    else
        redis.call('XADD', KEYS[1], '*', 'key', ARGV[i], 'payload', ARGV[i + 1], 'tries', ARGV[i + 2])
    end
end
if tonumber(ARGV[1]) > 0 then
    redis.call('XTRIM', KEYS[1], 'MAXLEN', ARGV[1])
end
"""
_Entries = list[tuple[bytes, dict[bytes, bytes]]]


class SecondGroup(Exception):
    """The topic is already consumed by another group, whose commits would delete events from under this one."""


def _connect(url: str) -> Redis:
    # No retries inside the client: whoever calls knows better when to try again, and must know that it happened.
    return Redis.from_url(
        url, retry=Retry(NoBackoff(), 0), socket_timeout=None, socket_connect_timeout=_CONNECT_SECONDS
    )


@asynccontextmanager
async def _reply_within(seconds: float) -> AsyncIterator[None]:
    """Bounds what happens inside and turns everything that the client raises into EventLogUnavailable."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except (RedisError, OSError, TimeoutError) as error:
        raise EventLogUnavailable(type(error).__name__) from error


class RedisPublisher:
    """Publisher; `url` is redis://host:port/db. Connects when first used, and again whenever it has to."""

    def __init__(self, url: str) -> None:
        self._redis = _connect(url)
        self._append = self._redis.register_script(_APPEND)

    async def publish(self, topic: str, events: Sequence[Event]) -> None:
        if not events:
            return
        kept = settings_of(topic).entries_kept or 0  # 0: all, because somebody consumes it
        arguments = [part for event in events for part in (event.key.encode(), event.payload, event.tries)]
        async with _reply_within(_REPLY_SECONDS):
            await self._append(keys=[topic], args=[kept, *arguments])

    async def ping(self) -> None:
        async with _reply_within(_REPLY_SECONDS):
            await self._redis.ping()

    async def close(self) -> None:
        await self._redis.aclose()


class RedisSubscription:
    """Subscription of one consumer.

    `consumer` is a name that stays the same over restarts of an instance and differs between instances: what a dead
    consumer left goes at once to the one that comes back under its name, and to any other after `claim_idle_seconds`.
    Two that share a name by mistake get some events twice and lose none.
    """

    def __init__(self, url: str, topic: str, group: str, consumer: str, *, claim_idle_seconds: float = 30.0) -> None:
        self._redis = _connect(url)
        self._topic = topic
        self._group = group
        self._consumer = consumer
        self._claim_idle_seconds = claim_idle_seconds
        self._group_exists = False
        self._replay_from: bytes | None = b"0"
        self._claim_from: bytes = b"0-0"
        self._claim_at = 0.0

    async def poll(self, limit: int, timeout_seconds: float) -> list[Delivery]:
        """As the port says.

        Raises:
            EventLogUnavailable
            SecondGroup: the topic belongs to another group.
        """
        try:
            async with _reply_within(timeout_seconds + _REPLY_SECONDS):
                try:
                    return await self._next(limit, timeout_seconds)
                except ResponseError as error:
                    # The server lost the group: it came back without its data, or somebody deleted the stream.
                    if not str(error).startswith("NOGROUP"):
                        raise
                    self._start_over()
                    return await self._next(limit, timeout_seconds)
        except BaseException:
            # The server may have handed us events in a reply that never came; they are ours, so ask for them again.
            self._start_over()
            raise

    async def commit(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        positions = [delivery.position for delivery in deliveries]
        async with _reply_within(_REPLY_SECONDS), self._redis.pipeline(transaction=True) as pipeline:
            pipeline.xack(self._topic, self._group, *positions)
            pipeline.xdel(self._topic, *positions)
            await pipeline.execute()

    async def lag(self) -> int:
        async with _reply_within(_REPLY_SECONDS):
            return int(await self._redis.xlen(self._topic))  # what is committed is deleted

    async def ping(self) -> None:
        async with _reply_within(_REPLY_SECONDS):
            await self._redis.ping()

    async def close(self) -> None:
        await self._redis.aclose()

    def _start_over(self) -> None:
        self._group_exists = False
        self._replay_from = b"0"

    async def _next(self, limit: int, timeout_seconds: float) -> list[Delivery]:
        """What is ours already comes first, then what a dead consumer left, then what is new."""
        if not self._group_exists:
            await self._find_group()
        return await self._replay(limit) or await self._claim(limit) or await self._fresh(limit, timeout_seconds)

    async def _find_group(self) -> None:
        """Creates the group, from the topic's beginning, unless it is there.

        It looks first, because a full server refuses to create even what exists, and draining is what a full server
        needs.
        """
        if not await self._groups():
            try:
                await self._redis.xgroup_create(self._topic, self._group, id="0", mkstream=True)
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):  # another consumer was faster
                    raise
        others = [name for name in await self._groups() if name != self._group]
        if others:
            raise SecondGroup(f"{self._topic} is already consumed by {', '.join(others)}")
        self._group_exists = True

    async def _groups(self) -> list[str]:
        try:
            groups = await self._redis.xinfo_groups(self._topic)
        except ResponseError as error:
            if "no such key" in str(error):
                return []
            raise
        return [group["name"].decode(errors="replace") for group in groups]

    async def _replay(self, limit: int) -> list[Delivery]:
        while self._replay_from is not None:
            entries = await self._read(self._replay_from, limit)
            self._replay_from = entries[-1][0] if entries else None
            # An entry that was deleted after it was taken shows without fields; nothing of it is left to do.
            gone = [position for position, fields in entries if not fields]
            if gone:
                await self._redis.xack(self._topic, self._group, *gone)
            kept = [entry for entry in entries if entry[1]]
            if kept:
                return await self._repeated(kept)
        return []

    async def _claim(self, limit: int) -> list[Delivery]:
        """Takes over what was idle for too long; a pass over all that is pending starts twice in that time."""
        while time.monotonic() >= self._claim_at:
            idle_milliseconds = int(self._claim_idle_seconds * 1000)
            self._claim_from, entries, _ = await self._redis.xautoclaim(
                self._topic, self._group, self._consumer, idle_milliseconds, self._claim_from, count=limit
            )
            passed = self._claim_from == b"0-0"
            if passed:
                self._claim_at = time.monotonic() + self._claim_idle_seconds / 2
            if entries:
                return await self._repeated(entries)
            if passed:
                break
        return []

    async def _fresh(self, limit: int, timeout_seconds: float) -> list[Delivery]:
        entries = await self._read(b">", limit, max(1, int(timeout_seconds * 1000)))
        return [_delivery(position, fields, 1) for position, fields in entries]

    async def _read(self, start: bytes, limit: int, block_milliseconds: int | None = None) -> _Entries:
        """Reads this consumer's own entries behind `start`, or new ones when `start` is ">"."""
        streams = await self._redis.xreadgroup(
            self._group, self._consumer, {self._topic: start}, count=limit, block=block_milliseconds
        )
        # The client's type covers each protocol and option; for one stream and no CLAIM it is [[name, entries]].
        return cast(Any, streams)[0][1] if streams else []

    async def _repeated(self, entries: _Entries) -> list[Delivery]:
        """Adds how often each was delivered; some of ours that are in between are counted and left out."""
        pending = await self._redis.xpending_range(
            self._topic, self._group, entries[0][0], entries[-1][0], len(entries) + 1000, self._consumer
        )
        attempts = {row["message_id"]: int(row["times_delivered"]) for row in pending}
        return [_delivery(position, fields, attempts.get(position, 2)) for position, fields in entries]


def _delivery(position: bytes, fields: dict[bytes, bytes], attempt: int) -> Delivery:
    # An entry that someone else wrote may lack a field; it goes on as an event that nobody can parse.
    tries = fields.get(_TRIES, b"0")
    event = Event(
        fields.get(_KEY, b"").decode(errors="replace"),
        fields.get(_PAYLOAD, b""),
        int(tries) if tries.isdigit() and len(tries) < 10 else 0,
    )
    return Delivery(event, position.decode(), attempt)
