"""A configuration's file: read from a folder or the hub, and written."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ..hub import snapshot, upload
from ..storage import json_text, read_json, write_text
from .fields import ACTIVATIONS
from .published import PublishedAttributes
from .tagged_floats import decode, encode
from .words import LOADER_WORDS

CONFIG_NAME = "config.json"
_Self = TypeVar("_Self", bound="ConfigurationFiles")


class ConfigurationFiles(PublishedAttributes):
    """Reading and writing, for a class that tells which parameters it takes and what it holds."""

    hidden_act: Any

    @classmethod
    def _takes(cls, name: str, content: Iterable[str]) -> bool:
        """Whether a loader's keyword says something about the configuration."""
        raise NotImplementedError

    @classmethod
    def _refuse_unknown(cls, owner: str, parameters: Iterable[str]) -> None:
        """Raise TypeError for names that mean nothing to a configuration."""
        raise NotImplementedError

    @classmethod
    def _built(cls: type[_Self], values: dict[str, Any]) -> _Self:
        """A checked configuration with these values."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Return all that is configured, as a copy."""
        raise NotImplementedError

    def to_diff_dict(self) -> dict[str, Any]:
        """Return what is written."""
        raise NotImplementedError

    @classmethod
    def from_dict(
        cls: type[_Self], config_dict: Mapping[str, Any], *, return_unused_kwargs: bool = False, **overrides: Any
    ) -> Any:
        """Build a configuration from a ``config.json``'s content, keeping keys that are no parameter.

        Args:
            config_dict: the content; it is copied and not changed.
            return_unused_kwargs: also return the overrides that are no parameter, as a dictionary, instead of refusing
                them.
            overrides: parameters to use instead of the content's.

        Raises:
            TypeError: ``config_dict`` is no mapping, an override is unknown, or a value has the wrong type.
            ValueError: an impossible value or architecture, or a ``model_type`` other than "vits".
        """
        if not isinstance(config_dict, Mapping):
            raise TypeError(f"config_dict must be a dictionary, got {type(config_dict).__name__}")
        given = {name: value for name, value in overrides.items() if name not in LOADER_WORDS}
        unused = {name: given.pop(name) for name in list(given) if not cls._takes(name, config_dict)}
        if not return_unused_kwargs:
            cls._refuse_unknown(cls.__name__, unused)
        for name in ("dtype", "torch_dtype"):
            if given.get(name) == "auto":
                del given[name]
        config = cls._built({**config_dict, **given})
        return (config, unused) if return_unused_kwargs else config

    @classmethod
    def from_pretrained(
        cls: type[_Self],
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        revision: str | None = None,
        subfolder: str = "",
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
        force_download: bool = False,
        return_unused_kwargs: bool = False,
        **overrides: Any,
    ) -> Any:
        """Read ``config.json`` from a folder or a hub repository.

        Args:
            pretrained_model_name_or_path: a folder, a hub id, or the path of the JSON file itself.
            revision, subfolder, cache_dir, local_files_only, token, force_download: see :func:`fastvits.hub.snapshot`.
            return_unused_kwargs: also return the overrides that are no parameter, as a dictionary, instead of refusing
                them.
            overrides: parameters to use instead of the file's. ``trust_remote_code`` and other arguments of
                transformers that ask for what holds anyway are taken.

        Raises:
            OSError: there is no such source, it has no ``config.json``, or that file is not JSON.
            TypeError: an override is unknown, or a value has the wrong type.
            ValueError: an impossible value or architecture, or the file is another kind of model's.
        """
        path = cls._file(
            pretrained_model_name_or_path,
            revision=revision,
            subfolder=subfolder,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            token=token,
            force_download=force_download,
        )
        content = _read_json(path)
        unused: dict[str, Any] = {}
        if return_unused_kwargs:
            unused = {name: overrides.pop(name) for name in list(overrides) if not cls._takes(name, content)}
            for name in LOADER_WORDS:
                unused.pop(name, None)
        else:
            wrong = (name for name in overrides if not cls._takes(name, content) and name not in LOADER_WORDS)
            cls._refuse_unknown(f"{cls.__name__}.from_pretrained", wrong)
        try:
            config = cls.from_dict(content, **overrides)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{path}: {error}") from error
        config.__dict__["name_or_path"] = os.fspath(pretrained_model_name_or_path)
        return (config, unused) if return_unused_kwargs else config

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The content of the ``config.json`` that :meth:`from_pretrained` would read, and the keywords left over."""
        where = inspect.signature(snapshot).parameters
        path = cls._file(pretrained_model_name_or_path, **{name: kwargs.pop(name) for name in where if name in kwargs})
        return _read_json(path), {name: value for name, value in kwargs.items() if name not in LOADER_WORDS}

    @staticmethod
    def _file(source: str | os.PathLike[str], *, subfolder: str = "", **where: Any) -> Path:
        path = Path(os.path.expanduser(os.fspath(source)))
        if not (path.is_file() and not subfolder):
            folder = snapshot(source, allow_patterns=[CONFIG_NAME], subfolder=subfolder, **where)
            path = folder / CONFIG_NAME
            if not path.is_file():
                raise FileNotFoundError(f"{folder} is no model: it has no {CONFIG_NAME}")
        return path

    @classmethod
    def from_json_file(cls: type[_Self], json_file: str | os.PathLike[str]) -> _Self:
        """Read a JSON file; as :meth:`from_pretrained` with the path of a file."""
        config: _Self = cls.from_dict(_read_json(Path(json_file)))
        return config

    def to_json_string(self, use_diff: bool = True) -> str:
        """Return the content of the JSON file: :meth:`to_diff_dict`, or :meth:`to_dict` if ``use_diff`` is False.

        Raises:
            TypeError: a value has no place in JSON; a function as ``hidden_act``, for one.
        """
        if not isinstance(self.hidden_act, str):
            raise TypeError(
                f"hidden_act is the function {function_name(self.hidden_act)}, which JSON cannot hold; "
                f"set it to one of {', '.join(ACTIVATIONS)} before saving"
            )
        return written(self.to_diff_dict() if use_diff else self.to_dict())

    def to_json_file(self, json_file_path: str | os.PathLike[str], use_diff: bool = True) -> None:
        """Write :meth:`to_json_string` to a file."""
        write_text(Path(json_file_path), self.to_json_string(use_diff))

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **options: Any
    ) -> None:
        """Check the configuration and write it as ``config.json`` into a folder, which is made if it does not exist.

        With ``push_to_hub`` it is uploaded too, as by :meth:`push_to_hub` with these ``options``, of which ``repo_id``
        is the folder's name by default.

        Raises:
            OSError: the folder cannot be made or written to.
            TypeError: ``hidden_act`` is a function, or a kept foreign key holds what JSON cannot.
            ValueError: an impossible architecture (after changes to a configuration once valid).
        """
        if options and not push_to_hub:
            raise TypeError(
                f"save_pretrained knows {', '.join(options)} only together with push_to_hub=True, if at all"
            )
        self.validate()
        folder = Path(save_directory)
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"{str(folder)!r} is a file; a configuration is saved into a folder")
        text = self.to_json_string()
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / CONFIG_NAME, text)
        if push_to_hub:
            self.push_to_hub(**{"repo_id": folder.resolve().name, **options})

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload ``config.json`` to a hub repository, which is made if needed, and return the commit's address.

        ``options`` are those of :func:`fastvits.hub.upload`.
        """
        return upload(repo_id, self.save_pretrained, **{"commit_message": "Upload configuration", **options})


def function_name(function: Any) -> str:
    """What a function is called in an error."""
    return str(getattr(function, "__name__", None) or type(function).__name__)


def written(values: dict[str, Any], default: Callable[[Any], Any] | None = None) -> str:
    """The text of a file with these values."""
    return json_text(encode(values), default=default)


def _read_json(path: Path) -> dict[str, Any]:
    decoded: dict[str, Any] = decode(read_json(path))
    return decoded
