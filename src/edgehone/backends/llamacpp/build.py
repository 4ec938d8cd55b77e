"""The build steps that run llama.cpp's tools (worker side): convert, imatrix, quantize, link the original."""

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

from edgehone.backends.llamacpp import convert_any_tokenizer, gptq_work, lowered, mixed_precision
from edgehone.backends.llamacpp.speculation import DRAFT
from edgehone.backends.llamacpp.tensor_types import expert_types, tensor_types, weights
from edgehone.backends.llamacpp.tools import ARTIFACT, PROJECTOR, toolchain_of
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.backends.shared import quantized_weights
from edgehone.backends.shared.plain_checkpoint import plain_checkpoint
from edgehone.core.errors import JobError, TextError
from edgehone.formats.gguf import read_header

IMATRIX = "imatrix.gguf"

# Tokens per chunk of llama-imatrix: its default, if the text and the model's context are long enough.
_CHUNK = 512
_MIN_CHUNK = 16

_PROGRESS = {
    "convert": re.compile(r"Writing:\s*(\d+)%"),
    "imatrix": re.compile(r"\[(\d+)\]"),
    "quantize": re.compile(r"\[\s*(\d+)/\s*(\d+)\]"),
}
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)
_PER_CENT = 100
# Builds run concurrently. Threads that spin at OpenMP barriers while another build uses the core made llama-imatrix
# seven times slower.
_ENVIRONMENT = {"OMP_WAIT_POLICY": "passive"}
_CAUSE = re.compile(r"error|failed|exception|not supported|unsupported|cannot|assert", re.I)


def convert(job: WorkerJob) -> dict[str, Any]:
    """Convert the model's folder to out/model.gguf in F16, or in args["outtype"]; norms stay in F32.

    The script that wraps the converter is imported for its path, so that its code is part of the job's key.

    Facts: tensor_types (number of tensors by GGML type), bytes. Raises JobError with the converter's error.
    """
    return _convert(job, job.out / ARTIFACT)


def convert_projector(job: WorkerJob) -> dict[str, Any]:
    """Convert the picture encoder and projector of the model's folder to out/mmproj.gguf in F16. Facts as `convert`."""
    return _convert(job, job.out / PROJECTOR, "--mmproj")


def _convert(job: WorkerJob, out: Path, *options: str) -> dict[str, Any]:
    # With an adapter that is kept apart, `model` is the merged one, and the base alone is converted.
    folder = job.inputs["base"] if "base" in job.inputs else job.inputs["model"]
    with plain_checkpoint(folder, job.out / ".checkpoint") as model:
        command = [
            sys.executable,
            convert_any_tokenizer.__file__,
            toolchain_of(job).convert(),
            model,
            *options,
        ]
        command += ["--outtype", job.args.get("outtype", "f16"), "--outfile", out]
        _run(job, "convert", command, job.out, total=_PER_CENT)
    return facts(out)


def imatrix(job: WorkerJob) -> dict[str, Any]:
    """Run the F16 model on calibration.txt and write the importance matrix to out/imatrix.gguf.

    Facts: chunk (tokens per chunk), chunks. Raises TextError for a text of fewer than 32 tokens, JobError with the
    tool's error.
    """
    calibration = job.inputs["calibration"]
    header = read_header(job.inputs["converted"] / ARTIFACT)
    tokens = len(json.loads((calibration / "ids.json").read_text("utf-8")))
    chunk = _chunk(tokens, _context(job.inputs["converted"] / ARTIFACT))
    parameters = sum(count for _, count, _ in weights(header))
    tokens = min(tokens, max(gptq_work.imatrix_tokens(parameters, bool(expert_types(header))), chunk))
    # Run in the text's folder: the tool writes the path it is given into the file, which must not depend on the folder.
    command = [toolchain_of(job).tool("llama-imatrix"), "-m", job.inputs["converted"] / ARTIFACT]
    command += ["-f", "calibration.txt", "-o", job.out / IMATRIX, "-c", chunk, "-b", chunk, "-ub", chunk]
    # On the CPU only, so that the artifact does not depend on the accelerators of this llama.cpp.
    command += ["-t", job.threads, "--no-ppl", "--device", "none", "--chunks", max(tokens // chunk, 1)]
    _run(job, "imatrix", command, calibration, total=max(tokens // chunk, 1))
    values = read_header(job.out / IMATRIX).values
    return {"chunk": values.get("imatrix.chunk_size"), "chunks": values.get("imatrix.chunk_count")}


def _chunk(tokens: int, context: int) -> int:
    """Return the largest power of two within the context that fits twice into the text, as the tool requires."""
    if tokens < 2 * _MIN_CHUNK:
        raise TextError(
            f"the calibration text has {tokens} tokens; an importance matrix needs at least {2 * _MIN_CHUNK}",
            hint="give a longer text with --calibrate FILE",
        )
    most = min(_CHUNK, context, tokens // 2)
    return 1 << (most.bit_length() - 1)


def _context(path: Path) -> int:
    values = read_header(path).values
    return int(values.get(f"{values.get('general.architecture')}.context_length", _CHUNK))


def quantize(job: WorkerJob) -> dict[str, Any]:
    """Quantize model.gguf to args["type"], with an importance matrix if there is one, and write out/model.gguf.

    args: tensor_types (types of tensors by a pattern of their names), requantize (the input is quantized), mix (assign
    a type to each tensor by inputs["sensitivity"]), lower (only tensors with more bits are quantized again, `lowered`).

    Facts: tensor_types, bytes, for mixture-of-experts models `experts` (the types of routers and of experts), and for a
    mix `mix`: the assignment and where the file differs. They are read from the file, since llama-quantize silently
    substitutes a type if rows do not fit the block size.
    """
    command: list[Any] = [toolchain_of(job).tool("llama-quantize")]
    cwd = job.out
    if "imatrix" in job.inputs:
        # The tool writes this path into the file too.
        cwd = job.inputs["imatrix"]
        command += ["--imatrix", IMATRIX]
    for name, kind in job.args.get("tensor_types", {}).items():
        command += ["--tensor-type", f"{name}={kind}"]
    if job.args.get("requantize"):
        command += ["--allow-requantize"]
    out, converted = job.out / ARTIFACT, job.inputs["converted"] / ARTIFACT
    kind = job.args.get("type")
    if "lower" in job.args:
        header = read_header(converted)
        lower = lowered.options(header, job.args["lower"])
        if not lower:
            return {"nothing_to_gain": "no tensor has more bits and rows that fit the type"}
        command += lower
        kind = lowered.stated_type(header)
    mix = mixed_precision.assigned_types(job, converted) if "mix" in job.args else None
    command += mixed_precision.options(mix) if mix else []
    command += [converted, out, kind, job.threads]
    _run(job, "quantize", command, cwd)
    return {**facts(out), **(mixed_precision.facts(mix, out) if mix else {})}


def to_floats(job: WorkerJob, source: Path, out: Path) -> None:
    """Write a copy of a GGUF file whose tensors are all float32. Raises JobError with the tool's error."""
    command = [
        toolchain_of(job).tool("llama-quantize"),
        "--allow-requantize",
        source,
        out,
        "F32",
        job.threads,
    ]
    _run(job, "quantize", command, job.out)


def with_draft(job: WorkerJob) -> dict[str, Any]:
    """Copy the model, and one of fewer bits as draft.gguf, to one folder. Facts: those of the model, bytes of both."""
    for name, part in ((ARTIFACT, "model"), (DRAFT, "draft")):
        shutil.copyfile(job.inputs[part] / ARTIFACT, job.out / name)
    found = facts(job.out / ARTIFACT)
    return {**found, "bytes": sum(path.stat().st_size for path in job.out.iterdir())}


def link_original(job: WorkerJob) -> dict[str, Any]:
    """Link the original GGUF file as out/model.gguf, or join the files of a split one. Facts: tensor_types, bytes.

    Raises ModelError for a file that is not valid GGUF, JobError with the tool's error if the files cannot be joined.
    """
    out, model = job.out / ARTIFACT, job.inputs["model"]
    if is_split(model):
        # Not resolved: the tool finds the other files by this name, and in the hub's cache a link has another one.
        command = [toolchain_of(job).tool("llama-quantize"), model.absolute(), out, "COPY"]
        _run(job, "quantize", command, job.out)
    else:
        out.symlink_to(model.resolve())
    return facts(out)


def is_split(path: Path) -> bool:
    """Return whether a GGUF file is one of several of a model, by its name."""
    return _PART.search(path.name) is not None


def facts(path: Path) -> dict[str, Any]:
    """Return tensor_types and bytes of a GGUF file, and `experts` of a mixture-of-experts model."""
    header = read_header(path)
    found: dict[str, Any] = {
        "tensor_types": tensor_types(header),
        **quantized_weights.facts(weights(header)),
        "bytes": path.stat().st_size,
    }
    if experts := expert_types(header):
        found["experts"] = experts
    return found


def _run(job: WorkerJob, what: str, command: Sequence[Any], cwd: Path, total: int | None = None) -> None:
    """Run a tool, with its output in the job's log. Raises JobError with the tool's own error message if it fails."""
    if shutil.which(str(command[0])) is None:
        raise JobError(f"{command[0]} cannot be executed", hint="edgehone backends install llamacpp")
    job.progress(0.0, what)
    tail: list[str] = []
    with subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **_ENVIRONMENT},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        # Not read by lines: progress bars end lines with a carriage return, and llama-imatrix ends none.
        while part := os.read(process.stdout.fileno(), 1 << 14):
            os.write(1, part)
            text = part.decode("utf-8", "replace")
            tail = [*tail, text][-64:]
            if hits := _PROGRESS[what].findall(text):
                done, of = hits[-1] if isinstance(hits[-1], tuple) else (hits[-1], total or _PER_CENT)
                job.progress(min(int(done) / max(int(of), 1), 1.0), what)
    if process.returncode:
        own_converter = (sys.executable, convert_any_tokenizer.__file__)
        tool = next(Path(part).name for part in map(str, command) if part not in own_converter)
        raise JobError(f"{tool} {_ending(process.returncode)}: {_cause(tail)}")


def _ending(code: int) -> str:
    if code == -signal.SIGKILL:
        return "was killed, possibly by the system for lack of memory"
    return f"was terminated by signal {-code}" if code < 0 else "failed"


def _cause(tail: Sequence[str]) -> str:
    lines = [line.strip() for line in re.split(r"[\r\n]+", "".join(tail)) if line.strip()]
    telling = [line for line in lines if _CAUSE.search(line)]
    return (telling or lines or ["no output"])[-1][:500]
