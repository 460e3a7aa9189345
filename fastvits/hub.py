"""Where a checkpoint's files are: a folder on this machine, or a repository of the Hugging Face hub.

Everything that loads (configuration, tokenizer, weights) asks :func:`snapshot` for a local folder and then reads plain
files from it, so that a folder and a hub id behave the same from there on. ``huggingface_hub`` is imported only when a
source is no folder.
"""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath


def snapshot(
    source: str | os.PathLike[str],
    *,
    allow_patterns: str | Sequence[str],
    revision: str | None = None,
    subfolder: str = "",
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
    force_download: bool = False,
) -> Path:
    """Return the local folder that holds the files of ``source``.

    Args:
        source: a folder, or the id of a hub repository such as ``"facebook/mms-tts-eng"``. A folder that exists wins.
        allow_patterns: shell-style patterns (``"config.json"``, ``"*.safetensors"``) of the file names to fetch from
            the hub, relative to ``subfolder``; files in folders below it are not fetched. Not used for a folder.
        revision: branch, tag or commit of the repository; None means its main branch. Not used for a folder.
        subfolder: folder inside the source, with forward slashes.
        cache_dir: the hub's cache; None means huggingface_hub's own (``HF_HUB_CACHE``, ``HF_HOME``).
        local_files_only: look only into the cache, as ``HF_HUB_OFFLINE=1`` does.
        token: access token of the hub; True or None means the stored one, False none at all.
        force_download: fetch again what the cache already holds.

    Returns:
        The existing folder, ``subfolder`` included. It need not hold every file asked for: the caller, who knows which
        ones it cannot do without, reports what is missing.

    Raises:
        OSError: the source is neither a folder nor a repository that can be reached or found in the cache.
        ValueError: ``subfolder`` leads out of the source.
    """
    inner = PurePosixPath(subfolder)
    if inner.is_absolute() or ".." in inner.parts:
        raise ValueError(f"subfolder must be a relative path inside the source, got {subfolder!r}")
    name = os.fspath(source)
    if not name:
        raise FileNotFoundError("an empty name is neither a folder nor the id of a hub repository")
    local = Path(os.path.expanduser(name))
    if local.is_dir():
        if not (local / inner).is_dir():
            raise FileNotFoundError(f"the folder {name!r} has no folder {subfolder!r} inside")
        return local / inner
    if local.exists():
        raise NotADirectoryError(f"{name!r} is a file; a folder or the id of a hub repository is needed")
    return _download(name, inner, allow_patterns, revision, cache_dir, local_files_only, token, force_download)


def _download(
    repository: str,
    inner: PurePosixPath,
    allow_patterns: str | Sequence[str],
    revision: str | None,
    cache_dir: str | os.PathLike[str] | None,
    local_files_only: bool,
    token: str | bool | None,
    force_download: bool,
) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    # The hub's patterns match whole paths and their "*" crosses slashes, hence the prefix and the ignored sub-folders.
    prefix = "" if inner == PurePosixPath() else glob.escape(f"{inner}/")
    patterns = [allow_patterns] if isinstance(allow_patterns, str) else list(allow_patterns)
    at = repository if revision is None else f"{repository} (revision {revision})"
    try:
        root = Path(
            snapshot_download(
                repository,
                revision=revision,
                cache_dir=None if cache_dir is None else os.fspath(cache_dir),
                local_files_only=local_files_only,
                token=token,
                force_download=force_download,
                allow_patterns=[prefix + pattern for pattern in patterns],
                ignore_patterns=[prefix + "*/*"],
            )
        )
    except HFValidationError as error:
        raise FileNotFoundError(
            f"{repository!r} is neither a folder nor the id of a hub repository (such as 'facebook/mms-tts-eng')"
        ) from error
    # What the hub's client raises depends on its version and on the HTTP library below it; some of it is no OSError.
    except Exception as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise OSError(f"there is no folder {repository!r}, and {at} cannot be had from the hub: {reason}") from error
    if not (root / inner).is_dir():
        wanted = ", ".join(str(inner / pattern) for pattern in patterns)
        raise FileNotFoundError(f"the hub repository {at} has no file matching {wanted}")
    return root / inner


def upload(
    repo_id: str,
    write: Callable[[Path], object],
    *,
    commit_message: str = "Upload with fastvits",
    commit_description: str | None = None,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
) -> str:
    """Upload the files that ``write`` puts into a folder to a hub repository, in one commit.

    Args:
        repo_id: "owner/name", or "name" for the owner of the token; made if it does not exist.
        write: is called with an empty folder.
        commit_message, commit_description: of the commit.
        private: whether a new repository is private; None leaves it to the owner's settings.
        token: an access token; None and True mean the stored one.
        revision: the branch to commit to; the main one by default.
        create_pr: propose the commit as a pull request instead.

    Returns:
        The address of the commit.

    Raises:
        OSError: the hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi

    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        api = HfApi(token=token)
        try:
            full_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            commit = api.upload_folder(
                repo_id=full_id,
                folder_path=folder,
                commit_message=commit_message,
                commit_description=commit_description,
                revision=revision,
                create_pr=create_pr,
            )
        except (OSError, ValueError, TypeError):
            raise
        except Exception as error:  # the errors of whichever HTTP library this version of huggingface_hub is built on
            raise OSError(f"cannot upload to {repo_id!r} on the hub: {error}") from error
    return str(getattr(commit, "commit_url", commit))
