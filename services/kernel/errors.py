"""The error catalogue: every reason, its status and its public words.

The domain raises `AssayError` with a reason and the metadata that the reason's comment in errors.proto shows. What a
caller sees is made from this catalogue alone, so no driver's text and no stack ever leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from services.kernel.faults import in_chinese

DOMAIN = "assay"


class Reason(IntEnum):
    """The values of assay.errors.v1.ErrorReason, for code that knows no protobuf. A test holds the two equal."""

    TEXT_BLANK = 1
    TEXT_TOO_LONG = 2
    TEXT_TOO_LARGE = 3
    MESSAGE_MALFORMED = 4
    FIELD_INVALID = 5
    MODEL_UNKNOWN = 6
    MODEL_VERSION_UNKNOWN = 7
    MODEL_VERSION_INVALID = 8
    INDUSTRY_UNKNOWN = 9
    INDUSTRY_MISMATCH = 10
    BATCH_EMPTY = 11
    BATCH_TOO_LARGE = 12
    DEADLINE_EXCEEDED = 13
    CANCELLED = 14
    METHOD_UNKNOWN = 15
    MESSAGE_TOO_LARGE = 16
    PART_UNAVAILABLE = 17
    OVERLOADED = 18
    AUDIT_UNAVAILABLE = 19
    EVENT_UNKNOWN = 20
    TASK_UNKNOWN = 21
    PAGE_TOKEN_INVALID = 22
    INTERNAL = 23
    PROOF_PENDING = 24
    LOG_DAMAGED = 25
    HOLD_IN_FORCE = 26
    HOLD_UNKNOWN = 27
    ARCHIVE_MISSING = 28


class Code(IntEnum):
    """The gRPC status codes that the catalogue uses, by the numbers of the gRPC specification."""

    OK = 0
    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15


class AssayError(Exception):
    """A call, or one item of it, that can't be answered, and why.

    `metadata` holds strings only: field names, values that are not personal, limits. It leaves the process.
    """

    def __init__(self, reason: Reason, **metadata: object) -> None:
        super().__init__(reason.name)
        self.reason = reason
        self.metadata: dict[str, str] = {key: str(value) for key, value in metadata.items()}


@dataclass(frozen=True, slots=True)
class Spec:
    """How a reason looks to a caller: status, words in both languages, and when a retry may help (seconds)."""

    code: Code
    english: str
    chinese: str
    retry_seconds: float | None = None

    def words(self, language: str, metadata: Mapping[str, str]) -> str:
        """Returns the text in "zh" or, for any other language, English; a missing metadata key shows as "?"."""
        if language != "zh":
            return self.english.format_map(_Known(metadata))
        known = _Known(metadata)
        if "fault" in known:
            known["fault"] = in_chinese(known["fault"])
        return self.chinese.format_map(known)


class _Known(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "?"


CATALOGUE: Mapping[Reason, Spec] = {
    Reason.TEXT_BLANK: Spec(
        Code.INVALID_ARGUMENT,
        "{field} is empty; give at least one visible character",
        "{field} 为空；请至少输入一个可见字符",
    ),
    Reason.TEXT_TOO_LONG: Spec(
        Code.INVALID_ARGUMENT,
        "{field} is {tokens} tokens; {model} {model_version} accepts {limit}",
        "{field} 共 {tokens} 个词元；{model} {model_version} 最多接受 {limit} 个",
    ),
    Reason.TEXT_TOO_LARGE: Spec(
        Code.INVALID_ARGUMENT,
        "{field} is {bytes} bytes; the limit is {limit}",
        "{field} 共 {bytes} 字节；上限为 {limit} 字节",
    ),
    Reason.MESSAGE_MALFORMED: Spec(
        Code.INVALID_ARGUMENT,
        "{field} can't be read: {fault}",
        "无法读取 {field}：{fault}",
    ),
    Reason.FIELD_INVALID: Spec(
        Code.INVALID_ARGUMENT,
        "{field} is {value}; it must be {limit}",
        "{field} 的值为 {value}；应为 {limit}",
    ),
    Reason.MODEL_UNKNOWN: Spec(
        Code.NOT_FOUND,
        "{field} {value} does not exist; there are: {known}",
        "{field} {value} 不存在；现有：{known}",
    ),
    Reason.MODEL_VERSION_UNKNOWN: Spec(
        Code.NOT_FOUND,
        "{field} {value} of {model} does not exist; there are: {known}",
        "{model} 没有 {field} {value}；现有：{known}",
    ),
    Reason.MODEL_VERSION_INVALID: Spec(
        Code.INVALID_ARGUMENT,
        "{field} {value} is not a version; write v1, v1.2 or v1.2.3, or leave it empty for the stable one",
        "{field} {value} 不是有效版本；请写 v1、v1.2 或 v1.2.3，留空则使用稳定版",
    ),
    Reason.INDUSTRY_UNKNOWN: Spec(
        Code.NOT_FOUND,
        "{field} {value} does not exist; there are: {known}",
        "{field} {value} 不存在；现有：{known}",
    ),
    Reason.INDUSTRY_MISMATCH: Spec(
        Code.INVALID_ARGUMENT,
        "{field} is {value}, but {model} belongs to {model_industry}",
        "{field} 为 {value}，但 {model} 属于 {model_industry}",
    ),
    Reason.BATCH_EMPTY: Spec(
        Code.INVALID_ARGUMENT, "{field} is empty; give {limit} items", "{field} 为空；应有 {limit} 项"
    ),
    Reason.BATCH_TOO_LARGE: Spec(
        Code.INVALID_ARGUMENT,
        "{field} has {items} items; the limit is {limit}",
        "{field} 共 {items} 项；上限为 {limit} 项",
    ),
    Reason.DEADLINE_EXCEEDED: Spec(
        Code.DEADLINE_EXCEEDED,
        "the deadline passed before the answer was ready",
        "截止时间已过，结果尚未就绪",
    ),
    Reason.CANCELLED: Spec(Code.CANCELLED, "the caller cancelled the call", "调用方已取消请求"),
    Reason.METHOD_UNKNOWN: Spec(
        Code.UNIMPLEMENTED,
        "{method} does not exist; /docs lists what does",
        "{method} 不存在；可用的方法和路径见 /docs",
    ),
    Reason.MESSAGE_TOO_LARGE: Spec(
        Code.RESOURCE_EXHAUSTED,
        "the message is {bytes} bytes; the limit is {limit}",
        "消息共 {bytes} 字节；上限为 {limit} 字节",
    ),
    Reason.PART_UNAVAILABLE: Spec(
        Code.UNAVAILABLE, "the {part} can't be reached; try again", "暂时无法连接 {part}；请稍后重试", 1.0
    ),
    Reason.OVERLOADED: Spec(
        Code.RESOURCE_EXHAUSTED,
        "the {part} has {limit} calls waiting; try again",
        "{part} 已有 {limit} 个请求在排队；请稍后重试",
        1.0,
    ),
    Reason.AUDIT_UNAVAILABLE: Spec(
        Code.UNAVAILABLE,
        "the call can't be recorded, so it is not answered; try again",
        "无法写入审计记录，因此不予应答；请稍后重试",
        5.0,
    ),
    Reason.EVENT_UNKNOWN: Spec(
        Code.NOT_FOUND, "no audit event has the {field} {value}", "没有 {field} 为 {value} 的审计事件"
    ),
    Reason.TASK_UNKNOWN: Spec(
        Code.NOT_FOUND, "no review task has the {field} {value}", "没有 {field} 为 {value} 的复核任务"
    ),
    Reason.PAGE_TOKEN_INVALID: Spec(
        Code.INVALID_ARGUMENT,
        "{field} is not one that this query gave; leave it empty for the first page",
        "{field} 不是此查询返回的值；留空则返回第一页",
    ),
    Reason.PROOF_PENDING: Spec(
        Code.UNAVAILABLE,
        "no checkpoint covers the event yet; try again",
        "尚无检查点覆盖该事件；请稍后重试",
        1.0,
    ),
    Reason.LOG_DAMAGED: Spec(
        Code.DATA_LOSS,
        "the audit log is damaged at {place}; assay audit verify says more",
        "审计日志在 {place} 处损坏；详情请运行 assay audit verify",
    ),
    Reason.HOLD_IN_FORCE: Spec(
        Code.FAILED_PRECONDITION,
        "the legal hold {hold_id} covers it; release the hold first",
        "法律保全 {hold_id} 仍在生效；请先解除",
    ),
    Reason.HOLD_UNKNOWN: Spec(
        Code.NOT_FOUND, "no legal hold in force has the {field} {value}", "没有 {field} 为 {value} 的生效中的法律保全"
    ),
    Reason.ARCHIVE_MISSING: Spec(
        Code.FAILED_PRECONDITION,
        "the audit service has no archive; set {setting}",
        "审计服务未配置归档存储；请设置 {setting}",
    ),
    Reason.INTERNAL: Spec(Code.INTERNAL, "something went wrong on our side", "服务内部出现问题"),
}
