"""Keys: which are read, and what is said of those that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from edgehone.attestation import keys
from edgehone.attestation.envelope import check_signature, read_sealed, seal
from edgehone.attestation.errors import NotVerified
from edgehone.attestation.keys import PASSWORD, VerificationKey, read_signing_key, read_verification_key
from edgehone.core.errors import InputError, SetupError
from tests.attestation.signed import make_key, public

STATEMENT = {"_type": "https://in-toto.io/Statement/v1", "subject": [], "predicateType": "x", "predicate": {}}


def refused(read: Callable[[], object], what: str) -> None:
    with pytest.raises(InputError, match=what) as caught:
        read()
    assert caught.value.hint


def sealed(folder: Path, key: Path, **more: Path) -> Path:
    path = folder / "sealed.json"
    path.write_bytes(seal(STATEMENT, read_signing_key(key)))
    return path


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda one: one.name)
def test_keys_of_every_curve_sign(tmp_path: Path, curve: ec.EllipticCurve) -> None:
    key = make_key(tmp_path, curve=curve)
    found = read_sealed(sealed(tmp_path, key))
    assert found.statement == STATEMENT
    assert check_signature(found, public(key)).startswith("key SHA256:")
    with pytest.raises(NotVerified, match="another key"):
        check_signature(found, public(make_key(tmp_path, "other", curve)))


def test_one_of_several_keys_suffices(tmp_path: Path) -> None:
    """So that signers can change their key: a file may have several, and several files may be given."""
    first, second = make_key(tmp_path, "first"), make_key(tmp_path, "second")
    found = read_sealed(sealed(tmp_path, second))
    both = tmp_path / "both.pub"
    both.write_bytes(b"".join(one.with_suffix(".pub").read_bytes() for one in (first, second)))
    for files in ([both], [first.with_suffix(".pub"), second.with_suffix(".pub")]):
        assert check_signature(found, read_verification_key(files))


def test_the_password_comes_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_key(tmp_path, password=b"open sesame")
    monkeypatch.delenv(PASSWORD, raising=False)
    refused(lambda: read_signing_key(key), "is encrypted, and no password is given")
    monkeypatch.setenv(PASSWORD, "open sesame")
    assert read_signing_key(key)
    word = tmp_path / "word"
    word.write_text("wrong\n")
    refused(lambda: read_signing_key(key, password_file=word), "can be read by others")
    word.chmod(0o600)
    refused(lambda: read_signing_key(key, password_file=word), "the password may be wrong")
    word.write_text("")
    refused(lambda: read_signing_key(key, password_file=word), "no password is given")
    word.write_text("open sesame\nmore\n")
    monkeypatch.setenv(PASSWORD, "wrong")
    assert read_signing_key(key, password_file=word)
    refused(lambda: read_signing_key(key, password_file=tmp_path / "none"), "cannot be read")


def private_pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_private_keys_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "key"
    refused(lambda: read_signing_key(path), "cannot be read: No such file")
    refused(lambda: read_signing_key(tmp_path), "cannot be read")
    good = make_key(tmp_path)
    others = {
        b"": "no private key in PEM",
        b"\x00\xff" * 99: "no private key in PEM",
        good.with_suffix(".pub").read_bytes(): "no private key in PEM",
        good.read_bytes()[:100]: "no private key in PEM|cannot be read",
        good.read_bytes().replace(b"M", b"!"): "cannot be read",
        private_pem(ed25519.Ed25519PrivateKey.generate()): "of another kind .*must be elliptic",
        private_pem(rsa.generate_private_key(65537, 2048)): "of another kind .*must be elliptic",
        private_pem(ec.generate_private_key(ec.SECP256K1())): "of the curve secp256k1",
    }
    for content, what in others.items():
        path.write_bytes(content)
        path.chmod(0o600)
        refused(lambda: read_signing_key(path), what)
    good.chmod(0o640)
    refused(lambda: read_signing_key(good), r"can be read by others \(mode 640\)")


def test_public_keys_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "key.pub"
    refused(lambda: read_verification_key([path]), "cannot be read: No such file")
    good = make_key(tmp_path)
    pem = good.with_suffix(".pub").read_bytes()
    others = {
        b"": "neither a public key nor a certificate",
        pem[:60]: "neither a public key nor a certificate",
        pem.replace(b"M", b"!"): "cannot be read",
        good.read_bytes(): "holds a private key",
        good.read_bytes() + pem: "holds a private key",
        public_pem(ed25519.Ed25519PrivateKey.generate()): "of another kind",
        public_pem(ec.generate_private_key(ec.SECP256K1())): "of the curve secp256k1",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n": "the certificate .* cannot be read",
    }
    for content, what in others.items():
        path.write_bytes(content)
        refused(lambda: read_verification_key([path]), what)


def test_without_the_package_the_error_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    key = make_key(tmp_path)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for read in (lambda: read_signing_key(key), lambda: read_verification_key([key.with_suffix(".pub")])):
        with pytest.raises(SetupError, match="cryptography") as caught:
            read()
        assert caught.value.hint == 'pip install "edgehone[certify]"'


def test_no_key_accepts_nothing(tmp_path: Path) -> None:
    found = read_sealed(sealed(tmp_path, make_key(tmp_path)))
    with pytest.raises(NotVerified, match="with a bare key"):
        check_signature(found, VerificationKey())
    assert keys.CURVES == ("secp256r1", "secp384r1", "secp521r1")
