"""Waves: which devices are in them, and what is concluded from their reports."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.core.errors import InputError
from edgehone.fleet.channel import Channel, Wave, written
from edgehone.fleet.judge import Became, Count, counts, judge
from edgehone.fleet.report import Outcome, Report, Result
from edgehone.fleet.rules import judge_rules, merged
from edgehone.fleet.waves import allowed, parse_labels, parse_waves, wave_of
from tests.fleet.test_accept import NAME, NOW, channel, release

RULES = judge_rules()


def two_waves(open_: int = 1) -> Channel:
    waves = parse_waves(["20%"])
    return replace(channel(number=2), waves=waves, open=open_, before=release(1, "b"))


def report(device: str, result: Result | None, hours: float = 0, **labels: str) -> Report:
    at = written(NOW - timedelta(hours=hours))
    made = Outcome(release=2, manifest=release().manifest, result=result or "good", reason="", at=at)
    return Report(
        channel=NAME,
        device=device,
        labels=labels,
        version=1,
        runs=1,
        manifest=None,
        outcomes=(made,) if result else (),
        note="",
        at=at,
    )


def test_waves_end_with_all_devices() -> None:
    assert [one.name for one in parse_waves([])] == ["all"]
    assert [one.name for one in parse_waves(["site=lab", "10 %", "50%"])] == ["site=lab", "10%", "50%", "all"]
    assert len(parse_waves(["100%"])) == 1
    assert parse_waves(["site=lab,ring=0"])[0].labels == {"site": "lab", "ring": "0"}


@pytest.mark.parametrize(
    "words",
    [["0%"], ["101%"], ["-5%"], ["lab"], ["=x"], ["a="], [""], ["50%", "10%"], ["10%", "10%"], ["a=b,a=c"],
     ["a=b", "a=b"], ["ten%"], ["1e3%"]],
)  # fmt: skip
def test_wrong_waves_are_refused(words: list[str]) -> None:
    with pytest.raises(InputError) as found:
        parse_waves(words)
    assert found.value.hint


@given(st.text(max_size=30))
def test_any_text_is_a_wave_or_a_clear_error(text: str) -> None:
    try:
        waves = parse_waves([text])
    except InputError as error:
        assert error.hint
    else:
        assert waves[-1].share == 1


def test_labels_are_checked() -> None:
    assert parse_labels(["site=lab"]) == {"site": "lab"}
    with pytest.raises(InputError):
        parse_labels(["site"])


@given(st.sampled_from([0.05, 0.2, 0.5]), st.text(min_size=1, max_size=10))
def test_shares_hold_and_waves_only_grow(share: float, salt: str) -> None:
    small = (Wave(name="first", share=share), Wave(name="all", share=1.0))
    larger = (Wave(name="first", share=min(share * 1.5, 1)), Wave(name="all", share=1.0))
    devices = [f"d{number}" for number in range(2000)]
    first = {one for one in devices if wave_of(small, one, {}, salt) == 0}
    assert abs(len(first) / 2000 - share) < 0.06
    assert first <= {one for one in devices if wave_of(larger, one, {}, salt) == 0}


def test_labels_choose_devices() -> None:
    waves = parse_waves(["site=lab", "10%"])
    assert wave_of(waves, "anything", {"site": "lab", "more": "x"}, "s") == 0
    assert wave_of(waves, "anything", {"site": "shop"}, "s") > 0


def test_devices_of_open_waves_get_the_release_and_others_the_one_before() -> None:
    one = two_waves()
    inside = next(f"d{n}" for n in range(99) if wave_of(one.waves, f"d{n}", {}, one.release.manifest) == 0)
    outside = next(f"d{n}" for n in range(99) if wave_of(one.waves, f"d{n}", {}, one.release.manifest) == 1)
    assert allowed(one, inside, {}) == one.release and allowed(one, outside, {}) == one.before
    assert allowed(two_waves(2), outside, {}) == one.release
    halted = replace(one, halted="bad")
    assert allowed(halted, inside, {}) == one.before and allowed(halted, outside, {}) == one.before
    assert allowed(replace(one, before=None), outside, {}) is None


def wave(good: int = 0, failed: int = 0, **more: int) -> Count:
    kinds: dict[str, int] = {"good": good, "failed": failed, **more}
    devices: dict[str, Became] = {f"{kind}{n}": kind for kind, count in kinds.items() for n in range(count)}  # type: ignore[misc]
    return Count("10%", devices)


@pytest.mark.parametrize(
    ("count", "action"),
    [
        (wave(), "wait"),
        (wave(waits=5), "wait"),
        (wave(unable=5), "wait"),  # no data is no success
        (wave(good=1, waits=9), "wait"),
        (wave(good=1), "pass"),  # all of the wave have ended
        (wave(good=4, unable=1), "pass"),
        (wave(failed=1, waits=9), "wait"),  # one of one says little yet
        (wave(failed=2, waits=8), "halt"),
        (wave(silent=2, waits=8), "halt"),
        (wave(good=2, failed=3, waits=5), "halt"),
        (wave(good=6, failed=1, waits=3), "wait"),
        (wave(good=9, failed=1), "halt"),  # a tenth of the whole wave
        (wave(good=99, failed=1), "pass"),
        (wave(good=200, waits=50), "pass"),  # shown, without the others
        (wave(good=30, waits=50), "wait"),
    ],
)
def test_waves_are_judged(count: Count, action: str) -> None:
    found = judge(count, RULES, 2)
    assert found.action == action and found.reason


def test_a_release_within_the_limit_is_seldom_halted_however_often_one_looks() -> None:
    chance, halted = random.Random(1), 0
    for _ in range(400):
        good = failed = 0
        for _ in range(60):
            bad = chance.random() < RULES.limit
            good, failed = good + (not bad), failed + bad
            if judge(wave(good=good, failed=failed, waits=1), RULES, 1).action == "halt":
                halted += 1
                break
    assert halted / 400 <= RULES.alpha


def test_reports_are_counted_by_wave_and_silence_is_failure() -> None:
    one = replace(two_waves(), opened=written(NOW - timedelta(hours=48)))
    devices = [f"d{n}" for n in range(60)]
    inside = [name for name in devices if wave_of(one.waves, name, {}, one.release.manifest) == 0]
    reports = [
        report(inside[0], "good"),
        report(inside[1], "failed"),
        report(inside[2], "started", hours=30),
        report(inside[3], "started", hours=1),
        report(inside[4], None),
        report(inside[5], "unable"),
    ]
    found = counts(one, reports, RULES, NOW)[0].devices
    assert [found[name] for name in inside[:6]] == ["good", "failed", "silent", "started", "waits", "unable"]


@pytest.mark.parametrize(
    ("table", "entry"),
    [("judge", {"limit": 0}), ("judge", {"limit": 1.5}), ("judge", {"limits": 0.1}), ("agent", {"most_tries": 0.5}),
     ("agent", {"poll_seconds": "soon"}), ("agent", {"poll_seconds": True}), ("channel", {"expires_days": -1})],
)  # fmt: skip
def test_wrong_rules_are_refused(table: str, entry: dict[str, object]) -> None:
    with pytest.raises(InputError) as found:
        merged(table, entry, "a file")
    assert found.value.hint and next(iter(entry)) in found.value.message
