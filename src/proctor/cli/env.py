"""``proctor env``."""

from __future__ import annotations

from time import monotonic
from typing import Literal

from rich.console import Console

from proctor.cli.output import print_json
from proctor.errors import ConfigError
from proctor.machine.signals import raise_on_signals

_WITH_OPTIONS = {
    "create": ("python", "fetch_python", "installer", "verbose"),
    "list": ("json",),
    "path": (),
    "remove": ("stale", "all"),
}


def env_command(  # noqa: PLR0913 - what can be chosen on the command line
    action: Literal["create", "list", "path", "remove"] = "list",
    name: str | None = None,
    /,
    *,
    python: str | None = None,
    fetch_python: bool = False,
    installer: str = "auto",
    verbose: bool = False,
    stale: bool = False,
    all: bool = False,  # noqa: A002 - the name of the option
    json: bool = False,
) -> int:
    """Create, list, locate or remove environments: interpreters of their own for simulators that do not fit into this.

    An evaluation uses the environment of its benchmark if this interpreter lacks what the benchmark needs, or if
    --env.python names it. Environments are kept in the user's cache (XDG_CACHE_HOME, or PROCTOR_ENVIRONMENTS).

    Parameters
    ----------
    action
        create, list, path (print the path of the interpreter) or remove.
    name
        The name of a recipe; to create an environment from a recipe of your own, the path of its file.
    python
        create: the Python to use, a version such as 3.10 or a path; by default Proctor's own if it fits the
        recipe, else the newest that does.
    fetch_python
        create: let uv fetch a Python that fits the recipe.
    installer
        create: how packages are installed, uv or pip; auto is uv if it is installed, else pip.
    verbose
        create: print what the installer prints.
    stale
        remove: remove every environment whose recipe has changed or whose Python is gone.
    all
        remove: remove every environment.
    json
        list: print the list as JSON.
    """
    given = {"python": python, "fetch_python": fetch_python, "verbose": verbose, "stale": stale, "all": all}
    given |= {"json": json, "installer": None if installer == "auto" else installer}
    for option, value in given.items():
        if value and option not in _WITH_OPTIONS[action]:
            raise ConfigError(f"--{option} has no meaning for proctor env {action}; leave it out.")
    match action:
        case "create":
            _create(_named(name, action), python, installer, fetch=fetch_python, verbose=verbose)
        case "list":
            _list(json=json)
        case "path":
            _path(_named(name, action))
        case "remove":
            _remove(name, stale=stale, everything=all)
    return 0


def _named(name: str | None, action: str) -> str:
    if name is None:
        raise ConfigError(f"Which environment? Give its name: proctor env {action} NAME; proctor env list has them.")
    return name


def _create(name: str, python: str | None, installer_name: str, *, fetch: bool, verbose: bool) -> None:
    from proctor.interpreters.creation import Creation
    from proctor.interpreters.environments import existing
    from proctor.interpreters.installers import choose_installer, choose_python
    from proctor.interpreters.recipe import find_recipe
    from proctor.reports.text import duration, safe

    raise_on_signals()
    console = Console()
    recipe = find_recipe(name)
    console.print(safe(f"{recipe.name}: {recipe.summary} ({recipe.licence}, about {recipe.disk_mb} MB)", "bold"))
    there = existing()
    installer = choose_installer(installer_name)
    with Console(stderr=True).status("Looking for a Python") as status:

        def show(sentence: str) -> None:
            status.update(sentence)
            console.print(safe(sentence), soft_wrap=True)

        def show_line(line: str) -> None:
            if verbose:
                console.print(safe(f"    {line}", "dim"), soft_wrap=True)

        chosen = choose_python(recipe, installer, python, fetch=fetch)
        began = monotonic()
        environment = Creation(recipe, installer, chosen, show, show_line).environment()
    took = "It was there already" if environment in there else f"Created in {duration(monotonic() - began)}"
    console.print(f"{took}: Python {environment.facts.python}, {environment.facts.megabytes} MB", soft_wrap=True)
    console.print(safe(str(environment.folder)), soft_wrap=True)
    for text in filter(None, (recipe.downloads, recipe.unproven)):
        console.print(safe(text, "yellow"), soft_wrap=True)


def _list(*, json: bool) -> None:
    from proctor.cli.environment_tables import plain_rows, print_rows
    from proctor.interpreters.environments import environments_folder
    from proctor.interpreters.overview import overview

    rows = overview()
    if json:
        print_json({"folder": str(environments_folder()), "environments": plain_rows(rows)})
    else:
        print_rows(Console(), rows)


def _path(name: str) -> None:
    from proctor.interpreters.environments import ready_environment

    Console().print(str(ready_environment(name).interpreter), soft_wrap=True, markup=False, highlight=False)


def _remove(name: str | None, *, stale: bool, everything: bool) -> None:
    from proctor.interpreters.removal import environments_to_remove, remove
    from proctor.reports.text import safe

    console = Console()
    chosen = environments_to_remove(name, stale=stale, everything=everything)
    if not chosen:
        console.print("There is nothing to remove.")
    for environment in chosen:
        remove(environment, lambda sentence: console.print(safe(sentence), soft_wrap=True))
        console.print(
            safe(f"Removed {environment.name} ({environment.facts.megabytes} MB): {environment.folder}"), soft_wrap=True
        )
