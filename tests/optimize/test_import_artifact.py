"""An artifact that something else built becomes a folder of links."""

from __future__ import annotations

from pathlib import Path

from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.worker.link_artifact import (
    link,
)


def job(source: Path, out: Path) -> WorkerJob:
    out.mkdir()
    return WorkerJob({"name": "model.gguf"}, {"artifact": source}, out, None, 1, lambda fraction, what: None)


def test_a_lone_file_gets_the_backends_name_for_it(tmp_path: Path) -> None:
    (tmp_path / "mine-q4.gguf").write_bytes(b"GGUF")
    link(job(tmp_path / "mine-q4.gguf", tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.gguf"]
    assert (tmp_path / "out" / "model.gguf").read_bytes() == b"GGUF"


def test_a_folder_is_linked_file_by_file_so_that_sizes_and_the_page_cache_see_them(tmp_path: Path) -> None:
    source = tmp_path / "ir"
    (source / "parts").mkdir(parents=True)
    (source / "model.xml").write_text("<net/>")
    (source / "parts" / "weights.bin").write_bytes(b"12345")
    link(job(source, tmp_path / "out"))
    found = {
        str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()
    }
    assert found == {"model.xml", "parts/weights.bin"}
