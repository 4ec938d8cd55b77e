"""What is measured, without a server: callers, confidence, feedback, energy, the machine, changed files."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.attestation.files import state_of
from edgehone.serve.measured import changed, confidence, recent, usage
from edgehone.serve.measured.callers import INVALID, NONE, OTHER, Callers
from edgehone.serve.measured.energy import EnergyReader
from edgehone.serve.measured.histogram import Histogram, family
from edgehone.serve.measured.machine import MachineReader
from edgehone.serve.measured.processes import read_processes
from edgehone.serve.measured.waits import Waits
from edgehone.serve.observation import Observation

# Callers


@given(st.lists(st.tuples(st.binary(max_size=80), st.binary(max_size=80)), max_size=60))
def test_callers_are_few_and_their_labels_are_plain_whatever_the_headers_have(pairs: list[Any]) -> None:
    callers = Callers("X-Tenant", "X-Route", 8)
    found = [callers.of([(b"host", b"x"), (b"x-tenant", one), (b"x-route", two)]) for one, two in pairs]
    assert len(set(found)) <= 9
    assert all(
        label.isascii() and label.isprintable() and 0 < len(label) <= 64 for pair in found for label in pair
    )
    assert found == [callers.of([(b"x-route", two), (b"x-tenant", one)]) for one, two in pairs]


def test_ten_thousand_tenants_are_other_beyond_the_first_ones() -> None:
    callers = Callers("X-Tenant", "X-Route", 64)
    found = [callers.of([(b"x-tenant", b"t%d" % number)]) for number in range(10_000)]
    assert len(set(found)) == 65 and found[63] == ("t63", NONE) and found[64] == (OTHER, OTHER)
    assert (
        callers.of([(b"x-tenant", b"t9999")]) == (OTHER, OTHER)
        and callers.of([(b"x-tenant", b"t5")])[0] == "t5"
    )
    assert len(callers._found) <= 4096


def test_a_header_that_is_missing_or_no_name_is_told_as_that() -> None:
    callers = Callers("Team", "X-Route", 64)
    assert callers.of([]) == (NONE, NONE)
    assert callers.of([(b"team", b"a b"), (b"x-route", b"/v1/x")]) == (INVALID, INVALID)
    assert callers.of([(b"team", b"a@b.c/d:e-f_g")]) == ("a@b.c/d:e-f_g", NONE)


# Confidence


@given(
    st.integers(2, 40).flatmap(
        lambda count: st.lists(
            st.lists(st.floats(-50, 50, width=32), min_size=count, max_size=count), min_size=1, max_size=5
        )
    )
)
def test_the_confidence_of_scores_is_in_its_range_and_right(rows: list[list[float]]) -> None:
    scores = np.array(rows, np.float32)
    entropies, margins, classes = confidence.of_scores(scores)
    for row, entropy, margin, chosen in zip(scores.astype(float), entropies, margins, classes, strict=True):
        p = np.exp(row - row.max())
        p = row if (row >= 0).all() and abs(row.sum() - 1) < 1e-3 else p / p.sum()
        first, second = sorted(p)[-1:-3:-1]
        expected = -sum(one * math.log(one) for one in p if one > 0) / math.log(len(p))
        assert entropy == pytest.approx(min(1, max(0, expected)), abs=1e-5) and 0 <= entropy <= 1
        assert margin == pytest.approx(min(1, first - second), abs=1e-5) and 0 <= margin <= 1
        assert row[chosen] == row.max()


def test_sure_and_unsure_answers_are_at_the_ends() -> None:
    entropies, margins, _ = confidence.of_scores(np.array([[1.0, 0.0, 0.0], [1 / 3] * 3, [9.0, 9.0, 9.0]]))
    assert entropies == pytest.approx([0, 1, 1]) and margins == pytest.approx([1, 0, 0])


def test_scores_that_are_no_numbers_give_no_confidence() -> None:
    record = SimpleNamespace(scores=None, entropy=None, margin=None, classes=None)
    rows = np.array([[np.nan, 1.0]], np.float32)
    record.scores = SimpleNamespace(array=rows)
    confidence.fill_classes([record])  # type: ignore[list-item]
    assert record.entropy is None and record.margin is None


def test_the_confidence_of_a_token_is_a_bound_by_the_likeliest() -> None:
    logs = [math.log(one) for one in (0.5, 0.25, 0.125)]
    entry = {"top_logprobs": [{"logprob": one} for one in logs]}
    found = confidence.of_token(entry, 1024)
    assert found is not None
    assert found[0] == pytest.approx(1.75 * math.log(2) / math.log(1024)) and found[1] == pytest.approx(0.25)
    assert confidence.of_token({"top_logprobs": [{"logprob": 0.0}]}, 1024) is None


# Feedback


def answer(number: str, **more: Any) -> Observation:
    return Observation(at=0.0, model="m", status=more.pop("status", 200), id=number, **more)


def test_answers_are_remembered_by_their_ids_as_long_and_as_many_as_said() -> None:
    now = [0.0]
    kept = recent.Recent(most=3, seconds=10, clock=lambda: now[0])
    for number in range(5):
        kept.observe(answer(str(number)))
    kept.observe(answer("failed", status=503))
    kept.observe(answer(""))
    assert len(kept._answers) == 3
    for gone in ("0", "1", "failed", ""):
        with pytest.raises(recent.Unknown):
            kept.find(gone)
    assert kept.find("4").model == "m"
    now[0] = 11
    with pytest.raises(recent.Unknown):
        kept.find("4")


def test_a_flood_of_feedback_on_an_answer_counts_once() -> None:
    kept = recent.Recent()
    kept.observe(answer("1", classes=[2]))
    given = kept.find("1")
    assert [one.correct for one in recent.say("1", given, None, [2], None)] == [True]
    for _ in range(1000):
        with pytest.raises(recent.Repeated, match="label"):
            recent.say("1", kept.find("1"), "bad", [1], None)
    assert recent.say("1", given, "bad", None, 0.5)[0].verdict == "bad"


# Usage


def test_energy_is_shared_out_by_the_seconds_in_the_engine_and_nobodys_without_requests() -> None:
    joules = [0.0]
    used = usage.Usage(lambda: joules[0])
    energy = "edgehone_tenant_energy_joules"

    def told() -> dict[str, float]:
        found = next(one for one in used.collect() if one.name == energy)
        return {one.labels["tenant"]: one.value for one in found.samples}

    joules[0] = 100  # before any request
    assert told() == {}
    used.observe(answer("1", tenant="a", engine_seconds=3.0))
    used.observe(answer("2", tenant="b", engine_seconds=1.0))
    joules[0] = 140
    assert told() == {"a": 30, "b": 10}
    joules[0] = 150
    assert told() == {"a": 30, "b": 10}


def test_without_a_price_or_a_counter_there_is_no_cost_and_no_energy() -> None:
    names = {one.name for one in usage.Usage(lambda: None).collect()}
    assert names == {f"edgehone_tenant_{name}" for name in ("requests", "tokens", "engine_seconds")}


def test_counters_of_energy_wrap_around(tmp_path: Path) -> None:
    counter = tmp_path / "intel-rapl:0"
    counter.mkdir()
    (counter / "max_energy_range_uj").write_text("100000000")
    (counter / "energy_uj").write_text("90000000")
    reader = EnergyReader(tmp_path)
    assert reader.reason is None and reader.read() == 0
    (counter / "energy_uj").write_text("5000000")
    assert reader.read() == pytest.approx(15)
    (counter / "energy_uj").write_text("broken")
    assert reader.read() == pytest.approx(15)


def test_a_machine_without_counters_says_why(tmp_path: Path) -> None:
    reader = EnergyReader(tmp_path)
    assert reader.read() is None and "RAPL" in str(reader.reason)


# The machine


def machine_files(root: Path, throttles: int, celsius: int) -> None:
    cpu = root / "sys/devices/system/cpu/cpu0"
    zone = root / "sys/class/thermal/thermal_zone0"
    for path, text in (
        (cpu / "cpufreq/scaling_cur_freq", "1800000"),
        (cpu / "thermal_throttle/core_throttle_count", str(throttles)),
        (zone / "type", "cpu-thermal"),
        (zone / "temp", str(celsius)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_the_machine_is_read_from_its_files(tmp_path: Path) -> None:
    machine_files(tmp_path, 5, 61_500)
    proc = tmp_path / "proc"
    (proc / "pressure").mkdir(parents=True)
    (proc / "stat").write_text("cpu 1 0 1 100 0 0 0 0\n")
    (proc / "pressure/cpu").write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=1000\n")
    reader = MachineReader({"state": tmp_path, "gone": tmp_path / "gone"}, tmp_path / "sys", proc)
    first = reader.read()
    assert first.celsius == {"thermal_zone0 cpu-thermal": 61.5} and first.hertz == 1.8e9
    assert first.throttled is False and first.cpu_pressure is None
    assert first.disk_free_bytes.keys() == {"state"}
    machine_files(tmp_path, 6, 90_000)
    (proc / "pressure/cpu").write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=2000\n")
    second = reader.read()
    assert second.throttled is True and second.cpu_pressure is not None and 0 < second.cpu_pressure <= 1


def test_a_machine_that_tells_nothing_has_reasons(tmp_path: Path) -> None:
    found = MachineReader({}, tmp_path / "sys", tmp_path / "proc").read()
    assert (
        not found.celsius and found.hertz is None and found.throttled is None and found.cpu_pressure is None
    )
    assert found.reasons.keys() == {"temperature", "frequency", "throttled", "cpu_pressure"}


def test_processes_that_have_ended_are_left_out() -> None:
    (one,) = read_processes([("server", "", (os.getpid(),)), ("engine", "m", (2**22 + 1,))])
    assert one.part == "server" and one.cpu_seconds > 0 and one.resident_bytes > 1e6


# Histograms


@given(st.lists(st.floats(0, 2), max_size=50))
def test_a_histogram_counts_values_up_to_each_bound(values: list[float]) -> None:
    one = Histogram((0.1, 0.5, 1.0))
    for value in values:
        one.observe(value)
    samples = {s.labels.get("le", s.name): s.value for s in family("x", "text", {"m": one}).samples}
    assert samples["0.5"] == sum(value <= 0.5 for value in values)
    assert samples["+Inf"] == samples["x_count"] == len(values) and samples["x_sum"] == pytest.approx(
        sum(values)
    )


# Changed files


def looked(folder: Path) -> changed.Looked:
    """Return what was seen of a folder whose manifest names all files but itself."""
    files = {"artifact/model.bin": changed._digest(folder / "artifact/model.bin")}
    served: Any = SimpleNamespace(
        bundle=SimpleNamespace(path=folder, manifest=SimpleNamespace(files=files)),
        trusted=SimpleNamespace(verified=SimpleNamespace(state=state_of(folder))),
    )
    return changed.Looked(served)


def test_changed_added_and_removed_files_are_counted_and_the_others_are_not_read(tmp_path: Path) -> None:
    model = tmp_path / "artifact/model.bin"
    model.parent.mkdir()
    model.write_bytes(b"weights")
    (tmp_path / "certificate.json").write_text("{}")
    seen = looked(tmp_path)

    def names() -> list[str]:
        return list(seen.changed)

    assert not seen.look() and not names()
    model.touch()  # other times, the same content
    assert not seen.look() and not names()
    model.write_bytes(b"weighty")
    (tmp_path / "certificate.json").write_text('{"approval": "yes"}')
    (tmp_path / "extra").write_text("")
    assert seen.look() and names() == ["artifact/model.bin", "certificate.json", "extra"]
    assert not seen.look()
    model.write_bytes(b"weights")
    (tmp_path / "certificate.json").write_text("{}")
    (tmp_path / "extra").unlink()
    assert seen.look() and not names()
    model.unlink()
    assert seen.look() and names() == ["artifact/model.bin"]


# Waits for the disk


def test_a_write_that_waits_is_told_and_one_that_computes_is_not() -> None:
    waits = Waits()
    assert waits.seconds == 0
    computed = []
    for _ in range(5):  # a machine that is frozen for a moment looks like a wait
        with waits.timing():
            end = time.thread_time() + 0.05
            while time.thread_time() < end:
                pass
        computed.append(waits.seconds)
    with waits.timing():
        time.sleep(0.2)
        assert waits.seconds >= 0.2  # while it lasts
    assert min(computed) < 0.2 <= waits.seconds + 0.01
    with pytest.raises(OSError, match="full"), waits.timing():
        raise OSError("full")
    assert waits.seconds < 0.2
