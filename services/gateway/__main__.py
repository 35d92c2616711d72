"""Runs the gateway: `python -m services.gateway`, settings in the environment (settings.py)."""

from __future__ import annotations

import json
import os
import sys

from services.gateway.adapters.outbox_sqlite import SqliteOutbox
from services.gateway.edge import edge
from services.gateway.ports import OutboxUnavailable
from services.gateway.pseudonyms import PseudonymKeyError
from services.gateway.settings import Settings
from services.gateway.tenants import Tenants
from services.kernel import logs
from services.kernel.hosting.envoy import Choice, choose_host, exec_envoy
from services.kernel.settings import SettingsError, read


def main() -> None:
    """Becomes Envoy with the gateway inside, or serves behind one; exits with 2 and one line when it can't begin."""
    try:
        settings = read(Settings, os.environ)
        logs.configure("gateway", settings.log_level)
        choice = choose_host(settings.host)
        _rehearse(settings)
        _write_down(settings, choice)
        public = edge(settings)
        if choice.host == "envoy":
            exec_envoy(public.inside("services.gateway.asgi:app"), os.environ)
        # Not before: a process that becomes Envoy needs none of it, and a restart takes that much longer.
        from services.gateway.wiring import build
        from services.kernel.hosting import front

        front.run(build(settings), public, settings.metrics_listen or None)
    except (SettingsError, PseudonymKeyError, OutboxUnavailable, OSError, ValueError) as error:
        print(f"assay gateway: {error}", file=sys.stderr)
        sys.exit(2)


def _rehearse(settings: Settings) -> None:
    """Opens what the gateway will open, and closes it again.

    Inside Envoy a failure could only be told by a traceback, and another gateway over the same folder would by then
    have lost its Envoy's files to this one's.
    """
    Tenants.from_files(settings.pseudonym_key_file, settings.tenants_file)
    settings.data.mkdir(parents=True, exist_ok=True)
    SqliteOutbox(settings.outbox_file).close()


def _write_down(settings: Settings, choice: Choice) -> None:
    """Leaves in host.json what hosts the gateway and why, for `assay status`."""
    path = settings.data / "host.json"
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"host": choice.host, "reason": choice.why}))
    new.replace(path)


if __name__ == "__main__":
    main()
