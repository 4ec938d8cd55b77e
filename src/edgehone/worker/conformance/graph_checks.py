"""Worker side: requirements on the session of a graph. Inputs are random (seeded), with the shapes of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import ConcurrentGraphBackend, capability
from edgehone.worker.backend import load_backend
from edgehone.worker.conformance.build_checks import quantized_recipes_quantize
from edgehone.worker.conformance.device_checks import visible_devices_are_reported
from edgehone.worker.conformance.outcome import Check, Failed, Skipped, demand
from edgehone.worker.conformance.run_checks import Subject
from edgehone.worker.conformance.session_checks import check_operator_times, the_network_is_not_used

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

BATCH = 3
# Threads that run a graph concurrently, and the number of runs of each.
CLIENTS = 4
RUNS = 8
# Size of dynamic axes other than the first, such as a length or a height.
FREE = 8
# Tolerances as shares of the largest output: the same call, and the same rows in another batch (other kernels).
SAME = 1e-6
CLOSE = 1e-4


def run_returns_all_outputs(subject: Subject) -> str:
    """run() returns every output with the original's name and dtype, batch first: outputs are compared by name."""
    feeds = _feeds(subject, 0)
    with subject.open() as session:
        outputs = session.run(feeds)
    wanted = {tensor["name"]: tensor for tensor in subject.facts["outputs"]}
    demand(set(outputs) == set(wanted), f"outputs {sorted(outputs)}, the original's are {sorted(wanted)}")
    for name, tensor in wanted.items():
        array = outputs[name]
        demand(
            str(array.dtype) == tensor["dtype"], f"{name} is {array.dtype}, the original's {tensor['dtype']}"
        )
        demand(
            array.ndim == len(tensor["shape"]), f"{name} has shape {array.shape}, stated {tensor['shape']}"
        )
        demand(array.ndim == 0 or len(array) == _batch(subject), f"{name} has shape {array.shape}")
    return ", ".join(f"{name} {list(outputs[name].shape)}" for name in wanted)


def run_is_deterministic(subject: Subject) -> str:
    """The same inputs give the same outputs."""
    feeds = _feeds(subject, 0)
    with subject.open() as session:
        return _near(_run(session, feeds), _run(session, feeds), SAME)


def run_is_independent_of_earlier_calls(subject: Subject) -> str:
    """Outputs depend only on the inputs, not on earlier runs."""
    with subject.open() as session:
        fresh = _run(session, _feeds(subject, 0))
    with subject.open() as session:
        _run(session, _feeds(subject, 1))
        return _near(fresh, _run(session, _feeds(subject, 0)), SAME, "after other inputs")


def batch_rows_are_independent(subject: Subject) -> str:
    """A row of a batch gives the same outputs as alone: samples must not affect each other."""
    if not _has_dynamic_batch(subject):
        raise Skipped("its batch has a fixed size")
    feeds = _feeds(subject, 0)
    with subject.open() as session:
        whole = _run(session, feeds)
        alone = _run(session, {name: array[1:2] for name, array in feeds.items()})
    return _near({name: array[1:2] for name, array in whole.items()}, alone, CLOSE, "alone")


def concurrent_runs_are_independent(subject: Subject) -> str:
    """open_graph_many(), if a backend has it, opens a graph whose run() returns to each of several threads the outputs
    of a run alone: throughput is then measured on the outputs whose quality was measured."""
    backend = capability(load_backend(subject.job), ConcurrentGraphBackend)
    if backend is None:
        raise Skipped("it has no open_graph_many(): requests are served one after another")
    requests = [_feeds(subject, seed) for seed in range(CLIENTS)]
    with subject.open() as session:
        alone = [_run(session, feeds) for feeds in requests]
    job = subject.job
    many = backend.open_graph_many(job.inputs["artifact"], job.args["settings"], job, CLIENTS)
    try:
        with ThreadPoolExecutor(CLIENTS) as pool:
            outputs_of_requests = list(pool.map(lambda feeds: _run(many, feeds), requests * RUNS))
    finally:
        many.close()
    seen = ""
    for first, second in zip(alone * RUNS, outputs_of_requests, strict=True):
        seen = _near(first, second, CLOSE, "among other threads")
    return seen


def builds_have_equal_outputs(subject: Subject) -> str:
    """Two builds of one recipe give the same outputs: a finished build is reused from the store and never repeated."""
    feeds = _feeds(subject, 0)
    with subject.open() as session:
        first = _run(session, feeds)
    with subject.open("again") as session:
        return _near(first, _run(session, feeds), SAME)


def a_closed_graph_can_be_reopened(subject: Subject) -> str:
    """After close(), the artifact can be opened again in the same process with the same results."""
    feeds = _feeds(subject, 0)
    found = []
    for _ in range(2):
        with subject.open() as session:
            found.append(_run(session, feeds))
    return _near(found[0], found[1], SAME)


def invalid_feeds_raise_errors(subject: Subject) -> str:
    """run() raises an error for a missing or unknown input and for a wrong rank: its outputs would be meaningless."""
    feeds = _feeds(subject, 0)
    name = next(iter(feeds))
    invalid = {
        f"without {name}": {key: array for key, array in feeds.items() if key != name},
        "with an unknown input": {**feeds, "no_such_input": feeds[name]},
        f"{name} with an additional axis": {**feeds, name: feeds[name][None]},
    }
    with subject.open() as session:
        for what, inputs in invalid.items():
            _raises(session, inputs, what)
        _run(session, feeds)
    return f"{len(invalid)} kinds, each raised an error"


def operator_times_are_plausible(subject: Subject) -> str:
    """operator_times(), if the module has it, returns calls and seconds of each kind of operator of one batch, in
    total no more than the duration of the call: `edgehone profile` shows them."""
    return check_operator_times(subject, {"feeds": _feeds(subject, 0)}, {"run"})


CHECKS: tuple[Check, ...] = (
    run_returns_all_outputs,
    run_is_deterministic,
    run_is_independent_of_earlier_calls,
    batch_rows_are_independent,
    concurrent_runs_are_independent,
    builds_have_equal_outputs,
    a_closed_graph_can_be_reopened,
    invalid_feeds_raise_errors,
    operator_times_are_plausible,
    quantized_recipes_quantize,
    visible_devices_are_reported,
    the_network_is_not_used,
)


def _has_dynamic_batch(subject: Subject) -> bool:
    return all(t["shape"] and not isinstance(t["shape"][0], int) for t in subject.facts["inputs"])


def _batch(subject: Subject) -> int:
    return BATCH if _has_dynamic_batch(subject) else int(subject.facts["inputs"][0]["shape"][0])


def _feeds(subject: Subject, seed: int) -> Arrays:
    import numpy as np

    random = np.random.default_rng(seed)
    return {t["name"]: _array(t, _batch(subject), random) for t in subject.facts["inputs"]}


def _array(tensor: Mapping[str, Any], batch: int, random: Any) -> NDArray[Any]:
    import numpy as np

    dtype = np.dtype(tensor["dtype"])
    first: Sequence[Any] = tensor["shape"][:1]
    shape = [size if isinstance(size, int) else batch for size in first]
    shape += [size if isinstance(size, int) else FREE for size in tensor["shape"][1:]]
    if "mask" in tensor["name"]:
        return np.ones(shape, dtype)
    if dtype.kind == "f":
        return np.asarray(random.normal(size=shape), dtype)
    # Small integers are valid ids in every vocabulary.
    return np.asarray(random.integers(0, 2 if dtype.kind == "b" else 8, shape), dtype)


def _run(session: Any, feeds: Arrays) -> Arrays:
    import numpy as np

    return {name: np.array(array, copy=True) for name, array in session.run(feeds).items()}


def _near(first: Arrays, second: Arrays, most: float, what: str = "") -> str:
    import numpy as np

    worst = 0.0
    for name, array in first.items():
        other = second[name]
        demand(array.shape == other.shape, f"{name} is {array.shape}, then {other.shape} {what}".rstrip())
        a, b = array.astype(np.float64), other.astype(np.float64)
        demand(bool(np.isfinite(b).all()), f"{name} is not finite {what}".rstrip())
        if a.size:
            worst = max(worst, float(np.abs(a - b).max() / max(float(np.abs(a).max()), 1e-12)))
    seen = f"difference of {worst:.2g} times the largest output {what}".rstrip()
    demand(worst <= most, f"{seen}, but rounding explains at most {most:g}")
    return seen


def _raises(session: Any, feeds: Arrays, what: str) -> None:
    try:
        session.run(feeds)
    except Exception:  # noqa: BLE001 - the framework may choose the error
        return
    raise Failed(f"{what} was accepted")
