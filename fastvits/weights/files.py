"""Files of weights as tables of tensors that are not read yet: safetensors and PyTorch files, single or sharded.

`open_weights` opens what a folder has; `respell` brings the names in it to those of the model. Tensors are views of the
memory-mapped files. A weight-normed weight `w = g * v / ||v||` (norm over all axes but the first) may be in a file as

- `NAME.parametrizations.weight.original0` (g, `[C_out, 1, 1]`) and `original1` (v, `[C_out, C_in, K]`), the newer form;
- `NAME.weight_g` and `NAME.weight_v`: the older spelling of the same two;
- `NAME.weight`, the folded product: taken as `v = w`, `g = ||w||`. And where the model has a plain weight but the file
  has the two parts, they are folded into it.

More than one form of the same weight in a file is refused.
"""

import pickle
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..storage import first_line, read_json

DTYPES: Mapping[str, torch.dtype] = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}
"""The dtypes that a model can have, by name."""

SAFETENSORS_FILE = "model.safetensors"
SAFETENSORS_INDEX = "model.safetensors.index.json"
BIN_FILE = "pytorch_model.bin"
BIN_INDEX = "pytorch_model.bin.index.json"

_SAFETENSORS_DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
_GAIN, _DIRECTION = "parametrizations.weight.original0", "parametrizations.weight.original1"
_NEWER_LEAVES = {"weight_g": _GAIN, "weight_v": _DIRECTION}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that a file offers.

    Attributes:
        shape: its shape.
        dtype: its dtype, or None if it is none that a model can have.
        dtype_name: the dtype as the file calls it.
        read: returns the tensor, on the CPU.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype | None
    dtype_name: str
    read: Callable[[], Tensor]


Table = dict[str, StoredTensor]


def with_variant(name: str, variant: str | None) -> str:
    """The name of a file of weights with the published mark of a variant: `model.fp16.safetensors`."""
    if variant is None:
        return name
    stem, _, ending = name.rpartition(".")
    return f"{stem}.{variant}.{ending}"


def patterns(variant: str | None, safetensors: bool) -> list[str]:
    """Shell-style patterns of the files of weights of a kind."""
    single, index = (SAFETENSORS_FILE, SAFETENSORS_INDEX) if safetensors else (BIN_FILE, BIN_INDEX)
    stem, _, ending = with_variant(single, variant).rpartition(".")
    return [with_variant(single, variant), f"{stem}-*.{ending}", with_variant(index, variant)]


def open_weights(
    folder: Path,
    wanted: Callable[[str], bool],
    *,
    variant: str | None = None,
    use_safetensors: bool | None = None,
) -> Table | None:
    """The tensors of the model in `folder` whose stored names are `wanted`, or None if the folder has no weights.

    Safetensors are preferred to PyTorch's `.bin`, and a single file to shards; `use_safetensors` asks for one kind
    alone. `variant` is a part of the files' names. A shard without a wanted tensor is not opened, and need not be
    there.

    Raises:
        OSError: a file is missing, truncated or corrupt.
        ValueError: a file that is no table of tensors, or an index that disagrees with its shards.
    """
    for name, name_of_index, open_file, safetensors in (
        (SAFETENSORS_FILE, SAFETENSORS_INDEX, _open_safetensors, True),
        (BIN_FILE, BIN_INDEX, _open_bin, False),
    ):
        if use_safetensors is not None and use_safetensors != safetensors:
            continue
        single, index = with_variant(name, variant), with_variant(name_of_index, variant)
        if (folder / single).is_file():
            table = open_file(folder / single)
        elif (folder / index).is_file():
            table = _open_shards(folder / index, open_file, wanted)
        else:
            continue
        return {name: entry for name, entry in table.items() if wanted(name)}
    return None


def _open_safetensors(path: Path) -> Table:
    """The tensors of one safetensors file, of which only the header is read."""
    from safetensors import SafetensorError, safe_open

    table = {}
    try:
        handle = safe_open(
            path, framework="pt", device="cpu"
        )  # memory-maps the file; get_tensor gives views of the map
        for name in handle.keys():  # noqa: SIM118 - the handle is no mapping
            header = handle.get_slice(name)
            kind = str(header.get_dtype())
            read = partial(handle.get_tensor, name)
            table[name] = StoredTensor(tuple(header.get_shape()), _SAFETENSORS_DTYPES.get(kind), kind, read)
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise OSError(f"{path} is truncated, corrupt, or no safetensors file ({first_line(error)})") from None
    return table


def _open_bin(path: Path) -> Table:
    """The tensors of one PyTorch file, through the loader that runs no code from the file."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        raise ValueError(f"{path} is corrupt or holds more than tensors: refused, and nothing in it was run") from None
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise OSError(f"{path} is truncated, corrupt, or no PyTorch file ({first_line(error)})") from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} is not a table of names and tensors")
    table = {}
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ValueError(f"{path} is not a table of names and tensors")
        dtype = tensor.dtype if tensor.dtype in DTYPES.values() else None
        table[name] = StoredTensor(
            tuple(tensor.shape), dtype, str(tensor.dtype).removeprefix("torch."), partial(tensor.detach)
        )
    return table


def _open_shards(index: Path, open_file: Callable[[Path], Table], wanted: Callable[[str], bool]) -> Table:
    """The tensors of the shards that hold a wanted one, by an index."""
    files = read_json(index).get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(file, str) for file in files.values()):
        raise ValueError(f"{index} has no 'weight_map' from names of tensors to names of files")
    table: Table = {}
    for file in sorted({file for name, file in files.items() if wanted(name)}):
        path = index.parent / file
        if Path(file).name != file:
            raise ValueError(f"{index} names a shard outside its own folder: {file!r}")
        if not path.is_file():
            raise OSError(f"{index} names the shard {file!r}, which is not there")
        shard = open_file(path)
        promised = {name for name, its_file in files.items() if its_file == file and wanted(name)}
        absent = sorted(promised - shard.keys())
        if absent:
            raise ValueError(f"{path} lacks tensors that {index.name} says it has:\n{listing(absent)}")
        # A tensor that the index places in another shard comes from there; one that it forgets counts as well.
        table.update({name: entry for name, entry in shard.items() if name in promised or name not in files})
    return table


def table_of(tensors: Mapping[str, Tensor]) -> Table:
    """Tensors at hand as a table, which gives copies of them.

    Raises TypeError for what is no mapping of names to tensors.
    """
    table = {}
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise TypeError(f"state_dict must map names to tensors, got {name!r}: {type(tensor).__name__}")
        dtype = tensor.dtype if tensor.dtype in DTYPES.values() else None
        read = partial(torch.clone, tensor.detach())
        table[name] = StoredTensor(tuple(tensor.shape), dtype, str(tensor.dtype).removeprefix("torch."), read)
    return table


def newer_spelling(name: str) -> str:
    """The name to write for a parameter: the newer spelling of weight norm, no wrapper of `torch.compile`."""
    owner, dot, leaf = name.replace("_orig_mod.", "").rpartition(".")
    return owner + dot + _NEWER_LEAVES.get(leaf, leaf)


def respell(table: Table, expected: Iterable[str]) -> Table:
    """The same tensors under the names that a model expects: newer spelling of weight norm, folded or unfolded.

    Raises:
        ValueError: a weight that is there in more than one form, or norms that do not fit their directions.
    """
    result: Table = {}
    twice = []
    for name, entry in table.items():
        newer = newer_spelling(name)
        if newer in result:
            twice.append(newer)
        result[newer] = entry
    names = set(expected)
    suffix = f".{_DIRECTION}"
    for owner in sorted(name.removesuffix(suffix) for name in result.keys() | names if name.endswith(suffix)):
        plain, gain, direction = f"{owner}.weight", f"{owner}.{_GAIN}", f"{owner}.{_DIRECTION}"
        if plain in result and (gain in result or direction in result):
            twice.append(plain)
        elif plain in result and direction in names:
            weight = result.pop(plain)
            ones = tuple(1 for _ in weight.shape[1:])
            result[gain] = replace(weight, shape=weight.shape[:1] + ones, read=partial(_read_gain, weight))
            result[direction] = replace(weight, read=partial(_read_direction, weight))
        elif plain in names and gain in result and direction in result:
            parts = result.pop(gain), result.pop(direction)
            shape = parts[1].shape[:1] + (1,) * len(parts[1].shape[1:])
            if parts[0].shape != shape:  # another one could make the product a tensor of more axes
                raise ValueError(f"{gain} must have the shape {list(shape)}, got {list(parts[0].shape)}")
            dtype = None if parts[0].dtype is None else parts[1].dtype
            result[plain] = replace(parts[1], dtype=dtype, read=partial(_read_folded, *parts))
    if twice:
        raise ValueError(f"more than one form of the same weight:\n{listing(twice)}")
    return result


def _norm(weight: Tensor) -> Tensor:
    """`||w||` over all axes but the first, which stay as axes of size 1, in float32 or wider."""
    wide = torch.promote_types(weight.dtype, torch.float32)
    return torch.linalg.vector_norm(weight, dim=tuple(range(1, weight.dim())), keepdim=True, dtype=wide)


def _read_gain(weight: StoredTensor) -> Tensor:
    """The norm, rounded once: how sums are ordered, which differs from machine to machine, must not show in a file."""
    tensor = weight.read()
    return _norm(tensor.double()).to(torch.promote_types(tensor.dtype, torch.float32))


def _read_direction(weight: StoredTensor) -> Tensor:
    """`w` itself, but ones for a channel that is 0 throughout: its gain is 0, and 0 / ||0|| would not be a number."""
    tensor = weight.read()
    empty = _norm(tensor) == 0
    return torch.where(empty, torch.ones_like(tensor), tensor) if bool(empty.any()) else tensor


def _read_folded(gain: StoredTensor, direction: StoredTensor) -> Tensor:
    tensor = direction.read()
    norm = _norm(tensor)
    return gain.read().to(norm.dtype) * tensor.to(norm.dtype) / norm


def listing(names: Iterable[str]) -> str:
    """Names in indented lines that fit a terminal, none of them broken."""
    return textwrap.fill(
        ", ".join(names),
        width=110,
        initial_indent="    ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
