"""Runs the classifier: `python -m services.classifier`, settings in the environment (settings.py)."""

from __future__ import annotations

import os
import sys

from services.classifier.manifest import BundleError
from services.classifier.settings import Settings
from services.classifier.wiring import build
from services.kernel import logs
from services.kernel.hosting import aio
from services.kernel.settings import SettingsError, read


def main() -> None:
    """Serves until SIGTERM; exits with 2 and one line on stderr where the settings or the models are wrong."""
    # The tokenizers library would start a thread for each core; the cores belong to Triton.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        settings = read(Settings, os.environ)
        logs.configure("classifier", settings.log_level)
        aio.run(build(settings), settings.listen, settings.metrics_listen or None)
    except (SettingsError, BundleError) as error:
        print(f"assay classifier: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
