"""The decision: the choice, its reason, and all figures and verdicts it is based on. Its file is decision.json.

The dataclasses below are its schema: `Decision.from_json` checks a file against them, and data/decision.schema.json is
generated from them (`make docs`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from edgehone.core import typed_json
from edgehone.core.errors import InputError
from edgehone.core.figure import Figure
from edgehone.core.typed_json import OPTIONAL, Count, Salvage
from edgehone.decision.gates import TIMED, Verdict

SCHEMA: Final = 1
Status = Literal["ok", "failed", "disqualified", "skipped"]

CONVERSION_FIGURES = ("max_error", "mean_error", "kl_mean", "same_top")
NOT_COMPARED = Figure.missing("no text is tokenized", "share")
# The figures that every candidate has, as missing figures with a reason if necessary, and their units.
UNITS: Mapping[str, str] = {
    "decode_tokens_per_s": "tokens/s",
    "prefill_tokens_per_s": "tokens/s",
    "ttft_ms": "ms",
    "workload_latency_ms": "ms",
    "kl_mean": "nats",
    "kl_p99": "nats",
    "same_top": "share",
    "next_token_accuracy": "share",
    "perplexity": "",
    "peak_memory_bytes": "bytes",
    "energy_j": "J",
}


@dataclass(frozen=True)
class Candidate:
    """One recipe and its result.

    `status` is ok (built, checked and measured), failed (with `error`, and the path of the whole `log`), disqualified
    (its backend's unquantized build does not match the original) or skipped (not tried; `error` says why).
    """

    key: str
    backend: str
    recipe: Mapping[str, Any]
    status: Status = "ok"
    error: str | None = None
    log: str | None = None
    bytes: Count | None = None
    figures: Mapping[str, Figure] = field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()
    on_frontier: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passes(self) -> bool:
        """Return True if the candidate was measured and passes every gate."""
        return self.status == "ok" and all(verdict.ok for verdict in self.verdicts)

    @property
    def undecided(self) -> bool:
        """Return True if the candidate may pass every gate: those that do not pass are undecided gates on speed."""
        open_ = [verdict for verdict in self.verdicts if not verdict.ok]
        timed = all(verdict.undecided and verdict.figure in TIMED for verdict in open_)
        return self.status == "ok" and bool(open_) and timed

    @property
    def runs_on(self) -> str:
        """Return `backend`, or `backend on DEVICE` if the recipe names a device: the conversion it is derived from."""
        device = self.recipe.get("settings", {}).get("device")
        return f"{self.backend} on {device}" if device else self.backend

    def figure(self, name: str) -> Figure:
        """Return the figure of that name, or a missing figure."""
        return self.figures.get(name) or Figure.missing(self.error or "not measured", UNITS.get(name, ""))

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return {
            "key": self.key,
            "backend": self.backend,
            "recipe": dict(self.recipe),
            "status": self.status,
            "error": self.error,
            "log": self.log,
            "bytes": self.bytes,
            "figures": {name: figure.to_json() for name, figure in self.figures.items()},
            "verdicts": [verdict.to_json() for verdict in self.verdicts],
            "on_frontier": self.on_frontier,
            "facts": dict(self.facts),
        }


@dataclass(frozen=True)
class Conversion:
    """The parity check of a backend: its unquantized build, from which its other recipes start, against the reference.

    `token_ids_equal` is None if it was not determined. `token_mismatch` is the share of ids of the evaluation text, or
    of a plain text, that the backend's own tokenizer returns differently; `notes` lists other differences of
    tokenizers, which do not disqualify. `max_error` and `mean_error` are |differences| of log-probabilities in nats,
    over `compared` ids of a vocabulary of `vocabulary` ids at each scored token. A backend whose conversion has not
    `passed` is disqualified for the `reason`. On a device other than the CPU `backend` is "backend on DEVICE": each is
    checked, and disqualified, separately.
    """

    backend: str
    key: str
    token_ids_equal: bool | None
    max_error: Figure
    mean_error: Figure
    kl_mean: Figure
    same_top: Figure
    passed: bool
    reason: str
    compared: Count | None = None
    vocabulary: Count | None = None
    token_mismatch: Figure = field(default=NOT_COMPARED, metadata=OPTIONAL)
    notes: tuple[str, ...] = field(default=(), metadata=OPTIONAL)

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        figures = {name: getattr(self, name).to_json() for name in CONVERSION_FIGURES}
        return {
            "backend": self.backend,
            "key": self.key,
            "token_ids_equal": self.token_ids_equal,
            "token_mismatch": self.token_mismatch.to_json(),
            **figures,
            "compared": self.compared,
            "vocabulary": self.vocabulary,
            "passed": self.passed,
            "reason": self.reason,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Decision:
    """What was chosen for a model on a device, why, and every figure behind it.

    `chosen` is the key of a candidate or of the baseline, or None if none passes every gate. Then `fallback` is the key
    of the best one that keeps the quality: it may be bundled, but it is not approved.

    `remedies` are the changes of settings that `edgehone diagnose --apply` has kept since: each with the `candidate`,
    the `settings` that the bundle runs it with, the `cause`, the `figure` and its value `before` and `after`. The
    candidate's own figures are those of the settings in its recipe.
    """

    chosen: str | None
    reason: str
    device: Mapping[str, Any]
    model: Mapping[str, Any]
    workload: Mapping[str, Any]
    requirements: Mapping[str, Any]
    baseline: Candidate
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]
    versions: Mapping[str, Any]
    edgehone: str
    created: str  # UTC, ISO 8601
    conversions: tuple[Conversion, ...] = field(default=(), metadata=OPTIONAL)
    fallback: str | None = field(default=None, metadata=OPTIONAL)
    remedies: tuple[Mapping[str, Any], ...] = field(default=(), metadata=OPTIONAL)
    schema: Literal[1] = SCHEMA

    @property
    def bundled(self) -> str | None:
        """Return the key of the candidate that is bundled: the chosen one, else the fallback."""
        return self.chosen or self.fallback

    def candidate(self, key: str) -> Candidate:
        """Return the candidate of that key, which may be the baseline's. Raises InputError for an unknown key."""
        for candidate in (*self.candidates, self.baseline):
            if candidate.key == key:
                return candidate
        known = ", ".join(c.key for c in self.candidates)
        raise InputError(f"no candidate {key!r} in this decision", hint=f"candidates: {known}")

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict that is valid by the schema."""
        return {
            "schema": self.schema,
            "edgehone": self.edgehone,
            "created": self.created,
            "chosen": self.chosen,
            "fallback": self.fallback,
            "reason": self.reason,
            "device": dict(self.device),
            "model": dict(self.model),
            "workload": dict(self.workload),
            "requirements": dict(self.requirements),
            "baseline": self.baseline.to_json(),
            "candidates": [candidate.to_json() for candidate in self.candidates],
            "conversions": [conversion.to_json() for conversion in self.conversions],
            "notes": list(self.notes),
            "remedies": [dict(remedy) for remedy in self.remedies],
            "versions": dict(self.versions),
        }

    @classmethod
    def from_json(cls, data: Any, source: str = "decision.json") -> Decision:
        """Return the decision that `to_json` wrote. `source` names the file in messages.

        Raises InputError with the location and the offending value where the data is not such a decision.
        """
        return _read(data, source, None)


def salvage(data: Any, source: str = "decision.json") -> tuple[Decision, list[str]]:
    """Return what is valid of a damaged decision, and a sentence for each value that is not.

    An invalid figure becomes a missing one whose reason names the invalid value.
    """
    tolerant = Salvage(
        fields={(Candidate, "key"): str, (Candidate, "status"): lambda path: "skipped"},
        objects={Figure: Figure.missing},
    )
    return _read(data, source, tolerant), tolerant.problems


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of decision.json."""
    generated = typed_json.schema(Decision)
    generated["$defs"]["Candidate"]["properties"]["figures"]["required"] = list(UNITS)
    generated["$defs"]["Figure"] |= {
        "if": {"properties": {"value": {"type": "null"}}},
        "then": {"properties": {"reason": {"type": "string", "minLength": 1}}},
    }
    return generated


def _read(data: Any, source: str, tolerant: Salvage | None) -> Decision:
    def report(message: str, hint: str = typed_json.HINT) -> None:
        if tolerant is None:
            raise InputError(message, hint=hint)
        tolerant.problems.append(message)

    version = data.get("schema") if isinstance(data, Mapping) else None
    if isinstance(version, int) and version != SCHEMA:
        report(
            f"{source} has schema {version}, not {SCHEMA}",
            f"this edgehone reads schema {SCHEMA}; use the edgehone that wrote it, or optimize again",
        )
        data = {**data, "schema": SCHEMA}
    decision = typed_json.read(Decision, data, source, salvage=tolerant)
    if "weights" in decision.requirements:
        weights = typed_json.read_value(
            Mapping[str, float],
            decision.requirements["weights"],
            "requirements.weights",
            source,
            salvage=tolerant,
        )
        decision = replace(decision, requirements={**decision.requirements, "weights": weights})
    named = {f"candidates[{i}]": candidate for i, candidate in enumerate(decision.candidates)}
    for path, candidate in {"baseline": decision.baseline, **named}.items():
        if missing := [name for name in UNITS if name not in candidate.figures]:
            report(f"{source}: {path}.figures has no {', '.join(map(repr, missing))}")
    known = {c.key for c in (*decision.candidates, decision.baseline)}
    if decision.chosen is not None and decision.chosen not in known:
        report(f"{source}: chosen is {decision.chosen!r}, which is not a candidate")
        decision = replace(decision, chosen=None)
    if decision.fallback is not None and decision.fallback not in known:
        report(f"{source}: fallback is {decision.fallback!r}, which is not a candidate")
        decision = replace(decision, fallback=None)
    return decision
