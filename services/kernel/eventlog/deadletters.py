"""A topic's dead letters: what a consumer could never take, whole, on a topic of its own, until a person has looked.

A letter leaves its topic only when it is replayed: the event goes back to where it came from, durably, and then the
letter is committed. A crash in between brings some letters twice, never loses one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from assay.events.v1 import events_pb2
from google.protobuf.message import DecodeError

from services.kernel.eventlog.port import Delivery, Event, EventLogUnavailable, Publisher, Subscription
from services.kernel.eventlog.topics import dead

_BATCH = 200
_POLL_SECONDS = 0.5
_READ_SECONDS = 60.0
"""How long reading waits for letters that are counted and do not come, because another reader holds them."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter as it was found; what can't be read as one has no topic, and the reason says so."""

    delivery: Delivery
    content: events_pb2.DeadLetter


class DeadLetters:
    """The dead letters of one topic. The one to write to is a consumer; the one to read is an operator."""

    def __init__(self, topic: str, publisher: Publisher, subscription: Subscription) -> None:
        """`subscription` is to the dead-letter topic, in its own group."""
        self.topic = topic
        self._publisher = publisher
        self._subscription = subscription

    async def put(self, letters: Sequence[events_pb2.DeadLetter]) -> None:
        """Keeps letters; they are durable when it returns. Repeated, it keeps them twice, which a reader sees through.

        Raises:
            EventLogUnavailable
        """
        await self._publisher.publish(
            dead(self.topic), [Event(letter.key, letter.SerializeToString(deterministic=True)) for letter in letters]
        )

    async def waiting(self) -> int:
        """Returns how many there are. Raises EventLogUnavailable."""
        return await self._subscription.lag()

    async def read(self) -> list[Letter]:
        """Returns the letters, oldest first, and leaves them where they are; one reader reads each of them once.

        Raises:
            EventLogUnavailable: also when another one reads them at the same time.
        """
        letters: list[Letter] = []
        wanted = await self._subscription.lag()
        deadline = time.monotonic() + _READ_SECONDS
        while len(letters) < wanted:
            letters += [_letter(delivery) for delivery in await self._subscription.poll(_BATCH, _POLL_SECONDS)]
            if time.monotonic() > deadline:
                raise EventLogUnavailable(f"{wanted - len(letters)} dead letters do not come; another reader has them")
        return letters

    async def replay(
        self,
        letters: Sequence[Letter],
        chosen: Callable[[Letter], bool],
        progress: Callable[[int], None] = lambda count: None,
    ) -> int:
        """Puts the events of the chosen letters back into their topic; returns how many.

        `letters` are all that `read` returned: those that are not chosen go to the end of the dead letters, because a
        log forgets from its beginning only. `progress` is called with the number of letters that are dealt with.

        Raises:
            EventLogUnavailable: call it again; events that went back already go twice, and are stored once.
        """
        replayed = 0
        for start in range(0, len(letters), _BATCH):
            part = letters[start : start + _BATCH]
            back = [letter.content for letter in part if letter.content.topic and chosen(letter)]
            kept = [letter.delivery.event for letter in part if not (letter.content.topic and chosen(letter))]
            # A letter came from this topic, whatever it says of itself.
            await self._publisher.publish(self.topic, [Event(each.key, each.payload, each.attempts) for each in back])
            await self._publisher.publish(dead(self.topic), kept)
            await self._subscription.commit([letter.delivery for letter in part])
            replayed += len(back)
            progress(len(part))
        return replayed

    async def close(self) -> None:
        """Lets go of connections; idempotent."""
        await self._subscription.close()
        await self._publisher.close()


def _letter(delivery: Delivery) -> Letter:
    content = events_pb2.DeadLetter()
    try:
        content.ParseFromString(delivery.event.payload)
    except DecodeError:
        content.Clear()
    if not content.topic:
        content.key = delivery.event.key.encode(errors="replace").decode()
        content.payload = delivery.event.payload
        content.reason = "it is no dead letter, so nobody knows where it came from"
    return Letter(delivery, content)
