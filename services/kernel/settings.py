"""Reads a service's settings from the environment, once, into a frozen dataclass.

A field's variable is its name in capitals behind `ASSAY_`. Its type tells how it is read; a field without a default
must be set. Each service's settings.py holds the dataclass and nothing else reads the environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

PREFIX = "ASSAY_"
Settings = TypeVar("Settings")


class SettingsError(ValueError):
    """A setting is missing or can't be read; the text names the variable, the fault and what is wanted."""


def _boolean(text: str) -> bool:
    values = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    return values[text.strip().lower()]


def _addresses(text: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if not parts:
        raise ValueError
    return parts


_READERS: Mapping[Any, tuple[str, Any]] = {
    str: ("text", str),
    int: ("a whole number", int),
    float: ("a number", float),
    bool: ("true or false", _boolean),
    Path: ("a path", Path),
    Path | None: ("a path", Path),
    tuple[str, ...]: ("a comma-separated list", _addresses),
}


def read(kind: type[Settings], environ: Mapping[str, str]) -> Settings:
    """Builds `kind`, a dataclass, from `environ`.

    Raises:
        SettingsError: a variable is missing, or its value is not of the field's type, or the dataclass refused it
            (a ValueError from its __post_init__).
    """
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]  # a dataclass type can't be said here
        variable = PREFIX + field.name.upper()
        text = environ.get(variable)
        if text is None:
            if field.default is MISSING and field.default_factory is MISSING:
                raise SettingsError(f"{variable} is not set")
            continue
        wanted, reader = _READERS[hints[field.name]]
        try:
            values[field.name] = reader(text)
        except (ValueError, KeyError):
            raise SettingsError(f"{variable} is {text!r}; it must be {wanted}") from None
    try:
        return kind(**values)
    except ValueError as error:
        raise SettingsError(str(error)) from None
