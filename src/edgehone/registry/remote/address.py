"""Addresses of artifacts in OCI registries: oci://HOST[:PORT]/REPOSITORY[:TAG | @DIGEST]."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass

from edgehone.core.errors import InputError
from edgehone.registry.names import DIGEST, check_name

# The protocol of a kind of address; None: by the host.
SCHEMES: Mapping[str, str | None] = {"oci": None, "oci+https": "https", "oci+http": "http"}
_HOST = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?|\[[0-9a-fA-F:.]+\](?::[0-9]{1,5})?"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class Address:
    """An artifact in an OCI registry. `reference` is a tag or a digest."""

    scheme: str
    host: str
    repository: str
    reference: str

    def __str__(self) -> str:
        """The address as the user writes it."""
        mark = "@" if self.digest else ":"
        return f"oci://{self.host}/{self.repository}{mark}{self.reference}"

    @property
    def digest(self) -> str | None:
        """The digest that is asked for; None for a tag."""
        return self.reference if DIGEST.fullmatch(self.reference) else None

    @property
    def base(self) -> str:
        """The URL of the repository."""
        return f"{self.scheme}://{self.host}/v2/{self.repository}"


def parse(text: str) -> Address:
    """Return the address that `text` is. Raises InputError if it is none.

    The scheme is HTTPS, but HTTP for hosts of this machine; oci+https:// and oci+http:// say which.
    """
    kind, _, rest = text.partition("://")
    host, _, path = rest.partition("/")
    hint = "write oci://HOST/REPOSITORY:TAG, for example oci://registry.example/models/demo:3"
    if kind not in SCHEMES or not _HOST.fullmatch(host) or not path:
        raise InputError(f"{text!r} is not the address of an artifact in an OCI registry", hint=hint)
    repository, at, reference = path.partition("@")
    if at:
        if not DIGEST.fullmatch(reference):
            raise InputError(f"{text!r} has no valid digest after the @", hint=hint)
    else:
        repository, colon, reference = path.partition(":")
        reference = reference if colon else "latest"
        if not _TAG.fullmatch(reference):
            raise InputError(f"{text!r} has no valid tag: {reference!r}", hint=hint)
    check_name(repository)
    scheme = SCHEMES[kind] or ("http" if is_local(host) else "https")
    return Address(scheme, host, repository, reference)


def is_local(host: str) -> bool:
    """Return True if a host, with or without a port, is this machine."""
    name = re.sub(r":[0-9]+$", "", host).strip("[]")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
