"""The settings of an agent, in a TOML file.

    channel = "oci://registry.example/models/demo:stable"
    device = "kitchen-7"
    folder = "/var/lib/edgehone-agent"
    channel_key = "channel.pub"
    bundle_key = "release.pub"
    device_key = "kitchen-7.key"
    port = 8080
    labels = { site = "lab" }

Paths are relative to the file's folder.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from edgehone.attestation.keys import SigningKey, VerificationKey, read_signing_key, read_verification_key
from edgehone.core.errors import InputError
from edgehone.core.suggestions import suggest
from edgehone.fleet.channel import channel_address, name_of
from edgehone.fleet.rules import AgentRules, agent_rules, names_of_agent_rules
from edgehone.fleet.waves import DEVICE, parse_labels
from edgehone.registry.remote.address import Address

_HINT = "see docs/fleets.md for an example"
# What the agent gives to `edgehone serve` itself.
_OWN = ("--port", "--take-over", "--verify-key", "--revoked", "--json", "--config")


class Settings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What the file may contain, besides entries of the table [agent] of fleet.toml.

    `channel_key` and `bundle_key` are public keys or trusted certificates; `revoked` a list of what is not trusted any
    more; `device_certificates` that of the device's key, then those of its issuers; `serve` further words for
    `edgehone serve`. `metered` says whether the connection is paid for by volume ("auto": as NetworkManager says); on
    such a one at most `metered_bytes` are fetched for a release.
    `instruction_sets`: "proven" refuses a release whose figures hold for other kernels than those of this processor.
    """

    channel: str
    device: str
    folder: str
    channel_key: str
    bundle_key: str
    device_key: str
    device_certificates: list[str] = []
    port: int = 8080
    host: str = "127.0.0.1"
    labels: dict[str, str] = {}
    revoked: str | None = None
    serve: list[str] = []
    metered: Literal["auto", "yes", "no"] = "auto"
    metered_bytes: int = 0
    instruction_sets: Literal["proven", "architecture"] = "proven"
    agent: dict[str, Any] = {}


@dataclass(frozen=True)
class AgentSettings:
    """The settings, read and checked."""

    settings: Settings
    address: Address
    folder: Path
    channel_key: VerificationKey
    bundle_key: VerificationKey
    bundle_key_file: Path
    revoked: Path | None
    device_key: SigningKey
    rules: AgentRules

    @property
    def device(self) -> str:
        """The device's name."""
        return self.settings.device

    @property
    def channel(self) -> str:
        """The name of the channel that its documents carry."""
        return name_of(self.address)

    @property
    def labels(self) -> Mapping[str, str]:
        """The device's labels."""
        return self.settings.labels


def read_settings(path: Path) -> AgentSettings:
    """Return the settings in a file. Raises InputError for what cannot be used."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"the settings {path} cannot be read: {error}", hint=_HINT) from error
    settings = _converted(data, path)
    _check(settings, path)
    folder = path.absolute().parent
    revoked = folder / settings.revoked if settings.revoked else None
    lists = [revoked] if revoked else []
    return AgentSettings(
        settings,
        channel_address(settings.channel),
        folder / settings.folder,
        read_verification_key([folder / settings.channel_key], revoked=lists),
        read_verification_key([folder / settings.bundle_key], revoked=lists),
        folder / settings.bundle_key,
        revoked,
        read_signing_key(
            folder / settings.device_key, certificates=[folder / one for one in settings.device_certificates]
        ),
        agent_rules(settings.agent, str(path)),
    )


def _converted(data: Mapping[str, Any], path: Path) -> Settings:
    try:
        return msgspec.convert(data, Settings)
    except msgspec.ValidationError as error:
        text = str(error)
        _, unknown, rest = text.partition("unknown field `")
        name = rest.partition("`")[0]
        known = [*Settings.__struct_fields__, *names_of_agent_rules()]
        raise InputError(f"{path}: {text}", hint=suggest(name, known) if unknown else _HINT) from error


def _check(settings: Settings, path: Path) -> None:
    if not DEVICE.fullmatch(settings.device):
        raise InputError(
            f"{path}: device is {settings.device[:80]!r}", hint="give up to 64 letters, digits, - and _"
        )
    parse_labels([f"{name}={value}" for name, value in settings.labels.items()])
    if not 1 <= settings.port <= 65535:
        raise InputError(f"{path}: port is {settings.port}", hint="give a number from 1 to 65535")
    if settings.metered_bytes < 0:
        raise InputError(f"{path}: metered_bytes is {settings.metered_bytes}", hint="give 0 or more")
    if own := [word for word in settings.serve if word.partition("=")[0] in _OWN]:
        raise InputError(
            f"{path}: serve contains {own[0]}, which the agent gives itself", hint="set it outside of `serve`"
        )
