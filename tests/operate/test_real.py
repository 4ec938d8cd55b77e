"""Planted problems of real engines that answer real requests with the demo model."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.operate.operated import Traffic, certificate_of, change, operating, served
from tests.serve.conftest import bundle_of
from tests.serve.server import Server, running
from tests.serve.test_change import key_file

__all__ = ["bundle_of", "key_file"]  # fixtures
pytestmark = pytest.mark.real

# What each framework takes while it serves; what it does not take is not offered there.
SETTINGS: dict[str, dict[str, Any]] = {
    "llamacpp": {"threads": 1, "prefix_cache": False, "load": "read", "kv_cache": "q8_0"},
    "openvino": {"threads": 1, "prefix_cache": False, "kv_cache": "f16", "pinning": False, "mmap": False},
    "olive": {"threads": 1, "spinning": False, "arena": False},
}


def long(number: int) -> dict[str, Any]:
    prompt = "The people of the United States have a right to a free press and to assemble. " * 20
    return {"model": "bundle", "prompt": f"{prompt}{number % 7}", "max_tokens": 8}


@pytest.mark.parametrize(
    "apart", [False, pytest.param(True, marks=pytest.mark.long)], ids=["all", "one by one"]
)
@pytest.mark.parametrize("backend", sorted(SETTINGS))
def test_settings_of_a_real_engine(
    bundle_of: Callable[[str], Path], key_file: Path, backend: str, apart: bool
) -> None:
    """Each change starts an engine."""
    every = SETTINGS[backend]
    with running(bundle_of(backend), "--admin-key-file", str(key_file), "--parallel", "2") as server:
        first = served(server)["bundle"]
        assert all(value in first["accepts"][name] for name, value in every.items()), first["accepts"]
        for some in [{name: value} for name, value in every.items()] if apart else [every]:
            change(server, settings=some)
            now = served(server)["bundle"]
            assert {name: now["settings"][name] for name in some} == some
            assert now["state"] == "ready" and "tokens of the canaries" in now["proof"]
            assert server.complete("The people", max_tokens=3)["choices"]
        change(server, settings={}, context=128, parallel=1)
        now = served(server)["bundle"]
        assert now["places"] == 1 and now["context"] <= 128
        change(server, **first["change"])
        assert served(server)["bundle"]["change"] == first["change"]


def test_without_a_prefix_cache_each_prompt_is_computed_again(
    bundle_of: Callable[[str], Path], key_file: Path
) -> None:
    """By processor time, which says the same on a busy machine."""

    def spent() -> float:
        return sum(sum(one.cpu_times()[:2]) for one in _tree(server))

    with running(bundle_of("llamacpp"), "--admin-key-file", str(key_file), "--parallel", "1") as server:
        seconds = {}
        for cached in (True, False):
            change(server, settings={"prefix_cache": cached, "threads": 1})
            server.complete(long(0)["prompt"], max_tokens=2)
            before = spent()
            for number in range(8):
                server.complete(long(number)["prompt"], max_tokens=2)
            seconds[cached] = spent() - before
        assert seconds[False] > 2 * seconds[True], seconds


@pytest.mark.long
@pytest.mark.alone
def test_a_prefix_cache_that_was_switched_off(
    bundle_of: Callable[[str], Path], key_file: Path, tmp_path: Path
) -> None:
    bundle = bundle_of("llamacpp")
    with running(bundle, "--admin-key-file", str(key_file)) as server:
        normal = typical(server)
        figures = {"served_p95_s": normal, "served_p50_s": normal}
        words = ("--baseline", str(certificate_of(bundle, tmp_path / "c.json", figures)))
        with (
            Traffic(server, long, per_second=4.0).flowing(2) as traffic,
            operating(server, key_file, tmp_path / "state", *words, times=20.0) as run,
        ):
            run.wait_for("begins", 30)
            change(server, settings={"prefix_cache": False, "threads": 1})
            diagnosed = run.wait_for("diagnosed", 120, lambda one: "prefix cache off" in one.says)
            several = len(os.sched_getaffinity(0)) > 1
            causes = [one["name"] for one in diagnosed.detail["causes"]]
            assert ("fewer threads than proven" in causes) is several
            kept = run.wait_for("kept", 240)
            assert kept.detail["remedy"] in ("prefix cache on", "the proven number of threads")
        assert {*traffic.statuses} <= {200, 429}


def typical(server: Server) -> float:
    """Return the median time of some requests, in seconds."""
    with Traffic(server, long, per_second=4.0).flowing(2) as traffic:
        while len(traffic.seconds) < 20:
            traffic._ended.wait(0.1)
    return sorted(traffic.seconds)[len(traffic.seconds) // 2]


@pytest.mark.long
@pytest.mark.alone
def test_a_squeezed_control_group_is_widened(
    bundle_of: Callable[[str], Path], key_file: Path, tmp_path: Path
) -> None:
    group = Path("/sys/fs/cgroup/cpu") / f"edgehone-test-{os.getpid()}"
    if not os.access("/sys/fs/cgroup/cpu/cgroup.procs", os.W_OK):
        pytest.skip("no control group of version 1 that this user may make")
    bundle = bundle_of("llamacpp")
    group.mkdir()
    try:
        with running(bundle, "--admin-key-file", str(key_file)) as server:
            normal = typical(server)
            figures = {"served_p95_s": normal, "served_p50_s": normal}
            words = (
                "--baseline",
                str(certificate_of(bundle, tmp_path / "c.json", figures)),
                "--control-groups",
            )
            for one in (server.process.pid, *(child.pid for child in _tree(server))):
                (group / "cgroup.procs").write_text(str(one))
            with (
                Traffic(server, long, per_second=2.0).flowing(2),
                operating(server, key_file, tmp_path / "state", *words, times=20.0) as run,
            ):
                run.wait_for("begins", 30)
                (group / "cpu.cfs_quota_us").write_text("10000")
                diagnosed = run.wait_for("diagnosed", 120, lambda one: "control group" in one.says)
                names = [one["name"] for one in diagnosed.detail["causes"]]
                assert "processors limited by the control group" in names
                begun = run.wait_for("begun", 120)
                assert begun.detail["remedy"] == "more processors for the control group"
                # Other programs may take what the quota gives: then it does not help, and the quota is put back.
                ended = run.wait_for_any(("kept", "undone"), 300)
                expected = {"kept": "40000", "undone": "10000"}
                assert ended.detail["remedy"] == "more processors for the control group"
                assert (group / "cpu.cfs_quota_us").read_text().strip() == expected[ended.kind]
    finally:
        group.rmdir()


def _tree(server: Server) -> list[Any]:
    import psutil

    return psutil.Process(server.process.pid).children(recursive=True)


@pytest.mark.long
@pytest.mark.alone
def test_a_processor_hog_is_named_and_a_human_called(
    bundle_of: Callable[[str], Path], key_file: Path, tmp_path: Path
) -> None:
    bundle = bundle_of("llamacpp")
    with running(bundle, "--admin-key-file", str(key_file)) as server:
        normal, first = typical(server), served(server)["bundle"]
        figures = {"served_p95_s": normal, "served_p50_s": normal}
        words = ("--baseline", str(certificate_of(bundle, tmp_path / "c.json", figures)))
        hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(6)]
        try:
            with (
                Traffic(server, long, per_second=4.0).flowing(2),
                operating(server, key_file, tmp_path / "state", *words, times=20.0) as run,
            ):
                named = run.wait_for(
                    "diagnosed", 180, lambda one: "other programs take the processors" in one.says
                )
                assert "python" in named.says
                run.wait_for("escalated", 300)
                for one in run.remedies():
                    assert one.state in ("undone", "failed"), one
                assert served(server)["bundle"]["change"] == first["change"]
        finally:
            for hog in hogs:
                hog.kill()
                hog.wait()
