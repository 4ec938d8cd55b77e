"""Families of language models: each passes the parity check on each backend, or is refused with a reason.

The models are tiny and random (examples/make_tiny_families.py); conversion, scoring and judging are the real ones.
A backend that is registered and has an environment of its own joins by itself.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from edgehone.backends import registry
from edgehone.optimize.context import RunContext
from edgehone.optimize.original import Original
from tests import parityrun
from tests.parityrun import BACKENDS

FAMILIES = [
    "llama", "mistral", "mistral-windowed", "qwen2", "qwen3", "phi3", "gemma", "gemma2", "gemma3_text",
    "gpt2", "mixtral", "qwen2_moe", "qwen3_moe",
]  # fmt: skip

# The families that differ most: grouped queries; a tokenizer and norms of their own, and windows in some blocks alone;
# stored masks; a mixture of experts; windows in every block. The others are for `make test-all`.
REPRESENTATIVE = {"llama", "gemma3_text", "gpt2", "mixtral", "mistral-windowed"}
# Olive refuses two of them.
MORE = {("olive", "gemma2")}
COMBINATIONS = [
    pytest.param(
        name,
        family,
        marks=[] if family in REPRESENTATIVE or (name, family) in MORE else [pytest.mark.long],
    )
    for family in FAMILIES
    for name in BACKENDS
]

# What a toolchain is known not to do; the words are in its own error. Everything else must pass.
KNOWN: dict[tuple[str, str], str] = {
    ("llamacpp", "mistral-windowed"): "fails the parity check",  # libllama attends to all of the context
    ("mlx", "mistral-windowed"): "fails the parity check",  # so does mlx-lm
    ("olive", "mistral-windowed"): "fails the parity check",  # and so does the model builder's graph
    ("mlx", "gemma2"): "fails the parity check",  # and here too; half of the blocks have a window of 64
    (
        "mlx",
        "qwen3_moe",
    ): "num_experts",  # transformers 5 writes num_local_experts, mlx-lm reads the older name
}


@pytest.fixture(scope="module")
def bench_of(
    tiny_families: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[RunContext, Original]]:
    """A family's bench and its reference: tokenized and scored once for all backends."""

    @cache
    def make(family: str) -> tuple[RunContext, Original]:
        return parityrun.prepare(tiny_families(family), tmp_path_factory.mktemp("digests"))

    return make


@pytest.mark.real
@pytest.mark.parametrize(("name", "family"), COMBINATIONS)
def test_a_family_passes_the_parity_check_or_is_refused_with_a_reason(
    name: str,
    family: str,
    bench_of: Callable[[str], tuple[RunContext, Original]],
) -> None:
    ctx, origin = bench_of(family)
    backend = registry.load(name)
    support = backend.supports(ctx.model)
    if not support.ok:
        assert support.reasons and all(support.reasons)
        return
    trial = parityrun.judge(ctx, origin, name)
    if (name, family) in KNOWN:
        assert not trial.alive and KNOWN[name, family] in str(trial.error)
    else:
        assert trial.alive, f"{trial.error} (log: {trial.log})"


def test_every_family_that_can_be_made_is_listed() -> None:
    source = Path(__file__).parents[2] / "examples" / "make_tiny_families.py"
    assert importlib.util.spec_from_file_location("make_tiny_families", source)
    made = source.read_text("utf-8").partition("FAMILIES: ")[2].partition("\n}")[0]
    assert [family for family in FAMILIES if f'    "{family}": ' not in made] == []
