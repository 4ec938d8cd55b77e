"""Tunable settings of the backends, for a device and a kind of artifact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgehone.backends import registry
from edgehone.backends.base import Recipe
from edgehone.backends.capabilities import tunable_settings
from edgehone.backends.llamacpp import backend as llamacpp
from edgehone.backends.olive import backend as olive
from edgehone.backends.openvino import backend as openvino
from edgehone.backends.shared.tunable_settings import settings_from_table, thread_counts
from edgehone.device.facts import Device

RunWorker = Callable[..., dict[str, Any]]
TWO = Device("x86_64", "Linux", "3.11", threads=2, physical_cores=2)


@pytest.mark.parametrize(
    ("threads", "physical", "counts"),
    [(1, 1, ()), (2, 2, (1,)), (4, 4, (3, 2, 1)), (4, 2, (3, 2, 1)), (16, 8, (15, 8)), (16, None, (15, 8))],
)
def test_thread_counts(threads: int, physical: int | None, counts: tuple[int, ...]) -> None:
    assert thread_counts(replace(TWO, threads=threads, physical_cores=physical)) == counts


def test_settings_depend_on_the_kind_the_context_and_the_device() -> None:
    entries: list[dict[str, Any]] = [
        {"name": "ubatch", "values": [64, 512], "default": 512, "below_context": True, "kinds": ["language"]},
        {"name": "threads", "values": "threads"},
        {"name": "kv", "values": ["q8"], "default": "f16", "exact": False},
    ]
    ubatch, threads, kv = settings_from_table(entries, TWO, "language", 256)
    assert (ubatch.values, ubatch.default) == ((64,), 512)
    assert (threads.values, threads.default) == ((1,), 2)
    assert not kv.exact and threads.exact
    assert [one.name for one in settings_from_table(entries, replace(TWO, threads=1), "graph")] == ["kv"]
    assert [one.name for one in settings_from_table(entries, TWO, "language", 32)] == ["threads", "kv"]


@pytest.mark.parametrize(
    ("backend", "recipe", "some", "none"),
    [
        (llamacpp, Recipe("llamacpp", "Q4_0"), {"threads", "ubatch", "kv_cache", "load"}, {"streams"}),
        (llamacpp, Recipe("llamacpp", "Q8_0", {"source": "encoder"}), {"threads"}, {"kv_cache", "load"}),
        (openvino, Recipe("openvino", "int8"), {"threads", "streams", "hint", "kv_cache"}, {"ubatch"}),
        (openvino, Recipe("openvino", "int8", {"graph": True}), {"threads", "streams"}, {"kv_cache"}),
        (olive, Recipe("olive", "int4"), {"threads", "spinning", "arena"}, {"inter_op_threads"}),
        (olive, Recipe("olive", "int8", {"graph": True}), {"threads", "spinning", "inter_op_threads"}, set()),
    ],
)  # fmt: skip
def test_backends_list_the_settings_of_their_runtimes(
    backend: object, recipe: Recipe, some: set[str], none: set[str]
) -> None:
    found = {one.name: one for one in backend.tunable_settings(recipe, TWO, 384)}  # type: ignore[attr-defined]
    assert some <= set(found) and not none & set(found)
    # Settings that change outputs are marked.
    assert all(not found[name].exact for name in ("kv_cache", "flash_attention") if name in found)


def test_a_backend_without_tunable_settings_has_none() -> None:
    assert tunable_settings(registry.load("pytorch"), Recipe("pytorch", "original"), TWO, 384) == ()


@pytest.mark.real
@pytest.mark.parametrize(
    "build",
    [
        ("llamacpp", "edgehone.backends.llamacpp.build:convert", {}),
        ("openvino", "edgehone.backends.openvino.build:export", {}),
        ("olive", "edgehone.backends.olive.build:onnx", {"precision": "int4"}),
    ],
    ids=lambda build: build[0],
)
def test_every_value_opens_a_session_and_changes_outputs_only_if_not_exact(
    build: tuple[str, str, dict[str, Any]],
    run_worker: RunWorker,
    demo_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    artifact = tmp_path / "artifact"
    name, call, params = build
    run_worker(name, call, params, {"model": demo_model}, artifact)
    backend = registry.load(name)
    options = tunable_settings(backend, Recipe(name, "x"), TWO, 1024)
    asked: list[dict[str, Any]] = [{}]
    exact = [True]
    for option in options:
        asked += [{option.name: value} for value in option.values]
        exact += [option.exact] * len(option.values)
    ids = [1, *range(300, 363)]
    args = {"module": backend.__name__, "settings": asked, "ids": ids}  # type: ignore[attr-defined]
    facts = run_worker(name, "tuningfunctions:probe", args, {"artifact": artifact}, tmp_path / "out")
    assert len(facts["found"]) == len(asked)
    for settings, same, one in zip(asked, exact, facts["found"], strict=True):
        assert len(one["ids"]) == 4
        # Differences in the order of summation, in 16-bit floats at most.
        assert one["far"] < (0.05 if same else 2.0), (settings, one)
