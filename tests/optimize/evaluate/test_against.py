"""The loss of a quantized file and of its candidates against the float original, beside the loss against the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgehone.backends import registry
from edgehone.backends.base import Recipe, ReferenceBackend
from edgehone.core.errors import InputError
from edgehone.core.events import silent
from edgehone.core.figure import Figure
from edgehone.decision import requirements
from edgehone.evaluation import quality, tokens
from edgehone.execution.environments import environment
from edgehone.execution.executor import LocalExecutor
from edgehone.execution.job import Input, Limits
from edgehone.inputs import workload
from edgehone.inputs.texts import shipped
from edgehone.model import digest
from edgehone.model.info import ModelInfo
from edgehone.model.inspect import inspect
from edgehone.optimize.context import EffortSettings, FloatOriginal, ReadyExecutor, RunContext
from edgehone.optimize.evaluate import against, language, parity
from edgehone.optimize.trial import Trial
from tests.models import LLAMA

FILE = replace(
    LLAMA,
    path=Path("q4.gguf"),
    format="gguf",
    quantized="Q4_K",
    layers=2,
    hidden_size=256,
    heads=4,
    vocabulary=2048,
)


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Callable[[ModelInfo], None]:
    return lambda model: monkeypatch.setattr(against, "inspect", lambda path: model)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"quantized": "Q8_0"}, "is quantized (Q8_0), not a float language model"),
        ({"task": "graph"}, "is a graph, not a float language model"),
        ({"layers": 3}, "layers is 3, not 2"),
        ({"hidden_size": 128}, "hidden size is 128, not 256"),
        ({"vocabulary": 32000}, "it has 32000 tokens, not 2048"),
    ],
)
def test_another_model_is_refused(
    other: Callable[[ModelInfo], None], change: dict[str, Any], said: str
) -> None:
    other(replace(FILE, format="huggingface", **{"quantized": None, **change}))
    with pytest.raises(InputError) as caught:
        against.checked("float", FILE)
    assert said in caught.value.message and caught.value.hint


def test_a_padded_vocabulary_is_accepted(other: Callable[[ModelInfo], None]) -> None:
    found = replace(FILE, format="huggingface", quantized=None, vocabulary=2112, layers=None)
    other(found)
    assert against.checked("float", FILE) is found


@pytest.mark.parametrize("model", [LLAMA, replace(FILE, quantized=None)])
def test_a_float_model_needs_no_float_original(model: ModelInfo) -> None:
    with pytest.raises(InputError, match="its own float original"):
        against.checked("float", model)


def test_gates_on_what_quantization_gains_are_off_for_a_quantized_file() -> None:
    names = {gate.name for gate in requirements.load(kind="language", quantized=True).gates}
    assert names == {"accuracy_kept", "latency_cv"}
    assert "speedup" in {gate.name for gate in requirements.load(None, ["speedup=1.2"], quantized=True).gates}
    assert {"speedup", "memory_cut"} <= {gate.name for gate in requirements.load(kind="language").gates}


def context(file: Path, original: Path, work: Path) -> RunContext:
    names = ("gguf", "llamacpp", "pytorch")
    ready = {name: environment.ensure(name, registry.load(name).NEEDS, lambda _: None) for name in names}
    site = ReadyExecutor(LocalExecutor(), ready, Limits(seconds=300))
    info, float_info = inspect(file), inspect(original)
    return RunContext(
        model=info,
        source=Input(info.path, digest.digest_model(info, work), info.files),
        build_executor=site,
        target_executor=site,
        workload=workload.fit(workload.load(), info.context)[0],
        effort=EffortSettings(windows=4, window=128, rounds=3, seconds=0.1, budget=1.0, samples=4),
        backends=registry.load_all(),
        reference_backend=cast(ReferenceBackend, registry.load("gguf")),
        emit=silent,
        datasets={
            kind: Input(shipped(kind), digest.digest_file(shipped(kind)))
            for kind in ("evaluation", "calibration")
        },
        against=FloatOriginal(
            float_info,
            Input(float_info.path, digest.digest_model(float_info, work), float_info.files),
            cast(ReferenceBackend, registry.load("pytorch")),
        ),
    )


def test_conversations_are_those_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --chat the float original and the candidates answer for the same tokens as the file does."""
    seen = []
    (tmp_path / "parity.json").write_text("[]")
    (tmp_path / "token_ids.json").write_text("[]")
    done = SimpleNamespace(
        out=tmp_path,
        identity="done",
        facts={"bos": [], "windows": 1, "window": 8, "start": 0, "vocabulary": 9, "portable": True},
    )

    def run(backend: str, function: str, args: Any, inputs: dict[str, Input], **_: Any) -> Any:
        seen.append((function, set(inputs)))
        return done

    ctx: Any = SimpleNamespace(
        run=run, emit=silent, announce=lambda *_: None, with_original=lambda _: ctx, model=FILE
    )
    monkeypatch.setattr(against, "build", lambda *_: done)
    monkeypatch.setattr(tokens, "compare", lambda *_, **__: SimpleNamespace(fault=None))
    monkeypatch.setattr(quality, "figures", lambda *_: {name: Figure(0.0) for name in against.FIGURES})
    recipe = Recipe("llamacpp", "as-is", {}, effort="quick", exact=True, why="")
    original: Any = SimpleNamespace(
        reference=done, prepared=done, facts={"windows": {"conversations": Input(tmp_path, "chat")}}
    )
    float_original: Any = SimpleNamespace(model=FILE, backend=SimpleNamespace(reference=lambda _: recipe))
    required = requirements.load()
    found = against._reference(ctx, float_original, original, required)
    trial: Any = SimpleNamespace(artifact=done, recipe=recipe, figures={})
    against._score(ctx, original, found, trial)
    assert [name for name, _ in seen] == ["edgehone.worker.score:reference", "edgehone.worker.score:score"]
    assert all("conversations" in inputs for _, inputs in seen) and trial.figures


@pytest.mark.real
def test_the_loss_is_told_against_the_file_and_against_the_float_original(
    run_worker: Callable[..., Any], demo_model: Path, tmp_path: Path
) -> None:
    build = "edgehone.backends.llamacpp.build"
    run_worker("llamacpp", f"{build}:convert", {}, {"model": demo_model}, tmp_path / "made")
    run_worker(
        "llamacpp",
        f"{build}:quantize",
        {"type": "Q4_K_M"},
        {"converted": tmp_path / "made"},
        tmp_path / "four",
    )
    ctx = context(tmp_path / "four" / "model.gguf", demo_model, tmp_path / "digests")
    ctx, prepared = language.prepare(ctx)
    original = language.reference(ctx, prepared)
    wanted = ("as-is", "all-3bit")
    trials = [Trial(one) for one in ctx.backends["llamacpp"].recipes(ctx.model) if one.name in wanted]
    required = requirements.load()
    parity.check(ctx, original, trials, required)
    [note] = against.score(ctx, original, trials, required)
    as_is, lowered = trials
    assert as_is.alive and lowered.alive and lowered.bytes and original.baseline.bytes
    assert lowered.bytes < 0.9 * original.baseline.bytes
    value = {
        (trial.recipe.name, name): cast(float, trial.figures[name].value)
        for trial in (original.baseline, *trials)
        for name in ("kl_mean", "against_kl_mean")
    }
    assert value["as-is", "kl_mean"] == value["original", "kl_mean"] == 0
    assert 0.001 < value["as-is", "against_kl_mean"] < 0.1
    assert value["as-is", "against_kl_mean"] == pytest.approx(value["original", "against_kl_mean"], rel=1e-3)
    assert (
        value["all-3bit", "kl_mean"] > 0
        and value["all-3bit", "against_kl_mean"] > value["as-is", "against_kl_mean"]
    )
    assert f"KL {value['original', 'against_kl_mean']:.2g}" in note
