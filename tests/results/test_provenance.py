"""Where results come from, and what is kept out of it."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

import msgspec
import pytest

from proctor.results.provenance import GitState, collect_provenance


def test_versions_and_machine_are_recorded(monkeypatch):
    """A distribution that is not installed is recorded as that."""
    monkeypatch.setenv("MUJOCO_GL", "egl")

    provenance = collect_provenance(["numpy", "no-such-distribution"], usable_cores=3)

    assert provenance.packages["numpy"][0].isdigit()
    assert provenance.packages["no-such-distribution"] is None
    assert provenance.gl_backend == "egl"
    assert provenance.usable_cores == 3
    assert provenance.cpu
    assert socket.gethostname() not in msgspec.json.encode(provenance).decode()


def test_the_revision_of_the_working_directory_is_recorded(tmp_path, monkeypatch):
    """With its uncommitted changes; None where there is no repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert collect_provenance([], 1).git is None
    (tmp_path / "file").write_text("1")
    for command in ("init -q", "add file", "-c user.name=a -c user.email=a@b commit -q -m one"):
        subprocess.run(["git", *command.split()], check=True)

    clean = collect_provenance([], 1).git
    (tmp_path / "file").write_text("2")
    dirty = collect_provenance([], 1).git

    assert (clean.dirty, dirty.dirty) == (False, True)
    assert len(clean.commit) == 40


def test_of_a_repository_that_takes_git_too_long_the_commit_is_known_nevertheless(tmp_path, monkeypatch, repository):
    """A network's disk, a million files."""
    monkeypatch.setattr("proctor.results.provenance._PATIENCE_S", 1)
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\ncase "$*" in *" diff "*) exec sleep 20;; esac\nexec {shutil.which("git")} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(slow.parent), prepend=os.pathsep)

    found = collect_provenance([], 1).git

    assert len(found.commit) == 40
    assert found.dirty is None


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """The working directory: a repository with a file, which was touched since, and a submodule."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    (tmp_path / "file").write_text("1")
    (tmp_path / ".gitattributes").write_text("* filter=canary diff=canary\n")
    git("init -q inner")
    git("-C inner commit -q --allow-empty -m one")
    for command in ("init -q", "add .", "commit -q -m one"):
        git(command)
    (tmp_path / "file").write_text("1")  # so that git has to look into it
    return tmp_path


def git(command, *more):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "advice.addEmbeddedRepo=false"]
    return subprocess.run(["git", *identity, *command.split(), *more], check=True, capture_output=True)


_PROGRAMS = ["core.fsmonitor", "core.pager", "core.sshCommand", "core.gitProxy", "core.editor", "diff.external"]
_PROGRAMS += ["filter.canary.clean", "filter.canary.smudge", "filter.canary.process", "diff.canary.textconv"]
_PROGRAMS += ["diff.canary.command", "pager.diff", "credential.helper", "alias.diff", "alias.rev-parse"]


@pytest.mark.parametrize("dirty", [False, True])
def test_no_program_runs_that_the_repository_names(repository, dirty):
    """Nor one of its submodule's; hooks neither. The repository may have come out of an archive."""
    if dirty:
        (repository / "file").write_text("2")
    program = f"touch {repository}/canary; cat"
    for name in _PROGRAMS:
        git(f"config {name}", program)
        git(f"-C inner config {name}", program)
    for folder in (repository / ".git", repository / "inner" / ".git"):
        for hook in ("post-index-change", "fsmonitor-watchman", "pre-commit", "reference-transaction"):
            (folder / "hooks" / hook).write_text(f"#!/bin/sh\n{program}\n")
            (folder / "hooks" / hook).chmod(0o755)

    found = collect_provenance([], 1).git

    assert found.dirty is dirty
    assert not (repository / "canary").exists()


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_the_state_is_that_of_a_linked_working_tree(repository, object_format, monkeypatch):
    """Where objects and index lie in different places."""
    git(f"init -q --object-format={object_format} other")
    monkeypatch.chdir("other")
    for command in ("commit -q --allow-empty -m one", "worktree add -q ../linked"):
        git(command)
    monkeypatch.chdir("../linked")
    Path("file").write_text("1")
    git("add file")
    git("commit -q -m two")
    commit = git("rev-parse HEAD").stdout.decode().strip()

    assert collect_provenance([], 1).git == GitState(commit, dirty=False)
    Path("file").write_text("2")
    assert collect_provenance([], 1).git == GitState(commit, dirty=True)


def test_a_mode_that_the_repository_does_not_track_is_no_change(repository):
    """As on a file system that has none; it is the repository's own setting."""
    git("config core.filemode false")
    (repository / "file").chmod(0o755)

    assert collect_provenance([], 1).git.dirty is False


def test_a_change_that_git_cannot_tell_is_unknown(repository):
    """With a damaged index, for one."""
    (repository / ".git" / "index").write_bytes(b"DIRC")

    assert collect_provenance([], 1).git.dirty is None


def test_without_git_there_is_no_revision(monkeypatch):
    """A machine without git evaluates all the same."""
    monkeypatch.setenv("PATH", "")

    assert collect_provenance([], 1).git is None
