"""Which pieces stay, and what the tokenizer made of them does with text."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer

from modelkit import e5s1, prune
from tests.unit.modelkit.e5s1_image import PIECES, image


@pytest.fixture(scope="module")
def source() -> e5s1.Source:
    return e5s1.parse(image()[0])


def kept_pieces(source: e5s1.Source, texts: list[str], size: int) -> list[str]:
    return [source.pieces[i] for i in prune.choose_pieces(source, texts, size)]


def test_specials_singles_and_used_pieces_stay_and_the_likeliest_fill_up(source: e5s1.Source) -> None:
    kept = kept_pieces(source, ["мир"], 15)
    assert kept[:4] == ["<s>", "<pad>", "</s>", "<unk>"]
    assert {"▁", ",", "a", "s", "é", "的", "卡"} <= set(kept)
    assert "мир" in kept, "the texts use it"
    assert "▁card" in kept, "it is likelier than 银行"
    assert "银行" in kept
    assert not {"ก", "ка"} & set(kept), "a script that is not kept, and a piece that is neither ASCII nor Chinese"


def test_the_vocabulary_is_never_larger_than_asked(source: e5s1.Source) -> None:
    assert len(kept_pieces(source, [], 13)) == 13
    with pytest.raises(ValueError, match="must be kept"):
        prune.choose_pieces(source, [], 5)


def test_a_kept_piece_has_the_row_of_its_source(source: e5s1.Source) -> None:
    kept = prune.choose_pieces(source, [], 14)
    tokenizer = prune.pruned_tokenizer(source, kept)
    assert tokenizer.get_vocab_size() == 14
    for piece, row in tokenizer.get_vocab().items():
        assert PIECES[kept[row]][0] == piece


@pytest.fixture(scope="module")
def tokenizer(source: e5s1.Source) -> Tokenizer:
    kept = np.arange(len(source.pieces))
    return Tokenizer.from_str(prune.to_json(prune.pruned_tokenizer(source, kept)))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("cards", ["<s>", "▁card", "s", "</s>"]),
        ("  ｃａｒｄｓ\t\n a\u200b ", ["<s>", "▁card", "s", "▁", "a", "</s>"]),
        ("银行卡，", ["<s>", "▁", "银行", "卡", ",", "</s>"]),
        ("e\u0301", ["<s>", "▁", "é", "</s>"]),
        ("card\x00s\ufe0f", ["<s>", "▁card", "s", "</s>"]),
        (" \n ", ["<s>", "</s>"]),
    ],
)
def test_text_is_normalised_before_it_is_cut(tokenizer: Tokenizer, text: str, tokens: list[str]) -> None:
    assert tokenizer.encode(text).tokens == tokens


def test_the_file_neither_truncates_nor_pads(tokenizer: Tokenizer) -> None:
    state = json.loads(tokenizer.to_str())
    assert state["truncation"] is None
    assert state["padding"] is None
    assert len(tokenizer.encode("card " * 600).ids) == 602
