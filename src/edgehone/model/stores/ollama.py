"""Ollama's store: manifests/HOST/NAMESPACE/MODEL/TAG, JSON that names blobs/sha256-…; the model's blob is a GGUF file.

Newer versions of Ollama write manifests-v2/HOST/NAMESPACE/MODEL/TAG, which is a link to a blob, and prefer it. A
manifest there may be a list of manifests, one for each program that runs the model, of which the one with a GGUF file
is taken. Layout: manifest/paths.go, manifest/manifest.go and types/model of Ollama's sources. A manifest is that of an
OCI image.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgehone.core.absence import why_absent
from edgehone.core.errors import ModelError
from edgehone.core.suggestions import suggest
from edgehone.model.config import read_object

HOST, NAMESPACE, TAG = "registry.ollama.ai", "library", "latest"
# The folders of manifests, by preference, each with the names that the usual host has in it.
_FOLDERS: Mapping[str, tuple[str, ...]] = {"manifests-v2": ("ollama.com",), "manifests": (HOST, "ollama.com")}
_LIST = "application/vnd.ollama.manifest.list.v2+json"
# The programs that run GGUF files, by Ollama's preference. The other one is "mlx", which runs single tensors.
_RUNNERS = ("ollama", "llamacpp")
_MODEL = "application/vnd.ollama.image.model"
_TENSOR = "application/vnd.ollama.image.tensor"
_OTHERS = {
    "application/vnd.ollama.image.adapter": "an adapter",
    "application/vnd.ollama.image.projector": "a vision projector",
}
# Host, namespace, model and tag.
_Parts = tuple[str, str, str, str]
_PART = re.compile(r"[A-Za-z0-9_][\w.-]*")
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")


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
        if (manifest := _manifest(store, parts)) is not None:
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
    names = (_shown(parts) for store in folders() for _, parts in _manifests(store))
    yield from dict.fromkeys(names)


def _shown(parts: _Parts) -> str:
    host, space, model, tag = parts
    above = [part for part, default in ((host, HOST), (space, NAMESPACE)) if part != default]
    return "/".join([*(above if host == HOST else [host, space]), f"{model}:{tag}"])


def _manifests(store: Path) -> Iterator[tuple[Path, _Parts]]:
    """Yield all manifests with their names, the preferred ones first. A link whose blob is gone is left out."""
    for folder, hosts in _FOLDERS.items():
        for path in sorted((store / folder).glob("*/*/*/*")):
            host, *rest = path.relative_to(store / folder).parts
            if path.is_file():
                space, model, tag = rest
                yield path, (HOST if host in hosts else host, space, model, tag)


def _manifest(store: Path, parts: _Parts) -> Path | None:
    """Return the manifest of a model in a store, by names that may differ in case, as for Ollama; None without one."""
    alike = [(path, one) for path, one in _manifests(store) if _folded(one) == _folded(parts)]
    equal = [path for path, one in alike if one == parts]
    return next(iter([*equal, *(path for path, _ in alike)]), None)


def _folded(parts: _Parts) -> list[str]:
    return [part.casefold() for part in parts]


def _parts(name: str) -> _Parts:
    path, _, last = name.rpartition("/")
    model, _, tag = last.partition(":")
    above = path.split("/") if path else []
    host, space = {0: (HOST, NAMESPACE), 1: (HOST, *above), 2: tuple(above)}.get(len(above), ("", ""))
    parts = (host, space, model, tag or TAG)
    # A host may have a port; nothing may lead out of the store.
    if not all(_PART.fullmatch(part) for part in (host.partition(":")[0], *parts[1:])) or ".." in name:
        raise ModelError(f"{name!r} is not a name of Ollama", hint="write ollama:NAME or ollama:NAME:TAG")
    return (HOST, *parts[1:]) if host == "ollama.com" else parts


def _blob(store: Path, manifest: Path, name: str) -> Path:
    layers = _layers(store, manifest, name)
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
        problem = why_absent(path, f"{path} is missing")
        raise ModelError(f"{problem}: it is the model of ollama:{name}", hint=f"ollama pull {name}")
    if (size := path.stat().st_size) != models[0].get("size"):
        raise ModelError(
            f"{path} has {size} bytes, and the manifest of ollama:{name} says {models[0].get('size')!r}",
            hint=f"ollama pull {name}",
        )
    return path


def _layers(store: Path, manifest: Path, name: str) -> list[Mapping[str, Any]]:
    """Return the layers of a manifest, or of that manifest of a list which has a GGUF file."""
    _check_digest(manifest.resolve(), name)
    whole = _read(manifest, name)
    if whole.get("mediaType") == _LIST:
        whole = _child(store, manifest, whole, name)
    layers = whole.get("layers")
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        raise _damaged(manifest, "it has no list of layers", name)
    return layers


def _child(store: Path, manifest: Path, whole: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the manifest of a list that a program for GGUF files runs: it is in the list, or in a blob of its own."""
    children = whole.get("manifests")
    if not isinstance(children, list) or not all(isinstance(child, dict) for child in children):
        raise _damaged(manifest, "it has no list of manifests", name)
    runners = [str(child.get("runner", "")).lower() for child in children]
    chosen = next((runners.index(runner) for runner in _RUNNERS if runner in runners), None)
    if chosen is None:
        raise ModelError(
            f"ollama:{name} has no GGUF file: it is for {', '.join(sorted(set(runners))) or 'no program'}",
            hint="pull a GGUF of it, or give the original checkpoint",
        )
    child: Mapping[str, Any] = children[chosen]
    if "layers" in child or "digest" not in child:
        return child
    digest = _DIGEST.fullmatch(str(child["digest"]))
    if digest is None:
        raise _damaged(manifest, f"its manifest's digest is {str(child['digest'])[:80]!r}", name)
    path = store / "blobs" / f"sha256-{digest[1]}"
    if not path.is_file():
        raise ModelError(f"{path} is missing, a manifest of ollama:{name}", hint=f"ollama pull {name}")
    _check_digest(path, name)
    return _read(path, name)


def _check_digest(path: Path, name: str) -> None:
    """Raise ModelError if a manifest lies in a blob whose name is not the digest of its content."""
    stated = _DIGEST.fullmatch(path.name)
    if stated and hashlib.sha256(path.read_bytes()).hexdigest() != stated[1]:
        raise ModelError(f"{path} is damaged: its SHA-256 is not its name", hint=f"ollama pull {name}")


def _read(path: Path, name: str) -> Mapping[str, Any]:
    try:
        return read_object(path)
    except ModelError as error:
        raise ModelError(error.message, hint=f"ollama pull {name}") from error


def _damaged(manifest: Path, problem: str, name: str) -> ModelError:
    return ModelError(f"{manifest} is not a manifest of a model: {problem}", hint=f"ollama pull {name}")
