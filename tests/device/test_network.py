from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.device.network import (
    Interface,
    parse_metered,
    parse_route_get,
    parse_routes,
    parse_routes6,
    read_network,
)

HEAD = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
DEFAULT = "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
NET = "sys/class/net"
Tree = Callable[..., Path]


def test_online_over_a_wire(tree: Tree) -> None:
    files = {
        "proc/net/route": HEAD + DEFAULT,
        f"{NET}/lo/type": "772",
        f"{NET}/eth0/type": "1",
        f"{NET}/eth0/operstate": "up\n",
        f"{NET}/eth0/speed": "1000\n",
        f"{NET}/eth0/device/": "",
        f"{NET}/wlan0/operstate": "down\n",
        f"{NET}/wlan0/phy80211/": "",
        f"{NET}/wwan0/uevent": "DEVTYPE=wwan\nINTERFACE=wwan0\n",
    }
    reasons: dict[str, str] = {}
    found = read_network(tree(files), reasons)
    assert (found.online, found.metered) == (True, None)
    assert found.interfaces == (
        Interface("eth0", "wired", True, 1000),
        Interface("wlan0", "wireless", False),
        Interface("wwan0", "cellular", None),
    )
    assert reasons.keys() == {"network.metered"}


@pytest.mark.parametrize(
    "routes",
    [
        HEAD,
        HEAD + DEFAULT.replace("0003", "0203"),
        HEAD + DEFAULT.replace("eth0", "eth9"),
        HEAD + "eth0\t0000\n",
    ],
)
def test_offline(tree: Tree, routes: str) -> None:
    found = read_network(tree({"proc/net/route": routes, f"{NET}/eth0/operstate": "up"}), {})
    assert found.online is False


def test_a_route_over_a_down_link_is_offline(tree: Tree) -> None:
    found = read_network(tree({"proc/net/route": HEAD + DEFAULT, f"{NET}/eth0/operstate": "down"}), {})
    assert found.online is False


def test_a_system_without_routes_has_a_reason(tree: Tree) -> None:
    reasons: dict[str, str] = {}
    assert read_network(tree({}), reasons).online is None
    assert reasons["network.online"] == "the system lists no routes"


def test_routes_of_version_6() -> None:
    none, some = "0" * 32, "fe80" + "0" * 28
    line = f"{none} 00 {none} 00 {some} 00000400 00000001 00000000 00000003 wlan0\n"
    assert parse_routes6(line) == ["wlan0"]
    assert parse_routes6(line.replace("00000003", "00200200")) == []


def test_metered() -> None:
    assert parse_metered("no (guessed)\nunknown\n") is False
    assert parse_metered("no\nyes (guessed)\n") is True
    assert parse_metered("unknown\n\n") is None


def test_the_default_route_of_a_mac() -> None:
    assert parse_route_get("   route to: default\n  interface: en0\n      flags: <UP>\n") == "en0"
    assert parse_route_get("route: writing to routing socket: not in table\n") is None


@given(st.text())
def test_any_text_is_routes(said: str) -> None:
    for found in (parse_routes(said), parse_routes6(said)):
        assert isinstance(found, list)
    assert parse_metered(said) in (None, True, False)
