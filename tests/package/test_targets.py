"""What holds for every built-in target: the contract of its module, and its section in docs/package.md."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from edgehone.bundle.read import read
from edgehone.package import registry
from edgehone.package.conform import conform
from edgehone.package.names import original_name
from tests.finished import Finished

DOCS = (Path(__file__).parents[2] / "docs" / "package.md").read_text("utf-8")


@pytest.mark.parametrize("name", registry.names())
def test_a_target_keeps_to_the_contract(name: str) -> None:
    failed = [one for one in conform(registry.load(name), None) if one.state == "fail"]
    assert not failed, "\n".join(f"{one.check}: {one.seen}; required: {one.demand}" for one in failed)


@pytest.mark.parametrize("name", registry.names())
def test_a_target_is_documented_with_every_option(name: str) -> None:
    section = re.search(rf"^## `{name}`$(.*?)(?=^## |\Z)", DOCS, re.M | re.S)
    assert section, f"docs/package.md has no section '## `{name}`'"
    missing = [
        one.name for one in registry.load(name).OPTIONS if not re.search(rf"\b{one.name}\b", section[1])
    ]
    assert not missing, f"docs/package.md does not name the options {', '.join(missing)} of {name}"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("digits.onnx", "digits"),
        ("/models/Tiny.Q4_0.GGUF", "Tiny.Q4_0"),
        ("Llama-3.2", "Llama-3.2"),
        (None, "model"),
    ],
)
def test_a_package_is_called_as_the_original_without_its_file_s_ending(
    finished: Finished, name: str | None, told: str
) -> None:
    manifest = read(finished.bundle).manifest
    assert original_name(replace(manifest, model={**manifest.model, "name": name})) == told
