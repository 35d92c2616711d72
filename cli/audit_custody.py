"""`assay audit hold`, `erase`, `expire` and `archive`: what may be done to the log's contents. Each is an event."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.audit_filters import TIME, timestamp
from cli.failure import CommandFailed
from cli.folder import running_mesh
from cli.options import as_json, data_folder
from cli.records import table

if TYPE_CHECKING:
    from assay.audit.v1 import audit_pb2

_LONG_SECONDS = 24 * 3600.0
"""How long an expiry or a move into the archive may take; the service works on meanwhile."""

_SHORT_SECONDS = 120.0


def _asks(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --audit-address, --data and --json."""
    address = click.option(
        "--audit-address", metavar="HOST:PORT", help="The audit service itself. Default: that of the mesh in --data."
    )
    return address(data_folder(as_json(function)))


def _acts(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --operator too."""
    operator = click.option("--operator", help="Who does it, as the log will say. Default: your user name.")
    return operator(_asks(function))


@click.group()
def hold() -> None:
    """Legal holds: events that one covers neither expire nor can their person be erased.

    \b
    assay audit hold place --tenant acme --caller ward-7 --note "case 12"
    assay audit hold list
    assay audit hold release 0197...
    """


@hold.command("place")
@click.option("--tenant", required=True, help="Only events of this tenant.")
@click.option("--caller", default="", help="Only events of this caller. Default: all of the tenant.")
@click.option("--since", type=TIME, help="Only events that the log took at or after this time, UTC.")
@click.option("--until", type=TIME, help="Only events that the log took before this time. Default: those to come too.")
@click.option("--note", default="", help="Why, for example a case's number. No personal data.")
@_acts
def place(
    tenant: str,
    caller: str,
    since: datetime | None,
    until: datetime | None,
    note: str,
    operator: str | None,
    audit_address: str | None,
    data: Path,
    json_: bool,
) -> None:
    """Place a hold and print its id."""
    from assay.audit.v1 import audit_pb2

    asked = audit_pb2.Hold(
        tenant=tenant, caller=caller, note=note, start_time=timestamp(since), end_time=timestamp(until)
    )
    request = audit_pb2.PlaceHoldRequest(hold=asked, operator=_operator(operator))
    placed = _ask(audit_address, data, "PlaceHold", request).hold
    _print(placed, json_, f"hold {placed.hold_id} is in force")


@hold.command("release")
@click.argument("hold_id")
@_acts
def release(hold_id: str, operator: str | None, audit_address: str | None, data: Path, json_: bool) -> None:
    """Release the hold HOLD_ID: what it kept may expire and be erased again."""
    from assay.audit.v1 import audit_pb2

    request = audit_pb2.ReleaseHoldRequest(hold_id=hold_id, operator=_operator(operator))
    released = _ask(audit_address, data, "ReleaseHold", request).hold
    _print(released, json_, f"hold {released.hold_id} is released")


@hold.command("list")
@_asks
def list_holds(audit_address: str | None, data: Path, json_: bool) -> None:
    """List the holds in force, oldest first."""
    from assay.audit.v1 import audit_pb2

    holds = _ask(audit_address, data, "ListHolds", audit_pb2.ListHoldsRequest()).holds
    if json_:
        click.echo(json.dumps([_content(one) for one in holds], ensure_ascii=False))
        return
    rows = [
        (one.hold_id, one.tenant, one.caller or "all", _moment(one, "start_time"), _moment(one, "end_time"), one.note)
        for one in holds
    ]
    table(("hold", "tenant", "caller", "since (UTC)", "until (UTC)", "note"), rows)


@click.command()
@click.option("--tenant", required=True, help="The person's tenant.")
@click.option("--caller", default="", help="The person is this caller.")
@click.option("--subject", default="", help="The person is the one that events are about; as the log names them.")
@click.option("--note", default="", help="Why, for example a request's number. No personal data.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@_acts
def erase(
    tenant: str,
    caller: str,
    subject: str,
    note: str,
    yes: bool,
    operator: str | None,
    audit_address: str | None,
    data: Path,
    json_: bool,
) -> None:
    """Make everything personal in one person's events unreadable, for good, by destroying the person's key.

    The events stay, without caller, request id, subject and text, and every proof still holds. A legal hold refuses it.
    Exports, backups, the event log's own retention and the review tasks are out of its reach.

    \b
    assay audit erase --tenant acme --caller ward-7 --note "request 31"
    """
    from assay.audit.v1 import audit_pb2

    if bool(caller) == bool(subject):
        raise click.UsageError("give either --caller or --subject")
    if not yes:
        whom = f"the caller {caller}" if caller else f"the subject {subject}"
        question = f"Make what is personal in the events of {whom} of {tenant} unreadable? There is no way back."
        click.confirm(question, abort=True, err=True)
    request = audit_pb2.ErasePersonRequest(
        tenant=tenant, caller=caller, subject=subject, note=note, operator=_operator(operator)
    )
    erased = _ask(audit_address, data, "ErasePerson", request)
    said = f"; event {erased.event_id} says so" if erased.event_id else ": there was nothing of this person"
    _print(erased, json_, f"{erased.events} events erased{said}")


@click.command()
@click.option("--trust-clock", is_flag=True, help="The clock is right: time that nobody saw pass did pass.")
@_acts
def expire(trust_clock: bool, operator: str | None, audit_address: str | None, data: Path, json_: bool) -> None:
    """Remove the contents of events that are older than the retention, as the service does daily.

    After a leap of the clock, or a time without power, contents are kept that much longer, until --trust-clock says
    that the time did pass.
    """
    from assay.audit.v1 import audit_pb2

    request = audit_pb2.ExpireEventsRequest(operator=_operator(operator), trust_clock=trust_clock)
    with _waiting("expiring", json_):
        done = _ask(audit_address, data, "ExpireEvents", request, _LONG_SECONDS)
    words = f"{done.events} contents removed"
    if doubted := done.doubted.ToTimedelta():
        words += (
            f"\nthe clock says that {doubted} passed while nobody looked; contents are kept that much longer."
            "\nIf the clock is right: assay audit expire --trust-clock"
        )
    _print(done, json_, words)


@click.command()
@click.option("--before", type=TIME, help="Months that ended by this time, UTC. Default: every month before this one.")
@_acts
def archive(before: datetime | None, operator: str | None, audit_address: str | None, data: Path, json_: bool) -> None:
    """Move the contents of whole past months to the archive (ASSAY_ARCHIVE of the audit service).

    What is personal stays sealed there, with keys that stay here. What is on hold stays. Done again after a failure, it
    goes on where it was.
    """
    from assay.audit.v1 import audit_pb2

    request = audit_pb2.ArchiveEventsRequest(
        before=timestamp(before or datetime.now(UTC)), operator=_operator(operator)
    )
    with _waiting("archiving", json_):
        done = _ask(audit_address, data, "ArchiveEvents", request, _LONG_SECONDS)
    if json_:
        _print(done, json_, "")
        return
    table(("object",), [(name,) for name in done.objects])
    click.echo(f"{done.events} contents archived")


def _operator(given: str | None) -> str:
    if given is not None:
        return given
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        raise CommandFailed("this user has no name; give one with --operator") from None


def _ask(audit_address: str | None, data: Path, method: str, request: Any, seconds: float = _SHORT_SECONDS) -> Any:
    import grpc
    from assay.audit.v1 import audit_pb2_grpc

    from cli.client import call_failed

    address = audit_address or _audit_part(data)
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            return getattr(audit_pb2_grpc.AuditAdminServiceStub(channel), method)(request, timeout=seconds)
        except grpc.RpcError as error:
            raise call_failed(error, address) from None


def _audit_part(data: Path) -> str:
    try:
        return str(running_mesh(data)["parts"]["audit"]["address"])
    except KeyError:
        raise CommandFailed("this mesh has no audit service; give its address with --audit-address") from None


@contextmanager
def _waiting(what: str, hidden: bool) -> Iterator[None]:
    from cli.terminal import console

    shown = console(stderr=True)
    if hidden or not shown.is_terminal:
        yield
        return
    with shown.status(f"{what} ..."):
        yield


def _content(message: Any) -> Any:
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def _print(message: Any, json_: bool, words: str) -> None:
    click.echo(json.dumps(_content(message), ensure_ascii=False) if json_ else words)


def _moment(hold: audit_pb2.Hold, field: str) -> str:
    if not hold.HasField(field):  # type: ignore[arg-type]  # the stub wants the name as a literal
        return "open"
    return f"{getattr(hold, field).ToDatetime():%Y-%m-%d %H:%M:%S}"
