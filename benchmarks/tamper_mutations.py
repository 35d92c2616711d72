"""What somebody who can write to the database does to a log: one change, and which entry is the first bad one by it.

Most kinds come twice: as a change of the table alone, and "rehashed", where every hash of the tree and the log's size
are made to fit again. Who does that lacks nothing but the key that signs; "fork" has the key too.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from assay.audit.v1 import audit_pb2

from benchmarks.tamper_log import MadeLog, Workshop
from services.audit.merkle import tiles
from services.audit.merkle.hashing import HASH_BYTES, leaf_hash

Mutation = Callable[["Tampering"], int | None]
"""Changes the log and returns the first bad entry; None when a hash that is no entry's was changed."""


class Tampering:
    """A copy of a log's database, open to whoever wants to change it."""

    def __init__(self, made: MadeLog, database: Path, workshop: Workshop, chance: random.Random) -> None:
        """`database` is the copy."""
        self.made = made
        self.size = made.size
        self.database = database
        self.workshop = workshop
        self.chance = chance
        self.connection = sqlite3.connect(database, isolation_level=None)

    def some(self) -> int:
        """Returns an entry."""
        return self.chance.randrange(self.size)

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self.connection.execute(statement, values).fetchall()

    def record(self, index: int) -> bytes:
        return bytes(self.execute("SELECT record FROM entries WHERE idx = ?", index)[0][0])

    def write_record(self, index: int, record: bytes) -> None:
        self.execute("UPDATE entries SET record = ? WHERE idx = ?", record, index)

    def forge(self, index: int) -> None:
        """Gives an entry another answer, in the record and where it is searched by."""
        record = audit_pb2.AuditRecord.FromString(self.record(index))
        record.event.answer.label = "forged"
        record.event.answer.confidence = 1.0
        self.write_record(index, record.SerializeToString())
        self.execute("UPDATE entries SET label = 'forged', outcome = 'answer' WHERE idx = ?", index)

    def shift(self, start: int, by: int) -> None:
        """Moves the entries from `start` on to other places."""
        for table in ("entries", "event_ids"):
            self.execute(f"UPDATE {table} SET idx = -idx - 1 WHERE idx >= ?", start)
            self.execute(f"UPDATE {table} SET idx = -idx - 1 + ? WHERE idx < 0", by)

    def remove(self, condition: str, index: int) -> None:
        self.execute(f"DELETE FROM entries WHERE idx {condition} ?", index)
        self.execute(f"DELETE FROM event_ids WHERE idx {condition} ?", index)

    def add(self, index: int) -> None:
        """Puts a forged event into a free place."""
        other = index - 1 if index else index + 1
        names = [row[1] for row in self.execute("PRAGMA table_info(entries)")]
        row = dict(zip(names, self.execute("SELECT * FROM entries WHERE idx = ?", other)[0], strict=True))
        event_id = f"forged-{self.chance.getrandbits(64):016x}"
        record = audit_pb2.AuditRecord.FromString(self.record(other))
        record.event.event_id = event_id
        if self.chance.random() < 0.5:  # without, what is sealed can't be opened under the new id
            record.sealed, record.key_id = b"", ""
        row |= {
            "idx": index,
            "event_id": event_id,
            "key_id": record.key_id,
            "record": record.SerializeToString(),
        }
        marks = ", ".join("?" * len(row))
        self.execute(f"INSERT INTO entries ({', '.join(map(str, row))}) VALUES ({marks})", *row.values())
        digest = self.chance.randbytes(32)
        self.execute("INSERT INTO event_ids VALUES (?, ?, ?, ?)", event_id, index, row["append_time"], digest)

    def swap(self, one: int, other: int) -> None:
        for table in ("entries", "event_ids"):
            for old, new in ((one, -1), (other, one), (-1, other)):
                self.execute(f"UPDATE {table} SET idx = ? WHERE idx = ?", new, old)

    def rehash(self) -> None:
        """Makes the whole tree, and the size, those of the entries that are in the table."""
        records = self.execute("SELECT record FROM entries ORDER BY idx")
        leaves = [leaf_hash(bytes(record)) for (record,) in records]
        self.execute("DELETE FROM tiles")
        made = tiles.append(0, leaves, lambda level, number: b"")
        self.connection.executemany(
            "INSERT INTO tiles VALUES (?, ?, ?)", [(*at, hashes) for at, hashes in made.items()]
        )
        self.execute("UPDATE head SET size = ?", len(leaves))

    def cut(self, index: int) -> None:
        """Takes away everything from `index` on, checkpoints too."""
        self.remove(">=", index)
        self.execute("DELETE FROM checkpoints WHERE size > ?", index)
        self.rehash()

    def flip(self, level: int, number: int, at: int) -> None:
        """Changes a bit of a hash in a tile."""
        (hashes,) = self.execute("SELECT hashes FROM tiles WHERE level = ? AND number = ?", level, number)[0]
        changed = bytearray(bytes(hashes))
        changed[at * HASH_BYTES + self.chance.randrange(HASH_BYTES)] ^= 1 << self.chance.randrange(8)
        self.execute("UPDATE tiles SET hashes = ? WHERE level = ? AND number = ?", bytes(changed), level, number)


def edit_bit(log: Tampering) -> int:
    index = log.some()
    record = bytearray(log.record(index))
    record[log.chance.randrange(len(record))] ^= 1 << log.chance.randrange(8)
    log.write_record(index, bytes(record))
    return index


def edit(log: Tampering) -> int:
    index = log.some()
    log.forge(index)
    return index


def edit_rehashed(log: Tampering) -> int:
    index = edit(log)
    log.rehash()
    return index


def edit_search(log: Tampering) -> int:
    """Changes what an entry is searched by, and no record."""
    column, index = log.chance.choice(["tenant", "label", "outcome"]), log.some()
    (held,) = log.execute(f"SELECT {column} FROM entries WHERE idx = ?", index)[0]
    others = log.execute(f"SELECT DISTINCT {column} FROM entries WHERE {column} NOT IN ('', ?)", held)
    log.execute(f"UPDATE entries SET {column} = ? WHERE idx = ?", log.chance.choice(others)[0], index)
    return index


def edit_leaf_hash(log: Tampering) -> int:
    index = log.some()
    log.flip(0, *divmod(index, tiles.TILE_WIDTH))
    return index


def edit_node_hash(log: Tampering) -> int | None:
    level, number, hashes = log.chance.choice(log.execute("SELECT level, number, hashes FROM tiles WHERE level > 0"))
    log.flip(int(level), int(number), log.chance.randrange(len(bytes(hashes)) // HASH_BYTES))
    return None


def delete(log: Tampering) -> int:
    index = log.some()
    log.remove("=", index)
    return index


def delete_excused(log: Tampering) -> int:
    """Says of what was deleted that it expired."""
    index = delete(log)
    log.execute("INSERT INTO removed VALUES (?, ?, 2)", index, index + 1)
    return index


def delete_rehashed(log: Tampering) -> int:
    index = delete(log)
    log.shift(index + 1, -1)
    log.rehash()
    return index


def insert(log: Tampering) -> int:
    index = log.some()
    log.shift(index, 1)
    log.add(index)
    return index


def insert_behind(log: Tampering) -> int:
    """Puts an event behind the log's end, where no tree covers it but a search finds it."""
    log.add(log.size)
    return log.size


def insert_rehashed(log: Tampering) -> int:
    index = log.chance.randint(0, log.size)
    log.shift(index, 1)
    log.add(index)
    log.rehash()
    return index


def reorder(log: Tampering) -> int:
    one, other = sorted(log.chance.sample(range(log.size), 2))
    log.swap(one, other)
    return one


def reorder_rehashed(log: Tampering) -> int:
    index = reorder(log)
    log.rehash()
    return index


def truncate(log: Tampering) -> int:
    index = log.some()
    log.remove(">=", index)
    return index


def truncate_rehashed(log: Tampering) -> int:
    index = log.some()
    log.cut(index)
    return index


def roll_back(log: Tampering) -> int:
    size, older = log.chance.choice(log.made.older)
    log.connection.close()
    log.database.write_bytes(older.read_bytes())
    return size


def fork(log: Tampering) -> int:
    index = log.some()
    log.cut(index)
    log.connection.close()
    log.workshop.extend(log.database, log.size + log.chance.randint(0, 50), log.chance)
    return index


MUTATIONS: Mapping[str, Sequence[Mutation]] = {
    "edit": (edit_bit, edit, edit_rehashed, edit_search, edit_leaf_hash, edit_node_hash),
    "delete": (delete, delete_excused, delete_rehashed),
    "insert": (insert, insert_behind, insert_rehashed),
    "reorder": (reorder, reorder_rehashed),
    "truncate": (truncate, truncate_rehashed),
    "roll back": (roll_back,),
    "fork": (fork,),
}


def mutate(
    kind: str, made: MadeLog, database: Path, workshop: Workshop, chance: random.Random
) -> tuple[str, int | None]:
    """Changes a copy of a log; returns what was done and the first bad entry."""
    log = Tampering(made, database, workshop, chance)
    with closing(log.connection):
        chosen = chance.choice(MUTATIONS[kind])
        return chosen.__name__.replace("_", " "), chosen(log)
