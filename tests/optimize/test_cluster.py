"""The main job on a Dask cluster of real worker processes, one of them killed in the middle of a job."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import edgehone
from edgehone.core.errors import InputError, SetupError
from edgehone.execution.remote import cluster
from edgehone.optimize import executors
from edgehone.optimize.options import OptimizeOptions
from tests import sshd

BOARD = "test-board"


class DaskCluster:
    """A scheduler and workers as children, each worker with an EDGEHONE_HOME of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        self.scheduler = f"tcp://127.0.0.1:{port}"
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        words = ["-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
        self._start("scheduler", [sys.executable, *words, "--no-dashboard"])

    def worker(self, name: str, *options: str) -> None:
        """Start one by the command that the documents show."""
        words = [sys.executable, "-m", "edgehone.cli.main", "worker", self.scheduler, *options]
        self._start(name, words)

    def plain(self, name: str, resource: str) -> None:
        """Start one by Dask's own command."""
        words = ["-m", "distributed.cli.dask_worker", self.scheduler, "--nthreads", "1", "--no-dashboard"]
        self._start(name, [sys.executable, *words, "--resources", f"{resource}=1"])

    def ready(self, *resources: str) -> None:
        """Wait until so many workers carry these resources."""
        client: Any = cluster.connect(self.scheduler)
        try:
            deadline = time.monotonic() + 120
            for name in set(resources):
                while len(cluster.Workers(client, "", name).addresses()) < resources.count(name):
                    assert time.monotonic() < deadline, "the workers did not come"
                    time.sleep(0.1)
        finally:
            client.close()

    def home(self, name: str) -> Path:
        """Where a worker keeps things."""
        return self.place / name

    def kill(self, name: str) -> None:
        """SIGKILL for a worker with its nanny and all that it runs: a plug that is pulled."""
        os.killpg(self.children.pop(name).pid, signal.SIGKILL)

    def end(self) -> None:
        """End every child with its whole group."""
        for child in self.children.values():
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()

    def _start(self, name: str, words: list[str]) -> None:
        environment = {**os.environ, "EDGEHONE_HOME": str(self.home(name))}
        self.place.mkdir(exist_ok=True)
        with (self.place / f"{name}.log").open("wb") as log:
            self.children[name] = subprocess.Popen(
                words, env=environment, cwd=self.place, stdout=log, stderr=log, start_new_session=True
            )


@pytest.fixture
def rack(tmp_path: Path) -> Iterator[DaskCluster]:
    made = DaskCluster(tmp_path / "rack")
    yield made
    made.end()


def optimize(
    model: Path, config: Path, rack: DaskCluster | None = None, device: str | None = None
) -> edgehone.Decision:
    workers = rack.scheduler if rack else None
    return edgehone.optimize(
        model,
        device=device,
        workers=workers,
        workload="tiny",
        effort="quick",
        backends=["null"],
        config_file=config,
    )


def calls(home: Path) -> list[tuple[str, str]]:
    """The finished jobs of a store: call and key."""
    found = home.glob("store/jobs/*/job.json")
    return [(json.loads(path.read_text())["call"], path.parent.name) for path in found]


@pytest.mark.whole
def test_a_worker_killed_in_a_job_loses_nothing_and_counts_nothing_twice(
    rack: DaskCluster, null_model: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEHONE_HOME", str(tmp_path / "alone"))
    alone = optimize(null_model, config)

    own = tmp_path / "own"
    monkeypatch.setenv("EDGEHONE_HOME", str(own))
    for name in ("one", "two"):
        rack.worker(name, "--device", BOARD)
    rack.worker("builder")
    rack.ready(BOARD, BOARD, cluster.BUILD)
    killed: list[str] = []

    def kill_one_at_work() -> None:
        """The first board that is seen in the middle of a job, once one has been finished."""
        while not killed:
            for name in ("one", "two"):
                working = any(rack.home(name).glob("store/work/*/job.json"))
                if working and any("time_requests" in call for call, _ in calls(own)):
                    rack.kill(name)
                    killed.append(name)
                    return
            time.sleep(0.005)

    killer = threading.Thread(target=kill_one_at_work, daemon=True)
    killer.start()
    decision = optimize(null_model, config, rack, BOARD)
    killer.join(timeout=1)
    assert len(killed) == 1

    # The same decision, and the same jobs: each there once, whoever ran it.
    assert decision.chosen == alone.chosen == "null/q8"
    for ours, theirs in zip(decision.candidates, alone.candidates, strict=True):
        assert (ours.key, ours.status, ours.bytes) == (theirs.key, theirs.status, theirs.bytes)
        assert ours.figure("kl_mean") == theirs.figure("kl_mean")
    done = calls(own)
    assert len({key for _, key in done}) == len(done)
    rounds = {c.key: c.figure("workload_latency_ms").n for c in decision.candidates}
    timed = [call for call, _ in done if call.endswith("time_requests")]
    assert len(timed) == sum(n or 0 for n in rounds.values()) + (
        decision.baseline.figure("workload_latency_ms").n or 0
    )
    # Measured on the boards alone, built and scored by the builder; nothing ran here.
    measured = {key for name in ("one", "two") for call, key in calls(rack.home(name))}
    built = {key for _, key in calls(rack.home("builder"))}
    assert not built & measured and {key for _, key in done} <= built | measured
    assert {call for call, key in done if key in built} & {"edgehone.backends.null.backend:quantize"}
    assert decision.candidate("null/q8").facts["proven_on"] == BOARD

    before = sorted(done)
    again = optimize(null_model, config, rack, BOARD)
    assert again.candidates == decision.candidates and sorted(calls(own)) == before


@pytest.mark.whole
def test_workers_that_build_alone_leave_the_measuring_here(
    rack: DaskCluster, null_model: Path, config: Path, own_home: Path
) -> None:
    rack.worker("builder")
    rack.ready(cluster.BUILD)
    decision = optimize(null_model, config, rack)
    assert decision.chosen == "null/q8"
    far = {key for _, key in calls(rack.home("builder"))}
    mine = {call.partition(":")[0] for call, key in calls(own_home) if key not in far}
    assert mine == {"edgehone.worker.speed", "edgehone.worker.memory", "edgehone.worker.score"}


@pytest.mark.whole
def test_a_plain_dask_worker_builds_and_a_host_over_ssh_is_measured(
    rack: DaskCluster, host: sshd.SshServer, null_model: Path, config: Path, own_home: Path
) -> None:
    rack.plain("builder", cluster.BUILD)
    rack.ready(cluster.BUILD)
    decision = optimize(null_model, config, rack, host.url)
    assert decision.chosen == "null/q8"
    assert decision.candidate("null/q8").facts["proven_on"] == host.name
    built, measured = ({key for _, key in calls(place)} for place in (rack.home("builder"), host.home))
    assert built and measured and not built & measured
    assert {key for _, key in calls(own_home)} == built | measured


def test_what_is_named_but_not_there(
    rack: DaskCluster, null_model: Path, config: Path, own_home: Path
) -> None:
    with pytest.raises(SetupError, match="has no worker that builds or is a device") as caught:
        optimize(null_model, config, rack)
    assert caught.value.hint == f"edgehone worker {rack.scheduler}"
    rack.worker("board", "--device", BOARD)
    rack.ready(BOARD)
    with pytest.raises(InputError, match=f"is a 'test-bord'; did you mean '{BOARD}'"):
        optimize(null_model, config, rack, "test-bord")


def test_no_scheduler(
    null_model: Path, config: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 1)
    with pytest.raises(SetupError, match="cannot be reached") as caught:
        edgehone.optimize(null_model, workers="tcp://127.0.0.1:9", backends=["null"], config_file=config)
    assert "dask scheduler" in (caught.value.hint or "")
    with pytest.raises(SetupError, match="cannot be reached"):
        edgehone.optimize(null_model, workers="nonsense://x", backends=["null"], config_file=config)


def test_without_dask_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(SetupError, match="not installed") as caught,
        executors.open_executors(OptimizeOptions("model", workers="tcp://127.0.0.1:9")),
    ):
        pass
    assert caught.value.hint == "pip install 'edgehone[cluster]'"


def test_pictures_that_a_file_names_are_not_sent(tmp_path: Path) -> None:
    named = tmp_path / "pictures.jsonl"
    named.touch()
    with (
        pytest.raises(InputError, match="not sent to workers"),
        executors.open_executors(OptimizeOptions("model", pictures=named, workers="tcp://127.0.0.1:9")),
    ):
        pass
