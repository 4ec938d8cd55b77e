"""Bundles for tests of the registry: copies of the null backend's one, with artifacts of given content."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgehone.bundle.schema import digest_of, text_of
from tests.finished import list_again

Make = Callable[..., Path]
LARGE = 3 << 20


def maker(original: Path, place: Path) -> Make:
    """Return a function that makes bundles: `weights` is the content of one more file of the artifact."""
    numbers = itertools.count(1)

    def make(weights: bytes = b"", **changes: Any) -> Path:
        folder = Path(shutil.copytree(original, place / f"made-{next(numbers)}"))
        if weights:
            (folder / "artifact" / "model.gguf").write_bytes(weights)
        list_again(folder)
        change_manifest(folder, **changes)
        return folder

    return make


def change_manifest(bundle: Path, **changes: Any) -> None:
    """Change fields of a manifest as if it had been written so."""
    path = bundle / "manifest.json"
    data = {**json.loads(path.read_text("utf-8")), **changes}
    path.write_text(text_of({**data, "digest": digest_of(data)}), "utf-8")


def weights(seed: int, size: int = LARGE) -> bytes:
    """Return bytes without a pattern."""
    return random.Random(seed).randbytes(size)


def content(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder by name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
