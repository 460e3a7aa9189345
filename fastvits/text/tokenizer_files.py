"""A tokenizer's files: loading from a folder or the hub, and saving so that transformers reads them as well."""

from __future__ import annotations

import dataclasses
import inspect
import os
from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..storage import read_json, write_json
from ..strictness import tolerated
from .preparation import Preparation
from .special_tokens import SPECIAL_TOKEN_NAMES, SpecialTokens
from .tokenizer_arguments import describe, without_loader_words
from .vocabulary import token_text

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["TokenizerFiles", "read_vocabulary"]

VOCABULARY_FILE = "vocab.json"
SETTINGS_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
ADDED_TOKENS_FILE = "added_tokens.json"


class TokenizerFiles(SpecialTokens):
    """The part of a tokenizer that is loaded and saved.

    Attributes:
        language, add_blank, normalize, phonemize, is_uroman, model_max_length, preparation: settings that files hold.
    """

    vocab_files_names: ClassVar[dict[str, str]] = {"vocab_file": VOCABULARY_FILE}
    language: str | None
    add_blank: bool
    normalize: bool
    phonemize: bool
    is_uroman: bool
    model_max_length: int
    preparation: Preparation
    # Settings of a loaded file that mean nothing here, kept for `save_pretrained`.
    _foreign_settings: dict[str, Any]

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        revision: str | None = None,
        subfolder: str = "",
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
        force_download: bool = False,
        **settings: Any,
    ) -> Self:
        """Load a tokenizer from a folder or from the hub.

        Args:
            pretrained_model_name_or_path: a folder with `vocab.json` and, if there is one, `tokenizer_config.json`
                (files of transformers' tokenizer are read as they are), or a hub id.
            revision, subfolder, cache_dir, local_files_only, token, force_download: where the hub's files come from.
            **settings: arguments of the constructor that win over the file's. `use_fast`, `trust_remote_code` and
                other arguments of transformers that ask for what holds anyway are taken.

        Raises:
            OSError: there is no such folder or repository, or no vocabulary in it.
            ValueError: a file is no JSON, or holds what is not allowed, or an argument cannot be honoured.
            TypeError: a setting that the constructor does not know.
        """
        settings = without_loader_words(settings)
        check_strangers(cls, "from_pretrained", settings)
        allowed = _constructor_settings(cls)
        from ..hub import snapshot

        folder = snapshot(
            pretrained_model_name_or_path,
            allow_patterns=[VOCABULARY_FILE, SETTINGS_FILE, SPECIAL_TOKENS_FILE, ADDED_TOKENS_FILE],
            revision=revision,
            subfolder=subfolder,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            token=token,
            force_download=force_download,
        )
        if not (folder / VOCABULARY_FILE).is_file():
            raise FileNotFoundError(f"there is no {VOCABULARY_FILE} in {os.fspath(pretrained_model_name_or_path)!r}")
        stored = _read_if_there(folder / SETTINGS_FILE)
        special = _read_if_there(folder / SPECIAL_TOKENS_FILE)
        added = _read_if_there(folder / ADDED_TOKENS_FILE)
        for name in SPECIAL_TOKEN_NAMES:
            if name in special and name not in stored:
                stored[name] = special[name]
        if "added_tokens_decoder" not in stored and added:
            specials = {token_text(name, stored.get(name)) for name in SPECIAL_TOKEN_NAMES}
            stored["added_tokens_decoder"] = {
                index: {"content": content, "special": content in specials} for content, index in added.items()
            }
        extra = stored.pop("additional_special_tokens", None) or special.get("additional_special_tokens")
        if extra and not stored.get("extra_special_tokens"):
            stored["extra_special_tokens"] = extra
        if not isinstance(stored.get("extra_special_tokens", []), list):
            stored.pop("extra_special_tokens")  # named ones, which no VITS tokenizer has
        foreign = {name: value for name, value in stored.items() if name not in allowed}
        known = {name: value for name, value in stored.items() if name in allowed and value is not None}
        # A null special token means that there is none, not that it has its default.
        known.update({name: None for name in SPECIAL_TOKEN_NAMES if name in stored and stored[name] is None})
        known["name_or_path"] = os.fspath(pretrained_model_name_or_path)
        make: Any = cls
        tokenizer: Self = make(folder / VOCABULARY_FILE, **{**known, **settings})
        for name in ("tokenizer_class", "auto_map", "vocab_file", "tokenizer_file", "special_tokens_map_file"):
            foreign.pop(name, None)
        tokenizer._foreign_settings.update(foreign)
        return tokenizer

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        legacy_format: bool | None = None,
        filename_prefix: str | None = None,
        push_to_hub: bool = False,
        *,
        save_jinja_files: bool = True,
        **options: Any,
    ) -> tuple[str, ...]:
        """Write the tokenizer's files into a folder, which is made if need be; transformers reads them as well.

        Args:
            save_directory: the folder.
            legacy_format, save_jinja_files: taken and not looked at: there is one format, and no chat template.
            filename_prefix: put before every file name, with a dash.
            push_to_hub: upload the files too, as by `push_to_hub` with these `options`, of which `repo_id` is the
                folder's name by default.

        Returns:
            The files written.

        Raises:
            OSError: the folder cannot be written.
            TypeError: options that go with `push_to_hub` alone, or are unknown.
        """
        if options and not push_to_hub:
            raise TypeError(
                f"save_pretrained knows {', '.join(options)} only together with push_to_hub=True, if at all"
            )
        folder = Path(save_directory)
        if folder.is_file():
            raise NotADirectoryError(f"{os.fspath(folder)!r} is a file; a folder is needed")
        folder.mkdir(parents=True, exist_ok=True)
        added = self.vocabulary.added
        settings: dict[str, Any] = {
            **self._foreign_settings,
            "tokenizer_class": "VitsTokenizer",
            "language": self.language,
            "add_blank": self.add_blank,
            "normalize": self.normalize,
            "phonemize": self.phonemize,
            "is_uroman": self.is_uroman,
            "model_max_length": self.model_max_length,
            "pad_token": self.pad_token,
            "unk_token": self.unk_token,
            "added_tokens_decoder": {str(index): added[index].settings() for index in sorted(added)},
        }
        # Written only where they differ: most tokenizers have no such thing, and their files stay as published.
        defaults: dict[str, Any] = {
            "espeak_voice": None,
            "frontend": "vits",
            "uroman_language": None,
            "vowel_clusters": None,
            "phonemizer": None,
            "spellings": None,
            "lexicon": None,
            "cleaners": None,
            "blank_token": None,
            "bos_token": None,
            "eos_token": None,
            "sep_token": None,
            "cls_token": None,
            "mask_token": None,
            "padding_side": "right",
            "truncation_side": "right",
            "model_input_names": ["input_ids", "attention_mask"],
            "clean_up_tokenization_spaces": False,
            "split_special_tokens": False,
            "extra_special_tokens": [],
        }
        for name, default in defaults.items():
            if getattr(self, name) != default:
                settings[name] = getattr(self, name)
        if not self.preparation.changes_nothing:
            settings["preparation"] = dataclasses.asdict(self.preparation)
        prefix = filename_prefix + "-" if filename_prefix else ""
        written = []
        for name, content in (
            (SETTINGS_FILE, settings),
            (SPECIAL_TOKENS_FILE, self.special_tokens_map),
            (
                ADDED_TOKENS_FILE,
                {token: i for token, i in self.get_added_vocab().items() if token not in self.vocabulary.encoder},
            ),
        ):
            path = folder / (prefix + name)
            write_json(path, content, ensure_ascii=False)
            written.append(str(path))
        written.extend(self.save_vocabulary(save_directory, filename_prefix))
        if push_to_hub:
            self.push_to_hub(**{"repo_id": folder.resolve().name, **options})
        return tuple(written)

    @abstractmethod
    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the files to a hub repository."""

    def save_vocabulary(
        self, save_directory: str | os.PathLike[str], filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Write `vocab.json` alone into an existing folder and return its path.

        Raises:
            OSError: the folder does not exist.
        """
        if not os.path.isdir(save_directory):
            raise NotADirectoryError(f"{os.fspath(save_directory)!r} is no folder; save_vocabulary needs one")
        path = Path(save_directory) / ((filename_prefix + "-" if filename_prefix else "") + VOCABULARY_FILE)
        write_json(path, self.vocabulary.encoder, ensure_ascii=False)
        return (str(path),)


def _constructor_settings(cls: type[TokenizerFiles]) -> frozenset[str]:
    """The settings that a class's constructor knows; one that takes any keyword hands them on to its base."""
    names: set[str] = set()
    for kind in cls.__mro__:
        parameters = inspect.signature(vars(kind)["__init__"]).parameters if "__init__" in vars(kind) else {}
        names.update(name for name, one in parameters.items() if one.kind is not one.VAR_KEYWORD)
        if parameters and not any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
            break
    return frozenset(names) - {"self", "vocab_file"}


def check_strangers(cls: type[TokenizerFiles], where: str, settings: Iterable[str]) -> None:
    """Raise TypeError for settings that no constructor knows, unless they are tolerated (`fastvits.strict`); and
    AttributeError for a tolerated one that has the name of a method."""
    allowed = _constructor_settings(cls)
    for name in settings:
        if name not in allowed and not tolerated(f"{name} means nothing to a tokenizer of a VITS"):
            raise TypeError(f"{where} takes no {name!r}; settings are {', '.join(sorted(allowed))}")
        if name not in allowed and callable(getattr(cls, name, None)):
            raise AttributeError(f"{name} conflicts with the method {name} of {cls.__name__}")


def _read_if_there(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one where there is no file."""
    return read_json(path) if path.is_file() else {}


def read_vocabulary(vocab_file: str | os.PathLike[str]) -> dict[str, int]:
    """The tokens of a JSON file and their ids.

    Raises:
        TypeError: it is no path.
        OSError: it cannot be read.
        ValueError: it is no JSON object of tokens with ids of 0 or more.
    """
    if not isinstance(vocab_file, (str, os.PathLike)):
        raise TypeError(f"vocab_file must be the path of a JSON file, got {describe(vocab_file)}")
    path = Path(vocab_file)
    if not path.is_file():
        raise FileNotFoundError(f"there is no vocabulary file {os.fspath(path)!r}")
    vocabulary = read_json(path)
    if not vocabulary:
        raise ValueError(f"the vocabulary {os.fspath(path)!r} is empty")
    for token, index in vocabulary.items():
        if isinstance(index, bool) or not isinstance(index, int) or index < 0:
            raise ValueError(f"the vocabulary {os.fspath(path)!r} gives {token!r} no id of 0 or more but {index!r}")
    return vocabulary
