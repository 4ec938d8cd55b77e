"""Bad input to `edgehone agent`: a clear error, the next command, and exit code 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgehone.cli.main import main
from tests.attestation.signed import certified, make_key
from tests.finished import Finished
from tests.fleet.fleets import Fleet
from tests.registry.bundles import maker, weights


@pytest.fixture
def alone(finished: Finished, tmp_path: Path) -> Fleet:
    """A fleet whose registry does not exist."""
    return Fleet("127.0.0.1:9", tmp_path / "fleet", maker(finished.bundle, tmp_path))


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["agent", *words]) == 2
    told = capsys.readouterr().err
    assert "error:" in told and "next:" in told, told
    return told


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ('channel = "CHANNEL"', 'channel = "http://x/y"'),
        ('channel = "CHANNEL"', 'channel = "oci://127.0.0.1:9/fleet/demo:a.b"'),
        ('device = "d1"', 'device = "kitchen 7"'),
        ('device = "d1"', "device = 7"),
        ('device = "d1"', ""),
        ('device = "d1"', 'devise = "d1"'),
        ("[agent]", "[agent]\nmost_trys = 2"),
        ("[agent]", "[agents]"),
        ('device_key = "device.key"', 'device_key = "lost.key"'),
        ('device_key = "device.key"', 'device_key = "device.pub"'),
        ('folder = "data"', 'folder = "data"\nmetered = "sometimes"'),
        ('folder = "data"', 'folder = "data"\nlabels = { site = "a b" }'),
        ('folder = "data"', 'folder = "data"\nserve = ["--port", "80"]'),
        ('folder = "data"', 'folder = "data"\nhost = 1'),
        ('folder = "data"', "folder = ["),
    ],
)
def test_wrong_settings(alone: Fleet, capsys: pytest.CaptureFixture[str], change: str, says: str) -> None:
    file = alone.device("d1")
    text = file.read_text("utf-8")
    change = change.replace("CHANNEL", alone.channel)
    assert change in text
    file.write_text(text.replace(change, says), "utf-8")
    refused(["run", str(file)], capsys)


def test_a_missing_file_and_a_folder_of_another_channel(
    alone: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(["run", str(alone.place / "lost.toml")], capsys)
    file = alone.device("d1")
    folder = file.parent / "data"
    folder.mkdir()
    (folder / "state.json").write_text(
        json.dumps({"schema": 1, "channel": "other:stable", "memory": {"version": 0, "digest": "", "issued": None},
                    "active": None, "slots": {}, "trial": None, "failed": {}, "outcomes": []})
    )  # fmt: skip
    assert "other:stable" in refused(["show", str(file)], capsys)


def test_what_a_publisher_may_get_wrong(alone: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    key = ["--key", str(alone.channel_key)]
    good = str(alone.bundle(weights(1, 1000)))
    assert "cannot be reached" in refused(["publish", alone.channel, good, *key], capsys)
    refused(["publish", alone.channel, str(alone.make(b"x")), *key], capsys)  # no certificate
    refused(["publish", alone.channel, str(certified(alone.make(b"y"), None)), *key], capsys)  # not signed
    no = str(certified(alone.make(b"z"), make_key(alone.place, "other"), approval="no", conditions=("bad",)))
    assert "not approved" in refused(["publish", alone.channel, no, *key], capsys)
    refused(["publish", alone.channel, good, *key, "--wave", "half"], capsys)
    refused(["publish", alone.channel, good, *key, "--expires", "0"], capsys)
    refused(["publish", "oci://127.0.0.1:9/fleet/demo@sha256:" + "0" * 64, good, *key], capsys)
    refused(["halt", alone.channel, *key, "--why", " "], capsys)
    refused(["renew", alone.channel, "--key", str(alone.channel_key.with_suffix(".pub"))], capsys)
    refused(["advance", alone.channel, *key, "--every", "0"], capsys)
    refused(["advance", alone.channel, *key, "--rules", str(alone.place / "lost.toml")], capsys)
    assert "cannot be reached" in refused(
        ["status", alone.channel, "--key", str(alone.channel_key.with_suffix(".pub"))], capsys
    )
