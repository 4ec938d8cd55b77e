"""Finished builds of llama.cpp beside their predictions: `python -m benchmarks.builds --make 0.1 --only Q4_0,Q4_K_M`.

A Llama of random weights is built by the recipes named, or by all of them, in an EDGEHONE_HOME of its own, one after
the other. Without --make the jobs in the stores of the homes given are read: `python -m benchmarks.builds
~/.cache/edgehone`. For each step that left its file it prints the shortest time, what build_time predicts for the step
with the constants of roofline.toml alone, and their ratio. Jobs of a run may have shared the processors with others, so
the ratio is an upper bound there.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from benchmarks.scaling import home_beside, make
from edgehone.backends import registry
from edgehone.backends.base import Recipe
from edgehone.backends.llamacpp import gptq_work
from edgehone.core.errors import EdgehoneError
from edgehone.device.detect import detect
from edgehone.execution.home import VARIABLE
from edgehone.model.inspect import inspect
from edgehone.optimize.build import build
from edgehone.optimize.context_setup import set_up_context
from edgehone.optimize.evaluate import language
from edgehone.optimize.executors import Executors
from edgehone.optimize.options import OptimizeOptions
from edgehone.optimize.predict.target import this_machine
from edgehone.plan.build_time import Processors, predict

_FROM = {"convert": "out", "quantize": "out", "refine": "out", "imatrix": "inputs"}


@dataclass(frozen=True)
class Step:
    """A finished step: its function, type, parameters of the model, measured and predicted seconds."""

    call: str
    kind: str
    parameters: int
    seconds: float
    predicted: float


def main() -> None:
    """Build if asked, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("homes", nargs="*", type=Path)
    parser.add_argument("--make", nargs="*", type=float, default=[], help="billions of parameters")
    parser.add_argument("--only", default="", help="recipes, separated by commas (default: all)")
    given = parser.parse_args()
    this = this_machine(detect())
    here = Processors(this.compute, this.threads)
    print(f"{here.threads} processors, {here.rate.value:.0f} GFLOP/s")
    for home in given.homes:
        _print([one for folder in sorted((home / "store/jobs").iterdir()) for one in _steps(folder, here)])
    for size in given.make:
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            _build(make(work / "model", size), home_beside(work / "home"), set(given.only.split(",")) - {""})
            jobs = sorted((work / "home/store/jobs").iterdir())
            _print([one for job in jobs for one in _steps(job, here)])


def _build(path: Path, home: Path, only: set[str]) -> None:
    os.environ[VARIABLE] = str(home)
    options, known = OptimizeOptions(str(path)), registry.load_all(["llamacpp"])
    ctx, _, unready = set_up_context(options, {}, known, ["llamacpp"], executors=Executors.local())
    if unready:
        raise SystemExit(unready["llamacpp"])
    ctx, _ = language.prepare(ctx)
    for recipe in known["llamacpp"].recipes(ctx.model):
        if not only or recipe.name in only:
            build(ctx, recipe)


def _steps(folder: Path, here: Processors) -> Iterator[Step]:
    """Yield the step of a job's folder, if it is one of llama.cpp whose model can still be read."""
    try:
        job = json.loads((folder / "job.json").read_text("utf-8"))
        seconds = json.loads((folder / "result.json").read_text("utf-8"))["seconds"]
        module, _, call = job["call"].partition(":")
        if ".llamacpp." not in module or call not in _FROM:
            return
        read = Path(job["inputs"]["converted"]) if _FROM[call] == "inputs" else folder / "out"
        model = inspect(read / "model.gguf")
    except (OSError, LookupError, EdgehoneError):  # it failed, or its files were removed
        return
    weighted = "imatrix" in job["inputs"]
    kind = f"{job['args'].get('type', '')}{'+imatrix' if weighted else ''}"
    # The file that the step reads is there already, so that nothing but the step is charged.
    found = predict(_recipe(call, job["args"], weighted, model), model, here, [])
    whole = found.shared["imatrix"] if call == "imatrix" else found.whole
    yield Step(call, kind, model.parameters, seconds, whole.value or 0.0)


def _recipe(call: str, args: Mapping[str, Any], weighted: bool, model: Any) -> Recipe:
    """Return a recipe whose build is the one step."""
    if call == "convert":
        return Recipe("llamacpp", call, exact=True)
    if call == "quantize":
        source = {} if "lower" in args else {"imatrix": weighted}
        return Recipe("llamacpp", call, {**args, **source, "source": "gguf"})
    bits = 8 * model.bytes / model.parameters
    build = {"imatrix": True} if call == "imatrix" else {"gptq": True}
    counted = gptq_work.calibration_operations(build, model, bits)
    return Recipe("llamacpp", call, {"source": "gguf"}, calibrated=True, exact=True, operations=counted)


def _print(steps: list[Step]) -> None:
    shortest: dict[tuple[str, str, int], Step] = {}
    for one in steps:
        key = one.call, one.kind, one.parameters
        if key not in shortest or one.seconds < shortest[key].seconds:
            shortest[key] = one
    print(
        "| step | type | million parameters | predicted s | s | ratio |\n| --- | --- | --- | --- | --- | --- |"
    )
    ratios = []
    for (call, kind, parameters), one in sorted(shortest.items()):
        ratio = one.seconds / one.predicted if one.predicted else float("nan")
        ratios += [ratio] if ratio > 0 else []
        print(
            f"| {call} | {kind} | {parameters / 1e6:.1f} | {one.predicted:.1f} | {one.seconds:.1f} | {ratio:.2f} |"
        )
    if ratios:
        print(
            f"measured over predicted: {geometric_mean(ratios):.2f} (mean), {min(ratios):.2f} to {max(ratios):.2f}"
        )


if __name__ == "__main__":
    main()
