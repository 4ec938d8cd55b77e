"""The alerts on a server, and what they are about over short times: how a problem was before and is after a remedy."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgehone.monitor.alert import Alert, Baselines, alerts, faster
from edgehone.monitor.evaluate import Evaluator, Firing
from edgehone.monitor.exposition import samples
from edgehone.monitor.expression import Quantile, Share, Total, Value
from edgehone.serve.buckets import BOUNDS

_KEPT_S = 600.0
# Fewer measurements say too little.
LEAST = 5
# Gauges and counters that facts are made of: name in `metrics` or `recent`, by metric, with labels that must match.
_GAUGES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "waiting": ("edgehone_waiting_requests", {}),
    "running": ("edgehone_running_requests", {}),
    "throttled": ("edgehone_machine_throttled", {}),
    "changed_files": ("edgehone_changed_files", {}),
    "drift_inputs": ("edgehone_drift_alarm", {"kind": "inputs"}),
    "drift_joint": ("edgehone_drift_alarm", {"kind": "joint"}),
    "drift_answers": ("edgehone_drift_alarm", {"kind": "answers"}),
    "drift_service": ("edgehone_drift_alarm", {"kind": "service"}),
    "free_bytes": ("edgehone_disk_free_bytes", {}),
    "disk_write_s": ("edgehone_disk_write_seconds", {}),
}
_OF_ENGINES = {"edgehone_engine_restarts": "restarts", "edgehone_engine_loads": "loads"}
_COUNTED = ("edgehone_requests_total", "edgehone_template_violations_total", *_OF_ENGINES)
_REFUSED = ("400", "401", "408", "413", "415", "431", "INVALID_ARGUMENT", "UNAUTHENTICATED")
_METRICS = {metric for metric, _ in _GAUGES.values()} | {
    "edgehone_requests_total",
    "edgehone_engine_restarts",
}

_MOST = 500  # measurements of an alert that are kept
Series = tuple[str, str]  # a histogram and a model
Key = tuple[str, tuple[str, ...]]  # an alert's name and the values of its labels


class Watcher:
    """The alerts on a server, evaluated at each scrape."""

    def __init__(self, baselines: Sequence[Baselines], times: float = 1.0) -> None:
        """`times`: windows and durations are so many times shorter than in alerts.toml."""
        self.alerts: Sequence[Alert] = [faster(one, times) for one in alerts(baselines)]
        self._evaluator = Evaluator(self.alerts)
        self._kept_s = _KEPT_S / times
        self._at: float | None = None
        self._step = 0.0
        self._text: str | None = None
        self._counts: deque[tuple[float, Mapping[str, Mapping[str, float]]]] = deque()
        self._values: dict[Key, deque[tuple[float, float]]] = {}
        self._effects: dict[Key, deque[tuple[float, float]]] = {}
        self._means: dict[Series, tuple[float, float]] = {}
        self._restarts: dict[str, float] = {}
        self._restarted: dict[str, float] = {}  # when a model's engine was seen to be another one

    def scrape(self, at: float, text: str | None) -> None:
        """Add a scrape, None for one that failed, at a time of a monotonic clock."""
        self._step = at - self._at if self._at is not None else 0.0
        self._evaluator.add(at, text)
        self._at, self._text = at, None if self._evaluator.problem else text
        self._look_at_engines(at)
        means = self._latencies()
        for one in (*self._evaluator.firing(), *self._evaluator.pending()):
            key = (one.alert.name, tuple(one.labels.values()))
            self._values.setdefault(key, deque(maxlen=_MOST))
            self._effects.setdefault(key, deque(maxlen=_MOST))
        for key, kept in self._values.items():
            value = self._measured(key)
            if value is not None:
                kept.append((at, value))
            timed = _timed(self._alert(key))
            effect = means.get((timed, key[1][0] if key[1] else "")) if timed else value
            if effect is not None:
                self._effects[key].append((at, effect))
        if self._text is not None:
            self._counts.append((at, self._counted(self._text)))
        while self._counts and self._counts[0][0] < at - self._kept_s:
            self._counts.popleft()

    @property
    def up(self) -> bool:
        """Whether the last scrape succeeded."""
        return self._text is not None

    def firing(self) -> tuple[Firing, ...]:
        """Return the alerts that have held for their time."""
        return self._evaluator.firing()

    def pending(self) -> tuple[Firing, ...]:
        """Return the alerts that hold, but not for their time yet."""
        return self._evaluator.pending()

    def effects(self, key: Key, since: float) -> list[float]:
        """Return how it was between scrapes since a time, by what a remedy is judged by; lower is better.

        That is the mean time of the requests for an alert on times, else what the alert is about. What was measured of
        an engine that has ended since is left out: the next one begins anew.
        """
        begun = self.restarted(self._model(key))
        return [value for at, value in self._effects.get(key, ()) if at >= since and at > begun]

    def restarted(self, model: str | None) -> float:
        """Return when the engine of a model, or of any (None), was last seen to be started again; -inf if never."""
        found = self._restarted.values() if model is None else [self._restarted.get(model, -math.inf)]
        return max(found, default=-math.inf)

    def limit(self, key: Key) -> float | None:
        """Return where the `effects` of an alert should be; None for times."""
        alert = self._alert(key)
        if _timed(alert):
            return None
        return -alert.limit if alert.op == "<" else alert.limit

    def well(self, key: Key, since: float) -> bool:
        """Return whether an alert would not hold by any of the measurements since a time, or of the last few."""
        alert = self._alert(key)
        kept = list(self._values.get(key, ()))
        recent = sum(at >= since for at, _ in kept)
        found = [value for _, value in kept[-max(LEAST, recent) :]]
        limit = -alert.limit if alert.op == "<" else alert.limit
        return len(found) >= LEAST and all(value <= limit for value in found)

    def gauges(self, model: str | None) -> dict[str, float]:
        """Return the gauges of a model, or of the whole server, at the last scrape."""
        found: dict[str, float] = {}
        wanted = {metric: (name, labels) for name, (metric, labels) in _GAUGES.items() if not labels}
        kinds = {(metric, labels["kind"]): name for name, (metric, labels) in _GAUGES.items() if labels}
        for metric, labels, value in samples(self._text or "", _METRICS):
            known = dict(labels)
            if known.get("model", model) != model:
                continue
            if (metric, known.get("kind", "")) in kinds:
                found[kinds[metric, known["kind"]]] = value
            elif metric == "edgehone_disk_free_bytes":
                found["free_bytes"] = min(value, found.get("free_bytes", math.inf))
            elif metric in wanted:
                found[wanted[metric][0]] = found.get(wanted[metric][0], 0.0) + value
        return found

    def recent(self, model: str | None) -> dict[str, float]:
        """Return how much counters grew in the last 10 minutes: requests, refused ones, violations, restarts, loads."""
        if len(self._counts) < 2:
            return {}
        (_, before), (_, after) = self._counts[0], self._counts[-1]
        found = {}
        for name in after:
            of = {one for one in after[name] if name not in _OF_ENGINES.values() or model in (None, one)}
            found[name] = sum(max(0.0, after[name][one] - before[name].get(one, 0.0)) for one in of)
        return found

    def _alert(self, key: Key) -> Alert:
        return next(one for one in self.alerts if one.name == key[0] and (one.model in (None, *key[1])))

    def _model(self, key: Key) -> str | None:
        """Return the model that an alert is about; None for the whole server."""
        alert = self._alert(key)
        return dict(zip(alert.labels, key[1], strict=True)).get("model") or alert.model

    def _look_at_engines(self, at: float) -> None:
        for _, labels, value in samples(self._text or "", ("edgehone_engine_restarts",)):
            model = dict(labels).get("model", "")
            if self._restarts.get(model, value) != value:
                self._restarted[model] = at
            self._restarts[model] = value

    def _measured(self, key: Key) -> float | None:
        """Return what an alert is about, since the scrape before, with the sign by which lower is better."""
        alert = self._alert(key)
        if not self._step:
            return None
        value = self._evaluator.value(_within(alert.figure, self._step * 1.01)).get(key[1])
        if value is None or math.isnan(value) or math.isinf(value):
            return None
        return -value if alert.op == "<" else value

    def _latencies(self) -> dict[tuple[str, str], float]:
        """Return the mean time of the requests since the scrape before, by histogram and model."""
        wanted = {f"{metric}{end}": (metric, end) for metric in BOUNDS for end in ("_sum", "_count")}
        sums: dict[tuple[str, str], dict[str, float]] = {}
        for name, labels, value in samples(self._text or "", wanted):
            metric, end = wanted[name]
            sums.setdefault((metric, dict(labels).get("model", "")), {})[end] = value
        means = {}
        for series, both in sums.items():
            seconds, count = both.get("_sum", 0.0), both.get("_count", 0.0)
            before = self._means.get(series, (0.0, 0.0))
            if self._step and count > before[1]:
                means[series] = (seconds - before[0]) / (count - before[1])
            self._means[series] = seconds, count
        return means

    def _counted(self, text: str) -> Mapping[str, Mapping[str, float]]:
        names = ("requests", "invalid", "violations", *_OF_ENGINES.values())
        found: dict[str, dict[str, float]] = {name: {} for name in names}
        for metric, labels, value in samples(text, _COUNTED):
            known = dict(labels)
            if metric in _OF_ENGINES:
                found[_OF_ENGINES[metric]][known.get("model", "")] = value
            elif metric == "edgehone_template_violations_total":
                found["violations"][""] = value
            else:
                status = f"{known.get('path')} {known.get('status')}"
                found["requests"][status] = value
                if known.get("status") in _REFUSED:
                    found["invalid"][status] = value
        return found


def _timed(alert: Alert) -> str | None:
    """Return the histogram of times that an alert is about; None for another alert."""
    figure = alert.figure
    total = (
        figure.buckets
        if isinstance(figure, Quantile)
        else figure.part
        if isinstance(figure, Share)
        else figure
    )
    metric = total.series.metric.removesuffix("_bucket")
    return metric if metric in BOUNDS and metric != total.series.metric else None


def _within(value: Value, seconds: float) -> Value:
    """Return a value over another window."""

    def total(one: Total) -> Total:
        return replace(one, window_s=seconds) if one.window_s else one

    if isinstance(value, Total):
        return total(value)
    if isinstance(value, Share):
        return replace(value, part=total(value.part), whole=total(value.whole))
    assert isinstance(value, Quantile)
    return replace(value, buckets=total(value.buckets))
