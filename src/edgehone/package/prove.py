"""Prove a package on the instruction set of its target: score the packaged artifact with the target's own kernels.

The same GGUF file gives other greedy text on AVX-512 and on NEON, so figures that were read on one do not hold for the
other. The runner for the target (`runner.py`) scores the artifact here, under an emulator, on the windows that the
bundle's decision is about, against the original in float32. Only quality is judged: an emulator tells nothing of speed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgehone.attestation.envelope import seal
from edgehone.attestation.keys import SigningKey
from edgehone.attestation.statement import signature_statement
from edgehone.backends import registry
from edgehone.backends.llamacpp.runner.machines import machine_of
from edgehone.backends.llamacpp.tools import ARTIFACT
from edgehone.bundle.schema import DECISION, MANIFEST, SIGNATURE, Manifest, read_manifest
from edgehone.bundle.write import replace_bundle
from edgehone.core.absence import why_absent
from edgehone.core.errors import InputError
from edgehone.core.events import Event
from edgehone.core.figure import Figure
from edgehone.decision.aims import judges_quality
from edgehone.decision.decision import Candidate, Decision
from edgehone.decision.gates import Verdict, verdict_of
from edgehone.decision.requirements import Gate
from edgehone.evaluation import quality
from edgehone.execution.job import Input, Job
from edgehone.execution.run import run
from edgehone.execution.sole_writer import sole_writer
from edgehone.execution.store import JobResult
from edgehone.inputs import texts
from edgehone.model.digest import digest_file
from edgehone.optimize.context import RunContext
from edgehone.optimize.context_setup import set_up_context
from edgehone.optimize.evaluate import language
from edgehone.optimize.executors import Executors
from edgehone.optimize.options import OptimizeOptions
from edgehone.package import runner
from edgehone.package.contents import digest_member, open_member
from edgehone.package.document import DOCUMENTS, PACKAGE, README, Package
from edgehone.package.proof import Answer, Emulator, ProofDocument, document_name, proof_of_device
from edgehone.package.readme import with_proofs
from edgehone.package.target import Carried
from edgehone.package.verify import verify_package

_SESSION = "edgehone.backends.llamacpp.runner.session"


@dataclass(frozen=True)
class Question:
    """What to prove, and with what.

    `cpu` is the instruction set of the kernels (default: what the package is compiled for, else the architecture's
    default). `model` is the original (default: where the decision says it is), `evaluation` the text (default: the
    shipped one), `windows` how many windows to score (default: as many as the decision did). `key` signs the package.
    """

    architecture: str
    cpu: str | None = None
    model: Path | None = None
    evaluation: Path | None = None
    windows: int | None = None
    key: SigningKey | None = None


@dataclass(frozen=True)
class Proven:
    """The document of the proof, and what became of the package's signature: "made", "removed" or "none"."""

    document: ProofDocument
    signature: str


def prove(folder: Path, question: Question, tell: Callable[[str], None]) -> Proven:
    """Score the artifact of the package in `folder` and write the proof into it.

    Raises NotVerified if the package was changed; InputError if it has no artifact of llama.cpp, or if the original or
    the text is not that of the bundle; SetupError if a compiler or an emulator is missing, or if another process
    writes to the package. The package stays as it was then.
    """
    with sole_writer(folder):
        return _proven(folder, question, tell)


def _proven(folder: Path, question: Question, tell: Callable[[str], None]) -> Proven:
    # What a killed run left has names of the package's files, which `verify_package` refuses.
    shutil.rmtree(_staged(folder), ignore_errors=True)
    verified = verify_package(folder)
    package = verified.package
    manifest, decision = _documents(folder)
    carried = _artifact_of(package, manifest)
    machine = machine_of(question.architecture, question.cpu or _compiled_for(package, question.architecture))
    emulator = runner.emulator_of(machine)
    ctx, notes = _context(question, manifest, decision, tell)
    program = runner.ensure(machine, tell)
    with tempfile.TemporaryDirectory(prefix="edgehone-prove-") as scratch:
        artifact = _unpacked(folder, carried, Path(scratch))
        scored = _Scored.of(
            ctx, manifest, artifact, Input(program.program, digest_file(program.program)), emulator
        )
    verdicts = _verdicts(decision, scored.figures)
    document = ProofDocument(
        edgehone=version("edgehone"),
        architecture=machine.machine,
        features=runner.features_of(machine),
        cpu=machine.cpu,
        emulator=_emulator(emulator),
        runner={"sha256": digest_file(program.program), **program.versions},
        artifact=carried.at,
        artifact_sha256=artifact.identity,
        original=ctx.source.identity,
        text=ctx.datasets["evaluation"].identity,
        windows=scored.windows,
        window=scored.window,
        figures=scored.figures,
        stated={name: one for name, one in _candidate(decision).figures.items() if name in scored.figures},
        stated_on=package.proofs[0],
        verdicts=verdicts,
        answers=scored.answers,
        passes=all(one.ok for one in verdicts),
        notes=tuple(notes),
    )
    return Proven(document, _add(folder, package, document, question.key))


@dataclass(frozen=True)
class _Scored:
    """What the target's kernels gave: figures of quality, greedy answers, and how much text they are about."""

    figures: Mapping[str, Figure]
    answers: tuple[Answer, ...]
    windows: int
    window: int

    @classmethod
    def of(
        cls, ctx: RunContext, manifest: Manifest, artifact: Input, program: Input, emulator: tuple[str, ...]
    ) -> _Scored:
        """Score the original and the artifact, or find their scores in the store."""
        told = ctx  # `prepare` returns a context without the texts
        ctx, prepared = language.prepare(told)
        reference = language.reference(replace(ctx, effort=told.effort), prepared).reference
        settings = {"emulator": list(emulator), "context": reference.facts["window"]}
        inputs = {"artifact": artifact, "runner": program}
        scored = _run(
            ctx,
            "edgehone.worker.score:score",
            {"settings": settings},
            {**inputs, "prepared": Input.of(prepared), "reference": Input.of(reference)},
        )
        asked = [one for one in manifest.canaries if "picture" not in one]
        length = max((len(one["prompt"]) + len(one["answer"]) for one in asked), default=1)
        prompts = [{"prompt": one["prompt"], "count": len(one["answer"])} for one in asked]
        args = {"settings": {**settings, "context": length}, "prompts": prompts}
        answered = _run(ctx, f"{_SESSION}:answers", args, inputs).facts["answers"] if asked else []
        return cls(
            quality.figures(reference.out, scored.out),
            tuple(_answer(one, answer) for one, answer in zip(asked, answered, strict=True)),
            int(reference.facts["windows"]),
            int(reference.facts["window"]),
        )


def _run(ctx: RunContext, call: str, args: Mapping[str, Any], inputs: Mapping[str, Input]) -> JobResult:
    """Run a job that opens the artifact with the runner, in the environment of llama.cpp, with one thread."""
    emulator = _emulator(tuple(args["settings"]["emulator"]))
    job = Job(
        call,
        ctx.build_executor.environments["llamacpp"],
        {**args, "backend": _SESSION},
        inputs,
        backend=_SESSION,
        also={"emulator": emulator.version} if emulator else {},
        limits=ctx.build_executor.limits,
    )
    return run(job, lambda fraction, what: ctx.emit(Event("", detail=f"{what}: {fraction:.0%}")))


def _answer(canary: Mapping[str, Any], answer: list[int]) -> Answer:
    agree = [mine == theirs for mine, theirs in zip(answer, canary["answer"], strict=True)]
    same = agree.index(False) if False in agree else len(agree)
    return Answer(tuple(canary["prompt"]), tuple(answer), same)


def _documents(folder: Path) -> tuple[Manifest, Decision]:
    paths = {name: folder / DOCUMENTS / name for name in (MANIFEST, DECISION)}
    data = {name: json.loads(path.read_text("utf-8")) for name, path in paths.items()}
    manifest = read_manifest(data[MANIFEST], paths[MANIFEST])
    return manifest, Decision.from_json(data[DECISION], str(paths[DECISION]))


def _artifact_of(package: Package, manifest: Manifest) -> Carried:
    backend = manifest.recipe["backend"]
    found = [one for one in package.carried if one.bundle == f"artifact/{ARTIFACT}"]
    if backend != "llamacpp" or manifest.kind != "language" or not found:
        raise InputError(
            f"the package carries a {manifest.kind} model of {backend}; only GGUF files of language models can be "
            "proven on another instruction set",
            hint="run its own test on the device",
        )
    return found[0]


def _compiled_for(package: Package, architecture: str) -> str | None:
    same = package.options.get("architecture") == architecture
    return package.options.get("cpu") if same else None


def _candidate(decision: Decision) -> Candidate:
    return decision.candidate(decision.bundled or "")


def _context(
    question: Question, manifest: Manifest, decision: Decision, tell: Callable[[str], None]
) -> tuple[RunContext, list[str]]:
    """Return the run context of the original, and what the user must know of the text."""
    stated = decision.model.get("path")
    path = question.model or (Path(str(stated)) if stated else None)
    if path is None or not path.exists():
        raise InputError(
            why_absent(path, f"the original is not at {path}")
            if path
            else "the decision does not say where the original is",
            hint="give the original that the bundle was made of with --model PATH",
        )
    text = question.evaluation or texts.shipped("evaluation")
    wanted = manifest.texts.get("evaluation")
    notes = []
    if wanted and digest_file(text) != wanted:
        if question.evaluation is None:
            raise InputError(
                "the bundle was evaluated on another text than the shipped one",
                hint="give that text with --eval FILE, or another one, which the proof will say",
            )
        notes.append("scored on another text than the bundle: the figures are not those of the same tokens")
    options = OptimizeOptions(
        path, effort="quick", evaluation=text, emit=lambda event: tell(event.detail or "")
    )
    backends = registry.load_all(["llamacpp"])
    ctx, _, unready = set_up_context(options, {}, backends, backends, executors=Executors.local())
    if "llamacpp" in unready:
        raise InputError(unready["llamacpp"], hint="edgehone backends install llamacpp")
    if ctx.source.identity != manifest.model["digest"]:
        raise InputError(
            f"{path} is another model than the bundle's original",
            hint="give the original that the bundle was made of with --model PATH",
        )
    windows = question.windows or _candidate(decision).figure("kl_mean").n or ctx.effort.windows
    return replace(ctx, effort=replace(ctx.effort, windows=windows)), notes


def _unpacked(folder: Path, carried: Carried, scratch: Path) -> Input:
    """Return the folder of the artifact as a job's input, identified by the artifact's SHA-256."""
    place = scratch / "artifact"
    place.mkdir()
    with open_member(folder, carried.at) as source, (place / ARTIFACT).open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
    return Input(place, digest_member(folder, carried.at))


def _verdicts(decision: Decision, figures: Mapping[str, Figure]) -> tuple[Verdict, ...]:
    gates = [Gate(**one) for one in decision.requirements["gates"]]
    return tuple(
        verdict_of(gate, figures.get(gate.figure) or Figure.missing(f"{gate.figure} was not measured"))
        for gate in gates
        if judges_quality(gate.figure)
    )


def _emulator(words: tuple[str, ...]) -> Emulator | None:
    if not words:
        return None
    told = subprocess.run([words[0], "--version"], capture_output=True, text=True, check=True).stdout
    return Emulator(Path(words[0]).name, told.partition("\n")[0].removeprefix("qemu-"), words[-1])


def _add(folder: Path, package: Package, document: ProofDocument, key: SigningKey | None) -> str:
    """Put the document into the package, in the place of an older one; return what became of the signature.

    The package is replaced in one step by a copy whose other files are links to the same contents.
    """
    staged = _staged(folder)
    name = document_name(document.architecture)
    shutil.rmtree(staged, ignore_errors=True)
    try:
        shutil.copytree(folder, staged, copy_function=_link, symlinks=True)
        for one in (name, README, PACKAGE, SIGNATURE):
            (staged / one).unlink(missing_ok=True)
        document.write(staged).chmod(0o644)
        own = proof_of_device(_documents(folder)[0].device)
        kept = [one for one in package.proofs if one == own or one.architecture != document.architecture]
        proofs = dict.fromkeys([*kept, *([document.proof] if document.passes else [])])
        proven = replace(package, proofs=tuple(proofs))
        (staged / README).write_text(with_proofs((folder / README).read_text("utf-8"), proven), "utf-8")
        changed = {one: digest_file(staged / one) for one in (name, README)}
        files = dict(sorted({**package.files, **changed}.items()))
        replace(proven, files=files).write(staged)
        for one in (README, PACKAGE):
            (staged / one).chmod(0o644)
        if key is not None:
            digests = {**files, PACKAGE: digest_file(staged / PACKAGE)}
            statement = signature_statement(folder.absolute().name, digests)
            (staged / SIGNATURE).write_bytes(seal(statement, key))
            (staged / SIGNATURE).chmod(0o644)
        signed = (folder / SIGNATURE).is_file()
        replace_bundle(staged, folder.absolute())
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return "made" if key is not None else "removed" if signed else "none"


def _staged(folder: Path) -> Path:
    return folder.absolute().with_name(f".{folder.absolute().name}.proven")


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
