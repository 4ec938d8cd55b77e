"""Writing a bundle: allowed targets, contents, and replacement of an older bundle."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

import edgehone
from edgehone.bundle import check_target
from edgehone.core.errors import InputError, SetupError
from tests.finished import Finished


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_where_a_bundle_may_go(tmp_path: Path, spoiled: Path) -> None:
    check_target(tmp_path / "new")
    check_target(tmp_path / "not" / "there" / "yet")
    (tmp_path / "empty").mkdir()
    check_target(tmp_path / "empty")
    check_target(spoiled)  # an older bundle


def test_where_it_may_not(tmp_path: Path, spoiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="exists and is not a folder"):
        check_target(tmp_path / "file")
    with pytest.raises(InputError, match="cannot be written to"):
        check_target(tmp_path / "file" / "below")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.tex").touch()
    with pytest.raises(InputError, match="other files in it"):
        check_target(tmp_path / "work")
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    with pytest.raises(InputError, match="is a symbolic link") as caught:
        check_target(tmp_path / "link")
    assert f"--out {tmp_path / 'empty'}" in str(caught.value.hint)
    with pytest.raises(InputError, match="is in the bundle"):
        check_target(spoiled / "artifact" / "new")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(InputError, match="cannot be written to") as caught:
        check_target(tmp_path / "new")
    assert caught.value.hint


def test_contents_of_a_bundle(finished: Finished) -> None:
    bundle = edgehone.read(finished.bundle)
    assert set(bundle.manifest.files) == set(content(finished.bundle)) - {"manifest.json"}
    assert (finished.bundle / "notices" / "LICENSE").read_text() == "Do as you like.\n"
    for key in ("null__original", "null__f32", "null__q8", "null__q4"):
        assert (finished.bundle / "evidence" / key / "samples.json").is_file()
    assert bundle.manifest.model["name"] == "null-model"
    assert set(bundle.manifest.texts) == {"evaluation", "calibration"}
    assert not list(finished.bundle.parent.glob(".bundle*"))  # nothing is left beside it


def test_reproduce_sh_has_the_command(finished: Finished) -> None:
    script = finished.bundle / "reproduce.sh"
    assert os.access(script, os.X_OK)
    line = next(line for line in script.read_text().splitlines() if line.startswith("exec "))
    words = shlex.split(line)
    assert words[1:4] == ["edgehone", "optimize", str(finished.model)]
    assert words[words.index("--out") + 1] == str(finished.bundle)
    assert words[words.index("--config") + 1] == str(finished.config)
    assert words[words.index("--effort") + 1] == "quick"


def test_a_bundle_replaces_an_older_one(finished: Finished, spoiled: Path) -> None:
    (spoiled / "artifact" / "old").touch()
    finished.optimize(spoiled)
    assert edgehone.verify(edgehone.read(spoiled)) == []
    assert not (spoiled / "artifact" / "old").exists()
    assert not [path for path in spoiled.parent.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_an_older_bundle_stays_until_the_new_one_is_complete(
    finished: Finished, spoiled: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    # Writing fails before anything is written to the older bundle, so that a bundle replaces it as any other.
    before = content(spoiled)

    def half(source: Path, target: Path, **more: Any) -> None:
        target.mkdir()
        (target / "half").write_bytes(b"x" * 100)
        raise OSError(code, os.strerror(code), str(target))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copytree", half)
        with pytest.raises(SetupError) as caught:
            finished.optimize(spoiled)
    told = "cannot be written" if code == errno.EIO else "no space left"
    assert told in caught.value.message and caught.value.hint
    assert content(spoiled) == before
    assert not [path for path in spoiled.parent.iterdir() if path.name.startswith(".")]
    finished.optimize(spoiled)
    assert edgehone.verify(edgehone.read(spoiled)) == []


def test_the_report_lies_in_it_and_tells_of_every_candidate(finished: Finished) -> None:
    text = (finished.bundle / "report.html").read_text("utf-8")
    assert "report.html" in edgehone.read(finished.bundle).manifest.files
    for key in ("null/<wbr>original", "null/<wbr>f32", "null/<wbr>q8", "null/<wbr>q4"):
        assert key in text
