from __future__ import annotations

import argparse
import json

import pytest

from edgehone.cli import device
from edgehone.device import Device, detect


def test_the_table_knows_no_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert device.run(argparse.Namespace(json=False)) == 0
    shown = capsys.readouterr().out
    assert "usable threads" in shown and detect().fingerprint in shown
    assert "None" not in shown


def test_json_has_the_facts_and_the_conditions(capsys: pytest.CaptureFixture[str]) -> None:
    assert device.run(argparse.Namespace(json=True)) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["fingerprint"] == detect().fingerprint
    assert "frequencies_mhz" in told["conditions"]


def test_a_device_that_tells_nothing_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = Device(architecture="riscv64", os="Linux", python="3.11", threads=1)
    monkeypatch.setattr("edgehone.device.detect", lambda: bare)
    assert device.run(argparse.Namespace(json=False)) == 0
    shown = capsys.readouterr().out
    assert "None" not in shown and "unknown physical" in shown
