"""All checks, in the order in which they are made: those that read files first, those that put load last."""

from __future__ import annotations

from typing import Final

from edgehone.certify import (
    compliance,
    formats,
    malformed,
    network,
    packages,
    performance,
    privacy,
    quality,
    robustness_graph,
    robustness_text,
    security,
    stability,
    stress,
)
from edgehone.certify.check import Check

_TEXT, _GRAPH = ("language",), ("graph",)

CHECKS: Final = (
    Check("integrity", "compliance", "files are as they were written", compliance.integrity),
    Check("licence", "compliance", "the original's licence", compliance.licence),
    Check("notices", "compliance", "licence texts that are carried", compliance.notices),
    Check("provenance", "compliance", "original, data, versions, device, command", compliance.provenance),
    Check("model_card", "compliance", "the original's model card", compliance.model_card),
    Check("sbom", "compliance", "packages with versions and licences", compliance.sbom),
    Check("permissions", "security", "who can change the files", security.permissions),
    Check("pickles", "security", "pickled files, by picklescan", security.pickles),
    Check("file_formats", "security", "sizes, offsets, paths, custom operators", formats.file_formats),
    Check("template_sandbox", "security", "what the chat template tries", security.template_sandbox, _TEXT),
    Check("dependencies", "security", "packages are pinned and installed as pinned", packages.dependencies),
    Check("vulnerabilities", "security", "advisories against the packages", packages.vulnerabilities),
    Check("network", "security", "no network at inference", network.network),
    Check("calibration_data", "privacy", "calibration data in the bundle", privacy.calibration_data),
    Check("accuracy", "quality", "accuracy kept on other text or samples", quality.accuracy, _TEXT),
    Check("accuracy", "quality", "accuracy kept on other text or samples", robustness_graph.accuracy, _GRAPH),
    Check("slices", "quality", "the worst slice or class", robustness_graph.slices, _GRAPH),
    Check("long_context", "quality", "divergence by position", quality.long_context, _TEXT),
    Check("chat_template", "quality", "chat template and ends of texts", quality.chat_template, _TEXT),
    Check("typos", "robustness", "text with typing errors", robustness_text.typos, _TEXT),
    Check("unicode", "robustness", "characters of other scripts", robustness_text.unicode, _TEXT),
    Check("repeated_tokens", "robustness", "repeated phrases", robustness_text.repeated_tokens, _TEXT),
    Check(
        "odd_prompts", "robustness", "empty, repeated, longest prompts", robustness_text.odd_prompts, _TEXT
    ),
    Check("noise", "robustness", "samples with noise", robustness_graph.noise, _GRAPH),
    Check("blur", "robustness", "blurred samples", robustness_graph.blur, _GRAPH),
    Check(
        "brightness", "robustness", "brighter samples of less contrast", robustness_graph.brightness, _GRAPH
    ),
    Check(
        "extreme_values", "robustness", "largest and smallest values", robustness_graph.extreme_values, _GRAPH
    ),
    Check("missing_values", "robustness", "zeros and NaN", robustness_graph.missing_values, _GRAPH),
    Check("malformed_files", "robustness", "damaged model files", malformed.malformed_files),
    Check("size", "performance", "bytes of the artifact", performance.size),
    Check("memory", "performance", "peak memory of a process", performance.peak_memory),
    Check("latency_p50", "performance", "latency of a request", performance.latency_p50),
    Check("latency_p95", "performance", "95th percentile of the latency", performance.latency_p95),
    Check("latency_p99", "performance", "99th percentile of the latency", performance.latency_p99),
    Check("throughput", "performance", "requests per second", performance.throughput),
    Check("start", "performance", "time until a server is ready", stress.start),
    Check("overload", "stress", "load past the capacity", stress.overload),
    Check("overload_latency", "stress", "latency past the capacity", stress.overload_latency),
    Check("memory_returns", "stress", "memory after the overload", stress.memory_returns),
    Check("latency_trend", "stability", "latency over the soak", stability.latency_trend),
    Check("memory_trend", "stability", "memory over the soak", stability.memory_trend),
    Check("output_trend", "stability", "answers over the soak", stability.output_trend),
    Check("recovery", "stress", "the engine is killed", stress.recovery),
    Check("logs", "privacy", "prompts in logs", privacy.logs),
)


def checks_for(kind: str) -> tuple[Check, ...]:
    """Return the checks for a kind of model."""
    return tuple(one for one in CHECKS if kind in one.kinds)
