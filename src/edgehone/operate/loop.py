"""The loop of one server: watch, diagnose, remedy, verify, escalate.

Each look takes the present state from the journal, so that the program can be killed and started again at any moment.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgehone.core.errors import EdgehoneError, InputError
from edgehone.diagnosis.causes import Cause
from edgehone.diagnosis.service import judge_service
from edgehone.monitor.alert import Baselines
from edgehone.monitor.baseline import read_baselines
from edgehone.monitor.evaluate import Firing
from edgehone.operate.actions.all import plan_all
from edgehone.operate.actions.plan import Case, Plan, Planned
from edgehone.operate.actions.reoptimize import plan as plan_samples
from edgehone.operate.calls import ESCALATED, ESCALATING, Calls
from edgehone.operate.chain import Chain
from edgehone.operate.helped import Judged
from edgehone.operate.journal import Incident, Journal, Tried
from edgehone.operate.options import HUMANS, ORDER, PATIENCE, Options, Say
from edgehone.operate.remedies import fitting
from edgehone.operate.seeing import MachineHistory, diagnose_facts, watched
from edgehone.operate.server import Declined, Look, Server, Unreachable
from edgehone.operate.story import figure
from edgehone.operate.treatment import DRIFTED, RESTARTED, Treatment
from edgehone.operate.watching import Key, Watcher

_HOUR = 3600.0
# An alert may hold long after its cause is over. Seconds of measurements that decide whether it still exists.
_WELL_SECONDS = 60.0
# Seconds for which the right to operate lasts; each look renews it. A successor of a killed run waits at most as long.
_LEASE_SECONDS = 60.0
# NTP slews a clock by less than a thousandth, and steps it beyond 0.1 s when it starts.
_JUMP_SECONDS = 2.0


# What an incident is about: a model, a symptom, and an alert where each is an incident of its own.
Subject = tuple[str | None, str, str]


class Operator:
    """Operates one server."""

    def __init__(self, server: Server, folder: Path, options: Options, say: Say) -> None:
        """`folder` keeps the journal and the stories. Raises InputError, SetupError; Unreachable."""
        self._server, self._options, self._say, self._folder = server, options, say, folder
        look = server.look()
        self._journal = Journal(folder, server.url)
        self._chain = Chain(self._journal, options)
        self._lease(_LEASE_SECONDS)
        self._history = MachineHistory(options.times)
        self._known: Mapping[str, Any] = {}
        self._watcher = self._watch(look)
        self._treatment = Treatment(server, self._journal, self._watcher, options, self._tell)
        self._calls = Calls(self._journal, folder, server.url, options, self._tell)
        names = ", ".join(look.models) or "no model"
        self._tell("begins", f"watches {names} by {len(self._watcher.alerts)} alerts")

    def step(self) -> None:
        """Look once, and do what is due."""
        self._watcher.scrape(time.monotonic(), self._server.metrics())
        try:
            look = self._server.look()
            self._lease(_LEASE_SECONDS)
        except Unreachable:
            look = None
        self._history.look(look.server["process"] if look else None)
        flying = self._journal.in_flight()
        if look and not flying:
            self._see(look)
        if flying:
            if look:
                self._treatment.go_on(flying, look)
        else:
            self._incidents(look)
        self._calls.deliver()
        self._chain.flush(self._say)

    def end(self) -> None:
        """Give the right to operate back, and close the journal."""
        try:
            self._lease(0.0)
        except EdgehoneError as error:
            self._say("warning", {"text": error.message})
        self._journal.close()

    @property
    def finished(self) -> str | None:
        """For --once: what has come of the first incident, or that none begins; None while it is open."""
        incidents = self._journal.open_incidents()
        ended = [one.outcome for one in incidents if one.outcome not in (None, ESCALATING)]
        return ended[0] if ended else None

    @property
    def quiet(self) -> bool:
        """Whether no alert holds and no remedy is in flight."""
        return not (self._watcher.firing() or self._watcher.pending() or self._journal.in_flight())

    def _lease(self, seconds: float) -> None:
        if self._options.dry_run:
            return
        try:
            self._server.lease(self._journal.id, seconds)
        except Declined as error:
            raise InputError(
                f"{self._server.url} is operated already: {error.message}",
                hint="end the other edgehone operate first",
            ) from error

    def _watch(self, look: Look) -> Watcher:
        found: list[Baselines] = []
        for name, model in look.models.items():
            try:
                found.append(read_baselines(self._options.baseline or Path(model["change"]["path"]), name))
            except EdgehoneError as error:
                self._say("warning", {"text": f"{name} has no baselines, so fewer alerts: {error.message}"})
        return Watcher(found, self._options.times)

    def _see(self, look: Look) -> None:
        """Note how models are served."""
        for name, model in look.models.items():
            if self._known.get(name) != model["change"]:
                first = not self._journal.ways(name)
                if self._journal.see(name, model["change"], mine=False) and not first:
                    self._tell(
                        "changed", f"someone changed how {name} is served", None, change=model["change"]
                    )
        self._known = {name: model["change"] for name, model in look.models.items()}

    def _incidents(self, look: Look | None) -> None:
        raised: dict[Subject, list[Firing]] = {}
        for one in self._watcher.firing():
            raised.setdefault(_subject(one), []).append(one)
        still = set(map(_subject, self._watcher.pending()))
        incidents = {_subject_of(one): one for one in self._journal.open_incidents()}
        for key, incident in incidents.items():
            if key not in raised and key not in still and self._watcher.up:
                self._close(incident)
        self._clock()
        for key, alerts in raised.items():
            if key not in incidents:
                incidents[key] = self._open(key, alerts)
        due = [(key, one) for key, one in incidents.items() if key in raised and one.outcome is None]
        for key, incident in sorted(due, key=lambda one: ORDER.index(one[0][1])):
            if self._treat(incident, raised[key], look):
                return

    def _clock(self) -> None:
        """Tell a human of a clock that was set: times in logs and certificates' dates are no longer right."""
        jump = self._history.take_jump()
        if abs(jump) < _JUMP_SECONDS:
            return
        incident = self._journal.open_incident(None, "infrastructure", ["clock"])
        says = f"the wall clock jumped by {jump:.1f} s against the monotonic one"
        self._tell("noticed", says, incident.id, alert="clock", severity="ticket")
        cause = {"name": "the clock was set", "says": says, "evidence": [f"clock jump s = {jump:.1f}"]}
        self._tell("diagnosed", f"{cause['name']}: {says}", incident.id, causes=[cause])
        self._escalate(incident, "no remedy is for a clock", {})

    def _open(self, key: Subject, alerts: Sequence[Firing]) -> Incident:
        incident = self._journal.open_incident(*key[:2], [one.alert.name for one in alerts])
        for one in alerts:
            shown = [
                figure(value, one.alert.unit) for value in (one.figure, one.alert.limit) if value is not None
            ]
            told = f": {shown[0]}, the limit is {shown[1]}" if len(shown) == 2 else ""
            self._tell(
                "noticed",
                f"{one.says}{told}",
                incident.id,
                alert=one.alert.name,
                severity=one.alert.severity,
            )
        return incident

    def _close(self, incident: Incident) -> None:
        kept = [one.name for one in self._journal.tried(incident.id) if one.state == "kept"]
        outcome = f"remedied by: {', '.join(kept)}" if kept else "over, without a remedy"
        if incident.outcome == ESCALATED:
            outcome = f"over, after it was {ESCALATED}"
        if incident.symptom in DRIFTED and (why := self._approved(incident.model)):
            outcome += f"; the requests are approved: {why}"
        self._journal.close_incident(incident.id, outcome)
        self._tell("closed", outcome, incident.id)

    def _approved(self, model: str | None) -> str | None:
        """Return why an operator said that the present requests are right, if one did."""
        drift = watched(self._server, model).get("drift") or {}
        return None if drift.get("alarm") else drift.get("approved")

    def _treat(self, incident: Incident, alerts: Sequence[Firing], look: Look | None) -> bool:
        """Diagnose an incident, and begin its next remedy or escalate. Returns whether something was done."""
        key, before = self._measured(alerts)
        if incident.symptom in PATIENCE and not self._is_due(incident, alerts, key, before):
            return False
        name = incident.model or _worst(look)
        facts, group = diagnose_facts(name, self._server, look, self._watcher, self._history, self._journal)
        found = [one for one in judge_service(facts, incident.symptom, incident.alerts) if one.found]
        self._diagnosed(incident, found)
        if look is None or name is None:
            self._escalate(
                incident, "the server does not answer" if look is None else "no model is served", {}
            )
            return True
        case = Case(
            server=self._server, look=look, model=name, facts=facts, group=group, journal=self._journal,
            bundles=self._options.bundles, previous=self._chain.previous, reoptimize=self._samples,
            may_change_groups=self._options.control_groups, can_compare=not all(map(_lasts, alerts)),
        )  # fmt: skip
        model = look.models[name]
        remedies = fitting(incident.symptom, model["backend"], model["kind"], [one.name for one in found])
        tried = _spent(self._journal.tried(incident.id))
        planned = plan_all([one for one in remedies if one.name not in tried], case)
        return self._next(incident, planned, key, before)

    def _measured(self, alerts: Sequence[Firing]) -> tuple[Key, list[float]]:
        """Return the alert by which a remedy can be judged best, and what was measured since the alerts began."""
        since = min(one.since for one in alerts)
        telling = [one for one in alerts if not _lasts(one)] or alerts
        found = [(key, self._watcher.effects(key, since)) for key in map(_key, telling)]
        return max(found, key=lambda one: (Judged(one[1], self._watcher.limit(one[0])).can_tell, len(one[1])))

    def _is_due(self, incident: Incident, alerts: Sequence[Firing], key: Key, before: list[float]) -> bool:
        """Whether it is time for a remedy: alerts look back over a longer time, and a remedy needs a comparison."""
        now = time.monotonic()
        since = now - _WELL_SECONDS / self._options.times
        if all(self._watcher.well(_key(one), since) for one in alerts):
            return False
        waited = now - min(one.since for one in alerts)
        can_tell = Judged(before, self._watcher.limit(key)).can_tell
        return can_tell or not self._watcher.up or waited >= self._options.patience(incident.symptom)

    def _samples(self, case: Case) -> Plan | str:
        return plan_samples(case, self._options, self._folder)

    def _next(self, incident: Incident, planned: Sequence[Planned], key: Key, before: list[float]) -> bool:
        refused = {one.remedy.name: one.reason or "" for one in planned if one.plan is None}
        chosen = next((one for one in planned if one.plan is not None), None)
        if chosen is None or chosen.plan is None:
            self._escalate(incident, "no remedy is left", refused)
        elif self._journal.begun_since(time.time() - _HOUR / self._options.times) >= self._options.budget:
            self._escalate(
                incident, f"the budget of {self._options.budget} remedies an hour is used up", refused
            )
        elif self._options.dry_run:
            others = [one.remedy.name for one in planned if one.plan is not None][1:]
            self._journal.name_outcome(incident.id, "left alone: a dry run")
            then = f"; if that does not help: {', '.join(others)}; then a human is called" if others else ""
            self._tell(
                "would", f"{chosen.remedy.name}: {chosen.plan['says']}{then}", incident.id,
                plan=chosen.plan, not_offered=refused,
            )  # fmt: skip
        else:
            plan = {**chosen.plan, "symptom": incident.symptom}
            self._treatment.begin(incident, chosen.remedy.name, plan, key, before)
        return True

    def _diagnosed(self, incident: Incident, found: Sequence[Cause]) -> None:
        names = [one.name for one in found]
        last = [one for one in self._journal.events(incident.id) if one.kind == "diagnosed"]
        if last and [one["name"] for one in last[-1].detail["causes"]] == names:
            return
        says = "; ".join(f"{one.name}: {one.says}" for one in found) or "no known cause was found"
        causes = [{**asdict(one), "remedies": []} for one in found]
        self._tell("diagnosed", says, incident.id, causes=causes)

    def _escalate(self, incident: Incident, why: str, refused: Mapping[str, str]) -> None:
        if self._options.dry_run:
            self._journal.name_outcome(incident.id, "left alone: a dry run")
            self._tell("would", f"call a human: {why}", incident.id, not_offered=refused)
            return
        self._journal.name_outcome(incident.id, ESCALATING)
        self._tell("escalating", f"{ESCALATING}: {why}", incident.id, why=why, not_offered=refused)

    def _tell(self, kind: str, says: str, incident: int | None = None, **detail: Any) -> None:
        event = self._journal.tell(kind, says, incident, **detail)
        self._say(
            kind, {"server": self._server.url, "at": event.at, "incident": incident, "says": says, **detail}
        )


def _subject(one: Firing) -> Subject:
    symptom = one.alert.symptom
    apart = one.alert.name if symptom in HUMANS else ""
    return one.labels.get("model") or one.alert.model, symptom, apart


def _subject_of(incident: Incident) -> Subject:
    return incident.model, incident.symptom, incident.alerts[0] if incident.symptom in HUMANS else ""


def _lasts(one: Firing) -> bool:
    """Whether an alert stays whatever is done, so that no remedy can be judged by it: an alarm of drift."""
    return one.alert.name in ("drift_inputs", "drift_answers", "drift_service")


def _spent(tried: Sequence[Tried]) -> set[str]:
    """Return the remedies that are not tried again. One that could not be judged may be, once."""
    names = [one.name for one in tried]
    return {one.name for one in tried if one.why != RESTARTED or names.count(one.name) > 1}


def _key(one: Firing) -> Key:
    return one.alert.name, tuple(one.labels.values())


def _worst(look: Look | None) -> str | None:
    """Return the model that an alert about the whole server is most likely about."""
    if look is None:
        return None
    order = sorted(
        look.models.values(),
        key=lambda one: (one["state"] == "ready", -one["waiting"] - one["running"], one["name"]),
    )
    return str(order[0]["name"]) if order else None
