"""A signed in-toto Statement, as OpenSSF model-signing reads it: a Sigstore bundle v0.3 with a DSSE envelope.

https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md
https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md

It is read strictly: what a signature does not cover must be exactly as a signer writes it, so that no change of the
file goes unnoticed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgehone.attestation.errors import NotVerified
from edgehone.attestation.keyless import KeylessKey, check_keyless
from edgehone.attestation.keys import CURVES, SigningKey, VerificationKey, fingerprint
from edgehone.attestation.trust import check_not_revoked, check_trusted

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
    from cryptography.x509 import Certificate

_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_LARGEST = 1 << 28
_HINT = "copy the bundle again from where it was signed"


@dataclass(frozen=True)
class Sealed:
    """A signed statement, whose signature was not verified yet.

    `hint` is the SHA-256 of the signer's public key (PEM), None if `certificates` tell the key. `keyless` is the whole
    text of a keyless signature, else None.
    """

    name: str
    payload: bytes
    signature: bytes
    hint: str | None
    certificates: tuple[bytes, ...]
    keyless: str | None = None

    @property
    def statement(self) -> Mapping[str, Any]:
        """The statement. Raises NotVerified if the payload is none."""
        try:
            found = json.loads(self.payload)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or found.get("_type") != "https://in-toto.io/Statement/v1":
            raise NotVerified(f"{self.name} holds no in-toto Statement v1", hint=_HINT)
        return found


def seal(statement: Mapping[str, Any], key: SigningKey | KeylessKey) -> bytes:
    """Return a statement, signed, as the content of a file."""
    from cryptography.hazmat.primitives.serialization import Encoding

    payload = json.dumps(statement, allow_nan=False).encode()
    if isinstance(key, KeylessKey):
        return key.seal(payload)
    public = key.private.public_key()
    signature = key.private.sign(_to_be_signed(payload), _algorithm(public))
    if key.certificates:
        chain = [{"rawBytes": _base64(one.public_bytes(Encoding.DER))} for one in key.certificates]
        material: dict[str, Any] = {"x509CertificateChain": {"certificates": chain}}
    else:
        material = {"publicKey": {"hint": _hint(public)}}
    envelope = {
        "payload": _base64(payload),
        "payloadType": _PAYLOAD_TYPE,
        "signatures": [{"sig": _base64(signature), "keyid": ""}],
    }
    content = {
        "mediaType": _MEDIA_TYPE,
        "verificationMaterial": {**material, "tlogEntries": []},
        "dsseEnvelope": envelope,
    }
    return json.dumps(content, separators=(",", ":")).encode()


def read_sealed(path: Path) -> Sealed:
    """Return the signed statement in a file. Raises NotVerified if it is not written as a signer writes it."""
    try:
        if path.stat().st_size > _LARGEST:
            raise NotVerified(f"{path.name} is larger than {_LARGEST >> 20} MB", hint=_HINT)
        data = path.read_bytes()
    except OSError as error:
        raise NotVerified(f"{path.name} cannot be read: {error}", hint=_HINT) from error
    return parse_sealed(data, path.name)


def parse_sealed(data: bytes, name: str) -> Sealed:
    """Return the signed statement in `data`, which messages call `name`.

    Raises NotVerified if it is not written as a signer writes it.
    """
    try:
        text = data.decode("utf-8")
        content = json.loads(text)
        written = [json.dumps(content, separators=form) for form in ((",", ":"), (", ", ": "))]
        written.append(json.dumps(content, separators=(",", ":"), ensure_ascii=False))
    except (ValueError, RecursionError) as error:
        raise NotVerified(f"{name} cannot be read: {error}", hint=_HINT) from error
    sealed = _unpacked(content, name) or _keyless(content, name, text) if text in written else None
    if sealed is None:
        raise NotVerified(
            f"{name} is not a signature as OpenSSF model-signing 1 writes it",
            hint=_HINT,
        )
    return sealed


def check_signature(sealed: Sealed, key: VerificationKey) -> str:
    """Return who signed a statement. Raises NotVerified unless it is whom `key` accepts."""
    from cryptography.exceptions import InvalidSignature

    if sealed.keyless is not None:
        return _by_identity(sealed, sealed.keyless, key)
    public, signer = _by_certificate(sealed, key) if sealed.certificates else _by_key(sealed, key)
    try:
        public.verify(sealed.signature, _to_be_signed(sealed.payload), _algorithm(public))
    except InvalidSignature:
        raise NotVerified(f"the signature in {sealed.name} is wrong", hint=_HINT) from None
    return signer


def _by_identity(sealed: Sealed, text: str, key: VerificationKey) -> str:
    if key.keyless is None:
        raise NotVerified(
            f"{sealed.name} was signed keyless, by an identity",
            hint="edgehone verify BUNDLE --identity WHO --identity-provider URL",
        )
    signer, kind, payload = check_keyless(text, sealed.name, key.keyless)
    if (kind, payload) != (_PAYLOAD_TYPE, sealed.payload):
        raise NotVerified(f"the signature in {sealed.name} is wrong", hint=_HINT)
    return signer


def _by_key(sealed: Sealed, key: VerificationKey) -> tuple[EllipticCurvePublicKey, str]:
    if not key.public:
        raise NotVerified(
            f"{sealed.name} was signed with a bare key, not with a certificate",
            hint="give the signer's --key",
        )
    public = next((one for one in key.public if _hint(one) == sealed.hint), None)
    if public is None:
        known = ", ".join(fingerprint(one)[:16] for one in key.public)
        raise NotVerified(
            f"{sealed.name} was signed with another key than the one given (SHA-256 {known}…)",
            hint="give the public key of whoever signed the bundle",
        )
    check_not_revoked(fingerprint(public), key)
    return public, f"key SHA256:{fingerprint(public)}"


def _by_certificate(sealed: Sealed, key: VerificationKey) -> tuple[EllipticCurvePublicKey, str]:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    chain = _loaded(sealed)
    public = chain[0].public_key()
    if not isinstance(public, EllipticCurvePublicKey) or public.curve.name not in CURVES:
        raise NotVerified(f"the certificate in {sealed.name} has no key of {', '.join(CURVES)}", hint=_HINT)
    known = next((one for one in key.public if fingerprint(one) == fingerprint(public)), None)
    if known is None:
        check_trusted(chain, key)
    check_not_revoked(fingerprint(public), key)
    return public, f"{chain[0].subject.rfc4514_string()}, key SHA256:{fingerprint(public)}"


def _loaded(sealed: Sealed) -> tuple[Certificate, ...]:
    from cryptography.x509 import load_der_x509_certificate

    try:
        return tuple(load_der_x509_certificate(one) for one in sealed.certificates)
    except ValueError as error:
        raise NotVerified(f"a certificate in {sealed.name} cannot be read: {error}", hint=_HINT) from error


def _unpacked(content: Any, name: str) -> Sealed | None:
    """Return what the file holds; None if it has another form than `seal` and model-signing write."""
    match content:
        case {
            "mediaType": media_type,
            "verificationMaterial": {"tlogEntries": [], **material},
            "dsseEnvelope": {
                "payload": str(payload),
                "payloadType": payload_type,
                "signatures": [{"sig": str(signature), "keyid": "", **rest}],
                **more,
            },
            **others,
        } if media_type == _MEDIA_TYPE and payload_type == _PAYLOAD_TYPE and not (rest or more or others):
            pass
        case _:
            return None
    match material:
        case {"publicKey": {"hint": str(hint), **rest}, **more} if not (rest or more):
            coded: list[Any] = []
        case {"x509CertificateChain": {"certificates": [*coded], **rest}, **more} if coded and not (
            rest or more
        ):
            hint = ""
        case _:
            return None
    chain = [
        _decoded(one["rawBytes"]) if isinstance(one, dict) and list(one) == ["rawBytes"] else None
        for one in coded
    ]
    parts = (_decoded(payload), _decoded(signature))
    if parts[0] is None or parts[1] is None or None in chain:
        return None
    return Sealed(name, parts[0], parts[1], hint or None, tuple(one for one in chain if one is not None))


def _keyless(content: Any, name: str, text: str) -> Sealed | None:
    """Return what a keyless signature holds; None if it is none. `check_keyless` verifies the rest of it."""
    match content:
        case {
            "mediaType": media_type,
            "verificationMaterial": {"certificate": {"rawBytes": str(certificate)}, "tlogEntries": [_]},
            "dsseEnvelope": {
                "payload": str(payload),
                "payloadType": payload_type,
                "signatures": [{"sig": str(signature)}],
            },
        } if media_type == _MEDIA_TYPE and payload_type == _PAYLOAD_TYPE:
            parts = (_decoded(payload), _decoded(signature), _decoded(certificate))
        case _:
            return None
    if parts[0] is None or parts[1] is None or parts[2] is None:
        return None
    return Sealed(name, parts[0], parts[1], None, (parts[2],), text)


def _decoded(text: Any) -> bytes | None:
    """Return the content of canonical base64, else None. Other spellings of the same content are none."""
    try:
        data = base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except (binascii.Error, ValueError):
        return None
    return data if data is not None and _base64(data) == text else None


def _to_be_signed(payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(payload), payload)


def _algorithm(public: EllipticCurvePublicKey) -> ECDSA:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    by_size = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
    return ec.ECDSA(by_size[public.curve.key_size])


def _hint(public: EllipticCurvePublicKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
