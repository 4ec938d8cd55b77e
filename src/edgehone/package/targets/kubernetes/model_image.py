"""An image with nothing but the bundle, to be mounted as a volume: an OCI image layout, the same on every machine.

It has one layer, a tar archive with the bundle in a folder of its own, and is made for both architectures, since nodes
refuse an image of another one even if it has no program.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgehone.bundle.schema import SIGNATURE
from edgehone.package.target import Carried, Request

FOLDER: Final = "model-image"
TITLE: Final = "model"  # the name of the image within the layout
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_ARCHITECTURES = ("amd64", "arm64")


@dataclass(frozen=True)
class ModelImage:
    """An image of a bundle: the digest of its index, and where the files of the bundle are."""

    digest: str
    carried: tuple[Carried, ...]


def write_model_image(request: Request, folder: Path, name: str) -> ModelImage:
    """Write the layout of an image with the bundle in the folder `name`."""
    bundle, layout = request.bundle.path, folder / FOLDER
    (layout / "blobs" / "sha256").mkdir(parents=True)
    archive = request.scratch / "layer.tar"
    names = _write_layer(bundle, archive, name, request.time)
    layer = _add_file(layout, archive)
    entries = [_add_image(layout, layer, one, request.bundle.manifest.created) for one in _ARCHITECTURES]
    index = _add(layout, _INDEX, {"schemaVersion": 2, "mediaType": _INDEX, "manifests": entries})
    named = {**index, "annotations": {"org.opencontainers.image.ref.name": TITLE}}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}), "utf-8")
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}', "utf-8")
    blob = f"{FOLDER}/blobs/sha256/{layer['digest'].removeprefix('sha256:')}"
    # No signature lists itself; the others are what the bundle's signature, certificate and manifest list.
    listed = [one for one in names if one != SIGNATURE]
    return ModelImage(str(index["digest"]), tuple(Carried(one, f"{blob}!{name}/{one}") for one in listed))


def _write_layer(bundle: Path, archive: Path, name: str, time: int) -> list[str]:
    """Write the files of a bundle in sorted order, with fixed owners, modes and times; return their names."""
    files = sorted(one.relative_to(bundle).as_posix() for one in bundle.rglob("*") if one.is_file())
    folders = {name} | {f"{name}/{up}" for one in files for up in Path(one).parents if str(up) != "."}
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for folder in sorted(folders):
            entry = _entry(folder, time, 0o755)
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
        for one in files:
            path = bundle / one
            entry = _entry(f"{name}/{one}", time, 0o755 if os.access(path, os.X_OK) else 0o644)
            entry.size = path.stat().st_size
            with path.open("rb") as file:
                tar.addfile(entry, file)
    return files


def _entry(name: str, time: int, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mtime, entry.mode = time, mode
    return entry


def _add_image(layout: Path, layer: Mapping[str, Any], architecture: str, created: str) -> dict[str, Any]:
    config = {
        "created": created,
        "architecture": architecture,
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _add(layout, _CONFIG, config),
        "layers": [dict(layer)],
    }
    return {
        **_add(layout, _MANIFEST, manifest),
        "platform": {"architecture": architecture, "os": "linux"},
    }


def _add(layout: Path, media_type: str, document: Mapping[str, Any]) -> dict[str, Any]:
    data = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
    digest = hashlib.sha256(data).hexdigest()
    (layout / "blobs" / "sha256" / digest).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def _add_file(layout: Path, archive: Path) -> dict[str, Any]:
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = archive.stat().st_size
    archive.replace(layout / "blobs" / "sha256" / digest)
    return {"mediaType": _LAYER, "digest": f"sha256:{digest}", "size": size}
