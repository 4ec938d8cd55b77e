"""A version as a CNCF ModelPack artifact: an OCI manifest with one raw layer for each file of a bundle.

Everything in it comes from the bundle's files, so the same bundle has the same manifest on every machine. Of the file
system only the permission to execute is recorded; owner, group and times are those of no machine.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from edgehone.bundle.schema import DECISION, MANIFEST, Manifest
from edgehone.core.errors import InputError
from edgehone.registry.canonical import canonical
from edgehone.registry.names import DIGEST

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT: Final = "application/vnd.cncf.model.manifest.v1+json"
CONFIG: Final = "application/vnd.cncf.model.config.v1+json"
FILE_PATH: Final = "org.cncf.model.filepath"
FILE_METADATA: Final = "org.cncf.model.file.metadata+json"
_RAW = re.compile(r"application/vnd\.cncf\.model\.(weight|weight\.config|doc|code|dataset)\.v1\.raw")
_KINDS: Mapping[str, str] = {
    "artifact": "weight",
    "tokenizer": "weight.config",
    "canaries": "dataset",
    "reproduce.sh": "code",
}
# What of an artifact is not weights.
_TEXTS = (".json", ".xml", ".txt", ".jinja", ".model", ".md")
_FORMATS: Mapping[str, str] = {
    ".gguf": "gguf",
    ".onnx": "onnx",
    ".safetensors": "safetensors",
    ".xml": "openvino",
}
_EPOCH: Final = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, order=True)
class File:
    """A file of a bundle: relative path, digest, bytes, and whether it may be executed."""

    path: str
    digest: str
    size: int
    executable: bool = False


def build(bundle: Manifest, files: Sequence[File]) -> tuple[bytes, bytes]:
    """Return the OCI manifest and the config of a bundle with these files."""
    files = sorted(files)
    config = canonical(_config(bundle, files)).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": ARTIFACT,
        "config": descriptor(CONFIG, config),
        "layers": [_layer(file) for file in files],
        "annotations": {
            "org.opencontainers.image.created": bundle.created,
            "org.opencontainers.image.title": str(bundle.model.get("name", "model")),
        },
    }
    return canonical(manifest).encode(), config


def descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    """Return the OCI descriptor of a blob."""
    from edgehone.registry.blobs import digest_of

    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


def _config(bundle: Manifest, files: Sequence[File]) -> dict[str, Any]:
    licence = bundle.model.get("licence")
    about = {
        "createdAt": bundle.created,
        "name": str(bundle.model.get("name") or "model"),
        "licenses": [str(licence)] if licence else [],
        "description": f"{bundle.recipe['backend']}/{bundle.recipe['name']} by edgehone {bundle.edgehone}",
    }
    technical = {
        "architecture": str(bundle.model.get("architecture") or ""),
        "format": _format(files),
        "quantization": str(bundle.recipe["name"]),
    }
    return {
        "descriptor": about,
        "config": {name: value for name, value in technical.items() if value},
        "modelfs": {"type": "layers", "diffIds": [file.digest for file in files]},
    }


def _format(files: Sequence[File]) -> str:
    suffixes = {PurePosixPath(file.path).suffix for file in files if file.path.startswith("artifact/")}
    return next((name for suffix, name in _FORMATS.items() if suffix in suffixes), "")


def _layer(file: File) -> dict[str, Any]:
    path = PurePosixPath(file.path)
    kind = _KINDS.get(path.parts[0], "doc")
    if kind == "weight" and path.suffix in _TEXTS:
        kind = "weight.config"
    metadata = {
        "name": path.name,
        "mode": 0o755 if file.executable else 0o644,
        "uid": 0,
        "gid": 0,
        "size": file.size,
        "mtime": _EPOCH,
        "typeflag": 0,
    }
    return {
        "mediaType": f"application/vnd.cncf.model.{kind}.v1.raw",
        "digest": file.digest,
        "size": file.size,
        "annotations": {FILE_PATH: file.path, FILE_METADATA: canonical(metadata)},
    }


def parse(data: bytes, source: str) -> tuple[dict[str, Any], list[File]]:
    """Return the descriptor of the config, and the files, of a manifest that anyone may have written.

    Raises InputError, naming `source`, if it is not the manifest of a bundle: of another type, incomplete, or with a
    path that leaves the folder of the bundle.
    """
    hint = "check the name and the tag; only bundles, as `edgehone registry push` writes them, can be pulled"
    try:
        manifest = json.loads(data)
        kind = manifest.get("artifactType") or manifest["config"]["mediaType"]
        if kind not in (ARTIFACT, CONFIG):
            raise InputError(f"{source} is of type {kind}, not a model of CNCF ModelPack", hint=hint)
        config = _checked(manifest["config"])
        files = [_file(layer, source, hint) for layer in manifest["layers"]]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{source} is no manifest of a bundle: {error!r}", hint=hint) from error
    paths = {file.path for file in files}
    if len(paths) != len(files):
        raise InputError(f"{source} has two files of the same path", hint=hint)
    if alike := names_alike(paths):
        raise InputError(f"{source} has files whose names some systems do not tell apart: {alike}", hint=hint)
    if missing := [name for name in (MANIFEST, DECISION) if name not in paths]:
        raise InputError(f"{source} is not a bundle of edgehone: it has no {missing[0]}", hint=hint)
    return config, files


def _checked(one: Any) -> dict[str, Any]:
    if not DIGEST.fullmatch(one["digest"]) or type(one["size"]) is not int or one["size"] < 0:
        raise ValueError(f"the descriptor {one!r} has no valid digest and size")
    return dict(one)


def _file(layer: Any, source: str, hint: str) -> File:
    _checked(layer)
    if not _RAW.fullmatch(layer["mediaType"]):
        raise InputError(
            f"{source} has a layer of type {layer['mediaType']}; files of bundles are raw", hint=hint
        )
    path = layer["annotations"][FILE_PATH]
    if unsafe(path):
        raise InputError(f"{source} has a file {path!r}, which is no path within a bundle", hint=hint)
    metadata = json.loads(layer["annotations"].get(FILE_METADATA, "{}"))
    return File(path, layer["digest"], layer["size"], bool(int(metadata.get("mode", 0)) & 0o100))


def unsafe(path: Any) -> bool:
    """Return True unless `path` names a file within a folder on every system."""
    if not isinstance(path, str) or not path or "\\" in path or ":" in path or "\0" in path:
        return True
    return any(part in ("", ".", "..") for part in path.split("/"))


def names_alike(paths: Iterable[str]) -> str | None:
    """Return two paths that differ in capitals or in the form of accents only, which not every system keeps apart."""
    known: dict[str, str] = {}
    for path in sorted(paths):
        other = known.setdefault(unicodedata.normalize("NFC", path.casefold()), path)
        if other != path:
            return f"{other!a} and {path!a}"
    return None
