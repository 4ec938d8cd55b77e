"""Privacy: pieces of the calibration data are not in the bundle, and prompts are not in logs.

Every piece of the calibration data serves as a canary: a recipe that copied text or samples into the artifact, a
metadata field or the evidence would leave some of them there: as they are, as JSON writes them, in UTF-16 or in base64.
What is searched are all files as they are and, of zip archives (npz, pt2), the members unpacked.
"""

from __future__ import annotations

import base64
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

from edgehone.certify.found import Found, Skipped, counted
from edgehone.certify.profile import Rule
from edgehone.certify.requests import SLICES
from edgehone.certify.serving import loads
from edgehone.certify.subject import Subject
from edgehone.inputs import samples, texts
from edgehone.model.digest import digest_file

# A piece of so many bytes of text, or of an array, is in no two unrelated files by chance.
PIECE, ARRAY_PIECE = 40, 240
# At most so many pieces, and so many bytes searched in all and each form: 256 pieces take a second in 100 MB.
_MOST, _LEAST, _WORK = 256, 16, 8 << 30
# Pieces of fewer different bytes (spaces, zeros, rules of dashes) occur anywhere.
_VARIED = 10


def calibration_data(subject: Subject, rule: Rule) -> Found:
    """Count the pieces of the calibration data that are found in the bundle."""
    data = _calibration(subject)
    pieces = _pieces(data)
    files = [path for path in sorted(subject.bundle.path.rglob("*")) if path.is_file()]
    if data == subject.sources.evaluation:
        # A part of these samples was used for calibration; others are the bundle's canaries by intention.
        files = [path for path in files if subject.bundle.canaries not in path.parents]
    problems = []
    for path in files:
        name = path.relative_to(subject.bundle.path).as_posix()
        for member, content in _contents(path):
            most = max(_LEAST, min(_MOST, _WORK // max(1, len(content))))
            step = -(-len(pieces) // most)
            hits = [piece for piece in pieces[::step] if any(form in content for form in _forms(piece))]
            if hits:
                where = name if member is None else f"{name}, member {member}"
                problems.append(f"{where} contains {hits[0][:40]!r} of the calibration data")
    told = f"none of {len(pieces)} pieces of the calibration data is in {len(files)} files"
    return counted(problems, told, {"pieces": len(pieces), "files": len(files)}, n=len(pieces))


def logs(subject: Subject, rule: Rule) -> Found:
    """Count the logs, metrics and working files of the server under load that contain a prompt."""
    found = subject.once(loads)
    if not found.looked_at:
        return counted([], "the requests of a graph are numbers, which are not logged as text")
    problems = [f"{name} contains a prompt" for name in found.leaks]
    return counted(
        problems, f"no prompt is in {found.looked_at} logs and answers of the server", n=found.looked_at
    )


def _pieces(path: Path) -> list[bytes]:
    if path.suffix == ".npz":
        arrays = samples.read_arrays(path)
        size = ARRAY_PIECE
        parts = [one.tobytes() for name, one in arrays.items() if name not in (samples.LABELS, SLICES)]
    else:
        size, raw = PIECE, path.read_bytes()
        # As it is, and as JSON writes it.
        escaped = json.dumps(raw.decode("utf-8", "replace"))[1:-1].encode()
        parts = [raw, escaped] if escaped != raw else [raw]
    found: dict[bytes, None] = {}
    for part in parts:
        step = max(size, len(part) // _MOST)
        for at in range(0, len(part) - size, step):
            piece = part[at : at + size]
            if len(set(piece)) >= _VARIED:
                found[piece] = None
    if not found:
        raise Skipped(f"{path} has no piece that could be recognized")
    return list(found)


def _forms(piece: bytes) -> Iterator[bytes]:
    """Yield a piece as files may hold it: plain, in UTF-16, and in base64 at each of the three offsets."""
    yield piece
    # A piece of a text may begin or end within a character.
    yield piece.decode("utf-8", "ignore").encode("utf-16-le")
    for offset in range(3):
        # Whole groups of three bytes from there on: their letters do not depend on what stands around.
        groups = piece[offset : offset + (len(piece) - offset) // 3 * 3]
        yield base64.b64encode(groups)


def _calibration(subject: Subject) -> Path:
    """Return the file of the calibration data, which must have the digest in the manifest."""
    given = subject.sources.calibration
    wanted = subject.bundle.manifest.texts.get("calibration")
    if given is not None:
        if wanted is not None and digest_file(given) != wanted:
            raise Skipped(f"{given} is not the calibration data of the bundle: its digest differs")
        return given
    if subject.is_language and digest_file(texts.shipped("calibration")) == wanted:
        return texts.shipped("calibration")
    if wanted is None and subject.sources.evaluation and subject.sources.evaluation.suffix == ".npz":
        return subject.sources.evaluation
    raise Skipped("the calibration data is not here: give it with --calibration FILE")


def _contents(path: Path) -> Iterator[tuple[str | None, bytes]]:
    yield None, path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.compress_type != zipfile.ZIP_STORED:
                    yield entry.filename, archive.read(entry)
