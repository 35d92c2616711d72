"""The models that ship: they verify, they know their words, and they get plain sentences right."""

from pathlib import Path

import numpy as np
import pytest

from modelkit import package
from modelkit.inference import OnnxEncoder
from services.classifier.bundle import Catalogue, Head, load_catalogue

MODELS = Path(__file__).resolve().parents[3] / "models"
UNKNOWN = 3

SENTENCES = {
    "intent": {
        "how would you say good morning in french": "translate",
        "what will the weather be like in boston tomorrow": "weather",
        "wake me up at seven tomorrow morning": "alarm",
        "please play some jazz": "play_music",
        "tell me a joke": "tell_joke",
        "how much money is in my checking account": "balance",
    },
    "banking": {
        "I lost my card, what should I do?": "lost_or_stolen_card",
        "My card has still not arrived after two weeks": "card_arrival",
        "How do I change my PIN?": "change_pin",
        "I forgot my passcode and cannot log in": "passcode_forgotten",
        "Is there a limit on how many disposable cards I can have?": "disposable_card_limits",
    },
    "triage": {
        "我最近血压一直很高，吃了降压药也降不下来，该怎么办？": "心血管科",
        "得了糖尿病，饮食上需要注意什么？": "内分泌科",
    },
    "sentiment": {
        "这本书真的很棒，内容精彩，值得一读，强烈推荐！": "positive",
        "质量太差了，用了两天就坏，客服也不理人，再也不买了。": "negative",
        "房间又小又脏，晚上吵得睡不着，非常失望。": "negative",
        "物流很快，东西也不错，很满意。": "positive",
    },
}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue(MODELS)


@pytest.fixture(scope="module")
def encoder(catalogue: Catalogue) -> OnnxEncoder:
    shipped = catalogue.encoders[-1]
    return OnnxEncoder(shipped.model_path, shipped.tokenizer, shipped.max_tokens, threads=1)


def head_of(catalogue: Catalogue, name: str) -> Head:
    return next(head for head in catalogue.heads if head.name == name)


def test_four_heads_ship_in_their_industries_and_within_sixty_megabytes(catalogue: Catalogue) -> None:
    shipped = {head.name: (head.industry, head.languages, len(head.labels)) for head in catalogue.heads}
    assert shipped == {
        "banking": ("finance", ("en",), 77),
        "intent": ("general", ("en",), 150),
        "sentiment": ("general", ("zh",), 2),
        "triage": ("medical", ("zh",), 6),
    }
    assert {head.max_tokens for head in catalogue.heads} == {512}
    assert package.total_bytes(MODELS) <= 60e6


@pytest.mark.parametrize("name", sorted(SENTENCES))
def test_plain_sentences_are_classified_rightly(catalogue: Catalogue, encoder: OnnxEncoder, name: str) -> None:
    head = head_of(catalogue, name)
    texts = list(SENTENCES[name])
    probabilities = head.classify(encoder.embed(texts))
    assert np.allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    assert [head.labels[i] for i in probabilities.argmax(axis=1)] == list(SENTENCES[name].values())


def test_no_ordinary_text_has_an_unknown_token(encoder: OnnxEncoder) -> None:
    texts = [
        *(text for sentences in SENTENCES.values() for text in sentences),
        "“Quotes” — dashes … €5, £3, ¥9, 50 % & more: naïve café @home #1 C++ <b>x</b> {y} [z] ~ ^ | \\ `",
        "ＦＵＬＬ　ｗｉｄｔｈ！，。；：？《書名》【括號】「引號」①②③ ㎏ ℃",
        "繁體中文也可以：憂鬱的臺灣烏龜，龍鳳呈祥。",
        "😀 👍 ❤ 🎉",
    ]
    unknown = {text: row.tolist().count(UNKNOWN) for text, row in zip(texts, encoder.token_ids(texts), strict=True)}
    assert {text: count for text, count in unknown.items() if count} == {}


def test_the_longest_text_gets_an_embedding_of_length_one(encoder: OnnxEncoder) -> None:
    rows = [np.array([0, *([5] * 510), 2]), np.array([0, 5, 2])]
    embeddings = encoder.embed_ids(rows)
    assert embeddings.shape == (2, 384)
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx(1.0, abs=1e-4)


def test_batch_mates_do_not_change_the_answer(catalogue: Catalogue, encoder: OnnxEncoder) -> None:
    for name, sentences in SENTENCES.items():
        head = head_of(catalogue, name)
        rows = encoder.token_ids(list(sentences))
        strangers = encoder.token_ids([text for other in SENTENCES if other != name for text in SENTENCES[other]])
        alone = head.classify(np.concatenate([encoder.run([row]) for row in rows]))
        mixed = head.classify(encoder.run([*rows, *strangers])[: len(rows)])
        assert (alone.argmax(axis=1) == mixed.argmax(axis=1)).all(), name
