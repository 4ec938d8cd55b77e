"""`edgehone report` through the real command line, on whole bundles and on spoiled ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from .conftest import Shell


def test_a_report_is_written_and_named(shell: Shell, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = shell.type("report", "bundle", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Report: {out}\n"
    assert "null/<wbr>q8" in out.read_text("utf-8")


def test_two_bundles_in_one_report_as_json(shell: Shell, tmp_path: Path) -> None:
    other = shutil.copytree(shell.place / "bundle", tmp_path / "other")
    out = tmp_path / "both.html"
    done = shell.type("report", "bundle", str(other), "--out", str(out), "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 0 and told["files"] == [str(out)]
    assert [one["name"] for one in told["bundles"]] == ["bundle", "other"]
    assert told["bundles"][0]["chosen"] == "null/q8" and told["bundles"][0]["problems"] == []


def test_markdown_goes_to_standard_output_and_samples_to_their_files(shell: Shell, tmp_path: Path) -> None:
    done = shell.type("report", "bundle", "--markdown")
    assert done.returncode == 0 and done.stdout.startswith("### edgehone: bundle\n")
    samples = tmp_path / "samples.csv"
    done = shell.type("report", "bundle", "--csv", str(samples))
    assert done.returncode == 0 and f"{samples}: " in done.stderr
    lines = samples.read_text("utf-8").splitlines()
    assert lines[0] == "bundle,candidate,figure,round,index,value,unit"
    figures = {line.split(",")[2] for line in lines[1:]}
    assert {"latency_ms", "kl", "peak_memory", "decode_tokens_per_s"} <= figures


def test_a_spoiled_bundle_is_reported_with_what_is_wrong(shell: Shell, tmp_path: Path) -> None:
    spoiled = Path(shutil.copytree(shell.place / "bundle", tmp_path / "spoiled"))
    text = (spoiled / "decision.json").read_text("utf-8")
    (spoiled / "decision.json").write_text(text[:3000], "utf-8")
    (spoiled / "evidence" / "null__q4" / "tokens.npz").write_bytes(b"PK\x03\x04cut")
    out = tmp_path / "page.html"
    done = shell.type("report", str(spoiled), "--out", str(out), "--csv", str(tmp_path / "some.csv"))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "warning: spoiled: decision.json is cut or broken" in done.stderr
    assert "tokens.npz cannot be read" in done.stderr
    assert "null/<wbr>q8" in out.read_text("utf-8")


def test_what_cannot_be_reported_or_written_is_an_error(shell: Shell, tmp_path: Path) -> None:
    done = shell.type("report", str(tmp_path))
    assert done.returncode == 2 and "is not a bundle" in done.stderr and "next:" in done.stderr
    done = shell.type("report", "bundle", "--out", str(tmp_path / "none" / "page.html"))
    assert done.returncode == 2 and "cannot be written" in done.stderr


def test_show_ends_with_a_plot_that_is_plain_where_it_is_piped(shell: Shell) -> None:
    done = shell.type("show", "bundle")
    assert "* null/q8   o the original" in done.stdout
