"""The layout of a graph's samples in a run: their axes, and the states that make sequences of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from edgehone.core.errors import InputError
from edgehone.inputs import axes, samples, states
from edgehone.model.info import ModelInfo
from edgehone.optimize.context import RunContext
from edgehone.optimize.options import OptimizeOptions


def find(model: ModelInfo, told: Sequence[str], told_states: Sequence[str]) -> axes.Axes:
    """Return the layout of a model's samples; arguments and errors are those of `axes.find`."""
    return axes.find(model.inputs, model.outputs, told, told_states)


def of(ctx: RunContext) -> axes.Axes:
    """Return the layout of the samples of a run."""
    return find(ctx.model, ctx.axes, ctx.states)


def states_of(options: OptimizeOptions, model: ModelInfo) -> tuple[str, ...]:
    """Return the pairs OUTPUT=INPUT of states: those that the user states, else those that are recognized.

    They are recognized if the evaluation samples are arrays that lack all of these inputs: samples that have them are
    single steps. Raises InputError for stated states of a model that generates text, and with samples that are no
    arrays.
    """
    if options.states and model.kind != "graph":
        raise InputError(
            f"--state {options.states[0]}: {model.path} generates text, and its runtimes keep their own state",
            hint="leave --state out",
        )
    path = Path(options.evaluation) if options.evaluation else None
    arrays = path is not None and path.is_file() and samples.kind_of(path) == "arrays"
    if options.states:
        if path is not None and path.exists() and not arrays:
            raise InputError(f"{path}: sequences of a graph with states are arrays", hint="give FILE.npz")
        return options.states
    if path is None or not arrays:
        return ()
    found = states.recognize(model.inputs, model.outputs)
    given = samples.names_of(path) if found else frozenset()
    return () if any(pair.split("=")[1] in given for pair in found) else tuple(found)


def notes(known: axes.Axes) -> Iterator[str]:
    """Yield notes on sequences for the report: which states were fed back, and that a request is a whole sequence."""
    if known.states:
        pairs = ", ".join(f"{one.output!r} as {one.input!r}" for one in known.states)
        yield (
            f"samples are sequences: every step takes the last one's {pairs}; --state says otherwise. Outputs are "
            "judged over all steps, states are not judged by themselves, and times are those of a whole sequence"
        )
