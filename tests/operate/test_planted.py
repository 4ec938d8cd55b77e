"""Problems planted around a real engine: each is noticed, rightly named, remedied or escalated, and nothing else done.

Further ones are in test_real.py (processor hog, control group, prefix cache) and test_null.py.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import pytest

from tests.operate.groups import group_of, join
from tests.operate.operated import KEY, Run, Traffic, certificate_of, operating, served
from tests.serve.conftest import bundle_of
from tests.serve.server import Server, running
from tests.serve.test_change import key_file

__all__ = ["bundle_of", "key_file"]  # fixtures
pytestmark = [pytest.mark.real, pytest.mark.long]
TIMES = 20.0
# Wide enough for a machine on which other tests run.
EASY = {
    "served_p50_s": 20.0,
    "served_p95_s": 20.0,
    "served_first_token_p95_s": 20.0,
    "served_token_p95_s": 5.0,
}


def short(number: int) -> dict[str, Any]:
    return {"model": "bundle", "prompt": f"The people of the United {number % 7}", "max_tokens": 2}


def baseline(bundle: Path, tmp_path: Path, figures: Mapping[str, float] = EASY) -> tuple[str, str]:
    return "--baseline", str(certificate_of(bundle, tmp_path / "certificate.json", figures))


def untouched(run: Run, server: Server, first: dict[str, Any], traffic: Traffic) -> None:
    """No remedy was tried, the server serves as it did, and every request was answered."""
    assert not run.remedies()
    now = served(server)["bundle"]
    assert now["change"] == first["change"] and now["id"] == first["id"] and now["state"] == "ready"
    assert {*traffic.statuses} <= {200}


def quiet(run: Run) -> None:
    """Nothing was noticed, but for a machine on which other tests take the processors."""
    assert [one.says for one in run.events("noticed") if one.detail["alert"] != "cpu_pressure"] == []


def named(run: Run, cause: str, seconds: float = 120.0) -> None:
    """Wait until a cause is named, and a human was called about it."""
    diagnosed = run.wait_for(
        "diagnosed", seconds, lambda one: cause in [it["name"] for it in one.detail["causes"]]
    )
    run.wait_for("escalated", seconds, lambda one: one.incident == diagnosed.incident)


# ---- a full disk ----


def own_disk(folder: Path, megabytes: int) -> list[str]:
    """Return a program, with its options, that starts another one for which a folder is a small disk of its own."""
    folder.mkdir()
    script = f'mount -t tmpfs -o size={megabytes}m,mode=700 tmpfs {quote(str(folder))} && exec "$@"'
    through = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    if not shutil.which("unshare") or subprocess.run([*through, "true"], check=False).returncode:
        pytest.skip("this system does not let a user mount a disk in a namespace of its own")
    return through


def test_a_disk_that_gets_full(bundle_of: Callable[[str], Path], key_file: Path, tmp_path: Path) -> None:
    bundle, state = bundle_of("llamacpp"), tmp_path / "disk"
    through = own_disk(state, 400)
    words = ("--admin-key-file", str(key_file), "--state", str(state))
    with running(bundle, *words, through=through) as server:
        first, seen = served(server)["bundle"], Path(f"/proc/{server.process.pid}/root{state}")
        with (
            Traffic(server, short, per_second=5.0).flowing(2) as traffic,
            operating(server, key_file, tmp_path / "state", *baseline(bundle, tmp_path), times=TIMES) as run,
        ):
            run.wait_for("begins", 30)
            time.sleep(3)
            quiet(run)
            filler = seen / "filler"
            with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
                while True:
                    file.write(bytes(1 << 20))
            noticed = run.wait_for("noticed", 60, lambda one: one.detail["alert"] == "disk_free")
            assert noticed.detail["severity"] == "page"
            named(run, "the disk is full")
            filler.unlink()
            run.wait_for("closed", 60, lambda one: one.incident == noticed.incident)
            untouched(run, server, first, traffic)


# ---- a clock that is set ----


def settable_clock(folder: Path) -> tuple[dict[str, str], Path]:
    """Return the environment of programs whose wall clock is ahead by the seconds in a file, and the file."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C compiler on Linux, for a library that sets the clock of a program")
    library, offset = folder / "clock.so", folder / "offset"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    offset.write_text("0")
    return {"LD_PRELOAD": str(library), "EDGEHONE_TEST_CLOCK": str(offset)}, offset


def test_a_clock_that_jumps(bundle_of: Callable[[str], Path], key_file: Path, tmp_path: Path) -> None:
    """The wall clock of the server, its engine and operate is an hour ahead from one moment on."""
    env, offset = settable_clock(tmp_path)
    bundle = bundle_of("llamacpp")
    with running(bundle, "--admin-key-file", str(key_file), env=env) as server:
        first = served(server)["bundle"]
        with (
            Traffic(server, short, per_second=5.0).flowing(2) as traffic,
            operating(
                server, key_file, tmp_path / "state", *baseline(bundle, tmp_path), times=TIMES, env=env
            ) as run,
        ):
            run.wait_for("begins", 60)
            time.sleep(3)
            quiet(run)
            offset.write_text("3600")
            noticed = run.wait_for("noticed", 60, lambda one: one.detail["alert"] == "clock")
            assert "3600" in noticed.says.replace("3599.", "3600.")
            named(run, "the clock was set")
            assert server.ready() and server.metric("edgehone_ready") == 1
            assert [one.detail["alert"] for one in run.events("noticed")].count("clock") == 1
            untouched(run, server, first, traffic)


# ---- memory ----

_LEAK = """
import sys, time
fast, slow = (int(one) << 20 for one in sys.argv[1:])
kept = []
def grow(step):
    kept.append(bytearray(step))
    for at in range(0, step, 4096):
        kept[-1][at] = 1
while sum(map(len, kept)) < fast:
    grow(8 << 20)
    time.sleep(0.1)
while sum(map(len, kept)) < fast + slow:
    grow(1 << 20)
    time.sleep(0.5)
time.sleep(3600)
"""


def test_a_leak_in_a_process_beside_it(
    bundle_of: Callable[[str], Path], key_file: Path, tmp_path: Path
) -> None:
    """The server and the process have one control group, as containers of a pod do, with 600 MB left."""
    bundle = bundle_of("llamacpp")
    with running(bundle, "--admin-key-file", str(key_file)) as server, group_of(server, "memory") as group:
        first = served(server)["bundle"]
        # What was charged before stays with the group that the server came from.
        limit = 600 << 20
        (group / "memory.limit_in_bytes").write_text(str(limit))
        leak: subprocess.Popen[bytes] | None = None
        try:
            with (
                Traffic(server, short, per_second=5.0).flowing(2) as traffic,
                operating(
                    server, key_file, tmp_path / "state", *baseline(bundle, tmp_path), times=TIMES
                ) as run,
            ):
                run.wait_for("begins", 30)
                time.sleep(5)
                quiet(run)
                left = (limit - int((group / "memory.usage_in_bytes").read_text())) >> 20
                # Fast until the alert, then slowly, so that nothing is ended for want of memory.
                leak = subprocess.Popen([sys.executable, "-c", _LEAK, str(left - 120), "60"])
                join(group, leak.pid)
                run.wait_for("noticed", 120, lambda one: one.detail["alert"] == "memory_available")
                named(run, "another program takes the memory")
                diagnosed = [one for one in run.events("diagnosed") if "another program" in one.says][-1]
                assert "python" in diagnosed.says and leak.poll() is None
                untouched(run, server, first, traffic)
        finally:
            if leak:
                leak.kill()
                leak.wait()


# ---- drifted inputs ----


def test_inputs_that_drift(bundle_of: Callable[[str], Path], key_file: Path, tmp_path: Path) -> None:
    from tests.operate.test_reoptimize_whole import ask, calm, shouted

    bundle, config = bundle_of("llamacpp"), tmp_path / "serve.toml"
    config.write_text(
        f"drift_requests = 600\nadmin_key_file = {json.dumps(str(key_file))}\n"
        f"[bundles.bundle]\npath = {json.dumps(str(bundle))}\n"
    )
    with (
        running(config, as_config=True) as server,
        operating(server, key_file, tmp_path / "state", *baseline(bundle, tmp_path), times=TIMES) as run,
    ):
        first = served(server)["bundle"]
        ask(server, calm(680))
        assert server.metric("edgehone_drift_alarm") == 0
        quiet(run)
        ask(server, shouted(300))
        noticed = run.wait_for("noticed", 30, lambda one: one.detail["alert"] == "drift_inputs")
        named(run, "inputs drifted", 60)
        diagnosed = [one for one in run.events("diagnosed") if one.incident == noticed.incident][-1]
        assert "tokens" in diagnosed.says and not run.remedies()
        story = (run.folder / f"incident-{noticed.incident}.html").read_text("utf-8")
        assert "optimize on recent samples" in story and "--samples" in story
        # An operator says that the requests are right: the alarm ends, and so does the incident.
        answer = server.post("/admin/drift/bundle", {"why": "the new shop writes in capitals"}, headers=KEY)
        assert answer.status_code == 200, answer.text
        closed = run.wait_for("closed", 60, lambda one: one.incident == noticed.incident)
        assert "approved: the new shop writes in capitals" in closed.says
        assert served(server)["bundle"]["change"] == first["change"]
