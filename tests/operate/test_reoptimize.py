"""The parts of a re-optimization: kept requests, their division, the paired comparison, the champion's command."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.core.errors import InputError, JobError
from edgehone.inputs.axes import Axes
from edgehone.operate.reoptimize import parts
from edgehone.operate.reoptimize.child import Children
from edgehone.operate.reoptimize.command import optimize_words
from edgehone.operate.reoptimize.judged import Judged, judge, sign_test
from edgehone.operate.reoptimize.recent import read_recent
from edgehone.serve.drift import kept, sealed
from edgehone.serve.drift.kept import KeepRules, Ring
from edgehone.serve.drift.store import FOLDER

KEY = b"0" * 64


def keep(state: Path, records: Sequence[Any], manifest: str = "digest", key: bytes = KEY) -> Path:
    """Keep requests as a server does."""
    folder = kept.folder_of(state / kept.FOLDER, "m", manifest)
    ring = Ring(folder, {"model": "m", "manifest": manifest}, KeepRules(1000, key))
    ring.add([msgspec.msgpack.encode(one) for one in records])
    return folder


def prompt(*ids: int) -> dict[str, Any]:
    return {"at": 1.0, "id": f"id-{ids[0]}", "ids": list(ids)}


def tensors(label: int | None, number: int) -> list[dict[str, Any]]:
    x = np.full((1, 2), number, np.float32)
    found: list[dict[str, Any]] = [
        {"at": 1.0, "id": str(number), "tensors": [["x", "float32", [1, 2], x.tobytes()]]}
    ]
    return [*found, {"id": str(number), "label": label}] if label is not None else found


# Kept requests


def test_kept_requests_are_read_once_each_with_their_labels(tmp_path: Path) -> None:
    keep(tmp_path, [prompt(1, 2), prompt(3), prompt(1, 2)])
    found = read_recent(tmp_path, "m", "digest", KEY)
    assert found.prompts == [(1, 2), (3,)] and found.count == 2
    keep(tmp_path, [*tensors(7, 1), *tensors(None, 2)], "graph")
    graph = read_recent(tmp_path, "m", "graph", KEY)
    assert graph.labels == [7, None] and graph.tensors[1]["x"].tolist() == [[2, 2]]


def test_only_requests_after_the_change_are_taken_if_an_alarm_says_when_it_was(tmp_path: Path) -> None:
    keep(tmp_path, [prompt(number) for number in range(50)])
    (tmp_path / FOLDER).mkdir()
    state = {"model": "m", "manifest": "digest", "since": 20}
    (tmp_path / FOLDER / "a.state.json").write_text(json.dumps(state))
    found = read_recent(tmp_path, "m", "digest", KEY)
    assert found.prompts == [(number,) for number in range(30, 50)] and "20 of 50" in found.notes[-1]
    (tmp_path / FOLDER / "a.state.json").write_text(json.dumps({**state, "since": None}))
    assert read_recent(tmp_path, "m", "digest", KEY).count == 50


def test_nothing_kept_another_bundle_and_another_key_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no server has kept samples"):
        read_recent(tmp_path, "m", "digest", KEY)
    keep(tmp_path, [prompt(1)])
    with pytest.raises(InputError, match="of 1 other bundles or names, but none of this bundle"):
        read_recent(tmp_path, "m", "other", KEY)
    with pytest.raises(InputError, match="none of this bundle"):
        read_recent(tmp_path, "n", "digest", KEY)
    with pytest.raises(sealed.WrongKey):
        read_recent(tmp_path, "m", "digest", b"1" * 64)


def test_samples_that_were_moved_from_another_bundle_are_refused(tmp_path: Path) -> None:
    keep(tmp_path, [prompt(1)])
    other = keep(tmp_path, [prompt(2)], "other")
    (other / "00000001.sealed").rename(
        kept.folder_of(tmp_path / kept.FOLDER, "m", "digest") / "00000002.sealed"
    )
    with pytest.raises(InputError, match="is about another bundle"):
        read_recent(tmp_path, "m", "digest", KEY)


# Division


def prompts(count: int, seed: int = 1, words: int = 40) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(f"word{one}" for one in random.integers(0, 5000, words)) for _ in range(count)]


def test_texts_are_divided_without_a_passage_in_common_and_each_part_has_enough(tmp_path: Path) -> None:
    system = "You are the assistant of a kitchen, and you answer in one sentence each time."
    asked = [f"{system}\n{one}" for one in prompts(200)]
    found = parts.text_parts(asked, tmp_path)
    texts = {name: found.path(name).read_text() for name in parts.LEAST}
    assert all(len(texts[name]) >= least for name, least in parts.LEAST.items())
    assert sum(system in one for one in texts.values()) == 1 and "199 lines" in found.notes[0]
    words = {name: set(one.split("\n\n")) for name, one in texts.items()}
    assert (
        not words[parts.EVALUATION] & words[parts.HELD_OUT]
        and not words[parts.EVALUATION] & words[parts.CALIBRATION]
    )
    assert sum(found.requests.values()) == 200
    # The beginning, which becomes the bundle's canaries, is not from a prompt.
    assert "word" not in texts[parts.EVALUATION][:1400]
    assert parts.Parts.read(tmp_path) is None
    found.write(tmp_path)
    assert parts.Parts.read(tmp_path) == found


def test_too_few_prompts_are_refused_with_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the 20 different kept prompts give .* are needed"):
        parts.text_parts(prompts(20), tmp_path)


def test_prompts_that_repeat_one_text_are_refused(tmp_path: Path) -> None:
    one = " ".join(f"word{number % 30}" for number in range(70))
    with pytest.raises(InputError, match=r"too much alike|are needed"):
        parts.text_parts([f"{one} {number}" for number in range(300)], tmp_path)


@given(st.lists(st.text(max_size=60), max_size=40))
def test_any_prompts_are_divided_or_refused(asked: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        try:
            parts.text_parts(asked, Path(folder))
        except InputError:
            return


def samples(count: int, size: int = 3) -> list[dict[str, Any]]:
    random = np.random.default_rng(3)
    return [{"x": random.normal(size=(1, size)).astype(np.float32)} for _ in range(count)]


def arrays(found: parts.Parts, name: str) -> dict[str, Any]:
    with np.load(found.path(name)) as file:
        return dict(file)


def test_samples_of_a_graph_are_divided_and_begin_with_the_canaries_of_the_champion(tmp_path: Path) -> None:
    asked = samples(60)
    canary = [{"x": np.full((1, 3), 9, np.float32)}]
    found = parts.array_parts([*asked, asked[0]], [None] * 61, Axes({"x": 0}, {}), tmp_path, canary)
    rows = {name: arrays(found, name)["x"] for name in (parts.EVALUATION, parts.CALIBRATION, parts.HELD_OUT)}
    assert [len(one) for one in rows.values()] == [25, 12, 24]
    assert (rows[parts.EVALUATION][0] == 9).all()
    assert len(np.unique(np.concatenate([*rows.values()]), axis=0)) == 61
    assert "1 of 61 requests are repeated" in found.notes[0]


def test_labels_are_used_if_enough_are_known(tmp_path: Path) -> None:
    asked = samples(60)
    labels: list[int | None] = [number % 4 if number % 3 else None for number in range(60)]
    found = parts.array_parts(asked, labels, Axes({"x": 0}, {}), tmp_path, [])
    held = arrays(found, parts.HELD_OUT)
    assert len(held["labels"]) == len(held["x"]) == 16 and "40 of 60" in found.notes[-1]
    found = parts.array_parts(asked, [1, *[None] * 59], Axes({"x": 0}, {}), tmp_path, [])
    assert "labels" not in arrays(found, parts.HELD_OUT)


def test_samples_of_several_shapes_and_axes(tmp_path: Path) -> None:
    asked = [{"x": np.moveaxis(one["x"], 0, 1)} for one in samples(60)] + samples(5, 7)
    found = parts.array_parts(asked, [None] * 65, Axes({"x": 1}, {}), tmp_path, [])
    assert arrays(found, parts.EVALUATION)["x"].shape == (3, 24)
    with pytest.raises(InputError, match="8 are needed"):
        parts.array_parts(asked[:20], [None] * 20, Axes({"x": 1}, {}), tmp_path, [])


# The comparison


def test_the_sign_test_is_the_binomial_one() -> None:
    assert sign_test(0, 0) == 1 and sign_test(5, 5) == pytest.approx(1 / 32)
    assert sign_test(15, 20) == pytest.approx(0.02069, abs=1e-5) and sign_test(0, 20) == 1


def test_a_challenger_is_better_only_if_the_pairs_prove_it(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    before = random.gamma(2, 0.1, 100)
    better = judge("divergence", before, before - 0.02 + random.normal(0, 0.03, 100), more_is_better=False)
    assert (
        better.better
        and better.gain.value == pytest.approx(0.02, abs=0.01)
        and "is better" in better.sentence
    )
    worse = judge("divergence", before, before + 0.02, more_is_better=False)
    assert not worse.better and worse.gain.value is not None and worse.gain.value < 0
    equal = judge("divergence", before, before, more_is_better=False)
    assert not equal.better and equal.differing == 0 and equal.p == 1
    better.write(tmp_path / "judged.json")
    assert Judged.read(tmp_path / "judged.json") == better and Judged.read(tmp_path / "other") is None


def test_a_few_samples_that_differ_prove_nothing_and_equal_challengers_are_hardly_ever_better() -> None:
    same = [1.0] * 100
    assert not judge("accuracy", [0.0] * 4 + [1.0] * 96, same, more_is_better=True).better
    assert judge("accuracy", [0.0] * 9 + [1.0] * 91, same, more_is_better=True).better
    random = np.random.default_rng(5)
    wrong = sum(
        judge("accuracy", random.random(120) < 0.8, random.random(120) < 0.8, more_is_better=True).better
        for _ in range(600)
    )
    assert wrong <= 600 * 0.05


# The champion's command


def script(folder: Path, command: str) -> Path:
    (folder / "reproduce.sh").write_text(f'#!/bin/sh\nset -eu\nexec {command} "$@"\n')
    return folder


def test_a_challenger_is_made_as_the_champion_but_with_other_texts(tmp_path: Path) -> None:
    command = (
        "edgehone optimize '/models/my model' --workload chat --effort quick --eval /a --calibrate /b "
        "--backends llamacpp --gate speedup=1.5 --gate memory_cut=off --when-busy stop --out /c"
    )
    words = optimize_words(script(tmp_path, command), Path("/e"), Path("/f"), Path("/out"))
    assert words == [
        "optimize", "/models/my model", "--workload", "chat", "--effort", "quick", "--backends", "llamacpp",
        "--gate", "speedup=1.5", "--gate", "memory_cut=off", "--eval", "/e", "--calibrate", "/f",
        "--when-busy", "measure", "--out", "/out",
    ]  # fmt: skip
    assert optimize_words(tmp_path, Path("/e"), Path("/f"), Path("/o"), Path("/m"))[1] == "/m"


@pytest.mark.parametrize("command", ["", "rm -rf /", "edgehone run x"])
def test_a_script_that_does_something_else_is_refused(tmp_path: Path, command: str) -> None:
    with pytest.raises(InputError, match="does not run edgehone optimize"):
        optimize_words(script(tmp_path, command), Path("/e"), Path("/f"), Path("/o"))


# Child processes


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEHONE_HOME", str(tmp_path / "real"))
    (tmp_path / "real").mkdir()
    return tmp_path


def test_a_step_has_the_given_processors_and_a_store_of_its_own(own_home: Path) -> None:
    children = Children(own_home, 60, 1)
    assert children.run("device", ["device", "--json"]) == 0
    assert (own_home / "home" / "envs").resolve() == (own_home / "real" / "envs").resolve()
    assert not (own_home / "home" / "store").is_symlink()
    assert '"threads": 1' in (own_home / "device.log").read_text()


def test_a_step_that_takes_too_long_is_ended_with_all_that_it_started(own_home: Path) -> None:
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(JobError, match="longer than 1 s"):
        Children(own_home, 1.0, None).run("wait", _waiting(own_home))  # for ever
    _, left = psutil.wait_procs(set(psutil.Process().children(recursive=True)) - before, 30)
    assert not left


def _waiting(folder: Path) -> list[str]:
    """Return the words of a command that waits: a reader of a pipe that nobody writes to."""
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    return ["serve", "--config", str(pipe)]


def test_a_step_that_fails_says_why(own_home: Path) -> None:
    assert Children(own_home, 60, None).run("show", ["show", str(own_home / "nothing")]) == 2
    assert "no such bundle" in (own_home / "show.log").read_text()


def test_a_step_ends_with_the_process_that_started_it(own_home: Path) -> None:
    code = (
        "from pathlib import Path; from edgehone.operate.reoptimize.child import Children; "
        f"Children(Path({str(own_home)!r}), 600, None).run('wait', {_waiting(own_home)!r})"
    )
    parent = psutil.Popen([sys.executable, "-c", code])
    begun = time.monotonic()
    while not (found := parent.children(recursive=True)) or not (own_home / "wait.log").exists():
        assert time.monotonic() - begun < 60
        time.sleep(0.05)
    time.sleep(1.0)
    assert psutil.Process(found[0].pid).nice() == 19
    parent.send_signal(signal.SIGKILL)
    parent.wait(30)
    _, left = psutil.wait_procs(found, 30)
    assert not left
