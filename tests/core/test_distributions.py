"""Versions and entry points are those that importlib.metadata finds."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from edgehone.core.distributions import EntryPoint, entry_points, version, versions


@pytest.mark.parametrize(
    "group",
    ["edgehone.verbs", "edgehone.backends", "edgehone.targets", "console_scripts", "pytest11", "nobody"],
)
def test_they_are_those_of_the_standard_library(group: str) -> None:
    found = {(one.name, one.value.partition("[")[0]) for one in importlib.metadata.entry_points(group=group)}
    assert {(one.name, one.value) for one in entry_points(group)} == found
    assert found or group == "nobody"


def test_the_first_of_two_installations_counts_and_damaged_ones_register_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {
        "new/Some_Package-2.0.dist-info": b"[other]\nx = y\n[g]\n# a comment\n\none = a.b:c [extra]\n",
        "old/some.package-1.0.dist-info": b"[g]\nold = a\n",
        "old/egg.egg-info": b"[g]\ntwo=b\n[later]\nthree = c\n",
        "old/broken-1.dist-info": b"[g]\nfour = \xff\n",
        "old/plain": b"[g]\nfive = d\n",
    }
    for name, text in texts.items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "entry_points.txt").write_bytes(text)
    (tmp_path / "old" / "none-1.dist-info").mkdir()
    (tmp_path / "archive.zip").write_bytes(b"")
    monkeypatch.setattr("sys.path", [str(tmp_path / one) for one in ("new", "missing", "archive.zip", "old")])
    assert entry_points("g") == [EntryPoint("one", "a.b:c", "Some_Package"), EntryPoint("two", "b", "egg")]


def test_versions_are_those_of_the_standard_library() -> None:
    found = versions()
    for one in importlib.metadata.distributions():
        name = one.metadata["Name"]
        assert version(name) == importlib.metadata.version(name)
        assert version(name) in found.values()
    with pytest.raises(LookupError, match="no-such-package is not installed"):
        version("no-such-package")
