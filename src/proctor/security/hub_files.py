"""Download of files from the Hugging Face Hub, or their lookup in its cache."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path

from proctor.errors import ConfigError, MissingExtraError


def snapshot_of(
    repository: str, revision: str | None, *, allow: list[str] | None = None, ignore: list[str] | None = None
) -> Path:
    """Return the folder with a repository's files, which is named after its commit. Without a network, use the cache.

    ``allow`` and ``ignore`` are patterns of file names.

    Raises:
        MissingExtraError: ``huggingface_hub`` is not installed.
        ConfigError: the repository is not available; the message is the end of a sentence that gives the reason.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
    except ImportError as error:
        raise MissingExtraError("huggingface_hub", "lerobot", str(error)) from None
    download = partial(snapshot_download, repository, revision=revision, allow_patterns=allow, ignore_patterns=ignore)
    try:
        return Path(download())
    except GatedRepoError:
        reason = "access to it is restricted; ask for access on its page and log in with: hf auth login"
    except RepositoryNotFoundError:
        reason = (
            f"{repository} is neither a directory here nor a repository of the Hub (for a private one, log in with: "
            "hf auth login)"
        )
    except RevisionNotFoundError:
        reason = f"it has no revision '{revision}'"
    except Exception as error:  # noqa: BLE001 - its versions have several network libraries, with errors of their own
        with suppress(OSError, ValueError):  # given a commit, the client does not always look into its cache
            return Path(download(local_files_only=True))
        first_line = str(error).partition("\n")[0].rstrip(".")
        reason = f"{repository} is not a directory here, and neither the Hub nor its cache has it ({first_line})"
    raise ConfigError(reason)
