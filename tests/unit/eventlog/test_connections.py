from __future__ import annotations

import subprocess
import sys

import pytest

from services.kernel.eventlog import connections


@pytest.mark.parametrize(
    ("url", "kafka"),
    [
        ("redis://127.0.0.1:6379/0", False),
        ("rediss://user:secret@redis.example:6380/1", False),
        ("kafka://127.0.0.1:9092", True),
        ("kafka://a:1, b.example:65535,[::1]:9092", True),
    ],
)
def test_the_scheme_names_the_log(url: str, kafka: bool) -> None:
    connections.require_known(url)
    assert connections.is_kafka(url) is kafka


@pytest.mark.parametrize(
    "url",
    [
        "",
        "redis",
        "redis://",
        "http://secret:80",
        "kafka://",
        "kafka://secret",
        "kafka://secret:",
        "kafka://secret:0",
        "kafka://secret:65536",
        "kafka://secret:９",
        "kafka://a:1,,secret:2",
        "kafka://user:secret@a:1",
    ],
)
def test_what_names_no_log_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ValueError, match="redis://host:port/db or kafka://host:port") as refusal:
        connections.publisher(url)
    assert "secret" not in str(refusal.value)


def test_brokers_are_told_apart() -> None:
    assert connections.brokers("kafka://a:1, b:2/") == ["a:1", "b:2"]


async def test_each_log_has_its_adapter_and_connects_late() -> None:
    for url, name in (("redis://127.0.0.1:1/0", "Redis"), ("kafka://127.0.0.1:1", "Kafka")):
        opened = (
            connections.publisher(url),
            connections.subscription(url, "topic", "group", "a"),
            connections.dead_letters(url, "topic", "a"),
        )
        assert [type(each).__name__ for each in opened[:2]] == [f"{name}Publisher", f"{name}Subscription"]
        for each in opened:
            await each.close()


def test_the_other_library_is_not_loaded() -> None:
    program = (
        "import sys; from services.kernel.eventlog import connections; connections.publisher('redis://a:1/0');"
        "assert 'kafka' not in sys.modules; connections.publisher('kafka://a:1'); assert 'kafka' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
