"""Show this machine's hardware, or the device catalogue.

Shows processor, cores, instruction sets, memory and its bandwidth, GPUs and NPUs, power, temperature, storage, network,
limits, and the devices visible to each installed runtime. Unknown values are shown with the reason.

`device list` shows the catalogue, `device show NAME` one device of it. Add your own under [devices.NAME] in
edgehone.toml.
"""

from __future__ import annotations

import argparse
import json
import sys

EXAMPLE = """examples:
  edgehone device
  edgehone device list
  edgehone device show raspberry-pi-5 --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "what",
        nargs="?",
        choices=("list", "show"),
        help="list the catalogue, or show one device of it (default: show this machine)",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="device of the catalogue, for show")
    parser.add_argument("--bandwidth", action="store_true", help="measure the memory read bandwidth again")
    parser.add_argument(
        "--fresh", action="store_true", help="query each runtime again for the devices visible to it"
    )
    parser.add_argument("--config", metavar="FILE", help="configuration file (default: ./edgehone.toml)")


def run(args: argparse.Namespace) -> int:
    """Run the verb: print a table, or JSON."""
    if args.what:
        return _catalogue(args)
    from edgehone.backends import registry
    from edgehone.device.bandwidth import read_bandwidth
    from edgehone.device.detect import detect
    from edgehone.device.inventory import read_inventory
    from edgehone.device.throttle import read_conditions
    from edgehone.execution.home import home
    from edgehone.optimize.device_visibility import visible_devices
    from edgehone.report.device import rows

    device, conditions, inventory = detect(), read_conditions(), read_inventory(home())
    visible = visible_devices(registry.load_all(), device, inventory, _print_progress, fresh=args.fresh)
    bandwidth = read_bandwidth(device, home() / "bandwidth", fresh=args.bandwidth)
    if args.json:
        more = {
            "bandwidth": bandwidth.to_json(),
            "conditions": conditions.to_json(),
            "surroundings": inventory.to_json(),
            "runtimes": {name: one.to_json() for name, one in visible.items()},
        }
        print(json.dumps({**device.to_json(), **more}, indent=2))
        return 0
    for name, value in rows(device, conditions, bandwidth, inventory, visible):
        print(f"{name:<20}{value}")
    return 0


def _print_progress(name: str, detail: str) -> None:
    sys.stderr.write(f"{name}: {detail}\n")  # one write per line: runtimes are queried in parallel
    sys.stderr.flush()


def _catalogue(args: argparse.Namespace) -> int:
    from edgehone.core import config
    from edgehone.core.errors import InputError
    from edgehone.device.catalogue import catalogue, find
    from edgehone.report.summary import table

    settings = config.read(args.config)
    if args.what == "show":
        if args.name is None:
            raise InputError("device show needs the NAME of a device", hint="edgehone device list")
        one = find(args.name, settings)
        if args.json:
            print(json.dumps(one.to_json(), indent=1))
            return 0
        for name, value in one.to_json().items():
            known = ", ".join(value) if isinstance(value, (list, tuple)) else value
            if name not in ("unknown", "cannot") and known not in (None, ""):
                print(f"{name:<20}{known}")
        for name, reason in one.cannot.items():
            print(f"{name:<20}does not run on it: {reason}")
        for name, reason in one.unknown.items():
            print(f"{name:<20}unknown: {reason}")
        return 0
    devices = catalogue(settings)
    if args.json:
        print(json.dumps({name: one.to_json() for name, one in devices.items()}, indent=1))
        return 0
    rows = [("", "name", "GB/s", "GFLOP/s", "memory", "budget", "platform", "")]
    for name, one in devices.items():
        speed = f"{one.bandwidth_gb_s:.0f}" if one.bandwidth_gb_s else "-"
        memory = f"{one.memory_bytes / 1e9:.0f} GB" if one.memory_bytes else "-"
        rate = f"{one.gflops:.0f}" if one.gflops else "-"
        budget = f"{one.size_budget_bytes / 1e6:.0f} MB" if one.size_budget_bytes else "-"
        rows.append(("", name, speed, rate, memory, budget, one.row, one.title))
    print("\n".join(table(rows)))
    return 0
