"""Weights out: from a model into a folder or onto the hub."""

import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from ..configuration import CONFIG_NAME, VitsConfig, with_mark
from ..storage import first_line, replacing, write_json
from .files import SAFETENSORS_FILE, SAFETENSORS_INDEX, newer_spelling, with_variant
from .parts import absent_parts
from .placement import common_dtype

logger = logging.getLogger("fastvits")

_WEIGHT_FILE = re.compile(
    r"model(\.(?P<variant>[\w-]+?))?(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index(\.[\w-]+)?\.json"
)
_SIZE_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_MODEL_CARD = """---
{{ card_data }}
---

A VITS text-to-speech model, saved by fastvits. It speaks with

    from fastvits import pipeline

    speech = pipeline("text-to-speech", model=...)("Hello, my dog is cute.")

where `model` is the name of this repository or a folder with its files.
"""


def save_pretrained(
    model: nn.Module,
    save_directory: str | os.PathLike[str],
    *,
    is_main_process: bool = True,
    state_dict: Mapping[str, Tensor] | None = None,
    safe_serialization: bool = True,
    max_shard_size: int | str = "5GB",
    variant: str | None = None,
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
        is_main_process: False writes nothing: another process does.
        state_dict: the tensors to write instead of the model's, under the names of its parameters.
        safe_serialization: weights are written as safetensors, whatever it says; False is told by a warning.
        max_shard_size: the most bytes of tensors in one file, as an int or like "5GB", "500MB", "1MiB". A tensor larger
            than that has a file of its own.
        variant: a part of the files' names: `model.fp16.safetensors` for "fp16".
        push_to_hub: also upload, as `push_to_hub` does, with the remaining keywords.
        repo_id: for the upload; the folder's name by default.

    Raises:
        OSError: the folder cannot be written.
        ValueError: a bad `max_shard_size`, an impossible configuration, or parameters on the meta device.
        TypeError: a configuration that JSON cannot hold, or keywords for the upload without an upload.
    """
    push_to_hub_kwargs = {name: value for name, value in push_to_hub_kwargs.items() if value is not None}
    if not push_to_hub:
        push_to_hub_kwargs.pop("token", None)  # for an upload that is not asked for
    if not push_to_hub and (push_to_hub_kwargs or repo_id is not None):
        names = [*([] if repo_id is None else ["repo_id"]), *push_to_hub_kwargs]
        raise TypeError(f"save_pretrained knows {', '.join(names)} only together with push_to_hub=True, if at all")
    if not safe_serialization:
        logger.warning("safe_serialization=False changes nothing: weights are written as safetensors")
    if variant is not None and not re.fullmatch(r"[A-Za-z0-9_-]+", variant):
        raise ValueError(f"variant={variant!r} is no part of a file's name: letters, digits, - and _ are")
    if not is_main_process:
        return
    limit = _bytes(max_shard_size)
    folder = Path(save_directory)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; a model is saved into a folder")
    config = cast(VitsConfig, model.config)
    config.validate()
    state = _state(model.state_dict() if state_dict is None else state_dict)
    settings = json.loads(config.to_json_string())
    settings.pop("torch_dtype", None)  # the older spelling of dtype
    settings["architectures"] = [type(model).__name__]
    settings["dtype"] = str(common_dtype((name, tensor.dtype) for name, tensor in state.items())).removeprefix("torch.")
    metadata = {"format": "pt"}  # transformers reads no file without it
    left_out = absent_parts(config, state)
    if left_out:
        metadata["left_out"] = ", ".join(left_out)
        logger.warning(
            "The model saved in %s speaks but cannot be trained; left out: %s.", folder, metadata["left_out"]
        )

    folder.mkdir(parents=True, exist_ok=True)
    written = _write_weights(state, folder, limit, metadata, variant)
    write_json(folder / CONFIG_NAME, with_mark(settings))
    for path in folder.iterdir():  # a left-over single file would be read before new shards, for one
        found = _WEIGHT_FILE.fullmatch(path.name)
        if found and (found["variant"] or None) == variant and path.name not in written:
            path.unlink()
    if push_to_hub:
        _push(model, repo_id or folder.resolve().name, max_shard_size=max_shard_size, **push_to_hub_kwargs)


def _state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors to write under the names to write, contiguous, each with a storage of its own."""
    state: dict[str, Tensor] = {}
    storages = set()
    for name, tensor in tensors.items():
        if tensor.is_meta:
            raise ValueError(f"{name} is on the meta device and has no values to save")
        tensor = tensor.detach().contiguous()
        storage = (tensor.device, tensor.untyped_storage().data_ptr())
        state[newer_spelling(name)] = tensor.clone() if storage in storages else tensor
        storages.add(storage)
    return state


def _write_weights(
    state: Mapping[str, Tensor], folder: Path, limit: int, metadata: dict[str, str], variant: str | None = None
) -> set[str]:
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
    single, index = with_variant(SAFETENSORS_FILE, variant), with_variant(SAFETENSORS_INDEX, variant)
    stem = single.removesuffix(".safetensors")
    files = [single] if count == 1 else [f"{stem}-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
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
    write_json(folder / index, {"metadata": summary, "weight_map": weight_map})
    return {*files, index}


def _bytes(size: int | str) -> int:
    """The number of bytes in 5_000_000_000 or "5GB"."""
    match = None if isinstance(size, bool) else re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", str(size).strip())
    value = int(float(match[1]) * _SIZE_UNITS.get(match[2].upper(), 0)) if match else 0
    if value < 1:
        raise ValueError(f"max_shard_size={size!r} is no size: give a positive number of bytes, or one like '5GB'")
    return value


def push_to_hub(
    model: nn.Module,
    repo_id: str,
    *,
    max_shard_size: int | str = "5GB",
    commit_message: str | None = None,
    commit_description: str | None = None,
    private: bool | None = None,
    token: str | bool | None = None,
    branch: str | None = None,
    revision: str | None = None,
    create_pr: bool | None = None,
    tags: Sequence[str] | None = None,
) -> str:
    """Upload the model's config.json and weights, in one commit, to a repository on the hub, which is made if needed.

    The upload is that of `huggingface_hub.ModelHubMixin`, of the files that `save_pretrained` writes. A repository
    without a README.md also gets a short one.

    Args:
        model: the model.
        repo_id: "owner/name", or "name" for the owner of the token.
        max_shard_size: see `save_pretrained`.
        commit_message: of the one commit ("Upload VITS model"); `commit_description` goes below it.
        private: whether a new repository is private; None leaves it to the owner's settings.
        token: an access token; by default the one that `hf auth login` stored.
        branch, revision: the branch to commit to; the main one by default.
        tags: more tags for the model card of a new repository.
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
        tags=["vits", *(tags or ())],
        model_card_template=_MODEL_CARD,
    ):
        """Lends the mixin's upload to the model. As a base class it would make `import fastvits` import the hub."""

        def _save_pretrained(self, save_directory: Path) -> None:
            save_pretrained(model, save_directory, max_shard_size=max_shard_size)

    branch = branch or revision
    message = commit_message or "Upload VITS model"
    if commit_description:
        message = f"{message}\n\n{commit_description}"
    api = HfApi(token=token)
    try:
        full_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        # The mixin writes a model card each time; one that somebody wrote must survive.
        has_card = api.file_exists(full_id, "README.md", revision=branch)
        commit = Upload().push_to_hub(
            full_id,
            commit_message=message,
            private=private,
            token=token if isinstance(token, str) else None,
            branch=branch,
            create_pr=create_pr,
            ignore_patterns=["README.md"] if has_card else None,
        )
        return str(getattr(commit, "commit_url", commit))  # as a str of its own, older versions name the folder
    except (OSError, ValueError, TypeError):
        raise
    except Exception as error:  # the errors of whichever HTTP library this version of huggingface_hub is built on
        raise OSError(f"cannot upload to {repo_id!r} on the hub: {first_line(error)}") from error


_push = push_to_hub  # by another name for save_pretrained, which has a parameter of this one
