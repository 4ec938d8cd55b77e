"""Jobs are asked for in several threads at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgehone.execution import run


def test_what_was_asked_for_is_read_while_other_threads_ask(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Guarded(dict[Path, object]):
        """A dictionary that may be read only while the lock is held."""

        def __iter__(self):  # type: ignore[no-untyped-def]
            assert run._LOCK.locked()
            return super().__iter__()

        def keys(self):  # type: ignore[no-untyped-def]
            assert run._LOCK.locked()
            return super().keys()

    asked = Guarded({tmp_path / str(i): lambda: None for i in range(100)})
    monkeypatch.setattr(run, "_ASKED", asked)
    with ThreadPoolExecutor(4) as pool:
        assert not any(pool.map(run.restore, [[tmp_path / "x"]] * 8))
