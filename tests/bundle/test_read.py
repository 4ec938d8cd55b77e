"""Reading a bundle: errors with hints, and the findings of `verify`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import edgehone
from edgehone.bundle.verify import check_runnable
from edgehone.core.errors import InputError, ModelError


def change(path: Path, edit: Callable[[Any], Any]) -> None:
    """Edit a JSON file; `edit` changes in place, or returns what to write instead."""
    data = json.loads(path.read_text("utf-8"))
    edited = edit(data)
    path.write_text(json.dumps(data if edited is None else edited), "utf-8")


def refused(bundle: Path, what: str) -> InputError:
    with pytest.raises(InputError, match=what) as caught:
        edgehone.read(bundle)
    assert caught.value.hint
    return caught.value


def test_a_whole_bundle_is_read_and_verified(spoiled: Path) -> None:
    bundle = edgehone.read(str(spoiled))
    assert bundle.path == spoiled and bundle.artifact.is_dir()
    assert (
        bundle.decision.chosen
        == "null/q8"
        == "/".join(bundle.manifest.recipe[k] for k in ("backend", "name"))
    )
    assert edgehone.verify(bundle) == []


def test_a_path_that_is_not_a_folder_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "lost", "no such bundle: .*lost")
    (tmp_path / "file").touch()
    refused(tmp_path / "file", "no such bundle: .*file")


def test_a_folder_without_a_manifest(tmp_path: Path) -> None:
    refused(tmp_path, "is not a bundle: it has no manifest.json")


@pytest.mark.parametrize("name", ["manifest.json", "decision.json"])
def test_a_file_that_is_missing_or_cut(spoiled: Path, name: str) -> None:
    text = (spoiled / name).read_bytes()
    (spoiled / name).write_bytes(text[: len(text) // 2])
    refused(spoiled, f"{name} cannot be read")
    (spoiled / name).write_bytes(b"\xff\xfe")
    refused(spoiled, f"{name} cannot be read")
    (spoiled / name).unlink()
    refused(spoiled, f"no {name}")


@pytest.mark.parametrize("schema", [0, 2, None, "1"])
def test_a_manifest_of_another_schema(spoiled: Path, schema: Any) -> None:
    change(spoiled / "manifest.json", lambda data: data.update(schema=schema))
    error = refused(spoiled, f"schema {schema!r}")
    assert error.hint is not None and "edgehone" in error.hint


def test_a_manifest_that_is_no_table(spoiled: Path) -> None:
    change(spoiled / "manifest.json", lambda data: [1])
    refused(spoiled, r"manifest.json is \[1\]: expected object, got array")


@pytest.mark.parametrize("part", ["recipe", "files", "eos", "model", "versions", "created"])
def test_a_manifest_with_a_part_lost_or_of_another_type(spoiled: Path, part: str) -> None:
    change(spoiled / "manifest.json", lambda data: data.update({part: 7}))
    refused(spoiled, f"manifest.json: {part} is 7: expected ")
    change(spoiled / "manifest.json", lambda data: data.pop(part) and None)
    refused(spoiled, f"manifest.json has no '{part}'")


def test_a_decision_edited_by_hand(spoiled: Path) -> None:
    change(spoiled / "decision.json", lambda data: data.update(chosen="null/q1"))
    refused(spoiled, "chosen is 'null/q1', which is not a candidate")
    change(spoiled / "decision.json", lambda data: data.update(chosen="null/q8", schema=99))
    refused(spoiled, "schema 99")
    change(spoiled / "decision.json", lambda data: data.update(schema=1, candidates="none"))
    refused(spoiled, "candidates is 'none': expected array")


def test_verify_names_what_is_missing_changed_and_added(spoiled: Path) -> None:
    (spoiled / "reproduce.sh").unlink()
    artifact = next(path for path in sorted((spoiled / "artifact").iterdir()) if path.suffix == ".npz")
    raw = bytearray(artifact.read_bytes())
    raw[-1] ^= 1  # one bit, the same size
    artifact.write_bytes(raw)
    (spoiled / "evidence" / "more.txt").touch()
    assert edgehone.verify(edgehone.read(spoiled)) == [
        "reproduce.sh is missing",
        f"artifact/{artifact.name} was changed",
        "evidence/more.txt was added",
    ]


def test_verify_notices_a_better_figure_written_in_by_hand(spoiled: Path) -> None:
    def better(data: Any) -> None:
        figure = next(c for c in data["candidates"] if c["key"] == "null/q8")["figures"]["speedup"]
        figure.update(value=40.0, low=39.0, high=41.0)

    change(spoiled / "decision.json", better)
    assert edgehone.verify(edgehone.read(spoiled)) == ["decision.json was changed"]


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda data: data["recipe"]["settings"].update(pace=1), id="another setting"),
        pytest.param(lambda data: data.update(approved=not data["approved"]), id="approved"),
        pytest.param(lambda data: data["files"].pop("decision.json") and None, id="a file not listed"),
        pytest.param(lambda data: data["facts"].update(more=1), id="one more fact"),
    ],
)
def test_verify_notices_a_manifest_edited_by_hand(spoiled: Path, edit: Callable[[Any], Any]) -> None:
    change(spoiled / "manifest.json", edit)
    assert "manifest.json was changed" in edgehone.verify(edgehone.read(spoiled))


def test_verify_notices_a_manifest_without_its_digest(spoiled: Path) -> None:
    change(spoiled / "manifest.json", lambda data: data.pop("digest") and None)
    assert edgehone.verify(edgehone.read(spoiled))[0].startswith("manifest.json has no digest of its own")


def test_a_bundle_of_an_earlier_version_still_runs(spoiled: Path, tmp_path: Path) -> None:
    change(spoiled / "manifest.json", lambda data: data.pop("digest") and None)
    check_runnable(edgehone.read(spoiled), tmp_path / "digests")
    changed = max((spoiled / "artifact").iterdir(), key=lambda path: path.stat().st_size)
    changed.write_bytes(b"another")
    with pytest.raises(InputError, match=f"artifact/{changed.name} was changed"):
        check_runnable(edgehone.read(spoiled), tmp_path / "digests")


def test_verify_looks_into_linked_folders(spoiled: Path, tmp_path: Path) -> None:
    outside = (spoiled / "artifact").rename(tmp_path / "outside")
    (spoiled / "artifact").symlink_to(outside)
    assert edgehone.verify(edgehone.read(spoiled)) == []
    (outside / "likeliest.bin").write_bytes(b"another")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    (spoiled / "evidence" / "link").symlink_to(tmp_path / "other")
    assert edgehone.verify(edgehone.read(spoiled)) == [
        "artifact/likeliest.bin was changed",
        "evidence/link/file was added",
    ]


@pytest.mark.parametrize("name", ["manifest.json", "decision.json"])
def test_documents_that_are_no_files_or_huge(spoiled: Path, name: str) -> None:
    """A pipe would block for ever, and a sparse file of 1 TB costs nobody anything to make."""
    content = (spoiled / name).read_bytes()
    (spoiled / name).unlink()
    os.mkfifo(spoiled / name)
    refused(spoiled, f"{name} cannot be read: .*pipe")
    (spoiled / name).unlink()
    (spoiled / name).symlink_to("/dev/zero")
    refused(spoiled, f"{name} cannot be read: .*device")
    (spoiled / name).unlink()
    (spoiled / name).write_bytes(content)
    os.truncate(spoiled / name, 1 << 40)
    refused(spoiled, f"{name} cannot be read: .*larger than 67 MB")


@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: Path(path).symlink_to("/dev/zero")], ids=["pipe", "device"]
)
def test_an_artifact_with_a_pipe_or_a_device_is_refused(
    spoiled: Path, tmp_path: Path, make: Callable[[Path], object]
) -> None:
    make(spoiled / "artifact" / "more")
    with pytest.raises(ModelError, match="artifact/more: it is a pipe, a device"):
        edgehone.verify(edgehone.read(spoiled))
    with pytest.raises(ModelError, match="artifact/more: it is a pipe, a device"):
        check_runnable(edgehone.read(spoiled), tmp_path / "digests")


def test_a_link_to_a_folder_that_contains_it_is_refused(spoiled: Path) -> None:
    (spoiled / "artifact" / "round").symlink_to(spoiled)
    with pytest.raises(ModelError, match="round is a link to a folder that contains it"):
        edgehone.verify(edgehone.read(spoiled))


@pytest.mark.parametrize("part", ["device.threads", "model.parameters", "workload.name"])
def test_a_decision_without_a_printed_value_is_refused(spoiled: Path, part: str) -> None:
    table, _, key = part.partition(".")
    change(spoiled / "decision.json", lambda data: data[table].pop(key) and None)
    refused(spoiled, f"{part} is None")
