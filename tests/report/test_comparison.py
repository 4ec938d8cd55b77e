"""The table of a comparison: marks of the best values and of ties."""

from __future__ import annotations

from typing import Any

from edgehone.core.figure import Figure
from edgehone.decision.comparison import Comparison
from edgehone.decision.decision import Candidate
from edgehone.report.comparison import comparison


def candidate(name: str, latency: Figure, size: float = 2e6, **more: Any) -> Candidate:
    figures = {
        "bytes": Figure(size, n=1, unit="bytes"),
        "kl_mean": Figure(0.001, 0.0009, 0.0011, 24, "nats"),
        "workload_latency_ms": latency,
    }
    recipe = {"backend": "a", "name": name, "build": {}, "settings": {}}
    return Candidate(f"a/{name}", "a", recipe, **{"figures": figures, "facts": {"what": "a/q4"}, **more})


def shown(*candidates: Candidate, notes: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """The cells of every line by its first word."""
    found = Comparison(
        model={"architecture": "LlamaForCausalLM", "parameters": 3_700_000},
        device={"cpu": None, "threads": 2},
        workload={"name": "chat", "prompt_tokens": 256, "generated_tokens": 128},
        baseline=candidate("original", Figure(1.0, 0.5, 30.0, 4, "ms")),
        candidates=candidates,
        notes=notes,
        versions={},
        edgehone="0.1.0",
        created="2026-01-01T00:00:00Z",
    )
    lines = comparison(found).splitlines()
    assert max(map(len, lines)) <= 120
    return {line.split()[0]: line.split()[1:] for line in lines if line}


def test_only_the_best_and_values_tied_with_it_are_marked() -> None:
    rows = shown(
        candidate("slow", Figure(20.0, 19.0, 21.0, 4, "ms")),
        candidate("near", Figure(11.0, 9.5, 12.0, 4, "ms"), size=3e6),
        candidate("best", Figure(10.0, 9.0, 11.0, 4, "ms")),
    )
    assert rows["best"][:3] == ["a/q4", "2.0*", "0.001*"] and "±1.0*" in rows["best"]
    assert rows["near"][1] == "3.0" and "±1.2≈" in rows["near"]
    assert rows["slow"][1] == "2.0*" and "±1.0" in rows["slow"]
    assert list(rows).index("best") < list(rows).index("near") < list(rows).index("slow")
    assert not any("*" in cell or "≈" in cell for cell in rows["the"])  # the original does not compete


def test_one_alone_is_not_the_best_and_a_missing_figure_never() -> None:
    assert not any("*" in cell for cell in shown(candidate("only", Figure(10.0, 9.0, 11.0, 4, "ms")))["only"])
    lost = candidate("lost", Figure.missing("not measured", "ms"))
    rows = shown(candidate("best", Figure(10.0, n=1, unit="ms")), lost, notes=("a note",))
    assert "10.0*" in rows["best"] and rows["lost"][-1] == "-"


def test_a_failed_artifact_has_its_reason() -> None:
    broken = candidate(
        "broken", Figure.missing("x"), status="failed", error="no such format", log="/l/log.txt"
    )
    rows = shown(broken, candidate("fine", Figure(10.0, 9.0, 11.0, 4, "ms")))
    assert rows["broken:"] == ["failed:", "no", "such", "format"] and rows["log:"] == ["/l/log.txt"]
