"""Packages are written whole or not at all: others' files, an older package, killed processes, a full disk."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgehone.core.errors import InputError, SetupError
from edgehone.package.document import read_package
from edgehone.package.verify import verify_package
from edgehone.package.write import pack
from tests.disks import small_file_system
from tests.finished import Finished
from tests.package.boxes import content, order


def test_other_peoples_files_are_never_replaced(finished: Finished, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    pack(finished.bundle, order(out))  # an empty folder
    pack(finished.bundle, order(out, colour="green"))  # an older package
    assert read_package(out).options["colour"] == "green"
    (out / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"mine\.txt"):
        pack(finished.bundle, order(out))
    assert (out / "mine.txt").read_text() == "mine"
    with pytest.raises(InputError, match="is in the bundle"):
        pack(finished.bundle, order(finished.bundle / "package"))
    with pytest.raises(InputError, match="is in the bundle"):
        pack(finished.bundle, order(finished.bundle))
    (tmp_path / "file").write_text("a file")
    with pytest.raises(InputError, match="not a folder"):
        pack(finished.bundle, order(tmp_path / "file"))
    (tmp_path / "linked").symlink_to(out)
    with pytest.raises(InputError, match="not a folder"):
        pack(finished.bundle, order(tmp_path / "linked"))


def test_a_package_is_there_at_any_time_while_it_is_replaced(finished: Finished, tmp_path: Path) -> None:
    out, over, missing = tmp_path / "out", threading.Event(), list[str]()
    pack(finished.bundle, order(out))

    def look() -> None:
        while not over.is_set():
            if not (out / "package.json").exists() or not (out / "box.zip").exists():
                missing.append("once")

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for number in range(8):
            pack(finished.bundle, order(out, colour=("red", "green")[number % 2]))
    finally:
        over.set()
        watcher.join()
    assert not missing and read_package(out).options["colour"] == "green"


def test_a_killed_process_leaves_the_older_package(finished: Finished, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pack(finished.bundle, order(out))
    before = content(out)
    script = (
        "import sys; from pathlib import Path; from edgehone.package.write import Order, pack;"
        "from tests.package import boxed;"
        "pack(Path(sys.argv[1]), Order(boxed, Path(sys.argv[2]), {'fault': 'killed'}))"
    )
    words = [sys.executable, "-c", script, str(finished.bundle), str(out)]
    done = subprocess.run(words, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -9 and content(out) == before and verify_package(out)
    assert (tmp_path / ".out.partial" / "half").exists()
    pack(finished.bundle, order(out, colour="green"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_two_packagings_to_one_place(finished: Finished, tmp_path: Path) -> None:
    """The second one is refused, by whatever path it names the place; another place is free."""
    out = tmp_path / "out"
    (tmp_path / "link").symlink_to(tmp_path)
    script = (
        "import sys; from pathlib import Path; from edgehone.package.write import Order, pack;"
        "from tests.package import boxed; say = lambda text: print(text, flush=True);"
        "pack(Path(sys.argv[1]), Order(boxed, Path(sys.argv[2]), {'fault': 'slow'}), say)"
    )
    words = [sys.executable, "-c", script, str(finished.bundle), str(out)]
    with subprocess.Popen(words, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True) as slow:
        assert slow.stdout is not None
        while "slowly" not in slow.stdout.readline():
            assert slow.poll() is None
        for place in (out, tmp_path / "link" / "out"):
            with pytest.raises(SetupError, match=rf"is being written by .*process {slow.pid}") as caught:
                pack(finished.bundle, order(place))
            assert "another folder" in str(caught.value.hint)
        pack(finished.bundle, order(tmp_path / "other"))
        slow.kill()
    pack(finished.bundle, order(out))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "other", "out"]


def test_a_full_disk_leaves_nothing(finished: Finished, tmp_path: Path) -> None:
    small = tmp_path / "small"
    with small_file_system(small, "8m"):
        pack(finished.bundle, order(small / "out"))
        before = content(small / "out")
        with pytest.raises(SetupError, match="no space left") as caught:
            pack(finished.bundle, order(small / "out", fault="large"))
        assert "free some space" in str(caught.value.hint)
        assert content(small / "out") == before
        assert [path.name for path in small.iterdir()] == ["out"]
