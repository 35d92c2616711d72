"""What a command can't do, in words for the person who typed it."""

from __future__ import annotations

import json
import sys
from typing import IO, Any

import click


class CommandFailed(click.ClickException):
    """Ends a command with exit code 1 and a text that says what is wrong and what to do.

    `details` goes into the JSON form, which is printed to standard output where the command was given --json.
    """

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.details = details

    def show(self, file: IO[Any] | None = None) -> None:
        """Prints the failure: JSON to standard output with --json, otherwise a line to standard error."""
        if "--json" in sys.argv:
            click.echo(json.dumps({"error": {"message": self.message, **self.details}}, ensure_ascii=False), file=file)
        else:
            click.secho(f"assay: {self.message}", fg="red", err=True, file=file)
