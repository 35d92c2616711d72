from __future__ import annotations

from pathlib import Path

import pytest

from services.audit.adapters.notebook import Notebook
from services.audit.merkle.notes import Checkpoint, Signer, split_notes
from tests.fixtures.audit import LOG_NAME

SIGNER = Signer.generate(LOG_NAME)


def note(size: int) -> str:
    return SIGNER.sign(Checkpoint(LOG_NAME, size, bytes([size % 256]) * 32))


def test_notes_are_appended_and_the_last_is_found(tmp_path: Path) -> None:
    path = tmp_path / "new" / "checkpoints.log"
    book = Notebook(path)
    assert book.newest() is None
    for size in range(3):
        book.append(note(size))
        assert book.newest() == note(size)
    Notebook(path).append(note(3))
    assert list(split_notes(path.read_text())) == [note(size) for size in range(4)]


@pytest.mark.parametrize("cut", [1, 2, 3, 20, 90, 91, 92, 150])
def test_a_torn_note_is_cut_off_and_the_whole_ones_stay(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "checkpoints.log"
    Notebook(path).append(note(1))
    Notebook(path).append(note(2))
    whole = path.read_bytes()
    path.write_bytes(whole + f"{note(3)}\n".encode()[:cut])
    book = Notebook(path)
    assert book.newest() == note(2)
    book.append(note(4))
    assert list(split_notes(path.read_text())) == [note(1), note(2), note(4)]


def test_only_the_end_of_a_long_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.log"
    path.write_text("".join(f"{note(size)}\n" for size in range(2000)))
    assert path.stat().st_size > 2 * 64 * 1024
    book = Notebook(path)
    assert book.newest() == note(1999)
    path.write_bytes(path.read_bytes()[:-3])
    assert book.newest() == note(1998)
    book.append(note(2000))
    notes = list(split_notes(path.read_text()))
    assert (len(notes), notes[-2:]) == (2000, [note(1998), note(2000)])


def test_what_is_no_torn_note_is_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.log"
    path.write_bytes(b"something else " * 1000)
    with pytest.raises(OSError, match="no checkpoint"):
        Notebook(path).append(note(1))
    assert path.read_bytes() == b"something else " * 1000
