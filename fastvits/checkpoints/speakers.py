"""Speaker tables with one speaker: what the only speaker adds everywhere becomes part of the biases.

The network of training adds `W g + b` behind a convolution wherever the speaker is heard; with one `g` that is a
constant, and the bias of the convolution before it takes it up, exactly. The plain duration predictor is the exception:
it hears the speaker in front of a convolution, whose padding hears none.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

_FLOW = re.compile(r"(flow\.flows\.\d+|enc_q)\.enc\.cond_layer\.bias")


def fold_single_speaker(parameters: dict[str, Tensor]) -> bool:
    """Takes a table of one speaker out of the parameters of a checkpoint of training, by the original VITS's names.

    Returns:
        whether there was one.

    Raises:
        ValueError: the plain duration predictor hears it, or a layer that it is added to is missing.
    """
    table = parameters.get("emb_g.weight")
    if table is None or table.ndim != 2 or table.shape[0] != 1:
        return False
    if "dec.cond.weight" not in parameters:
        raise ValueError("the checkpoint has a speaker table of one speaker that its decoder does not hear (dec.cond)")
    speaker = table[0].double()
    if "dp.cond.weight" in parameters and "dp.conv_1.weight" in parameters:
        if bool(_weight(parameters, "dp.cond").any()):
            raise ValueError("a plain duration predictor with a speaker table of one speaker cannot be expressed")
        _take(parameters, "dp.cond", speaker)
    for conditioning, layer in (("dp.cond", "dp.pre"), ("dec.cond", "dec.conv_pre")):
        if f"{conditioning}.bias" in parameters:
            _add(parameters, layer, _take(parameters, conditioning, speaker))
    for name in [name for name in parameters if _FLOW.fullmatch(name)]:
        stem = name.removesuffix(".cond_layer.bias")
        added = _take(parameters, f"{stem}.cond_layer", speaker)
        layers = sum(
            re.fullmatch(rf"{re.escape(stem)}\.in_layers\.\d+\.bias", other) is not None for other in parameters
        )
        for number, part in enumerate(added.chunk(max(layers, 1))):
            _add(parameters, f"{stem}.in_layers.{number}", part)
    del parameters["emb_g.weight"]
    return True


def _weight(parameters: dict[str, Tensor], module: str) -> Tensor:
    """The weight of a convolution in double precision, weight norm in any spelling folded."""
    for gain, direction in (
        ("weight_g", "weight_v"),
        ("parametrizations.weight.original0", "parametrizations.weight.original1"),
    ):
        if f"{module}.{direction}" in parameters:
            v = parameters[f"{module}.{direction}"].double()
            return parameters[f"{module}.{gain}"].double() * v / torch.linalg.vector_norm(v, dim=(1, 2), keepdim=True)
    return parameters[f"{module}.weight"].double()


def _take(parameters: dict[str, Tensor], module: str, speaker: Tensor) -> Tensor:
    """What a layer makes of the speaker; its parameters go."""
    made = _weight(parameters, module)[:, :, 0] @ speaker + parameters[f"{module}.bias"].double()
    for name in [name for name in parameters if name.startswith(f"{module}.")]:
        del parameters[name]
    return made


def _add(parameters: dict[str, Tensor], module: str, added: Tensor) -> None:
    bias = parameters.get(f"{module}.bias")
    if bias is None or bias.shape != added.shape:
        raise ValueError(f"the checkpoint has a speaker table of one speaker, and no bias of {module} that takes it up")
    parameters[f"{module}.bias"] = (bias.double() + added).to(bias.dtype)
