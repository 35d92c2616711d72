"""`assay audit verify` and `assay audit witness`, against real logs served over gRPC."""

from __future__ import annotations

import io
import json
import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from assay.audit.v1 import audit_pb2
from click.testing import CliRunner, Result
from google.protobuf.timestamp_pb2 import Timestamp

from benchmarks.tamper_log import DATABASE, MadeLog, Workshop
from cli.audit_examine import examine
from cli.audit_export import export as export_events
from cli.audit_reader import AuditReader
from cli.audit_show import proven_by
from cli.audit_verify import verify
from cli.audit_witness import witness
from cli.failure import CommandFailed
from services.audit import convert
from services.audit.merkle.entries import framed, read_entries
from services.audit.merkle.notes import Signer
from services.audit.merkle.verification import Entry, State

SIZE = 420
Call = Callable[..., Result]


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    made = Workshop()
    yield made
    made.close()


@pytest.fixture
def made(workshop: Workshop, tmp_path: Path) -> MadeLog:
    """A log of SIZE entries, with states of it that were signed before."""
    for seed in range(100):
        log = workshop.make(tmp_path / f"made-{seed}", SIZE, random.Random(seed), older=2)
        if len(log.older) == 2:
            return log
    raise AssertionError("no log with two older states")


@pytest.fixture
def address(workshop: Workshop, made: MadeLog) -> Iterator[str]:
    with workshop.serving(made.database) as log:
        yield log.address


@pytest.fixture
def key(workshop: Workshop, tmp_path: Path) -> str:
    file = tmp_path / "log.pub"
    file.write_text(workshop.signer.vkey + "\n")
    return str(file)


def call(command: click.Command, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def change(database: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute(statement, values)
    connection.close()


def export(address: str, file: Path) -> Path:
    """Writes a log and its checkpoint as `assay audit export --format log` does."""
    with AuditReader(address) as log, file.open("wb") as content:
        for entry in log.entries(0, 10**9):
            message = audit_pb2.LogEntry(
                index=entry.place, leaf_hash=entry.leaf_hash, record=entry.record, state="ENTRY_STATE_PRESENT"
            )
            content.write(framed(message))
        file.with_name(f"{file.name}.checkpoint").write_text(log.checkpoint().checkpoint)
    return file


def test_a_live_log_is_whole(address: str, key: str, made: MadeLog) -> None:
    answer = call(verify, "--address", address, "--public-key", key)
    assert answer.exit_code == 0, answer.output
    assert "The log is whole: 420 entries" in answer.output
    assert "Only the log's own newest checkpoint was used" in answer.output
    answer = call(verify, "--address", address, "--witness", made.witness)
    assert answer.exit_code == 0, answer.output
    assert "The first 420 entries are those that the witness saw." in answer.output
    assert "Only the log's own" not in answer.output


def test_json_for_machines(address: str, key: str, made: MadeLog) -> None:
    answer = call(verify, "--address", address, "--witness", made.witness, "--json")
    report = json.loads(answer.stdout)
    assert report["ok"] is True
    assert (report["entries"], report["proven"], report["witnessed"]) == (SIZE, SIZE, SIZE)
    assert report["checkpoints"] == report["checkpoints_from_elsewhere"] + 1
    assert (report["first_bad"], report["first_bad_range"], report["fault"]) == (None, None, "")


def test_a_changed_record_is_named(address: str, key: str, made: MadeLog) -> None:
    change(
        made.database,
        "UPDATE entries SET record = ? WHERE idx = 77",
        audit_pb2.AuditRecord(key_id="x").SerializeToString(),
    )
    answer = call(verify, "--address", address, "--public-key", key)
    assert answer.exit_code == 1
    assert "The log is bad." in answer.output
    assert "Entry 77: its record does not have the hash that the log has for it" in answer.output
    report = json.loads(call(verify, "--address", address, "--public-key", key, "--json").stdout)
    assert (report["ok"], report["first_bad"], report["first_bad_range"]) == (False, 77, [77, 77])


def test_an_export_ends_at_a_record_that_the_server_can_not_read(address: str, made: MadeLog, tmp_path: Path) -> None:
    change(made.database, "UPDATE entries SET record = x'ff' WHERE idx = 77")
    file = tmp_path / "events.jsonl"
    answer = call(export_events, "--address", address, file)
    assert answer.exit_code == 1
    assert "the audit log is damaged at entry 77; assay audit verify says more (LOG_DAMAGED" in answer.output
    assert not file.exists()


def test_a_log_that_was_rolled_back_differs_from_a_checkpoint_that_was_kept(
    workshop: Workshop, made: MadeLog, key: str, tmp_path: Path
) -> None:
    size, older = made.older[0]
    with workshop.serving(older) as log:
        # By itself the old state is a log like any other.
        assert call(verify, "--address", log.address, "--public-key", key).exit_code == 0
        # The file that the service published has several notes; the newest tells.
        published = made.database.parent / "checkpoints.log"
        answer = call(verify, "--address", log.address, "--public-key", key, "--checkpoint", published)
        assert answer.exit_code == 1
        assert f"Entry {size}: missing; the log ends here, and had {SIZE} entries" in answer.output
        answer = call(verify, "--address", log.address, "--witness", made.witness, "--json")
        assert json.loads(answer.stdout)["first_bad"] == size


def test_a_log_that_lost_its_checkpoints_is_held_against_those_that_were_kept(
    address: str, key: str, made: MadeLog
) -> None:
    change(made.database, "DELETE FROM checkpoints")
    answer = call(verify, "--address", address, "--public-key", key)
    assert answer.exit_code == 1
    assert "no checkpoint covers the event yet" in answer.output
    answer = call(verify, "--address", address, "--witness", made.witness)
    assert answer.exit_code == 1
    assert "Every entry is as it was signed, but the log has lost its checkpoints" in answer.output
    assert "Proven are the first 420 entries" in answer.output


def test_wrong_proofs_are_found_although_every_entry_is_right(address: str, key: str, made: MadeLog) -> None:
    change(made.database, "UPDATE tiles SET hashes = zeroblob(32) WHERE level = 1")
    answer = call(verify, "--address", address, "--public-key", key)
    assert answer.exit_code == 1
    assert "Every entry is as it was signed, but the log's proof from" in answer.output


def test_proofs_that_the_log_can_not_give_are_missed(address: str, key: str, made: MadeLog) -> None:
    change(made.database, "DELETE FROM tiles WHERE level = 1")
    report = json.loads(call(verify, "--address", address, "--public-key", key, "--json").stdout)
    assert (report["ok"], report["proven"]) == (False, SIZE)
    assert "but the log can't prove it: the audit log is damaged at tile 0 of level 1" in report["fault"]
    assert "DATA_LOSS" not in report["fault"]


def test_search_shows_what_the_log_has(address: str, key: str, made: MadeLog) -> None:
    answer = call(verify, "--address", address, "--public-key", key, "--search")
    assert answer.exit_code == 0, answer.output
    answer = call(verify, made.database, "--public-key", key, "--search")
    assert answer.exit_code == 2
    assert "--search asks a live log" in answer.output


@pytest.mark.parametrize("place", [SIZE, SIZE + 5, 17])
def test_an_event_that_a_search_shows_and_the_log_lacks_is_named(
    address: str, key: str, made: MadeLog, place: int
) -> None:
    record = audit_pb2.AuditRecord(event=audit_pb2.AuditEvent(event_id="phantom"))
    columns = "append_time, event_id, create_time, tenant, caller, subject, request_id, model, label, outcome, reason"
    change(
        made.database,
        f"INSERT INTO entries (idx, {columns}, key_id, record) VALUES"
        " (?, 1, 'phantom', 5, '', '', '', '', '', '', 'answer', '', '', ?)",
        10_000,
        record.SerializeToString(),
    )
    change(made.database, "INSERT INTO event_ids VALUES ('phantom', ?, 1, x'00')", 10_000)
    if place != 10_000:
        change(made.database, "UPDATE entries SET idx = -1 WHERE idx = ?", place)
        change(made.database, "UPDATE entries SET idx = ? WHERE idx = 10000", place)
        change(made.database, "UPDATE event_ids SET idx = ? WHERE idx = 10000", place)
    report = json.loads(call(verify, "--address", address, "--public-key", key, "--search", "--json").stdout)
    assert (report["ok"], report["first_bad"]) == (False, place)
    if place >= SIZE:
        # The entries by themselves are right: what is behind the log's end is no part of it.
        assert report["proven"] == SIZE
        assert "a search shows event phantom there, which the log does not have" in report["fault"]
        assert call(verify, "--address", address, "--public-key", key).exit_code == 0


class Expiring(AuditReader):
    """A log in which contents expire just as its entries are read."""

    def __init__(self, address: str, expire: Callable[[], None]) -> None:
        super().__init__(address)
        self._expire = expire
        self.read = 0

    def entries(self, start: int, end: int) -> Iterator[Entry]:
        self.read += 1
        if self.read == 1:
            self._expire()
        yield from super().entries(start, end)


def test_contents_that_expire_meanwhile_raise_no_alarm(workshop: Workshop, made: MadeLog, address: str) -> None:
    def expire() -> None:
        with workshop.opened(made.database) as store:
            spans = audit_pb2.EntryRange(start_index=5, end_index=9)
            event = audit_pb2.AuditEvent(event_id="expiry", schema=1, create_time=Timestamp(seconds=2_000_000_000))
            event.action.contents_expired.ranges.append(spans)
            workshop.run(store.put([convert.arrival_of(event, event.SerializeToString())]))
            change(made.database, "DELETE FROM entries WHERE idx >= 5 AND idx < 9")
            change(made.database, "INSERT INTO removed VALUES (5, 9, 2)")
        workshop.extend(made.database, SIZE + 3, random.Random(1))

    with Expiring(address, expire) as log:
        verdict = examine(log, workshop.signer.verifier, [], b"")
        assert verdict.ok, str(verdict.finding)
        assert verdict.removed == {State.EXPIRED: 4}
        assert log.read == 2


def test_contents_that_are_passed_off_as_expired_are_named(workshop: Workshop, made: MadeLog, address: str) -> None:
    change(made.database, "DELETE FROM entries WHERE idx >= 5 AND idx < 9")
    change(made.database, "INSERT INTO removed VALUES (5, 9, 2)")
    with AuditReader(address) as log:
        verdict = examine(log, workshop.signer.verifier, [], b"")
    assert str(verdict.finding) == "entry 5: its content is expired, and no action of the log says so"


class Forgetful(AuditReader):
    """A log whose search leaves out its third event."""

    def events(self, **filters: Any) -> Iterator[audit_pb2.AuditEvent]:
        for number, event in enumerate(super().events(**filters)):
            if number != 2:
                yield event


def test_an_event_that_a_search_hides_is_named(workshop: Workshop, address: str) -> None:
    with AuditReader(address) as log:
        place = log.place(list(log.events())[2].event_id)
    with Forgetful(address) as log:
        finding = examine(log, workshop.signer.verifier, [], b"", search=True).finding
    assert str(finding) == f"entry {place}: a search does not show it"


@pytest.mark.parametrize(
    ("column", "fault"), [("label", "label"), ("model", "model"), ("tenant", "tenant"), ("outcome", "outcome")]
)
def test_a_record_that_a_search_would_miss_is_named(
    address: str, key: str, made: MadeLog, column: str, fault: str
) -> None:
    change(made.database, f"UPDATE entries SET {column} = 'other' WHERE idx = 31")
    report = json.loads(call(verify, "--address", address, "--public-key", key, "--search", "--json").stdout)
    assert (report["ok"], report["first_bad"]) == (False, 31)
    assert f"a search by {fault}" in report["fault"]


def test_a_proof_of_another_event_is_none(workshop: Workshop, address: str, made: MadeLog) -> None:
    with AuditReader(address) as log:
        one, other = (event.event_id for event in list(log.events())[:2])
    with AuditReader(address) as reader:
        proven_by(reader, one, workshop.signer.verifier)
    # The database says that the event is where the other one is, and the proof of that one is right.
    change(
        made.database,
        "UPDATE event_ids SET idx = (SELECT idx FROM event_ids WHERE event_id = ?) WHERE event_id = ?",
        other,
        one,
    )
    with AuditReader(address) as reader, pytest.raises(CommandFailed, match="it is of another event"):
        proven_by(reader, one, workshop.signer.verifier)


def test_a_checkpoint_of_another_key_is_not_believed(address: str, made: MadeLog) -> None:
    other = Signer.generate("bench.test/audit").vkey
    answer = call(verify, "--address", address, "--public-key", other)
    assert answer.exit_code == 1
    assert "no signature is by a key that is trusted here" in answer.output
    answer = call(verify, "--address", address, "--public-key", other, "--witness", made.witness)
    assert answer.exit_code == 1
    assert f"not {other}" in answer.output


def test_an_export_is_verified_offline(address: str, key: str, made: MadeLog, tmp_path: Path) -> None:
    file = export(address, tmp_path / "audit.log")
    answer = call(verify, file, "--public-key", key)
    assert answer.exit_code == 0, answer.output
    assert "The log is whole: 420 entries" in answer.output
    assert call(verify, file, "--witness", made.witness).exit_code == 0
    entries = list(read_entries(io.BytesIO(file.read_bytes())))
    assert [entry.place for entry in entries] == list(range(SIZE))


def test_a_changed_export_is_named_by_its_first_bad_record(
    address: str, key: str, made: MadeLog, tmp_path: Path
) -> None:
    file = export(address, tmp_path / "audit.log")
    content = bytearray(file.read_bytes())
    place = content.index(b"card_lost", len(content) // 2)
    content[place : place + 9] = b"card_kept"
    file.write_bytes(content)
    report = json.loads(call(verify, file, "--witness", made.witness, "--json").stdout)
    changed = list(read_entries(io.BytesIO(content)))[report["first_bad"]]
    assert b"card_kept" in changed.record
    file.write_bytes(content[:place])
    report = json.loads(call(verify, file, "--witness", made.witness, "--json").stdout)
    assert report["first_bad"] == changed.place
    assert "the file ends inside it" in report["fault"]


def test_an_export_needs_a_key_and_a_checkpoint(address: str, key: str, tmp_path: Path) -> None:
    file = export(address, tmp_path / "audit.log")
    answer = call(verify, file)
    assert answer.exit_code == 1
    assert "give the log's public key with --public-key" in answer.output
    beside = file.with_name("audit.log.checkpoint")
    kept = beside.rename(tmp_path / "kept.note")
    answer = call(verify, file, "--public-key", key)
    assert answer.exit_code == 1
    assert "there is no audit.log.checkpoint beside" in answer.output
    assert call(verify, file, "--public-key", key, "--checkpoint", kept).exit_code == 0


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "holds no checkpoint"),
        ("nothing of the sort\n", "checkpoint 1: what is at the end, or in the place of a note, is no whole note"),
        ("bench.test/audit\n5\nAAAA\n\n— bench.test/audit AAAAAAAA\n", "checkpoint 1: no signature is by a key"),
    ],
)
def test_files_of_checkpoints_that_hold_none(address: str, key: str, tmp_path: Path, content: str, fault: str) -> None:
    file = tmp_path / "kept.note"
    file.write_text(content)
    answer = call(verify, "--address", address, "--public-key", key, "--checkpoint", file)
    assert answer.exit_code == 1
    assert fault in answer.output


def test_public_keys_that_are_none(address: str, tmp_path: Path) -> None:
    answer = call(verify, "--address", address, "--public-key", "no key")
    assert answer.exit_code == 1
    assert "--public-key: a public key is name+id+key" in answer.output


def test_nobody_at_the_address(key: str, tmp_path: Path) -> None:
    for command in ([verify], [witness, tmp_path / "w", "--once"]):
        answer = call(command[0], *command[1:], "--address", "127.0.0.1:1", "--public-key", key)
        assert answer.exit_code == 1
        assert "nothing answers at 127.0.0.1:1" in answer.output


def test_a_witness_keeps_each_checkpoint_once(workshop: Workshop, made: MadeLog, key: str, tmp_path: Path) -> None:
    folder = tmp_path / "kept" / "witness"
    for size, database in (*made.older, (SIZE, made.database)):
        with workshop.serving(database) as log:
            answer = call(witness, folder, "--once", "--json", "--address", log.address, "--public-key", key)
            assert answer.exit_code == 0, answer.output
            assert json.loads(answer.stdout) == {"entries": size, "new": True}
            # The folder knows the key by now.
            answer = call(witness, folder, "--once", "--address", log.address)
            assert f"nothing new since the checkpoint of {size:,} entries" in answer.output
    assert (folder / "leaf-hashes").stat().st_size == SIZE * 32
    assert (folder / "checkpoints.log").read_text().count("— bench.test/audit ") == 3
    with workshop.serving(made.database) as log:
        assert call(verify, "--address", log.address, "--witness", folder).exit_code == 0


def test_a_witness_raises_the_alarm_when_the_log_goes_back(workshop: Workshop, made: MadeLog) -> None:
    size, older = made.older[0]
    before = (made.witness / "checkpoints.log").read_bytes()
    with workshop.serving(older) as log:
        answer = call(witness, made.witness, "--once", "--address", log.address)
        assert answer.exit_code == 1
        assert f"ALARM: the log contradicts what was witnessed: it says that it has {size} entries" in answer.output
        assert f"entry {size} is the first that is not what it was" in answer.output
        (evidence,) = made.witness.glob("evidence-*.note")
        assert evidence.read_text() == log.checkpoint().checkpoint
    assert (made.witness / "checkpoints.log").read_bytes() == before


@pytest.mark.parametrize("more", [0, 37])
def test_a_witness_names_the_first_entry_of_a_fork(workshop: Workshop, made: MadeLog, more: int) -> None:
    size, older = made.older[0]
    workshop.extend(older, SIZE + more, random.Random(7))
    with workshop.serving(older) as log:
        answer = call(witness, made.witness, "--once", "--address", log.address)
        assert answer.exit_code == 1
        assert f"entry {size} is the first that is not what it was" in answer.output


def test_a_witness_does_not_take_a_wrong_proof(workshop: Workshop, made: MadeLog) -> None:
    workshop.extend(made.database, 700, random.Random(3))
    change(made.database, "UPDATE tiles SET hashes = zeroblob(length(hashes)) WHERE level = 1")
    with workshop.serving(made.database) as log:
        answer = call(witness, made.witness, "--once", "--address", log.address)
    assert answer.exit_code == 1
    assert "its proof from 420 to 700 entries is wrong" in answer.output


def test_a_witness_takes_a_damaged_log_for_no_log_that_is_away(workshop: Workshop, made: MadeLog) -> None:
    workshop.extend(made.database, 700, random.Random(3))
    change(made.database, "DELETE FROM tiles WHERE level = 1")
    with workshop.serving(made.database) as log:
        answer = call(witness, made.witness, "--once", "--address", log.address)
    assert answer.exit_code == 1
    assert "ALARM: the log contradicts what was witnessed: the audit log is damaged" in answer.output


def test_a_witness_needs_a_key_once_and_keeps_to_it(address: str, made: MadeLog, tmp_path: Path) -> None:
    other = Signer.generate("bench.test/audit").vkey
    answer = call(witness, made.witness, "--once", "--address", address, "--public-key", other)
    assert answer.exit_code == 1
    assert f"not {other}" in answer.output
    answer = call(witness, tmp_path / "new", "--once", "--address", address)
    assert answer.exit_code == 1
    assert "is no witness folder: it has no log.pub" in answer.output
    assert not (tmp_path / "new").exists()


def test_the_database_of_a_made_log_is_a_real_one(made: MadeLog) -> None:
    assert made.database.name == DATABASE
    connection = sqlite3.connect(made.database)
    assert connection.execute("SELECT COUNT(*) FROM entries").fetchone() == (SIZE,)
    connection.close()
