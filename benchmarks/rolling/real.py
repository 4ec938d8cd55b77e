"""Releases between real engines, in a real server under real requests.

Half of them with llama.cpp and the demo model, half with the null backend, whose faults can be chosen; the two halves
run at the same time. llama.cpp's engine is slow by the settings of its bundle, and is stopped (hanging) or killed from
outside. A release that could not be run (a server does not start, or does not answer) is named with its reason, counts
as ended wrongly, and the next one is run.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import httpx
import psutil

import edgehone
from edgehone.bundle.schema import MANIFEST, text_of
from edgehone.core.errors import EdgehoneError
from edgehone.execution.home import VARIABLE, home_path
from edgehone.serve.load.started import server

KEY = {"authorization": "Bearer operator"}
DEMO = Path(edgehone.__file__).parent / "data" / "demo-model"
# As shipped, but for what makes a release shorter, since machines that measure this have other work: stages that are
# over sooner, and a margin of errors that is shown with a third of the requests.
RULES: Mapping[str, Any] = {
    "objective": {"errors": {"harm": 0.03, "not_worse": 0.06}},
    "baseline_requests": 50,
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
# What clients ask llama.cpp: 221 tokens, which the champion computes once, as the beginning of all requests.
_PROMPT = "The people of the United States have a right to a free press and to assemble. " * 10
# The settings of a slow engine: it computes that beginning for each request again, token by token (ubatch), each by
# more threads than processors, which wait for each other. (Many threads alone slow only the last tokens of an answer,
# a small part of a request.)
_SLOW = {"prefix_cache": False, "ubatch": 1, "decode_threads": 2 * (os.cpu_count() or 1)}
# A release takes one to three minutes where nothing else runs; a good one without a decision by then has failed.
_PATIENCE_SECONDS = 900.0
_ADMIN_SECONDS = 300.0  # for an answer of the server to its operator, on a machine with other work
Disturb = Callable[[psutil.Process, threading.Event], None]


@dataclass(frozen=True)
class Case:
    """A release: its name, whether it is good, settings of its engine, and what is done to the engine."""

    name: str
    good: bool
    settings: Mapping[str, Any]
    disturb: Disturb | None = None


@dataclass(frozen=True)
class Champion:
    """The bundle that is served, what it is asked, and the EDGEHONE_HOME of its server."""

    bundle: Path
    prompt: str
    home: Path


@dataclass(frozen=True)
class End:
    """How a release ended: its status, why, the share of the requests that it answered, and after how many seconds."""

    case: Case
    status: str
    reason: str
    share: float
    seconds: float


def _hanging(engine: psutil.Process, ended: threading.Event) -> None:
    ended.wait(5)
    with suppress(psutil.NoSuchProcess):
        engine.suspend()


def _killed(engine: psutil.Process, ended: threading.Event) -> None:
    ended.wait(5)
    with suppress(psutil.NoSuchProcess):
        engine.kill()


LLAMACPP = (
    Case("llama.cpp, good", True, {}), Case("llama.cpp, slow", False, _SLOW),
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
    """Return a table of so many releases with what it says of the goals, and how many ended wrongly."""
    with tempfile.TemporaryDirectory(prefix="edgehone-rollouts-") as name:
        folder = Path(name)
        llamacpp, null = _llamacpp_champion(folder / "llamacpp"), null_champion(folder / "null")
        with ThreadPoolExecutor(2) as pool:
            halves = [
                pool.submit(_ends, folder / "llamacpp", llamacpp, LLAMACPP, count // 2),
                pool.submit(_ends, folder / "null", null, NULL, count - count // 2),
            ]
            ends = [one for half in halves for one in half.result()]
    for one in ends:
        if not is_right(one):
            print(one.case.name, one.status, one.reason, sep="; ")
    return f"{table(ends)}\n\n{summary(ends)}", sum(not is_right(one) for one in ends)


def is_right(one: End) -> bool:
    """Return whether a release has ended as it should."""
    return one.status == ("promoted" if one.case.good else "rolled back")


def table(ends: Sequence[End]) -> str:
    """Return the releases by their kinds."""
    rows = [
        "| engine and release | ended rightly | answered by it, median (most) | after, median |",
        "| --- | --- | --- | --- |",
    ]
    for name in dict.fromkeys(one.case.name for one in ends):
        some = [one for one in ends if one.case.name == name]
        shares = [100 * one.share for one in some]
        rows.append(
            f"| {name} | {sum(map(is_right, some))} of {len(some)} | {median(shares):.1f} % ({max(shares):.1f} %) "
            f"| {median(one.seconds for one in some):.0f} s |"
        )
    return "\n".join(rows)


def summary(ends: Sequence[End]) -> str:
    """Return a sentence about what the goals are about."""
    good, bad = ([one for one in ends if one.case.good is is_good] for is_good in (True, False))
    back, false = (sum(one.status == "rolled back" for one in some) for some in (bad, good))
    shares = (
        f"{100 * median(one.share for one in bad):.1f} % of the requests, in the median" if bad else "none"
    )
    return (
        f"Of {len(bad)} bad releases {back} were rolled back, and answered {shares}; "
        f"of {len(good)} good ones {false} were."
    )


def _llamacpp_champion(folder: Path) -> Champion:
    """Return the demo model with one thread: two engines with one each share two processors with other programs."""
    return Champion(_version(demo_bundle(), folder / "champion", -1, {"threads": 1}), _PROMPT, home_path())


def null_champion(folder: Path) -> Champion:
    """Return a bundle of the null backend, made in a folder with an EDGEHONE_HOME of its own."""
    from edgehone.backends.null import backend
    from edgehone.inputs.texts import shipped
    from tests.rates import know_rates
    from tests.tiny import TINY

    home = know_rates(folder / "home")
    backend.make_model(folder / "model", shipped("calibration").read_text("utf-8"))
    (folder / "tiny.toml").write_text(TINY)
    with patch.dict(os.environ, {VARIABLE: str(home)}):
        edgehone.optimize(
            folder / "model", workload="tiny", effort="quick", backends=["null"], out=folder / "bundle",
            config_file=folder / "tiny.toml",
        )  # fmt: skip
    return Champion(folder / "bundle", "The people of the United States", home)


def demo_bundle() -> Path:
    """Return a bundle of the demo model with llama.cpp, made once in the user's EDGEHONE_HOME."""
    os.environ.pop(VARIABLE, None)
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


def _ends(folder: Path, champion: Champion, cases: tuple[Case, ...], count: int) -> list[End]:
    folder.mkdir(exist_ok=True)
    found = []
    for number in range(count):
        case, begun = cases[number % len(cases)], time.monotonic()
        try:
            with _served(champion, folder) as (url, process):
                second = _version(champion.bundle, folder / f"v{number}", number, case.settings)
                begun = time.monotonic()
                ended = _roll_out(url, process, champion, second, case)
        except (EdgehoneError, httpx.HTTPError, psutil.Error, OSError) as error:
            ended = {"status": "not run", "reason": f"{type(error).__name__}: {error}"}
        one = _end(case, ended, time.monotonic() - begun)
        found.append(one)
        print(
            f"{case.name}: {one.status} ({100 * one.share:.1f} %, {one.seconds:.0f} s): {one.reason}",
            flush=True,
        )
        shutil.rmtree(folder / f"v{number}", ignore_errors=True)
    return found


def _end(case: Case, ended: Mapping[str, Any], seconds: float) -> End:
    answered = ended.get("answered") or {"challenger": 0}
    share = answered["challenger"] / max(1, sum(answered.values()))
    return End(case, ended["status"], " ".join(str(ended["reason"]).split())[:400], share, seconds)


@contextmanager
def _served(champion: Champion, folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Serve a bundle. Raises JobError with what the server said if it does not start."""
    keys = folder / "operators"
    keys.write_text("operator\n")
    keys.chmod(0o600)
    with asyncio.Runner() as runner:
        served = server(
            champion.bundle, "--admin-key-file", str(keys), log=folder / "server.log",
            env={VARIABLE: str(champion.home)},
        )  # fmt: skip
        started = runner.run(served.__aenter__())
        try:
            yield f"http://127.0.0.1:{started.port}", started.process
        finally:
            runner.run(served.__aexit__(None, None, None))


def _version(bundle: Path, folder: Path, number: int, settings: Mapping[str, Any]) -> Path:
    to = shutil.copytree(bundle, folder / bundle.name)
    manifest = edgehone.read(to).manifest
    recipe = {**manifest.recipe, "settings": {**manifest.recipe["settings"], **settings}}
    changed = replace(manifest, created=f"2026-11-28T00:{number + 1:02d}:00+00:00", recipe=recipe)
    (to / MANIFEST).write_text(text_of(changed.to_json()))
    return to


def _roll_out(
    url: str, process: psutil.Process, champion: Champion, second: Path, case: Case
) -> dict[str, Any]:
    ended = threading.Event()
    before = _engines(process)

    def ask() -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while not ended.is_set():
                body = {"model": champion.bundle.name, "prompt": champion.prompt, "max_tokens": 3}
                with suppress(httpx.TransportError):
                    client.post("/v1/completions", json=body)

    with ThreadPoolExecutor(9) as pool:
        for _ in range(8):
            pool.submit(ask)
        try:
            body = {"name": champion.bundle.name, "path": str(second), "rules": RULES}
            answer = httpx.post(f"{url}/admin/rollouts", json=body, headers=KEY, timeout=_ADMIN_SECONDS)
            if answer.status_code != 200:
                return {"status": "refused", "reason": answer.text}
            if case.disturb:
                for engine in _engines(process) - before:
                    pool.submit(case.disturb, engine, ended)
            return _end_of(url)
        finally:
            ended.set()


def _end_of(url: str) -> dict[str, Any]:
    """Wait until the rollout of a server has ended, and return what the server says of it."""
    begun = time.monotonic()
    while True:
        answer = httpx.get(f"{url}/admin/rollouts", headers=KEY, timeout=_ADMIN_SECONDS)
        found: dict[str, Any] = answer.json()["rollouts"][-1]
        if found["status"] not in ("starting", "running"):
            return found
        if time.monotonic() - begun > _PATIENCE_SECONDS:
            return {**found, "reason": f"no decision after {_PATIENCE_SECONDS:.0f} s"}
        time.sleep(0.2)


def _engines(server: psutil.Process) -> set[psutil.Process]:
    """Return the processes that compute answers: llama-server, else those of the null backend's engine."""
    children = server.children(recursive=True)
    return {one for one in children if one.name() == "llama-server"}
