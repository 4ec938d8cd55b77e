"""The Jenkinsfile of `edgehone pipeline init --ci jenkins`: compiled by Jenkins' Groovy, and judged by a grammar."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edgehone.pipeline.ci import workflow
from tests.pipeline.nullpipeline import STAGES

GRAMMAR = Path(__file__).with_name("declarative.groovy")
# What is changed in a right file, and what is said of it.
WRONG = {
    "stage('testing')": ("stag('testing')", "stag must not stand in stages"),
    "  agent { label 'edge' }\n": ("", "pipeline has no agent"),
    "steps {": ("step {", "step must not stand in stage"),
    "RUN = 'run'": ("RUN = 7", "RUN is no text"),
    "always {": ("allways {", "allways must not stand in post"),
    "    }\n  }\n}\n": ("    }\n  }\n", "expecting '}'"),
    "timeout(time: 12, unit: 'HOURS')": ("timeout(12)", "timeout is given [12]"),
    "sh 'edgehone": ("shell 'edgehone", "shell must not stand in steps"),
    "testResults:": ("results:", "junit needs [testResults]"),
    "sh 'command": ('sh "command', "startup failed"),
}


@pytest.mark.skipif(
    shutil.which("groovy") is None and not os.environ.get("CI"),
    reason="groovy is not installed: tools/system_packages.sh",
)
def test_jenkins_groovy_compiles_the_file_and_its_blocks_stand_where_they_may(tmp_path: Path) -> None:
    right = workflow("jenkins", "pipeline.yaml", "run", STAGES)
    files = {"right": right}
    for number, (old, (new, _)) in enumerate(WRONG.items()):
        assert old in right
        files[f"wrong{number}"] = right.replace(old, new, 1)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    words = ["groovy", str(GRAMMAR), *(str(tmp_path / name) for name in files)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    told = done.stdout.splitlines()
    assert told[0] == f"{tmp_path / 'right'}: ok", done.stdout + done.stderr
    for line, (_, said) in zip(told[1:], WRONG.values(), strict=True):
        assert said in line
    assert done.returncode == 1
