"""A Triton driver whose GPU is a program: kernels are compiled for an AMD GPU, and their machine code is executed on
the CPU by the emulator in a checkout of tinygrad (`test/mockgpu/amd/emu.py`).

Tensors of a launch lie on the CPU. Arguments lie in memory as Triton's own launcher for HIP lays them: constants and
arguments that were specialised to 1 are left out, each of the others is aligned to its size, and two scratch pointers
come last.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WAVE = {"gfx1100": 32, "gfx942": 64}
"""Threads of a wave, by target."""
_ARCHITECTURES = {"gfx1100": "rdna3", "gfx942": "cdna"}
_LDS_BYTES = 64 * 1024

_FORMATS = {
    "i1": "b", "i8": "b", "u8": "B", "i16": "h", "u16": "H", "i32": "i", "u32": "I", "i64": "q", "u64": "Q",
    "fp32": "f", "f32": "f", "fp64": "d", "f64": "d",
}  # fmt: skip


class EmulatorError(RuntimeError):
    """The emulator cannot run a kernel; the message is its own."""


# A lane exchange within a row of sixteen: the operation, its registers, and from where each lane takes its value.
_EXCHANGE = re.compile(
    r"^(?P<indent>\s*)v_(?P<op>\w+?)(?P<long>_e64)?_dpp (?P<to>v\d+), (?P<carry>(?:s\d+|vcc_lo|null), )?(?P<from>v\d+)"
    r"(?P<others>(?:, (?!row_|quad_)[\w|\[\]:-]+)*) (?P<lanes>quad_perm:\S+|row_\w+(?::\d+)?)"
    r" row_mask:0xf bank_mask:0xf bound_ctrl:1$",
    re.MULTILINE,
)
_SPARE = ("v254", "v255")
_SPARE_SCALAR = "s100"
_PERMUTATION = re.compile(r"^(\s*)(v_permlanex16_b32 v\d+, v\d+, s\d+, )(0x[0-9a-f]+)", re.MULTILINE)
# Lane i takes the value of lane i ^ n: as exchanges that the emulator knows.
_XOR = {
    "1": ["quad_perm:[1,0,3,2]"], "2": ["quad_perm:[2,3,0,1]"], "3": ["quad_perm:[3,2,1,0]"],
    "4": ["row_half_mirror", "quad_perm:[3,2,1,0]"], "7": ["row_half_mirror"], "8": ["row_ror:8"], "15": ["row_mirror"],
}  # fmt: skip


# Exchanges over all lanes that write the register that they read.
_OVER_ITSELF = re.compile(
    r"^(\s*)((?:ds_b?permute_b32 (?P<to>v\d+), v\d+, |v_permlanex?16_b32 (?P<too>v\d+), ))(?P<from>v\d+)\b",
    re.MULTILINE,
)
# Loads from shared memory into one half of a register, of which the emulator loses the other half.
_HALF = re.compile(r"^(\s*)ds_load_(u16|u8)_d16(_hi)? (v\d+), (.*)$", re.MULTILINE)
# An instruction of gfx1100 that empties a cache, which the emulator has none of and cannot decode.
_INVALIDATION = re.compile(r"^(\s*)buffer_gl[01]_inv$", re.MULTILINE)


def for_emulator(assembly: str) -> str:
    """Assembly that the emulator executes as a GPU does.

    The emulator takes one lane after another: where an exchange writes the register that it reads, later lanes get what
    earlier ones wrote. It lacks `row_xmask`, and exchanges in instructions of the long form. All are put as moves by
    way of registers that the kernel leaves free. It misreads a number among the operands of `v_permlanex16`, which goes
    to a register first, and loses half a register where the other half is loaded from shared memory. And instructions
    that empty a cache become ones that do nothing.
    """
    assembly = _INVALIDATION.sub(r"\1s_nop 0", assembly)
    if re.search(rf"\b(?:{'|'.join((*_SPARE, _SPARE_SCALAR))})\b", assembly):
        return assembly
    assembly = _PERMUTATION.sub(rf"\1s_mov_b32 {_SPARE_SCALAR}, \3\n\1\2{_SPARE_SCALAR}", assembly)

    def exchange(match: re.Match[str]) -> str:
        kind, _, number = match["lanes"].partition(":")
        steps = _XOR.get(number) if kind == "row_xmask" else [match["lanes"]]
        registers = [match["from"], *match["others"].split(", ")]
        if steps is None or (kind != "row_xmask" and not match["long"] and match["to"] not in registers):
            return match.group()
        lines, source = [], match["from"]
        for step, spare in zip(steps, _SPARE, strict=False):
            lines.append(f"v_mov_b32_dpp {spare}, {source} {step} row_mask:0xf bank_mask:0xf bound_ctrl:1")
            source = spare
        form = match["long"] or "_e32"
        lines.append(f"v_{match['op']}{form} {match['to']}, {match['carry'] or ''}{source}{match['others']}")
        return "\n".join(match["indent"] + line for line in lines)

    def over_itself(match: re.Match[str]) -> str:
        if match["from"] not in (match["to"], match["too"]):
            return match.group()
        return f"{match[1]}v_mov_b32_e32 {_SPARE[0]}, {match['from']}\n{match[1]}{match[2]}{_SPARE[0]}"

    def half(match: re.Match[str]) -> str:
        indent, kind, is_high, register, address = match.groups()
        spare = _SPARE[0]
        joined = f"v_lshl_or_b32 {register}, {spare}, 16," if is_high else f"v_or_b32_e32 {register}, {spare},"
        return (
            f"{indent}ds_load_{kind} {spare}, {address}\n"
            f"{indent}v_and_b32_e32 {register}, {'0xffff' if is_high else '0xffff0000'}, {register}\n"
            f"{indent}{joined} {register}"
        )

    assembly = _HALF.sub(half, assembly)
    assembly = _OVER_ITSELF.sub(over_itself, assembly)
    return _EXCHANGE.sub(exchange, assembly)


@dataclass
class _Function:
    """A kernel in memory.

    Attributes:
        memory: the loaded image.
        entry, size: where its code begins, and how many bytes the image has.
        scratch: bytes of memory of each thread alone.
        registers: the second word of resources in its descriptor, shared memory filled in.
        properties: which values its first scalar registers hold.
    """

    memory: Any
    entry: int
    size: int
    scratch: int
    registers: int
    properties: int


def load_emulator(checkout: Path) -> Any:
    """The emulator's module of a checkout of tinygrad.

    Raises:
        FileNotFoundError: there is none, or no clang.
        ImportError: it is another one than this knows.
    """
    if not (checkout / "test" / "mockgpu" / "amd" / "emu.py").is_file():
        raise FileNotFoundError(f"{checkout} is no checkout of tinygrad: it has no test/mockgpu/amd/emu.py")
    if shutil.which("clang") is None:
        raise FileNotFoundError("the emulator compiles what an instruction does with clang, which is not on the PATH")
    os.environ.setdefault("DEV", "CPU")
    sys.path.insert(0, str(checkout))
    from test.mockgpu.amd import emu

    if not hasattr(emu, "run_asm"):
        raise ImportError(f"the emulator in {checkout} has no run_asm; a checkout of August 2026 has")
    _mend_broadcasts(emu)
    return emu


def _mend_broadcasts(emulator: Any) -> None:
    """Have `row_bcast` take the last lane of the row before, or lane 31, as the instruction set of CDNA 3 says.

    The emulator takes the first lane of the same row.
    """
    exchange, decode, dtypes = emulator._dpp16_ctrl, emulator.decode_dpp16, emulator.dtypes

    def mended(lane: Any, control: int, row_mask: int, bank_mask: int, wave_size: int) -> tuple[Any, Any, Any]:
        source, enabled, valid = exchange(lane, control, row_mask, bank_mask, wave_size)
        kind, last = decode(control)
        if kind != "row_bcast":
            return source, enabled, valid
        here = lane.cast(dtypes.int)
        before = (here & emulator._c(~15, dtypes.int)) - emulator._c(1, dtypes.int)
        return before if last == 15 else emulator._c(31, dtypes.int), enabled, here > emulator._c(last, dtypes.int)

    emulator._dpp16_ctrl = mended


def _loaded(binary: bytes, name: str, shared: int) -> _Function:
    """An ELF image of AMD's loaded into memory, and what the descriptor of a kernel says."""
    (program_offset, section_offset) = struct.unpack_from("<QQ", binary, 32)
    program_size, programs, section_size, sections = struct.unpack_from("<HHHH", binary, 54)
    segments = []
    for number in range(programs):
        kind, _, offset, address, _, in_file, in_memory, _ = struct.unpack_from(
            "<IIQQQQQQ", binary, program_offset + number * program_size
        )
        if kind == 1:
            segments.append((offset, address, in_file, in_memory))
    size = max(address + in_memory for _, address, _, in_memory in segments)
    memory = ctypes.create_string_buffer(size + 4096 + 64)
    # Code has to begin where 256 divides, as the loader of a GPU has it.
    base = (ctypes.addressof(memory) + 4095) // 4096 * 4096
    for offset, address, in_file, _ in segments:
        ctypes.memmove(base + address, binary[offset : offset + in_file], in_file)
    headers = [
        struct.unpack_from("<IIQQQQIIQQ", binary, section_offset + number * section_size) for number in range(sections)
    ]
    for header in headers:
        if header[1] not in (2, 11):  # the tables of symbols
            continue
        names = headers[header[6]]
        for at in range(header[4], header[4] + header[5], 24):
            name_at, _, _, _, value, _ = struct.unpack_from("<IBBHQQ", binary, at)
            start = names[4] + name_at
            if binary[start : binary.index(b"\0", start)] == f"{name}.kd".encode():
                descriptor = bytes((ctypes.c_char * 64).from_address(base + value).raw)
                lds, scratch = struct.unpack_from("<II", descriptor)
                (entry,) = struct.unpack_from("<q", descriptor, 16)
                (registers,) = struct.unpack_from("<I", descriptor, 52)
                (properties,) = struct.unpack_from("<H", descriptor, 56)
                blocks = -(-max(lds, shared) // 512)
                registers = registers & ~(0x1FF << 15) | blocks << 15
                return _Function(memory, base + value + entry, size, scratch, registers, properties)
    raise EmulatorError(f"the binary has no kernel {name}")


def packed(signature: dict[Any, str], arguments: tuple[Any, ...]) -> bytes:
    """The arguments of a launch as they lie in memory.

    Args:
        signature: the type of each parameter, `constexpr` for what is no argument.
        arguments: a value for each of them.
    """
    memory = bytearray()

    def put(kind: str, value: Any) -> None:
        size = struct.calcsize(kind)
        memory.extend(bytes(-len(memory) % size))
        memory.extend(struct.pack(f"<{kind}", value))

    for kind, value in zip(signature.values(), arguments, strict=True):
        if kind == "constexpr":
            continue
        if kind.startswith("*"):
            put("Q", 0 if value is None else value.data_ptr())
        elif kind in _FORMATS:
            put(_FORMATS[kind], value)
        else:
            raise EmulatorError(f"an argument of the type {kind} cannot be passed")
    put("Q", 0)
    put("Q", 0)
    return bytes(memory)


class Emulator:
    """The driver.

    Args:
        emulator: the module that `load_emulator` gives.
        target: a key of `WAVE`.
    """

    def __init__(self, emulator: Any, target: str) -> None:
        self.emulator, self.target = emulator, target
        self.utils = self
        self.launches = 0

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("hip", self.target, WAVE[self.target])

    def get_current_device(self) -> int:
        return list(WAVE).index(self.target)  # what is compiled for one is not launched on the other

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_device_properties(self, device: int) -> dict[str, int]:
        return {"max_shared_mem": _LDS_BYTES}

    def load_binary(self, name: str, binary: bytes, shared: int, device: int) -> tuple[Any, ...]:
        # The module, the function, registers, spills and the most threads.
        return name, _loaded(binary, name, shared), 32, 0, 1024

    def unload_module(self, module: Any) -> None:
        pass

    def launcher_cls(self, source: Any, metadata: Any) -> Any:
        threads = metadata.num_warps * WAVE[self.target]

        def run(x: int, y: int, z: int, stream: int, function: _Function, *rest: Any) -> None:
            # Behind the arguments lie the sizes of grid and block: code objects of version 5 read them there.
            memory = packed(source.signature, rest[4:]) + struct.pack("<IIIHHH", x, y, z, threads, 1, 1)
            kernarg = ctypes.create_string_buffer(memory + bytes(256), len(memory) + 256)
            address = ctypes.addressof(kernarg)
            self.launches += 1
            try:
                self.emulator.run_asm(
                    function.entry,
                    function.size,
                    x,
                    y,
                    z,
                    threads,
                    1,
                    1,
                    address,
                    rsrc2=function.registers,
                    scratch_size=function.scratch,
                    arch=_ARCHITECTURES[self.target],
                    user_data=_user_data(function.properties, address),
                )
            except (RuntimeError, NotImplementedError, ValueError, KeyError, AssertionError) as error:
                raise EmulatorError(str(error) or type(error).__name__) from error

        return run


def _user_data(properties: int, kernarg: int) -> list[int]:
    """The first scalar registers as a kernel's descriptor asks for them; only the arguments' address is told."""
    registers: list[int] = []
    for bit, words in enumerate((4, 2, 2, 2, 2, 2, 1)):
        if properties >> bit & 1:
            registers += [kernarg & 0xFFFFFFFF, kernarg >> 32] if bit == 3 else [0] * words
    return registers
