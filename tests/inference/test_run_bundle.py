"""Running a bundle: what is refused, and the text through the real command line."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edgehone
from edgehone.bundle.schema import text_of
from edgehone.bundle.verify import check_runnable
from edgehone.cli import main
from edgehone.core.errors import InputError, JobError
from edgehone.execution.environments import environment
from edgehone.inference.run_bundle import generate
from tests.finished import Finished, list_again
from tests.serve.graphs import null_graph


def test_what_cannot_be_asked_of_a_bundle(finished: Finished) -> None:
    bundle = edgehone.read(finished.bundle)
    with pytest.raises(InputError, match="prompt is empty") as caught:
        generate(bundle, "", 5)
    assert str(finished.bundle) in (caught.value.hint or "")
    for count in (0, -3):
        with pytest.raises(InputError, match=f"--max-tokens is {count}"):
            generate(bundle, "The", count)


def test_a_quiet_answer(finished: Finished, capfd: pytest.CaptureFixture[str]) -> None:
    facts = generate(edgehone.read(finished.bundle), "The sea", 12, quiet=True)
    assert facts["tokens"] == 12 and len(facts["text"]) == 12
    assert facts["ttft_s"] > 0 and facts["decode_tokens_per_s"] > 0
    assert capfd.readouterr().out == ""


def test_another_version_than_the_proven_one_is_told(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = edgehone.read(finished.bundle)
    manifest = replace(bundle.manifest, versions={"null": {"numpy": "0.9", "rich": "1"}})
    old = edgehone.Bundle(bundle.path, manifest, bundle.decision)
    env = environment.Env("null", Path(sys.executable), None, "digest", {"numpy": "2.0", "rich": "1"})
    monkeypatch.setattr(environment, "ensure", lambda name, needs, tell: env)
    told: list[str] = []
    generate(old, "The", 2, quiet=True, on_progress=told.append)
    assert told == [
        "note: installed packages differ from those the bundle was proven with: numpy 2.0 (was 0.9)"
    ]


def test_a_bundle_that_is_not_as_it_was_written_does_not_run(finished: Finished, spoiled: Path) -> None:
    (spoiled / "report.html").write_text("not needed to run")
    assert generate(edgehone.read(spoiled), "The", 2, quiet=True)["tokens"] == 2
    weights = spoiled / "artifact" / "likeliest.bin"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=r"artifact/likeliest\.bin was changed") as caught:
        generate(edgehone.read(spoiled), "The", 2, quiet=True)
    assert "edgehone show" in (caught.value.hint or "")
    weights.unlink()
    with pytest.raises(InputError, match=r"artifact/likeliest\.bin is missing"):
        generate(edgehone.read(spoiled), "The", 2, quiet=True)
    weights.write_bytes(content)
    manifest = json.loads((spoiled / "manifest.json").read_text("utf-8"))
    manifest["recipe"]["settings"]["pace"] = 1
    (spoiled / "manifest.json").write_text(text_of(manifest), "utf-8")
    with pytest.raises(InputError, match=r"manifest\.json was changed"):
        generate(edgehone.read(spoiled), "The", 2, quiet=True)


def test_unchanged_files_are_digested_once(
    spoiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, cache = edgehone.read(spoiled), tmp_path / "digests"
    check_runnable(bundle, cache)
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("read again"))
    check_runnable(bundle, cache)


def test_an_artifact_that_does_not_open_is_the_jobs_error(finished: Finished, spoiled: Path) -> None:
    (spoiled / "artifact" / "likeliest.bin").unlink()
    list_again(spoiled)
    with pytest.raises(JobError, match="No such file"):
        generate(edgehone.read(spoiled), "The", 2, quiet=True)


def command(finished: Finished, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "edgehone.cli.main",
            "run",
            str(finished.bundle),
            "--prompt",
            "The sea",
            *words,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
    )


def test_the_text_streams_as_it_is_generated(finished: Finished) -> None:
    with command(finished, "--max-tokens", "3000") as process:
        assert process.stdout is not None and process.stderr is not None
        first = os.read(process.stdout.fileno(), 1)
        assert first and process.poll() is None  # there are words before the end
        rest = process.stdout.read()
        said = process.stderr.read()
    assert process.returncode == 0, said
    assert len(first.decode() + rest) == 3001  # and a line's end
    assert "3000 tokens" in said and "tokens/s" in said


def test_a_reader_that_leaves_is_no_error(finished: Finished) -> None:
    with command(finished, "--max-tokens", "3000") as process:
        assert process.stdout is not None and process.stderr is not None
        os.read(process.stdout.fileno(), 1)
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 0, said
    assert "rror" not in said


def test_json_holds_the_text(finished: Finished) -> None:
    with command(finished, "--max-tokens", "7", "--json") as process:
        out, said = process.communicate()
    assert process.returncode == 0, said
    assert json.loads(out)["tokens"] == 7


@pytest.mark.parametrize(
    ("value", "code", "said", "hint"),
    [
        (668, 2, "asked to refuse", "the inputs are x float32 [batch, 4]"),
        (667, 1, "asked to fail", "edgehone backends check null"),
        (666, 1, "", "edgehone backends check null"),
    ],
    ids=["refused", "failed", "crashed"],
)
def test_a_run_that_fails_suggests_what_to_do_next(
    value: float,
    code: int,
    said: str,
    hint: str,
    finished: Finished,
    spoiled: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As an id out of the range of an embedding, which the runtime refuses in words of its own."""
    np.savez(spoiled.parent / "x.npz", x=np.full((3, 4), value, np.float32))
    words = ["run", str(null_graph(spoiled)), "--input", str(spoiled.parent / "x.npz")]
    assert main.main([*words, "--output", str(spoiled.parent / "y.npz")]) == code
    told = capsys.readouterr().err
    assert said in told and re.search(f"^next: .*{re.escape(hint)}", told, re.MULTILINE)


def test_a_job_that_does_not_open_suggests_what_to_do_next(finished: Finished, spoiled: Path) -> None:
    (spoiled / "artifact" / "likeliest.bin").unlink()
    list_again(spoiled)
    with pytest.raises(JobError) as caught:
        generate(edgehone.read(spoiled), "The", 2, quiet=True)
    assert caught.value.hint == "edgehone backends check null"
