"""Profiles of real processes: the null backend's bundle, one that is killed half-way, and invalid requests."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from edgehone.cli.main import main
from edgehone.core.errors import InputError
from edgehone.profiling import profile
from edgehone.profiling.text import profile_text, sparkline
from edgehone.profiling.watch import SystemWatch
from edgehone.worker.profile_workload import MARK, slices_of
from tests.finished import Finished

pytestmark = pytest.mark.xdist_group("measures")


def test_a_profile(finished: Finished) -> None:
    made = profile(finished.bundle, seconds=1.5)
    assert made.error is None and made.candidate.startswith("null/")
    count = made.figures["requests"].value
    assert count and count >= 3
    # The null backend hardly uses the processor: it is slowed down to the times that it computes.
    assert made.figures["cpu_use"].value is not None and made.figures["cpu_use"].value < 0.8
    assert sum(one["n"] for one in made.slices) == count
    assert {one.phase for one in made.operators} == {"prefill", "decode"}
    assert made.figures["load_warm_ms"].value
    assert len(made.timeline) >= 3 and made.timeline[-1].at > 0
    text = profile_text(made)
    assert "null/" in text and "requests/s" in text and max(map(len, text.splitlines())) <= 110


def test_a_process_that_is_killed_half_way_leaves_what_was_seen(finished: Finished) -> None:
    class Killer(SystemWatch):
        def sample(self, pid: int) -> None:
            super().sample(pid)
            if MARK in Path(f"/proc/{pid}/cwd/log.txt").read_text("utf-8"):
                os.kill(pid, signal.SIGKILL)

    made = profile(finished.bundle, seconds=60, watch=Killer)
    assert made.error and "killed by signal 9" in made.error
    assert made.log and Path(made.log).is_file()
    assert made.slices and made.figures["requests"].value and made.figures["load_cold_ms"].value
    assert not made.operators and made.operators_reason
    assert "The process failed before the end" in profile_text(made)


def test_the_command_line_shows_it_and_writes_it(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "profile.json"
    words = [
        "profile",
        str(finished.bundle),
        "--duration",
        "1s",
        "--no-operators",
        "--out",
        str(out),
        "--json",
    ]
    assert main(words) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(out.read_text("utf-8"))
    assert printed["operators_reason"] == "not requested"
    assert {one["name"] for one in printed["bottlenecks"]} >= {"cpu_bound", "memory_bound", "throttled"}


@pytest.mark.whole
def test_several_clients_at_once(finished: Finished) -> None:
    alone, four = (profile(finished.bundle, seconds=1.2, concurrency=n, operators=False) for n in (1, 4))
    assert (alone.concurrency, four.concurrency) == (1, 4)
    # The null backend serves several requests in the time of one.
    assert (four.figures["requests_per_s"].value or 0) > 1.5 * (alone.figures["requests_per_s"].value or 0)


def test_what_cannot_be_profiled(finished: Finished, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too short"):
        profile(finished.bundle, seconds=0.2)
    with pytest.raises(InputError, match="no such bundle"):
        profile(tmp_path / "none")
    with pytest.raises(InputError, match="takes no samples"):
        profile(finished.bundle, seconds=1, samples_file=tmp_path / "x.npz")
    with pytest.raises(InputError, match="--concurrency is 0"):
        profile(finished.bundle, seconds=1, concurrency=0)
    assert main(["profile", str(finished.bundle), "--duration", "soon"]) == 2


def test_a_broken_artifact_is_told_and_the_rest_shown(finished: Finished, spoiled: Path) -> None:
    (spoiled / "artifact" / "likeliest.bin").unlink()
    # The prompt's ids are known from the store only where the artifact is whole; here even that fails.
    made = profile(spoiled, seconds=1)
    assert made.error and "No such file" in made.error
    assert made.figures["requests"].value == 0


def test_slices_are_read_from_a_log_with_noise_and_a_cut_line() -> None:
    told = json.dumps({"from": 0.0, "to": 0.5, "n": 3, "mean": 0.1, "max": 0.2})
    log = f"loading…\n{MARK}{told}\nnoise {MARK}{told}\n{MARK}{told[:20]}"
    assert [one["n"] for one in slices_of(log)] == [3, 3]


def test_sparklines() -> None:
    assert sparkline([0.0, 1.0], 1.0) == "▁█"
    assert len(sparkline([1.0] * 1000, width=50)) <= 50
    assert sparkline([0.0, 0.0]) == "▁▁"
