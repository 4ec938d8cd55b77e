"""The release: the mission's pipeline file makes the next version, and rolls it out in production."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from edgehone.core.errors import JobError
from edgehone.model.demo import demo_model
from examples.demo_all.place import NAME, Place
from examples.demo_all.production import CLIENTS, Live

FILE: Final = Path("tests/pipeline/files/edge_ai_pipeline.yaml")
_RULES: Final = Path(__file__).with_name("ramp.toml")
# In the place of what the file says, or leaves out: a fourth framework, and less time for each. No speed is required:
# it cannot be judged beside other programs, and a demo is to run on a machine with some.
_CHANGES: Final = (
    "optimization.frameworks=[llama_cpp, openvino, microsoft_olive, apple_mlx]",
    "optimization.effort=quick",
    "optimization.when_busy=measure",
    "optimization.gates=[speedup=off, latency_cv=off]",
    "testing.soak=15s",
)


async def release(place: Place, live: Live) -> None:
    """Run the pipeline to its end, and look at the server afterwards."""
    place.tell(f"The pipeline file {FILE.name}: six stages, with {CLIENTS} clients from the deployment on.")
    changes = [
        *_CHANGES,
        f"testing.key={place.signing_key}",
        f"deployment.server={live.url}",
        f"deployment.admin_key_file={place.operators}",
        f"deployment.serve_as={NAME}",
        f"deployment.rules={_RULES}",
    ]
    words: list[str | Path] = ["--model", demo_model(), "--registry", place.registry, "--out", place.run]
    words += [word for change in changes for word in ("--set", change)]

    def on_line(line: str) -> None:
        if line.startswith("production_deployment:"):
            live.begin()

    found = await place.edgehone("pipeline", "run", FILE, *words, accepted=(0, 1), on_line=on_line)
    for stage in found["stages"]:
        told = "; ".join(stage["figures"]) or stage["said"]
        place.tell(f"{stage['stage']}: {stage['outcome']} in {stage['seconds']:.0f} s: {told}")
    failed = [one for one in found["stages"] if one["outcome"] != "passed"]
    if failed:
        raise JobError(f"{failed[0]['stage']}: {failed[0]['said']}", hint=f"open {place.run / 'index.html'}")
    await _look(place, live)


async def _look(place: Place, live: Live) -> None:
    """Tell what the server does, and keep it for the page."""
    words: list[str | Path] = ["--admin-key-file", place.operators, "--interval", "5", "--once"]
    view = await place.edgehone("monitor", live.url, *words)
    history = await place.edgehone(
        "rollout", "history", "--to", live.url, "--admin-key-file", place.operators
    )
    (place.folder / "watched.json").write_text(json.dumps({"view": view, "rollouts": history}, indent=1))
    model = view["models"][0]
    rate, p50, p95 = model["requests_per_s"], 1000 * model["p50_s"], 1000 * model["p95_s"]
    alerts = [one["name"] for one in view["alerts"] if not one["pending"]]
    held = f"alerts: {', '.join(alerts)}" if alerts else "no alert"
    place.tell(f"Watched: {rate:.0f} requests/s, p50 {p50:.3g} ms, p95 {p95:.3g} ms, {held}.")
