"""A page of the server: one file, joined from files of the package.

Its content security policy allows its own script and style by their digests, requests to its own origin only, and no
text as HTML or script (trusted types). So what a model or a client says would not be executed even if the page's script
had a fault, and nothing leaves the server.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from string import Template


@dataclass(frozen=True)
class Document:
    """A page, and the headers of the answer that it is."""

    body: bytes
    headers: Mapping[str, str]


def document(page: str, styles: Sequence[str], scripts: Sequence[str]) -> Document:
    """Return a page of files in `serve/`: HTML with the places $style and $script, style sheets, and scripts."""
    style, script = "\n".join(map(_data, styles)), "\n".join(map(_data, scripts))
    policy = (
        f"default-src 'none'; connect-src 'self'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    headers = {
        "content-security-policy": policy,
        "cache-control": "no-cache",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }
    return Document(Template(_data(page)).substitute(style=style, script=script).encode(), headers)


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _data(name: str) -> str:
    return files("edgehone.serve").joinpath(name).read_text("utf-8")
