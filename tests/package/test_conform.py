"""The conformance suite of targets, on the target of the tests and on spoiled forms of it."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import pytest

from edgehone.cli.main import main
from edgehone.package.conform import conform
from edgehone.package.target import Built, Check, Option, Request, Target, Tool
from tests.finished import Finished
from tests.package import boxed

BOXED = cast(Target, boxed)


@pytest.fixture(autouse=True)
def _refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the target refuse what the suite makes up: its recipe is called "half"."""
    monkeypatch.setattr(
        boxed, "refuses", lambda bundle: "no" if bundle.manifest.recipe["name"] == "half" else None
    )
    monkeypatch.setattr(boxed, "check", check)


def check(folder: Path, built: Built, scratch: Path) -> Sequence[Check]:
    """Test both archives; the frame's other tests test the first only."""
    import tarfile

    try:
        with zipfile.ZipFile(folder / "box.zip") as archive, tarfile.open(folder / "box.tar") as tar:
            for one in tar.getmembers():
                file = tar.extractfile(one)
                assert file is not None and len(file.read()) == one.size
            good = archive.testzip() is None
    except (OSError, zipfile.BadZipFile, tarfile.TarError, AssertionError):
        good = False
    return (Check("archives", "passed" if good else "failed", "" if good else "an archive is damaged"),)


def states(bundle: Path | None) -> dict[str, str]:
    return {one.check: one.state for one in conform(BOXED, bundle)}


def failed(bundle: Path | None) -> list[str]:
    return [name for name, state in states(bundle).items() if state == "fail"]


def test_a_sound_target_passes(finished: Finished) -> None:
    assert set(states(finished.bundle).values()) == {"pass"}


def test_without_a_bundle_the_module_is_checked(finished: Finished) -> None:
    found = list(states(None).values())
    assert found.count("pass") == 3 and found.count("skip") == 7


Build = Callable[[Request, Path], Built]


def random_byte(build: Build, request: Request, folder: Path) -> Built:
    (folder / "salt").write_bytes(os.urandom(8))
    return build(request, folder)


def own_mask(build: Build, request: Request, folder: Path) -> Built:
    built = build(request, folder)
    (folder / "mask").write_text(oct((folder / "box.zip").stat().st_mode))
    return built


def later(build: Build, request: Request, folder: Path) -> Built:
    built = build(request, folder)
    with zipfile.ZipFile(folder / "box.zip", "a") as archive:
        archive.writestr(zipfile.ZipInfo("new", (2090, 1, 1, 0, 0, 0)), b"new")
    return built


def without_carried(build: Build, request: Request, folder: Path) -> Built:
    built = build(request, folder)
    return Built(built.deliverables, (), built.readme)


def without_commands(build: Build, request: Request, folder: Path) -> Built:
    built = build(request, folder)
    return Built(built.deliverables, built.carried, "# A box\n\nNothing to see.\n")


def beside(build: Build, request: Request, folder: Path) -> Built:
    (folder.parent / "beside").write_text("beside")
    return build(request, folder)


def here(build: Build, request: Request, folder: Path) -> Built:
    Path("here").write_text("here")
    return build(request, folder)


def into_the_bundle(build: Build, request: Request, folder: Path) -> Built:
    path = request.bundle.path / "manifest.json"
    path.write_bytes(path.read_bytes())
    return build(request, folder)


@pytest.mark.parametrize(
    ("spoiler", "check"),
    [
        (random_byte, "packages_are_reproducible"),
        (own_mask, "packages_are_reproducible"),
        (later, "archives_have_fixed_times"),
        (without_carried, "the_artifact_is_carried"),
        (without_commands, "the_readme_names_commands"),
        (beside, "nothing_is_written_elsewhere"),
        (here, "nothing_is_written_elsewhere"),
        (into_the_bundle, "nothing_is_written_elsewhere"),
    ],
)
def test_a_build_that_breaks_a_rule_fails(
    spoiled: Path, monkeypatch: pytest.MonkeyPatch,
    spoiler: Callable[[Build, Request, Path], Built], check: str,
) -> None:  # fmt: skip
    build = boxed.build
    monkeypatch.setattr(boxed, "build", lambda request, folder: spoiler(build, request, folder))
    assert failed(spoiled) == [check]


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("SUMMARY", "A box.", "summary_is_a_phrase"),
        ("OPTIONS", (Option("name", "", "box"),), "options_and_tools_are_documented"),
        ("OPTIONS", (Option("a", "an option", "b", ("c",)),), "options_and_tools_are_documented"),
        ("TOOLS", (Tool("aapt", ""),), "options_and_tools_are_documented"),
        ("refuses", lambda: None, "names_are_complete"),
    ],
)
def test_a_module_that_breaks_a_rule_fails(
    monkeypatch: pytest.MonkeyPatch, name: str, value: object, check: str
) -> None:
    monkeypatch.setattr(boxed, name, value)
    assert failed(None) == [check]


def test_a_target_that_takes_everything_or_notices_nothing_fails(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boxed, "refuses", lambda bundle: None)
    monkeypatch.setattr(boxed, "check", lambda folder, built, scratch: (Check("eyes", "passed"),))
    assert failed(finished.bundle) == ["foreign_artifacts_are_refused", "damage_is_noticed"]
    monkeypatch.setattr(boxed, "ACCEPTS_ANY", "a box holds anything", raising=False)
    assert failed(finished.bundle) == ["damage_is_noticed"]


def test_a_check_that_ends_with_an_error_fails(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(folder: Path, built: Built, scratch: Path) -> Sequence[Check]:
        with zipfile.ZipFile(folder / "box.zip"):
            return (Check("archives", "passed"),)

    monkeypatch.setattr(boxed, "check", ends)
    outcomes = {one.check: one.seen for one in conform(BOXED, finished.bundle) if one.state == "fail"}
    assert list(outcomes) == ["damage_is_noticed"]
    assert "check ends with BadZipFile" in outcomes["damage_is_noticed"]


def test_missing_tools_skip_what_needs_them(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxed, "TOOLS", (Tool("no-such-tool", "such"),))
    outcomes = conform(BOXED, finished.bundle)
    assert {one.state for one in outcomes} == {"pass", "skip"}
    assert any("apt install such" in one.seen for one in outcomes)


def test_the_command_reports(
    finished: Finished, registered: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["package", "--conform", "boxed", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["checks"]) == 10
    monkeypatch.setattr(boxed, "SUMMARY", "box")
    assert main(["package", "--conform", "boxed"]) == 1
    assert "required: SUMMARY is one phrase" in capsys.readouterr().out
