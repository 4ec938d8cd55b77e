"""What rollouts and autoscalers ask of Prometheus: analyses get the arguments that they need, metrics of pods exist."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from edgehone.package.targets.kubernetes.kserve import Object, said
from edgehone.package.targets.kubernetes.texts import text_of

_USED: Final = re.compile(r"\{\{\s*args\.([\w-]+)\s*\}\}")
_NAMED: Final = re.compile(r"^ +as: (\w+)$", re.M)
_HASHES: Final = ("Latest", "Stable")
# Where each type of a target has its value.
_TARGETS: Final = {"Utilization": "averageUtilization", "Value": "value", "AverageValue": "averageValue"}


def check_arguments(objects: Sequence[Object]) -> Iterator[str]:
    """Each analysis gets the arguments that its template declares, and queries use no other ones."""
    templates = {one["metadata"]["name"]: one for one in objects if one["kind"] == "AnalysisTemplate"}
    for one in templates.values():
        declared = {arg["name"] for arg in one["spec"].get("args", ())}
        used = {name for metric in one["spec"]["metrics"] for name in _USED.findall(_query(metric))}
        yield from (
            f"{said(one)} uses the argument {name}, which it does not declare" for name in used - declared
        )
    for one in objects:
        if one["kind"] == "Rollout":
            for step in one["spec"].get("strategy", {}).get("canary", {}).get("steps", ()):
                yield from _step_problems(said(one), step.get("analysis", {}), templates)


def _step_problems(what: str, analysis: Object, templates: dict[str, Object]) -> Iterator[str]:
    given = {arg["name"]: arg for arg in analysis.get("args", ())}
    declared: dict[str, Any] = {}
    for named in analysis.get("templates", ()):
        args = templates.get(named["templateName"], {"spec": {}})["spec"].get("args", ())
        declared |= {arg["name"]: arg for arg in args}
    for name, arg in declared.items():
        if name not in given and "value" not in arg and "valueFrom" not in arg:
            yield f"a step of {what} does not give the argument {name}"
    for name, arg in given.items():
        if name not in declared:
            yield f"a step of {what} gives the argument {name}, which no template declares"
        asked = arg.get("valueFrom", {}).get("podTemplateHashValue")
        if asked is not None and asked not in _HASHES:
            yield f"a step of {what} takes {name} from the pods {asked}: {' or '.join(_HASHES)}"
    hashes = [arg.get("valueFrom", {}).get("podTemplateHashValue") for arg in given.values()]
    for hash_value in _HASHES:
        if hashes.count(hash_value) > 1:
            yield f"a step of {what} compares the pods {hash_value} with themselves"


def _query(metric: Object) -> str:
    return str(metric.get("provider", {}).get("prometheus", {}).get("query", ""))


def check_metrics(objects: Sequence[Object]) -> Iterator[str]:
    """An autoscaler reads metrics of pods that prometheus-adapter makes, each once, and knows the value for each."""
    for one in objects:
        if one["kind"] != "HorizontalPodAutoscaler":
            continue
        for metric in one["spec"]["metrics"]:
            target = metric.get(metric["type"].lower(), {}).get("target", {})
            if _TARGETS.get(target.get("type")) not in target:
                yield f"{said(one)} has a metric without the value of its target: {target}"
        read = [
            metric["pods"]["metric"]["name"] for metric in one["spec"]["metrics"] if metric["type"] == "Pods"
        ]
        for name in read:
            if name not in made_metrics():
                yield f"{said(one)} reads the metric {name}, which monitoring/prometheus-adapter.yaml does not make"
        for name in {name for name in read if read.count(name) > 1}:
            yield f"{said(one)} reads the metric {name} twice"


@functools.cache
def made_metrics() -> frozenset[str]:
    """Return the names of the metrics that monitoring/prometheus-adapter.yaml makes."""
    return frozenset(_NAMED.findall(text_of("prometheus-adapter.yaml")))
