"""The probe service: compiles its proto into a folder, and runs as a process on either host.

    python -m tests.integration.kernel.probe HOST FOLDER ELSEWHERE

HOST is aio, envoy or front; it listens on free ports of 127.0.0.1. The folder holds the stubs, already compiled, and
takes Envoy's files. ELSEWHERE is the address of another probe, or "self" to be that other.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from google.rpc import status_pb2
from grpc_tools import protoc

from services.kernel import logs
from services.kernel.application import Application, Refusal
from services.kernel.errors import AssayError, Reason
from services.kernel.hosting import aio, front
from services.kernel.hosting.asgi import asgi_app
from services.kernel.hosting.edge import Edge
from services.kernel.hosting.envoy import exec_envoy

HERE = Path(__file__).resolve().parent
SERVICE = "probe.v1.ProbeService"
ELSEWHERE = "probe.v1.ElsewhereService"


def compile_stubs(folder: Path) -> None:
    """Writes the stubs and descriptors of probe.proto into `folder`, which must be on the path to import them."""
    target = folder / "probe" / "v1"
    target.mkdir(parents=True, exist_ok=True)
    (target / "probe.proto").write_bytes((HERE / "probe.proto").read_bytes())
    google = Path(status_pb2.__file__).parents[2]
    well_known = Path(protoc.__file__).parent / "_proto"
    arguments = [
        "protoc",
        f"-I{folder}",
        f"-I{google}",
        f"-I{well_known}",
        f"--python_out={folder}",
        f"--grpc_python_out={folder}",
        f"--descriptor_set_out={folder / 'probe.binpb'}",
        "--include_imports",
        "probe/v1/probe.proto",
    ]
    assert protoc.main(arguments) == 0


def servicer() -> Any:
    """Returns the servicer; imports the stubs late, because they are compiled by the tests."""
    from probe.v1 import probe_pb2, probe_pb2_grpc

    class Probe(probe_pb2_grpc.ProbeServiceServicer, probe_pb2_grpc.ElsewhereServiceServicer):
        def __init__(self) -> None:
            self.cancelled: list[str] = []
            self.refused: list[str] = []

        async def Echo(self, request, context):
            return await self._act(request, context)

        async def Get(self, request, context):
            if request.name == "missing":
                raise AssayError(Reason.EVENT_UNKNOWN, field="name", value=request.name)
            return probe_pb2.EchoResponse(text=request.name, metadata={"page_size": str(request.page_size)})

        async def Where(self, request, context):
            return probe_pb2.EchoResponse(text=f"elsewhere {request.name}")

        async def Split(self, request, context):
            for number in range(request.count):
                yield await self._act(request, context, str(number))

        async def Join(self, request_iterator, context):
            texts = []
            async for request in request_iterator:
                await self._act(request, context)
                texts.append(request.text)
            return probe_pb2.EchoResponse(text=",".join(texts))

        async def Chat(self, request_iterator, context):
            async for request in request_iterator:
                for _ in range(request.count or 1):
                    yield await self._act(request, context)

        async def Talk(self, request_iterator, context):
            while (request := await context.read()) is not grpc.aio.EOF:
                await context.write(await self._act(request, context))

        async def Seen(self, request, context):
            return probe_pb2.SeenResponse(cancelled=self.cancelled, refused=self.refused)

        async def _act(self, request, context, text=None):
            remaining = context.time_remaining()
            try:
                if request.sleep:
                    await asyncio.sleep(request.sleep / 1000)
            except asyncio.CancelledError:
                self.cancelled.append(request.note)
                raise
            if request.act == "reason":
                raise AssayError(
                    Reason.TEXT_TOO_LONG, field="text", tokens=613, limit=512, model="m", model_version="v1"
                )
            if request.act == "abort":
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now: 不行 %", (("why", "because"),))
            if request.act == "bug":
                raise RuntimeError(f"secret {request.text}")
            if request.act == "code":
                context.set_code(grpc.StatusCode.DATA_LOSS)
                context.set_details("lost")
            if request.act == "trailers":
                context.set_trailing_metadata((("trail", "text"), ("trail-bin", b"\0\xff")))
            if request.act == "initial":
                await context.send_initial_metadata((("first", "text"), ("first-bin", b"\1\xfe")))
            if request.act == "gzip":
                context.set_compression(grpc.Compression.Gzip)
            metadata = {
                key: value if isinstance(value, str) else value.hex()
                for key, value in context.invocation_metadata()
                if key.startswith("x-")
            }
            return probe_pb2.EchoResponse(
                text="x" * request.size if request.size else text or request.text,
                remaining=remaining or 0,
                peer=context.peer(),
                metadata=metadata,
                kinds=request.kinds if request.HasField("kinds") else None,
            )

    return Probe()


def build_probe(name: str = "probe", elsewhere: bool = False) -> Any:
    """Returns the Build of a probe application; with one dependency that works and one soft one that does not."""
    from probe.v1 import probe_pb2_grpc

    @asynccontextmanager
    async def build() -> AsyncIterator[Application]:
        probe = servicer()
        if os.environ.get("PROBE_FAULT") == "build":
            raise ConnectionError("canary")

        async def ends() -> None:
            await asyncio.sleep(0.5)
            raise ValueError("canary")

        async def works() -> None: ...

        async def fails() -> None:
            raise ConnectionError

        async def refused(refusal: Refusal) -> None:
            probe.refused.append(f"{refusal.error.reason.name} {refusal.method}")

        add = probe_pb2_grpc.add_ElsewhereServiceServicer_to_server if elsewhere else None
        add = add or probe_pb2_grpc.add_ProbeServiceServicer_to_server
        yield Application(
            name,
            [partial(add, probe)],
            [ELSEWHERE if elsewhere else SERVICE],
            checks={"works": works},
            soft_checks={"fails": fails},
            proxied_names=() if elsewhere else (ELSEWHERE,),
            refused=refused,
            tasks={"ends": ends} if os.environ.get("PROBE_FAULT") == "task" else {},
        )

    return build


def app() -> Any:
    """Returns the ASGI application that Envoy loads; its addresses come from the environment of the test."""
    logs.configure("probe")
    return asgi_app(build_probe(), "127.0.0.1:0", Path(os.environ["PROBE_ADMIN"]), drain_seconds=5.0)


def __getattr__(name: str) -> Any:
    if name == "application":
        return app()
    raise AttributeError(name)


def main() -> None:
    host, folder_name, elsewhere = sys.argv[1:]
    folder = Path(folder_name)
    logs.configure("probe")
    if host == "aio":
        aio.run(build_probe(elsewhere=elsewhere == "self"), "127.0.0.1:0", "127.0.0.1:0", drain_seconds=5.0)
        return
    edge = Edge(
        listen="127.0.0.1:0",
        folder=folder / "edge",
        descriptors=folder / "probe.binpb",
        services=(SERVICE, ELSEWHERE),
        proxied={ELSEWHERE: elsewhere},
        static={"/docs": folder / "docs"},
    )
    if host == "envoy":
        environ = {**os.environ, "PROBE_ADMIN": str(edge.admin_address_file)}
        exec_envoy(edge.inside("tests.integration.kernel.probe:application"), environ)
    front.run(build_probe(), edge, "127.0.0.1:0", drain_seconds=5.0)


if __name__ == "__main__":
    main()
