"""Signatures with X.509 certificates: who is trusted, for what, when, and until they are revoked."""

from __future__ import annotations

import functools
import hashlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edgehone.attestation.envelope import check_signature, read_sealed, seal
from edgehone.attestation.errors import NotVerified
from edgehone.attestation.keys import (
    SigningKey,
    fingerprint,
    public_bytes,
    read_signing_key,
    read_verification_key,
)
from edgehone.core.errors import InputError
from tests.attestation.authority import DAY, NOW, Holder, issue, revocation_list
from tests.attestation.signed import EVIDENCE, certificate_of
from tests.attestation.test_keys import STATEMENT, refused


@dataclass(frozen=True)
class Chain:
    """A root, whom verifiers trust, an intermediate and a signer."""

    root: Holder
    middle: Holder
    signer: Holder


def make(**signer: object) -> Chain:
    root = issue("root", authority=True)
    middle = issue("intermediate", root, authority=True)
    return Chain(root, middle, issue("signer", middle, **signer))  # type: ignore[arg-type]


@pytest.fixture
def chain() -> Chain:
    """A chain in order."""
    return make()


def signed_by(folder: Path, signer: Holder, between: Sequence[Holder]) -> Path:
    key = SigningKey(signer.private, tuple(one.certificate for one in (signer, *between)))
    path = folder / "sealed.json"
    path.write_bytes(seal(STATEMENT, key))
    return path


def check(
    folder: Path,
    chain: Chain,
    trusted: Holder | None = None,
    revoked: Sequence[Path] = (),
    at: datetime | None = None,
    between: Sequence[Holder] | None = None,
) -> str:
    root = (trusted or chain.root).write(folder / "root.pem")
    path = signed_by(folder, chain.signer, [chain.middle] if between is None else between)
    return check_signature(read_sealed(path), read_verification_key([root], revoked=revoked, at=at))


def fails(what: str, call: Callable[[], object]) -> None:
    with pytest.raises(NotVerified, match=what) as caught:
        call()
    assert caught.value.hint


def test_a_certificate_of_a_trusted_issuer_is_accepted(tmp_path: Path, chain: Chain) -> None:
    assert check(tmp_path, chain).startswith("CN=signer, key SHA256:")
    assert check(tmp_path, chain, between=[chain.middle, chain.root])
    assert check(tmp_path, chain, trusted=chain.middle, between=[])
    assert check(tmp_path, chain, trusted=chain.signer, between=[])  # itself
    coded = make(signs=False, code_signing=True)
    assert check(tmp_path, coded)


def test_the_key_of_a_certificate_may_be_known_without_its_issuer(tmp_path: Path, chain: Chain) -> None:
    from cryptography.hazmat.primitives.serialization import PublicFormat

    public = chain.signer.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pub").write_bytes(public)
    found = read_sealed(signed_by(tmp_path, chain.signer, [chain.middle]))
    assert check_signature(found, read_verification_key([tmp_path / "key.pub"]))


def test_a_foreign_issuer_is_refused(tmp_path: Path, chain: Chain) -> None:
    namesake = issue("root", authority=True)
    fails("issued by CN=intermediate, is not trusted", lambda: check(tmp_path, chain, trusted=namesake))
    fails("is not trusted", lambda: check(tmp_path, chain, between=[]))
    stranger = issue("stranger", issue("else", authority=True))
    fails("is not part of its chain", lambda: check(tmp_path, chain, between=[chain.middle, stranger]))
    no_authority = issue("no authority", chain.root)
    fails(
        "is not trusted",
        lambda: check(tmp_path, replace(chain, middle=no_authority, signer=issue("signer", no_authority))),
    )
    short = issue("root", authority=True, length=0)
    below = issue("intermediate", short, authority=True)
    fails("is not trusted", lambda: check(tmp_path, Chain(short, below, issue("signer", below))))
    found = read_sealed(signed_by(tmp_path, chain.signer, [chain.middle]))
    other = issue("other").private.public_key()
    from edgehone.attestation.keys import VerificationKey

    fails("none is trusted", lambda: check_signature(found, VerificationKey(public=(other,))))


def test_time_decides(tmp_path: Path, chain: Chain) -> None:
    fails("CN=signer expired on", lambda: check(tmp_path, make(days=(-10, -1))))
    fails("is not valid before .* the clock says", lambda: check(tmp_path, make(days=(1, 10))))
    assert check(tmp_path, make(days=(-10, -1)), at=NOW - 2 * DAY)
    fails("CN=signer expired", lambda: check(tmp_path, chain, at=NOW + 11 * DAY))
    root = issue("root", authority=True, days=(-20, 20))
    old = issue("intermediate", root, authority=True, days=(-20, -2))
    fails("CN=intermediate expired", lambda: check(tmp_path, Chain(root, old, issue("signer", old))))
    past = issue("root", authority=True, days=(-20, -2))
    middle = issue("intermediate", past, authority=True)
    fails("is not trusted", lambda: check(tmp_path, Chain(past, middle, issue("signer", middle))))


def test_a_certificate_must_be_for_signatures(tmp_path: Path) -> None:
    fails("CN=signer is not for signatures", lambda: check(tmp_path, make(signs=False)))
    fails("critical extension 1.2.3.4.5", lambda: check(tmp_path, make(critical=True)))


def test_a_chain_made_with_openssl_is_accepted(tmp_path: Path) -> None:
    """Its roots have no key usage, which the rules of the web demand."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    (tmp_path / "usage").write_text("keyUsage=critical,digitalSignature\n")
    for words in (
        ["req", "-x509", *key, "-keyout", "root.key", "-out", "root.pem", "-subj", "/CN=root"],
        ["req", *key, "-keyout", "signer.key", "-out", "signer.csr", "-subj", "/CN=signer"],
        ["x509", "-req", "-in", "signer.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial",
         "-out", "signer.pem", "-days", "9", "-extfile", "usage"],
    ):  # fmt: skip
        subprocess.run(["openssl", *words], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    (tmp_path / "signer.key").chmod(0o600)
    signing = read_signing_key(tmp_path / "signer.key", certificates=[tmp_path / "signer.pem"])
    (tmp_path / "sealed.json").write_bytes(seal(STATEMENT, signing))
    trusted = read_verification_key([tmp_path / "root.pem"])
    assert check_signature(read_sealed(tmp_path / "sealed.json"), trusted).startswith("CN=signer")


def write_list(path: Path, found: x509.CertificateRevocationList, encoding: Encoding = Encoding.PEM) -> Path:
    path.write_bytes(found.public_bytes(encoding))
    return path


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_what_an_issuer_has_revoked_is_refused(tmp_path: Path, chain: Chain, encoding: Encoding) -> None:
    path = tmp_path / "list.crl"
    write_list(path, revocation_list(chain.middle, issue("another")), encoding)
    assert check(tmp_path, chain, revoked=[path])
    write_list(path, revocation_list(chain.middle, chain.signer), encoding)
    fails("CN=signer is revoked by its issuer", lambda: check(tmp_path, chain, revoked=[path]))
    write_list(path, revocation_list(chain.root, chain.middle), encoding)
    fails("CN=intermediate is revoked by its issuer", lambda: check(tmp_path, chain, revoked=[path]))


def test_a_list_that_cannot_be_relied_on_is_refused(tmp_path: Path, chain: Chain) -> None:
    path = tmp_path / "list.crl"
    forged = revocation_list(issue("else", authority=True), name=chain.middle.certificate.subject)
    write_list(path, forged)
    fails("not signed by a trusted certificate", lambda: check(tmp_path, chain, revoked=[path]))
    write_list(path, revocation_list(issue("else", authority=True)))
    fails("CN=else is not signed by a trusted", lambda: check(tmp_path, chain, revoked=[path]))
    write_list(path, revocation_list(chain.middle, days=(-5, -1)))
    fails("was valid until", lambda: check(tmp_path, chain, revoked=[path]))
    write_list(path, revocation_list(chain.middle, whole=False))
    fails("is not a whole one", lambda: check(tmp_path, chain, revoked=[path]))


def test_fingerprints_of_keys_and_certificates_are_revoked(tmp_path: Path, chain: Chain) -> None:
    path = tmp_path / "revoked.txt"
    for one in (chain.signer, chain.middle, chain.root):
        der = one.certificate.public_bytes(Encoding.DER)
        for text in (
            hashlib.sha256(public_bytes(one.private.public_key())).hexdigest(),
            f"SHA256:{hashlib.sha256(der).hexdigest()}",
            ":".join(f"{byte:02X}" for byte in hashlib.sha256(der).digest()),
        ):
            path.write_text(f"# stolen in May\n\n{text}  # the one on the train\n")
            fails("is revoked", lambda: check(tmp_path, chain, revoked=[path]))
    path.write_text(f"{'0' * 64}\n")
    assert check(tmp_path, chain, revoked=[path])


def test_lists_that_cannot_be_read(tmp_path: Path, chain: Chain) -> None:
    path = tmp_path / "revoked"
    refused(lambda: check(tmp_path, chain, revoked=[path]), "revocation list .* cannot be read")
    for content in (b"\x30\x82\xff", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"):
        path.write_bytes(content)
        refused(lambda: check(tmp_path, chain, revoked=[path]), "revocation list .* cannot be read")
    for content in (b"stolen key", b"\xff\xfe", b"0" * 63):
        path.write_bytes(content)
        refused(lambda: check(tmp_path, chain, revoked=[path]), "line 1: .* is no SHA-256 fingerprint")


def test_files_of_certificates(tmp_path: Path, chain: Chain) -> None:
    key = chain.signer.write_key(tmp_path / "signer.key")
    both = tmp_path / "chain.pem"
    chain.signer.write(both)
    both.write_bytes(both.read_bytes() + chain.middle.certificate.public_bytes(Encoding.PEM))
    found = read_signing_key(key, certificates=[both])
    assert [one.subject.rfc4514_string() for one in found.certificates] == ["CN=signer", "CN=intermediate"]
    middle = chain.middle.write(tmp_path / "middle.pem")
    refused(lambda: read_signing_key(key, certificates=[middle]), "is not that of the private key")
    refused(lambda: read_signing_key(key, certificates=[key]), "has no certificate in PEM")
    refused(lambda: read_signing_key(key, certificates=[tmp_path / "none"]), "cannot be read")
    for spoiled, what in (
        (make(days=(-9, -1)), "CN=signer expired"),
        (make(signs=False), "is not for signatures"),
        (make(critical=True), "critical extension"),
    ):
        own = spoiled.signer.write_key(tmp_path / "own.key")
        file = spoiled.signer.write(tmp_path / "own.pem")
        refused(functools.partial(read_signing_key, own, certificates=[file]), what)


def test_model_signing_accepts_the_signature_of_a_certificate(
    spoiled: Path, tmp_path: Path, chain: Chain
) -> None:
    from edgehone.attestation.verify import verify_bundle
    from edgehone.attestation.write import certify_bundle

    key = SigningKey(chain.signer.private, (chain.signer.certificate, chain.middle.certificate))
    certify_bundle(spoiled, certificate_of(spoiled), EVIDENCE, key)
    root = chain.root.write(tmp_path / "root.pem")
    words = [
        *(
            sys.executable,
            "-m",
            "model_signing",
            "verify",
            "certificate",
            str(spoiled),
            "--no-ignore-git-paths",
        ),
        *("--signature", str(spoiled / "signature.sigstore.json"), "--certificate_chain", str(root)),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    assert verify_bundle(spoiled, read_verification_key([root])).signed_by == (
        f"CN=signer, key SHA256:{fingerprint(chain.signer.private.public_key())}"
    )
    with pytest.raises(InputError, match="the certificate of CN=signer, and none is trusted"):
        verify_bundle(spoiled, read_verification_key([_public(tmp_path)]))


def _public(folder: Path) -> Path:
    from tests.attestation.signed import make_key

    return make_key(folder, "other").with_suffix(".pub")
