"""What a stock gRPC client sees, on each host alike."""

from __future__ import annotations

import queue
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_status import rpc_status

from tests.integration.kernel.conftest import Served

PATIENCE = 30


def refused(call: Callable[[], Any]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return raised.value


def error_info(error: Any) -> error_details_pb2.ErrorInfo:
    status = rpc_status.from_call(error)
    assert status is not None
    infos = [detail for detail in status.details if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)]
    assert len(infos) == 1
    info = error_details_pb2.ErrorInfo()
    infos[0].Unpack(info)
    assert info.domain == "assay"
    return info


def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.02)


# The four kinds


def test_unary(stub: Any, pb: Any) -> None:
    assert stub.Echo(pb.EchoRequest(text="你好")).text == "你好"


def test_empty_request_and_answer(channel: grpc.Channel) -> None:
    assert channel.unary_unary("/probe.v1.ProbeService/Echo")(b"") != b""
    assert channel.unary_unary("/probe.v1.ProbeService/Join")(b"") == b""


def test_server_streaming(stub: Any, pb: Any) -> None:
    assert [answer.text for answer in stub.Split(pb.EchoRequest(count=200))] == [str(n) for n in range(200)]


def test_server_streaming_of_nothing(stub: Any, pb: Any) -> None:
    assert list(stub.Split(pb.EchoRequest(count=0))) == []


def test_client_streaming(stub: Any, pb: Any) -> None:
    assert stub.Join(pb.EchoRequest(text=str(n)) for n in range(100)).text == ",".join(map(str, range(100)))


def test_client_streaming_of_nothing(stub: Any) -> None:
    assert stub.Join(iter(())).text == ""


@pytest.mark.parametrize("method", ["Chat", "Talk"])
def test_ping_pong(stub: Any, pb: Any, method: str) -> None:
    pings: queue.SimpleQueue[Any] = queue.SimpleQueue()
    pings.put(pb.EchoRequest(text="0"))
    count = 0
    for pong in getattr(stub, method)(iter(pings.get, None)):
        assert pong.text == str(count)
        count += 1
        pings.put(pb.EchoRequest(text=str(count)) if count < 50 else None)
    assert count == 50


def test_empty_stream(stub: Any) -> None:
    assert list(stub.Chat(iter(()))) == []


def test_many_calls_share_a_connection(stub: Any, pb: Any) -> None:
    calls = [stub.Echo.future(pb.EchoRequest(text=str(n), sleep=n % 3)) for n in range(200)]
    assert [call.result().text for call in calls] == [str(n) for n in range(200)]


# Metadata


def test_metadata_both_ways(stub: Any, pb: Any) -> None:
    sent = (("x-text", "a b"), ("x-data-bin", b"\0\xff\x10"))
    answer, call = stub.Echo.with_call(pb.EchoRequest(act="trailers"), metadata=sent)
    assert answer.metadata["x-text"] == "a b"
    assert answer.metadata["x-data-bin"] == "00ff10"
    trailers = dict(call.trailing_metadata())
    assert (trailers["trail"], trailers["trail-bin"]) == ("text", b"\0\xff")


def test_initial_metadata(stub: Any, pb: Any) -> None:
    call = stub.Split(pb.EchoRequest(count=1, act="initial"))
    first = dict(call.initial_metadata())
    assert (first["first"], first["first-bin"]) == ("text", b"\1\xfe")
    assert len(list(call)) == 1


def test_metadata_near_the_limit(stub: Any, pb: Any) -> None:
    answer = stub.Echo(pb.EchoRequest(), metadata=(("x-long", "v" * 12_000),))
    assert len(answer.metadata["x-long"]) == 12_000


def test_peer(served: Served, stub: Any, pb: Any) -> None:
    assert stub.Echo(pb.EchoRequest()).peer.startswith("ipv4:127.0.0.1:")


# Compression and size


def test_gzip_both_ways(stub: Any, pb: Any) -> None:
    text = "abc" * 10_000
    assert stub.Echo(pb.EchoRequest(text=text, act="gzip"), compression=grpc.Compression.Gzip).text == text
    requests = (pb.EchoRequest(text=text) for _ in range(3))
    assert len(list(stub.Chat(requests, compression=grpc.Compression.Gzip))) == 3


def test_three_megabytes_both_ways(stub: Any, pb: Any) -> None:
    text = "x" * 3_000_000
    assert stub.Echo(pb.EchoRequest(text=text)).text == text
    assert len(next(stub.Split(pb.EchoRequest(count=1, size=3_000_000))).text) == 3_000_000
    assert stub.Join(iter([pb.EchoRequest(text=text)])).text == text


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_over_the_limit(stub: Any, pb: Any, compression: grpc.Compression) -> None:
    error = refused(lambda: stub.Echo(pb.EchoRequest(text="x" * 4_200_000), compression=compression))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    info = error_info(error)
    assert (info.reason, info.metadata["limit"]) == ("MESSAGE_TOO_LARGE", "4194304")


def test_over_the_limit_in_a_stream(stub: Any, pb: Any) -> None:
    error = refused(lambda: stub.Join(iter([pb.EchoRequest(text="x" * 4_200_000)])))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


# Errors


def test_status_details(stub: Any, pb: Any) -> None:
    error = refused(lambda: stub.Echo(pb.EchoRequest(act="reason"), metadata=(("accept-language", "zh-CN,en;q=0.5"),)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "text is 613 tokens; m v1 accepts 512"
    info = error_info(error)
    assert info.reason == "TEXT_TOO_LONG"
    assert info.metadata["tokens"] == "613"
    localized = error_details_pb2.LocalizedMessage()
    rpc_status.from_call(error).details[1].Unpack(localized)
    assert (localized.locale, localized.message) == ("zh-CN", "text 共 613 个词元；m v1 最多接受 512 个")


@pytest.mark.parametrize("method", ["Split", "Chat", "Talk", "Join"])
def test_status_details_of_streams(stub: Any, pb: Any, method: str) -> None:
    request = pb.EchoRequest(act="reason", count=1)
    call = getattr(stub, method)
    error = refused(lambda: list(call(request)) if method == "Split" else _drained(call(iter([request]))))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(error).reason == "TEXT_TOO_LONG"


def _drained(answer: Any) -> Any:
    return list(answer) if hasattr(answer, "__next__") else answer


def test_error_after_some_answers(stub: Any, pb: Any) -> None:
    call = stub.Chat(iter([pb.EchoRequest(text="fine"), pb.EchoRequest(act="reason")]))
    assert next(call).text == "fine"
    assert error_info(refused(lambda: next(call))).reason == "TEXT_TOO_LONG"


def test_abort(stub: Any, pb: Any) -> None:
    error: Any = refused(lambda: stub.Echo(pb.EchoRequest(act="abort")))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error.details() == "not now: 不行 %"
    assert dict(error.trailing_metadata())["why"] == "because"


def test_code_without_abort(stub: Any, pb: Any) -> None:
    error = refused(lambda: stub.Echo(pb.EchoRequest(act="code")))
    assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "lost")


@pytest.mark.parametrize("method", ["Echo", "Split"])
def test_a_bug_leaks_nothing(served: Served, stub: Any, pb: Any, method: str) -> None:
    request = pb.EchoRequest(act="bug", text="canary-7351", count=1)
    error: Any = refused(lambda: _drained(getattr(stub, method)(request)))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert error.details() == "something went wrong on our side"
    assert error_info(error).reason == "INTERNAL"
    assert "canary" not in repr(error.trailing_metadata())
    eventually(lambda: "a handler failed" in served.log())
    assert "RuntimeError" in served.log()
    assert "canary" not in served.log()


@pytest.mark.parametrize("path", ["/probe.v1.ProbeService/Nope", "/no.Such/Method", "/nothing"])
def test_unknown(channel: grpc.Channel, path: str) -> None:
    error = refused(lambda: channel.unary_unary(path)(b"x"))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    info = error_info(error)
    assert (info.reason, info.metadata["method"]) == ("METHOD_UNKNOWN", path)


def test_unwritten_method(stub: Any, pb: Any) -> None:
    error = refused(lambda: stub.Unwritten(pb.EchoRequest()))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert error_info(error).reason == "METHOD_UNKNOWN"


@pytest.mark.parametrize("message", [b"\xff\xff\xff", b"\x0a\x05ab", b"\x0a\x02\xff\xfe"])
def test_malformed_message(channel: grpc.Channel, message: bytes) -> None:
    error = refused(lambda: channel.unary_unary("/probe.v1.ProbeService/Echo")(message))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(error).reason == "MESSAGE_MALFORMED"
    error = refused(lambda: list(channel.stream_stream("/probe.v1.ProbeService/Chat")(iter([message]))))
    assert error_info(error).reason == "MESSAGE_MALFORMED"


def test_refused_calls_are_reported(channel: grpc.Channel, stub: Any, pb: Any) -> None:
    refused(lambda: channel.unary_unary("/probe.v1.ProbeService/Get")(b"\xff"))
    refused(lambda: channel.unary_unary("/probe.v1.ProbeService/Reported")(b""))
    seen = stub.Seen(pb.SeenRequest()).refused
    assert "MESSAGE_MALFORMED /probe.v1.ProbeService/Get" in seen
    assert "METHOD_UNKNOWN /probe.v1.ProbeService/Reported" in seen


# Deadlines and cancellation


def test_the_handler_sees_the_deadline(stub: Any, pb: Any) -> None:
    assert stub.Echo(pb.EchoRequest()).remaining == 0
    # The client rounds the timeout up.
    assert 1 < stub.Echo(pb.EchoRequest(), timeout=20).remaining <= 21


def test_expired_deadline(stub: Any, pb: Any) -> None:
    error = refused(lambda: stub.Echo(pb.EchoRequest(sleep=60_000, note="expired"), timeout=0.3))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    eventually(lambda: "expired" in stub.Seen(pb.SeenRequest()).cancelled)


def test_expired_deadline_of_a_stream(stub: Any, pb: Any) -> None:
    call = stub.Split(pb.EchoRequest(sleep=60_000, count=1, note="expired stream"), timeout=0.3)
    assert refused(lambda: list(call)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    eventually(lambda: "expired stream" in stub.Seen(pb.SeenRequest()).cancelled)


def test_cancellation_reaches_the_handler(stub: Any, pb: Any) -> None:
    call = stub.Echo.future(pb.EchoRequest(sleep=60_000, note="unary"))
    time.sleep(0.3)
    call.cancel()
    eventually(lambda: "unary" in stub.Seen(pb.SeenRequest()).cancelled)


def test_cancellation_of_a_stream_after_its_first_answer(stub: Any, pb: Any) -> None:
    requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
    requests.put(pb.EchoRequest(text="first"))
    requests.put(pb.EchoRequest(sleep=60_000, note="stream"))
    call = stub.Chat(iter(requests.get, None))
    assert next(call).text == "first"
    time.sleep(0.3)
    call.cancel()
    requests.put(None)
    eventually(lambda: "stream" in stub.Seen(pb.SeenRequest()).cancelled)


def test_slow_reader_gets_everything(stub: Any, pb: Any) -> None:
    sizes = []
    for answer in stub.Split(pb.EchoRequest(count=40, size=200_000)):
        sizes.append(len(answer.text))
        time.sleep(0.005)
    assert sizes == [200_000] * 40


# Health, reflection, metrics


def test_health_tells_each_dependency(channel: grpc.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)

    def state(name: str) -> int:
        answer: int = health.Check(health_pb2.HealthCheckRequest(service=name)).status
        return answer

    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    assert [state(name) for name in ("", "probe.v1.ProbeService", "works")] == [serving] * 3
    assert state("fails") == not_serving
    error = refused(lambda: state("nobody"))
    assert error.code() is grpc.StatusCode.NOT_FOUND


def test_health_watch(channel: grpc.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    watches = [health.Watch(health_pb2.HealthCheckRequest(service=name)) for name in ("", "", "nobody")]
    states = [next(watch).status for watch in watches]
    serving, unknown = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    assert states == [serving, serving, unknown]
    for watch in watches:
        watch.cancel()


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection(channel: grpc.Channel, version: str) -> None:
    method = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    asked = (
        reflection_pb2.ServerReflectionRequest(list_services="*"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="probe.v1.ProbeService"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="grpc.reflection.v1.ServerReflection"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="probe.v1.ProbeService.Echo"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="no.Such"),
    )
    listed, found, own, method_found, missing = list(method(iter(asked)))
    assert {service.name for service in listed.list_services_response.service} >= {
        "probe.v1.ProbeService",
        "probe.v1.ElsewhereService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    assert len(found.file_descriptor_response.file_descriptor_proto) > 1
    assert len(own.file_descriptor_response.file_descriptor_proto) == 1
    assert method_found.file_descriptor_response == found.file_descriptor_response
    assert missing.error_response.error_code == 5


def test_metrics(served: Served, stub: Any, pb: Any) -> None:
    stub.Get(pb.GetRequest(name="counted"))
    refused(lambda: stub.Get(pb.GetRequest(name="missing")))

    def exposed() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{served.metrics_port}/metrics") as answer:
            text: str = answer.read().decode()
        return text

    labels = 'method="Get",service="probe.v1.ProbeService"'
    eventually(lambda: 'ai_service_requests_total{code="OK",' + labels in exposed())
    text = exposed()
    assert 'ai_service_requests_total{code="NOT_FOUND",' + labels in text
    assert f'ai_service_request_seconds_bucket{{le="+Inf",{labels}}}' in text
    assert f"ai_service_requests_in_flight{{{labels}}} 0.0" in text
    assert "Reported" not in text
