"""What GPTQ for llama.cpp's formats takes beside its arithmetic: `python -m benchmarks.gptq --hidden 2048 --layers 2`.

A Llama of random weights with a few layers of a large model's shape (2048: one of a billion parameters) is quantized to
Q4_0, and then by GPTQ. Measured are the processor seconds of GPTQ alone with its children, and the peak of its memory.
They are compared with what its operations (`gptq_work.operations`) take at the rate of float32 matrix products that
this machine has shown, for as many processors. Goal: at most 3 times as long. The last line is the time of the whole
model if that ratio holds for it; it reads less text, and has no shift and descent.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.scaling import Peak, home_beside, make_shape
from edgehone.backends import registry
from edgehone.backends.llamacpp import gptq_work
from edgehone.device.detect import detect
from edgehone.execution.home import VARIABLE
from edgehone.optimize.build import build
from edgehone.optimize.context_setup import set_up_context
from edgehone.optimize.evaluate import language
from edgehone.optimize.executors import Executors
from edgehone.optimize.options import OptimizeOptions
from edgehone.optimize.predict.target import this_machine

GOAL = 3.0
# Layers of a model of a billion parameters of the default width, as in `benchmarks.scaling`, and its parameters.
WHOLE, PARAMETERS = 21, 1_000_000_000


def main() -> None:
    """Build, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--layers", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        os.environ[VARIABLE] = str(home_beside(work / "home"))
        _measure(make_shape(work / "model", given.layers, given.hidden), given.layers)


def _measure(path: Path, layers: int) -> None:
    options = OptimizeOptions(str(path), effort="quick")
    executors = Executors.local()
    ctx, _, unready = set_up_context(
        options, {}, registry.load_all(["llamacpp"]), ["llamacpp"], executors=executors
    )
    if unready:
        raise SystemExit(unready["llamacpp"])
    ctx, _ = language.prepare(ctx)
    recipes = {one.name: one for one in ctx.backends["llamacpp"].recipes(ctx.model)}
    build(ctx, recipes["Q4_0+imatrix"])  # what GPTQ starts from
    peak, before, begun = Peak(os.getpid()), _processor(), time.perf_counter()
    build(ctx, recipes["Q4_0+gptq"])
    wall, taken = time.perf_counter() - begun, _processor() - before
    peak.end()
    rate = (this_machine(detect()).compute.value or 0.0) / (os.cpu_count() or 1)
    thorough = gptq_work.is_thorough(ctx.model.parameters, recipes["Q4_0+gptq"].bits or 0.0)
    operations = gptq_work.operations(ctx.model, thorough)
    ideal = operations / (rate * 1e9)
    most = max(size for call, size in peak.by_job.items() if "gptq" in call)
    verdict = "" if taken <= GOAL * ideal else f" (goal {GOAL:g})"
    print(f"{ctx.model.parameters / 1e6:.0f} million parameters, {layers} layers, thorough: {thorough}")
    print(
        f"{operations / 1e12:.2f} TFLOP; {rate:.0f} GFLOP/s for each processor: {ideal:.1f} processor seconds"
    )
    print(
        f"taken: {taken:.1f} processor seconds, {taken / ideal:.2f} times{verdict}; {wall:.1f} s; {most / 1e6:.0f} MB"
    )
    whole = replace(ctx.model, layers=WHOLE, parameters=PARAMETERS)
    minutes = gptq_work.operations(whole, False) / (rate * 1e9) * taken / ideal / (os.cpu_count() or 1) / 60
    print(f"{WHOLE} layers: {minutes:.1f} minutes on all processors")


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
