"""What a checkpoint needs of the Hub beyond its own files: a tokenizer, a language model. Imports huggingface_hub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled

from proctor.policies.lerobot.files import CONFIG, POSTPROCESSOR, PREPROCESSOR, CheckpointFiles

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_NOT_NEEDED = frozenset({"repo_id", "pretrained_path"})
_FOR_TRAINING = frozenset({"Wan-AI/Wan2.2-TI2V-5B", "lerobot/fastwam_base"})
"""What FastWAM's training begins with; all its checkpoints name them."""


def comes_from_the_hub(error: BaseException) -> bool:
    """Whether an error, or what caused it, is that the Hub did not give a file."""
    return any(isinstance(each, (EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled)) for each in causes(error))


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised from or while handling, down to the bottom."""
    at: BaseException | None = error
    while at is not None:
        yield at
        at = at.__cause__ or at.__context__


def missing_files(files: CheckpointFiles, config: Mapping[str, Any]) -> str:
    """A sentence about what could not be had: the repositories that the checkpoint names."""
    steps = [step.get("config") or {} for step in (*(files.preprocessor or ()), *(files.postprocessor or ()))]
    named = sorted({value for fields in (config, *steps) for value in _repositories(fields)})
    what = " and ".join(named) or "files"
    how = "; ".join(f"hf download {name}" for name in named) or "a run with a network brings them"
    return (
        f"The checkpoint at {files.directory} is built around {what} of the Hugging Face Hub, which neither the Hub "
        f"nor its cache gives here; fetch it once where there is a network: {how}"
    )


def lost_model(error: BaseException, files: CheckpointFiles, config: Mapping[str, Any]) -> str | None:
    """A sentence about the path to a model that the checkpoint names, that is not here, and that ``error`` is about."""
    said = " ".join(str(each) for each in causes(error))
    for name, value in _lost_paths(config):
        if value in said:
            return (
                f"{files.directory / CONFIG} names {value} as {name}, which is not here; give where it is: "
                f"--policy.{name}=<directory or Hub id>"
            )
    for file, steps in ((PREPROCESSOR, files.preprocessor), (POSTPROCESSOR, files.postprocessor)):
        for step in steps or ():
            for name, value in _lost_paths(step.get("config") or {}):
                if value in said:
                    return f"{files.directory / file} names {value} as {name}, which is not here; correct it there."
    return None


def _lost_paths(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Fields that name a path on disk which does not exist."""
    return (
        (name, value)
        for name, value in fields.items()
        if isinstance(value, str)
        and name not in _NOT_NEEDED
        and value.startswith(("/", "~", "./", "../"))
        and not Path(value).expanduser().exists()
    )


def _repositories(fields: Mapping[str, Any]) -> Iterator[str]:
    texts = (value for name, value in fields.items() if isinstance(value, str) and name not in _NOT_NEEDED)
    return (
        text for text in texts if _REPOSITORY.fullmatch(text) and text not in _FOR_TRAINING and not Path(text).exists()
    )
