"""Worker side: what an opened graph must do. Inputs are random, seeded, of the shapes that the model states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import ConcurrentGraphBackend, capability
from edgehone.worker.backend import load_backend
from edgehone.worker.conformance.device_checks import devices_are_told
from edgehone.worker.conformance.outcome import Check, Failed, Skipped, demand
from edgehone.worker.conformance.run_checks import Subject
from edgehone.worker.conformance.session_checks import nothing_asks_the_network, told_operators

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

BATCH = 3
# Threads that run a graph at once, and how often each does.
CLIENTS = 4
RUNS = 8
# Any axis but the first whose size the graph leaves open: a length, a height.
FREE = 8
# Shares of the largest output: the same call again, and the same rows in another batch (other kernels).
SAME = 1e-6
CLOSE = 1e-4


def run_gives_all_outputs(subject: Subject) -> str:
    """run() gives every output by the original's name, in its type, batch first: figures compare them by name."""
    feeds = _feeds(subject, 0)
    with subject.open() as session:
        made = session.run(feeds)
    wanted = {tensor["name"]: tensor for tensor in subject.facts["outputs"]}
    demand(set(made) == set(wanted), f"outputs {sorted(made)}, the original's are {sorted(wanted)}")
    for name, tensor in wanted.items():
        array = made[name]
        demand(
            str(array.dtype) == tensor["dtype"], f"{name} is {array.dtype}, the original's {tensor['dtype']}"
        )
        demand(
            array.ndim == len(tensor["shape"]), f"{name} has shape {array.shape}, stated {tensor['shape']}"
        )
        demand(array.ndim == 0 or len(array) == _batch(subject), f"{name} has shape {array.shape}")
    return ", ".join(f"{name} {list(made[name].shape)}" for name in wanted)


def run_repeats(subject: Subject) -> str:
    """The same inputs give the same outputs again."""
    feeds = _feeds(subject, 0)
    with subject.open() as session:
        return _near(_run(session, feeds), _run(session, feeds), SAME)


def run_forgets_earlier_calls(subject: Subject) -> str:
    """Outputs depend on the inputs given and on nothing that was run before."""
    with subject.open() as session:
        fresh = _run(session, _feeds(subject, 0))
    with subject.open() as session:
        _run(session, _feeds(subject, 1))
        return _near(fresh, _run(session, _feeds(subject, 0)), SAME, "after other inputs")


def rows_do_not_mix(subject: Subject) -> str:
    """A row of a batch gives what it gives alone: samples must not leak into each other."""
    if not _open_batch(subject):
        raise Skipped("its batch has a fixed size")
    feeds = _feeds(subject, 0)
    with subject.open() as session:
        whole = _run(session, feeds)
        alone = _run(session, {name: array[1:2] for name, array in feeds.items()})
    return _near({name: array[1:2] for name, array in whole.items()}, alone, CLOSE, "alone")


def threads_do_not_mix(subject: Subject) -> str:
    """open_graph_many(), where a backend has it, opens a graph whose run() gives each of several threads what run()
    gives alone: what is measured under load is what was proven."""
    backend = capability(load_backend(subject.job), ConcurrentGraphBackend)
    if backend is None:
        raise Skipped("it has none: requests are served one after another")
    given = [_feeds(subject, seed) for seed in range(CLIENTS)]
    with subject.open() as session:
        alone = [_run(session, feeds) for feeds in given]
    job = subject.job
    many = backend.open_graph_many(job.inputs["artifact"], job.args["settings"], job, CLIENTS)
    try:
        with ThreadPoolExecutor(CLIENTS) as pool:
            found = list(pool.map(lambda feeds: _run(many, feeds), given * RUNS))
    finally:
        many.close()
    seen = ""
    for first, second in zip(alone * RUNS, found, strict=True):
        seen = _near(first, second, CLOSE, "beside other threads")
    return seen


def builds_run_equally(subject: Subject) -> str:
    """Two builds of one recipe give the same outputs: a build that is done is taken from the store."""
    feeds = _feeds(subject, 0)
    with subject.open() as session:
        first = _run(session, feeds)
    with subject.open("again") as session:
        return _near(first, _run(session, feeds), SAME)


def a_closed_graph_can_be_opened_again(subject: Subject) -> str:
    """After close() the artifact opens again in the same process and answers the same."""
    feeds = _feeds(subject, 0)
    found = []
    for _ in range(2):
        with subject.open() as session:
            found.append(_run(session, feeds))
    return _near(found[0], found[1], SAME)


def bad_feeds_are_errors(subject: Subject) -> str:
    """An input that is missing, unknown or of another rank raises: outputs of what was not given mean nothing."""
    feeds = _feeds(subject, 0)
    name = next(iter(feeds))
    bad = {
        f"without {name}": {key: array for key, array in feeds.items() if key != name},
        "with an unknown input": {**feeds, "no_such_input": feeds[name]},
        f"{name} with an axis more": {**feeds, name: feeds[name][None]},
    }
    with subject.open() as session:
        for what, given in bad.items():
            _raises(session, given, what)
        _run(session, feeds)
    return f"{len(bad)} kinds, each raised"


def operators_are_told(subject: Subject) -> str:
    """operator_times(), where the module has it, tells calls and seconds of each kind of operator of one batch, all
    together no more than the call took: a profile shows them."""
    return told_operators(subject, {"feeds": _feeds(subject, 0)}, {"run"})


CHECKS: tuple[Check, ...] = (
    run_gives_all_outputs,
    run_repeats,
    run_forgets_earlier_calls,
    rows_do_not_mix,
    threads_do_not_mix,
    builds_run_equally,
    a_closed_graph_can_be_opened_again,
    bad_feeds_are_errors,
    operators_are_told,
    devices_are_told,
    nothing_asks_the_network,
)


def _open_batch(subject: Subject) -> bool:
    return all(t["shape"] and not isinstance(t["shape"][0], int) for t in subject.facts["inputs"])


def _batch(subject: Subject) -> int:
    return BATCH if _open_batch(subject) else int(subject.facts["inputs"][0]["shape"][0])


def _feeds(subject: Subject, seed: int) -> Arrays:
    import numpy as np

    chance = np.random.default_rng(seed)
    return {t["name"]: _array(t, _batch(subject), chance) for t in subject.facts["inputs"]}


def _array(tensor: Mapping[str, Any], batch: int, chance: Any) -> NDArray[Any]:
    import numpy as np

    dtype = np.dtype(tensor["dtype"])
    first: Sequence[Any] = tensor["shape"][:1]
    shape = [size if isinstance(size, int) else batch for size in first]
    shape += [size if isinstance(size, int) else FREE for size in tensor["shape"][1:]]
    if "mask" in tensor["name"]:
        return np.ones(shape, dtype)
    if dtype.kind == "f":
        return np.asarray(chance.normal(size=shape), dtype)
    # Small whole numbers are ids in any vocabulary.
    return np.asarray(chance.integers(0, 2 if dtype.kind == "b" else 8, shape), dtype)


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
    seen = f"{worst:.2g} of the largest apart {what}".rstrip()
    demand(worst <= most, f"{seen}, at most {most:g} is rounding")
    return seen


def _raises(session: Any, feeds: Arrays, what: str) -> None:
    try:
        session.run(feeds)
    except Exception:  # noqa: BLE001 - which error is the framework's own business
        return
    raise Failed(f"{what} was taken")
