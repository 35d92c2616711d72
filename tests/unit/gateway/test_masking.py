from __future__ import annotations

import random
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.masking import Masker
from services.gateway.pseudonyms import Pseudonyms

MASKER = Masker(Pseudonyms(bytes(32)))


def kinds(text: str) -> list[str]:
    return [kind for kind, count in MASKER.mask(text).found for _ in range(count)]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("zhang.wei+card@example.com.cn", "email"),
        ("ｚｗ＠ｅｘａｍｐｌｅ．ｃｏｍ", "email"),
        ("11010519491231002X", "resident_id"),
        ("11010519491231002x", "resident_id"),
        ("110105194912310021", "resident_id"),
        ("１１０１０５１９４９１２３１００２Ｘ", "resident_id"),
        ("110105 19491231 002X", "resident_id"),
        ("130503670401001", "resident_id"),
        ("13800138000", "phone"),
        ("138-0013-8000", "phone"),
        ("１３８　００１３　８０００", "phone"),
        ("138\u200b0013\u200b8000", "phone"),
        ("+86 138 0013 8000", "phone"),
        ("010-62781234", "phone"),
        ("(0755) 2671 8888", "phone"),
        ("+1 (415) 555-2671", "phone"),
        ("+44 20 7946 0958", "phone"),
        ("6222021234567890123", "bank_card"),
        ("6222 0212 3456 7890", "bank_card"),
        ("4111 1111 1111 1111", "bank_card"),
        ("1234567", "number"),
    ],
)
@pytest.mark.parametrize("around", ["{}", "我的号码是{}，谢谢", "call {} now", "号{}号", "“{}”。"])
def test_values_become_tokens_of_their_kind(value: str, kind: str, around: str) -> None:
    masked = MASKER.mask(around.format(value))
    assert masked.found == ((kind, 1),), masked
    before, after = around.split("{}")
    assert re.fullmatch(re.escape(before) + rf"\[{kind}:[0-9a-f]{{16}}\]" + re.escape(after), masked.text), masked.text


@pytest.mark.parametrize(
    "text", ["", "hello", "I have 3 cards and 12 coins", "123456", "a@b", "user@", "@home", "v1.2.3"]
)
def test_what_is_no_personal_data_stays(text: str) -> None:
    assert MASKER.mask(text).text == text


def test_the_same_value_gives_the_same_token_whatever_its_spelling() -> None:
    tokens = {MASKER.mask(value).text for value in ("13800138000", "138-0013-8000", "１３８００１３８０００")}
    assert len(tokens) == 1
    assert MASKER.mask("13800138001").text not in tokens


def test_another_key_gives_another_token() -> None:
    other = Masker(Pseudonyms(bytes([1]) * 32))
    assert other.mask("13800138000").text != MASKER.mask("13800138000").text


def test_values_side_by_side_are_all_masked() -> None:
    text = "13800138000，a@b.cn;11010519491231002X和6222021234567890123"
    assert sorted(kinds(text)) == ["bank_card", "email", "phone", "resident_id"]


@given(st.text(alphabet="0123456789０１２ -.@aX号", max_size=60))
def test_no_run_of_seven_digits_is_left(text: str) -> None:
    left = re.sub(r"\[[a-z_]+:[0-9a-f]{16}\]", "|", MASKER.mask(text).text)
    assert not re.search(r"[0-9０-９]{7}", left)


@pytest.mark.parametrize(
    "pattern",
    ["1 ", "1" * 6 + "   " + "x", "a", "a.", "@", "a@", "a@b.", "+(", "1-2 3.4", "1X", "\u200b1", "@a.a-"],
)
def test_time_grows_with_the_length_and_not_with_its_square(pattern: str) -> None:
    def seconds(length: int) -> float:
        text = (pattern * (length // len(pattern) + 1))[:length]
        best = 9.0
        for _ in range(3):
            start = time.process_time()
            MASKER.mask(text)
            best = min(best, time.process_time() - start)
        return best

    # Sixteen times the length; a quadratic pattern would take 256 times as long.
    assert seconds(320_000) < 90 * seconds(20_000) + 0.05


def test_random_texts_with_a_number_never_show_it() -> None:
    random.seed(7)
    for _ in range(300):
        number = "".join(random.choices("0123456789", k=random.randint(11, 19)))
        text = "".join(random.choices("的了ab ，。", k=20)) + number + "".join(random.choices("的了ab ，。", k=20))
        assert number not in MASKER.mask(text).text
