"""What llama.cpp's tools make, one function a build step (worker side): convert, imatrix, quantize, adopt."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgehone.backends.llamacpp import mix as llamacpp_mix
from edgehone.backends.llamacpp.tensor_types import expert_types, tensor_types
from edgehone.backends.llamacpp.tools import Toolchain
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.core.errors import JobError, TextError
from edgehone.formats.gguf import read_header

ARTIFACT = "model.gguf"
IMATRIX = "imatrix.gguf"

# The chunk that llama-imatrix reads at once: its own default where text and model allow it.
_CHUNK = 512
_LEAST_CHUNK = 16

_PROGRESS = {
    "convert": re.compile(r"Writing:\s*(\d+)%"),
    "imatrix": re.compile(r"\[(\d+)\]"),
    "quantize": re.compile(r"\[\s*(\d+)/\s*(\d+)\]"),
}
_PER_CENT = 100
# Builds overlap, and threads that spin at OpenMP barriers while another build has the core made llama-imatrix
# seven times slower.
_PATIENT = {"OMP_WAIT_POLICY": "passive"}
_CAUSE = re.compile(r"error|failed|exception|not supported|unsupported|cannot|assert", re.I)


def convert(job: WorkerJob) -> dict[str, Any]:
    """Convert the model's folder to out/model.gguf in F16, or in args["outtype"]; norms stay F32.

    Facts: tensor_types (GGML type → tensors), bytes. Raises JobError with the converter's own cause.
    """
    return run_converter(job, [])


def run_converter(job: WorkerJob, wrapper: Sequence[str]) -> dict[str, Any]:
    """Run convert_hf_to_gguf.py as `convert` does, by way of a wrapper script if one is given."""
    command = [sys.executable, *wrapper, tools(job).convert(), job.inputs["model"]]
    command += ["--outtype", job.args.get("outtype", "f16")]
    out = job.out / ARTIFACT
    _run(job, "convert", [*command, "--outfile", out], job.out, total=_PER_CENT)
    return facts(out)


def imatrix(job: WorkerJob) -> dict[str, Any]:
    """calibration.txt through the F16 model → out/imatrix.gguf.

    Facts: chunk (tokens in one), chunks. Raises TextError for a text of fewer than 32 tokens, JobError with
    the tool's own cause.
    """
    calibration = job.inputs["calibration"]
    tokens = len(json.loads((calibration / "ids.json").read_text("utf-8")))
    chunk = _chunk(tokens, _context(job.inputs["converted"] / ARTIFACT))
    # Run beside the text: its name is written into the file, which must not depend on where the job ran.
    command = [tools(job).tool("llama-imatrix"), "-m", job.inputs["converted"] / ARTIFACT]
    command += ["-f", "calibration.txt", "-o", job.out / IMATRIX, "-c", chunk, "-b", chunk, "-ub", chunk]
    # On the CPU alone, so that an artifact is the same whatever else a build of llama.cpp could run on.
    command += ["-t", job.threads, "--no-ppl", "--device", "none"]
    _run(job, "imatrix", command, calibration, total=max(tokens // chunk, 1))
    values = read_header(job.out / IMATRIX).values
    return {"chunk": values.get("imatrix.chunk_size"), "chunks": values.get("imatrix.chunk_count")}


def _chunk(tokens: int, context: int) -> int:
    """The largest power of two that the context takes and fits twice into the text, as the tool wants."""
    if tokens < 2 * _LEAST_CHUNK:
        raise TextError(
            f"the calibration text has {tokens} tokens; an importance matrix needs {2 * _LEAST_CHUNK}",
            hint="give a longer text: --calibrate FILE",
        )
    most = min(_CHUNK, context, tokens // 2)
    return 1 << (most.bit_length() - 1)


def _context(path: Path) -> int:
    values = read_header(path).values
    return int(values.get(f"{values.get('general.architecture')}.context_length", _CHUNK))


def quantize(job: WorkerJob) -> dict[str, Any]:
    """model.gguf [+ importance matrix] → out/model.gguf of args["type"].

    args: tensor_types (part of a tensor's name → its own type), requantize (from a quantized model.gguf), mix (a type
    for each tensor by inputs["sensitivity"]).

    Facts: tensor_types, bytes, and of a mixture of experts `experts` (the types of routers and experts apart): what
    was really written, for rows that do not fit a type get another in silence. Of a mix `mix`: what was assigned,
    and where the file differs.
    """
    command: list[Any] = [tools(job).tool("llama-quantize")]
    cwd = job.out
    if "imatrix" in job.inputs:
        # Its name is written into the file too.
        cwd = job.inputs["imatrix"]
        command += ["--imatrix", IMATRIX]
    for name, kind in job.args.get("tensor_types", {}).items():
        command += ["--tensor-type", f"{name}={kind}"]
    if job.args.get("requantize"):
        command += ["--allow-requantize"]
    out, converted = job.out / ARTIFACT, job.inputs["converted"] / ARTIFACT
    mix = llamacpp_mix.assigned(job, converted) if "mix" in job.args else None
    command += llamacpp_mix.options(mix) if mix else []
    command += [converted, out, job.args["type"], job.threads]
    _run(job, "quantize", command, cwd)
    return {**facts(out), **(llamacpp_mix.facts(mix, out) if mix else {})}


def link_original(job: WorkerJob) -> dict[str, Any]:
    """A link to a GGUF file that is given: out/model.gguf. Facts: tensor_types, bytes.

    Raises EdgehoneError for a file that is no GGUF.
    """
    out = job.out / ARTIFACT
    out.symlink_to(job.inputs["model"].resolve())
    return facts(out)


def tools(job: WorkerJob) -> Toolchain:
    """The toolchain that the job was given. SetupError where there is none."""
    return Toolchain.at(job.toolchain)


def facts(path: Path) -> dict[str, Any]:
    """What is in a GGUF file: tensor_types, bytes, and of a mixture of experts the types of both parts apart."""
    header = read_header(path)
    found: dict[str, Any] = {"tensor_types": tensor_types(header), "bytes": path.stat().st_size}
    if experts := expert_types(header):
        found["experts"] = experts
    return found


def _run(job: WorkerJob, what: str, command: Sequence[Any], cwd: Path, total: int | None = None) -> None:
    """Run a tool: its output to the job's log, its progress to who waits, its own cause when it fails."""
    if shutil.which(str(command[0])) is None:
        raise JobError(f"{command[0]} cannot be run", hint="edgehone backends install llamacpp")
    job.progress(0.0, what)
    tail: list[str] = []
    with subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **_PATIENT},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        # Not by lines: progress bars end theirs with a carriage return, llama-imatrix ends none.
        while part := os.read(process.stdout.fileno(), 1 << 14):
            os.write(1, part)
            text = part.decode("utf-8", "replace")
            tail = [*tail, text][-64:]
            if hits := _PROGRESS[what].findall(text):
                done, of = hits[-1] if isinstance(hits[-1], tuple) else (hits[-1], total or _PER_CENT)
                job.progress(min(int(done) / max(int(of), 1), 1.0), what)
    if process.returncode:
        tool = next(Path(part).name for part in map(str, command) if part != sys.executable)
        raise JobError(f"{tool} {_ending(process.returncode)}: {_cause(tail)}")


def _ending(code: int) -> str:
    if code == -signal.SIGKILL:
        return "was killed, by the system if memory was short"
    return f"was ended by signal {-code}" if code < 0 else "failed"


def _cause(tail: Sequence[str]) -> str:
    lines = [line.strip() for line in re.split(r"[\r\n]+", "".join(tail)) if line.strip()]
    telling = [line for line in lines if _CAUSE.search(line)]
    return (telling or lines or ["no output"])[-1][:500]
