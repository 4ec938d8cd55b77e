"""A bundle with a graph, read and checked before the server starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgehone.backends import registry
from edgehone.backends.capabilities import ConcurrentGraphBackend, GraphBackend, capability
from edgehone.bundle.read import Bundle
from edgehone.core.errors import InputError
from edgehone.execution.job import Input, Job
from edgehone.inference.run_bundle import job_of, tokenizer_input
from edgehone.inputs.axes import Axes
from edgehone.model import info
from edgehone.model.embedding import Embedding
from edgehone.serve.ahead import GRAPH, TEXT
from edgehone.serve.infer.media import media_job
from edgehone.serve.infer.tensor import DATATYPES, Tensor
from edgehone.serve.served import Limits, Served, check_approved, no_canaries, with_settings
from edgehone.worker import canaries

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The most samples of a batch, for bundles whose best batch was not measured.
_BATCH = 8


@dataclass(frozen=True)
class GraphCanary:
    """A request to a graph and the outputs of the proven artifact."""

    question: Sequence[Tensor]
    answer: Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class ServedGraph(Served):
    """A bundle with a graph: its inputs and outputs, the axes of the samples, its canaries, the size of a batch.

    Of a graph with states the inputs are sequences. A request may give all `first_states`, too, and is then answered
    with the last ones, with which the next request can go on.

    `embedding` says how an encoder makes a vector of a text, with the job of its text process, or why it does not.
    `media` is the job that makes arrays of pictures or sounds, or why files cannot be sent.
    """

    inputs: tuple[info.Tensor, ...]
    outputs: tuple[info.Tensor, ...]
    first_states: tuple[info.Tensor, ...]
    axes: Axes
    canaries: tuple[GraphCanary, ...]
    batch: int
    embedding: Embedding | str
    text: Job | None
    media: Job | str

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs of its processes."""
        return (self.engine,) if self.text is None else (self.engine, self.text)


def read_graph(bundle: Bundle, name: str, limits: Limits, on_progress: Callable[[str], None]) -> ServedGraph:
    """Read a bundle with a graph to be served. Verifies its files and installs its backend if needed.

    Raises InputError for a bundle that is not approved, changed, or that cannot be served.
    """
    check_approved(bundle)
    backend = registry.load(bundle.manifest.recipe["backend"])
    if capability(backend, GraphBackend) is None:
        raise InputError(f"{bundle.path} was built by {backend.NAME}, which runs no graphs")
    if bundle.canaries is None:
        raise no_canaries(bundle)
    found = canaries.read(bundle.canaries)
    batch = limits.batch or int(bundle.manifest.facts.get("best_batch", _BATCH))
    clients = int(bundle.decision.workload.get("concurrency", 1))
    if capability(backend, ConcurrentGraphBackend) is None:
        clients = 1
    args = {
        "inputs": bundle.manifest.inputs,
        "axes": bundle.manifest.axes,
        "clients": clients,
        "batch": batch,
        "delay": limits.delay,
    }
    given = {"canaries": Input(bundle.canaries.resolve(), "")}
    engine = with_settings(job_of(bundle, GRAPH, args, given, on_progress), limits.settings)
    axes = Axes.from_json(bundle.manifest.axes)
    question, answer = found[0]
    # The next batch can be complete when one ends.
    places = max(limits.places, 2 * batch * clients)
    taken = _inputs(bundle, question)
    inputs = tuple(axes.of_samples(taken))
    first_states = tuple(one for one in taken if one.name in axes.fed_back)
    outputs = _outputs(bundle, answer, axes)
    embedding = _embedding(bundle, inputs, outputs)
    text = None
    if isinstance(embedding, Embedding):
        files = {"artifact": engine.inputs["artifact"], **tokenizer_input(bundle)}
        text = replace(engine, call=TEXT, inputs=files, threads=1)
    return ServedGraph(
        name,
        bundle,
        engine,
        places,
        limits.queue(places),
        limits.seconds,
        inputs,
        outputs,
        first_states,
        axes,
        tuple(GraphCanary([Tensor.of(*one) for one in asked.items()], told) for asked, told in found),
        batch,
        embedding,
        text,
        media_job(bundle, on_progress),
    )


def _embedding(
    bundle: Bundle, inputs: Sequence[info.Tensor], outputs: Sequence[info.Tensor]
) -> Embedding | str:
    """Return how the encoder makes a vector of a text, or why it does not."""
    told = bundle.manifest.embedding
    if told is None:
        return "it is no encoder of texts"
    if "refused" in told:
        return str(told["refused"])
    if bundle.tokenizer is None or bundle.manifest.tokenizer != "original":
        return "the bundle has no tokenizer of the original"
    return _why_not(inputs, outputs) or Embedding(**told)


def _inputs(bundle: Bundle, question: Mapping[str, NDArray[Any]]) -> tuple[info.Tensor, ...]:
    """Return the graph's inputs; of one whose file states no shape, the rank of the canary's."""
    from edgehone.inputs import samples  # which only graphs need

    stated = tuple(samples.tensor(one) for one in bundle.manifest.inputs)
    if other := [one for one in stated if one.dtype not in DATATYPES]:
        raise InputError(
            f"the input {other[0].name!r} of {bundle.path} is {other[0].dtype}, which is not served"
        )
    return tuple(
        one if one.ranked else info.Tensor(one.name, one.dtype, (None,) * question[one.name].ndim)
        for one in stated
    )


def _outputs(bundle: Bundle, answer: Mapping[str, NDArray[Any]], axes: Axes) -> tuple[info.Tensor, ...]:
    """Return the graph's outputs: as the original states them, or else as the proven artifact gave them.

    Sizes that may differ from request to request are then free.
    """
    from edgehone.inputs import samples  # which only graphs need

    stated = {one["name"]: samples.tensor(one) for one in bundle.decision.model.get("outputs", ())}
    found = []
    for name, array in answer.items():
        one = stated.get(name)
        known = one is not None and one.ranked and len(one.shape) == array.ndim
        shape = one.shape if one is not None and known else (None,) * array.ndim
        found.append(info.Tensor(name, array.dtype.name, shape))
    return tuple(found)


def _why_not(inputs: Sequence[info.Tensor], outputs: Sequence[info.Tensor]) -> str | None:
    """Return why texts cannot be given to a graph with these inputs and outputs, None if they can."""
    names = {one.name for one in inputs}
    if "input_ids" not in names or names - {"input_ids", "attention_mask", "token_type_ids"}:
        return f"the graph takes {', '.join(sorted(names))}, not the ids of a text"
    if len(outputs) != 1 or len(outputs[0].shape) != 3:
        return "the graph does not give the hidden states of all tokens"
    return None
