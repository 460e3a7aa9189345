"""Any voice of another program into a folder: the family is told by looking."""

from __future__ import annotations

import os
from pathlib import Path

from . import coqui, original, pickles, sherpa
from .folder import ConvertedVoice, in_one_sentence, reading
from .foreign import refuse_foreign_parts
from .piper import training as piper_training
from .piper import voice as piper_voice


@in_one_sentence()
def read(
    source: str | os.PathLike[str],
    *,
    config_path: str | os.PathLike[str] | None = None,
    with_discriminator: bool = False,
) -> ConvertedVoice:
    """Reads a voice of another program, whichever it is.

    Args:
        source: a Piper voice `.onnx` or a checkpoint of its training `.ckpt`; a checkpoint of the original VITS or of
            MMS-TTS (`G_*.pth`) or of Coqui's VITS (`.pth`), or the folder that holds it; a sherpa-onnx folder, or the
            `.onnx` in it.
        config_path: the configuration or JSON file, where it does not lie beside under its usual name.
        with_discriminator: also read what tells speech from generated speech, for fine-tuning.

    Raises:
        FileNotFoundError: a file is missing.
        OSError: a file is truncated or corrupt.
        ValueError: nothing that is known, or with something that the model cannot express; the message says what.
        ImportError: a package that reads the file is missing.
    """
    path = Path(source).expanduser()
    config = None if config_path is None else Path(config_path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"there is no voice {path}")
    if path.is_dir():
        path = _of_folder(path)
    with reading(path):
        return _read(path, config, with_discriminator)


def _read(path: Path, config: Path | None, with_discriminator: bool) -> ConvertedVoice:
    """Reads a file by the program that wrote it."""
    if path.suffix.lower() == ".onnx":
        if with_discriminator:
            raise ValueError(f"{path} is a graph for speaking, and has no discriminator")
        if (path.parent / "tokens.txt").is_file() and config is None and not _json_beside(path):
            return sherpa.read(path)
        return piper_voice.read(path, config)
    content = pickles.load(path)
    if "state_dict" in content and ("hyper_parameters" in content or "pytorch-lightning_version" in content):
        return piper_training.read(path, config, with_discriminator=with_discriminator)
    table = content.get("model")
    if not isinstance(table, dict):
        refuse_foreign_parts((str(name) for name in content), path)
        raise ValueError(
            f"{path} is no checkpoint that is known: expected 'model' (original VITS, MMS-TTS, Coqui) or 'state_dict' "
            f"(Piper), found {', '.join(sorted(map(str, content))[:6])}"
        )
    refuse_foreign_parts(map(str, table), path)
    if any(str(name).startswith("enc_p.") for name in table):
        return original.read(path, config, with_discriminator=with_discriminator)
    if any(str(name).startswith(("waveform_decoder.", "text_encoder.")) for name in table):
        return coqui.read(path, config, with_discriminator=with_discriminator)
    raise ValueError(f"{path} holds no VITS: its weights are called {', '.join(sorted(map(str, table))[:3])} ...")


@in_one_sentence()
def convert(
    source: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    config_path: str | os.PathLike[str] | None = None,
    with_discriminator: bool = False,
) -> ConvertedVoice:
    """Converts a voice of another program into a folder for `VitsModel.from_pretrained` and `VitsTokenizer`'s.

    The folder holds config.json, model.safetensors, vocab.json and tokenizer_config.json, and with `with_discriminator`
    discriminator.safetensors. It is written whole or not at all; files of these names in it are replaced. The
    parameters, and what they raise, are those of `read`.

    Returns:
        what was read; `.family` says what the source was taken for.
    """
    voice = read(source, config_path=config_path, with_discriminator=with_discriminator)
    voice.save(folder)
    return voice


def _json_beside(path: Path) -> bool:
    return path.with_name(path.name + ".json").is_file()


def _of_folder(folder: Path) -> Path:
    """The file in a folder that holds the weights."""
    graphs = sorted(path for path in folder.glob("*.onnx") if not path.name.endswith(".int8.onnx"))
    graphs = graphs or sorted(folder.glob("*.onnx"))
    checkpoints = sorted(folder.glob("*.ckpt"))
    if any(folder.glob("G_*.pth")):
        return original.last_step(folder, "G")
    if len(graphs) + len(checkpoints) == 1:
        return (graphs + checkpoints)[0]
    if len(graphs) + len(checkpoints) > 1:
        names = ", ".join(path.name for path in [*graphs, *checkpoints])
        raise ValueError(f"{folder} holds several voices: name one of {names}")
    if any(folder.glob("*.pth")) or (folder / "model_file.pth.tar").is_file():
        return coqui.checkpoint_file(folder)
    if (folder / "model.safetensors").is_file():
        raise ValueError(f"{folder} needs no conversion: it holds a model.safetensors, which from_pretrained reads")
    raise FileNotFoundError(f"{folder} holds no voice: no G_*.pth, .pth, .ckpt or .onnx")
