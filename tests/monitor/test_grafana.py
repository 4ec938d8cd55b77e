"""The dashboard, by the TypeScript compiler and Grafana's own types."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgehone.execution.home import file_lock, home
from edgehone.monitor.alert import alerts
from edgehone.monitor.grafana import dashboard
from tests.monitor.certified import all_alerts, baselines, program

PACKAGES = ("@grafana/schema@13.2.3", "typescript@7.0.2")
# JSON has the values of enumerations, not their members. Dashboard leaves the options of panels open.
RAW = "@grafana/schema/dist/esm/raw/composable"
TYPES = f"""
import type {{ Dashboard }} from "@grafana/schema";
import type {{ FieldConfig, Options }} from "{RAW}/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

type Json<T> = T extends string ? `${{T}}` : T extends object ? {{ [K in keyof T]: Json<T[K]> }} : T;
"""


@pytest.fixture(scope="module")
def compiler() -> Path:
    """The folder with the compiler and the types from npm, installed once into EDGEHONE_HOME."""
    npm = program("npm", "npm")
    folder = home() / "npm" / "-".join(one.rpartition("/")[2] for one in PACKAGES)
    with file_lock(home() / "locks" / "npm.lock"):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            command = [
                npm,
                "install",
                "--silent",
                "--no-audit",
                "--no-fund",
                "--prefix",
                str(folder),
                *PACKAGES,
            ]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
            if done.returncode and not os.environ.get("CI"):
                pytest.skip(f"npm cannot install {' and '.join(PACKAGES)}: {done.stderr.strip()[-200:]}")
            assert done.returncode == 0, done.stderr
            (folder / "complete").touch()
    return folder


def judged(compiler: Path, folder: Path, found: dict[str, Any]) -> str:
    """Return what the compiler complains about."""
    graphs = [one for one in found["panels"] if one["type"] == "timeseries"]
    parts = {
        "dashboard: Json<Dashboard>": found,
        "options: Json<Options>[]": [one["options"] for one in graphs],
        "custom: Json<Partial<FieldConfig>>[]": [one["fieldConfig"]["defaults"]["custom"] for one in graphs],
    }
    text = TYPES + "".join(f"export const {name} = {json.dumps(one)};\n" for name, one in parts.items())
    (folder / "dashboard.ts").write_text(text, "utf-8")
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(compiler / "node_modules")
    options = "--noEmit --strict --skipLibCheck --module nodenext --moduleResolution nodenext --target es2022"
    command = [str(compiler / "node_modules" / ".bin" / "tsc"), *options.split(), "dashboard.ts"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode == 0) is (done.stdout == ""), done.stdout + done.stderr
    return done.stdout


@pytest.mark.whole
def test_grafanas_types_fit_the_dashboard_and_refuse_mistakes(compiler: Path, tmp_path: Path) -> None:
    found = dashboard(alerts([baselines('a "b" \\ c'), baselines("d")]), "edgehone: a")
    assert judged(compiler, tmp_path, found) == ""
    panel = next(one for one in found["panels"] if one["type"] == "timeseries")
    for change, told in (
        ({"gridPos": {"x": 0}}, "Type"),
        ({"gridpos": panel["gridPos"]}, "gridpos"),
        ({"fieldConfig": {**panel["fieldConfig"], "overrides": 3}}, "Type 'number' is not"),
        ({"options": {**panel["options"], "legend": {"displayMode": "rows"}}}, "rows"),
        ({"targets": {"refId": "A"}}, "refId"),
    ):
        wrong = {**found, "panels": [{**panel, **change}]}
        assert told in judged(compiler, tmp_path, wrong), change


def test_panels_lie_side_by_side_and_have_numbers_of_their_own() -> None:
    found = dashboard(all_alerts(), "edgehone")
    cells = set[tuple[int, int]]()
    for panel in found["panels"]:
        grid = panel["gridPos"]
        mine = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not mine & cells and grid["x"] + grid["w"] <= 24
        cells |= mine
    assert len({panel["id"] for panel in found["panels"]}) == len(found["panels"])
    rows = [panel["title"] for panel in found["panels"] if panel["type"] == "row"]
    assert rows == ["Model performance", "Infrastructure", "Business", "Security", "Drift"]


def test_limits_are_lines_with_what_they_are_made_of() -> None:
    found = dashboard(all_alerts(), "edgehone")
    latency = next(panel for panel in found["panels"] if panel["title"] == "Latency")
    defaults = latency["fieldConfig"]["defaults"]
    assert [step["value"] for step in defaults["thresholds"]["steps"]] == [None, 0.0075, pytest.approx(0.015)]
    assert defaults["custom"]["thresholdsStyle"] == {"mode": "line"}
    assert "1.5 times served_p95_s of the certificate, 0.01" in latency["description"]


def test_every_query_is_by_the_chosen_data_source_and_server() -> None:
    for panel in dashboard([], "edgehone")["panels"]:
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"
            assert 'job=~"$job"' in target["expr"] and 'instance=~"$instance"' in target["expr"]
