"""llamacpp: GGUF files by llama.cpp's own converter and quantizer, run by libllama.

The steps are llama.cpp's tools run as they are: convert_hf_to_gguf.py writes F16, llama-imatrix reads the
calibration text, llama-quantize writes the rest. What can be built and what can be converted is data:
llamacpp_recipes.toml and llamacpp_architectures.txt. `llamacpp_toolchain` compiles the tools,
`llamacpp_tools` finds them, `llamacpp_session` runs what was built.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends import llamacpp_gguf
from edgehone.backends.base import Needs, Recipe, Step, Support, WorkerJob
from edgehone.backends.llamacpp_tools import Toolchain
from edgehone.errors import JobError, TextError
from edgehone.model.info import ModelInfo

if TYPE_CHECKING:
    from edgehone.backends.llamacpp_session import LlamaSession

NAME = "llamacpp"
REFERENCE = False
NEEDS = Needs(
    lock=Path(__file__).parent.parent / "jobs" / "locks" / "llamacpp.txt",
    toolchain="edgehone.backends.llamacpp_toolchain:setup",
    versions=("torch", "transformers"),
)

ARTIFACT = "model.gguf"
IMATRIX = "imatrix.gguf"
EXACT = "F16"

# The chunk that llama-imatrix reads at once: its own default where text and model allow it.
_CHUNK = 512
_LEAST_CHUNK = 16

_HERE = "edgehone.backends.llamacpp"
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


def supports(model: ModelInfo) -> Support:
    """Whether llama.cpp's converter knows the architecture; what only the conversion can tell is a note."""
    refusals = _refusals(model)
    if refusals:
        return Support(False, tuple(refusals))
    notes = []
    if model.tokenizer != "sentencepiece":
        notes.append(
            f"tokenizer '{model.tokenizer}': converts only if llama.cpp knows its pre-tokenizer, "
            "which the conversion finds out"
        )
    if len(model.dtypes) and set(model.dtypes) - {"F32", "F16", "BF16"}:
        notes.append(f"weights stored as {', '.join(sorted(model.dtypes))} are cast to F16")
    return Support(True, tuple(notes))


def _refusals(model: ModelInfo) -> list[str]:
    reasons = []
    if model.format != "huggingface":
        reasons.append(f"the converter reads Hugging Face folders, not '{model.format}'")
    if model.architecture not in architectures():
        reasons.append(f"llama.cpp's converter has no architecture '{model.architecture}'")
    if model.kind != "language":
        reasons.append(f"only text generation can be scored, not '{model.task}'")
    if model.remote_code:
        reasons.append("the model brings code of its own, which is not run")
    if model.quantized:
        reasons.append(f"quantized already ({model.quantized}): give the unquantized original")
    return reasons


@functools.cache
def architectures() -> frozenset[str]:
    """The architecture names, as config.json gives them, that the converter registers."""
    text = Path(__file__).with_name("llamacpp_architectures.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def recipes(model: ModelInfo) -> list[Recipe]:
    """F16, then each quantized type with and without an importance matrix, in order of promise."""
    table = tomllib.loads(Path(__file__).with_name("llamacpp_recipes.toml").read_text("utf-8"))
    made = []
    for entry in table["type"]:
        why = f"{entry['bits']:g} bits a weight; {entry['why']}{_fallback(entry, model)}"
        if entry["name"] == EXACT:
            made.append(Recipe(NAME, EXACT, {"type": EXACT}, effort=entry["effort"], exact=True, why=why))
            continue
        plain = Recipe(NAME, entry["name"], {"type": entry["name"]}, effort=entry["effort"], why=why)
        weighted = replace(
            plain,
            name=f"{plain.name}+imatrix",
            build={**plain.build, "imatrix": True},
            effort=entry["imatrix_effort"],
            calibrated=True,
            why=f"{why}; error weighted by the activations on the calibration text",
        )
        made += [weighted, plain]
    return made


def _fallback(entry: Mapping[str, Any], model: ModelInfo) -> str:
    heads = (model.heads or 0) * (model.head_dim or 0)
    rows = {size for size in (model.hidden_size, model.intermediate_size, heads) if size}
    odd = sorted(size for size in rows if size % entry["block"])
    if not odd:
        return ""
    # Rows that 32 does not divide either have no quantized type at all.
    types = sorted({entry.get("fallback", "F16") if size % 32 == 0 else "F16" for size in odd})
    listed = ", ".join(map(str, odd))
    return f"; rows of {listed} do not divide by {entry['block']} and become {' or '.join(types)}"


def steps(recipe: Recipe) -> Step:
    """convert → [imatrix] → quantize; recipes share the first two."""
    converted = Step(f"{_HERE}:convert", reads=("model",))
    if recipe.build["type"] == EXACT:
        return converted
    inputs = {"converted": converted}
    if recipe.build.get("imatrix"):
        inputs["imatrix"] = Step(f"{_HERE}:imatrix", inputs=dict(inputs), reads=("calibration",))
    return Step(f"{_HERE}:quantize", {"type": recipe.build["type"]}, inputs)


def convert(job: WorkerJob) -> dict[str, Any]:
    """The model's folder → out/model.gguf in F16; norms stay F32 as the converter decides.

    Facts: tensor_types (GGML type → tensors), bytes. Raises JobError with the converter's own cause.
    """
    tools = _tools(job)
    script = tools.convert()
    out = job.out / ARTIFACT
    command = [sys.executable, script, job.inputs["model"], "--outfile", out, "--outtype", "f16"]
    _run(job, "convert", command, job.out, total=_PER_CENT)
    return _facts(out)


def imatrix(job: WorkerJob) -> dict[str, Any]:
    """calibration.txt through the F16 model → out/imatrix.gguf.

    Facts: chunk (tokens in one), chunks. Raises TextError for a text of fewer than 32 tokens, JobError with
    the tool's own cause.
    """
    calibration = job.inputs["calibration"]
    tokens = len(json.loads((calibration / "ids.json").read_text("utf-8")))
    chunk = _chunk(tokens, _context(job.inputs["converted"] / ARTIFACT))
    # Run beside the text: its name is written into the file, which must not depend on where the job ran.
    command = [_tools(job).tool("llama-imatrix"), "-m", job.inputs["converted"] / ARTIFACT]
    command += ["-f", "calibration.txt", "-o", job.out / IMATRIX, "-c", chunk, "-b", chunk, "-ub", chunk]
    command += ["-t", job.threads, "--no-ppl"]
    _run(job, "imatrix", command, calibration, total=max(tokens // chunk, 1))
    values = llamacpp_gguf.read(job.out / IMATRIX).values
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
    values = llamacpp_gguf.read(path).values
    return int(values.get(f"{values.get('general.architecture')}.context_length", _CHUNK))


def quantize(job: WorkerJob) -> dict[str, Any]:
    """F16 model.gguf [+ importance matrix] → out/model.gguf of args["type"].

    Facts: tensor_types, bytes: what was really written, for rows that do not fit a type get another in
    silence.
    """
    command: list[Any] = [_tools(job).tool("llama-quantize")]
    cwd = job.out
    if "imatrix" in job.inputs:
        # Its name is written into the file too.
        cwd = job.inputs["imatrix"]
        command += ["--imatrix", IMATRIX]
    out = job.out / ARTIFACT
    command += [job.inputs["converted"] / ARTIFACT, out, job.args["type"], job.threads]
    _run(job, "quantize", command, cwd)
    return _facts(out)


def open_session(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> LlamaSession:
    """Load artifact/model.gguf, memory-mapped.

    settings: kv_cache 'f16' (default) or 'q8_0', flash_attention true or false (default: llama.cpp decides),
    threads (default: job.threads). Raises EdgehoneError with libllama's own words when it cannot be loaded.
    """
    from edgehone.backends.llamacpp_session import LlamaSession

    library = _tools(job).binding()
    return LlamaSession(library, artifact / ARTIFACT, settings, job.threads)


def _tools(job: WorkerJob) -> Toolchain:
    return Toolchain.at(job.toolchain)


def _facts(path: Path) -> dict[str, Any]:
    return {"tensor_types": llamacpp_gguf.read(path).tensor_types, "bytes": path.stat().st_size}


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
