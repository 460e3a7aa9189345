"""Piper voices: an ONNX graph and a JSON file become a folder that `VitsModel.from_pretrained` reads."""

from .voice import CONVERTER_VERSION, convert, read

__all__ = ["CONVERTER_VERSION", "convert", "read"]
