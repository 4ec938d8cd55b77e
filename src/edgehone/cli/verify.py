"""Verify a bundle, offline: its signature, every file, and that its certificate and verdicts are about these files.

With --key or --certificate-chain the bundle must be signed by that key or with a certificate that those trust, with
--identity and --identity-provider keyless by that identity. Without them its files are compared with its manifest,
certificate and signature, which shows damage, but not who signed.

Exit code 0: verified. 1: refused, with the names of files that were changed, added, removed, renamed or linked, or with
what is wrong with the signature, the key, the certificate, the verdicts or the text of a document. 2: there is no
bundle or package, or no key.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgehone.attestation.keys import Keyless, VerificationKey
    from edgehone.attestation.verify import Verified

EXAMPLE = """examples:
  edgehone verify ./bundle --key signing.pub
  edgehone verify ./bundle --certificate-chain root.pem --revoked issuer.crl --approved
  edgehone verify ./bundle

A list of what is revoked is a CRL, or a text file with a SHA-256 fingerprint of a key or certificate on each line:
  openssl pkey -pubin -in signing.pub -outform DER | sha256sum
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="folder of a bundle or a package")
    parser.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="FILE",
        help="public key (PEM) of whoever may have signed; may be given several times",
    )
    parser.add_argument(
        "--certificate-chain",
        nargs="+",
        default=[],
        metavar="FILE",
        help="trusted certificates (PEM), from which one leads to the signer's",
    )
    parser.add_argument(
        "--identity",
        metavar="WHO",
        help="who may have signed keyless, with Sigstore: an e-mail address or URL",
    )
    parser.add_argument(
        "--identity-provider",
        metavar="URL",
        help="who told the identity, such as https://accounts.example.com",
    )
    parser.add_argument(
        "--trust-config", metavar="FILE", help="another instance of Sigstore than the public one"
    )
    parser.add_argument(
        "--revoked",
        nargs="+",
        default=[],
        metavar="FILE",
        help="lists of keys and certificates that are no longer trusted",
    )
    parser.add_argument(
        "--at",
        metavar="TIME",
        help="time at which the signer's certificate must be valid, ISO 8601 (default: now)",
    )
    parser.add_argument(
        "--approved",
        action="store_true",
        help="also require a certificate that approves the bundle for production",
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from edgehone.attestation.verify import check_approved, verify_bundle
    from edgehone.package.document import is_package

    key = _key(args)
    if is_package(Path(args.bundle)):
        return _verify_package(args, key)
    begun = time.perf_counter()
    verified = verify_bundle(Path(args.bundle), key)
    seconds = time.perf_counter() - begun
    conditions = check_approved(verified) if args.approved else ()
    if args.json:
        print(json.dumps(_facts(verified, seconds), indent=1))
        return 0
    print(f"{args.bundle}: every file is as it was written ({_size(verified)}, {seconds:.1f} s)")
    for line in _lines(verified):
        print(line)
    for condition in conditions:
        print(f"warning: approved on the condition: {condition}")
    return 0


def _verify_package(args: argparse.Namespace, key: VerificationKey | None) -> int:
    from dataclasses import replace

    from edgehone.attestation.verify import check_approved
    from edgehone.package.verify import verify_package

    verified = verify_package(Path(args.bundle), key)
    package = verified.package
    # Errors name the package, not the folder of documents in it.
    conditions = check_approved(replace(verified.bundle, path=Path(args.bundle))) if args.approved else ()
    signers = {"signed_by": verified.signed_by, "bundle_signed_by": verified.bundle.signed_by}
    if args.json:
        facts = {"verified": True, "signed": verified.is_signed, **signers, "package": package.to_json()}
        more = {"conditions": list(conditions), "uncovered": verified.uncovered}
        print(json.dumps({**facts, **more}, indent=1))
        return 0
    print(f"{args.bundle}: every file of the package for {package.target} is as it was written")
    print(f"bundle       sha256:{package.bundle}, {package.recipe}, approval: {package.approval}")
    signed = {"package": verified.is_signed, "bundle": verified.bundle.is_signed}
    for what, signer in zip(signed, signers.values(), strict=True):
        unknown = "not checked: give --key or --certificate-chain" if signed[what] else "nobody"
        print(f"{what + ' signed by':<18} {signer or unknown}")
    if verified.uncovered:
        print(f"warning: {verified.uncovered}")
    if not verified.is_signed:
        print("warning: the package is not signed; whoever can write to it could have changed all of it")
    for condition in conditions:
        print(f"warning: approved on the condition: {condition}")
    return 0


def _key(args: argparse.Namespace) -> VerificationKey | None:
    from dataclasses import replace
    from datetime import UTC, datetime

    from edgehone.attestation.keys import VerificationKey, read_verification_key
    from edgehone.core.errors import InputError

    files = [*args.key, *args.certificate_chain]
    if not files and (args.revoked or args.at):
        raise InputError("--revoked and --at need a key", hint="give --key or --certificate-chain")
    at = None
    if args.at:
        try:
            at = datetime.fromisoformat(args.at)
        except ValueError:
            raise InputError(f"--at is {args.at!r}", hint="give a time such as 2026-11-28T14:03") from None
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
    key = read_verification_key(files, revoked=args.revoked, at=at) if files else None
    keyless = _keyless(args)
    return replace(key or VerificationKey(), keyless=keyless) if keyless else key


def _keyless(args: argparse.Namespace) -> Keyless | None:
    from edgehone.attestation.keyless import read_keyless
    from edgehone.core.errors import InputError

    if args.identity is None and args.identity_provider is None and args.trust_config is None:
        return None
    if args.identity is None or args.identity_provider is None:
        raise InputError(
            "a keyless signature is verified by --identity and --identity-provider", hint="give both"
        )
    return read_keyless(args.identity, args.identity_provider, args.trust_config)


def _size(verified: Verified) -> str:
    return f"{verified.files} files, {verified.bytes / 1e6:.1f} MB"


def _lines(verified: Verified) -> list[str]:
    certificate = verified.certificate
    approval = {"yes": "approved", "conditional": "approved on conditions", "no": "not approved"}
    lines = [f"digest       sha256:{verified.digest}"]
    if verified.signed_by:
        lines.append(f"signed by    {verified.signed_by}")
    if certificate:
        lines.append(
            f"certificate  {approval[certificate.approval]} for {certificate.profile}, {certificate.created}"
        )
    else:
        lines.append("warning: the bundle has no certificate: edgehone certify BUNDLE")
    if not verified.is_signed:
        lines.append(
            "warning: the bundle is not signed; whoever can write to it could have changed all of it"
        )
    elif not verified.signed_by:
        lines.append(
            "warning: who signed the bundle was not checked: give --key, --certificate-chain or --identity"
        )
    return lines


def _facts(verified: Verified, seconds: float) -> dict[str, Any]:
    certificate = verified.certificate
    return {
        "verified": True,
        "bundle": str(verified.path),
        "digest": verified.digest,
        "signed": verified.is_signed,
        "signed_by": verified.signed_by,
        "certificate": verified.certificate_digest,
        "approval": certificate.approval if certificate else None,
        "conditions": list(certificate.conditions) if certificate else [],
        "files": verified.files,
        "bytes": verified.bytes,
        "seconds": round(seconds, 3),
    }
