"""The top of a bundle's report: problems, the decision in a sentence, its figures, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, TypeGuard

from edgehone.decision.decision import Decision
from edgehone.report.figures import interval_of, number, value_of
from edgehone.report.findings import Findings
from edgehone.report.html.parts import Context, facts, section
from edgehone.report.html.tag import Html, join, tag

NOT_APPROVED = "no candidate passes every gate. The bundle contains the best one that keeps the quality."
# Problems shown; the others are folded.
_SHOWN = 5


def title(findings: Findings) -> str:
    """Return the title: the model and the machine, or the device that its figures are predicted for."""
    target = _target(findings.decision.device)
    model, cpu = findings.decision.model, findings.decision.device.get("cpu")
    name = PurePath(str(model.get("path") or "")).name or str(model.get("architecture") or findings.name)
    if target:
        return f"{name} for {target}: speed and memory predicted, not measured"
    return f"{name} on {cpu}" if cpu else name


def _target(device: Mapping[str, Any]) -> str | None:
    target = device.get("target")
    return str(target["name"]) if isinstance(target, Mapping) and target.get("name") else None


def banner(findings: Findings) -> Html | None:
    """Return the list of what is missing, changed or cannot be read in this bundle; None if there are no problems."""
    if not findings.problems:
        return None
    count = len(findings.problems)
    rows = [tag("li", problem) for problem in findings.problems]
    more = (
        tag("details", tag("summary", f"{count - _SHOWN} more"), tag("ul", *rows[_SHOWN:]))
        if count > _SHOWN
        else None
    )
    text = "This bundle is incomplete or was changed; the report shows what can be read:"
    return tag("div", tag("p", text), tag("ul", *rows[:_SHOWN]), more, class_="banner", role="note")


def verdict(context: Context) -> Html:
    """Return the decision in a sentence, and the chosen candidate's figures compared with the original's."""
    decision = context.findings.decision
    chosen = decision.chosen
    reason = decision.reason or "The reason of the decision is unknown."
    if chosen and reason.startswith(f"{chosen}: "):
        lead = tag("p", tag("strong", chosen), reason[len(chosen) :], class_="lead")
    else:
        lead = tag("p", reason, class_="lead")
    refused = (
        tag("p", tag("strong", "Not approved: "), NOT_APPROVED, class_="lead") if _refused(decision) else None
    )
    return tag("div", refused, lead, _tiles(decision) if decision.bundled else None, class_="verdict")


def _refused(decision: Decision) -> bool:
    return decision.chosen is None and decision.fallback is not None


def _tiles(decision: Decision) -> Html:
    """Return speed, memory, accuracy and size of the chosen candidate, with the interval or the original's value."""
    one, original = decision.candidate(decision.bundled or ""), decision.baseline
    tiles = []
    for name, word in (
        ("speedup", "as fast"),
        ("memory_cut", "less memory"),
        ("accuracy_kept", "of the accuracy kept"),
    ):
        figure = one.figure(name)
        if figure.value is not None:
            value = figure.value
            if name == "memory_cut" and value < 0:
                word, value = "more memory", -value
            word = f"{word}, predicted" if figure.predicted else word
            tiles.append((number(name, value, figure.unit), word, interval_of(name, figure)))
    if one.bytes is not None:
        before = original.figure("bytes")
        was = f"the original: {value_of('bytes', before)}" if before.value is not None else ""
        tiles.append((number("bytes", one.bytes, "bytes"), "on disk", was))
    items = [
        tag("li", tag("b", value), tag("span", word), tag("small", detail) if detail else None)
        for value, word, detail in tiles
    ]
    return tag("ul", *items, class_="tiles")


def about(context: Context) -> Html:
    """Return the section with the device, the model and the workload."""
    decision = context.findings.decision
    parts = (
        ("Device", _device(decision.device)),
        ("Model", _model(decision.model)),
        ("Workload", _workload(decision)),
    )
    columns = [tag("div", tag("h3", name), content) for name, content in parts]
    title = "Device, model and workload"
    return section(context.prefix, "about", title, tag("div", *columns, class_="about"))


def _device(device: Mapping[str, Any]) -> Html:
    where = [
        word
        for word, key in (("a virtual machine", "virtualised"), ("a container", "container"))
        if device.get(key)
    ]
    cores = device.get("physical_cores")
    return facts(
        [
            ("Target", _target(device)),
            ("Processor", device.get("cpu")),
            ("Threads used", _join(device.get("threads"), f"of {cores} cores" if cores else None)),
            ("Memory", _size(device.get("memory_bytes"))),
            (
                "Instructions",
                ", ".join(map(str, device["simd"])) if isinstance(device.get("simd"), list) else None,
            ),
            ("System", _join(device.get("os"), device.get("architecture"))),
            ("Runs in", " in ".join(where)),
            ("Fingerprint", device.get("fingerprint")),
        ]
    )


def _model(model: Mapping[str, Any]) -> Html:
    parameters = model.get("parameters")
    return facts(
        [
            ("Architecture", model.get("architecture")),
            ("Parameters", number("", parameters / 1e6, "M") if _is_number(parameters) else None),
            ("Files", _size(model.get("bytes"))),
            ("Stored as", ", ".join(model["dtypes"]) if isinstance(model.get("dtypes"), dict) else None),
            ("Layers", model.get("layers")),
            ("Vocabulary", f"{model['vocabulary']:,}" if _is_number(model.get("vocabulary")) else None),
            ("Licence", model.get("licence")),
            ("SHA-256", tag("code", str(model["digest"])[:16]) if model.get("digest") else None),
        ]
    )


def _workload(decision: Decision) -> Html:
    work, weights = decision.workload, decision.requirements.get("weights")
    graph = work.get("task") == "graph"
    lengths = (work.get("prompt_tokens"), work.get("generated_tokens"))
    return facts(
        [
            ("Name", work.get("name")),
            ("Request", None if graph else f"{lengths[0]} tokens in, {lengths[1]} out"),
            ("Batch", work.get("batch")),
            ("Concurrent requests", work.get("concurrency")),
            ("Weights", _weights(weights)),
        ]
    )


def _weights(weights: Any) -> str | None:
    if not isinstance(weights, Mapping):
        return None
    return ", ".join(f"{name} {value:g}" for name, value in weights.items() if _is_number(value))


def _size(value: Any) -> str | None:
    return number("bytes", value, "bytes") if _is_number(value) else None


def _join(*words: Any) -> Html | None:
    known = [str(word) for word in words if word is not None]
    return join(" ".join(known)) if known else None


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
