"""`assay audit`: what the log says, the proof that it is true, and what may be done to what it holds."""

from __future__ import annotations

import click

from cli.lazy import Lazy

COMMANDS = {
    "list": ("cli.audit_show:list_events", "List the newest events."),
    "show": ("cli.audit_show:show_event", "Show one event."),
    "export": ("cli.audit_export:export", "Write events to a file: Parquet, CSV, JSON Lines, or the log itself."),
    "checkpoint": ("cli.audit_show:checkpoint", "Print the newest signed checkpoint."),
    "proof": ("cli.audit_show:proof", "Prove that an event is in the log."),
    "verify": ("cli.audit_verify:verify", "Verify the whole log; name its first bad record."),
    "witness": ("cli.audit_witness:witness", "Keep checkpoints elsewhere, where nobody can take them back."),
    "subject": ("cli.audit_subject:subject", "Print what stands in the log for a person."),
    "hold": ("cli.audit_custody:hold", "Keep events from expiry and erasure: place, release, list."),
    "erase": ("cli.audit_custody:erase", "Make everything personal in one person's events unreadable."),
    "expire": ("cli.audit_custody:expire", "Remove what is older than the retention; done daily anyway."),
    "archive": ("cli.audit_custody:archive", "Move whole past months to object storage."),
}


@click.command(cls=Lazy, loads=COMMANDS)
def audit() -> None:
    """Read the audit log, prove it, and answer for what it holds.

    \b
    assay audit list --outcome error --since 2026-11-01
    assay audit export november.parquet --since 2026-11-01 --until 2026-12-01
    assay audit verify
    assay audit hold place --tenant acme --note "case 12"

    hold, erase, expire and archive ask the audit service at its own address; the rest asks the public port.
    """
