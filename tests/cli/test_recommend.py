"""The command that `edgehone recommend` names next: it runs as it stands, or says what is to be put in."""

from __future__ import annotations

import json
import re
import shlex
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from edgehone.cli.main import _parser, main
from edgehone.model.demo import demo_graph
from edgehone.model.inspect import inspect
from edgehone.optimize.evaluate.evaluators import evaluator_for
from edgehone.optimize.options import OptimizeOptions

GRAPH = demo_graph()
pytestmark = pytest.mark.usefixtures("own_home")  # whose rates are known
SAMPLES = str(GRAPH.parent / "evaluation.npz")


def named(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the next command that `edgehone recommend` names; the one in JSON must be the same."""
    assert main(["recommend", *words]) == 0, capsys.readouterr().err
    command = capsys.readouterr().out.rstrip().rpartition("Next:  ")[2]
    assert main(["recommend", *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["next"] == command
    return command


def accepted(command: str) -> list[str]:
    """Parse a command as the shell and `edgehone optimize` do, check its data, and return its words."""
    program, verb, *words = shlex.split(command)
    assert (program, verb) == ("edgehone", "optimize")
    args = _parser([verb]).parse_args([verb, *words])
    model = inspect(args.model)
    evaluator_for(model).inputs(OptimizeOptions(model.path, evaluation=args.eval), model)
    return words


def test_a_language_model_needs_no_data(capsys: pytest.CaptureFixture[str], demo_model: Path) -> None:
    assert accepted(named(capsys, str(demo_model))) == [str(demo_model)]


def test_options_that_both_have_are_kept(capsys: pytest.CaptureFixture[str], demo_model: Path) -> None:
    words = [
        "--device",
        "raspberry-pi-5",
        "--workload",
        "chat",
        "--effort",
        "quick",
        "--backends",
        "llamacpp",
    ]
    words += ["--memory", "12GB", "--disk", "20GB"]
    assert accepted(named(capsys, str(demo_model), *words)) == [str(demo_model), *words]
    assert accepted(named(capsys, str(GRAPH), "--eval", SAMPLES)) == [str(GRAPH), "--eval", SAMPLES]


def options_of(verb: str) -> set[str]:
    """Return the options of a verb, as its help text has them."""
    with pytest.raises(SystemExit), redirect_stdout(StringIO()) as out:
        main([verb, "--help"])
    return set(re.findall(r"(?<!\S)--[a-z-]+", out.getvalue().partition("examples:")[0]))


def test_every_option_of_recommend_is_one_of_optimize() -> None:
    assert options_of("recommend") <= options_of("optimize")


def test_a_path_with_spaces_is_quoted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a model of $HOME.onnx").write_bytes(GRAPH.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert accepted(named(capsys, "a model of $HOME.onnx", "--eval", SAMPLES))[0] == "a model of $HOME.onnx"


def test_a_graph_says_which_data_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        named(capsys, str(GRAPH))
        == f"edgehone optimize {GRAPH} --eval SAMPLES (FILE.npz, or a folder of images)"
    )


def test_data_that_optimize_would_refuse_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recommend", str(GRAPH), "--eval", "lost.npz"]) == 2
    assert "lost.npz" in capsys.readouterr().err
