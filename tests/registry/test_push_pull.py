"""Pushing bundles into a registry and pulling them from it."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from edgehone.cli.main import main
from edgehone.core.errors import InputError
from edgehone.registry.listing import versions
from edgehone.registry.names import parse
from edgehone.registry.pull import pull
from edgehone.registry.push import push
from edgehone.registry.session import Registry, open_registry
from tests.registry.bundles import LARGE, Make, change_manifest, content, weights


def test_a_pulled_bundle_is_the_one_that_was_pushed(registry: Registry, make: Make, tmp_path: Path) -> None:
    bundle = make(weights(1))
    pushed = push(registry, bundle, name="demo", by="ann")
    assert (pushed.version.reference, pushed.new) == ("demo:1", True)
    assert pushed.new_bytes >= LARGE
    pull(registry, parse("demo"), tmp_path / "out")
    assert content(tmp_path / "out") == content(bundle)
    assert os.access(tmp_path / "out" / "reproduce.sh", os.X_OK)
    assert not os.access(tmp_path / "out" / "manifest.json", os.X_OK)


def test_the_same_bundle_is_the_same_version(registry: Registry, make: Make) -> None:
    bundle = make(weights(1))
    first = push(registry, bundle, name="demo", by="ann")
    again = push(registry, bundle, name="demo", by="bob")
    assert again.version == first.version
    assert (again.new, again.new_bytes) == (False, 0)
    other = push(registry, bundle, name="other", by="ann")
    assert other.new and other.new_bytes == 0 and other.version.digest == first.version.digest


def test_two_machines_make_one_digest_of_a_bundle(make: Make, tmp_path: Path) -> None:
    bundle = make(weights(1))
    copy = Path(shutil.copytree(bundle, tmp_path / "elsewhere" / "copy"))
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
        if os.geteuid() == 0:
            os.chown(path, 1234, 1234)
    found = [
        push(
            open_registry(str(tmp_path / f"registry-{n}")), folder, name=f"name-{n}", by=str(n)
        ).version.digest
        for n, folder in enumerate((bundle, copy))
    ]
    assert found[0] == found[1]


def test_bundles_share_what_is_equal_in_their_large_files(
    registry: Registry, make: Make, tmp_path: Path
) -> None:
    one = weights(1, 2 * LARGE)
    push(registry, make(one), name="demo", by="ann")
    changed = make(b"more at the start" + one[:LARGE] + b"and in the middle" + one[LARGE:])
    second = push(registry, changed, name="demo", by="ann")
    assert second.version.number == 2
    assert second.new_bytes < 0.5 * 2 * LARGE
    pull(registry, parse("demo:2"), tmp_path / "out")
    assert content(tmp_path / "out") == content(changed)


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, LARGE])
@pytest.mark.parametrize("byte", [None, b"\0", b"\xff"])
def test_files_of_any_size_and_content(
    registry: Registry, make: Make, tmp_path: Path, size: int, byte: bytes | None
) -> None:
    bundle = make()
    (bundle / "artifact" / "more.bin").write_bytes(byte * size if byte else weights(3, size))
    from tests.finished import list_again

    list_again(bundle)
    push(registry, bundle, name="demo", by="ann")
    pull(registry, parse("demo"), tmp_path / "out")
    assert content(tmp_path / "out") == content(bundle)


def test_a_bundle_changed_by_hand_is_refused(registry: Registry, bundle: Path) -> None:
    (bundle / "decision.json").write_text((bundle / "decision.json").read_text() + " ")
    with pytest.raises(InputError, match=r"decision\.json was changed"):
        push(registry, bundle, name="demo", by="ann")
    assert versions(registry) == []


def test_a_bundle_with_a_link_is_refused(registry: Registry, bundle: Path, tmp_path: Path) -> None:
    (bundle / "reproduce.sh").rename(tmp_path / "outside")
    (bundle / "reproduce.sh").symlink_to(tmp_path / "outside")
    with pytest.raises(InputError, match=r"reproduce\.sh is a symbolic link"):
        push(registry, bundle, name="demo", by="ann")


def test_a_bundle_of_a_later_version_is_refused(registry: Registry, bundle: Path) -> None:
    change_manifest(bundle, schema=99)
    with pytest.raises(InputError, match="has schema 99; this edgehone reads 1"):
        push(registry, bundle, name="demo", by="ann")


def test_a_pull_does_not_replace_other_files(registry: Registry, bundle: Path, tmp_path: Path) -> None:
    push(registry, bundle, name="demo", by="ann")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(InputError, match="other files"):
        pull(registry, parse("demo"), tmp_path / "mine")
    assert content(tmp_path / "mine") == {"notes.txt": b"keep"}


def test_the_command_line(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--registry", str(tmp_path / "registry"), "--json"]
    assert main(["registry", "push", str(bundle), "--by", "ann", *where]) == 0
    pushed = json.loads(capsys.readouterr().out)
    assert (pushed["name"], pushed["number"], pushed["new"]) == ("null-model", 1, True)
    assert main(["registry", "list", *where]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["digest"] == pushed["digest"] and row["pushed_by"] == "ann" and row["approval"] == "yes"
    assert main(["registry", "pull", "null-model:1", "--out", str(tmp_path / "out"), *where]) == 0
    assert content(tmp_path / "out") == content(bundle)


def test_what_is_stored_is_told_without_the_registrys_own_files(
    registry: Registry, make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    """With them more may be stored than the bundle has."""
    pushed = push(registry, make(weights(1)), name="demo", by="ann")
    assert LARGE < pushed.new_bytes <= pushed.version.size and pushed.own_bytes > 1000
    folder, words = make(weights(2)), ["--registry", str(registry.blobs.folder)]
    assert main(["registry", "push", str(folder), "--name", "other", *words]) == 0
    told = capsys.readouterr().out
    found = re.search(r"stored ([\d.]+) MB of ([\d.]+) MB, and ([\d.]+) kB of manifests", told)
    assert found, told
    stored, whole, own = found.groups()
    assert float(stored) <= float(whole) and float(own) > 1
    assert main(["registry", "push", str(folder), "--name", "other", *words]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith(f"already there; stored 0.0 MB of {whole} MB")
