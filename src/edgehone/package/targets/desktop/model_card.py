"""The model card of a Hugging Face repository, with the figures of the decision.

https://huggingface.co/docs/hub/model-cards: YAML metadata (here JSON, which is YAML) before the text.
"""

from __future__ import annotations

import functools
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from edgehone.bundle.read import Bundle
from edgehone.core.figure import Figure
from edgehone.core.sizes import shown

HERE = Path(__file__).parent


@functools.cache
def _table() -> Mapping[str, Any]:
    return tomllib.loads((HERE / "model_card.toml").read_text("utf-8"))


def card_of(bundle: Bundle, name: str, base_model: str | None) -> str:
    """Return README.md of the repository. Figures that were not measured are left out."""
    manifest, decision = bundle.manifest, bundle.decision
    candidate = decision.candidate(decision.bundled or "")
    rows = [
        (one, candidate.figures[key])
        for key, one in _table()["figures"].items()
        if _is_there(candidate.figures, key)
    ]
    metadata = "\n".join(
        f"{key}: {json.dumps(value, ensure_ascii=False)}"
        for key, value in _metadata(bundle, name, base_model, rows).items()
    )
    template = Template((HERE / "model_card.md.template").read_text("utf-8"))
    return template.substitute(
        metadata=metadata,
        name=name,
        original=manifest.model["name"],
        recipe=f"{manifest.recipe['backend']}/{manifest.recipe['name']}",
        bytes=shown(candidate.bytes or 0),
        device=decision.device.get("cpu") or decision.device.get("architecture") or "an unknown processor",
        threads=decision.device.get("threads"),
        texts=", ".join(f"{key} {str(digest)[:12]}…" for key, digest in sorted(manifest.texts.items()))
        or "none",
        rows="\n".join(
            f"| {one['label']} | {_value(figure, one)} | {_interval(figure, one)} | {figure.n} |"
            for one, figure in rows
        ),
        edgehone=manifest.edgehone,
    )


def _is_there(figures: Mapping[str, Figure], key: str) -> bool:
    return key in figures and figures[key].value is not None and not figures[key].predicted


def _metadata(
    bundle: Bundle, name: str, base_model: str | None, rows: list[tuple[Mapping[str, Any], Figure]]
) -> dict[str, Any]:
    backend = bundle.manifest.recipe["backend"]
    library = _table()["libraries"].get(backend)
    licence = bundle.manifest.model.get("licence")
    task = bundle.decision.model.get("task") or "text-generation"
    results = [
        {
            "task": {"type": task},
            "dataset": {
                "type": "evaluation",
                "name": "evaluation data of the run, with the original as the reference",
            },
            "metrics": [
                {
                    "type": one["type"],
                    "name": f"{one['label']}: {_value(figure, one)} {_interval(figure, one)}",
                    "value": round((figure.value or 0.0) * one.get("factor", 1), 6),
                }
                for one, figure in rows
                if "type" in one
            ],
        }
    ]
    found: dict[str, Any] = {
        "license": str(licence).lower() if licence else "unknown",
        "library_name": library,
        "pipeline_tag": task,
        "tags": ["edgehone", "quantized", *([library] if library else [])],
    }
    if base_model:
        found |= {"base_model": base_model, "base_model_relation": "quantized"}
    if results[0]["metrics"]:
        found["model-index"] = [{"name": name, "results": results}]
    return {key: value for key, value in found.items() if value is not None}


def _value(figure: Figure, row: Mapping[str, Any]) -> str:
    return f"{_number((figure.value or 0.0) * row.get('factor', 1))} {row.get('unit', '')}".strip()


def _interval(figure: Figure, row: Mapping[str, Any]) -> str:
    if figure.low is None or figure.high is None:
        return "without an interval"
    low, high = (end * row.get("factor", 1) for end in (figure.low, figure.high))
    return f"±{_number((high - low) / 2)} (95 %: {_number(low)} to {_number(high)})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 10 else f"{value:.4g}"
