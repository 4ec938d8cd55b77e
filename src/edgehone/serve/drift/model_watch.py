"""The drift of one served bundle: compared with its evaluation, and with its first traffic.

    requests → compared with the evaluation samples (certified bundles), from the first one on
             → collected until there are enough: the first traffic becomes the reference
             → compared with the first traffic from then on

Traffic that differs from evaluation samples that count is not approved, so it never becomes the reference, until an
operator says that it may (`approve`). Both comparisons share alpha.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Literal

from edgehone.core.errors import InputError
from edgehone.drift import DriftWatch, Evidence, Reference, ReferenceBuilder, Sample, Signal
from edgehone.serve.drift.evaluated import Evaluated
from edgehone.serve.drift.samples import as_evaluated

FORMAT: Final = "edgehone-drift-state/1"
EVALUATION: Final = "evaluation"
TRAFFIC: Final = "first traffic"
Kind = Literal["inputs", "performance", "joint", "any", "answers", "service"]
KINDS: Final[tuple[Kind, ...]] = ("inputs", "performance", "joint", "any", "answers", "service")
# Performance has two parts: what the model answers, and how it is served, which another program can make worse, too.
_SERVICE = ("latency", "errors")


@dataclass(frozen=True)
class DriftRules:
    """`alpha` is the largest probability of any false alarm in the life of a served bundle.

    The first `requests` requests become the reference.
    """

    requests: int = 1536
    alpha: float = 0.01


class ModelWatch:
    """Watches a served bundle. `manifest` is the digest of its manifest."""

    def __init__(self, manifest: str, evaluated: Evaluated, rules: DriftRules, *, approved: str = "") -> None:
        """`approved` is an operator's reason why the traffic may differ from the evaluation; "" without one."""
        self.manifest, self.evaluated, self.rules, self.approved = manifest, evaluated, rules, approved
        self.requests = 0
        self.refused = ""  # why the first traffic did not become the reference
        self.traffic: DriftWatch | None = None
        self._collected = ReferenceBuilder()
        self.evaluation = (
            DriftWatch(evaluated.reference, self._alpha) if evaluated.reference is not None else None
        )

    @property
    def counts(self) -> bool:
        """Whether a difference from the evaluation raises an alarm."""
        return self.evaluated.counts and not self.approved and self.evaluation is not None

    @property
    def _alpha(self) -> float:
        shared = self.evaluated.counts and not self.approved and self.evaluated.reference is not None
        return self.rules.alpha / 2 if shared else self.rules.alpha

    def observe(self, samples: Sequence[Sample]) -> None:
        """Take the samples of a request."""
        if not samples:
            return
        self.requests += 1
        if self.evaluation is not None and (self.counts or self.traffic is None):
            self.evaluation.observe_all(as_evaluated([samples]))
        if self.traffic is not None:
            self.traffic.observe_all(samples)
        elif not self.refused:
            self._collect(samples)

    def observe_all(self, requests: Sequence[Sequence[Sample]]) -> None:
        """Take the samples of each of several requests, which costs less than one by one."""
        at = 0
        while at < len(requests) and self.traffic is None and not self.refused:
            self.observe(requests[at])
            at += 1
        known = [one for one in requests[at:] if one]
        self.requests += len(known)
        if self.evaluation is not None and (self.counts or self.traffic is None):
            self.evaluation.observe_all(as_evaluated(known))
        if self.traffic is not None:
            self.traffic.observe_all(list(chain.from_iterable(known)))

    def label(self, correct: bool) -> None:
        """Take a label that a client sent of an answer."""
        if self.evaluation is not None and "accuracy" in self.evaluation.reference.names:
            self.evaluation.correct(correct)

    def _collect(self, samples: Sequence[Sample]) -> None:
        if self.counts and self.evaluation is not None and self.evaluation.signal.alarm:
            self.refused = f"the first requests differ from the evaluation: {self.evaluation.signal.summary}"
            self._collected = ReferenceBuilder()
            return
        for one in samples:
            self._collected.add(one, traffic=True)
        if self._collected.count >= self.rules.requests:
            collected, self._collected = self._collected, ReferenceBuilder()
            try:
                self.traffic = DriftWatch(collected.build(), self._alpha)
            except InputError as error:
                self.refused = f"the first requests make no reference: {error.message}"

    @property
    def collected(self) -> int:
        """The number of samples that are collected for the reference."""
        return self._collected.count

    @property
    def signals(self) -> dict[str, Signal]:
        """The signals that raise alarms, by what requests are compared with."""
        watches = {EVALUATION: self.evaluation if self.counts else None, TRAFFIC: self.traffic}
        return {name: one.signal for name, one in watches.items() if one is not None}

    @property
    def evidence(self) -> dict[str, Evidence]:
        """The evidence of all detectors that raise alarms, by name; "evaluation_…" if it is against the evaluation."""
        return {
            f"evaluation_{one.name}" if reference == EVALUATION else one.name: one
            for reference, signal in self.signals.items()
            for one in signal.evidence
        }

    def alarm(self, kind: Kind) -> bool:
        """Whether a detector of this kind, or of this part of performance, has raised an alarm."""
        return any(one.alarm and kind in ("any", one.kind, _part(one)) for one in self.evidence.values())

    @property
    def since(self) -> int | None:
        """How many requests ago the traffic changed, as estimated; None without an alarm."""
        return max((one.since for one in self.signals.values() if one.since is not None), default=None)

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON data, without the reference of the traffic. It holds nothing of what is collected.

        What is collected for the reference are requests, so it is never stored: after a restart it is collected anew.
        """
        return {
            "format": FORMAT,
            "manifest": self.manifest,
            "requests": self.requests,
            "approved": self.approved,
            "refused": self.refused,
            "since": self.since,
            "evaluation": self.evaluation and self.evaluation.to_json(),
            "traffic": self.traffic and self.traffic.to_json(),
        }

    @classmethod
    def from_json(
        cls,
        data: Mapping[str, Any],
        traffic: Mapping[str, Any] | None,
        evaluated: Evaluated,
        rules: DriftRules,
    ) -> ModelWatch:
        """Continue from a state and the JSON form of the traffic's reference. Raises InputError if it is damaged."""
        try:
            read = cls(str(data["manifest"]), evaluated, rules, approved=str(data["approved"]))
            read.requests, read.refused = int(data["requests"]), str(data["refused"])
            if read.evaluation is not None and data["evaluation"] is not None:
                read.evaluation = DriftWatch.from_json(data["evaluation"], read.evaluation.reference)
            if data["traffic"] is not None:
                if traffic is None:
                    raise InputError("the reference of the traffic is missing")
                read.traffic = DriftWatch.from_json(data["traffic"], Reference.from_json(traffic))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"the state of drift detection is damaged: {error}") from error
        return read


def _part(one: Evidence) -> Kind:
    """Return what a detector of performance is about; of other detectors their kind."""
    if one.kind != "performance":
        return one.kind
    return "service" if one.name in _SERVICE else "answers"
