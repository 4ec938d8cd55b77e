"""Operator times from OpenVINO's performance counters (worker side).

With PERF_COUNT the CPU plugin keeps, for each node, the mean time over all inferences of the compiled model, in
whole microseconds. The time of later inferences is the mean times their number, minus the time of the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.openvino.stateful import token_inputs
from edgehone.backends.sessions import OperatorTime, WorkerJob

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgehone.backends.openvino.graph_session import OpenVinoGraphSession

    Arrays = Mapping[str, NDArray[Any]]

_PERF_COUNT = {"PERF_COUNT": True}


def operator_times(
    artifact: Path, settings: Mapping[str, Any], job: WorkerJob, **request: Any
) -> list[OperatorTime]:
    """Time the operators of one request to a language model, or of one batch of a graph."""
    import openvino as ov

    from edgehone.backends.openvino import graph_session
    from edgehone.backends.openvino import session as openvino_session

    threads = job.threads
    core = ov.Core()
    if "prompt" in request:
        options = openvino_session.properties(settings, threads) | _PERF_COUNT
        compiled = core.compile_model(artifact / "openvino_model.xml", "CPU", options)
        return language(compiled.create_infer_request(), request["prompt"], request["generated"])
    session = graph_session.OpenVinoGraphSession(artifact, settings, threads, _PERF_COUNT)
    return graph(session, request["feeds"])


def language(request: Any, prompt: Sequence[int], generated: int) -> list[OperatorTime]:
    """Time prefill of the prompt, then greedy decoding token by token.

    `request` is an inference request of a stateful language model.
    """
    import numpy as np

    request.reset_state()
    ids, length = list(prompt), 0
    first: Mapping[tuple[str, str], float] = {}
    for step in range(generated):
        request.infer(token_inputs(np.array([ids], np.int64), length, request.model_inputs))
        ids, length = [int(request.get_tensor("logits").data[0, -1].argmax())], length + len(ids)
        if step == 0:
            first = _means(request)
    times = _summed("prefill", first, 1)
    if generated > 1:
        later = {
            node: max(0.0, mean * generated - first.get(node, 0.0)) for node, mean in _means(request).items()
        }
        times += _summed("decode", later, generated - 1)
    return times


def graph(session: OpenVinoGraphSession, feeds: Arrays) -> list[OperatorTime]:
    """Time one inference of a graph, after one that warms up."""
    session.run(feeds)
    first = _means(session.request)
    session.run(feeds)
    second = {
        node: max(0.0, 2 * mean - first.get(node, 0.0)) for node, mean in _means(session.request).items()
    }
    return _summed("run", second, 1)


def _means(request: Any) -> dict[tuple[str, str], float]:
    """Return the mean seconds of each executed node, by name and operator type."""
    return {
        (one.node_name, one.node_type): one.real_time.total_seconds()
        for one in request.profiling_info
        if one.status.name == "EXECUTED"
    }


def _summed(phase: str, nodes: Mapping[tuple[str, str], float], calls: int) -> list[OperatorTime]:
    kinds: dict[str, list[float]] = {}
    for (_, kind), seconds in nodes.items():
        kinds.setdefault(kind, []).append(seconds)
    return [OperatorTime(phase, kind, calls * len(some), sum(some)) for kind, some in kinds.items()]
