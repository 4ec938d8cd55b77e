"""Bundles for phones without their frameworks: the finished bundle with another artifact, and without canaries."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgehone
from edgehone.bundle.schema import MANIFEST, text_of
from edgehone.package.write import Packed
from tests.finished import list_again


def bundle_with(bundle: Path, backend: str, files: Mapping[str, bytes], **settings: Any) -> Path:
    """Give a bundle another artifact, as if that backend had built it."""
    shutil.rmtree(bundle / "artifact")
    for name, content in files.items():
        (bundle / "artifact").mkdir(exist_ok=True)
        (bundle / "artifact" / name).write_bytes(content)
    list_again(bundle)
    recipe = {"backend": backend, "name": "Q4_K_M", "build": {}, "settings": settings}
    manifest = replace(edgehone.read(bundle).manifest, recipe=recipe, canaries=())
    (bundle / MANIFEST).write_text(text_of(manifest.to_json()), "utf-8")
    return bundle


def needs(*programs: str) -> None:
    """Skip the test if a program is missing; never where CI is set."""
    if missing := [name for name in programs if shutil.which(name) is None]:
        reason = f"not installed: {' '.join(missing)}; run tools/system_packages.sh"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


def outcomes(found: Packed) -> dict[str, str]:
    """Return the outcomes of the checks of a package by their names."""
    return {one.name: one.outcome for one in found.checks}


def weights(count: int) -> bytes:
    """Return bytes that stand for weights."""
    return np.random.default_rng(17).bytes(count)


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder."""
    return {
        one.relative_to(folder).as_posix(): one.read_bytes() for one in folder.rglob("*") if one.is_file()
    }
