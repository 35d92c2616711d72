"""What a model sees of a text: the text as it came, or with kinds in the place of personal data.

Only the model's own manifest can ask for raw texts, so the gateway asks the classifier which do. What it does not know
is masked: a model that came a moment ago, a name that does not exist, and a query for which several models may answer
of which one is not to see raw texts.
"""

from __future__ import annotations

import asyncio
import logging

from services.gateway.answers import Model
from services.gateway.masking import MaskedText, Masker
from services.gateway.ports import Classifier
from services.gateway.requests import Query
from services.kernel.errors import AssayError

_PAGE = 1000
_ASK_SECONDS = 2.0
_UNKNOWN_SECONDS, _KNOWN_SECONDS = 0.5, 10.0
_FORGET_AFTER = 6  # failures in a row; then what was known may be of another classifier

_log = logging.getLogger(__name__)


class ModelInputs:
    """Knows what each model is to see. Made inside the running event loop."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self._loop = asyncio.get_running_loop()
        self._models: tuple[Model, ...] = ()
        self._raw = False
        self._known: frozenset[str] = frozenset({""})

    async def run(self) -> None:
        """Asks again and again what there is, until cancelled."""
        failures = 0
        while True:
            try:
                await self.learn()
                failures = 0
            except AssayError:
                failures += 1
                if failures == _FORGET_AFTER:
                    self._take(())
            await asyncio.sleep(_KNOWN_SECONDS if self._models else _UNKNOWN_SECONDS)

    async def learn(self) -> None:
        """Asks once.

        Raises:
            AssayError: the classifier can't say; what was known stays.
        """
        models: list[Model] = []
        token = ""
        while True:
            page = await self._classifier.list_models(_PAGE, token, "", self._loop.time() + _ASK_SECONDS)
            models += page.models
            token = page.next_page_token
            if not token:
                break
        self._take(tuple(models))

    def shown(self, query: Query, masked: MaskedText, masker: Masker) -> Query:
        """Returns the query as the classifier is to get it; `masked` is its text.

        The other fields are masked as well where they name nothing that is known: what they say comes back in errors.
        """
        known = self._known
        names = query.model, query.model_version, query.industry
        if any(name not in known for name in names):
            model, version, industry = (name if name in known else masker.mask(name).text for name in names)
        else:
            model, version, industry = names
        text = query.text if masked.bare == query.text or (self._raw and self._sees_raw(query)) else masked.bare
        return Query(text, version, model, industry)

    def _take(self, models: tuple[Model, ...]) -> None:
        raw = any(model.raw_input for model in models)
        if raw and not self._raw:
            asking = sorted({f"{model.name} {model.version}" for model in models if model.raw_input})
            _log.warning("these models are shown raw texts, as their manifests ask", extra={"models": asking})
        self._models, self._raw = models, raw
        names = {name for model in models for name in (model.name, model.version, model.industry)}
        self._known = frozenset({"", *names})

    def _sees_raw(self, query: Query) -> bool:
        answers = [model.raw_input for model in self._models if _may_answer(model, query)]
        return bool(answers) and all(answers)


def _may_answer(model: Model, query: Query) -> bool:
    if query.model and model.name != query.model:
        return False
    if not query.model and query.industry and model.industry != query.industry:
        return False
    version = query.model_version
    return not version or model.version == version or model.version.startswith(f"{version}.")
