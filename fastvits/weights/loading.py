"""Weights in and out: from a folder or the hub into a model, and from a model into a folder or onto the hub.

Reading builds the model on the meta device, so that no weight is initialised, and then assigns tensors that are views
of the memory-mapped file, so that no weight is copied unless its dtype or device has to change. The mapping is private:
writing into a parameter never reaches the file. As with every mapped file, whoever overwrites it in place pulls the rug
from under the model; `save_pretrained` replaces files by renaming, so that saving a model into the very folder that it
came from is safe.

Names and shapes are those of the published checkpoints; `fastvits.weights.files` has the spellings that are understood.
"""

import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..configuration import CONFIG_NAME, VitsConfig
from ..hub import snapshot
from ..storage import replacing, write_json
from .files import (
    BIN_FILE,
    BIN_PATTERNS,
    DTYPES,
    SAFETENSORS_FILE,
    SAFETENSORS_INDEX,
    SAFETENSORS_PATTERNS,
    Table,
    first_line,
    listing,
    newer_spelling,
    open_weights,
    respell,
)

__all__ = [
    "DTYPES",
    "FLOAT32_MODULES",
    "TRAINING_ONLY",
    "load_pretrained",
    "push_to_hub",
    "resolve_device",
    "resolve_dtype",
    "save_pretrained",
    "target_dtype",
]

logger = logging.getLogger("fastvits")

Model = TypeVar("Model", bound=nn.Module)

TRAINING_ONLY: Mapping[str, str] = {
    "posterior_encoder": "posterior_encoder.",
    "duration_predictor.post_*": "duration_predictor.post_",
    "duration_predictor.flows.1": "duration_predictor.flows.1.",
}
"""Parts that synthesis never runs, each with the prefix of its parameters' names. The last is the flow that the reverse
pass of the stochastic duration predictor leaves out."""

FLOAT32_MODULES = ("text_encoder.", "duration_predictor.", "embed_speaker.")
"""Prefixes of the parameters that stay float32 in a half-precision model, those of every `Float32Module`: durations are
rounded up after an exponential, so that rounding what they are computed from would change the length of the audio."""

_WEIGHT_FILE = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?")
_SIZE_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_MODEL_CARD = """---
{{ card_data }}
---

A VITS text-to-speech model, saved by fastvits. It speaks with

    from fastvits import pipeline

    speech = pipeline("text-to-speech", model=...)("Hello, my dog is cute.")

where `model` is the name of this repository or a folder with its files.
"""


def resolve_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """A model's dtype from what a caller may give: a torch dtype, its name, or None or "auto" for the checkpoint's own.

    Args:
        dtype: `torch.float16`, "float16" or "torch.float16", and likewise bfloat16, float32 and float64; None; "auto".

    Returns:
        The torch dtype, or None for "the checkpoint's".

    Raises:
        ValueError: a dtype that a model cannot have.
        TypeError: neither a dtype nor a string.
    """
    if dtype is None or (isinstance(dtype, str) and dtype == "auto"):
        return None
    if isinstance(dtype, str):
        resolved = DTYPES.get(dtype.removeprefix("torch."))
    elif isinstance(dtype, torch.dtype):
        resolved = dtype if dtype in DTYPES.values() else None
    else:
        raise TypeError(f"dtype must be a torch.dtype, its name, 'auto' or None, not {type(dtype).__name__}.")
    if resolved is None:
        raise ValueError(f"dtype={dtype!r} is not one that a model can have: choose {', '.join(DTYPES)} or 'auto'.")
    return resolved


def target_dtype(parameter_name: str, dtype: torch.dtype) -> torch.dtype:
    """The dtype of one parameter in a model of `dtype`: float32 in the modules that half precision leaves alone."""
    if dtype in (torch.float16, torch.bfloat16) and parameter_name.startswith(FLOAT32_MODULES):
        return torch.float32
    return dtype


def resolve_device(device_map: str | int | torch.device | Mapping[str, Any] | None) -> torch.device:
    """The one device for a model, from what a caller may give.

    Args:
        device_map: None (the CPU), a `torch.device`, its name ("cuda", "cuda:1", "cpu"), the index of a CUDA device,
            "auto" (CUDA where there is a CUDA device, else the CPU), or `{"": device}`.

    Raises:
        ValueError: no such device here, or a map that would split the model.
        TypeError: none of the kinds above.
    """
    allowed = 'give None, "auto", a torch.device, its name, the index of a CUDA device, or {"": device}'
    if device_map is None:
        return torch.device("cpu")
    if isinstance(device_map, Mapping):
        if set(device_map) != {""} or isinstance(device_map[""], Mapping) or device_map[""] is None:
            raise ValueError(f"device_map={device_map!r} would split the model, which lives on one device: {allowed}.")
        return resolve_device(device_map[""])
    if isinstance(device_map, str) and device_map == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return usable_device(device_map, "device_map", allowed)


def usable_device(device: str | int | torch.device, argument: str, allowed: str) -> torch.device:
    """The device with that name or CUDA index, if torch can use it here.

    Args:
        device: a `torch.device`, its name, or the index of a CUDA device.
        argument: what an error calls `device`.
        allowed: what an error says may be given.

    Raises:
        ValueError: no such device here.
        TypeError: none of the kinds above.
    """
    given = f"{argument}={device!r}"
    if isinstance(device, bool) or not isinstance(device, str | int | torch.device):
        raise TypeError(f"{given} names no device: {allowed}.")
    if isinstance(device, int):
        if device < 0:
            raise ValueError(f"{given} is no index of a CUDA device: {allowed}.")
        resolved = torch.device("cuda", device)
    else:
        try:
            resolved = torch.device(device)
        except RuntimeError:
            raise ValueError(f"{given} names no device: {allowed}.") from None
    if resolved.type == "meta":
        raise ValueError(f"{given} has no memory for weights: {allowed}.")
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise ValueError(f"{given} asks for a CUDA device that torch cannot find (it finds {found}).")
    if resolved.type not in ("cpu", "cuda"):
        try:
            torch.empty(0, device=resolved)
        except (RuntimeError, AssertionError, NotImplementedError, ImportError):
            raise ValueError(f"{given} names a device that torch cannot use here.") from None
    return resolved


def load_pretrained(
    cls: type[Model],
    source: str | os.PathLike[str],
    *,
    dtype: torch.dtype | str | None = None,
    device_map: str | int | torch.device | Mapping[str, Any] | None = None,
    revision: str | None = None,
    subfolder: str = "",
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
    force_download: bool = False,
    inference_only: bool = False,
) -> Model:
    """A model with the weights of a folder or of a repository on the hub, in eval mode.

    A file that has no tensor of a training-only part (`TRAINING_ONLY`) gives a model without that part; a file that has
    some of its tensors but not all is refused.

    Args:
        cls: the model class, built as `cls(config, inference_only=...)`.
        source: a folder with config.json and weights, or the id of a repository on the hub.
        dtype: see `resolve_dtype`. None and "auto" mean the dtype of the stored tensors, whatever config.json says; of
            several, the one that holds them all. In a half-precision model the text encoder, the duration predictor and
            the speaker embeddings are float32 (`target_dtype`), widened where the file has half precision.
        device_map: see `resolve_device`.
        revision, cache_dir, local_files_only, token, force_download: how to fetch from the hub; unused for a folder.
        subfolder: where in the source the model lies.
        inference_only: leave out all the training-only parts; what the file has of them is not even read.

    Raises:
        OSError: nothing there, not a model, no weights, or files that are truncated or corrupt.
        ValueError: an impossible configuration, or weights that do not fit it: every missing, unexpected, misshapen or
            non-floating tensor is named. Also a dtype or device that cannot be.
    """
    wanted_dtype = resolve_dtype(dtype)
    device = resolve_device(device_map)

    def wanted(name: str) -> bool:
        return not (inference_only and name.startswith(tuple(TRAINING_ONLY.values())))

    def fetch(patterns: Sequence[str]) -> Path:
        return snapshot(
            source,
            allow_patterns=[CONFIG_NAME, *patterns],
            revision=revision,
            subfolder=subfolder,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            token=token,
            force_download=force_download,
        )

    folder = fetch(SAFETENSORS_PATTERNS)
    config = VitsConfig.from_pretrained(folder)
    stored = open_weights(folder, wanted)
    if stored is None:  # on the hub, a .bin file is worth a download only where there are no safetensors
        folder = fetch(BIN_PATTERNS)
        stored = open_weights(folder, wanted)
    if stored is None:
        raise OSError(f"{folder} has no weights: it needs {SAFETENSORS_FILE}, {SAFETENSORS_INDEX} or {BIN_FILE}.")

    model = on_meta_device(cls, config, absent_parts(config, stored))
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    try:
        stored = respell(stored, expected)
    except ValueError as error:
        raise ValueError(f"The weights in {folder} cannot be read. {error}") from None
    _check(expected, stored, folder)
    if wanted_dtype is None:
        wanted_dtype = _common_dtype((name, entry.dtype) for name, entry in stored.items() if entry.dtype is not None)
    state = {name: entry.read().to(device, target_dtype(name, wanted_dtype)) for name, entry in stored.items()}
    model.load_state_dict(state, assign=True)
    return model.eval()


def _parts(config: VitsConfig) -> list[str]:
    """The training-only parts that a model of this configuration has: the plain duration predictor has no flows."""
    stochastic = config.use_stochastic_duration_prediction
    return [part for part in TRAINING_ONLY if stochastic or not part.startswith("duration_predictor")]


def absent_parts(config: VitsConfig, names: Iterable[str]) -> list[str]:
    """The training-only parts of which not one tensor is there."""
    names = list(names)
    return [part for part in _parts(config) if not any(name.startswith(TRAINING_ONLY[part]) for name in names)]


def on_meta_device(cls: type[Model], config: VitsConfig, left_out: list[str]) -> Model:
    """A model on the meta device, without the training-only parts that are left out."""
    everything = left_out == _parts(config)
    with torch.device("meta"), _NoInitialisation():
        model = cast(Callable[..., Model], cls)(config, inference_only=everything)
    if everything:
        return model
    for prefix in (TRAINING_ONLY[part] for part in left_out):
        for name in [name for name, _ in model.named_modules() if f"{name}.".startswith(prefix)]:
            owner, _, leaf = name.rpartition(".")
            if f"{owner}.".startswith(prefix):
                continue  # gone with its owner
            parent = model.get_submodule(owner)
            if isinstance(parent, nn.ModuleList):
                parent[int(leaf)] = nn.Identity()  # the others keep their numbers
            else:
                delattr(parent, leaf)
    return model


class _NoInitialisation(TorchFunctionMode):
    """Leaves out the random initialisation in the constructors of torch's own modules.

    On the meta device it would change nothing, but the first `normal_` there imports all of torch's compiler: 1.7 s.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in ("normal_", "uniform_", "kaiming_uniform_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _check(expected: Mapping[str, tuple[int, ...]], stored: Table, folder: Path) -> None:
    """Raise one ValueError that names every tensor that does not fit."""
    both = [name for name in expected if name in stored]
    troubles = {
        "missing": [name for name in expected if name not in stored],
        "unexpected": [name for name in stored if name not in expected],
        "of another shape": [
            f"{name} is {list(stored[name].shape)} but should be {list(expected[name])}"
            for name in both
            if stored[name].shape != expected[name]
        ],
        "of a type that a model cannot have": [
            f"{name} is {stored[name].dtype_name}" for name in both if stored[name].dtype is None
        ],
    }
    if any(troubles.values()):
        listed = "\n".join(f"{kind} ({len(names)}):\n{listing(names)}" for kind, names in troubles.items() if names)
        raise ValueError(f"The weights in {folder} do not fit its {CONFIG_NAME}.\n{listed}")


def _common_dtype(dtypes: Iterable[tuple[str, torch.dtype]]) -> torch.dtype:
    """The dtype of a model with these parameters: the narrowest that holds all but those that are always float32."""
    common, *others = {dtype for name, dtype in dtypes if not name.startswith(FLOAT32_MODULES)}
    for other in others:
        common = torch.promote_types(common, other)
    return common


def save_pretrained(
    model: nn.Module,
    save_directory: str | os.PathLike[str],
    *,
    max_shard_size: int | str = "5GB",
    push_to_hub: bool = False,
    repo_id: str | None = None,
    **push_to_hub_kwargs: Any,
) -> None:
    """Write config.json and model.safetensors, or several shards with their index, into a folder.

    The weights are written in the dtypes that they have. Every file is written beside its place and then renamed, so
    that a reader sees the old or the new one, never half of it. Weight files of an earlier save in another number of
    shards are removed. A model without some of its training-only parts says so: the header of its files has the
    entry `left_out`, and a warning goes to the logger "fastvits".

    Args:
        model: a model with a `config`.
        save_directory: the folder; made if it is not there.
        max_shard_size: the most bytes of tensors in one file, as an int or like "5GB", "500MB", "1MiB". A tensor larger
            than that has a file of its own.
        push_to_hub: also upload, as `push_to_hub` does, with the remaining keywords.
        repo_id: for the upload; the folder's name by default.

    Raises:
        OSError: the folder cannot be written.
        ValueError: a bad `max_shard_size`, an impossible configuration, or parameters on the meta device.
        TypeError: a configuration that JSON cannot hold, or keywords for the upload without an upload.
    """
    if not push_to_hub and (push_to_hub_kwargs or repo_id is not None):
        names = [*([] if repo_id is None else ["repo_id"]), *push_to_hub_kwargs]
        raise TypeError(f"save_pretrained knows {', '.join(names)} only together with push_to_hub=True, if at all.")
    limit = _bytes(max_shard_size)
    folder = Path(save_directory)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; a model is saved into a folder.")
    config = cast(VitsConfig, model.config)
    config.validate()
    state = _state(model)
    settings = json.loads(config.to_json_string())
    settings.pop("torch_dtype", None)  # the older spelling of dtype
    settings["architectures"] = ["VitsModel"]
    settings["dtype"] = str(_common_dtype((name, tensor.dtype) for name, tensor in state.items())).removeprefix(
        "torch."
    )
    metadata = {"format": "pt"}  # transformers reads no file without it
    left_out = absent_parts(config, state)
    if left_out:
        metadata["left_out"] = ", ".join(left_out)
        logger.warning(
            "The model saved in %s speaks but cannot be trained; left out: %s.", folder, metadata["left_out"]
        )

    folder.mkdir(parents=True, exist_ok=True)
    written = _write_weights(state, folder, limit, metadata)
    write_json(folder / CONFIG_NAME, settings)
    for path in folder.iterdir():  # a left-over single file would be read before new shards, for one
        if _WEIGHT_FILE.fullmatch(path.name) and path.name not in written:
            path.unlink()
    if push_to_hub:
        _push(model, repo_id or folder.resolve().name, max_shard_size=max_shard_size, **push_to_hub_kwargs)


def _state(model: nn.Module) -> dict[str, Tensor]:
    """The tensors to write under the names to write, contiguous, each with a storage of its own."""
    state: dict[str, Tensor] = {}
    storages = set()
    for name, tensor in model.state_dict().items():
        if tensor.is_meta:
            raise ValueError(f"{name} is on the meta device and has no values to save.")
        tensor = tensor.detach().contiguous()
        storage = (tensor.device, tensor.untyped_storage().data_ptr())
        state[newer_spelling(name)] = tensor.clone() if storage in storages else tensor
        storages.add(storage)
    return state


def _write_weights(state: Mapping[str, Tensor], folder: Path, limit: int, metadata: dict[str, str]) -> set[str]:
    """Write the tensors, with an index where one file does not hold them. Returns the names of the files."""
    from safetensors.torch import save_file

    shards: list[dict[str, Tensor]] = [{}]
    room = limit
    for name, tensor in state.items():
        if tensor.nbytes > room and shards[-1]:
            shards.append({})
            room = limit
        shards[-1][name] = tensor
        room -= tensor.nbytes
    count = len(shards)
    files = (
        [SAFETENSORS_FILE] if count == 1 else [f"model-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
    )
    for file, shard in zip(files, shards, strict=True):
        with replacing(folder / file) as temporary:
            save_file(shard, temporary, metadata=metadata)
    if count == 1:
        return set(files)
    summary: dict[str, Any] = {
        "total_parameters": sum(tensor.numel() for tensor in state.values()),
        "total_size": sum(tensor.nbytes for tensor in state.values()),
    }
    if "left_out" in metadata:
        summary["left_out"] = metadata["left_out"]
    weight_map = {name: file for file, shard in zip(files, shards, strict=True) for name in shard}
    write_json(folder / SAFETENSORS_INDEX, {"metadata": summary, "weight_map": weight_map})
    return {*files, SAFETENSORS_INDEX}


def _bytes(size: int | str) -> int:
    """The number of bytes in 5_000_000_000 or "5GB"."""
    match = None if isinstance(size, bool) else re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", str(size).strip())
    value = int(float(match[1]) * _SIZE_UNITS.get(match[2].upper(), 0)) if match else 0
    if value < 1:
        raise ValueError(f"max_shard_size={size!r} is no size: give a positive number of bytes, or one like '5GB'.")
    return value


def push_to_hub(
    model: nn.Module,
    repo_id: str,
    *,
    max_shard_size: int | str = "5GB",
    commit_message: str = "Upload VITS model",
    private: bool | None = None,
    token: str | None = None,
    branch: str | None = None,
    create_pr: bool | None = None,
) -> str:
    """Upload the model's config.json and weights, in one commit, to a repository on the hub, which is made if needed.

    The upload is that of `huggingface_hub.ModelHubMixin`, of the files that `save_pretrained` writes. A repository
    without a README.md also gets a short one.

    Args:
        model: the model.
        repo_id: "owner/name", or "name" for the owner of the token.
        max_shard_size: see `save_pretrained`.
        commit_message: of the one commit.
        private: whether a new repository is private; None leaves it to the owner's settings.
        token: an access token; by default the one that `hf auth login` stored.
        branch: the branch to commit to; the main one by default.
        create_pr: propose the commit as a pull request instead.

    Returns:
        The address of the commit.

    Raises:
        OSError: the hub cannot be reached, or refuses (huggingface_hub's errors).
    """
    from huggingface_hub import HfApi, ModelHubMixin

    class Upload(
        ModelHubMixin,
        library_name="fastvits",
        pipeline_tag="text-to-speech",
        tags=["vits"],
        model_card_template=_MODEL_CARD,
    ):
        """Lends the mixin's upload to the model. As a base class it would make `import fastvits` import the hub."""

        def _save_pretrained(self, save_directory: Path) -> None:
            save_pretrained(model, save_directory, max_shard_size=max_shard_size)

    api = HfApi(token=token)
    try:
        full_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        # The mixin writes a model card each time; one that somebody wrote must survive.
        has_card = api.file_exists(full_id, "README.md", revision=branch)
        commit = Upload().push_to_hub(
            full_id,
            commit_message=commit_message,
            private=private,
            token=token,
            branch=branch,
            create_pr=create_pr,
            ignore_patterns=["README.md"] if has_card else None,
        )
        return str(getattr(commit, "commit_url", commit))  # as a str of its own, older versions name the folder
    except (OSError, ValueError, TypeError):
        raise
    except Exception as error:  # the errors of whichever HTTP library this version of huggingface_hub is built on
        raise OSError(f"Cannot upload to {repo_id!r} on the hub: {first_line(error)}.") from error


_push = push_to_hub  # by another name for save_pretrained, which has a parameter of this one
