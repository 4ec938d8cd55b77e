"""Optimize real models out of public packages, and judge every candidate by the task's own metric on held-out samples.

    python -m benchmarks.real.run [NAME…] [--write]

The judge (judge.py) shares no code with edgehone. The benchmark fails if an accepted candidate loses over 5 % of the
task's metric, if one that was refused for its quality would have kept 99 %, if the choice is larger and slower at once
than a toolchain's own default that keeps the quality, if no bundle was written, or if a run takes over 5 minutes.
--write puts the table into docs/real-models.md.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.execution.home import home

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "real-models.md"
NAMES = ("magika", "silero_vad", "nudenet", "rapidocr", "minilm", "tashkeel", "nakdimon", "gemma3", "smollm2")
# Those that llama.cpp's library judges.
LANGUAGE = ("gemma3", "smollm2")
# What each toolchain builds if it is told nothing: NNCF's post-training quantization, ONNX Runtime's dynamic one,
# llama-quantize's Q4_K_M.
DEFAULTS = ("openvino/int8_performance", "olive/int8_dynamic", "llamacpp/Q4_K_M")
LOST, WOULD_KEEP, MINUTES = 0.95, 0.99, 5.0


@dataclass(frozen=True)
class Line:
    """A candidate: edgehone's figure and verdict, and the share of the task's metric that it keeps, None if unknown."""

    model: str
    key: str
    kept: float | None
    accepted: bool
    refused: bool  # by a gate on quality, or disqualified
    task: float | None
    latency: float | None
    bytes: int | None
    role: str

    def problem(self) -> str | None:
        """Return what is wrong with the verdict, None if nothing is."""
        if self.task is None:
            return None
        if self.accepted and self.task < LOST:
            return f"{self.model} {self.key}: accepted, but keeps {self.task:.1%} of the task's metric"
        if self.refused and self.task >= WOULD_KEEP:
            return f"{self.model} {self.key}: refused, but keeps {self.task:.1%} of the task's metric"
        return None


def environment() -> Path:
    """Return the Python of the benchmark's environment, installing it if it is missing."""
    files = [HERE / "requirements.txt", HERE / "requirements-alone.txt"]
    wanted = b"".join(file.read_bytes() for file in files)
    folder = home() / "benchmarks" / f"real-{hashlib.sha256(wanted).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        words = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*words, "-r", str(files[0])], check=True)
        subprocess.run(
            [*words, "--no-deps", "-r", str(files[1])], check=False
        )  # `samples` says what is missing
        (folder / "ready").touch()
    return python


def samples(python: Path, name: str, folder: Path) -> str | None:
    """Write the model and its samples if they are not there. Return the package that is missing, None if none is."""
    if (folder / "ready").exists():
        return None
    if name == "silero_vad" and not shutil.which("espeak-ng"):
        raise SystemExit(
            "espeak-ng is missing, which speaks the samples. Install it, on Debian: apt-get install espeak-ng"
        )
    shutil.rmtree(folder, ignore_errors=True)
    words = [str(python), str(HERE / "samples.py"), name, str(folder)]
    done = subprocess.run(words, stderr=subprocess.PIPE, text=True, check=False)
    said = done.stderr.strip().rpartition("\n")[2]
    if done.returncode and said.endswith("is not installed"):
        return said
    if done.returncode:
        raise SystemExit(f"the samples of {name} failed: {done.stderr[-2000:]}")
    (folder / "ready").touch()
    return None


def optimized(name: str, folder: Path) -> tuple[dict[str, Any], float, int]:
    """Return the decision of a run at quick effort, its minutes, and its exit code."""
    model = next(
        path for path in (folder / "model", folder / "model.onnx", folder / "model.gguf") if path.exists()
    )
    words = ["optimize", str(model), "--effort", "quick", "--json", "--out", str(folder / "bundle")]
    for samples in ("samples.npz", "samples.jsonl"):
        if (folder / samples).exists():
            words += ["--eval", str(folder / samples)]
    if (folder / "chat.jsonl").exists():
        words += ["--chat", str(folder / "chat.jsonl")]
    if (folder / "edgehone.toml").exists():
        words += ["--config", str(folder / "edgehone.toml")]
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "edgehone.cli.main", *words], capture_output=True, text=True, check=False
    )
    minutes = (time.monotonic() - begun) / 60
    if done.returncode not in (0, 3):
        raise SystemExit(f"{name}: {done.stderr[-2000:]}")
    return json.loads(done.stdout), minutes, done.returncode


def judged(python: Path, name: str, folder: Path, decision: dict[str, Any]) -> dict[str, float | None]:
    """Return the task's metric of the original and of each candidate, by its key."""
    artifacts = {
        one["key"]: _artifact(one) for one in decision["candidates"] if "artifact_key" in one["facts"]
    }
    tools = sorted((home() / "toolchains").glob("llamacpp-*")) if name in LANGUAGE else []
    words = [
        str(python),
        "-m",
        "benchmarks.real.judge",
        name,
        str(folder),
        *artifacts.values(),
    ]
    done = subprocess.run(
        [*words, *(f"--tool={path}" for path in tools[-1:])],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"the judge of {name} failed: {done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return {"original": found["original"], **{key: found[artifact] for key, artifact in artifacts.items()}}


def _artifact(candidate: dict[str, Any]) -> str:
    """Return the judge's argument: the artifact, and the precision that the recipe asks of the runtime."""
    path = home() / "store" / "jobs" / candidate["facts"]["artifact_key"] / "out"
    precision = candidate["recipe"]["settings"].get("inference_precision")
    return f"{path}@{precision}" if precision else str(path)


def lines(name: str, decision: dict[str, Any], metric: dict[str, float | None]) -> list[Line]:
    """Return a line for each candidate that was scored."""
    base = metric["original"]
    bundled = decision["chosen"] or decision["fallback"]
    result = []
    for one in decision["candidates"]:
        value = metric.get(one["key"])
        kept = one["figures"].get("accuracy_kept", {}).get("value")
        failed = {verdict["gate"] for verdict in one["verdicts"] if not verdict["ok"]}
        ok = one["status"] == "ok"
        role = "chosen" if one["key"] == bundled else "default" if one["key"] in DEFAULTS else ""
        result.append(
            Line(
                name,
                one["key"],
                kept,
                ok and "accuracy_kept" not in failed and kept is not None,
                "accuracy_kept" in failed or one["status"] == "disqualified",
                value / base if base and value is not None else None,
                one["figures"]["workload_latency_ms"]["value"],
                one["bytes"],
                role,
            )
        )
    return [line for line in result if line.kept is not None or line.refused]


def against_defaults(rows: list[Line]) -> list[str]:
    """Return where the choice is larger and slower at once than a default that keeps the quality."""
    chosen = next((row for row in rows if row.role == "chosen"), None)
    problems = []
    for row in rows:
        known = chosen and None not in (row.bytes, row.latency, chosen.bytes, chosen.latency)
        if row.key in DEFAULTS and row.accepted and known and row is not chosen:
            assert chosen and chosen.bytes and row.bytes and chosen.latency and row.latency
            if chosen.bytes > row.bytes and chosen.latency > row.latency:
                problems.append(f"{row.model}: {chosen.key} is larger and slower than the default {row.key}")
    return problems


def table(results: list[tuple[str, float, int, list[Line]]]) -> str:
    """Return the results as a Markdown table."""
    head = (
        "| model | candidate | edgehone: kept | verdict | task's metric kept | latency, ms | MB |\n"
        + "| --- " * 7
        + "|\n"
    )
    text = head
    for name, minutes, code, rows in results:
        state = "approved" if code == 0 else "not approved"
        for row in rows:
            verdict = "accepted" if row.accepted else "disqualified" if row.kept is None else "refused"
            key = f"**{row.key}** ({state})" if row.role == "chosen" else row.key
            cells = (
                name, key, _share(row.kept), verdict, _share(row.task),
                "–" if row.latency is None else f"{row.latency:.3g}",
                "–" if row.bytes is None else f"{row.bytes / 1e6:.3g}",
            )  # fmt: skip
            text += "| " + " | ".join(cells) + " |\n"
        text += f"| {name} | *whole run* | | {minutes:.1f} minutes | | | |\n"
    return text


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def main(words: list[str]) -> int:
    """Run the benchmark; return 1 if a verdict was wrong."""
    names = [word for word in words if not word.startswith("--")] or list(NAMES)
    python, results, problems = environment(), [], []
    for name in names:
        folder = home() / "benchmarks" / "real" / name
        if missing := samples(python, name, folder):
            print(f"left out: {name}: {missing}", flush=True)
            continue
        decision, minutes, code = optimized(name, folder)
        rows = lines(name, decision, judged(python, name, folder, decision))
        results.append((name, minutes, code, rows))
        problems += [problem for row in rows if (problem := row.problem())] + against_defaults(rows)
        problems += [f"{name}: no bundle"] if not (decision["chosen"] or decision["fallback"]) else []
        problems += [f"{name}: {minutes:.1f} minutes"] if minutes > MINUTES else []
        print(table(results[-1:]), flush=True)
    for problem in problems:
        print(f"over: {problem}")
    if "--write" in words:
        start, end = "<!-- table -->\n", "<!-- end of the table -->\n"
        page = PAGE.read_text("utf-8")
        before, rest = page.split(start)
        PAGE.write_text(before + start + table(results) + end + rest.split(end)[1], "utf-8")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
