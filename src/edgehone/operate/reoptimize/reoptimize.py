"""The way back to the optimizer: kept requests → optimize → certify → compare → offer as challenger.

Each step can be killed. What is complete is kept in a folder beside the challenger, and the same call goes on after it;
at the end the folder is removed, with all texts of users in it. A challenger is offered only if it is certified and
proven better than the champion on requests that it was not made from.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from edgehone.attestation.certificate import CERTIFICATE
from edgehone.attestation.verify import verify_bundle
from edgehone.bundle.read import read
from edgehone.bundle.write import check_target, replace_bundle
from edgehone.core.errors import InputError, JobError, SetupError
from edgehone.execution.home import file_lock
from edgehone.operate.reoptimize import parts
from edgehone.operate.reoptimize.child import Children
from edgehone.operate.reoptimize.command import optimize_words
from edgehone.operate.reoptimize.judged import Judged, replace_file
from edgehone.operate.reoptimize.offer import Offer, offer, open_offer
from edgehone.operate.reoptimize.options import Options, Say
from edgehone.operate.reoptimize.steps import CHALLENGER, JUDGED, OPTIONS

RESULT = "result.json"
Outcome = Literal["offered", "better", "not better", "not approved"]
# Exit codes of `edgehone certify`: approved, not approved, on conditions.
_CERTIFIED = (0, 3, 4)


@dataclass(frozen=True)
class Result:
    """What came of it. `version` is the offered one, `reason` says in a sentence why the outcome is what it is."""

    outcome: Outcome
    reason: str
    champion: str
    challenger: str
    bundle: Path
    approval: str
    judged: Judged
    requests: Mapping[str, int]
    notes: tuple[str, ...]
    version: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        data: dict[str, Any] = msgspec.to_builtins(self, enc_hook=str)
        return data


def reoptimize(options: Options, say: Say) -> Result:
    """Re-optimize. Raises InputError for samples, keys, bundles that cannot be used; SetupError; JobError."""
    manifest = read(options.bundle).manifest
    check_target(options.out)
    to = open_offer(options.registry, options.blobs, options.name) if options.registry else None
    with _work(options, manifest.digest) as work:
        result = _stored(work)
        if result is None:
            result = _steps(options, work, Children(work, options.seconds, options.processors), say)
            if to is not None and result.outcome == "better":
                result = _offered(to, work / CHALLENGER, result, say)
            replace_file(work / RESULT, msgspec.json.encode(result, enc_hook=str))
        if (work / CHALLENGER).exists():
            replace_bundle(work / CHALLENGER, options.out.absolute())
        shutil.rmtree(work)
    return result


def _steps(options: Options, work: Path, children: Children, say: Say) -> Result:
    made = parts.Parts.read(work)
    if made is None:
        say("reading the kept requests")
        try:
            _own_step("prepare", work, children)
        except InputError:
            shutil.rmtree(work, ignore_errors=True)  # nothing to go on from
            raise
        made = parts.Parts.read(work)
        assert made is not None
    say(f"divided: {', '.join(f'{count} {name}' for name, count in made.requests.items())}")
    challenger = work / CHALLENGER
    if not challenger.exists():
        (work / JUDGED).unlink(missing_ok=True)
        say("optimizing on them")
        words = optimize_words(
            options.bundle,
            made.path(parts.EVALUATION),
            made.path(parts.CALIBRATION),
            challenger,
            options.model_path,
        )
        _edgehone("optimize", words, work, children, (0, 3))
    if not (challenger / CERTIFICATE).is_file():
        say("certifying the result on the held-out requests")
        _edgehone("certify", _certify_words(options, made, challenger), work, children, _CERTIFIED)
    certificate = verify_bundle(challenger, None).certificate
    assert certificate is not None
    judged = Judged.read(work / JUDGED)
    if judged is None:
        say("comparing it with the champion")
        _own_step("judge", work, children)
        judged = Judged.read(work / JUDGED)
        assert judged is not None
    say(judged.sentence)
    outcome: Outcome = "better" if judged.better else "not better"
    reason = judged.sentence
    if certificate.approval == "no":
        outcome, reason = (
            "not approved",
            f"the challenger is not approved: {'; '.join(certificate.conditions[:3])}",
        )
    return Result(
        outcome,
        reason,
        read(options.bundle).manifest.artifact_key,
        read(challenger).manifest.artifact_key,
        options.out,
        certificate.approval,
        judged,
        made.requests,
        made.notes,
    )


def _stored(work: Path) -> Result | None:
    """Return the result of a re-optimization that was killed when all but removing its files was done."""
    try:
        return msgspec.json.decode(
            (work / RESULT).read_bytes(), type=Result, dec_hook=lambda kind, one: kind(one)
        )
    except FileNotFoundError:
        return None


def _offered(to: Offer, challenger: Path, result: Result, say: Say) -> Result:
    version = offer(to, challenger, result.judged.sentence)
    say(f"offered as {version}, challenger")
    return replace(result, outcome="offered", version=version)


def _certify_words(options: Options, made: parts.Parts, challenger: Path) -> list[str]:
    words = ["certify", str(challenger), "--soak", f"{options.soak:g}s"]
    words += ["--eval", str(made.path(parts.HELD_OUT)), "--calibration", str(made.path(parts.CALIBRATION))]
    for option, value in (
        ("--model", options.model_path),
        ("--profile", options.profile),
        ("--key", options.signing_key),
    ):
        words += [option, str(value.absolute())] if value else []
    return words


def _edgehone(step: str, words: list[str], work: Path, children: Children, codes: tuple[int, ...]) -> None:
    code = children.run(step, words)
    if code not in codes:
        log = work / f"{step}.log"
        lines = log.read_text("utf-8", "replace").splitlines()
        error = next((line for line in reversed(lines) if line.startswith("error")), f"exit code {code}")
        raise JobError(f"edgehone {step} stopped: {error.removeprefix('error: ')}", log=log)


def _own_step(step: str, work: Path, children: Children) -> None:
    failure = work / "error.json"
    failure.unlink(missing_ok=True)
    if children.run(step, ["step", step, str(work)]) == 0:
        return
    if failure.is_file():
        told = json.loads(failure.read_text("utf-8"))
        raise InputError(told["message"], hint=told["hint"])
    raise JobError(f"{step} failed", log=work / f"{step}.log")


@contextmanager
def _work(options: Options, manifest: str) -> Iterator[Path]:
    """Yield the folder of an interrupted re-optimization of the same bundle, or a new one; no other has it."""
    work = options.work
    try:
        work.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(work.with_name(f"{work.name}.lock"), wait=False):
            _begin(options, work, manifest)
            yield work
    except BlockingIOError:
        raise InputError(
            f"another re-optimization writes {options.out}", hint="wait for it, or give another --out"
        ) from None
    except OSError as error:
        raise SetupError(
            f"{work} cannot be written: {error.strerror or error}",
            hint="free some space, or give another --out; what is done is kept",
        ) from error
    finally:
        if not work.exists():
            work.with_name(f"{work.name}.lock").unlink(missing_ok=True)


def _begin(options: Options, work: Path, manifest: str) -> None:
    digest = options.digest(manifest)
    stored = work / OPTIONS
    try:
        if json.loads(stored.read_text("utf-8"))["digest"] == digest:
            return
    except (OSError, ValueError, KeyError):
        pass
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o700)
    given = {
        "digest": digest,
        "bundle": str(options.bundle.absolute()),
        "state": str(options.state.absolute()),
        "model": options.model,
        "samples_key": str(options.samples_key.absolute()),
        "least": options.least,
        "profile": str(options.profile.absolute()) if options.profile else None,
        "model_path": str(options.model_path.absolute()) if options.model_path else None,
    }
    replace_file(stored, json.dumps(given).encode())


def discard(out: Path) -> bool:
    """Remove what an interrupted re-optimization left beside `out`; return whether there was something."""
    work = out.absolute().with_name(f".{out.absolute().name}.reoptimize")
    found = work.exists()
    shutil.rmtree(work, ignore_errors=True)
    return found
