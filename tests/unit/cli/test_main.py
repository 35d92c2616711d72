"""What the entry point makes of how a command ended."""

from __future__ import annotations

from collections.abc import Callable

import click
import pytest

from cli import main
from cli.failure import CommandFailed


def left(context: click.Context) -> None:
    context.exit(3)


def failed(context: click.Context) -> None:
    raise CommandFailed("there is a reason")


def interrupted(context: click.Context) -> None:
    raise click.Abort


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [(left, 3, ""), (failed, 1, "there is a reason"), (interrupted, 130, "interrupted")],
)
def test_a_command_that_did_not_go_well_ends_with_its_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    body: Callable[[click.Context], None],
    code: int,
    words: str,
) -> None:
    monkeypatch.setattr(main, "assay", click.command(click.pass_context(body)))
    monkeypatch.setattr("sys.argv", ["assay"])
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == code
    assert words in capsys.readouterr().err


def test_a_command_that_went_well_ends_with_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "assay", click.command(lambda: None))
    monkeypatch.setattr("sys.argv", ["assay"])
    main.main()
