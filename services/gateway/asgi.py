"""The gateway as Envoy loads it into its own process; see __main__.py."""

from __future__ import annotations

import os

from services.gateway.edge import edge
from services.gateway.settings import Settings
from services.gateway.wiring import build
from services.kernel import logs
from services.kernel.hosting.asgi import asgi_app
from services.kernel.settings import read

_settings = read(Settings, os.environ)
logs.configure("gateway", _settings.log_level)
app = asgi_app(build(_settings), _settings.metrics_listen or None, edge(_settings).admin_address_file)
