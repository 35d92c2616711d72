"""`assay topics` and `assay deadletters` against real event logs."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from assay.events.v1 import events_pb2
from click.testing import CliRunner, Result

from cli.main import assay
from services.kernel.eventlog import connections
from services.kernel.eventlog.port import AUDIT_TOPIC, REVIEW_TOPIC, Event
from services.kernel.eventlog.topics import CHECKPOINT_TOPIC, TOPICS, dead
from tests.fixtures.kafka import KafkaServer
from tests.fixtures.valkey import ValkeyServer


@pytest.fixture(params=["valkey", "kafka"])
def url(request: pytest.FixtureRequest) -> str:
    """A log of the test's own, because the topics have fixed names."""
    server: ValkeyServer | KafkaServer = request.getfixturevalue(request.param)
    return server.url


def run(url: str, *words: str, fails: bool = False) -> Any:
    result: Result = CliRunner().invoke(assay, [*words, "--event-log", url, "--json"])
    assert bool(result.exit_code) is fails, result.output
    return result.output if fails else json.loads(result.stdout)


async def publish(url: str, topic: str, events: list[Event]) -> None:
    publisher = connections.publisher(url)
    await publisher.publish(topic, events)
    await publisher.close()


def letter(key: str, topic: str = AUDIT_TOPIC) -> Event:
    content = events_pb2.DeadLetter(topic=topic, key=key, payload=b"\xff", reason="not an AuditEvent", attempts=1)
    return Event(key, content.SerializeToString())


def test_topics_are_created_once_and_listed(url: str) -> None:
    before = run(url, "topics", "list")["topics"]
    assert [each["topic"] for each in before] == [topic.name for topic in TOPICS]
    created = run(url, "topics", "create")["created"]
    assert sorted(created) == sorted(each["topic"] for each in before if not each["there"])
    assert run(url, "topics", "create", "--repair")["created"] == []
    asyncio.run(publish(url, REVIEW_TOPIC, [Event("a", b""), Event("b", b"")]))
    after = {each["topic"]: each for each in run(url, "topics", "list")["topics"]}
    assert all(each["there"] and not each["differences"] for each in after.values())
    assert after[REVIEW_TOPIC]["waiting"] == 2
    assert after[AUDIT_TOPIC]["waiting"] == 0
    assert after[CHECKPOINT_TOPIC]["waiting"] is None


def test_letters_are_listed_shown_and_replayed(url: str) -> None:
    run(url, "topics", "create")
    assert run(url, "deadletters", "list") == []
    asyncio.run(publish(url, dead(AUDIT_TOPIC), [letter("a"), letter("b"), letter("c")]))
    asyncio.run(publish(url, dead(REVIEW_TOPIC), [letter("d", REVIEW_TOPIC)]))
    assert [each["key"] for each in run(url, "deadletters", "list")] == ["a", "b", "c", "d"]
    assert [each["key"] for each in run(url, "deadletters", "list", "--topic", "review")] == ["d"]
    [shown] = run(url, "deadletters", "show", "b")
    assert (shown["reason"], shown["payload"]) == ("not an AuditEvent", "/w==")
    assert run(url, "deadletters", "replay", "--key", "b") == {"replayed": 1, "left": 3}
    assert [each["key"] for each in run(url, "deadletters", "list")] == ["a", "c", "d"]
    assert run(url, "deadletters", "replay", "--all") == {"replayed": 3, "left": 0}
    waiting = {each["topic"]: each["waiting"] for each in run(url, "topics", "list")["topics"]}
    assert (waiting[AUDIT_TOPIC], waiting[REVIEW_TOPIC], waiting[dead(AUDIT_TOPIC)]) == (3, 1, 0)
    assert "no dead letter" in run(url, "deadletters", "show", "b", fails=True)


def test_what_can_not_be_done_is_said() -> None:
    for words in (("topics", "list"), ("deadletters", "list")):
        result = CliRunner().invoke(assay, [*words, "--event-log", "redis://127.0.0.1:1/0"])
        assert result.exit_code == 1
        assert "the event log does not answer" in str(result.output)
        result = CliRunner().invoke(assay, [*words, "--event-log", "http://user:secret@a"])
        assert result.exit_code == 1
        assert "secret" not in result.output
    result = CliRunner().invoke(assay, ["deadletters", "replay", "--event-log", "redis://127.0.0.1:1/0"])
    assert result.exit_code == 2
    assert "--key KEY or --all" in result.output
