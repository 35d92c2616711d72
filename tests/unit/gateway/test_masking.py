from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.masking import MaskedText, Masker
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
        ("110105491231002", "resident_id"),
        ("374997170326628", "bank_card"),  # reads as a date of birth too, but in no county
        ("+1 (415) 555-2671", "phone"),
        ("+44 20 7946 0958", "phone"),
        ("6222021234567890123", "bank_card"),
        ("6222 0212 3456 7890", "bank_card"),
        ("4111 1111 1111 1111", "bank_card"),
        ("6222-0212-3456-7890-123", "bank_card"),
        ("4111.1111.1111.1111", "bank_card"),
        ("1101 0519 4912 3100 2X", "resident_id"),
        ("110105-19491231-002X", "resident_id"),
        ("1 3 8 0 0 1 3 8 0 0 0", "phone"),
        ("13\u200b80\u200c01\u20603800\ufeff0", "phone"),
        ("0755-26718888", "phone"),
        ("+86-13800138000", "phone"),
        ("0086 138 0013 8000", "phone"),
        ("(415) 555-2671", "phone"),
        ("E12345678", "passport"),
        ("EA1234567", "passport"),
        ("G12345678", "passport"),
        ("DE1234567", "passport"),
        ("S1234567", "passport"),
        ("P1234567", "passport"),
        ("91110000600037341L", "credit_code"),
        ("91110000600037341l", "credit_code"),
        ("京A12345", "plate"),
        ("京A·12345", "plate"),
        ("粤BD12345", "plate"),
        ("粤B12345D", "plate"),
        ("沪A1234学", "plate"),
        ("粤Z1234港", "plate"),
        ("192.168.1.100", "ip"),
        ("１９２．１６８．１．１００", "ip"),
        ("192。168。1。100", "ip"),
        ("2001:db8::1", "ip"),
        ("fe80::1ff:fe23:4567:890a", "ip"),
        ("2001:0db8:85a3:0000:0000:8a2e:0370:7334", "ip"),
        ("GB29NWBK60161331926819", "iban"),
        ("GB29 NWBK 6016 1331 9268 19", "iban"),
        ("DE89 3704 0044 0532 0130 00", "iban"),
        ("536-90-4399", "us_ssn"),
        ("536 90 4399", "us_ssn"),
    ],
)
@pytest.mark.parametrize("around", ["{}", "我的号码是{}，谢谢", "call {} now", "号{}号", "“{}”。"])
def test_values_become_tokens_of_their_kind(value: str, kind: str, around: str) -> None:
    masked = MASKER.mask(around.format(value))
    assert masked.found == ((kind, 1),), masked
    before, after = around.split("{}")
    assert re.fullmatch(re.escape(before) + rf"\[{kind}:[0-9a-f]{{16}}\]" + re.escape(after), masked.text), masked.text


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("护照号：AB123456", "passport"),
        ("Passport No. 533380006", "passport"),
        ("passport number is L898902C3", "passport"),
        ("座机62781234", "phone"),
        ("tel: 4155552671", "phone"),
        ("SSN 457555462", "us_ssn"),
        ("身份证号 110105194913310021", "resident_id"),
        ("银行卡号：4111 1111 1111 1112", "bank_card"),
    ],
)
def test_a_weak_form_counts_behind_the_word_for_it(text: str, kind: str) -> None:
    assert kinds(text) == [kind]
    digits = re.sub("[^0-9]", "", text)
    assert digits[-4:] not in MASKER.mask(text).bare
    assert MASKER.mask(digits).found == ()


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "hello",
            "I have 3 cards and 12 coins",
            "123456",
            "a@b",
            "user@",
            "@home",
            "v1.2.3",
            "12345678",
            "1234567",
        ),
        *(
            "2023-11-05",
            "20231105",
            "2023年11月5日",
            "05.11.2023",
            "2023-11-05T13:45:10Z",
            "20231105134510",
            "13:45:10",
        ),
        *("1998-12-25 123", "1998-12-25至2027-08-11", "1700000000", "1700000000123", "¥1,234,567.89", "12345678.90元"),
        *("订单号20231105004512345678", "PO-2023-004512", "SF1234567890123", "version 4.18.2.1", "10.0.19045.3693"),
        *(
            "CA1234",
            "G1234次",
            "RTX 4090",
            "Xeon E5-2680",
            "苏A股",
            "std::vector",
            "A::B",
            "16:9",
            "39.904200, 116.407400",
        ),
        *("550e8400-e29b-41d4-a716-446655440000", "978-7-111-54742-6", "6901234567892", "00:1A:2B:3C:4D:5E"),
        *("12 34 56 78 90 12 34 56", "3.14159265358979", "0.6785074388164694", "10086", "600519", "1920x1080", "2^31"),
    ],
)
@pytest.mark.parametrize("around", ["{}", "这是{}，谢谢", "it is {} now"])
def test_what_is_no_personal_data_stays(text: str, around: str) -> None:
    assert MASKER.mask(around.format(text)).text == around.format(text)


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


def test_a_plus_and_a_home_number_are_one_value() -> None:
    written = ("010-62781234", "+86 10 62781234", "0086-10-62781234", "（010）62781234")
    assert len({MASKER.mask(value).text for value in written}) == 1


def test_a_model_sees_kinds_alone() -> None:
    masked = MASKER.mask("打13800138000或发a@b.cn")
    assert masked.bare == "打[phone]或发[email]"
    assert re.fullmatch(r"打\[phone:[0-9a-f]{16}\]或发\[email:[0-9a-f]{16}\]", masked.text)
    assert MASKER.mask("什么也没有") == MaskedText("什么也没有", "什么也没有")


@given(st.text(alphabet="0123456789０１２ -.@aXG:京号+()\u200b", max_size=80))
def test_what_is_around_a_value_is_left_as_it_was(text: str) -> None:
    masked = MASKER.mask(text)
    pieces = re.split(r"\[[a-z_0-9]+\]", masked.bare)
    assert len(pieces) == 1 + sum(count for _, count in masked.found)
    pattern = ".+".join(re.escape(piece) for piece in pieces)
    assert re.fullmatch(pattern, text, re.DOTALL)


@given(st.text(max_size=200))
def test_any_text_can_be_masked(text: str) -> None:
    masked = MASKER.mask(text)
    assert bool(masked.found) == (masked.text != text)


def test_a_list_of_data_is_masked_to_its_end() -> None:
    numbers = [f"138{number:08}" for number in range(5000)]
    masked = MASKER.mask("，".join(numbers))
    assert dict(masked.found).get("data") == 1
    assert not re.search("138[0-9]{8}", re.sub(r"\[[a-z_]+:[0-9a-f]{16}\]", "", masked.text))


def test_finds_that_overlap_become_one() -> None:
    masker = Masker(Pseudonyms(bytes(32)), {"own": "客户1380"})
    masked = masker.mask("问客户13800138000。")
    assert masked.bare == "问[phone]。"
    assert masker.mask("问客户1380。").bare == "问[own]。"


def test_a_tenants_pattern_sees_full_width_as_the_ordinary() -> None:
    masker = Masker(Pseudonyms(bytes(32)), {"contract": "AC-[0-9]{6}"})
    written = ("AC-123456", "ＡＣ－１２３４５６", "A\u200bC-12\u200b3456")
    assert len({masker.mask(value).text for value in written}) == 1
    assert masker.mask("见AC-123456号").bare == "见[contract]号"


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
