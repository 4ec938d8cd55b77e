"""Outputs of a graph and its original on samples as they are, perturbed, and with the largest and missing values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.certify.found import Skipped
from edgehone.certify.original import original_of
from edgehone.certify.requests import SLICES
from edgehone.certify.subject import Subject
from edgehone.evaluation import output_roles
from edgehone.evaluation.decisions import agree
from edgehone.evaluation.roles import OutputRole, padded, with_sizes
from edgehone.execution import store
from edgehone.execution.job import Input
from edgehone.execution.store import JobResult
from edgehone.inputs import sample_arrays, samples
from edgehone.inputs.axes import Axes
from edgehone.inputs.batches import Batches
from edgehone.inputs.output_sizes import aligned
from edgehone.model.digest import digest_folder
from edgehone.optimize.evaluate.evaluators import evaluator_for
from edgehone.worker import perturb

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

CLEAN = "clean"
EXTREME = ("largest", "smallest")
MISSING = ("zeros", "nan")
# Samples of the cases at the ends: they are about failing, not about accuracy.
_FEW = 8


@dataclass(frozen=True)
class GraphRuns:
    """The facts and outputs of each case (`worker.graph_cases`), of the original and of the candidate."""

    samples: Batches
    slices: Sequence[str] | None
    original: JobResult
    candidate: JobResult
    roles: Sequence[OutputRole]

    def outputs(self, case: str) -> Mapping[str, Array]:
        """Return the candidate's outputs by name."""
        return _outputs(self.candidate, case)

    def kept(self, case: str) -> Array:
        """Return for each sample the share of the original's decisions that are kept, in the worst output."""
        import numpy as np

        reference, candidate = aligned(
            _outputs(self.original, case), _outputs(self.candidate, case), padded(self.roles)
        )
        shares = []
        for role in with_sizes(self.roles, reference):
            measure = agree(role, reference, candidate)[0]
            shares.append(np.where(measure.totals > 0, measure.hits / np.maximum(measure.totals, 1e-12), 1.0))
        found: Array = np.min(shares, axis=0)
        return found

    def correct(self, case: str) -> tuple[Array, Array] | None:
        """Return for each sample whether original and candidate find its class; None without classes as labels."""
        labels = self.samples.labels
        if labels is None or labels.ndim != 1 or labels.dtype.kind not in "iu":
            return None
        name = next((one.name for one in self.roles if one.role == "classes"), None)
        if name is None or len(labels) != self.samples.count:
            return None
        found = [_outputs(one, case)[name].argmax(1) == labels for one in (self.original, self.candidate)]
        return found[0], found[1]


def graph_runs(subject: Subject) -> GraphRuns:
    """Run all cases with both. Raises Skipped without the original or without samples."""
    if subject.sources.evaluation is None and subject.bundle.decision.model.get("format") != "huggingface":
        raise Skipped("a graph is certified on samples: give them with --eval SAMPLES")
    original = subject.once(original_of)
    batches, slices = _samples(subject)
    folder = subject.work / "cases"
    cases = _write_cases(folder, batches)
    subject.say(f"running the original and the candidate on {batches.count} samples, {len(cases)} cases")
    inputs = {"cases": Input(folder, store.key_of(digest_folder(folder)))}
    args = {"batch": subject.bundle.manifest.batch, "cases": cases}
    call = "edgehone.worker.graph_cases:outputs"
    reference = original.run(call, args, inputs)
    candidate = subject.run(call, args, inputs)
    for name, one in (("original", reference), ("candidate", candidate)):
        if error := one.facts[CLEAN]["error"]:
            raise Skipped(f"the {name} does not run on the samples: {error}")
    clean = _outputs(reference, CLEAN)
    roles = output_roles.recognize(
        aligned(clean, clean)[0],
        inputs=[tensor.name for tensor in original.ctx.model.inputs],
        task=original.ctx.model.task,
        kind=None,
        told_by="certify",
    )
    return GraphRuns(batches, slices, reference, candidate, roles)


def _samples(subject: Subject) -> tuple[Batches, Sequence[str] | None]:
    """Return up to so many samples as the profile says, and the name of each one's slice."""
    manifest, most = subject.bundle.manifest, subject.profile.measure.samples
    axes, given = Axes.from_json(manifest.axes), subject.sources.evaluation
    if given is None or samples.kind_of(given) != "arrays":
        original = subject.once(original_of)
        _, prepared = evaluator_for(original.ctx.model).prepare(original.ctx)
        return Batches.read(prepared.out / "evaluation", most), None
    arrays = samples.read_arrays(given)
    slices = arrays.pop(SLICES, None)
    tensors = [samples.tensor(one) for one in manifest.inputs]
    sample_arrays.check_arrays(arrays, tensors, str(given), axes)
    found = Batches.arranged(sample_arrays.typed(arrays, tensors), axes)
    cut = Batches(
        {name: array[:most] for name, array in found.arrays.items()},
        None if found.labels is None else found.labels[:most],
        found.shared,
        axes,
        None if found.lengths is None else found.lengths[:most],
    )
    return cut, None if slices is None else [str(one) for one in slices[:most]]


def _write_cases(folder: Path, batches: Batches) -> list[str]:
    """Write a folder for each case that the inputs allow; return the names."""
    import numpy as np

    floats = [name for name, array in batches.arrays.items() if array.dtype.kind == "f"]
    cases = {CLEAN: batches.arrays}
    if floats:
        for at, kind in enumerate(perturb.ARRAY_KINDS):
            cases[kind] = {
                name: perturb.array(kind, array, at) if name in floats else array
                for name, array in batches.arrays.items()
            }
        few = {name: array[:_FEW] for name, array in batches.arrays.items()}
        values: dict[str, Callable[[Array], Array]] = {
            "largest": lambda one: np.full_like(one, 1e4 if one.dtype == np.float16 else 1e30),
            "smallest": lambda one: np.full_like(one, -1e4 if one.dtype == np.float16 else -1e30),
            "zeros": np.zeros_like,
            "nan": lambda one: np.full_like(one, np.nan),
        }
        for name, make in values.items():
            cases[name] = {each: make(one) if each in floats else one for each, one in few.items()}
    for name, arrays in cases.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        count = len(next(iter(arrays.values())))
        lengths = None if batches.lengths is None else batches.lengths[:count]
        Batches(dict(arrays), None, batches.shared, batches.axes, lengths).write(folder / name)
    return list(cases)


def _outputs(result: JobResult, case: str) -> Mapping[str, Array]:
    import numpy as np

    with np.load(result.out / f"{case}.npz") as file:
        return {name: file[name] for name in file.files}
