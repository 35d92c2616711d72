from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from cli import status, symptoms

HEALTHY = """\
gateway_outbox_events 12
gateway_outbox_bytes 9000
gateway_outbox_age_seconds 0.4
gateway_outbox_refusing 0
gateway_relay_failing 0
gateway_audit_fallback 0
gateway_records_lost_total 0
gateway_clock_jumps_total 0
gateway_clock_last_jump_seconds -3600
assay_consumer_waiting{topic="assay.audit.v1",obstacle="store"} 0
assay_consumer_lag{topic="assay.audit.v1"} 20
assay_dead_letters{topic="assay.audit.v1"} 0
assay_audit_tree_intact 1
assay_audit_checkpoint_late_seconds 0
assay_audit_unpublished_seconds 2.5
assay_audit_retention_late_seconds 0
assay_audit_expiry_withheld 0
"""


def words(page: str) -> list[str]:
    return symptoms.symptoms(symptoms.parse(page))


def test_nothing_is_said_of_the_healthy() -> None:
    assert words(HEALTHY) == []
    assert words("") == []


@pytest.mark.parametrize(
    ("healthy", "ill", "said"),
    [
        ("gateway_outbox_refusing 0", "gateway_outbox_refusing 1", "calls are refused: the outbox is full"),
        ("gateway_relay_failing 0", "gateway_relay_failing 1", "the event log can't be reached"),
        (
            "gateway_outbox_age_seconds 0.4",
            "gateway_outbox_age_seconds 600",
            "12 events (0.0 MiB) wait in the outbox, the oldest for 10 min",
        ),
        ("gateway_audit_fallback 0", "gateway_audit_fallback 1", "the outbox stands in for it"),
        ("gateway_records_lost_total 0", "gateway_records_lost_total 3", "3 records of callers that had gone"),
        (
            "clock_jumps_total 0",
            "clock_jumps_total 2",
            "the clock was set 2 times since it started, the last time by -3,600.0 s",
        ),
        (
            'obstacle="store"} 0',
            'obstacle="store"} 1',
            "the consumer of assay.audit.v1 waits for its database, which is down, locked or full",
        ),
        ('obstacle="store"} 0', 'obstacle="refusals"} 1', "takes nothing more: too many events are refused"),
        (
            'lag{topic="assay.audit.v1"} 20',
            'lag{topic="assay.audit.v1"} 123456',
            "123,456 events of assay.audit.v1 wait to be stored",
        ),
        (
            'letters{topic="assay.audit.v1"} 0',
            'letters{topic="assay.audit.v1"} 2',
            "2 dead letters of assay.audit.v1; see: assay deadletters list",
        ),
        ("assay_audit_tree_intact 1", "assay_audit_tree_intact 0", "is not the one that was signed"),
        ("checkpoint_late_seconds 0", "checkpoint_late_seconds 61", "no checkpoint could be made for 61 s"),
        ("unpublished_seconds 2.5", "unpublished_seconds 9000", "no checkpoint could be published for 2.5 h"),
        ("retention_late_seconds 0", "retention_late_seconds 300", "retention has waited for the database for 5 min"),
        ("expiry_withheld 0", "expiry_withheld 1", "the clock jumped ahead"),
    ],
)
def test_each_fault_is_one_sentence(healthy: str, ill: str, said: str) -> None:
    assert healthy in HEALTHY
    (sentence,) = words(HEALTHY.replace(healthy, ill))
    assert said in sentence


class Page(http.server.BaseHTTPRequestHandler):
    content = HEALTHY

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.content.encode())

    def log_message(self, format: str, *args: object) -> None:  # the base class calls it so
        """Nothing."""


@pytest.fixture
def page() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_page_is_read_where_it_is(page: str) -> None:
    samples = symptoms.read(page, 5.0)
    assert samples is not None
    assert symptoms.value(samples, "gateway_outbox_events") == 12
    assert symptoms.value(samples, "nothing_of_this_name") == 0


@pytest.mark.parametrize("content", ["", "<html>", "gateway_outbox_events many"])
def test_what_is_no_page_is_nothing_or_empty(page: str, content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Page, "content", content)
    assert not symptoms.read(page, 5.0)


def test_nobody_there_is_none() -> None:
    assert symptoms.read("127.0.0.1:1", 1.0) is None
    assert symptoms.read(None, 1.0) is None


def test_status_shows_each_problem_with_its_part(capsys: pytest.CaptureFixture[str]) -> None:
    part = {"name": "audit", "up": True, "address": "127.0.0.1:1", "pid": 7, "restarts": 0, "detail": ""}
    ill = part | {"dependencies": {"store": "NOT_SERVING"}, "problems": ["the consumer waits for its database"]}
    down = part | {"name": "gateway", "up": False, "detail": "it ended", "dependencies": {}, "problems": ["its words"]}
    report = {"public": "127.0.0.1:8080", "host": "envoy", "host_reason": "", "since": 0.0, "models": []}
    status._show(report | {"outbox_depth": 12, "parts": [ill, down]})
    shown = capsys.readouterr().out
    assert "outbox: 12 events wait for the event log" in shown
    assert "audit: the consumer waits for its database" in shown
    assert "gateway: its words" in shown
