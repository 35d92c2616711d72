"""What a witness does with each new checkpoint of a log: keep it, or say what it contradicts."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from cli.audit_reader import AuditReader
from cli.failure import CommandFailed
from cli.witness_folder import WitnessFolder
from services.audit.merkle.frontier import Frontier
from services.audit.merkle.hashing import HASH_BYTES
from services.audit.merkle.notes import Checkpoint, NoteInvalid, open_note
from services.audit.merkle.proofs import verify_consistency
from services.audit.merkle.verification import EntriesBroken

_SOME = 10_000


class Alarm(CommandFailed):
    """The log contradicts what the witness kept. It is not kept, except as evidence."""


def visit(folder: WitnessFolder, log: AuditReader) -> Checkpoint | None:
    """Keeps the log's newest checkpoint; returns it, None when it was kept before.

    Raises:
        Alarm: it is not signed as it should be, or the log behind it does not begin with what was kept.
        CommandFailed: the log can't be asked.
        OSError: the folder can't be written.
    """
    try:
        note = log.checkpoint().checkpoint
        newest = open_note(note, [folder.verifier])
    except (NoteInvalid, EntriesBroken) as fault:
        raise Alarm(f"ALARM: the log's newest checkpoint can't be trusted: {fault}") from None
    size = folder.size
    root = folder.frontier.root()
    if folder.checkpoints and newest.size == size and newest.root == root:
        return None
    if newest.size < size:
        words = f"it says that it has {newest.size} entries, and had {size}"
        raise _alarm(folder, note, words, _first_other(folder, log))
    added: list[bytes] = []
    try:
        if newest.size > size:
            added += log.leaf_hashes(size, newest.size)
        path = log.consistency(size, newest.size)
    except EntriesBroken as fault:
        raise _alarm(folder, note, str(fault), _first_other(folder, log)) from None
    tree = _grown(folder, added)
    if tree.size != newest.size or tree.root() != newest.root or not all(len(one) == HASH_BYTES for one in added):
        words = f"its checkpoint of {newest.size} entries does not continue the one of {size}"
        raise _alarm(folder, note, words, _first_other(folder, log))
    if not verify_consistency(size, newest.size, path, root, newest.root):
        raise _alarm(folder, note, f"its proof from {size} to {newest.size} entries is wrong", None)
    folder.append(newest, note, added)
    return newest


def _grown(folder: WitnessFolder, added: Iterable[bytes]) -> Frontier:
    tree = folder.frontier.copy()
    tree.extend(added)
    return tree


def _first_other(folder: WitnessFolder, log: AuditReader) -> int | None:
    """Returns the first entry whose hash is not the one that was kept; None when all are, or can't be read."""
    kept, at = folder.leaf_hashes, 0
    try:
        given = iter(log.leaf_hashes(0, folder.size))
        while some := list(islice(given, _SOME)):
            for found in some:
                if kept[at * HASH_BYTES : (at + 1) * HASH_BYTES] != found:
                    return at
                at += 1
    except EntriesBroken:
        return at
    return at if at < folder.size else None


def _alarm(folder: WitnessFolder, note: str, fault: str, first: int | None) -> Alarm:
    evidence = folder.keep_evidence(note)
    place = f"; entry {first} is the first that is not what it was" if first is not None else ""
    return Alarm(
        f"ALARM: the log contradicts what was witnessed: {fault}{place}. Its checkpoint is kept in {evidence}",
        first_bad=first,
        evidence=str(evidence),
    )
