"""Releases between real engines, in a real server under real requests.

Half of them with llama.cpp and the demo model, half with the null backend, whose faults can be chosen. llama.cpp's
engine is slow with many more threads than cores, which wait for each other, and is stopped (hanging) or killed from
outside.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil

import edgehone
from edgehone.bundle.schema import MANIFEST
from edgehone.execution.home import home_path

KEY = {"authorization": "Bearer operator"}
DEMO = Path(edgehone.__file__).parent / "data" / "demo-model"
# As shipped, but with stages that are over sooner: machines that measure this have other work.
RULES: Mapping[str, Any] = {
    "baseline_requests": 100,
    "leak": {"window_seconds": 1.0},
    "strategy": {
        "ramp": [
            {"name": "shadow", "shadow": True, "seconds": 30, "requests": 100, "slack": 3},
            {"name": "10 %", "weight": 0.1, "seconds": 5, "requests": 20, "wider": 4, "slack": 1.5},
            {"name": "25 %", "weight": 0.25, "seconds": 5, "requests": 50, "wider": 2},
            {"name": "50 %", "weight": 0.5, "seconds": 5, "requests": 100},
            {"name": "100 %", "weight": 1.0, "seconds": 5, "requests": 100},
        ]
    },
}
_MANY = 8 * (
    os.cpu_count() or 1
)  # threads of an engine that is slow with them: each step waits for the last one
Disturb = Callable[[psutil.Process, threading.Event], None]


@dataclass(frozen=True)
class Case:
    """A release: its name, whether it is good, settings of its engine, and what is done to the engine."""

    name: str
    good: bool
    settings: Mapping[str, Any]
    disturb: Disturb | None = None


def _hanging(engine: psutil.Process, ended: threading.Event) -> None:
    ended.wait(5)
    with suppress(psutil.NoSuchProcess):
        engine.suspend()


def _killed(engine: psutil.Process, ended: threading.Event) -> None:
    ended.wait(5)
    with suppress(psutil.NoSuchProcess):
        engine.kill()


LLAMACPP = (
    Case("llama.cpp, good", True, {}), Case("llama.cpp, too many threads", False, {"decode_threads": _MANY}),
    Case("llama.cpp, good", True, {}), Case("llama.cpp, hanging", False, {}, _hanging),
    Case("llama.cpp, good", True, {}), Case("llama.cpp, killed", False, {}, _killed),
)  # fmt: skip
NULL = (
    Case("null, good", True, {}), Case("null, slower and slower", False, {"slows_ms": 0.5}),
    Case("null, other answers after some", False, {"wanders_after": 100}),
    Case("null, good", True, {}), Case("null, leaking", False, {"leaks_kb": 64}),
    Case("null, fails under load", False, {"fails_beyond": 3}),
)  # fmt: skip


def real(count: int) -> tuple[str, int]:
    """Return a table of so many releases, and how many ended wrongly."""
    with tempfile.TemporaryDirectory(prefix="edgehone-rollouts-") as name:
        folder = Path(name)
        ends = _ends(folder / "null", null_bundle(folder / "null"), NULL, count - count // 2)
        ends += _ends(folder / "llamacpp", demo_bundle(), LLAMACPP, count // 2)
    rows = [
        "| engine and release | ended rightly | answered by it, median | after, median |",
        "| --- | --- | --- | --- |",
    ]
    for name in dict.fromkeys(case.name for case, _, _ in ends):
        some = [(case, found, took) for case, found, took in ends if case.name == name]
        right = sum(is_right(case, found) for case, found, _ in some)
        shares = [
            100 * found["answered"]["challenger"] / max(1, sum(found["answered"].values()))
            for _, found, _ in some
        ]
        rows.append(
            f"| {name} | {right} of {len(some)} | {median(shares):.1f} % | {median(took for *_, took in some):.0f} s |"
        )
    wrong = [
        (case.name, found["status"], found["reason"]) for case, found, _ in ends if not is_right(case, found)
    ]
    for one in wrong:
        print(*one, sep="; ")
    return "\n".join(rows), len(wrong)


def is_right(case: Case, found: Mapping[str, Any]) -> bool:
    """Return whether a release has ended as it should."""
    return bool(found["status"] == ("promoted" if case.good else "rolled back"))


def null_bundle(folder: Path) -> Path:
    """Return a bundle of the null backend, made in a folder, which is EDGEHONE_HOME from then on."""
    from edgehone.backends.null import backend
    from edgehone.inputs.texts import shipped
    from tests.rates import know_rates
    from tests.tiny import TINY

    os.environ["EDGEHONE_HOME"] = str(folder / "home")
    know_rates(folder / "home")
    backend.make_model(folder / "model", shipped("calibration").read_text("utf-8"))
    (folder / "tiny.toml").write_text(TINY)
    edgehone.optimize(
        folder / "model", workload="tiny", effort="quick", backends=["null"], out=folder / "bundle",
        config_file=folder / "tiny.toml",
    )  # fmt: skip
    return folder / "bundle"


def demo_bundle() -> Path:
    """Return a bundle of the demo model with llama.cpp, made once in the user's EDGEHONE_HOME."""
    os.environ.pop("EDGEHONE_HOME", None)
    made = home_path() / "benchmarks"
    # Other benchmarks may have made one.
    for bundle in (made / "verdict-bundle", made / "serving" / "demo-llamacpp"):
        if (bundle / MANIFEST).exists():
            break
    else:
        gates = [word for name in ("memory_cut", "speedup", "size_cut") for word in ("--gate", f"{name}=off")]
        words = [
            "optimize",
            str(DEMO),
            "--effort",
            "quick",
            "--backends",
            "llamacpp",
            *gates,
            "--out",
            str(bundle),
        ]
        subprocess.run([sys.executable, "-m", "edgehone.cli.main", *words], check=True)
    return bundle


def _ends(
    folder: Path, champion: Path, cases: tuple[Case, ...], count: int
) -> list[tuple[Case, dict[str, Any], float]]:
    folder.mkdir(exist_ok=True)
    found = []
    for number in range(count):
        case = cases[number % len(cases)]
        with _served(champion, folder) as (url, process):
            second = _version(champion, folder / f"v{number}" / champion.name, number, case.settings)
            begun = time.monotonic()
            ended = _roll_out(url, process, champion.name, second, case)
            found.append((case, ended, time.monotonic() - begun))
            print(f"{case.name}: {ended['status']}: {ended['reason'][:150]}", flush=True)
        shutil.rmtree(folder / f"v{number}")
    return found


@contextmanager
def _served(bundle: Path, folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    keys = folder / "operators"
    keys.write_text("operator\n")
    keys.chmod(0o600)
    words = ["serve", str(bundle), "--port", "0", "--json", "--admin-key-file", str(keys)]
    process = subprocess.Popen(
        [sys.executable, "-m", "edgehone.cli.main", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    url = json.loads(process.stdout.readline())["url"]
    try:
        while httpx.get(f"{url}/readyz").status_code != 200:
            time.sleep(0.1)
        yield url, psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _version(bundle: Path, to: Path, number: int, settings: Mapping[str, Any]) -> Path:
    shutil.copytree(bundle, to)
    manifest = edgehone.read(to).manifest
    recipe = {**manifest.recipe, "settings": {**manifest.recipe["settings"], **settings}}
    changed = replace(manifest, created=f"2026-11-28T00:{number:02d}:00+00:00", recipe=recipe)
    (to / MANIFEST).write_text(json.dumps(changed.to_json()))
    return to


def _roll_out(url: str, server: psutil.Process, name: str, second: Path, case: Case) -> dict[str, Any]:
    ended = threading.Event()
    before = _engines(server)

    def ask() -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while not ended.is_set():
                body = {"model": name, "prompt": "The people of the United States", "max_tokens": 3}
                with suppress(httpx.TransportError):
                    client.post("/v1/completions", json=body)

    with ThreadPoolExecutor(9) as pool:
        for _ in range(8):
            pool.submit(ask)
        try:
            body = {"name": name, "path": str(second), "rules": RULES}
            answer = httpx.post(f"{url}/admin/rollouts", json=body, headers=KEY, timeout=120)
            if answer.status_code != 200:
                return {"status": "refused", "reason": answer.text, "answered": {"challenger": 0}}
            if case.disturb:
                (engine,) = _engines(server) - before
                pool.submit(case.disturb, engine, ended)
            while True:
                found: dict[str, Any] = httpx.get(f"{url}/admin/rollouts", headers=KEY).json()["rollouts"][-1]
                if found["status"] not in ("starting", "running"):
                    return found
                time.sleep(0.2)
        finally:
            ended.set()


def _engines(server: psutil.Process) -> set[psutil.Process]:
    """Return the processes that compute answers: llama-server, else those of the null backend's engine."""
    children = server.children(recursive=True)
    return {one for one in children if one.name() == "llama-server"}
