"""A small builder of ONNX graphs: nodes by function calls, weights by their names, constants each once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

WEIGHT_TYPES = ("float32", "float16", "int8")
"""How the weights of the flow and the decoder may be stored; what lengths depend on stays in float32."""

OPSET = 15

_SMALL = ("enc_p.", "dp.", "emb_g.")  # what decides lengths, or is small
_INT64_MIN = -(2**63) + 1


class GraphBuilder:
    """An ONNX graph that grows.

    Values are strings, the names of tensors. Weights have the names of the original VITS, and a layer's node the path
    of its module, `/dec.ups.0/ConvTranspose`, as exporters of torch name them: whoever reads the file finds everything.

    Args:
        weights: the parameters by the names of the original VITS, weight norm folded.
        stored_as: one of `WEIGHT_TYPES`.
    """

    def __init__(self, weights: dict[str, Tensor], stored_as: str = "float32") -> None:
        self.weights = weights
        self.stored_as = stored_as
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._constants: dict[tuple[Any, ...], str] = {}
        self._stored: dict[str, str] = {}
        self._count = 0

    def has(self, name: str) -> bool:
        """Whether there is such a weight."""
        return name in self.weights

    def op(self, op_type: str, *inputs: str, path: str | None = None, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; returns the name of its output, or names where there are several."""
        from onnx import helper

        self._count += 1
        stem = f"/{path}/{op_type}" if path is not None else f"{op_type}_{self._count}"
        names = [f"{stem}_output_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(op_type, list(inputs), names, name=stem, **attributes))
        return names[0] if outputs == 1 else names

    def rename_last(self, name: str) -> str:
        """Give the output of the last node another name."""
        self.nodes[-1].output[0] = name
        return name

    def constant(self, value: Any, dtype: type = np.float32) -> str:
        """A constant tensor."""
        array: np.ndarray[Any, Any] = np.asarray(value, dtype=dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = f"constant_{len(self._constants)}"
            self._store(self._constants[key], array)
        return self._constants[key]

    def integers(self, *values: int) -> str:
        """A constant vector of whole numbers, such as axes."""
        return self.constant(values, np.int64)

    def weight(self, name: str) -> str:
        """A weight as float32, however it is stored."""
        if name not in self._stored:
            array = self.weights[name].detach().float().cpu().numpy()
            large = array.ndim == 3 and not name.startswith(_SMALL)
            kind = self.stored_as if large else "float32"
            self._stored[name] = {"float32": self._plain, "float16": self._half, "int8": self._quantized}[kind](
                name, array
            )
        return self._stored[name]

    def _store(self, name: str, array: np.ndarray[Any, Any]) -> str:
        from onnx import numpy_helper

        self.initializers.append(numpy_helper.from_array(array.copy(order="C"), name))
        return name

    def _plain(self, name: str, array: np.ndarray[Any, Any]) -> str:
        return self._store(name, array)

    def _half(self, name: str, array: np.ndarray[Any, Any]) -> str:
        from onnx import TensorProto

        largest = float(np.abs(array).max())
        if largest > 65504:
            raise ValueError(f"{name} has the value {largest:g}, beyond float16: export it with weights='float32'")
        return str(self.op("Cast", self._store(name, array.astype(np.float16)), to=TensorProto.FLOAT))

    def _quantized(self, name: str, array: np.ndarray[Any, Any]) -> str:
        """A whole number from -127 to 127 for each weight, and a scale for each slice along the first axis."""
        scale = np.abs(array).max(axis=(1, 2)) / 127
        scale[scale == 0] = 1
        levels = np.rint(array / scale[:, None, None]).clip(-127, 127).astype(np.int8)
        inputs = (
            self._store(f"{name}_levels", levels),
            self._store(f"{name}_scale", scale.astype(np.float32)),
            self._store(f"{name}_zero", np.zeros(len(scale), np.int8)),
        )
        self.op("DequantizeLinear", *inputs, axis=0)
        return self.rename_last(name)

    # -----------------------------------------------------------------------------------------------------------------
    # What a network is made of, [B, C, T]

    def conv(
        self, module: str, x: str, *, dilation: int = 1, group: int = 1, pads: tuple[int, int] | None = None
    ) -> str:
        """A convolution that keeps the length; `pads` where it is not padded evenly."""
        kernel = self.weights[f"{module}.weight"].shape[2]
        reach = (kernel - 1) * dilation
        around = [reach // 2, reach - reach // 2] if pads is None else list(pads)
        inputs = [x, self.weight(f"{module}.weight")]
        if self.has(f"{module}.bias"):
            inputs.append(self.weight(f"{module}.bias"))
        out: str = self.op(
            "Conv",
            *inputs,
            path=module,
            kernel_shape=[kernel],
            dilations=[dilation],
            group=group,
            pads=around,
            strides=[1],
        )
        return out

    def layer_norm(self, x: str, gamma: str, beta: str, eps: float) -> str:
        """Normalisation over the channels of `[B, C, T]`."""
        y = self.transposed(x, 0, 2, 1)
        centred = self.op("Sub", y, self.op("ReduceMean", y, axes=[-1], keepdims=1))
        variance = self.op("ReduceMean", self.op("Mul", centred, centred), axes=[-1], keepdims=1)
        deviation = self.op("Sqrt", self.op("Add", variance, self.constant(eps)))
        scaled = self.op("Mul", self.op("Div", centred, deviation), self.weight(gamma))
        return self.transposed(self.op("Add", scaled, self.weight(beta)), 0, 2, 1)

    def gelu(self, x: str) -> str:
        """`x / 2 (1 + erf(x / sqrt 2))`."""
        erf = self.op("Erf", self.op("Div", x, self.constant(2**0.5)))
        return str(self.op("Mul", self.op("Mul", x, self.op("Add", erf, self.constant(1.0))), self.constant(0.5)))

    def transposed(self, x: str, *axes: int) -> str:
        """Axes in another order."""
        return str(self.op("Transpose", x, perm=list(axes)))

    def reshaped(self, x: str, shape: Sequence[int]) -> str:
        """Another shape; 0 keeps an axis, -1 is what is left."""
        return str(self.op("Reshape", x, self.integers(*shape)))

    def unsqueezed(self, x: str, *axes: int) -> str:
        """With new axes of size 1."""
        return str(self.op("Unsqueeze", x, self.integers(*axes)))

    def halves(self, x: str, size: int, axis: int = 1) -> tuple[str, str]:
        """Two parts of `size` along an axis."""
        first, second = self.op("Split", x, self.integers(size, size), outputs=2, axis=axis)
        return first, second

    def slice(self, x: str, start: int, stop: int, axis: int) -> str:
        """The steps `[start, stop)` along an axis."""
        return str(self.op("Slice", x, self.integers(start), self.integers(stop), self.integers(axis)))

    def flipped(self, x: str, axis: int) -> str:
        """An axis in reverse order."""
        return str(
            self.op("Slice", x, self.integers(-1), self.integers(_INT64_MIN), self.integers(axis), self.integers(-1))
        )

    def size(self, x: str, axis: int) -> str:
        """The size of an axis, a scalar."""
        return str(self.op("Gather", self.op("Shape", x), self.constant(axis, np.int64), axis=0))

    def range(self, stop: str) -> str:
        """0, 1 ... `stop - 1`."""
        return str(self.op("Range", self.constant(0, np.int64), stop, self.constant(1, np.int64)))

    def as_float(self, x: str) -> str:
        """In float32."""
        from onnx import TensorProto

        return str(self.op("Cast", x, to=TensorProto.FLOAT))

    def as_integer(self, x: str) -> str:
        """In int64."""
        from onnx import TensorProto

        return str(self.op("Cast", x, to=TensorProto.INT64))
