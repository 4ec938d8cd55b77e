"""Turn pictures and sounds that clients send into arrays, in a process of its own, for `edgehone serve` (worker side).

A damaged or hostile file may take long, much memory, or end the process that decodes it. Here it harms neither the
server nor an engine. Files become arrays by the code that `edgehone run` uses.
"""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import EdgehoneError, InputError
from edgehone.inputs import samples
from edgehone.worker.frames import Frames
from edgehone.worker.image_arrays import image_array
from edgehone.worker.memory_limit import at_most
from edgehone.worker.picture_file import checked
from edgehone.worker.sound_arrays import sound_array
from edgehone.worker.wave_file import read_wave

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Bytes that the files of a request may take while they are decoded.
_MEMORY = 1 << 30
# The longest sound in seconds: of a longer one the model would hear only the beginning, which nobody has asked for.
_LONGEST = 3600.0


def serve(job: WorkerJob) -> dict[str, Any]:
    """Answer until the parent closes the channel.

    args: inputs (the model's, in the form of ModelInfo.to_json), preprocessing (a bundle's) and channel, the file
    descriptor of a socket. Messages have the form of `worker.frames`, as those of `graph_service`: a request has the
    bytes of each file. It is answered by {"together": 1} with the array of the graph's input, or by {"refused": why}
    for files that are none of the kind. Returns {}.
    """
    frames = Frames(job.args["channel"])
    frames.send({"ready": True, "batch": 1, "joining": "", "outputs": {}})
    while (received := frames.take(None)) is not None:
        if "cancel" in received.said:
            continue
        number = received.number
        try:
            with at_most(_MEMORY):
                made = _array(job.args, received.arrays())
        except EdgehoneError as error:
            frames.send({"refused": error.message}, number=number)
        except Exception as error:  # noqa: BLE001 - damaged files make decoders raise any type
            traceback.print_exception(error)
            frames.send(
                {"refused": f"the file cannot be read: {type(error).__name__}: {error}"}, number=number
            )
        else:
            frames.send({"together": 1}, made, number)
    return {}


def _array(args: Mapping[str, Any], files: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    ((kind, options),) = args["preprocessing"].items()
    tensors = [samples.tensor(one) for one in args["inputs"]]
    # Files, since the readers take paths, as those of `edgehone run`.
    ending, array_of = ("png", image_array) if kind == "images" else ("wav", sound_array)
    with tempfile.TemporaryDirectory(prefix="edgehone-") as folder:
        paths = []
        for at, content in enumerate(files.values()):
            path = Path(folder) / f"{at}.{ending}"
            path.write_bytes(content.tobytes())
            paths.append(path)
        names = {str(path): f"file {at}" for at, path in enumerate(paths)}
        try:
            for path in paths:
                _check(kind, path)
            name, array = array_of(paths, tensors, options)
        except EdgehoneError as error:
            raise InputError(_named(error.message, names)) from error
    return {name: array}


def _check(kind: str, path: Path) -> None:
    """Raise InputError for a picture that is too large, and for a sound that is too long."""
    if kind == "images":
        checked(path.read_bytes())
        return
    sound, rate = read_wave(path)
    if len(sound) > _LONGEST * rate:
        raise InputError(f"{path} lasts {len(sound) / rate:.0f} s; at most {_LONGEST:.0f} s are read")


def _named(message: str, names: Mapping[str, str]) -> str:
    for path, name in names.items():
        message = message.replace(path, name)
    return message
