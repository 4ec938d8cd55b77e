"""Processor seconds that a toolchain takes to round a billion weights: `python -m benchmarks.rounding llamacpp`.

A Llama of random weights with two layers of a quarter of a billion parameters is converted, and rounded by the
toolchain's own program with one thread (or --threads): to every type of the backend's recipes, with and without an
importance matrix. The processor time of a run that rounds nothing is subtracted. Prints the table [building.rounding]
of roofline.toml, and as a comment what the conversion takes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.scaling import make_shape
from edgehone.backends import registry
from edgehone.backends.llamacpp import convert_any_tokenizer
from edgehone.execution.environments import environment
from edgehone.model.inspect import inspect
from edgehone.plan.build_time import rounded_to

LAYERS, HIDDEN = 2, 1024
# Types of single tensors: of assigned mixes, and of quantized files of which some tensors are quantized again.
_OF_TENSORS = ("Q3_K_S", "Q4_K_S", "Q5_K_S", "Q5_0", "Q5_1")
_TEXT = Path(__file__).parents[1] / "src" / "edgehone" / "data" / "texts" / "calibration.txt"
_EXPORT = """
import sys
from optimum.exporters.openvino import main_export
from optimum.intel import OVConfig
main_export(sys.argv[1], sys.argv[2], task="text-generation-with-past", convert_tokenizer=False,
            local_files_only=True, ov_config=OVConfig(dtype="fp16"))
"""
_COMPRESS = """
import json, sys
import nncf, openvino
model, options = openvino.Core().read_model(sys.argv[1] + "/openvino_model.xml"), json.loads(sys.argv[2])
if options:
    options["mode"] = getattr(nncf.CompressWeightsMode, options["mode"].upper())
    nncf.compress_weights(model, **options)
"""


def main() -> None:
    """Convert, round, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("backend", choices=("llamacpp", "openvino"))
    parser.add_argument("--only", default="", help="types, separated by commas (default: all)")
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--hidden", type=int, default=HIDDEN)
    parser.add_argument("--threads", type=int, default=1, help="of llama-quantize")
    given = parser.parse_args()
    only = set(given.only.split(",")) - {""}
    with tempfile.TemporaryDirectory() as folder:
        path = make_shape(Path(folder) / "model", given.layers, given.hidden)
        billions = inspect(path).parameters / 1e9
        print(f"[building.rounding.{given.backend}]  # {1e3 * billions:.1f} million parameters")
        for kind, seconds in _measured(path, given.backend, only, given.threads):
            print(f"{kind} = {seconds / billions:.3g}", flush=True)


def _measured(model: Path, backend: str, only: set[str], threads: int) -> Iterator[tuple[str, float]]:
    """Yield the processor seconds of the conversion as a comment, then those of rounding to each type."""
    known = registry.load(backend)
    env = environment.ensure(backend, known.NEEDS, print)
    work = model.parent
    builds = {
        kind: one.build
        for one in reversed(known.recipes(inspect(model)))
        if not one.exact and set(one.build) <= {"type", "imatrix", "mode", "group_size", "ratio"}
        if one.build.get("ratio", 1.0) == 1.0
        and (kind := rounded_to(one.build))
        and (not only or kind in only)
    }
    if backend == "llamacpp":
        more = [{"type": name, **weights} for name in _OF_TENSORS for weights in ({}, {"imatrix": True})]
        builds |= {kind: one for one in more if (kind := rounded_to(one)) and (not only or kind in only)}
    if backend == "openvino":
        yield "# conversion", _seconds([env.python, "-c", _EXPORT, model, work / "ir"], work)
        nothing = _seconds([env.python, "-c", _COMPRESS, work / "ir", "{}"], work)
        for kind, build in builds.items():
            options = {
                name: value for name, value in build.items() if name != "ratio" or "group_size" in build
            }
            words = [env.python, "-c", _COMPRESS, work / "ir", json.dumps(options)]
            yield f'"{kind}"', _seconds(words, work) - nothing
        return
    assert env.toolchain is not None
    tools, converter = env.toolchain / "bin", env.toolchain / "convert" / "convert_hf_to_gguf.py"
    command = [env.python, convert_any_tokenizer.__file__, converter, model, "--outtype", "f16"]
    yield "# conversion", _seconds([*command, "--outfile", work / "f16.gguf"], work)
    words = [tools / "llama-imatrix", "-m", "f16.gguf", "-f", _TEXT, "-o", "im.gguf", "-c", "128"]
    _seconds([*words, "--chunks", "16", "-t", "1", "--no-ppl"], work)
    quantize = tools / "llama-quantize"
    nothing = _seconds([quantize, "f16.gguf", "out.gguf", "COPY", threads], work)
    for kind, build in builds.items():
        weighted = ["--imatrix", "im.gguf"] if build.get("imatrix") else []
        words = [quantize, *weighted, "f16.gguf", "out.gguf", build["type"], threads]
        yield f'"{kind}"', _seconds(words, work) - nothing


def _seconds(words: list[Any], folder: Path) -> float:
    """Run a program in a folder and return the processor seconds that it took."""
    before = _processor()
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    done = subprocess.run(
        [str(one) for one in words], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{words[0]} failed: {done.stderr[-2000:]}")
    return _processor() - before


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
