"""OCI image layouts: folders with index.json and blobs named by their SHA-256.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Literal

from edgehone.core.errors import InputError

NAME: Final = "org.opencontainers.image.ref.name"
_BASE: Final = ("org.opencontainers.image.base.digest", "org.opencontainers.image.base.name")
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"


@dataclass(frozen=True)
class Image:
    """An image of a layout: its manifest's digest, the manifest, and the configuration."""

    folder: Path
    digest: str
    manifest: Mapping[str, Any]
    config: Mapping[str, Any]

    @property
    def layers(self) -> list[Path]:
        """The blobs of the layers, the lowest first."""
        return [blob(self.folder, one["digest"]) for one in self.manifest["layers"]]


def blob(folder: Path, digest: str) -> Path:
    """Return the path of a blob."""
    return folder / "blobs" / Path(*digest.split(":"))


def read_image(folder: Path, digest: str | None = None) -> Image:
    """Return the only image of a layout, or the one whose manifest has this digest. Raises InputError without it."""
    try:
        index = json.loads((folder / "index.json").read_text("utf-8"))
        digests: list[str] = [one["digest"] for one in index["manifests"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} is no OCI image layout: {error}",
            hint="skopeo copy docker://IMAGE oci:FOLDER:NAME makes one",
        ) from error
    wanted = digest or (digests[0] if len(digests) == 1 else None)
    if wanted is None or wanted not in digests:
        raise InputError(f"{folder} has no image {digest or ''}; it has {', '.join(digests) or 'none'}")
    try:
        manifest = json.loads(blob(folder, wanted).read_text("utf-8"))
        config = json.loads(blob(folder, manifest["config"]["digest"]).read_text("utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"the image {wanted} in {folder} cannot be read: {error}", hint="copy the layout again"
        ) from error
    return Image(folder, wanted, manifest, config)


def write_index(folder: Path, image: Image, name: str) -> None:
    """Write a layout with one image of another layout into an empty folder; the blobs are linked."""
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}', "utf-8")
    (folder / "blobs").symlink_to((image.folder / "blobs").absolute())
    entry = {
        "mediaType": image.manifest.get("mediaType", "application/vnd.oci.image.manifest.v1+json"),
        "digest": image.digest,
        "size": blob(image.folder, image.digest).stat().st_size,
        "annotations": {NAME: name},
    }
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}), "utf-8")


def write_history(folder: Path, contents: Sequence[str]) -> None:
    """Say of the uppermost layers of the only image what each contains, in the place of what buildah says.

    Buildah names the parent of each layer as its storage does, where an image can have several names. So the same
    layers would give other digests on another machine.
    """
    image = read_image(folder)
    config = {**image.config, "history": [dict(one) for one in image.config.get("history", ())]}
    own = config["history"][-len(contents) :]
    for entry, content in zip(own, contents[-len(own) :], strict=True):
        entry.update(created_by="edgehone package", comment=content)
    manifest = {**image.manifest, "config": {**image.manifest["config"], **_replace(image, "config", config)}}
    # Buildah says what the base is by the same names: only the labels know it.
    labels = config.get("config", {}).get("Labels") or {}
    annotations = {name: one for name, one in manifest.get("annotations", {}).items() if name not in _BASE}
    manifest["annotations"] = {**annotations, **{name: labels[name] for name in _BASE if name in labels}}
    index = json.loads((folder / "index.json").read_text("utf-8"))
    index["manifests"][0].update(_replace(image, "manifest", manifest))
    (folder / "index.json").write_text(json.dumps(index, separators=(",", ":")), "utf-8")


def _replace(image: Image, what: Literal["config", "manifest"], content: Mapping[str, Any]) -> dict[str, Any]:
    """Write a document of an image as a new blob in the place of its old one; return digest and size."""
    old = image.digest if what == "manifest" else image.manifest["config"]["digest"]
    data = json.dumps(content, separators=(",", ":")).encode()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    blob(image.folder, old).unlink()
    blob(image.folder, digest).write_bytes(data)
    return {"digest": digest, "size": len(data)}


class Files:
    """The files of an image: those of all layers, less what a later one removes."""

    def __init__(self, image: Image) -> None:
        self._found: dict[str, tuple[Path, tarfile.TarInfo]] = {}
        for layer in image.layers:
            self._add(layer)

    def __iter__(self) -> Any:
        return iter(self._found)

    def entry(self, name: str) -> tarfile.TarInfo:
        """Return what a name is. Raises KeyError if there is none."""
        return self._found[name][1]

    def resolve(self, name: str) -> str | None:
        """Return the file that a name leads to through links; None if there is none."""
        for _ in range(10):
            parent = posixpath.dirname(name)
            while parent and not (parent in self._found and self._found[parent][1].issym()):
                parent = posixpath.dirname(parent)
            if parent:  # a linked folder, as /lib often is
                linked = self._target(parent)
                name = f"{linked}{name[len(parent) :]}" if linked else name
                continue
            if name not in self._found:
                return None
            if not self._found[name][1].issym():
                return name if self._found[name][1].isfile() or self._found[name][1].islnk() else None
            name = self._target(name)
        return None

    def read(self, name: str) -> bytes:
        """Return the content of a file. Raises KeyError if there is none."""
        found = self.resolve(name)
        if found is None:
            raise KeyError(name)
        layer, _ = self._found[found]
        with tarfile.open(layer) as archive:
            member = next(one for one in archive if _clean(one.name) == found)
            file: IO[bytes] | None = archive.extractfile(member)
            assert file is not None
            return file.read()

    def _target(self, name: str) -> str:
        link = self._found[name][1].linkname
        return posixpath.normpath(posixpath.join("/", posixpath.dirname(name), link)).lstrip("/")

    def _add(self, layer: Path) -> None:
        added: dict[str, tuple[Path, tarfile.TarInfo]] = {}
        with tarfile.open(layer) as archive:
            for member in archive:
                name = _clean(member.name)
                parent, base = posixpath.split(name)
                if base == _OPAQUE:
                    self._remove(parent, itself=False)
                elif base.startswith(_WHITEOUT):
                    self._remove(posixpath.join(parent, base.removeprefix(_WHITEOUT)))
                else:
                    added[name] = (layer, member)
        self._found.update(added)

    def _remove(self, name: str, *, itself: bool = True) -> None:
        for one in [one for one in self._found if one.startswith(f"{name}/") or (itself and one == name)]:
            del self._found[one]


def _clean(name: str) -> str:
    return posixpath.normpath(name).lstrip("/")
