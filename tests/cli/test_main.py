"""The command line as people meet it: help, wrong words, errors, exit codes, pipes."""

from __future__ import annotations

import importlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from edgehone.cli import main, verbs

from .conftest import Done, Shell

VERBS = [
    "agent",
    "optimize",
    "package",
    "pipeline",
    "prove",
    "run",
    "serve",
    "chat",
    "monitor",
    "reoptimize",
    "show",
    "verify",
    "certify",
    "registry",
    "report",
    "explain",
    "choose",
    "history",
    "profile",
    "diagnose",
    "operate",
    "rollout",
    "compare",
    "recommend",
    "inspect",
    "device",
    "worker",
    "backends",
]
# Words that cannot be, and what is said of them.
WRONG = [
    ("frobnicate", "invalid choice: 'frobnicate'"),
    ("run bundle", "one of the arguments --prompt --audio --input is required"),
    ("run bundle --audio a.wav", "does not recognize speech"),
    ("run bundle --prompt", "expected one argument"),
    ("run bundle --prompt hi --max-tokens many", "invalid int value: 'many'"),
    ("run bundle --prompt hi --max-tokens 0", "--max-tokens is 0"),
    ("run lost --prompt hi", "no such bundle: lost"),
    ("run bundle --prompt hi --temperature -1", "--temperature is -1.0"),
    ("run bundle --prompt hi --top-p 1.5", "--top-p is 1.5"),
    ("chat lost", "no such bundle: lost"),
    ("chat bundle", "has no chat template"),
    ("show lost", "no such bundle: lost"),
    ("show model", "is not a bundle"),
    ("compare", "required: BUNDLE"),
    ("compare lost", "no such bundle or artifact: lost"),
    ("compare model", "model is not a bundle"),
    ("compare bundle --settings pace", "is not KEY=VALUE"),
    ("backends conform nul", "did you mean 'null'"),
    ("inspect lost", "no such model folder: lost"),
    ("inspect tiny.toml", "not a model folder"),
    ("backends list openvina", "did you mean 'openvino'"),
    ("backends remove", "invalid choice: 'remove'"),
    ("device --colour", "unrecognized arguments: --colour"),
    ("optimize", "required: MODEL"),
    ("optimize lost", "no such model folder: lost"),
    ("optimize model --effort huge", "invalid choice: 'huge'"),
    ("optimize model --workload chatt", "unknown workload 'chatt'"),
    ("optimize model --gate speedup", "speedup"),
    ("optimize model --backends nul", "did you mean 'null'"),
    ("optimize model --eval lost.txt", "lost.txt"),
    ("optimize model --config lost.toml", "no such file: lost.toml"),
    ("optimize model --out model", "other files in it"),
    ("optimize model --minimize latencey", "'latencey': unknown objective"),
    ("optimize model --minimize accuracy", "--minimize accuracy"),
    ("optimize model --subject-to bytes<=1MB --subject-to bytes>=2MB", "contradict each other"),
    ("optimize model --subject-to accuracy>=0.9kg", "'kg' is not a unit"),
    ("optimize model --subject-to byts<=3MB", "unknown figure 'byts'"),
    ("optimize model --weights speed=fast", "is not OBJECTIVE=WEIGHT"),
    ("optimize model --weights speed=1,speed=2", "given twice"),
    ("optimize model --weights velocity=1", "unknown objective 'velocity'"),
    ("optimize model --time soon", "is not a duration"),
    ("choose lost --weights speed=fast", "is not OBJECTIVE=WEIGHT"),
    ("optimize lost --download", "neither a folder nor a hub name"),
]


def fine(done: Done) -> str:
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_the_verbs_are_these() -> None:
    builtin = [name for name, verb in verbs.registered().items() if verb.module.startswith("edgehone.cli.")]
    assert builtin == sorted(VERBS)


def test_help_lists_every_verb(shell: Shell) -> None:
    told = fine(shell.type("--help"))
    for verb in VERBS:
        module = importlib.import_module(f"edgehone.cli.{verb}")
        summary = (module.__doc__ or "").partition("\n")[0].removesuffix(".")
        assert summary and verbs.summary(verb) == summary
        assert verb in told and " ".join(summary.split()) in " ".join(told.split())


@pytest.mark.parametrize("verb", VERBS)
def test_every_verbs_help_shows_what_it_is_its_example_and_json(shell: Shell, verb: str) -> None:
    module = importlib.import_module(f"edgehone.cli.{verb}")
    told = fine(shell.type(verb, "--help"))
    assert (module.__doc__ or "").strip() in told
    assert module.EXAMPLE.strip() in told and f"edgehone {verb}" in module.EXAMPLE
    assert "--json" in told


@pytest.mark.parametrize("verb", VERBS)
def test_every_example_has_words_that_are_understood(verb: str) -> None:
    module = importlib.import_module(f"edgehone.cli.{verb}")
    for line in module.EXAMPLE.splitlines():
        if line.strip().startswith("edgehone "):
            words = shlex.split(line, comments=True)[1:]
            assert main._parser(words).parse_args(words).verb == verb


def test_no_verb_is_help_and_exit_2(shell: Shell) -> None:
    done = shell.type()
    assert done.returncode == 2 and "optimize" in done.stdout


def test_the_version(shell: Shell) -> None:
    assert fine(shell.type("--version")) == f"edgehone {version('edgehone')}\n"


@pytest.mark.parametrize(("words", "what"), WRONG, ids=[words for words, _ in WRONG])
def test_wrong_input_says_what_and_what_to_type_next(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, what: str
) -> None:
    monkeypatch.chdir(shell.place)
    monkeypatch.setenv("EDGEHONE_HOME", str(shell.place / "home"))
    assert main.main(words.split()) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ") and what in told.err
    assert "\nnext:  " in told.err
    assert "Traceback" not in told.err and "usage:" not in told.err


@pytest.mark.parametrize(("words", "what"), WRONG, ids=[words for words, _ in WRONG])
def test_wrong_input_in_json(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, what: str
) -> None:
    monkeypatch.chdir(shell.place)
    monkeypatch.setenv("EDGEHONE_HOME", str(shell.place / "home"))
    assert main.main([*words.split(), "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert what in told["error"] and told["hint"] and told["exit_code"] == 2


def test_an_empty_prompt_is_refused(shell: Shell) -> None:
    done = shell.type("run", "bundle", "--prompt", "")
    assert done.returncode == 2 and done.stderr.startswith("error: the prompt is empty\nnext:  edgehone run")


def test_a_home_that_cannot_be_is_told(shell: Shell) -> None:
    done = subprocess.run(
        shell.command("optimize", "model", "--backends", "null", "--config", "tiny.toml", "--out", "other"),
        cwd=shell.place,
        env={**shell.environment, "EDGEHONE_HOME": str(shell.place / "tiny.toml" / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "error: the cache folder" in done.stderr and "next:  choose a folder" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "words",
    ["--help", "run --help", "--version", "device", "show bundle", "inspect model", "inspect lost --json"],
)
def test_a_reader_that_has_left_is_no_error(shell: Shell, words: str, unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            shell.command(*words.split()),
            cwd=shell.place,
            env={**shell.environment, "PYTHONUNBUFFERED": unbuffered},
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_head_gets_its_line(shell: Shell, tmp_path: Path) -> None:
    words = " ".join(shell.command("show", "bundle", "--json"))
    script = f"set -o pipefail; {words} | head -n 1"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=shell.place,
        env=shell.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "{\n", "")


TWO_INTERRUPTS = """
import sys, threading, time
from edgehone.cli import main

def run(words):
    # A thread that cannot be interrupted: the interpreter waits for it at its end.
    threading.Thread(target=time.sleep, args=(600,)).start()
    try:
        print("ready", flush=True)
        time.sleep(600)
    except KeyboardInterrupt:
        print("first", flush=True)
        return 130

main._run = run
sys.exit(main.main([]))
"""


@pytest.mark.parametrize("pause", [0.0, 0.5], ids=["at once", "while threads are waited for"])
def test_the_second_ctrl_c_ends_the_process_at_once(pause: float) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # not ignored, as in the background
    process = subprocess.Popen(
        [sys.executable, "-c", TWO_INTERRUPTS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    signal.signal(signal.SIGINT, before)
    with process:
        assert process.stdout is not None
        for word in ("ready", "first"):
            assert process.stdout.readline() == f"{word}\n"
            time.sleep(pause)
            process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)  # less than the thread takes
        assert process.returncode == 130
    assert "Traceback" not in said and "run the same command again to continue" in said
