"""Explains errors about models of the Hub that a checkpoint needs beside its own files. Imports huggingface_hub."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled

from proctor.policies.lerobot.files import CONFIG, POSTPROCESSOR, PREPROCESSOR, CheckpointFiles

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_NOT_NEEDED = frozenset({"repo_id", "pretrained_path"})
_FOR_TRAINING = frozenset({"Wan-AI/Wan2.2-TI2V-5B", "lerobot/fastwam_base"})
"""The models that FastWAM's training begins with; all its checkpoints name them."""


def comes_from_the_hub(error: BaseException) -> bool:
    """Say whether an error, or one that caused it, is that the Hub did not give a file."""
    return any(isinstance(each, (EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled)) for each in causes(error))


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all errors that it was raised from, or while they were handled."""
    at: BaseException | None = error
    while at is not None:
        yield at
        at = at.__cause__ or at.__context__


def missing_files(files: CheckpointFiles, config: Mapping[str, Any]) -> str:
    """Make the sentence about missing files; it lists the repositories that the checkpoint names."""
    steps = [step.get("config") or {} for step in (*(files.preprocessor or ()), *(files.postprocessor or ()))]
    named = sorted({value for fields in (config, *steps) for value in _repositories(fields)})
    what = " and ".join(named) or "files"
    how = "; ".join(f"hf download {name}" for name in named) or "a run with a network brings them"
    return (
        f"The checkpoint at {files.directory} is built around {what} of the Hugging Face Hub, which neither the Hub "
        f"nor its cache gives here; fetch it once where there is a network: {how}"
    )


def lost_model(error: BaseException, files: CheckpointFiles, config: Mapping[str, Any]) -> str | None:
    """Make the sentence about a path to a model that the checkpoint names and ``error`` is about; None if none is."""
    messages = " ".join(str(each) for each in causes(error))
    for name, value in _lost_paths(config):
        if value in messages:
            return (
                f"{files.directory / CONFIG} names {value} as {name}, which is not here; give where it is: "
                f"--policy.{name}=<directory or Hub id>"
            )
    for file, steps in ((PREPROCESSOR, files.preprocessor), (POSTPROCESSOR, files.postprocessor)):
        for step in steps or ():
            for name, value in _lost_paths(step.get("config") or {}):
                if value in messages:
                    return f"{files.directory / file} names {value} as {name}, which is not here; correct it there."
    return None


def _lost_paths(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the fields that name a path on disk which does not exist, and the paths."""
    return (
        (name, value)
        for name, value in fields.items()
        if isinstance(value, str)
        and name not in _NOT_NEEDED
        and value.startswith(("/", "~", "./", "../"))
        and not os.path.exists(os.path.expanduser(value))  # noqa: PTH110 - any text
    )


def _repositories(fields: Mapping[str, Any]) -> Iterator[str]:
    texts = (value for name, value in fields.items() if isinstance(value, str) and name not in _NOT_NEEDED)
    return (
        text
        for text in texts
        if _REPOSITORY.fullmatch(text) and text not in _FOR_TRAINING and not os.path.exists(text)  # noqa: PTH110
    )
