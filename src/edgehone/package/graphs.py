"""What targets that take graphs have in common: the model's name, its tensors, and the files of the artifact."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.bundle.read import Bundle
from edgehone.core.errors import InputError
from edgehone.execution.foreground import run_foreground
from edgehone.execution.job import Input
from edgehone.formats.graph import Tensor
from edgehone.inference.run_bundle import job_of
from edgehone.inputs import samples
from edgehone.package.target import Carried, Request
from edgehone.worker import canaries

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

ONNX_BACKENDS = ("olive", "onnxruntime")
_BY_ITSELF = "the targets container and kubernetes carry edgehone itself"
_SUFFIXES = (".onnx", ".pt2", ".gguf")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def model_name(request: Request) -> str:
    """Return the option `name`, or the model's name without a suffix, as the name of a folder and of a served model.

    Raises InputError for an option that cannot be both.
    """
    given = request.options.get("name")
    if given is None:
        own = str(request.bundle.manifest.model["name"])
        for suffix in _SUFFIXES:
            own = own.removesuffix(suffix)
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", own).strip(".-_")[:100] or "model"
    if not _NAME.fullmatch(given):
        raise InputError(
            f"the option name is {given!r}",
            hint="use letters, digits, '_', '-' and '.', a letter or digit first",
        )
    return given


def refused(bundle: Bundle) -> str | None:
    """Return why an artifact is more than one graph that answers a request in one run; None if it is such a graph."""
    if bundle.manifest.decoding is not None:
        return (
            "its model is an encoder-decoder in two parts, of which the second runs once for each token, and this "
            f"target takes one graph; {_BY_ITSELF}"
        )
    if bundle.manifest.axes.get("states"):
        return (
            "it was proven on sequences, whose states `edgehone serve` and `edgehone run` feed back, and this target "
            f"runs single steps; {_BY_ITSELF}"
        )
    return None


def inputs_of(bundle: Bundle) -> list[Tensor]:
    """Return the inputs of a graph."""
    return [samples.tensor(one) for one in bundle.manifest.inputs]


def outputs_of(bundle: Bundle) -> list[Tensor]:
    """Return the outputs of a graph."""
    return [samples.tensor(one) for one in bundle.decision.model["outputs"]]


def canaries_of(bundle: Bundle) -> list[tuple[Arrays, Arrays]]:
    """Return requests to a graph with the proven artifact's outputs. Raises InputError for a bundle without them."""
    if bundle.canaries is None:
        raise InputError(
            f"{bundle.path} has no canaries, by which a package of a graph is proven",
            hint=f"make the bundle again: sh {bundle.path / 'reproduce.sh'}",
        )
    return canaries.read(bundle.canaries)


def version_of(bundle: Bundle, package: str) -> str:
    """Return the version of a package that the bundle was proven with, "*" if its manifest does not state it."""
    return str(bundle.manifest.versions.get(bundle.manifest.recipe["backend"], {}).get(package, "*"))


def onnx_file(bundle: Bundle) -> Path:
    """Return the .onnx file of an artifact. Raises InputError if it has none or several."""
    found = sorted(bundle.artifact.glob("*.onnx"))
    if len(found) != 1:
        raise InputError(
            f"{bundle.artifact} has {len(found)} .onnx files; one is expected",
            hint="ls " + str(bundle.artifact),
        )
    return found[0]


def carry(bundle: Bundle, folder: Path, at: str, names: Sequence[str] | None = None) -> tuple[Carried, ...]:
    """Copy the artifact's files, or those named, to `at` in the package; return what the package carries."""
    carried = []
    for source in sorted(one for one in bundle.artifact.rglob("*") if one.is_file()):
        name = source.relative_to(bundle.artifact).as_posix()
        if names is not None and name not in names:
            continue
        place = folder / at / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, place)
        carried.append(Carried(source.relative_to(bundle.path).as_posix(), f"{at}/{name}"))
    return tuple(carried)


def run_on_graph(request: Request, call: str, **args: Any) -> dict[str, Any]:
    """Run a worker function on the bundle's graph in the environment that proved it; return its facts.

    The job gets `args`, the manifest's inputs and axes, and the artifact and canaries as inputs. Raises JobError if it
    fails.
    """
    bundle = request.bundle
    canaries_of(bundle)  # a readable message if there are none
    assert bundle.canaries is not None
    told = {"inputs": bundle.manifest.inputs, "axes": bundle.manifest.axes, **args}
    inputs = {"canaries": Input(bundle.canaries.resolve(), "")}
    return run_foreground(job_of(bundle, call, told, inputs, request.tell), quiet=True)
