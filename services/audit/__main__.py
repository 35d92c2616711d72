"""Runs the audit service: `python -m services.audit`, settings in the environment (settings.py)."""

from __future__ import annotations

import os
import sys

from services.audit.settings import Settings
from services.audit.wiring import build
from services.kernel import logs
from services.kernel.hosting import aio
from services.kernel.settings import SettingsError, read


def main() -> None:
    """Serves until SIGTERM; exits with 2 and one line on stderr where the settings are wrong."""
    try:
        settings = read(Settings, os.environ)
    except SettingsError as error:
        print(f"assay audit: {error}", file=sys.stderr)
        sys.exit(2)
    logs.configure("audit", settings.log_level)
    aio.run(build(settings), settings.listen, settings.metrics_listen or None)


if __name__ == "__main__":
    main()
