"""The summary of a decision, also if nearly everything is missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgehone.core.figure import Figure
from edgehone.decision.decision import Candidate, Conversion, Decision
from edgehone.decision.gates import Verdict
from edgehone.report.summary import summary

FIGURES = {
    "bytes": Figure(2_500_000.0, n=1, unit="bytes"),
    "kl_mean": Figure(0.00123, 0.001, 0.0015, 24, "nats"),
    "same_top": Figure(0.978, 0.97, 0.98, 24, "share"),
    "accuracy_kept": Figure(0.993, 0.99, 1.0, 24, "share"),
    "prefill_tokens_per_s": Figure(1234.0, 1200.0, 1260.0, 4, "tokens/s"),
    "decode_tokens_per_s": Figure(100.0, 95.0, 105.0, 4, "tokens/s"),
    "workload_latency_ms": Figure(50.0, 48.0, 52.0, 4, "ms"),
    "peak_memory_bytes": Figure(80_000_000.0, n=1, unit="bytes"),
}


def candidate(key: str, **more: Any) -> Candidate:
    backend, _, name = key.partition("/")
    recipe = {"backend": backend, "name": name, "build": {}, "settings": {}}
    return Candidate(key, backend, recipe, **{"figures": FIGURES, **more})


def verdict(ok: bool) -> Verdict:
    return Verdict("speedup", "speedup", ok, ">=", 2.0, "low", 1.5, 1.4, 1.6, -0.3, "too slow")


def decision(*candidates: Candidate, chosen: str | None = None, **more: Any) -> Decision:
    given: dict[str, Any] = {
        "chosen": chosen,
        "reason": "because" if chosen else "nothing passes: speedup",
        "device": {"cpu": "A CPU", "threads": 2},
        "model": {"architecture": "LlamaForCausalLM", "parameters": 3_700_000},
        "workload": {"name": "chat", "prompt_tokens": 256, "generated_tokens": 128},
        "requirements": {},
        "baseline": candidate("pytorch/original"),
        "candidates": candidates,
        "notes": (),
        "versions": {},
        "edgehone": "0.1.0",
        "created": "2026-01-01T00:00:00Z",
    }
    return Decision(**{**given, **more})


def row(text: str, key: str) -> str:
    return next(line for line in text.splitlines() if key in line)


def test_the_choice_its_reason_and_its_figures_are_there() -> None:
    text = summary(
        decision(candidate("a/q4", on_frontier=True), candidate("a/q8", on_frontier=True), chosen="a/q8")
    )
    assert "LlamaForCausalLM, 3.7 M parameters, on A CPU (2 threads), workload chat" in text
    assert "\nbecause\n" in text
    assert row(text, "a/q8").startswith("*") and row(text, "a/q4").startswith("+")
    for shown in ("2.5", "0.0012", "97.8 %", "99.3 %", "1234", "100 ±5", "50.0 ±2.0", "80"):
        assert f" {shown}" in row(text, "a/q8")
    assert "±2.0" in text and "Failed, disqualified or skipped" not in text and "Notes" not in text


def test_missing_figures_are_dashes_never_numbers() -> None:
    bare = candidate("a/q4", figures={"workload_latency_ms": Figure.missing("not measured", "ms")})
    text = summary(decision(bare, baseline=candidate("pytorch/original", figures={})))
    assert row(text, "a/q4").split() == ["a/q4", *"--------"]
    assert "None" not in text and "nan" not in text


def test_a_figure_without_an_interval_has_no_spread() -> None:
    figures = {**FIGURES, "decode_tokens_per_s": Figure(100.0, n=1, unit="tokens/s")}
    assert "100 ±" not in row(summary(decision(candidate("a/q4", figures=figures))), "a/q4")


def test_failed_gates_are_named() -> None:
    text = summary(
        decision(candidate("a/q4", verdicts=(verdict(False),)), candidate("a/q8", verdicts=(verdict(True),)))
    )
    assert row(text, "a/q4").endswith("speedup fails")
    assert "fails" not in row(text, "a/q8")


def test_no_choice_marks_none() -> None:
    text = summary(decision(candidate("a/q4", verdicts=(verdict(False),))))
    assert "nothing passes: speedup" in text
    assert not any(line.startswith("* ") and "a/" in line for line in text.splitlines())


def test_failed_disqualified_and_skipped_candidates_have_their_reason() -> None:
    text = summary(
        decision(
            candidate("a/q4", status="failed", error="crashed with SIGABRT", log="/logs/log.txt", figures={}),
            candidate("b/int4", status="disqualified", error="b fails the parity check", figures={}),
            candidate("c/q4", status="skipped", error="c has no environment", figures={}),
            candidate("a/q8"),
            chosen="a/q8",
            notes=("the context was shortened",),
        )
    )
    assert "  a/q4: failed: crashed with SIGABRT\n    log: /logs/log.txt" in text
    assert "  b/int4: disqualified: b fails the parity check" in text
    assert "  c/q4: skipped: c has no environment" in text
    assert text.index("a/q8") < text.index("Failed, disqualified or skipped")
    assert text.endswith("Notes:\n  the context was shortened")


def conversion(key: str, **more: Any) -> Conversion:
    given: dict[str, Any] = {
        "backend": key.partition("/")[0],
        "key": key,
        "token_ids_equal": True,
        "max_error": Figure(0.0021, n=24, unit="nats"),
        "mean_error": Figure(0.00016, 0.0001, 0.0002, 24, "nats"),
        "kl_mean": Figure(2.4e-7, 2e-7, 3e-7, 24, "nats"),
        "same_top": Figure(0.999, 0.99, 1.0, 24, "share"),
        "passed": True,
        "reason": "token ids equal",
        "compared": 512,
        "vocabulary": 512,
    }
    return Conversion(**{**given, **more})


def test_parity_checks_are_one_table_and_failed_ones_have_their_reason() -> None:
    why = "its tokenizer returns id 9 at position 3 of the sample, the original's returns 4"
    lost = {n: Figure.missing("crashed") for n in ("max_error", "mean_error", "kl_mean", "same_top")}
    text = summary(
        decision(
            candidate("b/int4", status="disqualified", error=f"b fails the parity check: {why}", figures={}),
            candidate("b/int8", status="disqualified", error=f"b fails the parity check: {why}", figures={}),
            candidate("a/q8"),
            chosen="a/q8",
            conversions=(
                conversion("a/F16"),
                conversion("b/fp16", token_ids_equal=False, passed=False, reason=why),
                conversion(
                    "d/f16",
                    token_ids_equal=False,
                    token_mismatch=Figure(0.0002, n=9000, unit="share"),
                    notes=("its own tokenizer reads '<s>' differently",),
                ),
                conversion("c/f32", token_ids_equal=None, passed=False, reason="crashed", **lost),
            ),
        )
    )
    assert row(text, "a/F16").split() == [
        "a/F16",
        "equal",
        "0.0021",
        "0.00016",
        "2.4e-07",
        "99.9",
        "%",
        "passed",
    ]
    assert row(text, "b/fp16").split()[1] == "differ" and row(text, "b/fp16").endswith("failed")
    assert row(text, "d/f16").split()[1:4] == ["0.020", "%", "differ"] and row(text, "d/f16").endswith(
        "passed"
    )
    assert "d/f16: its own tokenizer reads '<s>' differently" in text
    assert row(text, "c/f32").split() == ["c/f32", *"-----", "failed"]
    assert "over all 512 ids at each token" in text
    assert why in " ".join(text.split()) and text.count("position 3") == 1
    assert "  b/int4, b/int8: disqualified: b failed the parity check (above)" in text
    assert all(len(line) <= 100 for line in text.splitlines() if "candidate" not in line and "/" in line)


def test_a_reference_of_the_most_likely_says_so() -> None:
    text = summary(decision(conversions=(conversion("a/F16", compared=400, vocabulary=150_000),)))
    assert "over the 400 most likely of 150,000 ids" in text


def test_a_failed_baseline_is_reported() -> None:
    text = summary(
        decision(baseline=candidate("pytorch/original", status="failed", error="no memory", figures={}))
    )
    assert "pytorch/original: failed: no memory" in text


def test_the_fastest_come_first_and_the_unmeasured_last() -> None:
    def at(key: str, latency: float | None) -> Candidate:
        figure = Figure(latency, n=4, unit="ms") if latency else Figure.missing("lost", "ms")
        return candidate(key, figures={**FIGURES, "workload_latency_ms": figure})

    text = summary(decision(at("a/lost", None), at("a/slow", 90), at("a/fast", 9)))
    assert text.index("pytorch/original") < text.index("a/fast") < text.index("a/slow") < text.index("a/lost")


def test_a_table_of_usual_keys_fits_its_columns() -> None:
    keys = [f"openvino/int4-g{2**size}-awq" for size in range(4, 10)]
    text = summary(replace(decision(*map(candidate, keys), chosen=keys[0]), reason="short"))
    assert max(map(len, text.splitlines())) <= 120


def test_an_unknown_processor_is_this_machine() -> None:
    assert "on this machine (4 threads)" in summary(decision(device={"cpu": None, "threads": 4}))
