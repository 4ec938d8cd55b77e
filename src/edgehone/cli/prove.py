"""Prove a package on the instruction set of its target, before the device exists.

The packaged GGUF file is scored with the kernels of the target, under an emulator if this machine is another one: its
quality figures, with intervals, against the original, judged by the gates of the bundle's decision. Speed is not
measured. The proof is written into the package, which stays verifiable; with --key it is signed again. The first proof
for an architecture compiles a runner for it, which takes minutes.

Exit code 0: every gate on quality passes. 3: a gate fails, or too few windows were scored to tell. 2: the package has
no GGUF file, the original or the text is not the bundle's, or a compiler or an emulator is missing. 1: the package was
changed since it was made, or the target's kernels cannot run it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgehone.package.prove import Proven

EXAMPLE = """examples:
  edgehone prove ./bundle-embedded --on arm64 --key signing.pem
  edgehone prove ./bundle-desktop --on arm64 --cpu armv8-a --model ./original
  edgehone prove ./bundle-embedded --on x86-64 --windows 8
"""
_SHOWN = ("kl_mean", "same_top", "accuracy_kept", "perplexity_ratio")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("package", metavar="PACKAGE", help="folder of a package")
    parser.add_argument("--on", required=True, metavar="ARCHITECTURE", help="arm64 or x86-64")
    parser.add_argument(
        "--cpu",
        metavar="NAME",
        help="instruction set of the kernels, such as armv8-a (default: what the package is compiled for)",
    )
    parser.add_argument(
        "--model", metavar="PATH", help="the original (default: where it was when the bundle was made)"
    )
    parser.add_argument(
        "--eval", dest="evaluation", metavar="FILE", help="the text that the bundle was evaluated on"
    )
    parser.add_argument(
        "--windows", type=int, metavar="N", help="number of windows to score (default: as in the decision)"
    )
    parser.add_argument("--key", metavar="FILE", help="private EC key (PEM) that signs the package again")
    parser.add_argument("--password-file", metavar="FILE", help="file with the password of the key")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from edgehone.attestation.keys import read_signing_key
    from edgehone.core.errors import InputError
    from edgehone.package.prove import Question, prove

    if args.windows is not None and args.windows < 4:
        raise InputError(f"--windows is {args.windows}", hint="give 4 or more: fewer have no interval")
    question = Question(
        args.on,
        args.cpu,
        Path(args.model) if args.model else None,
        Path(args.evaluation) if args.evaluation else None,
        args.windows,
        read_signing_key(args.key, password_file=args.password_file) if args.key else None,
    )
    proven = prove(Path(args.package), question, lambda text: print(text, file=sys.stderr, flush=True))
    _print(args.package, proven, args.json)
    return 0 if proven.document.passes else 3


def _print(package: str, proven: Proven, as_json: bool) -> None:
    from dataclasses import asdict

    document = proven.document
    if as_json:
        facts = {"package": package, "proof": asdict(document), "signature": proven.signature}
        print(json.dumps(facts, indent=1))
        return
    where = (
        f"{document.emulator.program} -cpu {document.emulator.cpu}" if document.emulator else "this processor"
    )
    print(f"{package} on {document.architecture}, {document.cpu} ({where}): {document.windows} windows")
    for name in _SHOWN:
        here, there = document.figures[name], document.stated.get(name)
        stated = f"   (on {document.stated_on.architecture}: {_shown(there)})" if there else ""
        print(f"  {name:<18} {_shown(here)}{stated}")
    for verdict in document.verdicts:
        print(f"  {verdict.word:<8} {verdict.reason}")
    if not document.verdicts:
        print("  the bundle's decision has no gate on quality")
    for answer in document.answers:
        if answer.same < len(answer.answer):
            print(f"  a canary's text differs from that of the bundle after {answer.same} tokens")
    for note in document.notes:
        print(f"note: {note}")
    if proven.signature == "removed":
        print(
            "note: the package's signature did not cover the proof and was removed; sign it again with --key"
        )


def _shown(figure: object) -> str:
    from edgehone.core.figure import Figure

    assert isinstance(figure, Figure)
    if figure.value is None:
        return f"unknown: {figure.reason}"
    interval = (
        f" [{figure.low:.4g}, {figure.high:.4g}]"
        if figure.low is not None and figure.high is not None
        else ""
    )
    return f"{figure.value:.4g}{interval} {figure.unit}".rstrip()
