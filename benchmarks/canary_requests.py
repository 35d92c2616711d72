"""Calls that hold known values wherever a call can hold one: in texts, names, ids, metadata, headers, paths and bodies.

Half of them fail on purpose: what goes wrong is what is written down with the most zeal.
"""

from __future__ import annotations

import asyncio
import json
import random
import urllib.parse
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from assay.ai.v1 import ai_pb2, ai_pb2_grpc

_SERVICE = "/assay.ai.v1.AIService"
_REST = "/v1/ai-services/text-classification"
_SECONDS = 30.0
_LONG = "word " * 700
_LARGE = "x" * 70_000
_OPTIONS = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]


@dataclass
class Answers:
    """What came back."""

    counts: Counter[str] = field(default_factory=Counter)
    """By the kind of call and the status."""
    heard: list[bytes] = field(default_factory=list)
    """Everything that was said in answers, but for the ids that the callers chose themselves."""

    @property
    def total(self) -> int:
        return self.counts.total()


class Caller:
    """Makes one call after the other, each with a value of its own."""

    def __init__(self, address: str, values: Sequence[str], seed: int) -> None:
        self._address = address
        self._values = values
        self._random = random.Random(seed)
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._stub: Any = ai_pb2_grpc.AIServiceStub(self._channel)
        self.answers = Answers()
        self._kinds: Sequence[Callable[[str], Awaitable[str]]] = (
            *(self._text,) * 6,
            *(self._batch, self._stream, self._rest, self._rest),
            *(self._blank, self._model, self._version, self._industry, self._long, self._large, self._metadata),
            *(self._headers, self._tenant, self._malformed_json, self._odd_field, self._path, self._query),
            *(self._method, self._no_message, self._bad_id, self._list, self._event),
        )

    async def run(self, count: int, made: Callable[[], None]) -> None:
        """Makes so many calls; `made` is called after each."""
        for _ in range(count):
            kind = self._random.choice(self._kinds)
            value = self._random.choice(self._values)
            try:
                status = await kind(value)
            except grpc.aio.AioRpcError as error:
                self._hear(error.details() or "", *(item for _, item in error.trailing_metadata() or ()))
                status = error.code().name
            self.answers.counts[f"{kind.__name__.strip('_')} {status}"] += 1
            made()

    async def close(self) -> None:
        await self._channel.close()

    def _hear(self, *said: str | bytes) -> None:
        self.answers.heard += [item if isinstance(item, bytes) else item.encode() for item in said]

    def _sentence(self, value: str) -> str:
        around = ("我的号码是{}，请尽快联系", "please look at {} now", "{}", "号{}号。", "what is wrong with {}?")
        return self._random.choice(around).format(value)

    async def _ask(self, request: ai_pb2.TextRequest, metadata: Sequence[tuple[str, str]] = ()) -> str:
        answer = await self._stub.ClassifyText(request, metadata=tuple(metadata), timeout=_SECONDS)
        self._hear(answer.SerializeToString())
        return "OK"

    async def _text(self, value: str) -> str:
        models = ("", "intent", "banking", "sentiment", "triage")
        return await self._ask(ai_pb2.TextRequest(text=self._sentence(value), model=self._random.choice(models)))

    async def _batch(self, value: str) -> str:
        requests = [ai_pb2.TextRequest(text=self._sentence(value)), ai_pb2.TextRequest(text=" ", model=value)]
        requests.append(ai_pb2.TextRequest(text=value, model_version=_ascii(value)))
        request = ai_pb2.BatchClassifyTextRequest(requests=requests)
        self._hear((await self._stub.BatchClassifyText(request, timeout=_SECONDS)).SerializeToString())
        return "OK"

    async def _stream(self, value: str) -> str:
        async def items() -> Any:
            yield ai_pb2.StreamClassifyTextRequest(id="1", request=ai_pb2.TextRequest(text=self._sentence(value)))
            yield ai_pb2.StreamClassifyTextRequest(id="2", request=ai_pb2.TextRequest(text="hello", industry=value))

        async for answer in self._stub.StreamClassifyText(items(), timeout=_SECONDS):
            self._hear(answer.SerializeToString())
        return "OK"

    async def _blank(self, value: str) -> str:
        return await self._ask(ai_pb2.TextRequest(text="  ", request_id=_ascii(value)))

    async def _model(self, value: str) -> str:
        return await self._ask(ai_pb2.TextRequest(text="hello", model=value))

    async def _version(self, value: str) -> str:
        return await self._ask(ai_pb2.TextRequest(text="hello", model="intent", model_version=value))

    async def _industry(self, value: str) -> str:
        return await self._ask(ai_pb2.TextRequest(text="hello", industry=value))

    async def _long(self, value: str) -> str:
        return await self._ask(ai_pb2.TextRequest(text=f"{_LONG} {value} {_LONG}", request_id=_ascii(value)))

    async def _large(self, value: str) -> str:
        return await self._ask(ai_pb2.TextRequest(text=f"{value} {_LARGE}"))

    async def _bad_id(self, value: str) -> str:
        return await self._ask(ai_pb2.TextRequest(text="hello", request_id=f"号{value}"))

    async def _metadata(self, value: str) -> str:
        plain = _ascii(value)
        named = (("x-assay-caller", plain), ("x-assay-subject", plain), ("x-request-id", plain), ("x-other", plain))
        return await self._ask(ai_pb2.TextRequest(text="hello", request_id=plain), named)

    async def _tenant(self, value: str) -> str:
        return await self._ask(ai_pb2.TextRequest(text=value), (("x-assay-tenant", _ascii(value)),))

    async def _no_message(self, value: str) -> str:
        call: Any = self._channel.unary_unary(f"{_SERVICE}/ClassifyText")
        await call(b"\xff" + value.encode(), timeout=_SECONDS, metadata=(("x-assay-caller", _ascii(value)),))
        return "OK"

    async def _method(self, value: str) -> str:
        call: Any = self._channel.unary_unary(f"{_SERVICE}/Get{urllib.parse.quote(value)}")
        await call(b"", timeout=_SECONDS, metadata=(("x-assay-caller", _ascii(value)),))
        return "OK"

    async def _rest(self, value: str) -> str:
        return await self._http("POST", _REST, json.dumps({"text": self._sentence(value)}))

    async def _headers(self, value: str) -> str:
        plain = _ascii(value)
        headers = dict.fromkeys(("x-assay-caller", "x-assay-tenant", "x-request-id", "user-agent", "cookie"), plain)
        return await self._http(
            "POST", _REST, json.dumps({"text": "hello"}), {**headers, "authorization": f"Bearer {plain}"}
        )

    async def _malformed_json(self, value: str) -> str:
        wrong = ('{"text": "%s"', '{"text": "%s", }', "%s", '{"text": ["%s"]}', '{"text": "%s", "text": "%s"}')
        body = self._random.choice(wrong).replace("%s", value)
        return await self._http("POST", _REST, body, {"x-assay-caller": _ascii(value), "x-request-id": _ascii(value)})

    async def _odd_field(self, value: str) -> str:
        return await self._http("POST", _REST, json.dumps({"text": "hello", value: value}))

    async def _path(self, value: str) -> str:
        path = self._random.choice(("/v1/people/{}", "/{}", "/v1/ai-services/{}", "/v1/audit/events/{}", "/docs/{}"))
        return await self._http(self._random.choice(("GET", "POST")), path.format(urllib.parse.quote(value)), "")

    async def _query(self, value: str) -> str:
        path = self._random.choice((_REST, "/v1/models", "/v1/nothing", "/v1/audit/events"))
        return await self._http("GET", f"{path}?text={urllib.parse.quote(value)}", "")

    async def _list(self, value: str) -> str:
        request = ai_pb2.ListModelsRequest(industry=value, page_token=value)
        self._hear((await self._stub.ListModels(request, timeout=_SECONDS)).SerializeToString())
        return "OK"

    async def _event(self, value: str) -> str:
        return await self._http(
            "GET", f"/v1/audit/events?caller={urllib.parse.quote(value)}&page_token={_ascii(value, '')}", ""
        )

    async def _http(self, verb: str, path: str, body: str, headers: dict[str, str] | None = None) -> str:
        host, _, port = self._address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            encoded = body.encode()
            given = {"host": self._address, "content-type": "application/json", **(headers or {})}
            head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
            writer.write(
                f"{verb} {path} HTTP/1.1\r\n{head}content-length: {len(encoded)}\r\nconnection: close\r\n\r\n".encode()
            )
            writer.write(encoded)
            answer = await asyncio.wait_for(reader.read(-1), _SECONDS)
        finally:
            writer.close()
        status, _, said = answer.partition(b"\r\n\r\n")
        self._hear(said)
        return status.split(b" ", 2)[1].decode() if status else "nothing"


def _ascii(value: str, otherwise: str = "x") -> str:
    """Returns the value where it can stand in a header, else something that can."""
    return value if value.isascii() and value.isprintable() else otherwise
