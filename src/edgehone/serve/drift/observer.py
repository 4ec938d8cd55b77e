"""The observer that watches each model for drift, with its metrics and its state on the disk."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edgehone.core.errors import InputError
from edgehone.serve.drift.evaluated import Evaluated, read_evaluated
from edgehone.serve.drift.model_watch import KINDS, DriftRules, ModelWatch
from edgehone.serve.drift.samples import samples_of_all
from edgehone.serve.drift.store import Snapshot, Store
from edgehone.serve.drift.told import told
from edgehone.serve.measured.waits import Waits
from edgehone.serve.model import Model
from edgehone.serve.observation import Feedback, Observation
from edgehone.serve.threads import surely

Say = Callable[[str], None]
# A server that is killed loses the evidence of so many seconds at most.
_WRITE_SECONDS = 5.0


class Watched:
    """A served bundle that is watched, and what of its state is on the disk."""

    def __init__(self, model: Model, watch: ModelWatch) -> None:
        self.watch = watch
        self.manifest = model.served.bundle.manifest.digest
        self.axes: Mapping[str, int | None] = model.served.bundle.manifest.axes.get("inputs", {})
        self.written = watch.requests
        self.reference_written = watch.traffic is not None


class DriftObserver(Collector):
    """An observer and its metrics. `models` are those that are served now."""

    def __init__(self, models: Mapping[str, Model], state: Path, rules: DriftRules, say: Say) -> None:
        self._models, self._rules, self._say = models, rules, say
        self._store, self._waits = Store(state), Waits()
        self._watched: dict[str, Watched] = {}
        self.problem: str | None = None  # why the state could not be written

    def observe(self, seen: Observation) -> None:
        """Take a request."""
        self.observe_all([seen])

    def observe_all(self, seen: Sequence[Observation]) -> None:
        """Take several requests."""
        by_model: dict[str, list[Observation]] = {}
        for one in seen:
            model = self._models.get(one.model)
            # Else a challenger beside it has answered.
            if model is not None and one.version in ("", model.id):
                by_model.setdefault(one.model, []).append(one)
        for name, requests in by_model.items():
            if watched := self._of(name):
                watched.watch.observe_all(samples_of_all(requests, watched.axes))

    def feedback(self, seen: Feedback) -> None:
        """Take a client's feedback on an answer."""
        if seen.correct is not None and (watched := self._of(seen.model)):
            watched.watch.label(seen.correct)

    def about(self, name: str) -> dict[str, Any] | None:
        """Return the facts about a model for GET /admin/watch."""
        watched = self._of(name)
        return None if watched is None else {**told(watched.watch), "not_written": self.problem}

    def approve(self, name: str, why: str) -> None:
        """Start again with the traffic from now on as the reference, in the place of the evaluation.

        Raises KeyError for a model that is not served.
        """
        model = self._models[name]
        evaluated = self._evaluated(model)
        digest = model.served.bundle.manifest.digest
        self._watched[name] = Watched(model, ModelWatch(digest, evaluated, self._rules, approved=why))
        self._watched[name].written = -1

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        evidence = GaugeMetricFamily(
            "edgehone_drift_log10_evidence",
            "Evidence that requests changed, as the logarithm of an e-process, by detector; below 0: none.",
            labels=["model", "name"],
        )
        needed = GaugeMetricFamily(
            "edgehone_drift_log10_needed",
            "Evidence at which a detector raises an alarm.",
            labels=["model", "name"],
        )
        alarms = GaugeMetricFamily(
            "edgehone_drift_alarm", "1 once a detector has raised an alarm.", labels=["model", "kind"]
        )
        requests = GaugeMetricFamily(
            "edgehone_drift_requests",
            "Requests that drift detection saw of the served bundle.",
            labels=["model"],
        )
        reference = GaugeMetricFamily(
            "edgehone_drift_reference_samples",
            "Samples in the reference of the first traffic; 0 while they are collected.",
            labels=["model"],
        )
        for name in list(self._models):
            watched = self._of(name)
            if watched is None:
                continue
            watch = watched.watch
            for detector, one in watch.evidence.items():
                evidence.add_metric([name, detector], one.log10)
                needed.add_metric([name, detector], one.needed)
            for kind in KINDS:
                alarms.add_metric([name, kind], float(watch.alarm(kind)))
            requests.add_metric([name], watch.requests)
            reference.add_metric([name], watch.traffic.reference.samples if watch.traffic else 0)
        written = GaugeMetricFamily(
            "edgehone_disk_write_seconds",
            "Time for which the last write of a state waited for its disk; 0 without one in the last minute.",
            labels=["folder"],
        )
        written.add_metric(["state"], self._waits.seconds)
        return [evidence, needed, alarms, requests, reference, written]

    async def run(self, seconds: float = _WRITE_SECONDS) -> NoReturn:
        """Write changed states at a fixed interval."""
        await self._until_ready()
        while True:
            for name in list(self._models):
                self._of(name)
            await asyncio.sleep(seconds)
            for snapshot, watched in self._snapshots():
                written = await surely(self._write, snapshot)
                self._note(watched, snapshot, written=written)

    async def _until_ready(self) -> None:
        """Wait for the models, at most 10 s, and import in a thread what watching needs: it would delay both."""
        for _ in range(100):
            if not any(model.problem for model in self._models.values()):
                break
            await asyncio.sleep(0.1)
        if "numpy" not in sys.modules:
            await asyncio.to_thread(importlib.import_module, "numpy")

    def end(self) -> None:
        """Write the states that have changed."""
        for snapshot, watched in self._snapshots():
            self._note(watched, snapshot, written=self._write(snapshot))

    def _snapshots(self) -> list[tuple[Snapshot, Watched]]:
        found = []
        for name, one in self._watched.items():
            if one.written == one.watch.requests:
                continue
            traffic = one.watch.traffic
            reference = traffic.reference.to_json() if traffic and not one.reference_written else None
            found.append((Snapshot(name, one.watch.to_json(), reference), one))
        return found

    def _write(self, snapshot: Snapshot) -> bool:
        try:
            with self._waits.timing():
                self._store.write(snapshot)
        except OSError as error:
            if self.problem is None:
                self._say(f"warning: the state of drift detection is not written: {error.strerror or error}")
            self.problem = f"{error.strerror or error}"
            return False
        self.problem = None
        return True

    @staticmethod
    def _note(watched: Watched, snapshot: Snapshot, *, written: bool) -> None:
        if written:
            watched.written = snapshot.state["requests"]
            watched.reference_written |= snapshot.reference is not None

    def _of(self, name: str) -> Watched | None:
        """Return the watch of the bundle that is served under a name now."""
        model = self._models.get(name)
        if model is None:
            self._watched.pop(name, None)
            return None
        watched = self._watched.get(name)
        if watched is None or watched.manifest != model.served.bundle.manifest.digest:
            watched = self._watched[name] = self._begun(model)
        return watched

    def _begun(self, model: Model) -> Watched:
        """Return the stored state of a bundle that was served before, else a new one."""
        digest = model.served.bundle.manifest.digest
        evaluated = self._evaluated(model)
        try:
            watch = self._store.read(model.name, digest, evaluated, self._rules)
        except InputError as error:
            self._say(f"warning: {model.name}: drift detection begins anew: {error.message}")
            watch = None
        return Watched(model, watch or ModelWatch(digest, evaluated, self._rules))

    def _evaluated(self, model: Model) -> Evaluated:
        try:
            return read_evaluated(model.served.bundle.path)
        except InputError as error:
            self._say(f"warning: {model.name}: nothing is known of its evaluation: {error.message}")
            return Evaluated(None, False, error.message)
