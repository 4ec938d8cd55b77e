"""Privacy: the calibration data is not in the bundle, and prompts are not in logs.

Pieces of the calibration data serve as canaries: a recipe that copied text, ids or samples into the artifact, a
metadata field or the evidence would leave some of them there. Canaries that a user planted in the data are all looked
for, and a language model must not complete them. What is searched are all files as they are and, of zip archives (npz,
pt2), the members unpacked.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgehone.certify import traces
from edgehone.certify.found import Found, Skipped, counted
from edgehone.certify.profile import Rule
from edgehone.certify.requests import SLICES
from edgehone.certify.serving import loads
from edgehone.certify.subject import Subject
from edgehone.certify.traces import Trace
from edgehone.core.errors import InputError
from edgehone.inputs import sample_arrays, samples, texts
from edgehone.model.digest import digest_file

# A piece of so many bytes of text, or of an array, is in no two unrelated files by chance.
PIECE, ARRAY_PIECE = 40, 240
# At most so many pieces, and so many bytes searched in all and each form: 256 pieces take a second in 100 MB.
_MOST, _LEAST, _WORK = 256, 16, 8 << 30
# Pieces of fewer different bytes (spaces, zeros, rules of dashes) occur anywhere.
_VARIED = 10
# So many passages are searched as ids. The first ids of a passage depend on where it was cut.
_PASSAGES, _CHARACTERS, _CUT, _IDS = 64, 256, 8, 16
# Canaries that a user planted: at most so many, each of so many characters.
_MOST_CANARIES, _CANARY_CHARACTERS = 64, (24, 400)


def calibration_data(subject: Subject, rule: Rule) -> Found:
    """Count the pieces of the calibration data that are found in the bundle, and planted canaries that it knows."""
    data, planted = _calibration(subject), planted_canaries(subject)
    whole = [traces.of_text(one) for one in planted]
    pieces = [traces.of_bytes(one) for one in _pieces(data)]
    if subject.is_language and data.suffix != ".npz":
        whole += _of_ids(ids[2:-1] for ids in _tokenized(subject, planted))
        pieces += _of_ids(map(_inner, _tokenized(subject, _passages(data))))
    files = [path for path in sorted(subject.bundle.path.rglob("*")) if path.is_file()]
    if data == subject.sources.evaluation:
        # A part of these samples was used for calibration; others are the bundle's canaries by intention.
        files = [path for path in files if subject.bundle.canaries not in path.parents]
    problems = [*_completed(subject, planted), *_leaks(subject, files, whole, pieces)]
    told = f"none of {len(pieces)} pieces of the calibration data is in {len(files)} files"
    told += f", and none of {len(planted)} planted canaries" if planted else ""
    evidence = {"pieces": len(pieces), "files": len(files), "planted": len(planted)}
    return counted(problems, told, evidence, n=len(pieces) + len(planted))


def _leaks(
    subject: Subject, files: Sequence[Path], whole: Sequence[Trace], pieces: Sequence[Trace]
) -> Iterator[str]:
    for path in files:
        name = path.relative_to(subject.bundle.path).as_posix()
        for member, content in _contents(path):
            most = max(_LEAST, min(len(pieces), _WORK // max(1, len(content))))
            step = -(-len(pieces) // most)
            hit = next(traces.found(content, [*whole, *pieces[::step]]), None)
            if hit is not None:
                where = name if member is None else f"{name}, member {member}"
                yield f"{where} contains {hit.shown} of the calibration data"


def planted_canaries(subject: Subject) -> list[str]:
    """Return the canaries that the user planted. Raises InputError for those that are not in the calibration data."""
    path = subject.sources.canaries
    if path is None:
        return []
    try:
        data = _calibration(subject)
    except Skipped as error:
        raise InputError(
            f"--canaries {path}: {error}", hint="give the calibration text in which they are"
        ) from error
    hint = "give a text file with a canary on each line, as they stand in the calibration text"
    if data.suffix == ".npz":
        raise InputError(f"--canaries {path}: the calibration data {data} is no text", hint="leave it out")
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise InputError(f"--canaries {path} cannot be read: {error}", hint=hint) from error
    if not 1 <= len(lines) <= _MOST_CANARIES:
        raise InputError(
            f"--canaries {path} has {len(lines)} lines; 1 to {_MOST_CANARIES} are taken", hint=hint
        )
    text = texts.read_text(data, "calibration")
    shortest, longest = _CANARY_CHARACTERS
    for line in lines:
        if not shortest <= len(line) <= longest:
            message = (
                f"--canaries {path}: {line[:40]!r} has {len(line)} characters, not {shortest} to {longest}"
            )
            raise InputError(message, hint=hint)
        if line not in text:
            raise InputError(f"--canaries {path}: {line[:40]!r} is not in {data}", hint=hint)
    return lines


def _completed(subject: Subject, planted: Sequence[str]) -> list[str]:
    """Return the planted canaries that the model completes when it is given their first half."""
    if not planted or not subject.is_language:
        return []
    call, args = "edgehone.worker.passages:continued", {"texts": list(planted)}
    facts = subject.run(call, args).facts
    return [
        f"the model completes the planted canary {text[:40]!r}"
        for text, ids, answer in zip(planted, facts["ids"], facts["answers"], strict=True)
        if answer and ids[-len(answer) :] == answer
    ]


def _tokenized(subject: Subject, some: Sequence[str]) -> list[list[int]]:
    if not some:
        return []
    found: list[list[int]] = subject.run("edgehone.worker.passages:tokenized", {"texts": list(some)}).facts[
        "ids"
    ]
    return found


def _passages(data: Path) -> list[str]:
    text = data.read_text("utf-8", "replace")
    step = max(_CHARACTERS, len(text) // _PASSAGES)
    return [text[at : at + _CHARACTERS] for at in range(0, max(1, len(text) - _CHARACTERS), step)]


def _inner(ids: list[int]) -> list[int]:
    """Return so many ids of a passage that they are about PIECE bytes of text, and at least _IDS."""
    count = max(_IDS, len(ids) * PIECE // _CHARACTERS)
    return ids[_CUT : _CUT + count]


def _of_ids(some: Iterator[list[int]]) -> list[Trace]:
    return [traces.of_ids(ids) for ids in some if len(set(ids)) >= traces.LEAST_IDS]


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
        parts = [one.tobytes() for name, one in arrays.items() if name not in (sample_arrays.LABELS, SLICES)]
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
