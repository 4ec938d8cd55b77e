"""Downloading: only when asked to, and a clear error where the hub can't be reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgehone.core.errors import InputError, ModelError
from edgehone.core.events import silent
from edgehone.optimize.download import download


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    assert download(str(tmp_path), silent) == tmp_path


def test_what_is_no_hub_name_is_refused() -> None:
    with pytest.raises(InputError, match="neither a folder nor a hub name"):
        download("just-a-name", silent)


@pytest.mark.real
def test_a_hub_that_cannot_be_reached_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match="owner/model cannot be downloaded") as caught:
        download("owner/model", silent)
    assert caught.value.hint
