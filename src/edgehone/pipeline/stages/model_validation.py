"""The stage model_validation: the original is inspected, scanned, converted without quantization, and measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edgehone.pipeline.document import Pipeline
from edgehone.pipeline.keys import digests
from edgehone.pipeline.read import settings_fields
from edgehone.pipeline.stage import Stage
from edgehone.pipeline.stages.common import data_inputs, judge, never, now
from edgehone.pipeline.work import StageFailed, Work
from edgehone.report.figures import label, number

_SHOWN: Final = ("workload_latency_ms", "decode_tokens_per_s", "peak_memory_bytes")


def _settings(pipeline: Pipeline) -> Mapping[str, Any]:
    found = settings_fields(pipeline.model_validation)
    found.pop("accuracy_threshold")  # of the stages optimization and testing
    optimization = pipeline.optimization
    model = {name: getattr(pipeline.model, name) for name in ("metric", "workload", "device")}
    return {**found, **model, "frameworks": optimization.frameworks, "effort": optimization.effort}


def _inputs(work: Work) -> Mapping[str, str]:
    """Return the digests of the data and of every file in the model's folder, since the scan looks at all of them."""
    found = data_inputs(work)
    return {**found, **digests({"folder": work.model})} if work.model.is_dir() else found


def _make(work: Work) -> tuple[Mapping[str, Any], str]:
    settings, optimization = work.pipeline.model_validation, work.pipeline.optimization
    words = ["inspect", str(work.model), "--parity", *work.model_words(), "--effort", optimization.effort]
    words += ["--when-busy", optimization.when_busy]
    words += ["--backends", ",".join(backends)] if (backends := work.backends()) else []
    words += ["--scan"] if settings.security_scan == "enabled" else []
    words += ["--baseline"] if settings.performance_baseline != "disabled" else []
    begun = now()
    done = work.verb(*words)
    facts = done.facts
    if not facts or "validation" not in facts:
        work.found("inspect", "failed", done.problem, begun)
        raise StageFailed(done.problem)
    size = f"{facts['parameters']:,} parameters, {facts['bytes'] / 1e6:.1f} MB"
    work.found("inspect", "passed", f"{facts['architecture'] or facts['format']}: {size}")
    for name, one in facts.get("scan", {}).items():
        work.found(f"security_scan.{name}", one["outcome"], one["reason"])
    _conversions(work, facts["validation"], begun)
    baseline = _baseline(work, facts["validation"]["baseline"])
    agree = sum(one["passed"] for one in facts["validation"]["conversions"])
    work.figures.extend(
        [f"{facts['parameters'] / 1e6:.1f} M parameters", f"{agree} conversions agree with it"]
    )
    judge(work)
    return {"baseline": baseline}, f"{work.model.name}: {size}"


def _conversions(work: Work, validation: Mapping[str, Any], begun: float) -> None:
    conversions = validation["conversions"]
    for one in conversions:
        work.found(f"parity.{one['backend']}", "passed" if one["passed"] else "failed", one["reason"], begun)
    for name, reason in validation["refused"].items():
        work.found(f"parity.{name}", "skipped", f"not tried: {reason}")
    if not conversions:
        work.found("parity", "failed", "no framework takes this model")


def _baseline(work: Work, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Note whether the original's figures are known, and return them."""
    need = work.pipeline.model_validation.performance_baseline
    if need == "disabled":
        work.found("performance_baseline", "skipped", "disabled in the file")
        return {}
    known = {name: one for name, one in figures.items() if one.get("value") is not None}
    shown = [
        f"{label(name)} {number(name, known[name]['value'], known[name].get('unit', ''))}"
        for name in _SHOWN
        if name in known
    ]
    latency = figures.get("workload_latency_ms", {})
    if latency.get("value") is not None:
        work.found("performance_baseline", "passed", ", ".join(shown))
    else:
        outcome: Any = "failed" if need == "required" else "skipped"
        reason = latency.get("reason") or "it was not measured"
        work.found("performance_baseline", outcome, f"the original's latency is not known: {reason}")
    return {name: one["value"] for name, one in known.items()}


STAGE: Final = Stage(
    name="model_validation",
    says="the original is inspected, scanned, converted without quantization, and measured",
    needs=None,
    settings=_settings,
    inputs=_inputs,
    make=_make,
    departed=never,
    approval=lambda pipeline: pipeline.model_validation.approval,
)
