from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.audit.adapters.sqlite import SqliteEventStore
from tests.fixtures.audit import vault


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteEventStore]:
    made = SqliteEventStore(tmp_path / "audit.sqlite3", vault())
    yield made
    await made.close()
