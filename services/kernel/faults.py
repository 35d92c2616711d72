"""What can be wrong with a message before anyone looks at what it says: MESSAGE_MALFORMED's faults, in both languages.

An error's metadata carries the English words. A name in braces is filled in where the fault is found; none of them ever
stands for a value of the caller's.
"""

from __future__ import annotations

from enum import Enum


class Fault(Enum):
    """A fault: its English and its Chinese words. They follow "{field} can't be read: "."""

    def __init__(self, english: str, chinese: str) -> None:
        self.english = english
        self.chinese = chinese

    def __str__(self) -> str:
        return self.english

    MESSAGE = (
        "it is not a well-formed protobuf message whose strings are UTF-8",
        "它不是格式正确且字符串均为 UTF-8 的 protobuf 消息",
    )
    GZIP = ("it is not one whole gzip stream", "它不是一个完整的 gzip 流")
    FRAME = (
        "a message's prefix must be 0, or 1 where grpc-encoding is gzip",
        "消息前缀必须为 0；仅当 grpc-encoding 为 gzip 时可为 1",
    )
    CUT_SHORT = ("it ends before its message is whole", "消息尚未完整就已结束")
    NO_MESSAGE = ("it holds no message", "其中没有消息")
    HTTP = (
        "it is not an HTTP request that fits the route; /docs lists fields and parameters",
        "它不是符合该路径要求的 HTTP 请求；字段与参数见 /docs",
    )
    CONTENT_TYPE = ("it must be application/json or application/grpc", "应为 application/json 或 application/grpc")

    # Of JSON bodies and of query parameters, found by hosting/strict.lua.
    JSON = ("it is not JSON: at byte {byte} there must be {wanted}", "它不是 JSON：第 {byte} 字节处应为{wanted}")
    UTF8 = ("it is not UTF-8 at byte {byte}", "第 {byte} 字节处不是 UTF-8")
    SURROGATE = (
        "the escape at byte {byte} is half of a surrogate pair",
        "第 {byte} 字节处的转义只是代理对的一半",
    )
    DEPTH = ("it nests deeper than {limit} levels", "嵌套超过 {limit} 层")
    UNKNOWN = ("it is not a field; there are: {known}", "没有这个字段；现有：{known}")
    NO_PARAMETERS = ("it is not a parameter; this route takes none", "没有这个参数；该路径不接受任何参数")
    TWICE = ("it is given twice", "重复出现")
    KIND = ("it is {found}; it must be {wanted}", "它是{found}；应为{wanted}")
    VALUE = ("it must be {wanted}", "应为{wanted}")


def in_chinese(fault: str) -> str:
    """Returns the Chinese words of a fault's English ones; the same words again where nothing was to be filled in."""
    return _CHINESE.get(fault, fault)


_CHINESE = {fault.english: fault.chinese for fault in Fault}
