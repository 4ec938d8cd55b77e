"""Ollama's store: manifests/HOST/NAMESPACE/MODEL/TAG, JSON that names blobs/sha256-…; the model's blob is a GGUF file.

Layout: server/internal/cache/blob and types/model of Ollama's sources. The manifest is that of an OCI image.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgehone.core.errors import ModelError
from edgehone.core.suggestions import suggest
from edgehone.model.config import read_object

HOST, NAMESPACE, TAG = "registry.ollama.ai", "library", "latest"
_MODEL = "application/vnd.ollama.image.model"
_TENSOR = "application/vnd.ollama.image.tensor"
_OTHERS = {
    "application/vnd.ollama.image.adapter": "an adapter",
    "application/vnd.ollama.image.projector": "a vision projector",
}
_PART = re.compile(r"[A-Za-z0-9_][\w.-]*")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


def folders() -> list[Path]:
    """Return where Ollama keeps models: $OLLAMA_MODELS alone if it is set, else of this user and of its service."""
    if value := os.environ.get("OLLAMA_MODELS"):
        return [Path(value).expanduser()]
    return [
        Path.home() / ".ollama" / "models",
        Path("/usr/share/ollama/.ollama/models"),
        Path("/var/lib/ollama/models"),
    ]


def locate(name: str) -> Path:
    """Return the GGUF file of NAME[:TAG], where NAME may begin with a namespace or with a host and a namespace.

    Raises ModelError if the model is not in the store, or its manifest or blob is missing or damaged.
    """
    parts = _parts(name)
    for store in folders():
        manifest = store.joinpath("manifests", *parts)
        if manifest.is_file():
            return _blob(store, manifest, name)
    known = sorted(installed())
    searched = ", ".join(str(folder) for folder in folders())
    raise ModelError(
        f"Ollama has no model {name!r} (searched {searched})",
        hint=suggest(name, known, cutoff=0.4)
        if known
        else f"ollama pull {name}, or set OLLAMA_MODELS to its folder of models",
    )


def installed() -> Iterator[str]:
    """Yield the names of the models in the store, as `ollama list` shows them."""
    for store in folders():
        above = store / "manifests"
        for manifest in above.rglob("*"):
            parts = manifest.relative_to(above).parts
            if len(parts) == 4 and manifest.is_file():
                host, space, model, tag = parts
                shown = [part for part, default in ((host, HOST), (space, NAMESPACE)) if part != default]
                yield "/".join([*(shown if host == HOST else [host, space]), f"{model}:{tag}"])


def _parts(name: str) -> tuple[str, str, str, str]:
    path, _, last = name.rpartition("/")
    model, _, tag = last.partition(":")
    above = path.split("/") if path else []
    host, space = {0: (HOST, NAMESPACE), 1: (HOST, *above), 2: tuple(above)}.get(len(above), ("", ""))
    parts = (host, space, model, tag or TAG)
    # A host may have a port; nothing may lead out of the store.
    if not all(_PART.fullmatch(part) for part in (host.partition(":")[0], *parts[1:])) or ".." in name:
        raise ModelError(f"{name!r} is not a name of Ollama", hint="write ollama:NAME or ollama:NAME:TAG")
    return parts


def _blob(store: Path, manifest: Path, name: str) -> Path:
    layers = _layers(manifest, name)
    kinds = [str(layer.get("mediaType")) for layer in layers]
    if _TENSOR in kinds:
        raise ModelError(
            f"ollama:{name} holds single tensors, not a GGUF file",
            hint="pull a GGUF of it, or give the original checkpoint",
        )
    if (more := next((_OTHERS[kind] for kind in kinds if kind in _OTHERS), None)) is not None:
        raise ModelError(
            f"ollama:{name} consists of a model and {more}, and only a model alone can be optimized",
            hint="give the model without it, or its original checkpoint",
        )
    models = [layer for layer in layers if layer.get("mediaType") == _MODEL]
    if len(models) != 1:
        raise _damaged(manifest, f"it has {len(models)} layers of {_MODEL}", name)
    digest = _DIGEST.fullmatch(str(models[0].get("digest")))
    if digest is None:
        raise _damaged(manifest, f"its model's digest is {str(models[0].get('digest'))[:80]!r}", name)
    path = store / "blobs" / f"sha256-{digest[1]}"
    if not path.is_file():
        raise ModelError(f"{path} is missing, the model of ollama:{name}", hint=f"ollama pull {name}")
    if (size := path.stat().st_size) != models[0].get("size"):
        raise ModelError(
            f"{path} has {size} bytes, and the manifest of ollama:{name} says {models[0].get('size')!r}",
            hint=f"ollama pull {name}",
        )
    return path


def _layers(manifest: Path, name: str) -> list[Mapping[str, Any]]:
    try:
        layers = read_object(manifest).get("layers")
    except ModelError as error:
        raise ModelError(error.message, hint=f"ollama pull {name}") from error
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        raise _damaged(manifest, "it has no list of layers", name)
    return layers


def _damaged(manifest: Path, problem: str, name: str) -> ModelError:
    return ModelError(f"{manifest} is not a manifest of a model: {problem}", hint=f"ollama pull {name}")
