"""Energy: the counters of a made-up powercap tree, and the arithmetic of their wrap-around."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.backends.sessions import (
    Generation,
    WorkerJob,
)
from edgehone.evaluation.energy import figure as energy_figure
from edgehone.worker import energy

SPAN = 262_143_328_850


def counter(root: Path, name: str, value: str = "1000000") -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "energy_uj").write_text(f"{value}\n")
    (folder / "max_energy_range_uj").write_text(f"{SPAN}\n")
    return folder


def test_no_powercap_is_a_reason(tmp_path: Path) -> None:
    assert energy.why_unreadable(tmp_path / "none") == "this machine shows no RAPL energy counter"
    (tmp_path / "intel-rapl").mkdir()  # the control type, without a package below it
    assert energy.why_unreadable(tmp_path) == "this machine shows no RAPL energy counter"


def test_packages_are_read_and_their_parts_are_not(tmp_path: Path) -> None:
    counter(tmp_path, "intel-rapl:0", "5")
    counter(tmp_path, "intel-rapl:0:0", "3")  # cores: counted in the package already
    counter(tmp_path, "intel-rapl:1", "7")
    counter(tmp_path, "intel-rapl-mmio:0", "9")  # the same package by another way
    assert energy.why_unreadable(tmp_path) is None
    assert energy.read(tmp_path) == [(5, SPAN), (7, SPAN)]


def test_a_counter_that_may_not_be_read_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = counter(tmp_path, "intel-rapl:0")
    (folder / "energy_uj").chmod(0)
    if os.geteuid() == 0:  # root may read all: act as if not

        def denied(self: Path, encoding: str) -> str:
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr(Path, "read_text", denied)
    reason = energy.why_unreadable(tmp_path)
    assert reason == "the RAPL energy counter intel-rapl:0 cannot be read: Permission denied"


def test_a_counter_without_a_range_or_a_number_is_a_reason(tmp_path: Path) -> None:
    folder = counter(tmp_path, "intel-rapl:0")
    (folder / "max_energy_range_uj").unlink()
    assert "intel-rapl:0 cannot be read: No such file" in (energy.why_unreadable(tmp_path) or "")
    (folder / "max_energy_range_uj").write_text("")
    assert "does not hold a number" in (energy.why_unreadable(tmp_path) or "")


@given(st.lists(st.tuples(st.integers(0, SPAN - 1), st.integers(0, SPAN - 1)), min_size=1, max_size=4))
def test_joules_are_right_across_one_wrap_around(packages: list[tuple[int, int]]) -> None:
    before = [(start, SPAN) for start, _ in packages]
    after = [((start + spent) % SPAN, SPAN) for start, spent in packages]
    assert energy.joules(before, after) == pytest.approx(sum(spent for _, spent in packages) / 1e6)


def test_a_lost_counter_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        energy.joules([(0, SPAN), (0, SPAN)], [(1, SPAN)])


def test_the_figure_has_the_samples_interval() -> None:
    figure = energy_figure({"joules": [2.0, 4.0]})
    assert figure.value == 3.0 and figure.n == 2 and figure.unit == "J"
    assert figure.low == 0.0  # no request gives energy back
    assert figure.high is not None and figure.high > 4


def test_the_meter_gives_joules_a_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spent = 0

    class Session:
        def generate(self, ids: list[int], count: int, on_token: object = None) -> Generation:
            nonlocal spent
            spent += 250_000  # µJ
            return Generation(0.0, [1] * count, [0.0] * count)

        def close(self) -> None:
            pass

    module = types.ModuleType("burning_backend")
    module.open_session = lambda artifact, settings, job: Session()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "burning_backend", module)
    monkeypatch.setattr(energy, "read", lambda: [(spent % 10**12, 10**12)])
    monkeypatch.setattr(energy, "SAMPLE_SECONDS", 0.001)
    args = {"backend": "burning_backend", "settings": {}, "prompt": [1], "generated": 2}
    job = WorkerJob(args, {"artifact": tmp_path}, tmp_path, None, 1, lambda fraction, what: None)
    facts = energy.meter(job)
    assert facts["joules"] == [pytest.approx(0.25)] * energy.SAMPLES
