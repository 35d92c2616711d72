"""The encoder on one or several Triton servers, over gRPC.

Every call goes to the ready server with the fewest calls in flight. A server that can't be reached is left out until a
probe finds it and the model ready again; the call that found it out is tried once more on another. No answer is used
before its shape and its numbers have been looked at.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from services.classifier.bundle import FloatArray, IntArray
from services.classifier.ports import EncoderUnavailable, EncodingFailed

_log = logging.getLogger(__name__)

_CHANNEL = [
    ("grpc.max_send_message_length", 64 * 1024 * 1024),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    # A restarted server is found again within the second, not within gRPC's default of up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.use_local_subchannel_pool", 1),
]
_PROBE_SECONDS = 1.0
_PROBE_SECONDS_WHILE_DOWN = 0.2
_PROBE_TIMEOUT_SECONDS = 2.0
_ATTEMPTS = 2

# Statuses that blame the server, not the rows. A model that is loading or gone is UNAVAILABLE or NOT_FOUND.
_SERVER_AT_FAULT = {"StatusCode.UNAVAILABLE", "StatusCode.NOT_FOUND", "StatusCode.UNIMPLEMENTED", "StatusCode.UNKNOWN"}
# How the python backend says, as INTERNAL, that the process of an instance died. It goes on calling the model ready and
# starts no other process, so the model has to be loaded again.
_INSTANCE_DIED = "stub process"
_REPAIR_TIMEOUT_SECONDS = 60.0


class _Server:
    def __init__(self, address: str) -> None:
        self.address = address
        self.client = InferenceServerClient(address, channel_args=_CHANNEL)
        self.in_flight = 0
        self.instances: dict[str, int] = {}
        """The models that it was last seen ready to run, and how many calls of each it runs at the same time."""
        self.repair: asyncio.Task[None] | None = None


class TritonServers:
    """The servers at `addresses`, each expected to hold `models`.

    `ahead` is how many calls a server gets beyond those that it runs, to have the next one at hand when one ends.
    """

    def __init__(self, addresses: Sequence[str], models: Sequence[str], ahead: int) -> None:
        self._servers = [_Server(address) for address in addresses]
        self._expected = frozenset(models)
        self._ahead = ahead

    def encoder(self, model: str, dimension: int) -> TritonEncoder:
        """Returns the encoder that is called `model` on every server."""
        return TritonEncoder(self, model, dimension)

    def capacity(self, model: str) -> int:
        """Calls of this model that the ready servers want at the same time."""
        return sum(server.instances[model] + self._ahead for server in self._servers if model in server.instances)

    def choose(self, model: str, tried: Sequence[_Server]) -> _Server | None:
        """Returns the least busy server that is ready for this model and not among `tried`."""
        ready = [server for server in self._servers if model in server.instances and server not in tried]
        return min(ready, key=lambda server: server.in_flight, default=None)

    async def watch(self) -> None:
        """Probes every server for ever; sees within a fifth of a second that one is back."""
        await asyncio.gather(*(self._watch_one(server) for server in self._servers))

    async def check_reachable(self) -> None:
        """Returns when some server says that it is ready. Raises EncoderUnavailable."""
        await self._any(self._check_server, "no Triton server is ready")

    async def check_models(self) -> None:
        """Returns when every model is ready on some server. Raises EncoderUnavailable."""
        missing = self._expected.difference(*(server.instances for server in self._servers))
        if missing:
            raise EncoderUnavailable(f"not ready: {', '.join(sorted(missing))}")

    async def close(self) -> None:
        """Closes all connections."""
        repairs = [server.repair for server in self._servers if server.repair is not None]
        for repair in repairs:
            repair.cancel()
        await asyncio.gather(*repairs, return_exceptions=True)
        for server in self._servers:
            await server.client.close()

    async def _any(self, check: Any, otherwise: str) -> None:
        results = await asyncio.gather(*(check(server) for server in self._servers), return_exceptions=True)
        if not any(result is True for result in results):
            raise EncoderUnavailable(otherwise)

    @staticmethod
    async def _check_server(server: _Server) -> bool:
        ready: bool = await server.client.is_server_ready(client_timeout=_PROBE_TIMEOUT_SECONDS)
        return ready

    async def _watch_one(self, server: _Server) -> None:
        while True:
            await self._probe(server)
            down = server.instances.keys() != self._expected
            await asyncio.sleep(_PROBE_SECONDS_WHILE_DOWN if down else _PROBE_SECONDS)

    async def probe_all(self) -> None:
        """Asks every server once which models are ready on it."""
        await asyncio.gather(*(self._probe(server) for server in self._servers))

    def instance_died(self, server: _Server, model: str) -> None:
        """Leaves the server out for this model and has it start new instances, once at a time."""
        server.instances.pop(model, None)
        if server.repair is None:
            server.repair = asyncio.create_task(self._reload(server, model))

    async def _reload(self, server: _Server, model: str) -> None:
        _log.warning("an instance died; the model is loaded again", extra={"server": server.address, "model": model})
        try:
            # The server starts the new instances beside the old ones and lets those go afterwards.
            await server.client.load_model(model, client_timeout=_REPAIR_TIMEOUT_SECONDS)
        except InferenceServerException as failure:
            _log.warning("could not load", extra={"server": server.address, "status": failure.status()})
        finally:
            server.repair = None

    async def _probe(self, server: _Server) -> None:
        if server.repair is not None:
            return
        found: dict[str, int] = {}
        for model in self._expected:
            try:
                if await server.client.is_model_ready(model, client_timeout=_PROBE_TIMEOUT_SECONDS):
                    found[model] = server.instances.get(model) or await _instances(server, model)
            except InferenceServerException:
                break
        if found.keys() != server.instances.keys():
            _log.info("a Triton server changed", extra={"server": server.address, "ready": sorted(found)})
        server.instances = found


async def _instances(server: _Server, model: str) -> int:
    response = await server.client.get_model_config(model, client_timeout=_PROBE_TIMEOUT_SECONDS)
    count: int = sum(group.count for group in response.config.instance_group)
    return max(1, count)


class TritonEncoder:
    """One model on all servers; implements the port `Encoder`."""

    def __init__(self, servers: TritonServers, model: str, dimension: int) -> None:
        self._servers = servers
        self._model = model
        self._dimension = dimension
        # The client copies both into the request before it first waits, so all calls can share them.
        self._ids = InferInput("input_ids", [0, 0], "INT32")
        self._lengths = InferInput("lengths", [0], "INT32")

    @property
    def capacity(self) -> int:
        return self._servers.capacity(self._model)

    async def embed(self, rows: Sequence[IntArray], deadline: float) -> FloatArray:
        """As the port says."""
        ids, lengths = _pad(rows)
        tried: list[_Server] = []
        fault: Exception = EncoderUnavailable(f"no server is ready for {self._model}")
        while len(tried) < _ATTEMPTS and (server := self._servers.choose(self._model, tried)) is not None:
            tried.append(server)
            try:
                return await self._ask(server, ids, lengths, deadline)
            except (EncoderUnavailable, _BadAnswer) as failure:
                fault = failure
        raise fault

    async def _ask(self, server: _Server, ids: Any, lengths: Any, deadline: float) -> FloatArray:
        remaining = deadline - asyncio.get_running_loop().time()
        if remaining <= 0:
            raise TimeoutError
        self._ids.set_shape(ids.shape).set_data_from_numpy(ids)
        self._lengths.set_shape(lengths.shape).set_data_from_numpy(lengths)
        server.in_flight += 1
        try:
            result = await server.client.infer(self._model, [self._ids, self._lengths], client_timeout=remaining)
        except InferenceServerException as failure:
            raise self._explain(server, failure) from None
        finally:
            server.in_flight -= 1
        return self._checked(result, len(ids))

    def _explain(self, server: _Server, failure: InferenceServerException) -> Exception:
        status, text = failure.status(), str(failure.message())
        if status == "StatusCode.DEADLINE_EXCEEDED":
            return TimeoutError()
        if status in _SERVER_AT_FAULT:
            server.instances.pop(self._model, None)
            return EncoderUnavailable(f"{server.address}: {status}")
        if _INSTANCE_DIED in text.lower():
            self._servers.instance_died(server, self._model)
            return EncoderUnavailable(f"{server.address}: an instance died")
        return EncodingFailed(f"{server.address}: {status}")

    def _checked(self, result: Any, count: int) -> FloatArray:
        try:
            embeddings = result.as_numpy("embedding")
        except (InferenceServerException, ValueError) as failure:
            raise _BadAnswer(f"an answer that can't be read: {type(failure).__name__}") from None
        if embeddings is None or embeddings.dtype != np.float32 or embeddings.shape != (count, self._dimension):
            raise _BadAnswer("an answer of another shape")
        # One pass: a sum is finite only when every number is.
        if not np.isfinite(embeddings.sum()):
            raise _BadAnswer("an answer with numbers that are not finite")
        checked: FloatArray = embeddings
        return checked


class _BadAnswer(EncodingFailed):
    pass


def _pad(rows: Sequence[IntArray]) -> tuple[Any, Any]:
    """Returns ids [n, L] and lengths [n], int32, rows filled up with zeros."""
    lengths = np.fromiter(map(len, rows), np.int32, len(rows))
    ids = np.zeros((len(rows), int(lengths.max())), np.int32)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
    return ids, lengths
