"""Runs the audit service: `python -m services.audit`, settings in the environment (settings.py)."""

from __future__ import annotations

import os
import sys

from services.audit.merkle.notes import KeyInvalid, Signer
from services.audit.settings import Settings
from services.audit.vault import Vault, VaultError
from services.audit.wiring import build
from services.kernel import logs
from services.kernel.hosting import aio
from services.kernel.settings import SettingsError, read


def main() -> None:
    """Serves until SIGTERM; exits with 2 and one line on stderr where the settings are wrong."""
    try:
        settings = read(Settings, os.environ)
        # Read again when the service is built; here a fault can still be told in one line.
        Vault.from_file(settings.key_file)
        Signer.from_file(settings.signing_key_file)
    except (SettingsError, VaultError, KeyInvalid) as error:
        print(f"assay audit: {error}", file=sys.stderr)
        sys.exit(2)
    logs.configure("audit", settings.log_level)
    aio.run(build(settings), settings.listen, settings.metrics_listen or None)


if __name__ == "__main__":
    main()
