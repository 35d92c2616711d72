"""The load of the durability benchmark: every kind of call that the public port takes, good and bad, and a ledger.

gRPC (one text, batches, streams, listings) and REST, with texts that are answered surely, doubtfully or not at all,
calls that a servicer refuses, calls that Envoy refuses alone, and callers that hang up. Nothing is ever sent twice: a
retry would be a second request, and the oracle could not tell it from a second record.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

import grpc
from assay.ai.v1 import ai_pb2, ai_pb2_grpc
from google.rpc import status_pb2

from benchmarks.durability_oracle import Call, Told
from benchmarks.texts import texts
from services.kernel.status import DETAILS_KEY, from_status

CALLS_PER_SECOND = 60.0
MOST_IN_FLIGHT = 96
ANSWER_SECONDS = 8.0
"""How long a caller waits; what takes longer has no answer."""
LONG_BYTES = 70_000
"""Over the limit of a text, under that of a message."""

_SERVICE = "/assay.ai.v1.AIService"
_REST = "/v1/ai-services/text-classification"
_REST_THREADS = 16
_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_LETTERS = "bcdfghjklmnpqrstvwxz"
_Make = Callable[[Call, random.Random], Awaitable[None]]
"""Makes and sends a call, and writes into it what was answered; what is random about it comes from the second."""
_DOUBTFUL = ("hm", "?!", "42 42 42", "maybe, maybe not", "好的", "well then")
_OPTIONS = [
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 300),
]


def spelled(number: int, length: int = 5) -> str:
    """Returns a number in letters, so that no part takes it for a phone or a card and masks it."""
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_LETTERS))
        digits.append(_LETTERS[digit])
    return "".join(reversed(digits))


class Load:
    """Calls at a bounded rate, and a ledger of all of them. Use it as an asynchronous context manager."""

    def __init__(self, address: str) -> None:
        self.calls: list[Call] = []
        self.skipped = 0
        """Calls that were not sent because too many were in flight."""
        self._address = address
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._stub = ai_pb2_grpc.AIServiceStub(self._channel)
        self._threads = ThreadPoolExecutor(_REST_THREADS, thread_name_prefix="rest")
        self._running: set[asyncio.Task[None]] = set()
        self._texts = texts()

    async def __aenter__(self) -> Load:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._channel.close()
        self._threads.shutdown()

    async def run(self, trial: int, enough: asyncio.Event, chance: random.Random) -> None:
        """Sends calls at random moments until it is enough; returns when every one of them has ended."""
        kinds: Mapping[_Make, int] = {
            self._text: 36,
            self._rest: 16,
            self._batch: 8,
            self._stream: 8,
            self._listing: 4,
            self._bad_text: 8,
            self._bad_bytes: 3,
            self._bad_method: 3,
            self._bad_json: 5,
            self._bad_path: 3,
            self._hang_up: 6,
        }
        makers, weights = list(kinds), list(kinds.values())
        while not enough.is_set():
            await asyncio.sleep(chance.expovariate(CALLS_PER_SECOND))
            (make,) = chance.choices(makers, weights)
            if len(self._running) >= MOST_IN_FLIGHT:
                self.skipped += 1
                continue
            call = Call(f"load-{spelled(len(self.calls))}", make.__name__.strip("_"), trial)
            self.calls.append(call)
            task = asyncio.create_task(self._sent(make, call, random.Random(chance.random())))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        if self._running:
            await asyncio.wait(self._running)

    async def _sent(self, make: _Make, call: Call, own: random.Random) -> None:
        try:
            await make(call, own)
        except grpc.aio.AioRpcError as error:
            told = _refusal(error)
            if told is None:
                return  # the connection broke or the time was over: nobody was told anything
            alone = len(call.items) == 1 and call.kind not in ("batch", "stream")
            if alone:
                call.items[next(iter(call.items))] = told
            else:
                call.told = told

    def _request(self, call: Call, own: random.Random, text: str = "") -> ai_pb2.TextRequest:
        """A text with a request id, which the call's items then have."""
        known = own.choice(self._texts)
        if not text and own.random() < 0.15:
            text = own.choice(_DOUBTFUL)
        request_id = f"ask-{call.caller.removeprefix('load-')}-{spelled(len(call.items), 2)}"
        call.items[request_id] = None
        return ai_pb2.TextRequest(text=text or known.text, model=known.model, request_id=request_id)

    async def _text(self, call: Call, own: random.Random) -> None:
        request = self._request(call, own)
        response = await self._stub.ClassifyText(request, timeout=ANSWER_SECONDS, metadata=_metadata(call))
        call.items[request.request_id] = _answer(response)

    async def _hang_up(self, call: Call, own: random.Random) -> None:
        waits = own.uniform(0.001, 0.03)
        response = await self._stub.ClassifyText(self._request(call, own), timeout=waits, metadata=_metadata(call))
        call.items[response.request_id] = _answer(response)

    async def _bad_text(self, call: Call, own: random.Random) -> None:
        request = self._request(call, own)
        match own.randrange(4):
            case 0:
                request.text = " \n"
            case 1:
                request.model = "nobody"
            case 2:
                request.model_version = "newest"
            case _:
                request.text = "long " * (LONG_BYTES // 5)
        response = await self._stub.ClassifyText(request, timeout=ANSWER_SECONDS, metadata=_metadata(call))
        call.items[request.request_id] = _answer(response)

    async def _batch(self, call: Call, own: random.Random) -> None:
        batch = ai_pb2.BatchClassifyTextRequest()
        for _ in range(own.choice((0, 1, 2, 4, 8))):
            request = self._request(call, own)
            if own.random() < 0.2:
                request.text = ""
            batch.requests.append(request)
        response = await self._stub.BatchClassifyText(batch, timeout=ANSWER_SECONDS, metadata=_metadata(call))
        for request, result in zip(batch.requests, response.results, strict=True):
            call.items[request.request_id] = _result(result)

    async def _stream(self, call: Call, own: random.Random) -> None:
        requests = [self._request(call, own) for _ in range(own.randint(1, 6))]
        if own.random() < 0.3:
            requests[0].model = "nobody"

        async def items() -> AsyncIterator[ai_pb2.StreamClassifyTextRequest]:
            for request in requests:
                yield ai_pb2.StreamClassifyTextRequest(id=request.request_id, request=request)
                await asyncio.sleep(own.uniform(0.0, 0.05))

        stream = self._stub.StreamClassifyText(items(), timeout=ANSWER_SECONDS, metadata=_metadata(call))
        async for response in stream:
            call.items[response.id] = _result(response)

    async def _listing(self, call: Call, own: random.Random) -> None:
        request = ai_pb2.ListModelsRequest(page_size=own.randint(0, 5))
        await self._stub.ListModels(request, timeout=ANSWER_SECONDS, metadata=_metadata(call))
        call.told = Told()

    async def _bad_bytes(self, call: Call, own: random.Random) -> None:
        await self._raw(call, f"{_SERVICE}/ClassifyText", b"\x0a\xff" + own.randbytes(4))

    async def _bad_method(self, call: Call, own: random.Random) -> None:
        await self._raw(call, f"{_SERVICE}/{own.choice(('Guess', 'ClassifyTexts'))}", b"")

    async def _raw(self, call: Call, method: str, message: bytes) -> None:
        send: Any = self._channel.unary_unary(method)
        await send(message, timeout=ANSWER_SECONDS, metadata=_metadata(call))
        call.told = Told()

    async def _rest(self, call: Call, own: random.Random) -> None:
        request = self._request(call, own, "" if own.random() < 0.8 else "\t")
        fields = {"text": request.text, "model": request.model, "request_id": request.request_id}
        answer = await self._exchange(call, _REST, json.dumps(fields).encode())
        if answer is not None:
            call.items[request.request_id] = answer

    async def _bad_json(self, call: Call, own: random.Random) -> None:
        body = own.choice((b'{"text": ', b'{"text": 7', b'{"text": "a", "txet": "b"}', b"[", b'{"text": {"a": 1}}'))
        call.told = await self._exchange(call, _REST, body)

    async def _bad_path(self, call: Call, own: random.Random) -> None:
        call.told = await self._exchange(call, own.choice(("/v1/guess", "/v2", f"{_REST}:guess")), b"{}")

    async def _exchange(self, call: Call, path: str, body: bytes) -> Told | None:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._post, call.caller, path, body)

    def _post(self, caller: str, path: str, body: bytes) -> Told | None:
        connection = http.client.HTTPConnection(self._address, timeout=ANSWER_SECONDS)
        try:
            connection.request("POST", path, body, {"content-type": "application/json", "x-assay-caller": caller})
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError):
            return None  # no whole answer came
        finally:
            connection.close()
        if response.status == 200:
            return Told(answer["audit_id"], answer["label"])
        details: list[dict[str, Any]] = answer.get("details", [])
        return Told(reason=next((detail["reason"] for detail in details if detail.get("@type") == _ERROR_INFO), "?"))


def _metadata(call: Call) -> tuple[tuple[str, str], ...]:
    return (("x-assay-caller", call.caller),)


def _answer(response: ai_pb2.ClassificationResponse) -> Told:
    return Told(response.audit_id, response.label)


def _result(result: Any) -> Told:
    """Reads one text's part of a batch's or a stream's answer."""
    return _answer(result.response) if result.HasField("response") else Told(reason=_reason(result.error))


def _refusal(error: grpc.aio.AioRpcError) -> Told | None:
    """Reads what the caller was told; None when it is the caller's own library that says it."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY:
            return Told(reason=_reason(status_pb2.Status.FromString(value)))
    return None


def _reason(status: status_pb2.Status) -> str:
    error = from_status(status)
    return error.reason.name if error is not None else "?"
