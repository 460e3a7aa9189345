"""The arguments of transformers' `from_pretrained` that ask for nothing here: taken where what they ask holds, else
refused with what to write instead."""

from collections.abc import Mapping
from typing import Any

TAKEN = frozenset(
    {
        "_commit_hash",
        "_fast_init",
        "_from_auto",
        "_from_pipeline",
        "allow_all_kernels",
        "low_cpu_mem_usage",
        "mirror",
        "offload_buffers",
        "offload_folder",
        "offload_state_dict",
        "resume_download",
        "tqdm_class",
        "trust_remote_code",
        "use_kernels",
        "weights_only",
    }
)
"""Hold whatever is asked: weights are read straight from the file into place and none are offloaded, no code from a
repository is run, files that hold more than tensors are refused, kernels are used where they pay."""

_ONE_DEVICE = "the model lives on one device: leave it out, and name the device with device_map"

REFUSED: Mapping[str, str] = {
    "adapter_kwargs": "load the model, then its adapter with peft.PeftModel.from_pretrained(model, adapter)",
    "device_mesh": _ONE_DEVICE,
    "distributed_config": _ONE_DEVICE,
    "experts_implementation": "a VITS has no experts: leave it out",
    "from_flax": "convert the weights to safetensors first",
    "from_tf": "convert the weights to safetensors first",
    "fusion_config": "layers are fused already: leave it out",
    "generation_config": "a VITS generates no tokens: leave it out",
    "gguf_file": "weights are read from safetensors or PyTorch files: convert the file first",
    "kernel_config": "choose implementations with backend=, as in backend='auto,spline_coupling=eager'",
    "max_memory": _ONE_DEVICE,
    "proxies": "set the environment variables HTTP_PROXY and HTTPS_PROXY",
    "quantization_config": "load the model, then quantize it, as with torch.ao.quantization.quantize_dynamic(model)",
    "load_in_4bit": "load with dtype='bfloat16' for half the memory",
    "load_in_8bit": "load with dtype='bfloat16' for half the memory",
    "tp_plan": _ONE_DEVICE,
    "tp_size": _ONE_DEVICE,
}
"""Refused unless None, False or empty, with what to do instead."""


def without_taken(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that say something here.

    Raises ValueError for one that cannot be honoured, with what to do instead.
    """
    left = {}
    for name, value in arguments.items():
        if name in REFUSED:
            # AutoModel says where it looked for adapters, found or not.
            if value and not (name == "adapter_kwargs" and set(value) <= {"revision", "token"}):
                raise ValueError(f"{name} cannot be honoured: {REFUSED[name]}")
        elif name not in TAKEN and name != "adapter_name":
            left[name] = value
    return left
