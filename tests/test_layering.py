"""What may import what, and what may know of whom: the architecture's absences."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import proctor

SOURCE = Path(proctor.__file__).parent

# From the bottom up: a module imports only from lines above its own in this list, or from its own entry, and names on
# one line never import each other. The most specific entry counts: proctor.benchmarks.base is what benchmarks *are*,
# and lies below the policies that live beside a simulator; the rest of proctor.benchmarks are benchmarks.
LAYERS = [
    ["types", "errors", "machine"],
    ["child", "streams", "config", "identity", "statistics"],
    ["security", "benchmarks.base", "policies.base"],
    ["plugins", "results", "rendering"],
    ["benchmarks", "interpreters", "policies"],
    ["engine"],
    ["reports", "doctor", "testing"],
    ["evaluation", "view"],
    ["compat", "tuning", "parallel", "serving"],
    ["cli"],
]
ENTRIES = {f"proctor.{name}": level for level, names in enumerate(LAYERS) for name in names}
TOP = {"proctor", "proctor.__init__", "proctor.__main__"}
"""The package's own modules may import everything, and nothing imports them."""

# Where names of particular benchmarks, policies and launchers may stand: in the adapter's own files.
ADAPTERS = ["benchmarks/", "policies/lerobot/", "policies/remote/", "policies/local.py", "policies/function.py"]
ADAPTERS += ["compat/", "testing/", "parallel/launchers/"]
ADAPTERS += ["doctor/"]  # it looks whether each of them works


def modules() -> dict[str, Path]:
    """Every module of ours by name."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if parts[-1] == "__init__" and len(parts) > 1:
            parts = parts[:-1]
        found[".".join(("proctor", *parts))] = path
    return found


MODULES = modules()


def imports(path: Path) -> Iterator[str]:
    """Every module of ours that a file imports, wherever in it: in functions and for type checkers too.

    ``from package import name`` counts as the module that defines the name.
    """
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "proctor")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "proctor":
            yield from (home_of(node.module, alias.name) for alias in node.names)


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text())


@cache
def home_of(module: str, name: str) -> str:
    """The module that a name of ``module`` is or comes from: a package's ``__init__`` hands on what others define."""
    if (whole := f"{module}.{name}") in MODULES:
        return whole
    if module in MODULES and MODULES[module].name == "__init__.py":
        for node in ast.walk(parsed(MODULES[module])):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("proctor"):
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        return home_of(node.module, alias.name)
    return module


def entry_of(module: str) -> str:
    """The most specific entry of LAYERS that a module belongs to."""
    name = module
    while name not in ENTRIES:
        name, dot, _ = name.rpartition(".")
        assert dot, f"{module} is in no layer: add it to LAYERS"
    return name


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_the_layers_below_it(module):
    """Or from its own package."""
    imported = set(imports(MODULES[module]))

    assert not imported & TOP or module in TOP
    if module not in TOP:
        mine = entry_of(module)
        above = {name for name in imported if ENTRIES[entry_of(name)] >= ENTRIES[mine] and entry_of(name) != mine}
        assert not above


def test_there_are_few_rooms_and_few_floors():
    """What lies at the first level can be learnt in an hour."""
    repository = SOURCE.parents[1]
    units = {name.split(".")[1] for name in MODULES if name not in TOP}
    units |= {name for name in ("bench", "tools") if (repository / name).is_dir()}

    assert len(LAYERS) <= 10
    assert len(units) <= 28
    assert {name.split(".")[0] for names in LAYERS for name in names} == units - {"bench", "tools"}


def test_the_check_sees_imports_in_functions_and_of_modules_out_of_packages(tmp_path):
    """Else it could not fail."""
    path = tmp_path / "module.py"
    path.write_text(
        "def f():\n    from proctor.engine import plan\n    import proctor.cli\nfrom proctor.types import Task\n"
        "from proctor.doctor import Finding\n"
    )

    assert sorted(imports(path)) == [
        "proctor.cli",
        "proctor.doctor.findings",
        "proctor.engine.plan",
        "proctor.types",
    ]
    assert entry_of("proctor.benchmarks.base") != entry_of("proctor.benchmarks.pusht") == "proctor.benchmarks"


def cycles(graph: dict[str, set[str]]) -> list[set[str]]:
    """The groups of modules each of which leads to every other one of its group (Tarjan's strongly connected
    components)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found: list[set[str]] = []

    def visit(name: str) -> None:
        order[name] = lowest[name] = len(order)
        path.append(name)
        for other in sorted(graph[name]):
            if other not in order:
                visit(other)
            if other in path:
                lowest[name] = min(lowest[name], lowest[other])
        if lowest[name] == order[name]:
            group = {path.pop()}
            while name not in group:
                group.add(path.pop())
            if len(group) > 1:
                found.append(group)

    for name in graph:
        if name not in order:
            visit(name)
    return found


def test_no_modules_need_each_other():
    """Over any number of steps, within a package too; imports in functions and for type checkers count."""
    graph = {name: set(imports(path)) & set(MODULES) - {name} for name, path in MODULES.items() if name not in TOP}
    graph = {name: {other for other in imported if other in graph} for name, imported in graph.items()}

    assert not cycles(graph)


def test_a_cycle_of_any_length_is_seen():
    """Else the check could not fail."""
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}

    assert sorted(map(sorted, cycles(graph))) == [["a", "b", "c"], ["d", "e"]]


def test_the_engine_knows_nothing_of_results_and_reports():
    """What it finds out leaves through one callback."""
    for module, path in MODULES.items():
        if module.startswith("proctor.engine"):
            reached = [name for name in imports(path) if name.startswith(("proctor.results", "proctor.reports"))]
            assert not reached, module


STATISTICS = {
    f"proctor.statistics.{name}"
    for name in ("intervals", "counts", "bootstrap", "stopping", "differences", "power", "task_mean")
} | {"proctor.results.compare"}


def test_reports_compute_no_statistic():
    """They print what results gives: classes and constants, no function, and no library that could do it too."""
    assert set(MODULES) >= STATISTICS
    for module, path in MODULES.items():
        if not module.startswith("proctor.reports"):
            continue
        for node in ast.walk(parsed(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            source = node.module if isinstance(node, ast.ImportFrom) else None
            assert not {"scipy", "numpy", "statistics"} & {name.split(".")[0] for name in [*names, source or ""]}, (
                module
            )
            if source in STATISTICS:
                assert not [name for name in names if name[0].islower()], module


def code_words(path: Path) -> Iterator[tuple[str, int]]:
    """Identifiers and short strings of a file, each with its line; what it says to people is left out."""
    tree = parsed(path)
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in docstrings and " " not in text:
                yield text, node.lineno
            case ast.Name(id=text) | ast.Attribute(attr=text) | ast.arg(arg=text):
                yield text, node.lineno
            case ast.FunctionDef(name=text) | ast.ClassDef(name=text):
                yield text, node.lineno
            case ast.alias(name=text):
                yield from ((part, node.lineno) for part in text.split("."))


PARTICULAR = {"pusht", "metaworld", "libero", "aloha", "mujoco", "egl", "pygame", "robosuite", "ray", "openpi", "gr00t"}
PARTICULAR |= {"lerobot", "smolvla", "diffusion", "vqbet", "pi0", "expert", "torch", "draccus", "huggingface_hub"}
PARTICULAR |= {"slurm", "submitit"}

# Each with its reason; what is not here any more need not be.
EXCEPTIONS = {
    ("security/hub_files.py", "huggingface_hub"): "it is what asks the Hub",
    ("security/hub_files.py", "lerobot"): "the extra that installs huggingface_hub",
    ("identity/parts.py", "torch"): "it says of what a tensor consists",
    ("streams.py", "torch"): "its generator is one of those that are swapped",
    ("rendering/choice.py", "egl"): "what MuJoCo draws with",
    ("rendering/choice.py", "mujoco"): "it is looked whether it is installed",
    ("rendering/frame.py", "mujoco"): "it draws the frame that is tried",
    ("machine/home.py", "torch"): "the folder of its downloads, in the user's cache",
    ("config/wandb.py", "lerobot"): "the project to which LeRobot's users log",
    ("config/trackers.py", "lerobot"): "the project to which LeRobot's users log",
    (
        "evaluation/recording/recording.py",
        "lerobot",
    ): "the package that writes datasets, and its extra",
    ("cli/export.py", "hub"): "the Hub's pages are a place to export to",
    ("reports/hub.py", "hub"): "it writes what the Hub's pages show",
    ("reports/hub.py", "huggingface_hub"): "it is what commits to the Hub",
    ("reports/hub.py", "lerobot"): "the extra that installs huggingface_hub",
    ("config/env.py", "egl"): "what may be asked for to draw with",
    ("cli/parallel.py", "ray"): "the flags of a launcher stand where the command's are",
    ("cli/parallel.py", "slurm"): "the flags of a launcher stand where the command's are",
    ("cli/sweep.py", "ray"): "the flags of a launcher stand where the command's are",
    ("cli/sweep.py", "slurm"): "the flags of a launcher stand where the command's are",
    ("cli/demo.py", "lerobot"): "the bundled checkpoint is LeRobot's",
    ("cli/demo.py", "metaworld"): "the bundled checkpoint's benchmark",
    (
        "evaluation/arguments.py",
        "hub",
    ): "user/repo as an environment is a repository of the Hub, as in LeRobot's make_env",
    (
        "evaluation/components.py",
        "lerobot",
    ): "--policy.path alone is a LeRobot checkpoint, as its users write it",
}


def test_core_code_names_no_particular_benchmark_policy_or_launcher():
    """Only the adapter's file and its entry point do."""
    ours = {point.name for group in ("proctor.benchmarks", "proctor.policies") for point in entry_points(group=group)}
    names = PARTICULAR | (ours - {"gymnasium", "function", "random", "zero"})
    found, excused = {}, set()
    for path in MODULES.values():
        relative = path.relative_to(SOURCE).as_posix()
        if relative.startswith(tuple(ADAPTERS)):
            continue
        for word, line in code_words(path):
            if (where := (relative, word.lower())) in EXCEPTIONS:
                excused.add(where)
            elif word.lower() in names:
                found[f"{relative}:{line}"] = word

    assert not found
    assert excused == set(EXCEPTIONS), "an exception that nothing needs"


PICKLES = {
    ("proctor.benchmarks.libero.package", "pickle"): "takes arrays from LIBERO's initial states, nothing else",
    (
        "proctor.parallel.launchers.slurm.jobs",
        "submitit",
    ): "hands a call of ours to a job, in a folder of the user's own",
}
"""The only modules that may import something that unpickles, each with what it imports for what."""


@pytest.mark.parametrize("forbidden", ["pickle", "dill", "cloudpickle", "submitit", "shelve", "marshal"])
def test_nothing_is_unpickled(forbidden):
    """Weights, messages and files are data."""
    for name, path in MODULES.items():
        if (name, forbidden) in PICKLES:
            continue
        for node in ast.walk(parsed(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert forbidden not in {name.split(".")[0] for name in names}, path


def careless_calls(tree: ast.AST) -> Iterator[int]:
    """The lines of code that runs or unpickles what it is given, or consents to that."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="eval" | "exec")):
                yield node.lineno
            case ast.Call(func=ast.Attribute(value=ast.Name(id="yaml"), attr="load" | "unsafe_load" | "full_load")):
                yield node.lineno
            case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr="load")):
                yield node.lineno
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="hub" | "jit" | "package"), attr="load")):
                yield node.lineno
            case ast.keyword(arg="trust_remote_code", value=ast.Constant(value=True)):
                yield node.value.lineno
            case ast.keyword(arg="allow_pickle" | "weights_only", value=value) if not (
                isinstance(value, ast.Constant) and value.value is (node.arg == "weights_only")
            ):
                yield value.lineno


def test_nothing_is_evaluated_and_consent_is_never_given_by_us():
    """No eval, no exec, no unsafe YAML, no ``torch.load``, no literal ``trust_remote_code=True``, no ``allow_pickle``
    but ``False``."""
    assert not [f"{path}:{line}" for path in MODULES.values() for line in careless_calls(parsed(path))]


@pytest.mark.parametrize(
    "code",
    [
        "eval(text)",
        "yaml.load(text)",
        "torch.load(file, weights_only=True)",
        "torch.hub.load(name, 'model')",
        "read(file, weights_only=flag)",
        "numpy.load(file, allow_pickle=True)",
        "numpy.load(file, allow_pickle=flag)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
    ],
)
def test_the_check_sees_careless_calls(code):
    """Else it could not fail; a consent that is passed on, and an array without objects, are none."""
    assert [*careless_calls(ast.parse(code))] == [1]
    assert not [*careless_calls(ast.parse("load(a, trust_remote_code=b); numpy.load(a, allow_pickle=False)"))]
