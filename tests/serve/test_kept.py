"""Kept samples: encrypted, capped, whole after a kill, and nothing of a prompt without them."""

from __future__ import annotations

import errno
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgehone.core.errors import InputError
from edgehone.serve.drift import kept, sealed
from edgehone.serve.drift.kept import Keeper, KeepRules, Ring
from edgehone.serve.infer.tensor import Tensor
from edgehone.serve.observation import Feedback, Observation

KEY = b"0" * 64
HEADER = {"model": "m", "manifest": "digest"}


def records_of(folder: Path, key: bytes = KEY) -> list[bytes]:
    """Return all records of a folder, the oldest first."""
    return [one for path in sorted(folder.rglob("*.sealed")) for one in sealed.open_file(path, key).records]


# Sealed files


@settings(max_examples=30)
@given(st.lists(st.binary(max_size=300), max_size=20))
def test_what_is_sealed_is_opened_again_and_the_file_shows_nothing_of_it(contents: list[bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.sealed"
        writer = sealed.Writer(path, KEY, HEADER)
        for one in contents:
            writer.add([one])
        writer.close()
        opened = sealed.open_file(path, KEY)
        assert opened.header == HEADER and opened.damage == "" and opened.records == tuple(contents)
        assert sealed.count(path) == len(contents) and path.stat().st_mode & 0o777 == 0o600
        body = path.read_bytes().partition(b"digest")[2]
        assert not any(len(one) > 8 and one in body for one in contents)


def written(path: Path, count: int = 5, key: bytes = KEY) -> Path:
    writer = sealed.Writer(path, key, HEADER)
    writer.add([f"record {number}".encode() for number in range(count)])
    writer.close()
    return path


def test_two_files_with_the_same_records_have_nothing_in_common(tmp_path: Path) -> None:
    first, second = (written(tmp_path / name).read_bytes() for name in ("a", "b"))
    assert first[-100:] != second[-100:]


def test_another_key_opens_nothing(tmp_path: Path) -> None:
    with pytest.raises(sealed.WrongKey, match="the key does not open"):
        sealed.open_file(written(tmp_path / "a"), b"1" * 64)


def test_a_file_that_is_cut_anywhere_gives_the_records_before(tmp_path: Path) -> None:
    path = written(tmp_path / "a")
    data = path.read_bytes()
    begin = len(sealed.MAGIC) + 16 + 4 + len('{"model": "m", "manifest": "digest"}')
    for size in range(begin):
        path.write_bytes(data[:size])
        assert sealed.open_file(path, KEY).records == () and sealed.count(path) == 0
    for size in range(begin, len(data)):
        path.write_bytes(data[:size])
        opened = sealed.open_file(path, KEY)
        whole = (size - begin) // ((len(data) - begin) // 5)
        assert len(opened.records) == whole == sealed.count(path)
        assert bool(opened.damage) is (size != begin + whole * ((len(data) - begin) // 5))


@settings(max_examples=60)
@given(st.data())
def test_any_changed_byte_is_noticed(data: st.DataObject) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder) / "a")
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(bytes(content))
        try:
            opened = sealed.open_file(path, KEY)
        except InputError:
            return
        assert opened.damage and all(
            one == f"record {number}".encode() for number, one in enumerate(opened.records)
        )


def test_records_cannot_be_taken_from_another_file(tmp_path: Path) -> None:
    first, second = (written(tmp_path / name).read_bytes() for name in ("a", "b"))
    (tmp_path / "a").write_bytes(first[: -len(first) // 4] + second[-len(first) // 4 :])
    assert (
        "changed" in sealed.open_file(tmp_path / "a", KEY).damage
        or sealed.open_file(tmp_path / "a", KEY).damage
    )


@pytest.mark.parametrize("content", [b"x", b"x" * 100, sealed.MAGIC + b"\xff" * 40, sealed.MAGIC + bytes(20)])
def test_another_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(InputError, match="a "):
        sealed.open_file(tmp_path / "a", KEY)
    assert sealed.count(tmp_path / "a") == 0


def test_keys_that_others_can_read_or_guess_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("a" * 64)
    path.chmod(0o644)
    with pytest.raises(InputError, match="can be read by others"):
        sealed.read_key(path)
    path.chmod(0o600)
    assert sealed.read_key(path) == b"a" * 64
    path.write_text("short")
    with pytest.raises(InputError, match="5 characters"):
        sealed.read_key(path)


# The ring


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 40), st.lists(st.integers(1, 30), max_size=25))
def test_a_ring_keeps_the_last_records_and_never_more_than_wanted(most: int, batches: list[int]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "ring"
        ring, sent = Ring(folder, HEADER, KeepRules(most, KEY)), list[bytes]()
        for at, size in enumerate(batches):
            new = [f"{len(sent) + number}".encode() for number in range(size)]
            sent += new
            ring.add(new)
            if at % 7 == 6:
                ring = Ring(folder, HEADER, KeepRules(most, KEY))  # the server was restarted
            found = records_of(folder) if folder.exists() else []
            assert len(found) <= most and found == sent[len(sent) - len(found) :]
            assert len(found) >= min(len(sent), most) - most // 8 - max(batches)


def test_a_ring_never_takes_more_bytes_than_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "_MOST_BYTES", 20_000)
    ring = Ring(tmp_path, HEADER, KeepRules(800, KEY))
    for number in range(300):
        ring.add([bytes(400)])
        if number % 50 == 0:
            ring = Ring(tmp_path, HEADER, KeepRules(800, KEY))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 20_000 + 100 * 450


# The observer


def keeper_of(tmp_path: Path, said: list[str], most: int = 64) -> Keeper:
    served = SimpleNamespace(bundle=SimpleNamespace(manifest=SimpleNamespace(digest="digest")))
    models: Any = {"m": SimpleNamespace(name="m", served=served)}
    return Keeper(models, tmp_path, KeepRules(most, KEY), said.append)


def answered(**more: Any) -> Observation:
    return Observation(at=5.0, model=more.pop("model", "m"), status=more.pop("status", 200), **more)


def test_prompts_inputs_and_labels_are_kept_and_what_failed_or_is_unknown_is_not(tmp_path: Path) -> None:
    keeper = keeper_of(tmp_path, [])
    keeper.observe(answered(ids=[1, 2], id="a"))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    keeper.observe(answered(tensors={"x": Tensor.of("x", x)}, id="b", classes=[1, 2]))
    keeper.feedback(Feedback(id="b", model="m", label=4, correct=False))
    keeper.feedback(Feedback(id="b", model="m", verdict="good"))
    keeper.observe(answered(ids=[9], status=500))
    keeper.observe(answered(ids=[9], model="other"))
    keeper.observe(answered())
    keeper.observe(answered(ids=list(range(10**6))))
    keeper.end()
    found = [msgspec.msgpack.decode(one) for one in records_of(tmp_path)]
    assert found[0] == {"at": 5.0, "id": "a", "ids": [1, 2]}
    assert found[1]["tensors"] == [["x", "float32", [2, 3], x.tobytes()]] and found[1]["classes"] == [1, 2]
    assert found[2] == {"id": "b", "label": 4} and len(found) == 3
    assert keeper.about("m")["left_out"] == {"longer than 1 MiB": 1}


def test_a_full_disk_is_said_once_and_keeping_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    keeper = keeper_of(tmp_path, said)
    keeper.observe(answered(ids=[1]))
    keeper.end()
    with monkeypatch.context() as patch:

        def full(*args: Any) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr(sealed.Writer, "add", full)
        for number in range(3):
            keeper.observe(answered(ids=[2 + number]))
            keeper.end()
    assert len(said) == 1 and "No space left" in said[0] and keeper.about("m")["not_written"]
    keeper.observe(answered(ids=[7]))
    keeper.end()
    assert keeper.about("m")["not_written"] is None and keeper.about("m")["left_out"] == {
        "could not be written": 3
    }
    assert [msgspec.msgpack.decode(one)["ids"] for one in records_of(tmp_path)] == [[1], [7]]


def test_all_kept_samples_are_removed(tmp_path: Path) -> None:
    keeper = keeper_of(tmp_path, [])
    keeper.observe(answered(ids=[1]))
    keeper.end()
    assert kept.remove(tmp_path) == 1 and kept.remove(tmp_path) == 0 and not (tmp_path / kept.FOLDER).exists()


_KEEP = """
import itertools, sys
from pathlib import Path
from edgehone.serve.drift.kept import KeepRules, Ring
ring = Ring(Path(sys.argv[1]), {"model": "m", "manifest": "digest"}, KeepRules(64, b"0" * 64))
for number in itertools.count():
    ring.add([b"%d" % number] * 3)
    print(number, flush=True)
"""


def test_a_kill_at_any_moment_leaves_whole_records_that_the_next_server_goes_on_after(tmp_path: Path) -> None:
    for turn in range(6):
        command = [sys.executable, "-c", _KEEP, str(tmp_path / "ring")]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.05 * turn)
            process.kill()
        found = records_of(tmp_path / "ring")
        assert 0 < len(found) <= 64
        numbers = [int(one) for one in found]
        runs = sum(second < first for first, second in itertools.pairwise(numbers))
        assert runs <= turn
