"""What packages cost, and what the same takes by hand: `make bench-packages` (after `make demo`).

For each target that runs the bundle's artifact: how long packaging takes, how large each deliverable is, and what it
contains besides the artifact. For `desktop` also how long llama-server takes until it is ready, started by the script
of the package and by the plain command on the artifact alone, in turn; for `android` the size of an APK, and for
`container` size and start of an image, that are made by hand of the same model (`by_hand_image.py`); of a GGUF file
also those of the image with `server=llama-server`. The goal: not larger, and not slower (the ranges of the two
overlap).

Further targets add a function to `BY_HAND`. `--only TARGET` measures one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import by_hand, by_hand_image
from edgehone.bundle import read
from edgehone.bundle.read import Bundle
from edgehone.core.errors import EdgehoneError
from edgehone.core.sizes import shown
from edgehone.package import registry
from edgehone.package.targets.desktop.asked_server import seconds_until_ready
from edgehone.package.targets.desktop.checks import own_server
from edgehone.package.write import Order, Packed, pack

_RUNS = 7
# What a target cannot do without: here an image that nobody pulls.
_OPTIONS = {"kubernetes": {"image": f"registry.example/demo@sha256:{'0' * 64}", "unsigned": "yes"}}


def main() -> int:
    """Measure and print; return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle", nargs="?", default="demo-bundle", type=Path)
    parser.add_argument("--only", choices=registry.names(), help="one target")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    rows, missed = [], []
    print(f"{os.cpu_count()} processors, {given.bundle}")
    for name in [given.only] if given.only else registry.names():
        with tempfile.TemporaryDirectory() as folder:
            row, misses = _measured(name, given.bundle, Path(folder))
        rows.append(row)
        missed += misses
        print(_line(row), flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    for one in missed:
        print(f"missed: {one}")
    return 1 if missed else 0


def _measured(name: str, bundle: Path, folder: Path) -> tuple[dict[str, Any], list[str]]:
    begun = time.perf_counter()
    try:
        order = Order(registry.load(name), folder / "package", _OPTIONS.get(name, {}), unapproved=True)
        packed = pack(bundle, order)
    except EdgehoneError as error:
        return {"target": name, "reason": error.message}, []
    seconds = time.perf_counter() - begun
    opened = read(bundle)
    artifact = sum(one.stat().st_size for one in opened.artifact.rglob("*") if one.is_file())
    sizes = {one.path: one.bytes for one in packed.package.fillings}
    row: dict[str, Any] = {"target": name, "seconds": seconds, "artifact": artifact, "deliverables": sizes}
    comparison, misses = BY_HAND[name](opened, packed, folder) if name in BY_HAND else ({}, [])
    return row | comparison, misses


def _desktop(bundle: Bundle, packed: Packed, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Compare with the GGUF file alone and the plain command of llama-server."""
    program = shutil.which("llama-server") or own_server()
    if program is None or not (bundle.artifact / "model.gguf").is_file():
        return {"start": "llama-server or a GGUF file is missing"}, []
    (deliverable,) = packed.package.deliverables
    script = packed.path / deliverable.path / "start.sh"
    plain = [
        "sh",
        "-c",
        'exec "$0" "$@" --host "$HOST"',
        program,
        "--model",
        str(bundle.artifact / "model.gguf"),
    ]
    ours = ["sh", str(script)]
    times: dict[str, list[float]] = {"package": [], "by hand": []}
    for _ in range(_RUNS):
        for what, words in (("package", ours), ("by hand", plain)):
            times[what].append(seconds_until_ready(words, program, folder))
    start = {
        what: {"median": statistics.median(some), "low": min(some), "high": max(some)}
        for what, some in times.items()
    }
    slower = start["package"]["low"] > start["by hand"]["high"]
    return {"start_seconds": start}, ["desktop starts slower than by hand"] if slower else []


BY_HAND: Mapping[str, Callable[[Bundle, Packed, Path], tuple[dict[str, Any], list[str]]]] = {
    "desktop": _desktop,
    "android": by_hand.apk,
    "container": by_hand_image.image,
}


def _line(row: Mapping[str, Any]) -> str:
    if "reason" in row:
        return f"{row['target']}: not made: {row['reason']}"
    parts = [f"{row['target']}: {row['seconds']:.1f} s, artifact {shown(row['artifact'])}"]
    parts += [
        f"{path} {shown(size)} ({size - row['artifact']:+,} bytes)"
        for path, size in row["deliverables"].items()
    ]
    parts += [f"by hand, {what}: {shown(size)}" for what, size in row.get("by_hand_bytes", {}).items()]
    parts += [f"image, {what}: {shown(size)}" for what, size in row.get("compared_bytes", {}).items()]
    parts += [f"by hand: {row['by_hand']}"] if "by_hand" in row else []
    for what, one in row.get("start_seconds", {}).items():
        parts.append(f"ready {what} in {one['median']:.2f} s ({one['low']:.2f}–{one['high']:.2f})")
    for what, one in row.get("start_ratios", {}).items():
        parts.append(f"ratio of {what} {one['value']:.2f} ({one['low']:.2f}–{one['high']:.2f})")
    return "; ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
