"""What a verifier believes of a log: its public key, and checkpoints that were kept apart from it."""

from __future__ import annotations

from pathlib import Path

from cli.failure import CommandFailed
from services.audit.merkle.notes import Checkpoint, KeyInvalid, NoteInvalid, Verifier, open_note, split_notes


def public_key(given: str) -> Verifier:
    """Reads a public key: the key itself, "name+id+key", or a file that holds it.

    Raises:
        CommandFailed: it is neither.
    """
    file = Path(given)
    try:
        text = file.read_text() if file.is_file() else given
        return Verifier.parse(text)
    except (OSError, UnicodeDecodeError, KeyInvalid) as fault:
        words = fault if isinstance(fault, KeyInvalid) else f"{file} can't be read"
        raise CommandFailed(f"--public-key: {words}") from None


def read_checkpoints(file: Path, verifier: Verifier) -> list[Checkpoint]:
    """Reads a file of one or several signed notes and checks each.

    Raises:
        CommandFailed: it can't be read, or one of them is not signed with the key.
    """
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as fault:
        raise CommandFailed(f"{file} can't be read: {type(fault).__name__}") from None
    found: list[Checkpoint] = []
    try:
        found.extend(open_note(note, [verifier]) for note in split_notes(text))
    except NoteInvalid as fault:
        raise CommandFailed(f"{file}, checkpoint {len(found) + 1}: {fault}") from None
    if not found:
        raise CommandFailed(f"{file} holds no checkpoint")
    return found
