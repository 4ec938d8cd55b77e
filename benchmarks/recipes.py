"""Every recipe against each toolchain's own default command line, on the demo model, in one run.

`make bench-recipes`. The defaults are built by the toolchains' own commands (llama-quantize, optimum-cli, ONNX Runtime
GenAI's model builder, mlx_lm) in the backends' environments, then judged under the same protocol as the recipes: same
original, windows, prompts and rounds. Goal: at equal or fewer bytes, the best recipe of a backend has at most half of
its default's KL divergence.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import edgehone
from edgehone.backends import registry
from edgehone.backends.base import Effort
from edgehone.core.figure import Figure
from edgehone.decision.decision import Candidate
from edgehone.decision.errors import (
    NothingPasses,
)
from edgehone.execution.command import QUIET
from edgehone.execution.environments import environment
from edgehone.execution.environments.environment import Env
from edgehone.model.demo import demo_model
from edgehone.optimize.compare import compare

# No gates: this benchmark compares candidates, it does not choose.
OFF = ("accuracy_kept=off", "speedup=off", "memory_cut=off", "latency_cv=off")


@dataclass(frozen=True)
class Default:
    """A toolchain's default: its abbreviated command line, how it is built, and how its artifact is opened."""

    backend: str
    shown: str
    build: Callable[[Env, Path, Path], list[list[str | Path]]]
    artifact: str = ""
    settings: Mapping[str, Any] | None = None


def _llamacpp(env: Env, model: Path, out: Path) -> list[list[str | Path]]:
    assert env.toolchain is not None
    script = next(env.toolchain.rglob("convert_hf_to_gguf.py"))
    tool = next(path for path in env.toolchain.rglob("llama-quantize") if path.is_file())
    convert: list[str | Path] = [env.python, script, model, "--outtype", "f16", "--outfile", out / "f16.gguf"]
    return [convert, [tool, out / "f16.gguf", out / "model.gguf", "Q4_K_M"]]


def _openvino(env: Env, model: Path, out: Path) -> list[list[str | Path]]:
    tool = env.python.parent / "optimum-cli"
    task = "text-generation-with-past"
    command: list[str | Path] = [tool, "export", "openvino", "--model", model, "--task", task]
    return [[*command, "--weight-format", "int4", out]]


def _olive(env: Env, model: Path, out: Path) -> list[list[str | Path]]:
    builder: list[str | Path] = [env.python, "-m", "onnxruntime_genai.models.builder"]
    return [[*builder, "-m", model, "-o", out, "-p", "int4", "-e", "cpu"]]


def _mlx(env: Env, model: Path, out: Path) -> list[list[str | Path]]:
    return [[env.python, "-m", "mlx_lm", "convert", "--hf-path", model, "-q", "--mlx-path", out / "mlx"]]


DEFAULTS = (
    Default("llamacpp", "llama-quantize Q4_K_M", _llamacpp, "model.gguf"),
    Default("openvino", "optimum-cli --weight-format int4", _openvino, settings={"kv_cache": "u8"}),
    Default("olive", "models.builder -p int4", _olive),
    Default("mlx", "mlx_lm convert -q", _mlx, "mlx"),
)


def main() -> None:
    """Build, evaluate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--effort", choices=get_args(Effort), default="quick")
    parser.add_argument("--backends", default=",".join(one.backend for one in DEFAULTS))
    given = parser.parse_args()
    names = given.backends.split(",")
    model = demo_model()
    print(f"{'':40}{'bytes':>11}  {'KL':>8}  {'prefill':>8}  {'decode':>7}  {'built in':>8}")
    for default in DEFAULTS:
        if default.backend in names:
            _compete(default, model, given.effort)


def _compete(default: Default, model: Path, effort: Effort) -> None:
    with tempfile.TemporaryDirectory(prefix="edgehone-default-") as place:
        taken = build(default, model, Path(place))
        artifact = Path(place) / default.artifact
        found = compare(
            [artifact], model=model, backend=default.backend, settings=default.settings or {}, effort=effort
        ).candidates[0]
    show(f"{default.backend}: {default.shown}", found, taken)
    try:
        decision = edgehone.optimize(model, effort=effort, backends=[default.backend], gates=OFF)
    except NothingPasses as error:
        decision = error.decision
    alive = [one for one in decision.candidates if one.status == "ok"]
    for one in sorted(alive, key=lambda one: one.bytes or 0):
        show(f"  {one.key}", one, one.facts.get("build_seconds"))
    fitting = [one for one in alive if (one.bytes or 0) <= (found.bytes or 0)]
    kl = {one.key: value for one in fitting if (value := one.figure("kl_mean").value) is not None}
    theirs = found.figure("kl_mean").value
    if kl and theirs:
        best = min(kl, key=lambda key: kl[key])
        verdict = "PASS" if kl[best] <= theirs / 2 else "over"
        print(
            f"  at no more bytes: {best} has {kl[best] / theirs:.2f} of the default's KL (goal 0.5)  {verdict}"
        )
    else:
        print("  no recipe of no more bytes, or no KL to compare with")


def built(default: Default, model: Path, folder: Path) -> Path:
    """Return the artifact of a default in `folder`, built by the toolchain's own commands unless it exists."""
    if not folder.is_dir():
        staged = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        build(default, model, staged)
        staged.rename(folder)
    return folder / default.artifact


def build(default: Default, model: Path, out: Path) -> float:
    """Return the wall-clock seconds of the toolchain's own commands."""
    env = environment.ensure(default.backend, registry.load(default.backend).NEEDS, print)
    path = f"{env.python.parent}:/usr/bin:/bin"
    begun = time.perf_counter()
    for command in default.build(env, model, out):
        subprocess.run(
            [str(part) for part in command],
            check=True,
            capture_output=True,
            env={**QUIET, "PATH": path, "HOME": str(out)},
        )
    return time.perf_counter() - begun


def show(name: str, one: Candidate, taken: float | None) -> None:
    """Return one line of the table."""
    if one.status != "ok":
        print(f"{name:40}{one.status}: {one.error}")
        return
    kl, prefill, decode = (
        one.figure(figure) for figure in ("kl_mean", "prefill_tokens_per_s", "decode_tokens_per_s")
    )
    built = "-" if taken is None else f"{taken:.1f} s"
    row = f"{name:40}{one.bytes:>11,}  {_plain(kl, '.2g'):>8}  {_plain(prefill, '.0f'):>8}  {_plain(decode, '.0f'):>7}"
    print(f"{row}  {built:>8}", flush=True)


def _plain(figure: Figure, form: str) -> str:
    return "-" if figure.value is None else f"{figure.value:{form}}"


if __name__ == "__main__":
    main()
