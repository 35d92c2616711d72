from __future__ import annotations

import re

import pytest
import re2

from services.kernel.presentable import HIDDEN, PATTERN, cel, presentable, presentable_path

PLAIN = ["", "teller-7", "svc_intent (prod)", "acme-2024", "assay.ai.v1.AIService", "room 123456", "a/b"]
PERSONAL = [
    *("13800138000", "138-0013-8000", "a@b.cn", "E12345678", "京A12345", "１３８", "1.2.3.4", "10.0.0.1", "fe80::1"),
    *("GB29NWBK60161331926819", "536-90-4399", "%31%33%38", "a\nb", "1234567", "91110000600037341L", "x\n"),
]


@pytest.mark.parametrize("name", PLAIN)
def test_plain_names_stay(name: str) -> None:
    assert presentable(name) == name
    assert re2.search(PATTERN, name)


@pytest.mark.parametrize("name", PERSONAL)
def test_what_may_be_personal_is_hidden(name: str) -> None:
    assert presentable(name) == HIDDEN
    assert not re2.search(PATTERN, name)


def test_a_path_keeps_its_plain_segments() -> None:
    assert presentable_path("/assay.ai.v1.AIService/ClassifyText") == "/assay.ai.v1.AIService/ClassifyText"
    assert presentable_path("/v1/people/13800138000/x") == f"/v1/people/{HIDDEN}/x"
    assert presentable_path("GET /docs/a@b.cn") == f"GET /docs/{HIDDEN}"


def test_envoys_expression_ends_where_its_format_expects_it() -> None:
    command = cel("request.url_path", otherwise="/x")
    assert re.fullmatch(r"%CEL\(([^%]*?)\)%", command)
    assert command.count("(") == command.count(")")
