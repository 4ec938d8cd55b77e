"""Folders that programs for laptops and desktops load: llama-server, Ollama, LM Studio, llamafile, OpenVINO GenAI.

All of them share one folder, PUBLISHER/NAME, with one copy of the artifact: it is the layout of LM Studio's model
folder, and the files of the other programs name the artifact beside them. A llamafile has a copy of its own.
"""

from __future__ import annotations

import functools
import re
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any, Final

from edgehone.backends.llamacpp.speculation import DRAFT
from edgehone.bundle.read import Bundle
from edgehone.core.errors import InputError
from edgehone.package import llama_server, settings
from edgehone.package.names import original_name
from edgehone.package.target import Built, Carried, Check, Deliverable, Option, Request, Tool
from edgehone.package.targets.desktop import checks, llamafile, model_card, runtime

NAME: Final = "desktop"
SUMMARY: Final = "a folder for llama-server, Ollama, LM Studio, llamafile, OpenVINO GenAI and Hugging Face"
TOOLS: Sequence[Tool] = ()
BUDGET: int | None = None
HERE = Path(__file__).parent


@functools.cache
def programs() -> Mapping[str, Any]:
    """Return programs.toml."""
    return tomllib.loads((HERE / "programs.toml").read_text("utf-8"))


OPTIONS: Sequence[Option] = (
    Option("program", "program that loads the artifact", "all", ("all", *programs())),
    Option("name", "name of the model (default: that of the original)"),
    Option("publisher", "folder above the model's, as in LM Studio", "local"),
    Option(
        "llamafile", "llamafile program that the model is appended to; without it none is made", file=True
    ),
    Option("base-model", "name of the original on the Hugging Face hub, for the model card"),
    Option(
        "tensor_parallelism",
        "whether llama-server divides each tensor among GPUs",
        "false",
        ("false", "true"),
    ),
)


@dataclass(frozen=True)
class _Place:
    """The folder of a model: `path` from the package's folder, with the `artifact` in it, and its `programs`."""

    request: Request
    folder: Path
    path: str
    name: str
    artifact: str
    programs: Sequence[str]


def refuses(bundle: Bundle) -> str | None:
    """Return why no program loads the bundle's artifact."""
    backend = bundle.manifest.recipe["backend"]
    if not _loading(bundle):
        return f"its artifact is {backend}'s, which none of the programs loads: {', '.join(programs())}"
    return None


def _loading(bundle: Bundle) -> list[str]:
    """Return the programs that load the artifact of a bundle."""
    backend, is_language = bundle.manifest.recipe["backend"], bundle.manifest.kind == "language"
    known = programs()
    if bundle.manifest.pictures is not None:  # the script of this program opens a model of texts
        known = {name: one for name, one in known.items() if name != "openvino-genai"}
    if llama_server.has_adapter(bundle):
        # The others would load the base alone, or were never seen to take an adapter.
        known = {name: one for name, one in known.items() if name == "llama-server"}
    return [
        name
        for name, one in known.items()
        if backend in one["backends"] and (is_language or one.get("any_kind", False))
    ]


def build(request: Request, folder: Path) -> Built:
    """Write the folder, and a llamafile if one is asked for."""
    chosen = _chosen(request)
    name = _name(request.options.get("name") or _original_name(request.bundle), "name")
    path = f"{_name(request.options['publisher'], 'publisher')}/{name}"
    deliverables, carried, notes = list[Deliverable](), list[Carried](), list[str]()
    commands = list[str]()
    others = [one for one in chosen if one != "llamafile"]
    if others:
        place = _Place(request, folder / path, path, name, _artifact_name(request.bundle, name), others)
        carried += _copy_artifact(place)
        notes += _write_for_programs(place)
        deliverables.append(Deliverable(path, f"folder for {', '.join(others)}"))
        commands += [_section(one, place) for one in others]
    if "llamafile" in chosen:
        made = llamafile.write(request, folder, name)
        deliverables.append(made.deliverable)
        carried.append(made.carried)
        notes += made.notes
        commands.append(
            _filled("readme-llamafile.md.template", name=name, path=path, artifact="", publisher="")
        )
    # A llamafile has one model: the second one only saves time, and a note says so.
    left_out = (f"artifact/{DRAFT}",) if "llamafile" in chosen else ()
    readme = f"# {name}\n\n" + "\n".join(commands)
    return Built(tuple(deliverables), tuple(carried), readme, tuple(notes), left_out=left_out)


def _chosen(request: Request) -> list[str]:
    """Return the programs that are asked for. Raises InputError if one of them does not load the artifact."""
    program, base = request.options["program"], request.options.get("llamafile")
    known = _loading(request.bundle)
    if program not in ("all", *known):
        raise InputError(
            f"{program} does not load the artifact of {request.bundle.path}",
            hint=f"--set program={'|'.join(['all', *known])}",
        )
    if program == "llamafile" and base is None:
        raise InputError(
            "a llamafile is made by appending the model to a llamafile program, and none is named",
            hint="--set llamafile=FILE, with the program that the project llamafile publishes",
        )
    if program != "all":
        return [program]
    return [one for one in known if one != "llamafile" or base is not None]


def _original_name(bundle: Bundle) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", original_name(bundle.manifest)).strip("-.") or "model"


def _name(text: str, what: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}", text) or ".." in text:
        raise InputError(
            f"the option {what} is {text!r}",
            hint="use letters, digits, '.', '_' and '-', beginning with one of the first",
        )
    return text


def _artifact_name(bundle: Bundle, name: str) -> str:
    """Return what the commands name: the GGUF file, or the folder of other artifacts."""
    return f"{name}.gguf" if bundle.manifest.recipe["backend"] == "llamacpp" else "."


def _copy_artifact(place: _Place) -> list[Carried]:
    """Copy the artifact, byte for byte: a GGUF file under the model's name, the files of others under their own."""
    bundle = place.request.bundle
    place.folder.mkdir(parents=True)
    carried = []
    weights = gguf_of(bundle) if place.artifact != "." else None
    sources = {one.relative_to(bundle.artifact).as_posix(): one for one in _files(bundle.artifact)}
    if bundle.manifest.decoding is not None and bundle.tokenizer is not None:
        # The parts of an encoder-decoder have no tokenizer of their own.
        sources |= {one.relative_to(bundle.tokenizer).as_posix(): one for one in _files(bundle.tokenizer)}
    for relative, source in sources.items():
        target = place.artifact if source == weights else relative
        (place.folder / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, place.folder / target)
        carried.append(Carried(source.relative_to(bundle.path).as_posix(), f"{place.path}/{target}"))
    return carried


def _files(folder: Path) -> list[Path]:
    return sorted(one for one in folder.rglob("*") if one.is_file())


def gguf_of(bundle: Bundle) -> Path:
    """Return the GGUF file of the language model in a bundle of llama.cpp."""
    return bundle.artifact / "model.gguf"


def _write_for_programs(place: _Place) -> list[str]:
    """Write the files of the programs beside the artifact, and return notes on them."""
    bundle, notes = place.request.bundle, list[str]()
    if "llama-server" in place.programs:
        options = " ".join([*llama_server.server_options(bundle), *_split(place, notes)])
        script = place.folder / "start.sh"
        script.write_text(_filled("start.sh.template", artifact=place.artifact, options=options), "utf-8")
        script.chmod(0o755)
    if "ollama" in place.programs:
        text, note = runtime.modelfile(bundle, place.artifact, _template("Modelfile.template"))
        (place.folder / "Modelfile").write_text(text, "utf-8")
        notes.append(note)
    if others := [one for one in ("ollama", "lm-studio") if one in place.programs]:
        notes += settings.notes(bundle, (), " and ".join(settings.PROGRAMS[one] for one in others))
    if "openvino-genai" in place.programs:
        values = {
            "properties": runtime.openvino_properties(bundle),
            "device": runtime.openvino_device(bundle),
        }
        text = _filled("generate.py.template", **{name: repr(value) for name, value in values.items()})
        (place.folder / "generate.py").write_text(text, "utf-8")
        notes += settings.drafting_notes(bundle, "generate.py")
    if "huggingface" in place.programs:
        card = model_card.card_of(bundle, place.name, place.request.options.get("base-model"))
        (place.folder / "README.md").write_text(card, "utf-8")
        notices = sorted((bundle.path / "notices").glob("*"))
        for notice in notices:  # the licences travel with the weights
            (place.folder / "notices").mkdir(exist_ok=True)
            shutil.copyfile(notice, place.folder / "notices" / notice.name)
    return notes


def _split(place: _Place, notes: list[str]) -> list[str]:
    """Return the options by which llama-server divides each tensor among GPUs, and add a note."""
    if place.request.options["tensor_parallelism"] == "false":
        return []
    notes.append(
        "llama-server divides each tensor among the GPUs that it finds (--split-mode row); with one or none it does "
        "nothing, and several were not tried"
    )
    return ["--split-mode", "row"]


def _section(program: str, place: _Place) -> str:
    values = {"name": place.name, "path": place.path, "artifact": place.artifact}
    return _filled(f"readme-{program}.md.template", publisher=place.path.partition("/")[0], **values)


def _template(name: str) -> Template:
    return Template((HERE / name).read_text("utf-8"))


def _filled(template: str, **values: str) -> str:
    return _template(template).substitute(lower=values.get("name", "").lower(), **values)


def check(folder: Path, built: Built, scratch: Path) -> Sequence[Check]:
    """Load the artifact with the programs that are installed, and compare their answers with the bundle's canaries."""
    return checks.check(folder, built, scratch)
