"""Signed notes, against the example that is published with the format, and everything that must not pass as one."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from services.audit.merkle.notes import (
    Checkpoint,
    KeyInvalid,
    NoteInvalid,
    Signer,
    Verifier,
    open_note,
    split_notes,
    verified,
    whole_notes,
)

# The example in the documentation of Go's package note, from which C2SP signed-note was made.
PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PRIVATE = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
SIGNATURE = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
NOTE = f"{TEXT}\n— PeterNeumann {SIGNATURE}\n"

NAME = "log.test/audit"
SIGNER = Signer(NAME, Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER = Signer(NAME, Ed25519PrivateKey.from_private_bytes(bytes(32)))
CHECKPOINT = Checkpoint(NAME, 4711, bytes(range(100, 132)))


def test_published_note() -> None:
    assert Signer.parse(PRIVATE).sign_text(TEXT) == NOTE
    assert Signer.parse(PRIVATE).vkey == PUBLIC
    assert Signer.parse(PRIVATE).skey == PRIVATE
    text, signers = verified(NOTE, [Verifier.parse(PUBLIC)])
    assert text == TEXT
    assert [signer.name for signer in signers] == ["PeterNeumann"]


def test_checkpoint_there_and_back() -> None:
    note = SIGNER.sign(CHECKPOINT)
    assert note.startswith("log.test/audit\n4711\nZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+f4CBgoM=\n\n— log.test/audit ")
    assert open_note(note, [Verifier.parse(SIGNER.vkey)]) == CHECKPOINT


def test_extension_lines_are_signed_and_passed_over() -> None:
    note = SIGNER.sign_text(CHECKPOINT.text() + "an extension\n")
    assert open_note(note, [SIGNER.verifier]) == CHECKPOINT


def test_signatures_by_unknown_keys_are_passed_over() -> None:
    witness = Signer.generate("witness.test")
    lines = [signer.sign(CHECKPOINT).rpartition("\n\n")[2] for signer in (OTHER, SIGNER)]
    note = f"{CHECKPOINT.text()}\n{witness.sign_text(CHECKPOINT.text()).rpartition(chr(10) * 2)[2]}{''.join(lines)}"
    assert open_note(note, [SIGNER.verifier]) == CHECKPOINT
    assert open_note(note, [SIGNER.verifier, witness.verifier]) == CHECKPOINT
    with pytest.raises(NoteInvalid, match="not the name of the key that signed"):
        open_note(note, [witness.verifier])
    with pytest.raises(NoteInvalid, match="no signature is by a key that is trusted here"):
        open_note(note, [Signer.generate(NAME).verifier])


def test_a_wrong_signature_of_a_known_key_spoils_the_note() -> None:
    right = SIGNER.sign(CHECKPOINT)
    wrong = OTHER.sign(Checkpoint(NAME, 4712, CHECKPOINT.root)).rpartition("\n\n")[2]
    assert open_note(right + wrong, [SIGNER.verifier]) == CHECKPOINT
    with pytest.raises(NoteInvalid, match=r"the signature of .* is wrong"):
        open_note(right + wrong, [SIGNER.verifier, OTHER.verifier])


@settings(deadline=None)
@given(st.data())
def test_no_altered_note_says_anything_else(data: st.DataObject) -> None:
    note = SIGNER.sign(CHECKPOINT)
    place = data.draw(st.integers(0, len(note) - 1))
    character = data.draw(st.characters(codec="utf-8").filter(lambda one: one != note[place]))
    changed = data.draw(
        st.sampled_from(
            [
                note[:place] + character + note[place + 1 :],
                note[:place] + character + note[place:],
                note[:place] + note[place + 1 :],
                note[:place],
            ]
        )
    )
    if changed == note:  # a character taken out of, or doubled in, a run of equal ones
        return
    try:
        assert open_note(changed, [SIGNER.verifier]) == CHECKPOINT
    except NoteInvalid:
        return
    # What passes is the same text with the same signature.
    assert changed.startswith(CHECKPOINT.text() + "\n")


@pytest.mark.parametrize(
    ("note", "fault"),
    [
        ("", "no text, empty line and signatures"),
        (CHECKPOINT.text(), "no text, empty line and signatures"),
        (SIGNER.sign(CHECKPOINT)[:-1], "no text, empty line and signatures"),
        (f"{TEXT}\n- {NAME} {SIGNATURE}\n", "not of the form"),
        (f"{TEXT}\n— {NAME} ###\n", "not of the form"),
        (f"{TEXT}\n— {NAME} AAAA\n", "not of the form"),
        (f"{TEXT}\n— {NAME}\n", "not of the form"),
        (f"{TEXT}\n— a+b {SIGNATURE}\n", "not of the form"),
        (f"{TEXT}\n\n", "no text, empty line and signatures"),
        (NOTE.replace("\n", "\r\n"), "control character"),
        (NOTE + f"— PeterNeumann {SIGNATURE}\n" * 100, "more than 100 signatures"),
        (" " * 1_000_001, "longer than 1000000 characters"),
        (SIGNER.sign_text(f"{NAME}\n4711\n"), "no checkpoint"),
        (SIGNER.sign_text(f"{NAME}\n04711\n{'A' * 43}=\n"), "size is not a number"),
        (SIGNER.sign_text(f"{NAME}\n-1\n{'A' * 43}=\n"), "size is not a number"),
        (SIGNER.sign_text(f"{NAME}\n٤\n{'A' * 43}=\n"), "size is not a number"),
        (SIGNER.sign_text(f"{NAME}\n{'9' * 19}\n{'A' * 43}=\n"), "size is not a number"),
        (SIGNER.sign_text(f"{NAME}\n4711\n{'A' * 40}\n"), "root is not 32 bytes"),
        (SIGNER.sign_text(f"{NAME}\n4711\n{'A' * 42}B=\n"), "root is not 32 bytes"),
        (SIGNER.sign_text(f"another.test\n4711\n{'A' * 43}=\n"), "the origin is another.test"),
    ],
)
def test_what_is_no_checkpoint_is_refused_with_its_fault(note: str, fault: str) -> None:
    with pytest.raises(NoteInvalid, match=fault):
        open_note(note, [SIGNER.verifier])


def test_an_empty_log_has_a_checkpoint() -> None:
    empty = Checkpoint(NAME, 0, bytes(32))
    assert open_note(SIGNER.sign(empty), [SIGNER.verifier]) == empty


def test_a_key_signs_for_its_own_log_alone() -> None:
    with pytest.raises(ValueError, match="can't sign for another"):
        SIGNER.sign(Checkpoint("another.test", 1, bytes(32)))


@pytest.mark.parametrize(
    ("vkey", "fault"),
    [
        ("", "three parts"),
        ("PeterNeumann", "three parts"),
        ("PeterNeumann+c74f20a3", "not an Ed25519 key"),
        ("PeterNeumann+c74f20a3+***", "three parts"),
        ("PeterNeumann+c74f20a3+" + "A" * 43 + "=", "not an Ed25519 key"),
        ("PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "id is c74f20a3"),
        ("PeterNeuman+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "mistyped"),
        ("Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "must not be empty nor hold a space"),
    ],
)
def test_public_keys_that_are_none(vkey: str, fault: str) -> None:
    with pytest.raises(KeyInvalid, match=fault):
        Verifier.parse(vkey)


@pytest.mark.parametrize("skey", ["", PUBLIC, PRIVATE.replace("c74f20a3", "c74f20a4"), PRIVATE[:-4]])
def test_private_keys_that_are_none_are_not_shown(skey: str) -> None:
    with pytest.raises(KeyInvalid) as caught:
        Signer.parse(skey)
    assert "AYEKFALVFGyN" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "two words", "a+b", "line\nbreak", "wide\u3000space"])
def test_names_that_no_key_can_have(name: str) -> None:
    with pytest.raises(KeyInvalid):
        Signer.generate(name)


def test_key_file(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    signer = Signer.generate(NAME)
    path.write_text(signer.skey + "\n")
    path.chmod(0o600)
    assert Signer.from_file(path).vkey == signer.vkey


def test_key_file_that_others_may_read(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    path.write_text(Signer.generate(NAME).skey)
    path.chmod(0o640)
    with pytest.raises(KeyInvalid, match="chmod 600"):
        Signer.from_file(path)


def test_key_files_that_are_missing_or_something_else(tmp_path: Path) -> None:
    with pytest.raises(KeyInvalid, match="FileNotFoundError"):
        Signer.from_file(tmp_path / "none")
    path = tmp_path / "other.key"
    path.write_bytes(b"\xff" * 32)
    path.chmod(0o600)
    with pytest.raises(KeyInvalid, match="UnicodeDecodeError"):
        Signer.from_file(path)


def test_a_file_of_notes() -> None:
    notes = [SIGNER.sign(Checkpoint(NAME, size, bytes(32))) for size in (1, 2, 300)]
    file = "".join(note + "\n" for note in notes)
    assert list(split_notes(file)) == notes
    assert list(split_notes(notes[0])) == [notes[0]]
    assert list(split_notes("")) == []
    assert whole_notes(file) == len(file)


@settings(deadline=None)
@given(st.integers(1, 200))
def test_a_torn_file_of_notes(cut: int) -> None:
    note = SIGNER.sign(CHECKPOINT)
    file = note + "\n" + note + "\n"
    torn = file[:-cut] if cut < len(note) + 1 else file[: len(note) + 2]
    assert whole_notes(torn) == len(note) + 1
    if cut > 1:
        notes = split_notes(torn)
        assert next(notes) == note
        with pytest.raises(NoteInvalid, match="no whole note"):
            list(notes)
