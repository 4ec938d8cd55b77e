"""Whether the agent may use the network: offline and metered connections are respected."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from edgehone.device.network import Network, read_network
from edgehone.registry.remote.address import Address, is_local


def network_here(root: Path = Path("/")) -> Network:
    """Return the state of this machine's network; unknown facts are None."""
    if not sys.platform.startswith("linux"):
        return Network(None, None)
    return read_network(root, {})


def why_offline(network: Network, address: Address) -> str | None:
    """Return why the registry is not asked; None if it may be reached."""
    if network.online is False and not is_local(address.host):
        return "offline: no network interface has a default route"
    return None


def why_metered(
    network: Network, setting: Literal["auto", "yes", "no"], missing: int, allowed: int
) -> str | None:
    """Return why `missing` bytes are not fetched now; None if they may be."""
    metered = network.metered if setting == "auto" else setting == "yes"
    if not metered or missing <= allowed:
        return None
    return (
        f"metered connection: {missing / 1e6:.1f} MB are to be fetched, and metered_bytes allows "
        f"{allowed / 1e6:.1f} MB"
    )
