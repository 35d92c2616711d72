from __future__ import annotations

import pytest

from services.gateway.settings import Settings
from services.kernel.settings import SettingsError, read

NEEDED = {
    "ASSAY_CLASSIFIER_ADDRESSES": "127.0.0.1:1, 127.0.0.1:2",
    "ASSAY_EVENT_LOG": "redis://127.0.0.1:1/0",
    "ASSAY_DATA": "data",
    "ASSAY_PSEUDONYM_KEY_FILE": "key",
}


def test_what_is_needed_is_enough() -> None:
    settings = read(Settings, NEEDED)
    assert settings.classifier_addresses == ("127.0.0.1:1", "127.0.0.1:2")
    assert settings.confidence_threshold == 0.7


@pytest.mark.parametrize("variable", sorted(NEEDED))
def test_what_is_missing_is_named(variable: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        read(Settings, {key: value for key, value in NEEDED.items() if key != variable})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ASSAY_HOST", "nginx"),
        ("ASSAY_CONFIDENCE_THRESHOLD", "1.5"),
        ("ASSAY_CONFIDENCE_THRESHOLD", "nan"),
        ("ASSAY_MICRO_BATCH_TEXTS", "0"),
        ("ASSAY_MICRO_BATCH_TEXTS", "2000"),
        ("ASSAY_DEFAULT_DEADLINE_SECONDS", "-1"),
        ("ASSAY_OUTBOX_MAX_EVENTS", "many"),
        ("ASSAY_OUTBOX_MIN_FREE_BYTES", "-1"),
        ("ASSAY_AUDIT_DURABILITY", "eventual"),
        ("ASSAY_BROKER_TIMEOUT_SECONDS", "0"),
    ],
)
def test_a_wrong_value_is_named_with_what_it_must_be(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable} is .*; it must be|{variable} is"):
        read(Settings, {**NEEDED, variable: value})
