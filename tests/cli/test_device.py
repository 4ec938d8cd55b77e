from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from edgehone.cli import device
from edgehone.core.errors import InputError
from edgehone.device.detect import detect
from edgehone.device.facts import Device


def asked(**more: Any) -> argparse.Namespace:
    return argparse.Namespace(
        **{
            "json": False,
            "what": None,
            "name": None,
            "bandwidth": False,
            "fresh": False,
            "config": None,
            **more,
        }
    )


def test_the_catalogue_is_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert device.run(asked(what="list")) == 0
    assert "raspberry-pi-5" in capsys.readouterr().out
    assert device.run(asked(what="show", name="iphone-15-pro")) == 0
    assert "bandwidth           unknown: Apple does not publish it" in capsys.readouterr().out
    assert device.run(asked(what="show", name="intel-n100", json=True)) == 0
    assert json.loads(capsys.readouterr().out)["bandwidth_gb_s"] == 38.4
    with pytest.raises(InputError, match="needs the NAME"):
        device.run(asked(what="show"))


def test_the_table_knows_no_none(own_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert device.run(asked()) == 0
    shown = capsys.readouterr().out
    assert "usable threads" in shown and detect().fingerprint in shown
    assert "None" not in shown


def test_json_has_the_facts_and_the_conditions(own_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert device.run(asked(json=True)) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["fingerprint"] == detect().fingerprint
    assert "frequencies_mhz" in told["conditions"]
    # Nothing is installed for the asking.
    assert "edgehone backends install openvino" in told["runtimes"]["openvino"]["reason"]
    around = told["surroundings"]
    assert around["storage"]["path"] == str(own_home)
    assert all(
        around[name] is not None or name in around["reasons"] for name in ("power", "thermal", "cores")
    )


def test_a_device_that_tells_nothing_is_shown(
    own_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = Device(architecture="riscv64", os="Linux", python="3.11", threads=1)
    monkeypatch.setattr("edgehone.device.detect.detect", lambda: bare)
    assert device.run(asked()) == 0
    shown = capsys.readouterr().out
    assert "None" not in shown and "unknown physical" in shown
