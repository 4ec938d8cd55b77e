"""The stage packaging on its way of success: a bundle becomes an APK, which is kept until it is changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.finished import Finished
from tests.package.mobile import bundle_with, needs, weights
from tests.pipeline.nullpipeline import Place, outcomes

pytestmark = pytest.mark.whole
FILE = """
mobile_deployment:
  android:
    framework: llama_cpp
    packaging: {format: gguf, apk_size: <100MB}
"""


def test_a_package_is_made_kept_and_made_again_when_it_was_changed(
    spoiled: Path, finished: Finished, tmp_path: Path
) -> None:
    needs("apksigner", "aapt", "zipalign")
    place = Place(tmp_path, finished.home)
    bundle = bundle_with(spoiled, "llamacpp", {"model.gguf": weights(100_003)})
    (tmp_path / "mobile.yaml").write_text(FILE)
    words = ("run", "mobile.yaml", "--bundle", str(bundle), "--out", "run", "--json")
    done = place.run(*words)
    assert done.returncode == 0, done.stderr[-3000:]
    assert outcomes(done) == {"packaging": "passed"}
    stage = json.loads(done.stdout)["stages"][0]
    assert stage["figures"] == ["1 package"] and stage["outputs"]["packages"].keys() == {"android"}
    apk = next((tmp_path / "run" / "packages" / "android").rglob("*.apk"))
    assert outcomes(place.run(*words)) == {"packaging": "unchanged"}
    before = apk.read_bytes()
    apk.write_bytes(before[:-1])
    again = place.run(*words)
    assert outcomes(again) == {"packaging": "passed"} and "was changed" in again.stderr
    assert len(apk.read_bytes()) == len(before)
