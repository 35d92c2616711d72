"""What is wrong with a REST body or query is said by field and fault, in English and Chinese, before it is a call."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest

from tests.integration.kernel.conftest import Served

ECHO, ITEMS = "/v1/probe/echo", "/v1/probe/items/a"
FIELDS = "text, sleep, size, count, act, note, kinds"
PARAMETERS = "name, page_size, colour, start_time, tags, kinds"
UNKNOWN = f"it is not a field; there are: {FIELDS}", f"没有这个字段；现有：{FIELDS}"
NO_PARAMETER = f"it is not a field; there are: {PARAMETERS}", f"没有这个字段；现有：{PARAMETERS}"
COLOURS = "COLOUR_UNSPECIFIED, COLOUR_RED"


def post(http: httpx.Client, body: str | bytes, **headers: str) -> httpx.Response:
    return http.post(ECHO, content=body, headers={"content-type": "application/json", **headers})


def expect(answer: httpx.Response, field: str, fault: str, locale: str = "en", words: str | None = None) -> None:
    """Holds an answer to all that to_status gives: status, ErrorInfo, LocalizedMessage, BadRequest."""
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    english = f"{field} can't be read: {fault}"
    kind = "type.googleapis.com/google.rpc"
    violation = {"field": field, "description": english, "reason": "MESSAGE_MALFORMED"}
    body = answer.json()
    details = body.pop("details")
    assert body == {"code": 3, "message": english}
    assert details == [
        {
            "@type": f"{kind}.ErrorInfo",
            "reason": "MESSAGE_MALFORMED",
            "domain": "assay",
            "metadata": {"field": field, "fault": fault},
        },
        {"@type": f"{kind}.LocalizedMessage", "locale": locale, "message": words or english},
        {"@type": f"{kind}.BadRequest", "field_violations": [violation]},
    ]


WRONG: list[tuple[str | bytes, str, str, str]] = [
    # Fields that there are not, and twice.
    ('{"nope": "canary"}', "nope", *UNKNOWN),
    ('{"Text": 1}', "Text", *UNKNOWN),
    ('{"\\text": 1}', "?ext", *UNKNOWN),
    ('{"": 1}', '""', *UNKNOWN),
    ('{"文本": 1}', "文本", *UNKNOWN),
    ('{"a\\"%REQ(X)%\\u202e": 1}', 'a"%REQ(X)%?', *UNKNOWN),
    (f'{{"{"长" * 99}": 1}}', "长" * 64, *UNKNOWN),
    ('{"text": "canary", "text": "b"}', "text", "it is given twice", "重复出现"),
    ('{"text": "a", "te\\u0078t": "b"}', "text", "it is given twice", "重复出现"),
    ('{"kinds": {"rawData": "", "raw_data": ""}}', "kinds.raw_data", "it is given twice", "重复出现"),
    ('{"kinds": {"counts": {"a": 1, "a": 2}}}', "kinds.counts.a", "it is given twice", "重复出现"),
    # Types.
    ('{"text": 3}', "text", "it is a number; it must be a string", "它是数字；应为字符串"),
    ('{"text": true}', "text", "it is a boolean; it must be a string", "它是布尔值；应为字符串"),
    ('{"text": {"a": 1}}', "text", "it is an object; it must be a string", "它是对象；应为字符串"),
    ('{"text": ["a"]}', "text", "it is an array; it must be a string", "它是数组；应为字符串"),
    ('{"kinds": "a"}', "kinds", "it is a string; it must be an object", "它是字符串；应为对象"),
    ('{"kinds": {"flag": "true"}}', "kinds.flag", "it is a string; it must be a boolean", "它是字符串；应为布尔值"),
    ('{"kinds": {"numbers": 3}}', "kinds.numbers", "it is a number; it must be an array", "它是数字；应为数组"),
    ('{"kinds": {"parts": [{}, []]}}', "kinds.parts[1]", "it is an array; it must be an object", "它是数组；应为对象"),
    ('{"kinds": {"parts": [null]}}', "kinds.parts[0]", "it is null; it must be an object", "它是空值 null；应为对象"),
    ('{"kinds": {"counts": []}}', "kinds.counts", "it is an array; it must be an object", "它是数组；应为对象"),
    (
        '{"kinds": {"parts": [{}, {"parts": [{"numbers": [1, 1.5]}]}]}}',
        "kinds.parts[1].parts[0].numbers[1]",
        "it must be a whole number from -2147483648 to 2147483647",
        "应为介于 -2147483648 与 2147483647 之间的整数",
    ),
    (
        '{"kinds": {"small": -1}}',
        "kinds.small",
        "it must be a whole number from 0 to 4294967295",
        "应为介于 0 与 4294967295 之间的整数",
    ),
    (
        '{"kinds": {"colour": "canary"}}',
        "kinds.colour",
        f"it must be one of {COLOURS}, or its number",
        "应为以下之一或其编号：COLOUR_UNSPECIFIED、COLOUR_RED",
    ),
    (
        '{"kinds": {"raw_data": "canary!"}}',
        "kinds.raw_data",
        "it must be a string in Base64",
        "应为以 Base64 编码的字符串",
    ),
    ('{"kinds": {"ratio": 1e999}}', "kinds.ratio", "it must be a number", "应为数字"),
    (
        '{"kinds": {"when": "today"}}',
        "kinds.when",
        "it must be a time such as 2026-01-31T08:00:00Z",
        "应为形如 2026-01-31T08:00:00Z 的时间",
    ),
    # What is no object of JSON at all.
    ("[]", "request", "it is an array; it must be an object", "它是数组；应为对象"),
    ('"canary"', "request", "it is a string; it must be an object", "它是字符串；应为对象"),
    ("null", "request", "it is null; it must be an object", "它是空值 null；应为对象"),
    ("text=canary", "request", "it is not JSON: at byte 1 there must be a value", "它不是 JSON：第 1 字节处应为一个值"),
    (" ", "request", "it is not JSON: at byte 2 there must be an object", "它不是 JSON：第 2 字节处应为对象"),
    (
        "{",
        "request",
        "it is not JSON: at byte 2 there must be a field's name in double quotes",
        "它不是 JSON：第 2 字节处应为双引号中的字段名",
    ),
    (
        '{"text": "canary',
        "text",
        "it is not JSON: at byte 17 there must be a closing double quote",
        "它不是 JSON：第 17 字节处应为右双引号",
    ),
    (
        '{"text": NaN}',
        "text",
        "it is not JSON: at byte 10 there must be a value",
        "它不是 JSON：第 10 字节处应为一个值",
    ),
    (
        '{"count": 01}',
        "count",
        "it is not JSON: at byte 11 there must be a number",
        "它不是 JSON：第 11 字节处应为数字",
    ),
    ('{"text" "a"}', "text", "it is not JSON: at byte 9 there must be a colon", "它不是 JSON：第 9 字节处应为冒号"),
    (
        '{"text": "a" "b"}',
        "request",
        "it is not JSON: at byte 14 there must be a comma or }",
        "它不是 JSON：第 14 字节处应为逗号或 }",
    ),
    (
        '{"kinds": {"numbers": [1 2]}}',
        "kinds.numbers",
        "it is not JSON: at byte 26 there must be a comma or ]",
        "它不是 JSON：第 26 字节处应为逗号或 ]",
    ),
    (
        '{"text": "a"} {}',
        "request",
        "it is not JSON: at byte 15 there must be nothing more",
        "它不是 JSON：第 15 字节处应为结尾",
    ),
    (
        '{"text": "a\nb"}',
        "text",
        "it is not JSON: at byte 12 there must be an escape such as \\n, not a control character itself",
        "它不是 JSON：第 12 字节处应为转义（如 \\n），而不是控制字符本身",
    ),
    (
        '{"text": "\\x"}',
        "text",
        "it is not JSON: at byte 11 there must be an escape that JSON has, such as \\n or \\u with four digits",
        "它不是 JSON：第 11 字节处应为有效的转义，如 \\n 或 \\u 加四位十六进制数",
    ),
    # Depth and characters.
    ('{"kinds": {"free": ' + '{"a":' * 99, "kinds.free", "it nests deeper than 64 levels", "嵌套超过 64 层"),
    (b'{"note": "\xe4\xbd\xa0", "text": "a\xff"}', "text", "it is not UTF-8 at byte 27", "第 27 字节处不是 UTF-8"),
    (b'{"text": "\xed\xa0\x80"}', "text", "it is not UTF-8 at byte 11", "第 11 字节处不是 UTF-8"),
    (b'{"text": "\xe4\xbd"}', "text", "it is not UTF-8 at byte 11", "第 11 字节处不是 UTF-8"),
    (b'{"\xff": 1}', "request", "it is not UTF-8 at byte 3", "第 3 字节处不是 UTF-8"),
    (
        '{"text": "\\ud83d!"}',
        "text",
        "the escape at byte 11 is half of a surrogate pair",
        "第 11 字节处的转义只是代理对的一半",
    ),
    (
        '{"text": "\\ude00"}',
        "text",
        "the escape at byte 11 is half of a surrogate pair",
        "第 11 字节处的转义只是代理对的一半",
    ),
]


@pytest.mark.parametrize(("body", "field", "fault", "chinese"), WRONG)
def test_a_wrong_body(http: httpx.Client, body: str | bytes, field: str, fault: str, chinese: str) -> None:
    answer = post(http, body)
    expect(answer, field, fault)
    assert "canary" not in answer.text
    answer = post(http, body, **{"accept-language": "zh-CN"})
    expect(answer, field, fault, "zh-CN", f"无法读取 {field}：{chinese}")


@pytest.mark.parametrize(
    ("query", "field", "fault", "chinese"),
    [
        ("page_size=1&nope=canary", "nope", *NO_PARAMETER),
        ("%ff%0a=1", "??", *NO_PARAMETER),
        (
            "page_size=ten",
            "page_size",
            "it must be a whole number from -2147483648 to 2147483647",
            "应为介于 -2147483648 与 2147483647 之间的整数",
        ),
        (
            "colour=green",
            "colour",
            f"it must be one of {COLOURS}, or its number",
            "应为以下之一或其编号：COLOUR_UNSPECIFIED、COLOUR_RED",
        ),
        (
            "start_time=today",
            "start_time",
            "it must be a time such as 2026-01-31T08:00:00Z",
            "应为形如 2026-01-31T08:00:00Z 的时间",
        ),
        ("tags=%ff", "tags", "it is not UTF-8 at byte 1", "第 1 字节处不是 UTF-8"),
    ],
)
def test_a_wrong_query(http: httpx.Client, query: str, field: str, fault: str, chinese: str) -> None:
    expect(http.get(f"{ITEMS}?{query}"), field, fault)
    answer = http.get(f"{ITEMS}?{query}", headers={"accept-language": "zh"})
    expect(answer, field, fault, "zh-CN", f"无法读取 {field}：{chinese}")


def test_a_query_beside_a_body(http: httpx.Client) -> None:
    answer = http.post(f"{ECHO}?text=a", json={})
    expect(answer, "text", "it is not a parameter; this route takes none")


EMPTY = {
    "flag": False,
    "large": "0",
    "small": 0,
    "ratio": 0,
    "raw_data": "",
    "colour": "COLOUR_UNSPECIFIED",
    "numbers": [],
    "parts": [],
    "counts": {},
}


@pytest.mark.parametrize(
    ("body", "kinds"),
    [
        ("{}", {}),
        (
            '{"flag": true, "large": "9007199254740993", "small": 7}',
            {"flag": True, "large": "9007199254740993", "small": 7},
        ),
        ('{"flag": null, "numbers": null, "counts": null, "parts": null, "colour": null, "when": null}', {}),
        (
            '{"large": -5, "small": "4294967295", "ratio": "-1.5e3"}',
            {"large": "-5", "small": 4294967295, "ratio": -1500},
        ),
        ('{"small": 3.0, "numbers": [1, "2", 1e1, -0]}', {"small": 3, "numbers": [1, 2, 10, 0]}),
        ('{"ratio": "-Infinity"}', {"ratio": "-Infinity"}),
        ('{"rawData": "_-8", "colour": "COLOUR_RED"}', {"raw_data": "/+8=", "colour": "COLOUR_RED"}),
        ('{"raw_data": "\\/+8=", "colour": 1}', {"raw_data": "/+8=", "colour": "COLOUR_RED"}),
        ('{"colour": 7, "one": "\\ud83d\\ude00\\u00e9"}', {"colour": 7, "one": "😀é"}),
        ('{"counts": {"任意": 1, "b": "2"}}', {"counts": {"任意": 1, "b": 2}}),
        ('{"fl\\u0061g" : true ,\r\n\t"other":"\x7f你好"}', {"flag": True, "other": "\x7f你好"}),
        ('{"when": "2026-01-31T08:00:00.5+08:00"}', {"when": "2026-01-31T00:00:00.500Z"}),
        (
            '{"free": {"a": [{"b": null}], "c": {"a": 1}}, "wrapped": "w"}',
            {"free": {"a": [{"b": None}], "c": {"a": 1}}, "wrapped": "w"},
        ),
    ],
)
def test_every_spelling_of_a_right_body(http: httpx.Client, body: str, kinds: dict[str, Any]) -> None:
    answer = post(http, f'{{"kinds": {body}}}')
    assert answer.status_code == 200, answer.text
    assert answer.json()["kinds"] == EMPTY | kinds


@pytest.mark.parametrize("body", ["", "{}", ' {"text": null} ', '{"text": "", "sleep": "0"}'])
def test_what_is_empty_is_right(http: httpx.Client, body: str) -> None:
    assert post(http, body).json()["text"] == ""


@pytest.mark.parametrize(
    "query",
    ["", "?", "?page_size=7&&", "?pageSize=%37", "?colour=1&tags=a&tags=b%26", "?kinds.flag=true", "?tags=%E4%BD%A0"],
)
def test_every_spelling_of_a_right_query(http: httpx.Client, query: str) -> None:
    answer = http.get(f"{ITEMS}{query}")
    assert answer.status_code == 200, answer.text
    assert answer.json()["metadata"]["page_size"] == ("7" if "age" in query else "0")


def test_large_bodies(http: httpx.Client) -> None:
    assert post(http, json.dumps({"text": "你" * 300_000, "size": 1}, ensure_ascii=False)).json()["text"] == "x"
    parts = [{"one": "a", "other": None, "numbers": [1, 2]}] * 20_000
    assert post(http, json.dumps({"kinds": {"parts": parts}, "size": 1})).status_code == 200
    expect(
        post(http, json.dumps({"kinds": {"parts": [*parts, {"one": 1}]}})),
        "kinds.parts[20000].one",
        "it is a number; it must be a string",
    )


def test_the_log_names_the_field_but_no_name_of_the_callers(edge: Served, http: httpx.Client) -> None:
    post(http, '{"kinds": {"canary": 1}}', **{"x-assay-caller": "strict"})
    http.get(f"{ITEMS}?canary=1", headers={"x-assay-caller": "strict"})
    end = time.monotonic() + 30
    while len(lines := [line for line in edge.edge_log() if line["caller"] == "strict"]) < 2:
        assert time.monotonic() < end, edge.edge_log()
        time.sleep(0.1)
    assert [(line["status"], line["field"]) for line in lines] == [(400, "kinds"), (400, "request")]
    assert all(line["fault"].startswith("it is not a field; there are: ") for line in lines)
    assert "canary" not in json.dumps(edge.edge_log())
