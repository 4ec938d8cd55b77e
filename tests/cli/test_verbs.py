"""Each verb through the real command line: what it prints, as text and as JSON."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import edgehone
from edgehone.conformance import selfcheck
from edgehone.decision.decision import Decision

from .conftest import OPTIMIZE, Done, Shell


def parsed(done: Done, code: int = 0) -> Any:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


def test_optimize_prints_the_decision_and_tells_its_way_on_standard_error(shell: Shell) -> None:
    decision = Decision.from_json(parsed(shell.made))
    assert decision.chosen == "null/q8"
    assert decision == edgehone.read(shell.place / "bundle").decision
    said = shell.made.stderr.splitlines()
    for state in (
        "null/q8 waiting",
        "null/q8 building",
        "null/q8 scoring",
        "null/q8 measuring",
        "null/q8 done",
    ):
        assert any(state in line for line in said)
    assert not any("\x1b" in line for line in said)


def test_optimize_as_text_ends_with_what_to_type_next(shell: Shell) -> None:
    done = shell.type(*OPTIMIZE, "--out", "again")
    assert done.returncode == 0, done.stderr
    assert "null/q8: " in done.stdout and "* chosen" in done.stdout
    assert done.stdout.endswith('Bundle: again\nNext:   edgehone run again --prompt "Once upon a time"\n')
    assert (shell.place / "again" / "manifest.json").is_file()


def test_without_a_name_the_bundle_is_named_after_the_model(shell: Shell) -> None:
    done = shell.type(*OPTIMIZE)
    assert "Bundle: model-edgehone\n" in done.stdout
    assert edgehone.verify(edgehone.read(shell.place / "model-edgehone")) == []


def test_optimize_where_nothing_passes_exits_3_with_the_table_and_a_way_out(shell: Shell) -> None:
    words = [*OPTIMIZE, "--gate", "speedup=1000", "--out", "none"]
    done = shell.type(*words)
    assert done.returncode == 3
    assert "speedup fails" in done.stdout and "Bundle:" not in done.stdout
    assert "\nBundle, not approved: none (null/" in done.stderr
    assert "\nnext:  to accept null/" in done.stderr and "--gate speedup=1000 --gate speedup=" in done.stderr
    told = parsed(shell.type(*words, "--json"), 3)
    assert told["chosen"] is None and "speedup" in told["reason"] and told["fallback"]
    ran = shell.run("run", "none", "--prompt", "The sea", "--max-tokens", "9")
    assert ran.returncode == 0 and "note: this bundle is not approved" in ran.stderr


def test_the_way_out_is_a_command_that_accepts(shell: Shell) -> None:
    limits = [
        "--subject-to",
        "next_token_accuracy>=0.999",
        "--subject-to",
        "bytes<=60MB",
        "--target",
        "decode>=1",
    ]
    refused = shell.type(*OPTIMIZE, "--gate", "speedup=1000", *limits, "--out", "way-out", "--no-fallback")
    assert refused.returncode == 3
    told = refused.stderr.rpartition("next:  to accept ")[2]
    key, _, command = told.partition(": edgehone ")
    accepted = shell.type(*shlex.split(command), "--json")
    assert parsed(accepted)["chosen"] == key


def test_run_prints_the_text_and_its_pace(shell: Shell) -> None:
    done = shell.run("run", "bundle", "--prompt", "The sea", "--max-tokens", "9")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) == 10 and done.stdout.endswith("\n")
    assert "[9 tokens, first after" in done.stderr
    told = parsed(shell.run("run", "bundle", "--prompt", "The sea", "--max-tokens", "9", "--json"))
    assert told["text"] == done.stdout[:-1] and told["tokens"] == 9 and told["ttft_s"] > 0


def test_show_prints_what_optimize_did_and_that_it_is_untouched(shell: Shell) -> None:
    done = shell.type("show", "bundle")
    assert done.returncode == 0, done.stderr
    assert "null/q8: " in done.stdout and "every file matches the manifest" in done.stdout
    told = parsed(shell.type("show", "bundle", "--json"))
    assert told["problems"] == [] and told["decision"] == json.loads(shell.made.stdout)
    assert told["manifest"]["recipe"]["name"] == "q8"


def test_show_exits_1_for_a_changed_bundle(shell: Shell, tmp_path: Path) -> None:
    spoiled = Path(shutil.copytree(shell.place / "bundle", tmp_path / "bundle"))
    (spoiled / "reproduce.sh").write_text("rm -rf /\n")
    done = shell.type("show", str(spoiled))
    assert done.returncode == 1 and "warning: reproduce.sh was changed" in done.stdout
    assert parsed(shell.type("show", str(spoiled), "--json"), 1)["problems"] == ["reproduce.sh was changed"]


def test_inspect(shell: Shell) -> None:
    done = shell.type("inspect", "model")
    assert done.returncode == 0, done.stderr
    assert "NullForCausalLM (null)" in done.stdout and "66,049 (F32 66,049)" in done.stdout
    told = parsed(shell.type("inspect", "model", "--json"))
    assert told["parameters"] == 66_049 and told["backends"]["null"] == {"ok": True, "reasons": []}
    assert not told["backends"]["llamacpp"]["ok"] and told["backends"]["llamacpp"]["reasons"]


def test_device(shell: Shell) -> None:
    done = shell.type("device")
    assert done.returncode == 0, done.stderr
    told = parsed(shell.type("device", "--json"))
    assert told["threads"] >= 1 and told["fingerprint"] in done.stdout


def test_backends_in_a_home_that_has_none(shell: Shell) -> None:
    done = shell.type("backends")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert {"llamacpp", "null", "openvino", "pytorch"} <= lines.keys()
    assert "missing" in lines["openvino"] and "not installed" in lines["openvino"]
    told = {row["name"]: row for row in parsed(shell.type("backends", "--json"))}
    assert told["null"]["state"] == "own" and told["openvino"]["state"] == "missing"
    assert "tunable" in told["null"]["capabilities"] and "graph" in told["openvino"]["capabilities"]
    assert not (shell.place / "home" / "envs").exists()  # it only looked


def test_backends_check_and_install_of_the_null_backend(shell: Shell) -> None:
    done = shell.type("backends", "check", "null")
    assert done.returncode == 0, done.stderr
    assert "works" in done.stdout and selfcheck.PROMPT in done.stdout
    (row,) = parsed(shell.type("backends", "check", "null", "--json"))
    assert row["state"] == "works" and row["decode_tokens_per_s"] > 0
    (row,) = parsed(shell.type("backends", "install", "null", "--json"))
    assert row["name"] == "null" and row["state"] == "own"
