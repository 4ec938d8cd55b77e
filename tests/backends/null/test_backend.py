"""The null backend: its model and its quantization are real."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.backends.null import backend
from edgehone.backends.null.session import NullSession
from edgehone.backends.null.table import BOS, VOCABULARY
from edgehone.backends.sessions import WorkerJob
from edgehone.model.inspect import inspect

MakeJob = Callable[..., WorkerJob]


@pytest.fixture
def job(tmp_path: Path) -> MakeJob:
    def make(name: str, inputs: dict[str, Path] | None = None, **args: Any) -> WorkerJob:
        out = tmp_path / name
        out.mkdir()
        return WorkerJob(args, inputs or {}, out, None, 1, lambda fraction, what: None)

    return make


@pytest.fixture
def converted(job: MakeJob, null_model: Path) -> Path:
    work = job("converted", {"model": null_model})
    assert backend.convert(work)["weight_types"] == {"f32": 1}
    return work.out


def quantized(job: MakeJob, converted: Path, bits: int) -> NullSession:
    work = job(f"q{bits}", {"converted": converted}, bits=bits)
    backend.quantize(work)
    return backend.open_session(work.out, {}, work)


def test_its_model_can_be_inspected(null_model: Path) -> None:
    info = inspect(null_model)
    assert info.model_type == "null" and info.parameters == VOCABULARY**2
    assert backend.supports(info).ok
    keys = [recipe.key for recipe in backend.recipes(info)]
    assert keys == ["null/f32", "null/q8", "null/q4", "null/q2", "null/q8+text"]
    assert [recipe.exact for recipe in backend.recipes(info)] == [True, False, False, False, False]


def test_it_refuses_real_models_with_a_reason(demo_model: Path) -> None:
    support = backend.supports(inspect(demo_model))
    assert not support.ok and "'llama'" in support.reasons[0]


def test_the_config_asks_for_recipes_that_fail(tmp_path: Path) -> None:
    info = inspect(backend.make_model(tmp_path / "faulty", "some text", ["crash", "nan"]))
    assert [recipe.name for recipe in backend.recipes(info)][-2:] == ["crash", "nan"]


def test_convert_is_exact(converted: Path, null_model: Path, job: MakeJob) -> None:
    session = backend.open_session(converted, {}, job("session"))
    raw = (null_model / "model.safetensors").read_bytes()
    table = np.frombuffer(raw[-(VOCABULARY**2) * 4 :], np.float32).reshape(VOCABULARY, -1)
    assert np.array_equal(session.table, table)
    assert np.array_equal(quantized(job, converted, 32).table, table)


def test_fewer_bits_are_fewer_bytes_and_larger_errors(converted: Path, job: MakeJob, tmp_path: Path) -> None:
    table = backend.open_session(converted, {}, job("session")).table
    errors, sizes = [], []
    for bits in (8, 4, 2):
        session = quantized(job, converted, bits)
        errors.append(float(np.abs(session.table - table).max()))
        sizes.append(sum(path.stat().st_size for path in (tmp_path / f"q{bits}").iterdir()))
        step = (table.max(1) - table.min(1)).max() / (2**bits - 1)
        assert errors[-1] <= step / 2 * 1.001  # it really rounds to so many levels
    assert errors == sorted(errors) and errors[0] > 0
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == pytest.approx(VOCABULARY**2, rel=0.1)  # a byte an entry at 8 bits


def test_a_nan_build_scores_nan(converted: Path, job: MakeJob) -> None:
    work = job("nan", {"converted": converted}, bits=8, fault="nan")
    with np.errstate(invalid="ignore"):
        backend.quantize(work)
        rows = next(iter(backend.open_session(work.out, {}, work).score([1, 2])))
    assert np.isnan(rows).any()


def test_scores_are_the_rows_of_its_ids(converted: Path, job: MakeJob) -> None:
    session = backend.open_session(converted, {}, job("session"))
    rows = np.concatenate(list(session.score([116, 104])))
    assert rows.shape == (2, VOCABULARY) and rows.dtype == np.float32
    assert int(rows[0].argmax()) == ord("h")  # after t, in English


def test_generation_is_greedy_counted_and_stoppable(converted: Path, job: MakeJob) -> None:
    session = backend.open_session(converted, {"pace": 2}, job("session"))
    made = session.generate([BOS, ord("t")], 5)
    assert len(made.ids) == len(made.times) == 5
    assert made.ids[0] == ord("h")
    assert made.times == sorted(made.times) and made.times[0] > made.started
    assert session.generate([ord("t")], 5).ids == made.ids
    stopped = session.generate([ord("t")], 5, on_token=lambda token: True)
    assert stopped.ids == made.ids[:1]


@pytest.mark.parametrize("text", ["", "plain", "né 😀\n\0"])
def test_tokens_are_bytes(converted: Path, job: MakeJob, text: str) -> None:
    session = backend.open_session(converted, {}, job("session"))
    ids = session.tokenize(text)
    assert ids[0] == BOS and session.detokenize(ids) == text
    alone, sizes = backend.open_tokenizer(converted, job("tokenizer")).encode(text)
    assert alone == ids[1:] and sum(sizes) == len(text.encode())


def test_the_calibrated_recipe_reads_the_calibration(converted: Path, null_model: Path, job: MakeJob) -> None:
    recipe = next(one for one in backend.recipes(inspect(null_model)) if one.calibrated)
    step = backend.steps(recipe)
    assert step.reads == ("calibration",) and set(step.inputs) == {"converted"}
    assert step.inputs["converted"].reads == ("model",)
    work = job("q8-text", {"converted": converted, "calibration": converted}, bits=8)
    with pytest.raises(FileNotFoundError, match=r"ids\.json"):
        backend.quantize(work)


def test_steps_of_all_recipes_share_the_conversion(null_model: Path) -> None:
    info = inspect(null_model)
    steps = [backend.steps(recipe) for recipe in backend.recipes(info)]
    conversions = {
        json.dumps([s.inputs["converted"].call, dict(s.inputs["converted"].params)]) for s in steps
    }
    assert len(conversions) == 1
    assert (
        backend.steps(backend.original(info))
        == backend.steps(backend.reference(info))
        == steps[0].inputs["converted"]
    )
