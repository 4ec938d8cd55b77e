"""Whose reports count: each device has a key, or a certificate with its name, and signs no other device's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgehone.attestation.envelope import Sealed, check_signature
from edgehone.attestation.errors import NotVerified
from edgehone.attestation.keys import VerificationKey, fingerprint, read_verification_key
from edgehone.core.errors import InputError
from edgehone.fleet.waves import DEVICE

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.x509 import Certificate


@dataclass(frozen=True)
class DeviceKeys:
    """The public keys of each device, by its name, and certificates of issuers.

    A certificate that an issuer vouches for signs the reports of the device that is its subject's common name.
    """

    public: Mapping[str, tuple[EllipticCurvePublicKey, ...]] = field(default_factory=dict)
    issuers: tuple[Certificate, ...] = ()

    def check(self, sealed: Sealed, device: str) -> str:
        """Return who signed the report of a device. Raises NotVerified unless it is this device."""
        from cryptography.x509 import load_der_x509_certificate
        from cryptography.x509.oid import NameOID

        own = self.public.get(device, ())
        if not own and not self.issuers:
            raise NotVerified(f"no key of {device} is given", hint=f"--devices {device}=FILE")
        signed_by = check_signature(sealed, VerificationKey(public=own, trusted=self.issuers))
        if not sealed.certificates:
            return signed_by
        certificate = load_der_x509_certificate(sealed.certificates[0])
        public = certificate.public_key()
        if any(fingerprint(one) == fingerprint(public) for one in own):  # type: ignore[arg-type]
            return signed_by
        names = [one.value for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        if names != [device]:
            raise NotVerified(
                f"{sealed.name} was signed with a certificate of {certificate.subject.rfc4514_string()}",
                hint=f"the common name of a device's certificate must be its name, {device}",
            )
        return signed_by


def read_devices(words: Sequence[str]) -> DeviceKeys:
    """Return the keys in files that are given as FILE or NAME=FILE.

    A public key belongs to the device NAME, without it to the one that the file is named after. Raises InputError for
    a file that cannot be used.
    """
    public: dict[str, tuple[EllipticCurvePublicKey, ...]] = {}
    issuers: list[Certificate] = []
    for word in words:
        before, equals, after = word.partition("=")
        named = bool(equals) and DEVICE.fullmatch(before) is not None
        file = Path(after if named else word)
        key = read_verification_key([file])
        if named and key.trusted:
            raise InputError(
                f"--devices {word}: {file} is a certificate, which names its device itself",
                hint=f"--devices {file}",
            )
        issuers += key.trusted
        name = before if named else file.stem
        if key.public and not DEVICE.fullmatch(name):
            raise InputError(
                f"--devices {word}: {name!r} is no name of a device, whose key {file} holds",
                hint="--devices NAME=FILE",
            )
        if key.public:
            public[name] = (*public.get(name, ()), *key.public)
    return DeviceKeys(public, tuple(issuers))
