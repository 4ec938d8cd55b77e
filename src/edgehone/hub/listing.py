"""Which files of a repository a model needs, with the sizes and digests that the hub states."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import Any

from edgehone.core.errors import InputError
from edgehone.hub import requests
from edgehone.model.stores import choose
from edgehone.model.stores.hub_cache import COMMIT, HubName

# Files beside the weights. Repositories also hold copies in other formats, in folders that are left out.
_BESIDE = ("*.json", "*.model", "*.txt", "*.jinja", "LICENSE*", "NOTICE*", "README*", "USE_POLICY*")
_LEFT_OUT = ("original", "onnx", "openvino", "coreml", "metal", "tflite", "flax", "gguf")
# The names of a checkpoint's own weights. If there are none, all safetensors files are taken.
_WEIGHTS = re.compile(r"(model|adapter_model)(-\d+-of-\d+)?\.safetensors")
_DIGESTS = {"sha256": re.compile(r"[0-9a-f]{64}"), "sha1": re.compile(r"[0-9a-f]{40}")}


@dataclass(frozen=True)
class HubFile:
    """A file of a commit. `kind`: "sha256" of the content, or "sha1" of Git's blob (small files are kept in Git)."""

    name: str
    size: int
    kind: str
    digest: str


@dataclass(frozen=True)
class Listing:
    """The commit that a revision names, and the files of a model in it."""

    commit: str
    files: tuple[HubFile, ...]

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(file.size for file in self.files)


def read(name: HubName) -> Listing:
    """Ask the hub for the files of a model.

    Raises InputError as `requests.listing`, and for a listing that is unsafe or incomplete: without sizes and digests,
    with names that lead out of the folder, or with no weights.
    """
    found = requests.listing(name.repository, name.revision or "main")
    commit = found.get("sha")
    if not isinstance(commit, str) or not COMMIT.fullmatch(commit):
        raise InputError(f"the hub names the commit {commit!r} of {name}", hint="check HF_ENDPOINT")
    if name.revision and COMMIT.fullmatch(name.revision) and commit != name.revision:
        raise InputError(f"the hub sends the commit {commit} for {name}", hint="check HF_ENDPOINT")
    entries = found.get("siblings")
    if not isinstance(entries, list):
        raise InputError(f"the hub lists no files of {name}", hint="check HF_ENDPOINT")
    files = [_file(entry, name) for entry in entries]
    return Listing(commit, tuple(_wanted(files, name)))


def _file(entry: Any, name: HubName) -> HubFile:
    path = entry.get("rfilename") if isinstance(entry, dict) else None
    if not isinstance(path, str) or not _inside(path):
        raise InputError(
            f"the hub lists the file {path!r} of {name}, which is no name in a folder",
            hint="do not use this model",
        )
    stored = entry.get("lfs")
    if isinstance(stored, Mapping):
        size, kind, digest = stored.get("size"), "sha256", stored.get("sha256")
    else:
        size, kind, digest = entry.get("size"), "sha1", entry.get("blobId")
    whole = isinstance(size, int) and not isinstance(size, bool) and size >= 0
    if not whole or not isinstance(digest, str) or not _DIGESTS[kind].fullmatch(digest):
        raise InputError(
            f"the hub states the size {size!r} and the {kind} {str(digest)[:80]!r} for {path} of {name}",
            hint="without them a download cannot be checked; use a hub that states them",
        )
    return HubFile(path, int(size or 0), kind, digest)


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and not set(name) & {"\0", "\\"}


def _wanted(files: Iterable[HubFile], name: HubName) -> list[HubFile]:
    known = [file for file in files if PurePosixPath(file.name).parts[0] not in _LEFT_OUT]
    beside = [file for file in known if any(fnmatch(file.name, pattern) for pattern in _BESIDE)]
    tensors = [file for file in known if file.name.endswith(".safetensors")]
    own = [file for file in tensors if _WEIGHTS.fullmatch(file.name)]
    if name.part is None and tensors:
        return sorted([*beside, *(own or tensors)], key=lambda file: file.name)
    return sorted(_gguf([*files], name), key=lambda file: file.name)


def _gguf(files: list[HubFile], name: HubName) -> list[HubFile]:
    """Return the files of the one GGUF model that the name means, with the licence and the description."""
    models = [file for file in files if file.name.lower().endswith(".gguf")]
    firsts = [file.name for file in models if choose.is_model(file.name)]
    chosen = choose.fitting_names(firsts, name.part)
    if len(chosen) != 1:
        listed = ", ".join(firsts[:12]) + (", …" if len(firsts) > 12 else "")
        if not firsts:
            raise InputError(
                f"{name} holds neither safetensors nor GGUF files", hint="give another repository"
            )
        raise InputError(
            f"{name}: {len(chosen)} of its GGUF files fit: {listed}",
            hint=f"name one by a part of its name: {name.repository}:{choose.example(firsts)}",
        )
    whole = re.sub(r"-\d{5}-of-(\d{5})\.gguf$", r"-*-of-\1.gguf", chosen[0])
    texts = [file for file in files if fnmatch(file.name, "LICENSE*") or fnmatch(file.name, "README*")]
    return [*texts, *(file for file in models if fnmatch(file.name, whole))]
