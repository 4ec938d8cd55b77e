"""GET /, the page, and GET /models.json, what it must know about the models that are served.

The page is one file, joined here from the files beside this module. Its content security policy allows its own script
and style by their digests, requests to its own origin only, and no text as HTML or script (trusted types). So what a
model says would not be executed even if the page's script had a fault, and nothing leaves the server.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from edgehone.inference.run_bundle import has_template
from edgehone.serve.model import LanguageModel, Model
from edgehone.serve.operations import Operation

_SCRIPTS = (
    "api.js", "elements.js", "settings.js", "pictures.js", "conversation.js", "graph.js", "figures.js", "main.js",
)  # fmt: skip


class Page:
    """The routes of the page over some models, by name."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._models = models
        self._body, policy = document()
        self._headers = {
            "content-security-policy": policy,
            "cache-control": "no-cache",
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
        }

    def operations(self) -> list[Operation]:
        """Return the operations. The page has no data and needs no key; what it asks for does."""
        return [
            Operation("GET", "/", self.page, guarded=False, media="text/html"),
            Operation("GET", "/models.json", self.models),
        ]

    async def page(self, request: Request) -> Response:
        """Return the page."""
        return Response(self._body, headers=self._headers, media_type="text/html")

    async def models(self, request: Request) -> Response:
        """Return the models with their kind, whether they hold conversations and see pictures, and their options."""
        body = {"models": [_described(model) for model in self._models.values()]}
        return Response(msgspec.json.encode(body), media_type="application/json")


def document() -> tuple[bytes, str]:
    """Return the page, and its content security policy."""
    style, script = _data("style.css"), "\n".join(map(_data, _SCRIPTS))
    policy = (
        f"default-src 'none'; connect-src 'self'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    text = Template(_data("page.html")).substitute(style=style, script=script)
    return text.encode(), policy


def _described(model: Model) -> dict[str, Any]:
    bundle = model.served.bundle
    described: dict[str, Any] = {"name": model.name, "kind": bundle.manifest.kind}
    if isinstance(model, LanguageModel):
        described |= {"chat": has_template(bundle), "options": sorted(model.engine.options)}
        described["pictures"] = model.served.pictures is not None
    return described


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _data(name: str) -> str:
    return files("edgehone.serve.page").joinpath(name).read_text("utf-8")
