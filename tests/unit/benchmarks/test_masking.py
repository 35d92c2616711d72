from __future__ import annotations

from benchmarks.canary import Needles
from benchmarks.masking import Tally, adversarial_texts
from benchmarks.masking_corpus import Corpus
from services.gateway.detection.scan import find


def test_the_corpus_is_the_same_for_the_same_seed() -> None:
    assert list(Corpus(3).samples(50)) == list(Corpus(3).samples(50))
    assert list(Corpus(3).samples(50)) != list(Corpus(4).samples(50))


def test_a_sample_says_where_its_value_is() -> None:
    samples = list(Corpus(3).samples(400))
    assert {sample.kind for sample in samples} == {"", *Corpus(3).kinds}
    for sample in samples:
        assert bool(sample.kind) == (sample.stop > sample.start)
        assert 0 <= sample.start <= sample.stop <= len(sample.text)


def test_the_detector_finds_what_the_corpus_holds_and_little_else() -> None:
    tally = Tally()
    for sample in Corpus(3).samples(3000):
        tally.add(sample)
    kinds = sorted(tally.values)
    assert min(map(tally.recall, kinds)) >= 0.99, tally.examples["missed"]
    assert min(map(tally.precision, kinds)) >= 0.99, tally.examples["wrong"]


def test_a_tally_counts_what_is_missed_and_what_is_wrong() -> None:
    tally = Tally()
    sample = next(sample for sample in Corpus(3).samples(50) if sample.kind == "email")
    tally.add(sample)
    assert tally.recall("email") == tally.precision("email") == 1.0
    tally.add(type(sample)("nothing is here", "email", 0, 7))
    assert tally.recall("email") == 0.5
    tally.add(type(sample)("but a@b.cn is no value"))
    assert tally.precision("email") == 0.5


def test_adversarial_texts_have_their_size_and_end() -> None:
    for kind, text in adversarial_texts(20_000).items():
        assert 19_990 <= len(text.encode()) <= 20_000, kind
        find(text, {})


def test_a_needle_is_found_in_every_form() -> None:
    needles = Needles(["138-0013-8000", "zhang@example.cn"])
    raw = (
        *(b"x138-0013-8000x", b"13800138000", "138-0013-8000".encode("utf-16-le"), b"zhang%40example.cn"),
        b"ZHANG@EXAMPLE.CN",
    )
    assert [len(needles.found(data)) for data in raw] == [1, 1, 1, 1, 1]
    assert not needles.found(b"138 0013 8001 [phone:3fa9c2d18b7e4c5a]")


def test_a_needle_is_found_in_base64_at_any_offset() -> None:
    import base64

    needles = Needles(["138-0013-8000"])
    for before in (b"", b"a", b"ab", b"abc"):
        assert needles.found(base64.b64encode(before + b"138-0013-8000" + b"z")), before
