"""What stands around the emulator of AMD's machine code; the emulator itself is no part of the tests."""

import struct

import pytest
import torch

from bench.gpu.amd_emulator import EmulatorError, _user_data, for_emulator, load_emulator, packed
from bench.gpu.emulate import _shortest, chosen_cases, main


def test_arguments_lie_as_the_launcher_lays_them():
    tensor = torch.zeros(4)
    signature = {
        "x": "*fp32",
        "n": "i32",
        "one": "constexpr",
        "scale": "fp32",
        "y": "*bf16",
        "flag": "i1",
        "big": "i64",
    }
    memory = packed(signature, (tensor, 7, 1, 0.5, None, True, 2**40))
    assert memory == struct.pack("<QifQbxxxxxxxqQQ", tensor.data_ptr(), 7, 0.5, 0, 1, 2**40, 0, 0)
    with pytest.raises(EmulatorError, match="type tensordesc"):
        packed({"x": "tensordesc"}, (tensor,))


def test_the_address_of_the_arguments_stands_where_the_descriptor_says():
    assert _user_data(0b1000, 0x1_0000_0002) == [2, 1]
    assert _user_data(0b1011, 0x1_0000_0002) == [0] * 6 + [2, 1]


MASKS = "row_mask:0xf bank_mask:0xf bound_ctrl:1"


@pytest.mark.parametrize(
    ("line", "equal"),
    [
        (
            f"\tv_add_f32_dpp v4, v4, v4 row_xmask:2 {MASKS}",
            f"\tv_mov_b32_dpp v254, v4 quad_perm:[2,3,0,1] {MASKS}\n\tv_add_f32_e32 v4, v254, v4",
        ),
        (
            f"\tv_add_f32_dpp v5, v4, v4 row_xmask:4 {MASKS}",
            f"\tv_mov_b32_dpp v254, v4 row_half_mirror {MASKS}\n"
            f"\tv_mov_b32_dpp v255, v254 quad_perm:[3,2,1,0] {MASKS}\n\tv_add_f32_e32 v5, v255, v4",
        ),
        (
            f"\tv_mov_b32_dpp v1, v1 row_ror:8 {MASKS}",
            f"\tv_mov_b32_dpp v254, v1 row_ror:8 {MASKS}\n\tv_mov_b32_e32 v1, v254",
        ),
        (
            f"\tv_add_co_u32_e64_dpp v0, s1, v2, v3 row_shr:8 {MASKS}",
            f"\tv_mov_b32_dpp v254, v2 row_shr:8 {MASKS}\n\tv_add_co_u32_e64 v0, s1, v254, v3",
        ),
        (f"\tv_mov_b32_dpp v5, v1 row_ror:8 {MASKS}", None),
        (
            "\tv_permlanex16_b32 v2, v1, s1, 0xfedcba98 op_sel:[1,0]",
            "\ts_mov_b32 s100, 0xfedcba98\n\tv_permlanex16_b32 v2, v1, s1, s100 op_sel:[1,0]",
        ),
        (
            "\tds_load_u16_d16_hi v25, v1 offset:2528",
            "\tds_load_u16 v254, v1 offset:2528\n\tv_and_b32_e32 v25, 0xffff, v25\n\tv_lshl_or_b32 v25, v254, 16, v25",
        ),
        (
            "\tds_bpermute_b32 v9, v26, v9",
            "\tv_mov_b32_e32 v254, v9\n\tds_bpermute_b32 v9, v26, v254",
        ),
        ("\ts_barrier\n\tbuffer_gl0_inv\n", "\ts_barrier\n\ts_nop 0\n"),
        ("\tv_add_f32_e32 v4, v4, v4", None),
        (f"\tv_add_f32_dpp v4, v4, v255 row_xmask:2 {MASKS}", None),
    ],
)
def test_exchanges_between_lanes_are_put_as_equal_ones(line, equal):
    assert for_emulator(line) == (line if equal is None else equal)


def test_an_exchange_by_xor_takes_the_lane_that_it_says():
    lanes = list(range(16))
    steps = {
        "quad_perm:[1,0,3,2]": lambda i: i ^ 1, "quad_perm:[2,3,0,1]": lambda i: i ^ 2,
        "quad_perm:[3,2,1,0]": lambda i: i ^ 3, "row_half_mirror": lambda i: i & 8 | 7 - (i & 7),
        "row_mirror": lambda i: 15 - i, "row_ror:8": lambda i: (i - 8) % 16,
    }  # fmt: skip
    from bench.gpu.amd_emulator import _XOR

    for number, names in _XOR.items():
        values = lanes
        for name in names:
            values = [values[steps[name](lane)] for lane in lanes]
        assert values == [lane ^ int(number) for lane in lanes]


def test_what_is_missing_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(FileNotFoundError, match="no checkout of tinygrad"):
        load_emulator(tmp_path)
    for arguments, message in (
        (["--tinygrad", str(tmp_path)], "no checkout of tinygrad"),
        (["--tinygrad", str(tmp_path), "--op", "nothing"], "no op with a Triton kernel is called nothing"),
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        assert message in capsys.readouterr().err
    message = "[emu] Failed to compile v_add_f32_e32(v[4], DPP): NotImplementedError: no"
    assert _shortest(message) == "v_add_f32_e32"
    assert len(chosen_cases(["layer_norm", "conv1d"], 2)) == 4
