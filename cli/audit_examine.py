"""Verifies the log of a server: its entries, and the proofs that it gives to those who do not read all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from cli.audit_reader import AuditReader, LogDamaged
from cli.audit_search import compare_search
from cli.client import CallFailed
from cli.failure import CommandFailed
from services.audit.merkle.entries import read_content, restored
from services.audit.merkle.notes import Checkpoint, NoteInvalid, Verifier, open_note
from services.audit.merkle.proofs import verify_consistency
from services.audit.merkle.verification import EntriesBroken, Finding, LeafHashes, Verdict, verify
from services.kernel.errors import Reason

_TRIES = 3
_WAITS, _WAIT_SECONDS = 50, 0.2
_TILE_SPAN = 256 * 256
"""Entries under a full tile of level 1."""


def examine(
    log: AuditReader,
    key: Verifier,
    trusted: Sequence[Checkpoint],
    leaf_hashes: LeafHashes,
    started: Callable[[int], None] = lambda size: None,
    progress: Callable[[int], None] = lambda done: None,
    objects: Sequence[tuple[str, BinaryIO]] = (),
    search: bool = False,
) -> Verdict:
    """Verifies what a server holds against `trusted` and its own newest checkpoint, then tries its proofs.

    Args:
        log: the server.
        key: the log's public key.
        trusted: checkpoints from elsewhere, whose signatures were checked.
        leaf_hashes: a witness's, empty without one.
        started: called with the number of entries once that is known.
        progress: called now and then with the number of entries read.
        objects: files of the archive, with their names, for contents that the server has not any more.
        search: whether to hold what a search finds against the entries too.

    Raises:
        CommandFailed: the server can't be asked, has nothing signed yet, or its checkpoint is not signed with the key.
    """
    for _ in range(_TRIES):
        newest = _newest(log, key, bool(trusted))
        checkpoints = [newest, *trusted] if newest else trusted
        size = max(checkpoint.size for checkpoint in checkpoints)
        started(size)
        for _, file in objects:
            file.seek(0)
        probes = sorted(set(_probes(newest.size))) if newest else []
        entries = restored(log.entries(0, size), objects)
        verdict = verify(entries, checkpoints, read_content, leaf_hashes, progress, probes)
        # What expired while it was read is explained by an action behind this checkpoint, which the next one covers.
        if not (verdict.unexplained and newest and _has_grown(log, key, newest)):
            break
    if verdict.ok and newest is None:
        verdict.proof_fault = "every entry is as it was signed, but the log has lost its checkpoints and proves nothing"
    elif verdict.ok and newest:
        verdict.proof_fault = _try_proofs(log, newest, {probe: verdict.roots[probe] for probe in probes})
    if verdict.ok and search:
        try:
            verdict.finding = compare_search(log, verdict)
        except LogDamaged as damage:
            if damage.index is None:
                verdict.proof_fault = f"every entry is as it was signed, but a search fails: {damage}"
            else:
                verdict.finding = Finding(damage.index, damage.index + 1, f"a search fails there: {damage}")
    return verdict


def _newest(log: AuditReader, key: Verifier, may_lack: bool) -> Checkpoint | None:
    try:
        return open_note(log.checkpoint().checkpoint, [key])
    except (NoteInvalid, EntriesBroken) as fault:
        raise CommandFailed(f"the checkpoint that {log.address} gives can't be trusted: {fault}") from None
    except CallFailed as failure:
        if may_lack and failure.reason == Reason.PROOF_PENDING.name:
            return None
        raise


def _has_grown(log: AuditReader, key: Verifier, before: Checkpoint) -> bool:
    """Returns whether there is a newer checkpoint; waits for it when there are entries that it is to cover."""
    for _ in range(_WAITS):
        newest = _newest(log, key, may_lack=True)
        if newest is not None and newest.size > before.size:
            return True
        if log.entry(before.size) is None:
            return False
        time.sleep(_WAIT_SECONDS)
    return False


def _probes(size: int) -> Iterator[int]:
    """Yields the sizes from which proofs to `size` use, all together, every hash of the tree above the leaves.

    A proof uses what is beside the way from one leaf to the root. So under each tile of level 1 it takes two leaves
    that lie apart: each proof uses what the other has on its way.
    """
    for start in range(0, size, _TILE_SPAN):
        yield start + 1
        yield max(start + 1, min(start + _TILE_SPAN, size) - 1)


def _try_proofs(log: AuditReader, newest: Checkpoint, roots: dict[int, bytes]) -> str:
    for size, root in roots.items():
        try:
            proven = verify_consistency(size, newest.size, log.consistency(size, newest.size), root, newest.root)
        except EntriesBroken as fault:
            return f"every entry is as it was signed, but the log can't prove it: {fault}"
        if not proven:
            return (
                f"every entry is as it was signed, but the log's proof from {size} to {newest.size} entries is wrong:"
                " a hash above the leaves was changed"
            )
    return ""
