"""A supervisor of stand-ins as a process of its own, to be killed: `python supervise.py DATA STANDIN`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from cli import mesh, readiness
from cli.part import Launch, Recipe
from cli.parts import Plan
from cli.ports import free_ports


def stand_ins(plan: Plan) -> list[Recipe]:
    """Two parts, the second needing the first and starting a process of its own in another session."""
    first, second = free_ports(2)

    def recipe(name: str, port: int, needs: tuple[str, ...], *arguments: str) -> Recipe:
        address = f"127.0.0.1:{port}"
        launch = Launch((sys.executable, sys.argv[2], str(port), *arguments), {"PATH": "/usr/bin:/bin"})
        return Recipe(name, lambda: launch, address, readiness.valkey(address), Path("/"), needs)

    return [recipe("first", first, ()), recipe("second", second, ("first",), "--child")]


async def main() -> None:
    mesh.recipes = stand_ins
    async with mesh.Mesh(Path(sys.argv[1])) as running:
        await running.ready()
        print("ready", flush=True)
        await running.failed()


if __name__ == "__main__":
    asyncio.run(main())
