"""`edgehone monitor --out`: where baselines come from, and what wrong input is answered with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgehone.attestation.certificate import CERTIFICATE
from edgehone.cli import main
from edgehone.monitor.baseline import read_baselines
from tests.monitor.certified import FIGURES, certify, monitoring
from tests.monitor.programs import exposed

Run = Callable[..., tuple[int, str, str]]
METRICS = 'edgehone_ready{model="bundle"} 1\nedgehone_ready{model="other"} 1\n'


@pytest.fixture
def certified(spoiled: Path) -> Path:
    """A bundle with baselines in its certificate."""
    return certify(spoiled)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run the verb with --out; gives the exit code and what it printed."""

    def go(*words: str | Path) -> tuple[int, str, str]:
        code = main.main(["monitor", *map(str, words), "--out", str(tmp_path / "out")])
        said = capsys.readouterr()
        return code, said.out, said.err

    return go


def test_a_bundle_gives_rules_and_names_what_is_left_out(run: Run, certified: Path, tmp_path: Path) -> None:
    content = monitoring({name: value for name, value in FIGURES.items() if name != "accuracy"})
    code, out, _ = run(certify(certified, content), "--json")
    assert code == 0
    told = json.loads(out)
    assert told["left_out"] == [
        {"alert": "accuracy", "model": "bundle", "reason": "answers of language models have no classes"}
    ]
    assert {"README.md", "prometheus/rules.yml", "grafana/dashboard.json"} <= set(told["files"])
    assert all((tmp_path / "out" / name).is_file() for name in told["files"])
    code, out, _ = run(certified)
    assert code == 0 and "left out: accuracy of bundle: answers of language models" in out


def test_a_certificates_file_is_enough(run: Run, certified: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copy(certified / CERTIFICATE, tmp_path / "certificate.json"))
    code, out, _ = run(alone)
    assert code == 0 and "prometheus/rules.yml" in out
    assert read_baselines(alone, "chat").model == "chat"
    assert read_baselines(certified).figures == FIGURES


def refused(told: tuple[int, str, str], *words: str) -> None:
    code, out, err = told
    assert (code, out) == (2, ""), err
    for word in words:
        assert word in err, err


def test_a_bundle_without_a_certificate_is_told_how_to_get_one(
    run: Run, spoiled: Path, tmp_path: Path
) -> None:
    refused(run(spoiled), "has no certificate.json", f"edgehone certify {spoiled}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content, told",
    [
        ({}, "no factors of limits"),
        ({"baselines": {"served_p95_s": {"value": 1}}}, "no factors of limits"),
        ({"factors": {"latency": 1.5}}, "no baselines"),
        ({"baselines": 3, "factors": [1]}, "no factors"),
        ({"baselines": {"served_p95_s": True}, "factors": {"latency": 2}}, "no baselines"),
    ],
)
def test_a_certificate_of_an_earlier_version_is_told(
    run: Run, spoiled: Path, content: Any, told: str
) -> None:
    refused(run(certify(spoiled, content)), told, "certify it again: edgehone certify")


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda text: text[:100], "cannot be read"),
        (lambda text: "[1]", "no certificate"),
        (lambda text: '{"subject": []}', "no in-toto Statement"),
        (
            lambda text: text.replace("urn:edgehone:certificate:v1", "urn:other:certificate:v9"),
            "urn:other:certificate:v9",
        ),
        (lambda text: text.replace('"approval"', '"approved"'), "approv"),
    ],
)
def test_a_certificate_of_another_form_is_told(
    run: Run, certified: Path, tmp_path: Path, change: Callable[[str], str], told: str
) -> None:
    path = tmp_path / "certificate.json"
    path.write_text(change((certified / CERTIFICATE).read_text("utf-8")), "utf-8")
    refused(run(path), told)


def test_a_certificate_of_other_files_is_refused(run: Run, certified: Path) -> None:
    (certified / "decision.json").write_text((certified / "decision.json").read_text("utf-8") + " ")
    code, _, err = run(certified)
    assert code != 0 and "decision.json" in err


def test_what_is_no_bundle_is_told(run: Run, tmp_path: Path) -> None:
    refused(run(tmp_path / "nothing"), "no such bundle")
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty")[0] == 2


def test_a_server_needs_baselines_by_the_names_of_its_models(run: Run, certified: Path) -> None:
    with exposed(lambda: METRICS) as target:
        url = f"http://{target}"
        refused(run(url), "no baselines are known of bundle, other", "--baseline BUNDLE")
        refused(run(url, "--baseline", f"bundel={certified}"), "bundel", "did you mean 'bundle'")
        refused(run(url, "--baseline", certified, "--baseline", certified), "names 'bundle' twice")
        code, out, _ = run(url, "--baseline", f"other={certified}")
        assert code == 0
        assert "left out: latency_p95 of bundle: no bundle or certificate of it was given" in out
        assert "of other" not in out.replace("accuracy of other", "")
        code, out, _ = run(url, "--baseline", certified, "--baseline", f"other={certified / CERTIFICATE}")
        assert code == 0 and "left out: latency_p95" not in out


def test_the_scraped_address_is_that_of_the_server(run: Run, certified: Path, tmp_path: Path) -> None:
    with exposed(lambda: METRICS) as target:
        assert run(f"http://{target}/", "--baseline", certified)[0] == 0
    assert f'- "{target}"' in (tmp_path / "out" / "prometheus" / "prometheus.yml").read_text("utf-8")


@pytest.mark.parametrize(
    "text", [None, "", "up 1\n", "<html>\n", "edgehone_ready{ 1\n", "edgehone_ready 1\n"]
)
def test_another_server_is_told(run: Run, certified: Path, text: str | None) -> None:
    with exposed(lambda: text) as target:
        refused(run(f"http://{target}", "--baseline", certified), target)


def test_a_server_that_does_not_answer_is_told(run: Run, certified: Path) -> None:
    code, _, err = run("http://127.0.0.1:1", "--baseline", certified)
    assert code == 1 and "does not answer" in err


@pytest.mark.parametrize(
    "url", ["ftp://a:1", "http://", "http://a:b", "http://a:1/v1", "http://u:p@a:1", "http://[x"]
)
def test_a_url_that_is_none_is_told(run: Run, url: str) -> None:
    refused(run(url), "URL")


def test_a_key_for_operators_is_read_and_refused_if_others_can_read_it(run: Run, tmp_path: Path) -> None:
    key = tmp_path / "operators"
    key.write_text("secret")
    key.chmod(0o644)
    with exposed(lambda: METRICS) as target:
        refused(run(f"http://{target}", "--admin-key-file", key), "can be read by others")


def test_without_out_there_is_something_to_do_or_a_hint(
    certified: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["monitor", str(certified)]) == 2
    assert "--out DIR" in capsys.readouterr().err
