"""Malformed model files: the runtime refuses them with an error, each in a process of its own, and does not crash.

A parser may read past damage that changes nothing: a copy that is accepted must give the answers of the whole file.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgehone.certify.found import Found, Skipped, counted
from edgehone.certify.profile import Rule
from edgehone.certify.requests import sample_folder
from edgehone.certify.subject import Subject
from edgehone.core.errors import JobError
from edgehone.execution import store
from edgehone.execution.job import Input, Job
from edgehone.model.digest import digest_folder

# How a file is damaged: what a copy that was cut, a wrong file, or an attacker leaves.
DAMAGES: Mapping[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut in half": lambda data: data[: len(data) // 2],
    "cut within its header": lambda data: data[:20],
    "with a wrong beginning": lambda data: b"\xde\xad\xbe\xef" * 4 + data[16:],
    "with lengths of 2⁶⁴ - 1 after its beginning": lambda data: data[:8] + b"\xff" * 32 + data[40:],
}


def malformed_files(subject: Subject, rule: Rule) -> Found:
    """Count the damaged copies of the model file at which the runtime crashes, or with which it answers otherwise."""
    path = _main_file(subject.bundle.artifact)
    outcomes: dict[str, str] = {}
    problems: list[str] = []
    whole = subject.tried(_job(subject))
    if whole["refused"]:
        raise JobError(f"the artifact cannot be opened: {whole['refused']}")
    for name in DAMAGES:
        subject.say(f"opening {path.name} {name}")
        outcome, harmless = _outcome(subject, path, name, whole["answer"])
        outcomes[name] = outcome
        if not harmless:
            problems.append(f"{path.name} {name}: {outcome}")
    return counted(
        problems,
        f"{len(DAMAGES)} damaged copies of {path.name} were refused or read as the whole file",
        {"file": path.name, "outcomes": outcomes},
        n=len(DAMAGES),
    )


def _main_file(artifact: Path) -> Path:
    """Return the file that a runtime opens: the structure, where it is apart from the weights."""
    files = sorted(path for path in artifact.rglob("*") if path.is_file())
    for suffix in (".gguf", ".onnx", ".safetensors", ".pt2"):
        if found := [path for path in files if path.suffix == suffix]:
            return found[0]
    # An OpenVINO IR also has a tokenizer, whose files are not what is opened.
    graphs = [path for path in files if path.suffix == ".xml" and "tokenizer" not in path.name]
    return graphs[0] if graphs else max(files, key=lambda path: path.stat().st_size)


def _outcome(subject: Subject, path: Path, name: str, answer: Sequence[Any]) -> tuple[str, bool]:
    """Return what became of a damaged copy, and whether that is harmless."""
    folder = subject.work / "malformed"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(subject.bundle.artifact, folder, copy_function=os.symlink)
    copy = folder / path.relative_to(subject.bundle.artifact)
    copy.unlink()
    copy.write_bytes(DAMAGES[name](path.read_bytes()))
    job = _job(subject)
    job = replace(
        job,
        inputs={**job.inputs, "artifact": Input(folder, f"{subject.artifact.identity} {path.name} {name}")},
    )
    try:
        facts = subject.tried(job)
    except JobError as error:
        return f"the runtime's process crashes or hangs: {error.message}", False
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if facts["refused"]:
        return f"refused: {facts['refused']}", True
    same = facts["answer"] == answer
    return "read as the whole file" if same else "accepted, with other answers", same


def _job(subject: Subject) -> Job:
    manifest = subject.bundle.manifest
    call = "edgehone.worker.open_once:attempt"
    if subject.is_language:
        if not manifest.canaries:
            raise Skipped("the bundle has no canaries: make it again with its reproduce.sh")
        return subject.job(call, {"kind": "language", "prompt": list(manifest.canaries[0]["prompt"])})
    folder = subject.once(sample_folder)
    samples = Input(folder, store.key_of(digest_folder(folder)))
    return subject.job(call, {"kind": "graph", "batch": manifest.batch}, {"samples": samples})
