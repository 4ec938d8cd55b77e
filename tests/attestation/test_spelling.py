"""Unsigned bundles and packages whose documents were spelled otherwise, emptied or cut: refused with exit code 1."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from edgehone.attestation.errors import NotVerified
from edgehone.attestation.verify import verify_bundle
from edgehone.cli.main import main
from edgehone.package.target import Target
from edgehone.package.verify import verify_package
from edgehone.package.write import Order, pack
from tests.attestation.signed import certified
from tests.package import boxed

# What a JSON parser does not tell its caller.
SPELLINGS: dict[str, Callable[[str], str]] = {
    "a space more": lambda text: text.replace('": ', '":  ', 1),
    "no spaces": lambda text: json.dumps(json.loads(text), separators=(",", ":")),
    "a line at the end": lambda text: text + "\n",
    "no line at the end": lambda text: text.rstrip("\n"),
    "a byte order mark": lambda text: "\ufeff" + text,
    "a key twice": lambda text: text.replace('{\n "schema"', '{\n "schema": 2,\n "schema"', 1),
    "a deep key twice": lambda text: text.replace(
        '"files": {', '"files": {\n  "artifact/x": "0",', 1
    ).replace('"files": {', '"files": {\n  "artifact/x": "0",', 1),
    "an escaped letter": lambda text: text.replace('"schema"', '"\\u0073chema"', 1),
    "a number with a point": lambda text: text.replace('"schema": 1', '"schema": 1.0', 1),
}
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "zeroes": lambda content: bytes(len(content)),
    "a list": lambda content: b"[]",
    "null": lambda content: b"null",
    "an empty object": lambda content: b"{}",
    "nested": lambda content: b"[" * 100_000,
    "not a number": lambda content: content.replace(b'"schema": 1', b'"schema": NaN', 1),
    "another schema": lambda content: content.replace(b'"schema": 1', b'"schema": 2', 1),
}


@pytest.fixture
def package(spoiled: Path, tmp_path: Path) -> Path:
    return pack(spoiled, Order(cast(Target, boxed), tmp_path / "package")).path


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_another_spelling_is_noticed(spelling: str, spoiled: Path, package: Path) -> None:
    for folder, name in ((spoiled, "manifest.json"), (package, "package.json")):
        path = folder / name
        changed = SPELLINGS[spelling](path.read_text("utf-8"))
        assert changed != path.read_text("utf-8")
        path.write_text(changed, "utf-8")
        assert main(["verify", str(folder)]) == 1
        with pytest.raises(NotVerified, match=name) as refused:
            verify_bundle(folder) if folder == spoiled else verify_package(folder)
        assert refused.value.hint


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("is_certified", [False, True], ids=["plain", "certified"])
def test_a_damaged_document_of_a_bundle_gives_exit_code_1(
    damage: str, is_certified: bool, spoiled: Path
) -> None:
    if is_certified:
        certified(spoiled, None)
    for path in sorted(spoiled.glob("*.json")):
        content = path.read_bytes()
        changed = DAMAGES[damage](content)
        if changed == content:  # a document without a schema
            continue
        path.write_bytes(changed)
        assert main(["verify", str(spoiled)]) == 1, path.name
        path.write_bytes(content)
    assert main(["verify", str(spoiled)]) == 0


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_document_of_a_package_gives_exit_code_1(damage: str, package: Path) -> None:
    for path in (package / "package.json", *sorted((package / "bundle").glob("*.json"))):
        content = path.read_bytes()
        changed = DAMAGES[damage](content)
        if changed == content:
            continue
        path.write_bytes(changed)
        assert main(["verify", str(package)]) == 1, path.name
        path.write_bytes(content)
    assert main(["verify", str(package)]) == 0


def test_what_is_no_bundle_gives_exit_code_2(tmp_path: Path, spoiled: Path) -> None:
    assert main(["verify", str(tmp_path / "missing")]) == 2
    assert main(["verify", str(spoiled / "artifact")]) == 2
