"""The baseline that a head must beat: hashed character n-grams and a linear SVM, trained in the same run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import LinearSVC

IntArray = npt.NDArray[np.int64]

FEATURES = 2**18


def build() -> Pipeline:
    """Character 1- to 5-grams within words, hashed into 2^18 features, sublinear tf-idf, linear SVM."""
    return make_pipeline(
        HashingVectorizer(
            analyzer="char_wb",
            ngram_range=(1, 5),
            n_features=FEATURES,
            alternate_sign=False,
            norm=None,
            dtype=np.float32,
        ),
        TfidfTransformer(sublinear_tf=True),
        LinearSVC(C=1.0, random_state=0),
    )


def accuracy(train: Sequence[str], train_targets: IntArray, test: Sequence[str], test_targets: IntArray) -> float:
    """Test accuracy of a baseline trained on the training rows."""
    model = build()
    model.fit(train, train_targets)
    return float((model.predict(test) == test_targets).mean())
