"""`assay audit list`, `show`, `checkpoint` and `proof`: what the log says of a call, and that it is in the log."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.audit_filters import event_filters
from cli.failure import CommandFailed
from cli.options import as_json, mesh_address
from cli.records import LIMIT, ask, outcome, show, table

if TYPE_CHECKING:
    from assay.audit.v1 import audit_pb2

    from cli.audit_reader import AuditReader
    from services.audit.merkle.notes import Verifier
    from services.audit.merkle.verification import Entry


@click.command("list")
@event_filters
@LIMIT
@mesh_address
@as_json
def list_events(filters: dict[str, Any], limit: int, address: str | None, data: Path, json_: bool) -> None:
    """List the newest audit events.

    \b
    assay audit list --model banking --limit 5
    assay audit list --tenant acme --outcome TEXT_BLANK --since 2026-11-01
    assay audit list --max-confidence 0.5
    """
    found = ask(address, data, lambda port: port.events(limit, **filters))
    if json_:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    rows = [
        (
            event["event_id"],
            event["create_time"][:19].replace("T", " "),
            event["tenant"],
            event["caller"],
            event["method"].rpartition("/")[2],
            f"{event['model']} {event['model_version']}".strip(),
            outcome(event),
        )
        for event in found
    ]
    table(("audit id", "time (UTC)", "tenant", "caller", "method", "model", "outcome"), rows)


@click.command("show")
@click.argument("event_id")
@mesh_address
@as_json
def show_event(event_id: str, address: str | None, data: Path, json_: bool) -> None:
    """Show the audit event EVENT_ID, the audit_id of an answer."""
    found = ask(address, data, lambda port: port.event(event_id))
    if not json_ and (hmac := found.get("input", {}).get("text_hmac")):
        found["input"]["text_hmac"] = base64.b64decode(hmac).hex()
    show(found, json_)


@click.command()
@mesh_address
@as_json
def checkpoint(address: str | None, data: Path, json_: bool) -> None:
    """Print the newest checkpoint: a signed note that says how many entries the log has, and their root.

    Kept elsewhere, it shows later whether the log was changed; `assay audit witness` keeps every one.

    \b
    assay audit checkpoint > /mnt/elsewhere/november.checkpoint
    """
    from cli.audit_reader import AuditReader

    with AuditReader.of(address, data) as reader:
        answer = reader.checkpoint()
    if json_:
        click.echo(json.dumps({"checkpoint": answer.checkpoint, "public_key": answer.public_key}, ensure_ascii=False))
    else:
        click.echo(answer.checkpoint, nl=False)


@click.command()
@click.argument("event_id")
@click.option("--public-key", metavar="KEY|FILE", help="The log's public key. Default: that of the mesh in --data.")
@mesh_address
@as_json
def proof(event_id: str, public_key: str | None, address: str | None, data: Path, json_: bool) -> None:
    """Prove that the event EVENT_ID is in the log that the newest checkpoint was signed over.

    The proof is checked here, against the public key; the server is not believed. Exit code 1: it does not hold.

    \b
    assay audit proof 0197... --public-key audit.pub
    """
    from cli.audit_reader import AuditReader
    from cli.audit_trust import public_key as read_key
    from cli.folder import DataFolder

    if public_key is None and address is not None:
        raise CommandFailed("give the log's public key with --public-key: the log's own word on it proves nothing")
    key = read_key(public_key or str(DataFolder(data).keys.audit_public))
    with AuditReader.of(address, data) as reader:
        found, entry = proven_by(reader, event_id, key)
    proven = {
        "event_id": event_id,
        "holds": True,
        "index": found.index,
        "tree_size": found.tree_size,
        "leaf_hash": found.leaf_hash.hex(),
        "path": [node.hex() for node in found.path],
        "checkpoint": found.checkpoint,
    }
    if json_:
        click.echo(json.dumps(proven, ensure_ascii=False))
        return
    content = "its record is what was hashed" if entry and entry.record else "its record is not in the log any more"
    click.echo(f"The event is entry {found.index} of {found.tree_size}, as signed by {key.name}; {content}.")
    table(
        ("step", "hash"), [("leaf", found.leaf_hash.hex()), *((str(i), n.hex()) for i, n in enumerate(found.path, 1))]
    )


def proven_by(
    reader: AuditReader, event_id: str, key: Verifier
) -> tuple[audit_pb2.GetInclusionProofResponse, Entry | None]:
    """Returns a log's proof that it holds an event, checked against `key`, and the event's entry as it is stored.

    Raises:
        CallFailed: there is no proof.
        CommandFailed: it does not hold.
    """
    found = reader.inclusion(event_id)
    entry = next(reader.entries(found.index, found.index + 1), None)
    fault = _fault(found, entry, key, event_id)
    if fault:
        raise CommandFailed(f"the proof does not hold: {fault}", event_id=event_id)
    return found, entry


def _fault(found: audit_pb2.GetInclusionProofResponse, entry: Entry | None, key: Verifier, event_id: str) -> str | None:
    from services.audit.merkle.entries import read_content
    from services.audit.merkle.hashing import leaf_hash
    from services.audit.merkle.notes import NoteInvalid, open_note
    from services.audit.merkle.proofs import verify_inclusion

    try:
        signed = open_note(found.checkpoint, [key])
    except NoteInvalid as invalid:
        return f"the checkpoint can't be trusted: {invalid}"
    if signed.size != found.tree_size:
        return f"it is for {found.tree_size} entries, and the checkpoint for {signed.size}"
    if not verify_inclusion(found.leaf_hash, found.index, found.tree_size, found.path, signed.root):
        return "its path does not lead to the signed root"
    if entry is not None and entry.record and leaf_hash(entry.record) != found.leaf_hash:
        return "the record that is stored is not the one that was signed"
    if entry is not None and entry.record and read_content(entry.record).event_id != event_id:
        return "it is of another event"
    return None
