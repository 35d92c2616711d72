"""Vocabulary pruning: from 250,002 pieces of a hundred languages to those that English and Chinese text needs.

96 of the source's 117 million parameters are its vocabulary. Kept are the special tokens, every single Chinese
character, single letters, digits, marks and symbols of a few scripts (so that hardly anything is unknown), every
piece that the training texts use, and then the likeliest ASCII and Chinese pieces until the vocabulary is full.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram

from modelkit.e5s1 import Source

METASPACE = "▁"
VOCABULARY = 37_000
# Pieces of these scripts are kept when they are one character long.
SINGLE_SCRIPTS = ("LATIN", "GREEK", "CYRILLIC", "HIRAGANA", "KATAKANA", "CJK", "BOPOMOFO")

IntArray = npt.NDArray[np.int64]


def _is_han(character: str) -> bool:
    return "\u3400" <= character <= "\u9fff" or "\uf900" <= character <= "\ufaff" or character >= "\U00020000"


def _always_kept(piece: str) -> bool:
    body = piece.removeprefix(METASPACE)
    if not body:
        return True
    if len(body) > 1:
        return False
    if _is_han(body) or not unicodedata.category(body).startswith(("L", "M", "C")):
        return True
    return unicodedata.name(body, "").startswith(SINGLE_SCRIPTS)


def _candidate(piece: str) -> bool:
    body = piece.removeprefix(METASPACE)
    return body.isascii() or all(_is_han(character) for character in body)


def build_tokenizer(pieces: Sequence[str], scores: Sequence[float], *, bos: int, eos: int, unk: int) -> Tokenizer:
    """A Unigram tokenizer that normalises (NFKC, no control characters, single spaces) and adds `<s>`, `</s>`.

    It neither truncates nor pads: the exact count decides whether a text is accepted.
    """
    tokenizer = Tokenizer(
        Unigram([(piece, float(score)) for piece, score in zip(pieces, scores, strict=True)], unk_id=unk)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Replace(Regex(r"[\p{Cc}\p{Cf}\x{FE0E}\x{FE0F}]"), ""),
            normalizers.Replace(Regex(r" {2,}"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=METASPACE, prepend_scheme="always", split=True)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{pieces[bos]} $A {pieces[eos]}",
        special_tokens=[(pieces[bos], bos), (pieces[eos], eos)],
    )
    return tokenizer


def full_tokenizer(source: Source) -> Tokenizer:
    """The source's whole vocabulary behind our normalisation."""
    return build_tokenizer(source.pieces, source.scores.tolist(), bos=source.bos, eos=source.eos, unk=source.unk)


def choose_pieces(source: Source, texts: Iterable[str], size: int = VOCABULARY) -> IntArray:
    """Ids of the pieces to keep, ascending, so that the special tokens keep ids 0 to 3.

    Raises ValueError when what must be kept is already more than `size`.
    """
    kept = {source.bos, source.eos, source.pad, source.unk}
    kept.update(i for i, piece in enumerate(source.pieces) if i > 3 and _always_kept(piece))
    tokenizer = full_tokenizer(source)
    for encoding in tokenizer.encode_batch_fast(list(texts)):
        kept.update(encoding.ids)
    if len(kept) > size:
        raise ValueError(f"{len(kept)} pieces must be kept, but the vocabulary is to have {size}")
    for i in np.argsort(-source.scores, kind="stable").tolist():
        if len(kept) == size:
            break
        if i > 3 and _candidate(source.pieces[i]):
            kept.add(i)
    return np.array(sorted(kept), dtype=np.int64)


def pruned_tokenizer(source: Source, kept: IntArray) -> Tokenizer:
    """The tokenizer of the kept pieces; its id `i` is row `kept[i]` of the source's embedding table."""
    position = {int(old): new for new, old in enumerate(kept)}
    return build_tokenizer(
        [source.pieces[i] for i in kept],
        source.scores[kept].tolist(),
        bos=position[source.bos],
        eos=position[source.eos],
        unk=position[source.unk],
    )


def to_json(tokenizer: Tokenizer) -> str:
    """The `tokenizer.json`, compact: two thirds of the pretty form's size."""
    return json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))
