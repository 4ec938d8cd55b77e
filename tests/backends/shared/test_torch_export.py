"""Opening a .pt2 archive: the allow-list is applied before torch reads the file."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import pytest

from edgehone.backends.shared import torch_export
from edgehone.core.errors import ModelError


def test_an_archive_that_could_run_code_is_refused_before_torch_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    path = tmp_path / "net.pt2"
    program = {"graph_module": {"graph": {"nodes": [{"target": "torch.os.system"}]}}}
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("net/models/model.json", json.dumps(program))
        for kind in ("weights", "constants"):
            file.writestr(f"net/data/{kind}/model_{kind}_config.json", json.dumps({"config": {}}))
    with pytest.raises(ModelError, match=r"torch\.os\.system"):
        torch_export.load(path)
