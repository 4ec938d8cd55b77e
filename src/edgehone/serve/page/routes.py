"""GET /, the page, and GET /models.json, what it must know about the models that are served.

The page is one file, joined from the files beside this module (`document.py`). What a model says is never HTML.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from edgehone.inference.run_bundle import has_template
from edgehone.serve.model import LanguageModel, Model
from edgehone.serve.operations import Operation
from edgehone.serve.page.document import document

_STYLES = ("page/base.css", "page/style.css")
_SCRIPTS = (
    "api.js", "elements.js", "key.js", "settings.js", "pictures.js", "conversation.js", "graph.js", "figures.js",
    "main.js",
)  # fmt: skip


class Page:
    """The routes of the page over some models, by name."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._models = models
        self._page = document("page/page.html", _STYLES, [f"page/{name}" for name in _SCRIPTS])

    def operations(self) -> list[Operation]:
        """Return the operations. The page has no data and needs no key; what it asks for does."""
        return [
            Operation("GET", "/", self.page, guarded=False, media="text/html"),
            Operation("GET", "/models.json", self.models),
        ]

    async def page(self, request: Request) -> Response:
        """Return the page."""
        return Response(self._page.body, headers=self._page.headers, media_type="text/html")

    async def models(self, request: Request) -> Response:
        """Return the models with their kind, whether they hold conversations and see pictures, and their options."""
        body = {"models": [_described(model) for model in self._models.values()]}
        return Response(msgspec.json.encode(body), media_type="application/json")


def _described(model: Model) -> dict[str, Any]:
    bundle = model.served.bundle
    described: dict[str, Any] = {"name": model.name, "kind": bundle.manifest.kind}
    if isinstance(model, LanguageModel):
        described |= {"chat": has_template(bundle), "options": sorted(model.engine.options)}
        described["pictures"] = model.served.pictures is not None
    return described
