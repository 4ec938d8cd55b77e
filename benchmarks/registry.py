"""The registry: a list of 10,000 versions, a bundle of 1 GB that is there already, and memory with a blob of 600 MB.

The blob is pushed to and pulled from docker-registry; without that program its rows are left out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import edgehone
from benchmarks.row import Row, medians
from benchmarks.whole import CHILD, SETTINGS
from edgehone.attestation.files import read_files
from edgehone.backends.null import backend
from edgehone.bundle.schema import MANIFEST, text_of
from edgehone.inputs.texts import shipped
from edgehone.model.digest import digest_folder
from edgehone.registry import events
from edgehone.registry.canonical import canonical
from edgehone.registry.listing import versions
from edgehone.registry.push import push
from edgehone.registry.schema import VERSIONS
from edgehone.registry.session import Registry, open_registry

VERSIONS_LISTED = 10_000
LARGE = 1_000_000_000
BLOB = 600_000_000
PORT = 5963


def main() -> list[Row]:
    """Return the rows."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        bundle = _bundle(place)
        rows = _listing(place, bundle)
        rows.append(_unchanged(place, bundle))
        if shutil.which("docker-registry"):
            rows += _memory(place, bundle)
        return rows


def _listing(place: Path, bundle: Path) -> list[Row]:
    registry = open_registry(str(place / "many"))
    first = push(registry, bundle, name="model-0", by="a benchmark").version
    _fill(registry, canonical(first.facts))
    begun = time.perf_counter()
    found = len(versions(registry))
    inside = time.perf_counter() - begun
    command = [
        sys.executable,
        "-m",
        "edgehone.cli.main",
        "registry",
        "list",
        "--registry",
        str(place / "many"),
    ]
    whole, one = medians([command, [*command, "model-0"]], 5)
    beside = f"of it in the database {inside:.2f} s; one model's: {one:.2f} s"
    return [Row(f"list {found} versions", whole, "s", 0.5, beside)]


def _fill(registry: Registry, facts: str) -> None:
    with registry.database.writing() as connection:
        for number in range(2, VERSIONS_LISTED + 1):
            name, digest = f"model-{number % 100}", f"sha256:{number:064x}"
            detail = {"size": number, "approval": "yes", "signed_by": None, "facts": {}, "source": None}
            event = events.append(
                connection, "push", name, by="a benchmark", number=number, digest=digest, detail=detail
            )
            row = {
                "name": name,
                "number": number,
                "digest": digest,
                "pushed": event.at,
                "pushed_by": event.by,
            }
            row = {**row, "size": number, "approval": "yes", "facts": facts}
            connection.execute(VERSIONS.insert().values(row))


def _unchanged(place: Path, original: Path) -> Row:
    bundle = _with_weights(original, place / "large", LARGE)
    registry = open_registry(str(place / "registry"))
    begun = time.perf_counter()
    first = push(registry, bundle, name="large", by="a benchmark")
    took_first = time.perf_counter() - begun
    begun = time.perf_counter()
    read_files(bundle)
    hashing = time.perf_counter() - begun
    begun = time.perf_counter()
    again = push(registry, bundle, name="large", by="a benchmark")
    beyond = time.perf_counter() - begun - hashing
    assert first.new_bytes > LARGE and again.new_bytes == 0
    return Row(
        "push 1 GB again",
        beyond,
        "s",
        2.0,
        f"beyond {hashing:.2f} s of hashing; the first push {took_first:.1f} s",
    )


def _memory(place: Path, original: Path) -> list[Row]:
    bundle = _with_weights(original, place / "blob", BLOB)
    address = f"oci://127.0.0.1:{PORT}/bench/blob:1"
    with _docker_registry(place):
        store = ["registry", "push", str(bundle), "--registry", str(place / "here")]
        there = ["registry", "push", "null-model", "--to", address, "--registry", str(place / "here")]
        back = ["registry", "pull", address, "--out", str(place / "out"), "--registry", str(place / "there")]
        return [
            _peak(name, words)
            for name, words in (("push", store), ("push to oci", there), ("pull oci", back))
        ]


def _peak(name: str, words: Sequence[str]) -> Row:
    """Run a command and return the peak memory of its process."""
    begun = time.perf_counter()
    command = [sys.executable, "-c", CHILD, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    took = time.perf_counter() - begun
    peak = int(done.stdout.splitlines()[-1].split()[1])
    return Row(
        f"{name} 600 MB, memory",
        peak / 1e6,
        "MB",
        100,
        f"{took:.1f} s, {BLOB / took / 1e6:.0f} MB/s",
    )


@contextmanager
def _docker_registry(place: Path) -> Iterator[None]:
    config = place / "config.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {place / 'docker'}}}}}\nhttp: {{addr: '127.0.0.1:{PORT}'}}\n"
    )
    server = subprocess.Popen(["docker-registry", "serve", str(config)], stderr=subprocess.DEVNULL)
    try:
        time.sleep(1.0)
        yield
    finally:
        server.kill()
        server.wait()


def _bundle(place: Path) -> Path:
    """Make a bundle of the null backend."""
    (place / "edgehone.toml").write_text(SETTINGS)
    model = backend.make_model(place / "null-model", shipped("calibration").read_text("utf-8"))
    words = ["optimize", str(model), "--workload", "short", "--effort", "quick", "--backends", "null"]
    environment = {**os.environ, "EDGEHONE_HOME": str(place / "home")}
    command = [sys.executable, "-m", "edgehone.cli.main", *words, "--out", str(place / "bundle")]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 3, 4), done.stderr
    return place / "bundle"


def _with_weights(original: Path, target: Path, size: int) -> Path:
    """Copy a bundle and add a file without a pattern to its artifact."""
    shutil.copytree(original, target)
    with (target / "artifact" / "model.gguf").open("wb") as file:
        for begun in range(0, size, 10_000_000):
            file.write(os.urandom(min(10_000_000, size - begun)))
    files = {name: digest for name, digest in digest_folder(target).items() if name != MANIFEST}
    manifest = replace(edgehone.read(target).manifest, files=files)
    (target / MANIFEST).write_text(text_of(manifest.to_json()))
    return target
