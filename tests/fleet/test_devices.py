"""Whose reports count: a device signs its own, and no other's."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgehone.attestation.keys import SigningKey, read_signing_key
from edgehone.core.errors import InputError
from edgehone.fleet.devices import read_devices
from edgehone.fleet.report import Report, Told, read_signed, sign
from edgehone.fleet.settings import read_settings
from tests.attestation.authority import Holder, issue
from tests.attestation.signed import make_key

CHANNEL = "models/demo:stable"


def report(device: str) -> Report:
    """Return a report of a device on which nothing runs."""
    return Report(
        channel=CHANNEL, device=device, labels={}, version=1, runs=None, manifest=None, outcomes=(), note="",
        at="2026-11-29T10:00:00+00:00",
    )  # fmt: skip


def told(key: SigningKey, device: str, *words: str) -> Told:
    """Read a report of a device that a key signed, where the keys in `words` are given."""
    return read_signed(sign(report(device), key), read_devices(words), CHANNEL, device)


def refused(what: str, key: SigningKey, device: str, *words: str) -> None:
    with pytest.raises(InputError, match=what) as caught:
        told(key, device, *words)
    assert caught.value.hint


def chained(holder: Holder, *between: Holder) -> SigningKey:
    return SigningKey(holder.private, tuple(one.certificate for one in (holder, *between)))


def test_a_known_device_signs_no_report_of_another_one(tmp_path: Path) -> None:
    first, second = make_key(tmp_path, "d1"), make_key(tmp_path, "d2")
    words = [str(one.with_suffix(".pub")) for one in (first, second)]
    assert str(told(read_signing_key(first), "d1", *words).signed_by).startswith("key SHA256:")
    assert told(read_signing_key(second), "d2", *words).report.device == "d2"
    refused("another key than the one given", read_signing_key(first), "d2", *words)
    refused("no key of d3 is given", read_signing_key(first), "d3", *words)


def test_a_name_before_the_file_binds_its_keys(tmp_path: Path) -> None:
    old, new = make_key(tmp_path, "old"), make_key(tmp_path, "new=1")
    words = [f"d1={one.with_suffix('.pub')}" for one in (old, new)]
    assert told(read_signing_key(old), "d1", *words) and told(read_signing_key(new), "d1", *words)
    refused("no key of old is given", read_signing_key(old), "old", *words)
    with pytest.raises(InputError, match="'new=1' is no name of a device") as caught:
        read_devices([str(new.with_suffix(".pub"))])
    assert caught.value.hint == "--devices NAME=FILE"


def test_a_certificate_is_of_the_device_that_it_names(tmp_path: Path) -> None:
    root = issue("fleet", authority=True)
    one, foreign = issue("d1", root), issue("d1", issue("fleet", authority=True))
    file = str(root.write(tmp_path / "ca.pem"))
    assert str(told(chained(one), "d1", file).signed_by).startswith("CN=d1, key SHA256:")
    refused("signed with a certificate of CN=d1", chained(one), "d2", file)
    refused("is not trusted", chained(foreign), "d1", file)
    refused("signed with a bare key", SigningKey(one.private), "d1", file)
    with pytest.raises(InputError, match="names its device itself"):
        read_devices([f"d1={file}"])
    # A key that is given for a device counts whatever its certificate names.
    (tmp_path / "d2.pub").write_bytes(
        one.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    assert told(chained(one), "d2", file, str(tmp_path / "d2.pub"))


def test_an_agent_signs_with_the_certificates_of_its_settings(tmp_path: Path) -> None:
    root = issue("fleet", authority=True)
    holder = issue("d1", root)
    holder.write_key(tmp_path / "device.key")
    holder.write(tmp_path / "device.pem")
    make_key(tmp_path, "channel")
    file = tmp_path / "agent.toml"
    lines = ['channel = "oci://127.0.0.1:1/models/demo:stable"', 'device = "d1"', 'folder = "data"']
    lines += ['channel_key = "channel.pub"', 'bundle_key = "channel.pub"', 'device_key = "device.key"']
    file.write_text("\n".join([*lines, 'device_certificates = ["device.pem"]']), "utf-8")
    key = read_settings(file).device_key
    assert told(key, "d1", str(root.write(tmp_path / "ca.pem"))).report.device == "d1"
    issue("d1", root).write(tmp_path / "device.pem")  # of another key
    with pytest.raises(InputError, match="is not that of the private key"):
        read_settings(file)
