"""The main job with a device over SSH, against a real server: what runs there, and what it survives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import edgehone
from edgehone.backends.openvino import backend as openvino
from edgehone.device.detect import detect
from edgehone.execution.home import home
from tests import sshd
from tests.recipes import FEW_ROUNDS, only


def optimize(
    model: Path, config: Path, host: sshd.SshServer, out: Path | None = None, time: float | None = None
) -> edgehone.Decision:
    return edgehone.optimize(
        model,
        device=host.url,
        workload="tiny",
        effort="quick",
        backends=["null"],
        out=out,
        config_file=config,
        time=time,
    )


def jobs(home: Path) -> dict[str, tuple[int, str, bool]]:
    """Finished jobs: the inode of the result, the call, and whether it was a measurement, by key."""
    found = {}
    for path in home.glob("store/jobs/*/result.json"):
        job = json.loads((path.parent / "job.json").read_text())
        found[path.parent.name] = (path.stat().st_ino, job["call"], "at" in job["also"])
    return found


@pytest.mark.whole
def test_what_needs_the_device_runs_there_and_nothing_twice(
    own_home: Path, null_model: Path, config: Path, host: sshd.SshServer, tmp_path: Path
) -> None:
    decision = optimize(null_model, config, host, tmp_path / "bundle")
    assert decision.chosen == "null/q8"
    assert decision.device["fingerprint"] == detect().fingerprint
    chosen = decision.candidate("null/q8")
    assert chosen.facts["proven_on"] == host.name
    assert chosen.figure("kl_mean").n and chosen.figure("workload_latency_ms").value
    assert any(host.name in note for note in decision.notes)

    here, there = jobs(own_home), jobs(host.home)
    # Built and scored here; measured there, where the chosen one was scored too, on windows and on the workload's whole
    # context. Both sides keep what ran there.
    assert set(there) == {key for key, (_, _, at) in here.items() if at}
    calls = sorted(call.rpartition(".")[2] for _, call, _ in there.values())
    assert calls.count("score:score") == 2 and calls.count("memory:exercise") == 4
    assert not any("null:" in call for call in calls)
    assert chosen.figure("peak_memory_bytes").value  # sampled by that side
    assert edgehone.verify(edgehone.read(tmp_path / "bundle")) == []

    again = optimize(null_model, config, host)
    assert again.candidates == decision.candidates
    assert (jobs(own_home), jobs(host.home)) == (here, there)


@pytest.mark.whole
def test_a_search_races_and_tunes_there(
    own_home: Path, null_model: Path, config: Path, host: sshd.SshServer
) -> None:
    decision = optimize(null_model, config, host, time=300)
    chosen = decision.candidate(decision.chosen or "")
    assert chosen.key.startswith("null/q8")
    assert chosen.facts["proven_on"] == host.name
    assert decision.candidate("null/f32").facts["raced_out"]
    assert chosen.facts.get("tuning") or chosen.facts.get("untuned")
    # Every round and every setting was measured there, none here.
    here, there = jobs(own_home), jobs(host.home)
    timed = {key for key, (_, call, _) in here.items() if call.endswith("time_requests")}
    assert timed and timed <= set(there)


@pytest.mark.whole
def test_this_side_lost_its_store_and_the_host_redoes_nothing(
    null_model: Path, config: Path, host: sshd.SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEHONE_HOME", str(tmp_path / "first"))
    decision = optimize(null_model, config, host)
    there = jobs(host.home)
    monkeypatch.setenv("EDGEHONE_HOME", str(tmp_path / "second"))
    again = optimize(null_model, config, host)
    assert jobs(host.home) == there
    measured = {c.key: c.figure("workload_latency_ms") for c in decision.candidates}
    assert {c.key: c.figure("workload_latency_ms") for c in again.candidates} == measured


@pytest.mark.whole
def test_a_connection_that_is_cut_in_a_job_ends_the_run_and_the_next_goes_on(
    null_model: Path, config: Path, host: sshd.SshServer, tmp_path: Path
) -> None:
    own = tmp_path / "home"
    words = f"optimize --workload tiny --effort quick --backends null --device {host.url} --config"
    command = [sys.executable, "-m", "edgehone.cli.main", *words.split(), str(config), str(null_model)]
    command += ["--out", str(tmp_path / "bundle")]
    environment = {**os.environ, "EDGEHONE_HOME": str(own)}
    run = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while len(jobs(host.home)) < 3 or not list(host.home.glob("store/work/*")):
        assert time.monotonic() < deadline and run.poll() is None
        time.sleep(0.02)
    host.cut()
    _, said = run.communicate(timeout=60)
    assert run.returncode == 2
    assert f"error: {host.name}: the connection was lost" in said and "run the same command again" in said
    assert "Traceback" not in said
    there = jobs(host.home)
    while _working(host.home):  # the job that was running ends with the connection
        assert time.monotonic() < deadline
        time.sleep(0.05)

    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert there.items() <= jobs(host.home).items()
    assert edgehone.read(tmp_path / "bundle").decision.chosen == "null/q8"


def _working(home: Path) -> bool:
    """Whether a process of a job runs with its files below `home`."""
    lines = (path for path in Path("/proc").glob("[0-9]*/cmdline"))
    for path in lines:
        try:
            if str(home / "store" / "work") in path.read_bytes().decode(errors="replace"):
                return True
        except OSError:
            continue
    return False


@pytest.mark.real
@pytest.mark.xdist_group("measures")
def test_a_real_runtime_is_measured_there(
    host: sshd.SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, openvino, "fp32", "int8_performance")
    (tmp_path / "few.toml").write_text(FEW_ROUNDS)
    shared = home()
    own = tmp_path / "own"
    for place in (own, host.home):
        place.mkdir(exist_ok=True)
        (place / "envs").symlink_to(shared / "envs")
    monkeypatch.setenv("EDGEHONE_HOME", str(own))
    digits = Path(edgehone.__file__).with_name("data") / "digits"
    decision = edgehone.optimize(
        digits / "digits.onnx",
        device=host.url,
        evaluation=digits / "evaluation.npz",
        backends=["openvino"],
        effort="quick",
        gates=["gain=off", "loss=off"],
        when_busy="measure",  # tests beside it keep the machine busy
        subject_to=["bytes<=200kB"],  # the original has 260 kB and is faster
        config_file=tmp_path / "few.toml",
        out=tmp_path / "bundle",
    )
    chosen = decision.candidate(str(decision.chosen))
    assert chosen.backend == "openvino" and chosen.facts["proven_on"] == host.name
    assert chosen.figure("workload_latency_ms").value and chosen.figure("peak_memory_bytes").value
    called = {call for _, call, _ in jobs(host.home).values()}
    assert "edgehone.worker.score_graph:outputs" in called and "edgehone.worker.throughput:sweep" in called
    assert not any(call.startswith("edgehone.backends") for call in called)
    assert edgehone.verify(edgehone.read(tmp_path / "bundle")) == []
