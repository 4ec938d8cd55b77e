"""Certify a bundle for production: check quality, performance, robustness, stress, security and more, and sign it.

Makes all checks of the profile on this machine, fills the production check-list, and decides: approved, approved with
conditions, or not. The certificate, its page, the bill of materials and the evidence are written into the bundle; with
--key they are signed. What only a person can answer stays open until --answer ITEM=TEXT --by NAME says it; answers are
kept by later certificates. With --answer alone, a certificate that the bundle already has is completed without
repeating the checks (--repeat repeats them).

Exit code 0: approved. 4: approved with conditions, which are printed. 3: not approved. 2: wrong input; the bundle
stays as it was. 1: an unexpected error.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgehone.attestation.certificate import Certificate
    from edgehone.attestation.keyless import KeylessKey
    from edgehone.attestation.keys import SigningKey
    from edgehone.certify.certify import Options

EXAMPLE = """examples:
  edgehone certify ./bundle --soak 30s
  edgehone certify ./bundle --key signing.pem --model ./my-model --profile production.toml --soak 24h
  edgehone certify ./classifier --eval samples.npz --advisories osv-pypi.zip
  edgehone certify ./bundle --answer rollback="runbook 12, tried in staging" --by "A. Person" --key signing.pem
  edgehone certify ./bundle --keyless --identity-token token
"""
_CODES = {"yes": 0, "conditional": 4, "no": 3}
_WORDS = {"yes": "approved", "conditional": "approved with conditions", "no": "not approved"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="folder of a bundle")
    parser.add_argument(
        "--profile", metavar="FILE", help="thresholds, TOML, laid over the shipped ones (docs/certify.md)"
    )
    parser.add_argument(
        "--model", metavar="MODEL", help="the original model (default: the path recorded in the bundle)"
    )
    parser.add_argument(
        "--eval",
        metavar="FILE",
        help="text or samples that the run did not use (default for texts: the rest of the shipped one)",
    )
    parser.add_argument(
        "--calibration", metavar="FILE", help="the calibration data, if it is not the shipped text"
    )
    parser.add_argument(
        "--canaries",
        metavar="FILE",
        help="texts that were planted in the calibration text, one a line: none may be in the bundle",
    )
    parser.add_argument(
        "--advisories", metavar="PATH", help="known vulnerabilities: OSV's of PyPI, a folder or its zip file"
    )
    parser.add_argument(
        "--soak", metavar="TIME", help="length of the stability test, such as 30s or 24h (default: 10m)"
    )
    parser.add_argument("--key", metavar="FILE", help="private EC key (PEM) that signs the bundle")
    parser.add_argument("--password-file", metavar="FILE", help="file with the password of the key")
    parser.add_argument(
        "--certificates", nargs="+", default=[], metavar="FILE", help="X.509 certificates (PEM) of the signer"
    )
    parser.add_argument(
        "--keyless",
        action="store_true",
        help="sign the certificate that the bundle has as an identity, with Sigstore; makes no checks; needs a network",
    )
    parser.add_argument(
        "--identity-token",
        metavar="FILE",
        help="with --keyless: identity token (default: that of the CI job)",
    )
    parser.add_argument(
        "--trust-config",
        metavar="FILE",
        help="with --keyless: another instance of Sigstore than the public one",
    )
    parser.add_argument(
        "--answer",
        action="append",
        default=[],
        metavar="ITEM=TEXT",
        help="answer an item of the check-list; a text that begins with 'no' says that it is not done",
    )
    parser.add_argument("--by", metavar="NAME", help="who answers")
    parser.add_argument(
        "--repeat",
        action="store_true",
        help="with --answer: make the checks again although there is a certificate",
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb. Returns the exit code of the approval."""
    from edgehone.attestation.certificate import CERTIFICATE
    from edgehone.certify.certify import amend, certify
    from edgehone.core.absence import why_absent
    from edgehone.core.errors import InputError

    options = _options(args)
    path = Path(args.bundle)
    if not path.is_dir():
        raise InputError(
            why_absent(path, f"no such bundle: {path}"), hint=f"edgehone optimize MODEL --out {path}"
        )
    keyless = _keyless(args)
    if keyless is not None:
        certificate = amend(path, options.answers, keyless)
    elif options.answers and not args.repeat and (path / CERTIFICATE).is_file():
        certificate = amend(path, options.answers, options.key)
    else:
        certificate = certify(path, options, lambda text: print(text, file=sys.stderr, flush=True))
    if args.json:
        from dataclasses import asdict

        print(json.dumps(asdict(certificate), indent=1))
    else:
        print(_text(path, certificate, signed=(options.key or keyless) is not None))
    return _CODES[certificate.approval]


def _options(args: argparse.Namespace) -> Options:
    from edgehone.certify.certify import Options
    from edgehone.certify.checklist import read_answers
    from edgehone.certify.profile import read_profile
    from edgehone.certify.subject import Sources
    from edgehone.optimize.search.clock import seconds_of

    profile = read_profile(Path(args.profile) if args.profile else None)
    if args.soak:
        profile = profile.with_soak(seconds_of(args.soak, "--soak"))
    named = (args.model, args.eval, args.calibration, args.advisories, args.canaries)
    given = [Path(one) if one else None for one in named]
    return Options(profile, Sources(*given), read_answers(args.answer, args.by), _key(args))


def _key(args: argparse.Namespace) -> SigningKey | None:
    from edgehone.attestation.keys import read_signing_key
    from edgehone.core.errors import InputError

    if args.key is None:
        if args.password_file or args.certificates:
            raise InputError("--password-file and --certificates belong to a key", hint="add --key FILE")
        return None
    return read_signing_key(args.key, password_file=args.password_file, certificates=args.certificates)


def _keyless(args: argparse.Namespace) -> KeylessKey | None:
    from edgehone.attestation.keyless import read_keyless_key
    from edgehone.core.errors import InputError

    if not args.keyless:
        if args.identity_token or args.trust_config:
            raise InputError("--identity-token and --trust-config belong to --keyless", hint="add --keyless")
        return None
    if args.key or args.repeat:
        raise InputError(
            "--keyless signs without a key and makes no checks", hint="leave out --key and --repeat"
        )
    return read_keyless_key(args.identity_token, args.trust_config)


def _text(path: Path, certificate: Certificate, *, signed: bool) -> str:
    width = max(len(one.name) for one in certificate.checks)
    marks = {"passed": "+", "failed": "-", "undecided": "?", "skipped": " "}
    lines = [f"{_WORDS[certificate.approval]}: {path}, profile {certificate.profile}", ""]
    category = ""
    for one in sorted(certificate.checks, key=lambda one: one.category):
        if one.category != category:
            category = one.category
            lines.append(category)
        lines.append(f"{marks[one.outcome]} {one.name:<{width}}  {one.outcome:<9}  {one.reason}")
    open_items = [one for one in certificate.checklist if not one.done]
    done = len(certificate.checklist) - len(open_items)
    lines += ["", f"check-list: {done} of {len(certificate.checklist)} items are done; open or not done:"]
    lines += [f"  {one.name:<18} {one.phase:<7} {one.text}: {one.answer}" for one in open_items]
    if certificate.conditions:
        what = "why not" if certificate.approval == "no" else "conditions"
        lines += ["", f"{what}:", *(f"  {one}" for one in certificate.conditions)]
    lines += ["", f"{path / 'certificate.html'}, {'signed' if signed else 'not signed: give --key FILE'}"]
    if open_items:
        lines.append(f'next: edgehone certify {path} --answer {open_items[0].name}="TEXT" --by NAME')
    return "\n".join(lines)
