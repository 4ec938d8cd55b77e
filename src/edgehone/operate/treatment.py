"""A remedy in flight: begin it, find out whether it is done, judge whether it helps, keep it or undo it.

All that is needed is in the journal, so that a run that was killed is followed by one that goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgehone.core.errors import EdgehoneError
from edgehone.operate.actions import all as actions
from edgehone.operate.actions import reoptimize
from edgehone.operate.actions.plan import Plan
from edgehone.operate.actions.serving import KIND
from edgehone.operate.helped import Judged
from edgehone.operate.journal import Incident, Journal, Tried
from edgehone.operate.options import Options
from edgehone.operate.server import Look, Server, Unreachable
from edgehone.operate.watching import Key, Watcher

Tell = Callable[..., None]
# Why a remedy is undone that cannot be judged: what was measured before it is of an engine that has ended.
RESTARTED = "the engine was started again meanwhile, so that nothing can be compared"
# Symptoms of what is served for other requests than it was made for.
DRIFTED = ("accuracy", "drift")


@dataclass
class _Looked:
    """A remedy that is judged: since when, by this run's clock, and the evidence. `begun`: when that was decided."""

    remedy: int
    begun: float
    since: float
    looked: float
    effect: Judged


class Treatment:
    """The remedies of one server, one at a time."""

    def __init__(
        self, server: Server, journal: Journal, watcher: Watcher, options: Options, tell: Tell
    ) -> None:
        self._server, self._journal, self._options, self._tell = server, journal, options, tell
        self.watcher = watcher
        self._judged: _Looked | None = None

    def begin(self, incident: Incident, name: str, plan: Plan, key: Key, before: list[float]) -> None:
        """Write a remedy down, then do it. What becomes of it is found out by `go_on`."""
        firing = sorted({one.alert.name for one in self.watcher.firing()})
        limit = self.watcher.limit(key)
        sample = {"alert": key[0], "group": [*key[1]], "before": before, "limit": limit, "firing": firing}
        tried = self._journal.begin(incident.id, name, plan, sample)
        self._tell("begun", f"{name}: {plan['says']}", incident.id, remedy=name, plan=plan)
        try:
            actions.do(plan, self._server)
        except Unreachable as error:
            # It may or may not be done: the server tells when it answers again.
            self._tell("unknown", f"{name}: {error.message}", incident.id, remedy=name)
        except EdgehoneError as error:
            self._end(tried, "failed", f"it could not be done: {error.message}")

    def go_on(self, tried: Tried, look: Look) -> None:
        """Take a remedy in flight further."""
        holds = actions.holds(tried.plan, look)
        if holds == "changing":
            return
        if tried.plan["kind"] == reoptimize.KIND:
            self._offered(tried)
            return
        if holds == "other":
            self._end(tried, "left", "someone else changed it meanwhile; it is left as it is")
        elif tried.state == "begun":
            self._is_begun(tried, done=holds == "after")
        elif tried.state == "undoing":
            self._undo(tried, look, done=holds == "before")
        elif holds == "before":
            self._end(tried, "failed", "it holds no longer: the server began anew, as it was started")
        else:
            self._judge(tried, look)

    def _offered(self, tried: Tried) -> None:
        """End a re-optimization: it changes nothing that is served, so there is nothing to judge or to undo."""
        outcome = reoptimize.outcome(tried.plan)
        if outcome is None:
            self._end(tried, "failed", reoptimize.failure(tried.plan))
        else:
            better, reason = outcome
            self._end(tried, "kept" if better else "failed", reason)

    def _is_begun(self, tried: Tried, *, done: bool) -> None:
        if done:
            self._see(tried, "after")
            self._journal.move(tried.id, "done")
            self._tell("done", f"{tried.name}: done; is it better?", tried.incident, remedy=tried.name)
        else:
            self._end(tried, "failed", "it was not done before this program ended")

    def _judge(self, tried: Tried, look: Look) -> None:
        now = time.monotonic()
        if self._judged is None or self._judged.remedy != tried.id:
            # The first requests were begun before it.
            first = now + self._options.every / self._options.times
            effect = Judged(tried.sample["before"], tried.sample["limit"])
            self._judged = _Looked(tried.id, now, first, first, effect)
            return
        judged, key = self._judged, (tried.sample["alert"], tuple(tried.sample["group"]))
        for value in self.watcher.effects(key, judged.looked):
            judged.effect.add(value)
        judged.looked = now
        worse, patience = self._worse(tried), self._options.patience(tried.plan.get("symptom", ""))
        if worse:
            self._give_up(tried, look, f"it brought another alert: {worse}")
        elif self.watcher.restarted(tried.plan.get("model")) >= judged.begun:
            self._give_up(tried, look, RESTARTED)
        elif judged.effect.verdict == "helped":
            self._end(tried, "kept", f"it helps: {judged.effect}")
        elif judged.effect.verdict == "did not help" or now - judged.since > patience:
            self._give_up(tried, look, f"it does not help: {judged.effect}")

    def _worse(self, tried: Tried) -> str | None:
        """Return an alert that someone is paged for and that was not raised before the remedy."""
        before = set(tried.sample["firing"])
        new = [one for one in self.watcher.firing() if one.alert.name not in before]
        return next((one.alert.name for one in new if one.alert.symptom in ("errors", "memory")), None)

    def _give_up(self, tried: Tried, look: Look, why: str) -> None:
        if not actions.can_be_undone(tried.plan):
            self._end(tried, "kept", f"{why}; there is nothing to undo")
            return
        self._journal.move(tried.id, "undoing", why)
        self._tell("undoing", f"{tried.name}: {why}", tried.incident, remedy=tried.name)
        self._undo(tried, look, done=False)

    def _undo(self, tried: Tried, look: Look, *, done: bool) -> None:
        if not done:
            try:
                actions.undo(tried.plan, self._server, look)
            except Unreachable:
                return  # the server tells when it answers again
            except EdgehoneError as error:
                self._end(tried, "left", f"it could not be undone: {error.message}")
                return
        self._see(tried, "before")
        self._end(tried, "undone", None)

    def _see(self, tried: Tried, way: str) -> None:
        """Note how the model is served now, so that it is not taken for someone else's change."""
        if tried.plan["kind"] == KIND:
            self._journal.see(tried.plan["model"], tried.plan[way], mine=True)

    def _end(self, tried: Tried, state: Any, why: str | None) -> None:
        self._journal.move(tried.id, state, why)
        self._judged = None
        says = f"{tried.name}: {state}" + (f": {why}" if why else "")
        self._tell(state, says, tried.incident, remedy=tried.name, why=why)
        if state == "kept" and tried.plan["kind"] == KIND and tried.plan.get("symptom") in DRIFTED:
            self._approve(tried, says)

    def _approve(self, tried: Tried, why: str) -> None:
        """End the alarm of drift: what is served now was found better on the present requests."""
        model = tried.plan["model"]
        try:
            self._server.approve_drift(model, f"edgehone operate: {why}")
        except EdgehoneError as error:
            self._tell("warning", f"the alarm of drift of {model} stays: {error.message}", tried.incident)
        else:
            self._tell(
                "approved", f"drift of {model} is watched from the present requests on", tried.incident
            )
