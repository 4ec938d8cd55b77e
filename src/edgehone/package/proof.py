"""The document of a proof on another instruction set, proof-ARCHITECTURE.json, and what a proof covers."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from edgehone.backends.llamacpp.runner.machines import architectures, cpus, machine_of
from edgehone.core import typed_json
from edgehone.core.errors import InputError
from edgehone.core.figure import Figure
from edgehone.core.typed_json import OPTIONAL, Count
from edgehone.decision.gates import Verdict
from edgehone.device.catalogue import ARCHITECTURES
from edgehone.device.cpuinfo import ARM_FLAGS, X86_FLAGS
from edgehone.package.runner import features_of
from edgehone.package.target import Proof

_HINT = "edgehone prove PACKAGE --on ARCHITECTURE makes it again"
# What `edgehone prove --on` calls an architecture: `platform.machine()` → name.
NAMES: Final[Mapping[str, str]] = {"aarch64": "arm64", "arm64": "arm64", "x86_64": "x86-64"}
assert set(NAMES) == set(ARCHITECTURES)


@dataclass(frozen=True)
class Emulator:
    """The program that ran the kernels, its version, and the processor that it was."""

    program: str
    version: str
    cpu: str


@dataclass(frozen=True)
class Answer:
    """A canary's prompt and the greedy answer of the target's kernels; its first `same` tokens are the bundle's too."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    same: Count


@dataclass(frozen=True, kw_only=True)
class ProofDocument:
    """How the packaged artifact does with the kernels of `architecture` and `features`, against the original.

    `artifact` is where the artifact is in the package, `runner` the SHA-256 of the program that ran it, compiled for
    `cpu`. `emulator` is None if this processor ran it. `figures` are those of quality, with intervals over the windows;
    `stated` are the same figures in the bundle's decision, read with the kernels of `stated_on`. `verdicts` are those
    of the decision's gates on quality. There are no figures of speed.
    """

    schema: Literal[1] = 1
    edgehone: str
    architecture: str
    features: tuple[str, ...]
    cpu: str
    emulator: Emulator | None
    runner: Mapping[str, str]
    artifact: str
    artifact_sha256: str
    original: str
    text: str
    windows: Count
    window: Count
    figures: Mapping[str, Figure]
    stated: Mapping[str, Figure]
    stated_on: Proof
    verdicts: tuple[Verdict, ...]
    answers: tuple[Answer, ...]
    passes: bool
    notes: tuple[str, ...] = field(default=(), metadata=OPTIONAL)

    @property
    def proof(self) -> Proof:
        """The instruction set that the proof holds for."""
        return Proof(self.architecture, self.features)

    def write(self, folder: Path) -> Path:
        """Write the document into a package and return its path."""
        path = folder / document_name(self.architecture)
        path.write_text(json.dumps(asdict(self), indent=1, allow_nan=False) + "\n", "utf-8")
        return path


def proof_of_device(device: Mapping[str, Any]) -> Proof:
    """Return the instruction set of the device in a bundle's manifest, on which its figures were measured."""
    return Proof(str(device.get("architecture") or platform.machine()), tuple(device.get("simd") or ()))


def document_name(architecture: str) -> str:
    """Return the name of the document of an architecture, as `platform.machine()` tells it."""
    return f"proof-{NAMES.get(architecture, architecture)}.json"


def read_document(path: Path) -> ProofDocument:
    """Return a proof's document. Raises InputError if it is missing, cut or edited."""
    try:
        data: Any = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}", hint=_HINT) from error
    return typed_json.read(ProofDocument, data, str(path), hint=_HINT)


def normal(architecture: str, features: Iterable[str]) -> Proof:
    """Return an instruction set by the names that detected devices have for it; the catalogue uses the kernel's."""
    known = {**X86_FLAGS, **ARM_FLAGS, "fphp": "fp16"}
    named = dict.fromkeys(known.get(one, one) for one in features)
    return Proof("aarch64" if architecture == "arm64" else architecture, tuple(named))


def uncovered(
    proofs: Iterable[Proof], compiled: Proof | None, device: Mapping[str, Any] | None, package: str
) -> str | None:
    """Return what the proofs do not cover, with the command that proves it; None if they cover it.

    `compiled` is what the deliverables are compiled for: its own kernels must be proven. A `device` of the catalogue
    is covered by a proof whose kernels it can run.
    """
    found = [normal(one.architecture, one.features) for one in proofs]
    told = "; ".join(f"{one.architecture} ({', '.join(one.features)})" for one in found) or "nothing"
    if compiled is not None:
        wanted, what = normal(compiled.architecture, compiled.features), "the package is compiled for"
        covered = any(
            one.architecture == wanted.architecture and set(one.features) == set(wanted.features)
            for one in found
        )
    elif device and device.get("architecture") and device.get("simd") is not None:
        wanted = normal(device["architecture"], device["simd"])
        what = f"{device.get('title') or device.get('name') or 'the device'} has"
        covered = any(
            one.architecture == wanted.architecture and set(one.features) <= set(wanted.features)
            for one in found
        )
    else:
        return None
    if covered:
        return None
    on = NAMES.get(wanted.architecture, wanted.architecture) + ("" if compiled else _cpu_of(wanted))
    return (
        f"the quality figures hold for {told}; {what} {wanted.architecture} ({', '.join(wanted.features)}), whose "
        f"kernels give other results: edgehone prove {package} --on {on}"
    )


def _cpu_of(wanted: Proof) -> str:
    """Return the option --cpu with kernels that the device can run; nothing if it runs those of the default."""
    architecture = NAMES.get(wanted.architecture, "")
    if architecture not in architectures():
        return ""
    runs = [
        cpu
        for cpu in cpus(architecture)
        if set(features_of(machine_of(architecture, cpu))) <= set(wanted.features)
    ]
    return "" if not runs or machine_of(architecture).cpu in runs else f" --cpu {runs[-1]}"
