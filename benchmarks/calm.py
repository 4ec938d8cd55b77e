"""Operate a server under clean traffic in bursts, and see that nothing is done to it: `make bench-calm`.

    python -m benchmarks.calm [BUNDLE] [--seconds 3600] [--out DIR] [WORDS of edgehone operate…]

The certified bundle is served as users serve it, with a state and kept samples, and `edgehone operate` watches it with
the usual windows. Users come in bursts (a Poisson process whose rate changes at random times between two values), each
sends some requests with prompts of its own length, some as streams, some with feedback; nothing of that changes in
the whole time. What else runs on the machine is measured, since a busy machine must be named and not treated.

Returns 1 if a remedy was tried, if another way of serving holds at the end, or if a request failed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.serving.bundles import demo_bundle
from edgehone.execution.home import home
from edgehone.inputs.texts import shipped
from edgehone.operate.journal import Journal
from edgehone.serve.load.client import JSON, Client
from edgehone.serve.load.started import Started, server

# Users a second in quiet times and in bursts, the mean seconds of each, and the mean requests and pause of a user.
QUIET, BURST, QUIET_S, BURST_S = 0.8, 4.0, 45.0, 10.0
REQUESTS, PAUSE_S = 4, 2.0
# As certification asks: prompts of 80 characters, here of that median, and 16 tokens.
CHARACTERS, TOKENS = 80, 16
KEY = "calm-operator"
_ID = re.compile(r'"id": ?"([^"]+)"')


@dataclass
class Seen:
    """What came of the traffic: statuses, seconds of the answers, and the processors' use by others."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)


def main(words: Sequence[str]) -> int:
    """Run it; return 1 if anything was done."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "bundle",
        type=Path,
        nargs="?",
        help="a certified bundle of a language model (default: the demo model's)",
    )
    parser.add_argument("--seconds", type=float, default=3600.0, help="how long (default: an hour)")
    parser.add_argument("--out", type=Path, help="folder of states and logs (default: a temporary one)")
    given, more = parser.parse_known_args(words)
    with tempfile.TemporaryDirectory() as folder:
        out = given.out or Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        return asyncio.run(_calm(given.bundle or _certified(), given.seconds, out, more))


def _certified() -> Path:
    """Return the demo model's bundle with a certificate of this machine, in EDGEHONE_HOME; it is made if missing."""
    bundle = home() / "benchmarks" / "calm" / "demo-model"
    if not (bundle / "certificate.json").exists():
        if not bundle.exists():
            shutil.copytree(demo_bundle("demo", "llamacpp"), bundle)
        words = ["certify", str(bundle), "--soak", "10s"]
        subprocess.run([sys.executable, "-m", "edgehone.cli.main", *words], check=False)  # 3: not approved
    return bundle


async def _calm(bundle: Path, seconds: float, out: Path, more: Sequence[str]) -> int:
    keys, samples = _secret(out / "operators", KEY), _secret(out / "samples.key", "ab" * 32)
    state = out / "state"
    words = (
        "--admin-key-file",
        str(keys),
        "--state",
        str(state),
        "--keep-samples",
        "500",
        "--samples-key-file",
    )
    async with server(bundle, *words, str(samples), log=out / "serve.log") as started:
        first = await _served(started)
        url = f"http://127.0.0.1:{started.port}"
        command = [
            sys.executable, "-m", "edgehone.cli.main", "operate", url, "--admin-key-file", str(keys), "--json",
            "--state", str(out / "operate"), "--samples", str(state), "--samples-key-file", str(samples), *more,
        ]  # fmt: skip
        seen = Seen()
        with (
            (out / "operate.log").open("w") as log,
            subprocess.Popen(command, stdout=log, stderr=log) as operate,
        ):
            try:
                await _traffic(started, bundle.name, seconds, seen, operate)
            finally:
                ended = operate.poll()
                operate.send_signal(signal.SIGTERM)
        last = await _served(started)
    return _told(seen, out / "operate", url, first == last, ended)


async def _traffic(
    started: Started, name: str, seconds: float, seen: Seen, operate: subprocess.Popen[bytes]
) -> None:
    """Let users come for so many seconds, and wait until the last has ended."""
    draw, text = random.Random(18), " ".join(shipped("calibration").read_text("utf-8").split())
    end, users = time.monotonic() + seconds, set[asyncio.Task[None]]()
    bursts, change = False, time.monotonic() + draw.expovariate(1 / QUIET_S)
    watch = asyncio.create_task(_others(started, operate, seen))
    while time.monotonic() < end:
        await asyncio.sleep(draw.expovariate(BURST if bursts else QUIET))
        if time.monotonic() > change:
            bursts = not bursts
            change = time.monotonic() + draw.expovariate(1 / (BURST_S if bursts else QUIET_S))
        task = asyncio.create_task(_user(started.port, name, text, random.Random(draw.random()), seen))
        users.add(task)
        task.add_done_callback(users.discard)
    await asyncio.gather(*users)
    watch.cancel()


async def _user(port: int, name: str, text: str, draw: random.Random, seen: Seen) -> None:
    """Send some requests one after the other, as a person would who reads the answers."""
    client, long = Client(port), CHARACTERS * draw.lognormvariate(0.0, 0.15)
    headers = f"{JSON}X-Tenant: shop-{draw.randrange(5)}\r\nX-Route: {draw.choice(('chat', 'search'))}\r\n"
    try:
        while True:
            length = max(10, round(long * draw.lognormvariate(0.0, 0.3)))
            at = draw.randrange(len(text) - length)
            body: dict[str, Any] = {"model": name, "prompt": text[at : at + length], "max_tokens": TOKENS}
            answer = await client.post("/v1/completions", {**body, "stream": draw.random() < 0.3}, headers)
            seen.statuses[answer.status] += 1
            seen.seconds.append(answer.seconds)
            found = _ID.search(answer.tail.decode("utf-8", "replace"))
            if found and draw.random() < 0.05:
                verdict = "bad" if draw.random() < 0.1 else "good"
                await client.post("/v1/feedback", {"id": found[1], "verdict": verdict})
            if draw.random() < 1 / REQUESTS:
                return
            await asyncio.sleep(draw.expovariate(1 / PAUSE_S))
    except (OSError, asyncio.IncompleteReadError):
        seen.statuses[0] += 1
    finally:
        client.close()


async def _others(started: Started, operate: subprocess.Popen[bytes], seen: Seen) -> None:
    """Note every 10 s which share of the processors other programs took."""
    own = [started.process, psutil.Process(operate.pid), psutil.Process()]

    def used() -> tuple[float, float]:
        every = [*own, *started.process.children(recursive=True)]
        times = psutil.cpu_times()
        busy = sum(times) - times.idle - getattr(times, "iowait", 0.0)
        return sum(times), busy - sum(sum(one.cpu_times()[:2]) for one in every if one.is_running())

    before = used()
    while True:
        await asyncio.sleep(10)
        now = used()
        seen.others.append(max(0.0, now[1] - before[1]) / (now[0] - before[0]))
        before = now


async def _served(started: Started) -> Any:
    """Return how everything is served: the bundle, its settings and limits, and the identity of its engine."""
    import httpx

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{started.port}") as client:
        told = (await client.get("/admin/bundles", headers={"authorization": f"Bearer {KEY}"})).json()
    return [(one["change"], one["id"], one["restarts"], one["state"]) for one in told["bundles"]]


def _told(seen: Seen, state: Path, url: str, same: bool, ended: int | None) -> int:
    journal = Journal(state / url.removeprefix("http://").replace(":", "_"), url)
    events = journal.events()
    remedies = [one for incident in journal.incidents() for one in journal.tried(incident.id)]
    journal.close()
    took = sorted(seen.seconds)
    p50, p95, p99 = (1000 * took[int(share * (len(took) - 1))] for share in (0.5, 0.95, 0.99))
    print(f"{len(took)} requests: {dict(seen.statuses)}; p50 {p50:.1f}, p95 {p95:.1f}, p99 {p99:.1f} ms")
    if seen.others:
        print(
            f"other programs took {statistics.fmean(seen.others):.0%} of the processors, at most {max(seen.others):.0%}"
        )
    for one in events:
        print(f"{one.at} {one.kind}: {one.says}")
    print(
        f"{len(remedies)} remedies; served as at the start: {same}; operate ran to the end: {ended is None}"
    )
    answered = set(seen.statuses) <= {200, 429}
    return int(bool(remedies) or not same or ended is not None or not answered)


def _secret(file: Path, text: str) -> Path:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)
    return file


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
