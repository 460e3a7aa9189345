"""Checkpoints of every family, and damage to their files: bytes, pickles whose archive is sound, values, nodes."""

import copy
import io
import json
import random
import shutil
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import torch

from fastvits import VitsModel, VitsTokenizer
from fastvits.checkpoints import convert
from fastvits.export import export_voice
from fastvits.storage import InvalidJSON
from tests.support import training_checkpoints as programs
from tests.support.small_voices import save_small_voice

ODD_VALUES: list[Any] = [
    None, True, 0, -1, 1, 7, 2**31, 10**30, -0.5, 1e308, float("nan"), float("inf"), "", "a", "\n", "0", "../x", [],
    [1], [[1]], ["a", "a"], {}, {"a": 1}, {"0": [0]}, [None], "\ud800", "x" * 5000,
]  # fmt: skip


NAMED = (ValueError, OSError, FileNotFoundError, InvalidJSON)
WHOLE = {"config.json", "model.safetensors", "tokenizer_config.json", "vocab.json"}


class Source(NamedTuple):
    """What is converted, and the files of it that may be damaged."""

    path: Path
    files: list[Path]


def write_sources(folder: Path) -> dict[str, Source]:
    """A small voice of each family."""
    original = programs.write_original(folder / "original", programs.train())
    symbols = "kabcdefghij lmnopqrstuvwxyz'"
    mms = programs.write_mms(folder / "eng", programs.train(len(symbols)), symbols, uroman=True)
    coqui = programs.write_coqui(
        folder / "coqui", programs.train(1 + 5 + 26 + 1, speakers=2), speakers_file="/train/speakers.json"
    )
    speakers = coqui.with_name("speakers.json")
    speakers.write_text('{"anna": 0, "bert": 1}', encoding="utf-8")
    piper = programs.write_piper(folder / "piper", programs.train(40, **programs.SECOND_TYPE), **programs.SECOND_TYPE)
    voice = save_small_voice(folder / "voice", num_speakers=2, speaker_embedding_size=8)
    graph, settings = export_voice(voice, folder / "onnx" / "voice.onnx")
    half, beside = export_voice(voice, folder / "int8" / "voice.onnx", weights="int8")
    packed, tokens = export_voice(voice, folder / "sherpa" / "model.onnx", format="sherpa")
    return {
        "original": Source(original, [original, original.with_name("config.json")]),
        "mms": Source(mms, [mms, mms.with_name("config.json"), mms.with_name("vocab.txt")]),
        "coqui": Source(coqui, [coqui, coqui.with_name("config.json"), speakers]),
        "piper": Source(piper, [piper, piper.with_name("config.json")]),
        "onnx": Source(graph, [graph, settings]),
        "int8": Source(half, [half, beside]),
        "sherpa": Source(packed, [packed, tokens]),
    }


def outcome(source: Source, folder: Path, chance: random.Random) -> tuple[str, str]:
    """What became of one damaged file: "converted", the name of an exception or "fault"; and what was said."""
    file = chance.choice(source.files)
    content = file.read_bytes()
    file.write_bytes(damaged(file, content, chance))
    try:
        kind, said = converted(source.path, folder)
    finally:
        file.write_bytes(content)
    left = sorted(path.name for path in folder.parent.iterdir())
    if kind == "converted":
        whole = left == [folder.name] and WHOLE.issubset(path.name for path in folder.iterdir())
    else:
        whole = not left
    shutil.rmtree(folder.parent)
    folder.parent.mkdir()
    return (kind, said) if whole or kind == "fault" else ("fault", f"{kind} ({said}) left {left} behind")


def converted(path: Path, folder: Path) -> tuple[str, str]:
    """What a conversion came to: see `outcome`."""
    try:
        convert(path, folder)
    except (ValueError, OSError) as error:
        said = str(error)
        if said and "\n" not in said and type(error) in NAMED:
            return type(error).__name__, said
        return "fault", f"{type(error).__name__} says {said!r}: no named exception, or no single line"
    except Exception:
        return "fault", traceback.format_exc()
    try:
        VitsModel.from_pretrained(folder)
        VitsTokenizer.from_pretrained(folder)
    except Exception:
        return "fault", f"what was converted is not read: {traceback.format_exc()}"
    return "converted", ""


def damaged(file: Path, content: bytes, chance: random.Random) -> bytes:
    """The bytes of a file, changed in one of the ways in which its kind can be."""
    ways: list[Callable[[bytes, random.Random], bytes]] = [_bytes]
    if file.suffix == ".json":
        ways += [_json] * 3
    elif file.suffix == ".onnx":
        ways += [_graph] * 3
    elif zipfile.is_zipfile(file):
        ways += [_pickle, _pickle, _table, _table]
    return chance.choice(ways)(content, chance)


def _bytes(content: bytes, chance: random.Random) -> bytes:
    """Some bytes replaced, taken out, put in twice, or cut off."""
    mutated = bytearray(content)
    for _ in range(chance.randint(1, 8)):
        if not mutated:
            break
        # What a file says stands at its ends as a rule, numbers in between.
        near = chance.randrange(min(4000, len(mutated)))
        place = chance.choice((near, len(mutated) - 1 - near, chance.randrange(len(mutated))))
        match chance.randrange(6):
            case 0:
                del mutated[place : place + chance.randint(1, 64)]
            case 1:
                mutated[place:place] = mutated[place : place + chance.randint(1, 64)]
            case 2 if chance.random() < 0.3:
                del mutated[place:]
            case _:
                mutated[place] = chance.randrange(256)
    return bytes(mutated)


def _pickle(content: bytes, chance: random.Random) -> bytes:
    """Another pickle in an archive that is sound."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(written, "w") as again:
        for entry in archive.infolist():
            data = archive.read(entry)
            if entry.filename.endswith("data.pkl"):
                mutated = bytearray(data)
                for _ in range(chance.randint(1, 4)):
                    mutated[chance.randrange(len(mutated))] = chance.randrange(256)
                data = bytes(mutated)
            again.writestr(entry.filename, data)
    return written.getvalue()


def _table(content: bytes, chance: random.Random) -> bytes:
    """Other values in a checkpoint: tensors that are missing, misnamed, of other shapes, dtypes, or none."""
    table = torch.load(io.BytesIO(content), weights_only=True)
    for _ in range(chance.randint(1, 3)):
        place = chance.choice(list(_places(table)) or [(table, next(iter(table)))])
        container, key = place
        if key not in container:
            continue
        match chance.randrange(5):
            case 0:
                del container[key]
            case 1:
                container[chance.choice((f"{key}x", f"x.{key}", 7, key[:-1]))] = container.pop(key)
            case 2 if isinstance(container[key], torch.Tensor):
                tensor = container[key]
                container[key] = chance.choice(
                    (tensor[:1], tensor[None], tensor.reshape(-1), tensor.long(), tensor.double(), tensor.bool(),
                     tensor.to(torch.complex64), tensor * float("nan"), tensor.bfloat16(), tensor[:0],
                     tensor.to_sparse(), torch.zeros(1).expand(tensor.shape))
                )  # fmt: skip
            case _:
                container[key] = copy.deepcopy(chance.choice([value for value in ODD_VALUES if value != "\ud800"]))
    written = io.BytesIO()
    torch.save(table, written)
    return written.getvalue()


def _places(container: Any) -> Any:
    """Every container within and each of its keys."""
    if isinstance(container, dict):
        for key, value in container.items():
            yield container, key
            yield from _places(value)


def _json(content: bytes, chance: random.Random) -> bytes:
    """Other values in a JSON file."""
    table = json.loads(content)
    for _ in range(chance.randint(1, 3)):
        places = list(_places(table))
        if not places:
            break
        container, key = chance.choice(places)
        if chance.random() < 0.3:
            del container[key]
        else:
            container[key] = copy.deepcopy(chance.choice(ODD_VALUES))
    return json.dumps(table).encode()


def _graph(content: bytes, chance: random.Random) -> bytes:
    """Another graph: nodes and weights that are missing, misnamed, joined otherwise, of other shapes and types."""
    model = onnx.load_from_string(content)
    graph = model.graph
    for _ in range(chance.randint(1, 3)):
        node = chance.choice(graph.node)
        weight = chance.choice(graph.initializer)
        match chance.randrange(10):
            case 0:
                graph.node.remove(node)
            case 1:
                graph.initializer.remove(weight)
            case 2:
                node.op_type = chance.choice(("Conv", "Relu", "Gather", "Loop", "Identity", "Cast", ""))
            case 3 if node.input:
                node.input[chance.randrange(len(node.input))] = chance.choice(
                    (weight.name, "", "nowhere", *(node.output or ["x"]))
                )
            case 4 if node.attribute:
                attribute = chance.choice(node.attribute)
                attribute.ints.append(chance.choice((0, -1, 2**40, 3)))
                attribute.i = chance.choice((0, -1, 2**62))
            case 5:
                weight.name = chance.choice((f"{weight.name}x", "", "enc_p.emb.weight", "dec.ups.9.weight"))
            case 6 if weight.dims:
                weight.dims[chance.randrange(len(weight.dims))] = chance.choice((0, -1, 1, 2**40, 7))
            case 7:
                weight.data_type = chance.choice((0, 1, 7, 8, 10, 16, 99))
            case 8:
                weight.raw_data = weight.raw_data[: chance.randrange(len(weight.raw_data) + 1)]
            case _ if model.metadata_props:
                chance.choice(model.metadata_props).value = str(chance.choice(ODD_VALUES[:-2]))
    return model.SerializeToString()
