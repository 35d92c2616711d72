"""The witness's folder: what it keeps through crashes, and what it does not believe of its own files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cli.failure import CommandFailed
from cli.witness_folder import WitnessFolder
from services.audit.merkle.frontier import Frontier
from services.audit.merkle.hashing import leaf_hash
from services.audit.merkle.notes import Checkpoint, Signer

SIGNER = Signer.generate("log.test/audit")
LEAVES = [leaf_hash(bytes([number])) for number in range(200)]


def checkpoint(size: int) -> Checkpoint:
    tree = Frontier()
    tree.extend(LEAVES[:size])
    return Checkpoint(SIGNER.name, size, tree.root())


def keep(folder: WitnessFolder, size: int) -> None:
    made = checkpoint(size)
    folder.append(made, SIGNER.sign(made), LEAVES[folder.size : size])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder with checkpoints of 50, 51 and 120 entries."""
    folder = WitnessFolder(tmp_path / "witness", SIGNER.verifier)
    with folder.held():
        for size in (50, 51, 120):
            keep(folder, size)
    return folder.path


def test_what_was_kept_is_there_again(path: Path) -> None:
    folder = WitnessFolder(path)
    assert folder.verifier.vkey == SIGNER.vkey
    assert folder.checkpoints == [checkpoint(size) for size in (50, 51, 120)]
    assert folder.size == 120
    assert folder.leaf_hashes[:] == b"".join(LEAVES[:120])


def test_a_new_folder_is_empty(tmp_path: Path) -> None:
    folder = WitnessFolder(tmp_path / "a" / "witness", SIGNER.verifier)
    assert (folder.size, folder.checkpoints, len(folder.leaf_hashes)) == (0, [], 0)
    with folder.held():
        keep(folder, 3)
        assert folder.leaf_hashes[:] == b"".join(LEAVES[:3])


@pytest.mark.parametrize(
    "tear",
    [
        lambda path: (path / "leaf-hashes").open("ab").write(b"".join(LEAVES[120:150]) + b"torn"),
        lambda path: (path / "checkpoints.log").open("a").write(SIGNER.sign(checkpoint(150))[:-20]),
        lambda path: (path / "checkpoints.log").open("ab").write("log.test/audit\n—".encode()[:-1]),
        lambda path: (path / "checkpoints.log").open("a").write(SIGNER.sign(checkpoint(150))),
    ],
)
def test_what_a_crash_left_unfinished_is_passed_over_and_cut_off(path: Path, tear: Callable[[Path], object]) -> None:
    tear(path)
    folder = WitnessFolder(path)
    assert (folder.size, len(folder.leaf_hashes)) == (120, 120 * 32)
    with folder.held():
        keep(folder, 200)
    assert WitnessFolder(path).checkpoints == [checkpoint(size) for size in (50, 51, 120, 200)]


def test_one_witness_at_a_time(path: Path) -> None:
    one, other = WitnessFolder(path), WitnessFolder(path)
    with one.held(), pytest.raises(CommandFailed, match="another witness keeps its log in"), other.held():
        pass
    with other.held():
        pass


def flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda path: flip(path / "leaf-hashes", 60 * 32), "does not lead to the checkpoint of 120 entries"),
        (lambda path: flip(path / "leaf-hashes", 0), "does not lead to the checkpoint of 50 entries"),
        (lambda path: (path / "leaf-hashes").write_bytes(b"".join(LEAVES[:100])), "has 100 hashes"),
        (lambda path: (path / "leaf-hashes").unlink(), "has 0 hashes"),
        (lambda path: flip(path / "checkpoints.log", 16), "checkpoint 1 of checkpoints.log: the signature of"),
        (lambda path: (path / "log.pub").unlink(), "no witness folder: it has no log.pub"),
    ],
)
def test_a_folder_that_was_damaged_is_not_used(path: Path, damage: Callable[[Path], object], fault: str) -> None:
    damage(path)
    with pytest.raises(CommandFailed) as caught:
        WitnessFolder(path)
    assert fault in caught.value.message


def test_another_logs_folder_is_not_used(path: Path) -> None:
    with pytest.raises(CommandFailed, match="witnesses"):
        WitnessFolder(path, Signer.generate("log.test/audit").verifier)


def test_evidence_is_kept_once(path: Path) -> None:
    folder = WitnessFolder(path)
    note = SIGNER.sign(checkpoint(7))
    assert folder.keep_evidence(note) == folder.keep_evidence(note)
    (file,) = path.glob("evidence-*.note")
    assert file.read_text() == note
