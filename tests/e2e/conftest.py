"""Fixtures of the tests against whole meshes."""

from __future__ import annotations

import pytest

from tests.fixtures.mesh import RunningMesh


@pytest.fixture
def public_address(mesh: RunningMesh) -> str:
    """Where the shared mesh answers, as host:port."""
    return mesh.address
