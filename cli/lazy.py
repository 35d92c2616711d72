"""A group of commands that are loaded when they are asked for, so that help comes at once."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

Commands = Mapping[str, tuple[str, str]]
"""Name: where the click command is, "module:attribute", and what the group's help says of it."""


class Lazy(click.Group):
    """A group whose commands are imported when they are run or asked for help."""

    def __init__(self, *args: Any, loads: Commands, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._loads = loads

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names, the most useful to a newcomer first."""
        return list(self._loads)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the command."""
        if cmd_name not in self._loads:
            return None
        module, _, name = self._loads[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in self._loads.items()])
