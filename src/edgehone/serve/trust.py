"""Whether a bundle may be served: what its certification says, and that its files are those that were verified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgehone.attestation.files import state_of
from edgehone.attestation.keys import VerificationKey
from edgehone.attestation.verify import Verified, check_approved, verify_bundle
from edgehone.bundle.schema import CERTIFICATION
from edgehone.core.errors import InputError, JobError


@dataclass(frozen=True)
class Trusted:
    """A bundle that was verified, with the key if one is required."""

    verified: Verified
    key: VerificationKey | None

    def check(self) -> None:
        """Raise JobError unless the files are those that were verified.

        Files with unchanged modification times are not read again.
        """
        before = self.verified
        if state_of(before.path) == before.state:
            return
        try:
            now = verify_bundle(before.path, self.key)
        except InputError as error:
            raise JobError(f"it was changed since it was verified: {error.message}") from error
        if now.digest != before.digest:
            raise JobError(f"{before.path} was replaced since it was verified; serve it anew")


def trusted(bundle: Path, key: VerificationKey | None, say: Callable[[str], None]) -> Trusted | None:
    """Return a bundle that may be served, verified; None for one without certification where no key is required.

    With a key it must be signed and approved; conditions of an approval are told by `say`. Without one, what a bundle
    says of itself must be true. Raises NotVerified.
    """
    if key is None and not any((bundle / name).exists() for name in CERTIFICATION):
        return None
    verified = verify_bundle(bundle, key)
    certificate = verified.certificate
    if key is not None:
        for condition in check_approved(verified):
            say(f"warning: {bundle} is approved on the condition: {condition}")
    elif certificate is not None and certificate.approval == "no":
        say(
            f"warning: {bundle} is not approved for {certificate.profile}: {'; '.join(certificate.conditions)}"
        )
    if key is None and verified.is_signed:
        say(f"note: who signed {bundle} is not checked: give --verify-key")
    return Trusted(verified, key)
