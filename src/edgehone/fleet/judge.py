"""Whether a wave passes, waits, or halts the release: from the reports of its devices.

Failures and good ends are counted over devices that could take the release. Both limits are those of sequences that
hold at any time (`upper_level`), so it does no harm to look at every report: a release whose devices fail with a
probability of at most `limit` is ever halted, in any wave, with a probability of at most `alpha`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from edgehone.fleet.channel import Channel, moment
from edgehone.fleet.report import Report
from edgehone.fleet.rules import JudgeRules
from edgehone.fleet.waves import wave_of
from edgehone.rollout.decision.evidence import upper_level

# What became of the release on a device; "silent": begun so long ago that it counts as failed.
Became = Literal["good", "failed", "silent", "unable", "started", "waits"]


@dataclass(frozen=True)
class Count:
    """The devices of a wave that have ever reported, by what became of the release."""

    wave: str
    devices: Mapping[str, Became]

    def of(self, *became: Became) -> int:
        """Return how many there are of these."""
        return sum(one in became for one in self.devices.values())

    @property
    def bad(self) -> int:
        """Devices that speak against the release."""
        return self.of("failed", "silent")

    @property
    def ended(self) -> int:
        """Devices that speak for or against it."""
        return self.bad + self.of("good")

    @property
    def complete(self) -> bool:
        """Whether no device of the wave is still to end."""
        return self.of("started", "waits") == 0


@dataclass(frozen=True)
class Judgement:
    """What to do with a wave, and why."""

    action: Literal["wait", "pass", "halt"]
    reason: str


def counts(channel: Channel, reports: Iterable[Report], rules: JudgeRules, now: datetime) -> list[Count]:
    """Return the devices of each wave."""
    found: list[dict[str, Became]] = [{} for _ in channel.waves]
    latest = now - timedelta(hours=rules.silent_hours)
    for report in reports:
        wave = wave_of(channel.waves, report.device, report.labels, channel.release.manifest)
        if wave < len(found):
            found[wave][report.device] = _became(channel, report, latest)
    return [Count(wave.name, devices) for wave, devices in zip(channel.waves, found, strict=True)]


def _became(channel: Channel, report: Report, latest: datetime) -> Became:
    outcome = report.outcome(channel.release.manifest)
    if outcome is None:
        return "good" if report.manifest == channel.release.manifest else "waits"
    if outcome.result == "started" and moment(channel.opened) < latest and moment(outcome.at) < latest:
        return "silent"
    return outcome.result


def bounds(count: Count, rules: JudgeRules, waves: int) -> tuple[float, float]:
    """Return the least and the largest share of failures that the reports of a wave are compatible with."""
    ended = count.ended
    low = 1 - upper_level(ended - count.bad, ended, rules.alpha / waves) if ended else 0.0
    return low, upper_level(count.bad, ended, rules.pass_alpha)


def judge(count: Count, rules: JudgeRules, waves: int) -> Judgement:
    """Return what to do with a wave, of so many."""
    low, high = bounds(count, rules, waves)
    told = f"{count.wave}: {count.bad} of {count.ended} devices failed"
    if low > rules.limit:
        return Judgement("halt", f"{told}; at least {low:.1%} fail, and the limit is {rules.limit:.1%}")
    if count.complete and count.ended and count.bad / count.ended > rules.limit:
        return Judgement("halt", f"{told}, all of the wave have ended, and the limit is {rules.limit:.1%}")
    if count.of("good") < rules.least_good:
        return Judgement("wait", f"{told}; no device of {len(count.devices)} is good yet" if count.devices else
                         f"{count.wave}: no device has reported")  # fmt: skip
    if high <= rules.limit:
        return Judgement("pass", f"{told}; at most {high:.1%} fail, and the limit is {rules.limit:.1%}")
    if count.complete:
        return Judgement("pass", f"{told}, and all of the wave have ended")
    waiting = count.of("started", "waits")
    return Judgement("wait", f"{told}; {waiting} of {len(count.devices)} have not ended")
