"""Which axis of each input and output of a graph holds the samples.

Most graphs take samples along the first axis, but recurrent ones may take [time, batch, features], states are
[layers, batch, width], and some inputs (a sample rate, scales) hold one value for all samples. The axes are found from
the names of the free sizes, and from the sizes that inputs and outputs share. `--axes x=time,batch,features` states
them where that is not clear.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgehone.core.errors import InputError
from edgehone.core.suggestions import suggest
from edgehone.formats.graph import Tensor
from edgehone.inputs import states
from edgehone.inputs.states import State

BATCH = "batch"
# Names that exporters and people give to the axis of the samples: batch, batch_size, N, x_batch.
_BATCH = re.compile(r"(?:\w*[_.])?batch\w*", re.IGNORECASE)
_LETTER = re.compile(r"n|b|bs|bsz", re.IGNORECASE)
# Names of an input with the samples' numbers of steps: input_lengths, x_len.
_ENDS = re.compile(r"(?:(?P<of>\w*)[_.])?len(?:gth)?s?", re.IGNORECASE)
# Names of an axis of steps in time. Samples of a graph whose first axis has one are not told from steps of one sample.
_TIME = re.compile(
    r"t|s|l|time\w*|\w*seq(?:uence)?(?:_?len\w*)?|\w*_?(?:length|len)|(?:\w+_)?(?:steps?|frames?)", re.I
)


@dataclass(frozen=True)
class Axes:
    """The axis of the samples in each input and output; None where the whole array belongs to every sample.

    Outputs that are not in `outputs` are located by their shape once they are computed. `notes` tell what was assumed
    beyond the first axis, as sentences for the report.

    If the graph has `states`, a sample is a sequence: its arrays have an axis of steps after the axis of the samples,
    which the graph itself does not have, and the states are not among them.

    `ends` is the input [samples] that says how many steps of each sample are no padding, and `padded` are the inputs
    with an axis of steps of any size after that of the samples. A batch is cut to its own longest sample.
    """

    inputs: Mapping[str, int | None] = field(default_factory=dict)
    outputs: Mapping[str, int | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    states: tuple[State, ...] = ()
    ends: str | None = None
    padded: tuple[str, ...] = ()

    @property
    def shared(self) -> frozenset[str]:
        """Return the inputs that belong to every sample as a whole."""
        return frozenset(name for name, axis in self.inputs.items() if axis is None)

    def of_input(self, name: str) -> int | None:
        """Return the axis of an input; the first if nothing else is known."""
        return self.inputs.get(name, 0)

    def of_output(self, name: str, shape: Sequence[int], size: int) -> int | None:
        """Return the axis of an output with this shape, computed for a batch of `size` samples."""
        if name in self.outputs:
            return self.outputs[name]
        return next((axis for axis, extent in enumerate(shape) if extent == size), None)

    @property
    def fed_back(self) -> frozenset[str]:
        """Return the inputs that are states."""
        return frozenset(one.input for one in self.states)

    def of_samples(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return the inputs as samples have them: of a graph with states, sequences, and no states."""
        if not self.states:
            return [*inputs]
        return [self._sequence(one) for one in inputs if one.name not in self.fed_back]

    def _sequence(self, one: Tensor) -> Tensor:
        axis = self.of_input(one.name)
        if axis is None or not one.ranked:
            return one
        return replace(one, shape=(*one.shape[: axis + 1], "steps", *one.shape[axis + 1 :]))

    def of_one_step(self) -> Axes:
        """Return the axes of the graph itself, which takes states as it takes any input."""
        return replace(self, states=())

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        found: dict[str, Any] = {"inputs": dict(self.inputs), "outputs": dict(self.outputs)}
        found |= {"states": [one.to_json() for one in self.states]} if self.states else {}
        return found | ({"ends": self.ends, "padded": [*self.padded]} if self.ends else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Axes:
        """Return the axes of a dict made by `to_json`; an empty dict means the first axis everywhere."""
        kept = tuple(State.from_json(one) for one in data.get("states", ()))
        ends, padded = data.get("ends"), tuple(data.get("padded", ()))
        return cls(data.get("inputs", {}), data.get("outputs", {}), states=kept, ends=ends, padded=padded)


def find(
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    told: Sequence[str] = (),
    told_states: Sequence[str] = (),
) -> Axes:
    """Return the axes of a graph's inputs and outputs; `told` and `told_states` are the values of --axes and --state.

    Raises InputError for a value of --axes that names no input or output or has another rank, where the first axis
    is called like steps in time and no other is called like a batch, and as `states.find` does.
    """
    stated = dict(_parse(text, [*inputs, *outputs]) for text in told)
    found, notes = _of_inputs([one for one in inputs if one.name not in stated], inputs, outputs)
    by_input = {one.name: stated[one.name] if one.name in stated else found[one.name] for one in inputs}
    extents = {one.shape[axis] for one in inputs if (axis := by_input[one.name]) is not None and one.shape}
    by_output = {one.name: axis for one in outputs for axis in _of_output(one, extents)}
    known = [one for one in inputs if by_input[one.name]]
    for one in outputs:
        if one.name not in by_output and (state := _fed_back(one, known)):
            by_output[one.name] = by_input[state.name]
    fed_back = states.find(inputs, outputs, told_states)
    by_output |= {one.output: by_input[one.input] for one in fed_back}
    by_output |= {one.name: stated[one.name] for one in outputs if one.name in stated}
    ends, padded = (None, ()) if fed_back else _padded(inputs, by_input)
    if ends:
        notes.append(
            f"zeros after the number of steps that the input {ends!r} gives are cut off: {', '.join(padded)}"
        )
    return Axes(by_input, by_output, tuple(notes), fed_back, ends, padded)


def _padded(inputs: Sequence[Tensor], axes: Mapping[str, int | None]) -> tuple[str | None, tuple[str, ...]]:
    """Return the input with the samples' numbers of steps, and the inputs that they are about; None without one.

    They are about inputs whose next axis has the same name, and one of whose names has what comes before "lengths".
    """
    ends = [
        one
        for one in inputs
        if _ENDS.fullmatch(one.name) and len(one.shape) == 1 and axes[one.name] == 0
        and one.dtype.startswith(("int", "uint"))
    ]  # fmt: skip
    cut = [
        one
        for one in inputs
        if len(one.shape) > 1 and axes[one.name] == 0 and not isinstance(one.shape[1], int)
    ]
    if len(ends) != 1 or not cut or None in (steps := {one.shape[1] for one in cut}) or len(steps) > 1:
        return None, ()
    found = _ENDS.fullmatch(ends[0].name)
    about = (found["of"] or "" if found else "").lower()
    if about not in ("seq", "sequence") and not any(about in one.name.lower() for one in cut):
        return None, ()
    return ends[0].name, tuple(one.name for one in cut)


def fixed_batch(inputs: Iterable[Tensor], axes: Axes) -> int | None:
    """Return the batch size that the graph's inputs fix, or None if it is free."""
    extents = {
        one.shape[axis]
        for one in inputs
        if one.shape and (axis := axes.of_input(one.name)) is not None and axis < len(one.shape)
    }
    sizes = {extent for extent in extents if isinstance(extent, int)}
    return sizes.pop() if len(sizes) == 1 else None


def _parse(text: str, tensors: Sequence[Tensor]) -> tuple[str, int | None]:
    """Return the name and the axis in `name=time,batch,features`; no axis called batch means None."""
    name, _, listed = text.partition("=")
    name, words = name.strip(), [word.strip().lower() for word in listed.split(",") if word.strip()]
    hint = f"--axes NAME=first,second,… with one of them called {BATCH}, or none for an array that all samples share"
    by_name = {one.name: one for one in tensors}
    if name not in by_name:
        raise InputError(
            f"--axes {text}: the graph has no {name!r}; {suggest(name, list(by_name))}", hint=hint
        )
    shape = by_name[name].shape
    if words.count(BATCH) > 1 or (words and shape and len(words) != len(shape)):
        raise InputError(f"--axes {text}: {name} has the shape {_shown(shape)}", hint=hint)
    return name, words.index(BATCH) if BATCH in words else None


def _of_inputs(
    unknown: Sequence[Tensor], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> tuple[dict[str, int | None], list[str]]:
    """Return the axis of each input that the user has not stated, and notes."""
    if not unknown:
        return {}, []
    if any(_named(one.shape) is not None for one in inputs):
        axes = {one.name: _by_name(one) for one in unknown}
        why = "by the names of its axes"
    elif shared := _led_by_outputs(unknown, outputs):
        axes = {one.name: one.shape.index(shared) if shared in one.shape else None for one in unknown}
        why = f"the outputs begin with its size {shared}"
    else:
        axes, why = _first_axes(unknown, outputs), "the only one with the size of the batch"
        _ask_about_time(unknown, axes)
    return axes, list(_notes(unknown, axes, why))


def _by_name(one: Tensor) -> int | None:
    """Return the axis that is called like a batch; without one, a first axis that may be one."""
    if (named := _named(one.shape)) is not None or not one.ranked:
        return named or 0
    if one.shape and not isinstance(one.shape[0], int):
        return None if _is(_TIME, one.shape[0]) else 0
    return _only(one.shape, None)


def _named(shape: Sequence[int | str | None]) -> int | None:
    """Return the axis that is called like a batch, or None. After a first axis of 1, a letter may count steps."""
    patterns = (_BATCH, _LETTER) if shape and shape[0] != 1 else (_BATCH,)
    for pattern in patterns:
        for axis, extent in enumerate(shape):
            if _is(pattern, extent):
                return axis
    return None


def _led_by_outputs(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> str | int | None:
    """Return the size that outputs begin with if inputs have it on another axis, and none begins with one of theirs."""
    begins = {one.shape[0] for one in inputs if one.shape}
    led = [one.shape[0] for one in outputs if one.shape]
    if not begins or None in begins or None in led or begins & set(led):
        return None
    later = {extent for one in inputs for extent in one.shape[1:]}
    # Other numbers than 1 are equal by chance: channels and classes.
    return next((one for one in led if one in later and (isinstance(one, str) or one == 1)), None)


def _first_axes(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> dict[str, int | None]:
    """Return 0 for inputs that begin with the batch; for others the only later axis that has its size, else None."""
    firsts = [one.shape[0] for one in inputs if one.shape]
    numbers = [extent for extent in firsts if isinstance(extent, int)]
    led = {one.shape[0] for one in outputs if one.shape}
    batch = None  # free
    if len(numbers) == len(firsts):
        batch = next((extent for extent in numbers if extent in led), numbers[0] if numbers else None)
    axes: dict[str, int | None] = {}
    for one in inputs:
        begins = not one.ranked or (one.shape and _is_batch(one.shape[0], batch))
        axes[one.name] = 0 if begins else _only(one.shape, batch)
    return axes


def _is_batch(extent: int | str | None, batch: int | None) -> bool:
    """Return True if a size may be the batch's: equal to a fixed one, free like a free one."""
    return not isinstance(extent, int) if batch is None else extent == batch


def _only(shape: Sequence[int | str | None], batch: int | None) -> int | None:
    """Return the only axis after the first that may be the batch's (of a state: [layers, batch, width]), or None."""
    axes = [axis for axis, extent in enumerate(shape) if axis and _is_batch(extent, batch)]
    return axes[0] if len(axes) == 1 else None


def _ask_about_time(inputs: Sequence[Tensor], axes: Mapping[str, int | None]) -> None:
    for one in inputs:
        if axes[one.name] == 0 and one.shape and _is(_TIME, one.shape[0]):
            rest = [f"axis{at}" for at in range(1, len(one.shape))]
            raise InputError(
                f"the input {one.name!r} is {_shown(one.shape)}: its first axis is called {one.shape[0]!r}, and no "
                "axis is called batch, so steps of one sample cannot be told from samples",
                hint=f"name its axes: --axes {one.name}={','.join([BATCH, *rest])}",
            )


def _notes(inputs: Sequence[Tensor], axes: Mapping[str, int | None], why: str) -> Iterator[str]:
    for one in inputs:
        axis = axes[one.name]
        if axis is None:
            yield f"the input {one.name!r} {_shown(one.shape)} is the same for every sample"
        elif axis > 0:
            yield (
                f"the samples of the input {one.name!r} {_shown(one.shape)} are along axis {axis} ({why}); "
                "--axes says otherwise"
            )


def _fed_back(one: Tensor, states: Iterable[Tensor]) -> Tensor | None:
    """Return the input that an output without stated sizes replaces in the next run: state and stateN, h and hn."""
    return next(
        (state for state in states if one.name.startswith(state.name) and len(one.shape) == len(state.shape)),
        None,
    )


def _of_output(one: Tensor, extents: set[int | str | None]) -> Iterator[int | None]:
    """Yield the axis of an output if its stated shape tells: the axis with the batch's size or a batch's name."""
    if not one.shape:
        if one.ranked:
            yield None
        return
    shared = (axis for axis, extent in enumerate(one.shape) if extent is not None and extent in extents)
    if (axis := next(shared, _named(one.shape))) is not None:
        yield axis


def _is(pattern: re.Pattern[str], extent: int | str | None) -> bool:
    return isinstance(extent, str) and pattern.fullmatch(extent) is not None


def _shown(shape: Sequence[int | str | None]) -> str:
    return "[" + ", ".join("?" if extent is None else str(extent) for extent in shape) + "]"
