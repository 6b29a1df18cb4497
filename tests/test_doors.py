"""Doors that stay shut: which room may import what, how fast the doors open, and that nothing global changes."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from labram_jax.commands import COMMANDS

ROOT = Path(__file__).parents[1]
# Two folders lie beside the package, which has them by links: they are installed as a part of it.
FOLDERS = {"labram_jax": "labram_jax", "data_prep": "labram_jax.data_prep", "configs": "labram_jax.configs"}
STANDARD = frozenset(sys.stdlib_module_names)

# The rooms of `docs/design.md` from the ground up: a module imports from its own room and from those above it here.
ROOMS = (
    *("errors", "jsonfile", "lock", "progress", "tables", "contacts", "montage", "metrics", "config", "protocol"),
    *("configs", "configfile", "data", "models", "parallel", "stages", "checkpoints", "training", "convert", "obtain"),
    *("weights", "data_prep", "plan", "adaptation", "runs", "windows", "inference", "estimators", "inspect"),
    *("evaluation", "reporting", "benchmark", "publish", "interop", "demo", "commands", "cli", "__main__"),
)
# What a module may import of the project where that is less than all above it; the longest prefix of its name counts.
PROJECT = {
    "labram_jax.errors": (),
    "labram_jax.jsonfile": ("labram_jax.errors",),
    "labram_jax.lock": (),
    "labram_jax.progress": (),
    "labram_jax.tables": (),
    "labram_jax.contacts": (),
    "labram_jax.montage": ("labram_jax.contacts", "labram_jax.errors"),
    "labram_jax.metrics": ("labram_jax.errors",),
    "labram_jax.config": ("labram_jax.config", "labram_jax.errors", "labram_jax.montage"),
    "labram_jax.protocol": ("labram_jax.config", "labram_jax.errors", "labram_jax.tables"),
    "labram_jax.models": ("labram_jax.config", "labram_jax.models"),
    "labram_jax.data": (
        *("labram_jax.config", "labram_jax.data", "labram_jax.errors", "labram_jax.jsonfile", "labram_jax.lock"),
        "labram_jax.montage",
        "labram_jax.progress",
    ),
    "labram_jax.parallel": ("labram_jax.config", "labram_jax.errors", "labram_jax.parallel"),
    "labram_jax.stages": (
        *("labram_jax.config", "labram_jax.errors", "labram_jax.metrics", "labram_jax.models", "labram_jax.stages"),
    ),
    "labram_jax.checkpoints": (
        *("labram_jax.checkpoints", "labram_jax.errors", "labram_jax.jsonfile", "labram_jax.parallel"),
        "labram_jax.stages.stage",
    ),
    "labram_jax.training": (
        *("labram_jax.checkpoints", "labram_jax.config", "labram_jax.configfile", "labram_jax.errors"),
        *("labram_jax.jsonfile", "labram_jax.lock", "labram_jax.parallel", "labram_jax.progress"),
        "labram_jax.stages.stage",
        "labram_jax.training",
    ),
    "labram_jax.convert": (
        *("labram_jax.config", "labram_jax.configfile", "labram_jax.convert", "labram_jax.errors"),
        "labram_jax.models",
    ),
    "labram_jax.obtain": ("labram_jax.convert", "labram_jax.data.remote", "labram_jax.errors"),
    "labram_jax.data_prep": (
        *("labram_jax.data_prep", "labram_jax.data.schema", "labram_jax.data.tables", "labram_jax.data.windows"),
        *("labram_jax.errors", "labram_jax.jsonfile", "labram_jax.lock", "labram_jax.montage", "labram_jax.progress"),
        "labram_jax.convert.pickles",  # numpy and the standard library alone, as its own rule below holds it to
    ),
    "labram_jax.convert.pickles": ("labram_jax.convert.pickled_objects", "labram_jax.errors"),
    "labram_jax.convert.pickled_objects": ("labram_jax.errors",),
    "labram_jax.configs": ("labram_jax.configs", "labram_jax.config"),
    "labram_jax.configs.benchmarks": (
        *("labram_jax.configs", "labram_jax.config", "labram_jax.protocol", "labram_jax.tables"),
    ),
}
OUTSIDE = {
    "labram_jax.errors": STANDARD,
    "labram_jax.jsonfile": STANDARD,
    "labram_jax.lock": STANDARD,
    "labram_jax.progress": STANDARD | {"tqdm"},
    "labram_jax.tables": STANDARD | {"numpy"},
    "labram_jax.metrics": STANDARD | {"numpy", "scipy", "sklearn", "jaxtyping"},
    "labram_jax.contacts": STANDARD,
    "labram_jax.montage": STANDARD | {"numpy", "jaxtyping"},
    "labram_jax.config": STANDARD,
    "labram_jax.protocol": STANDARD,
    "labram_jax.configfile": STANDARD,
    "labram_jax.models": (STANDARD | {"numpy", "jax", "flax", "jaxtyping"}) - {"os", "io", "pathlib", "shutil"},
    "labram_jax.data": STANDARD
    | {"numpy", "pandas", "absl", "grain", "tensorflow_datasets", "array_record", "fsspec", "jaxtyping"},
    "labram_jax.data_prep": STANDARD
    | {"numpy", "scipy", "pandas", "mne", "mne_bids", "h5py", "tensorflow_datasets", "array_record", "jaxtyping"},
    "labram_jax.data_prep.beam": STANDARD | {"apache_beam"},
    "labram_jax.convert.pickles": STANDARD,
    "labram_jax.convert.pickled_objects": STANDARD | {"numpy"},
    "labram_jax.configs": frozenset(),
}


def modules() -> Iterator[tuple[str, Path]]:
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):  # which follows no links
            parts = (package, *path.relative_to(ROOT / folder).with_suffix("").parts)
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(tree: ast.Module) -> set[str]:
    """Every module that the file imports, wherever in it: `from a import b` counts as a.b if there is such a module."""
    known = {name for name, _ in modules()}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import of {node.module}"
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & known
            found |= inner or {node.module}
    return found


def rule(table: dict, module: str):
    """The entry of the longest prefix of a module's name."""
    parts = module.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((table[name] for name in names if name in table), None)


def within(name: str, rooms: tuple[str, ...]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_rooms_import_only_what_their_door_lets_in(module, path):
    inside, outside = rule(PROJECT, module), rule(OUTSIDE, module)
    for name in imports(tree_of(path)):
        assert name.partition(".")[0] not in FOLDERS or within(name, ("labram_jax",)), f"{module} imports {name}"
        if within(name, ("labram_jax",)):
            if name != "labram_jax":  # the package itself: lazy, see below
                assert inside is None or within(name, inside), f"{module} imports {name}"
        else:
            assert outside is None or name.partition(".")[0] in outside, f"{module} imports {name}"


def room_of(module: str) -> str:
    """The room of a module of labram_jax: the first part of its name within the package."""
    return module.split(".")[1]


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_rooms_stand_upon_those_above_them(module, path):
    if module == "labram_jax":
        return
    own = ROOMS.index(room_of(module))
    for name in imports(tree_of(path)):
        if name.startswith("labram_jax."):
            assert ROOMS.index(room_of(name)) <= own, f"{module} imports {name}, which stands upon it"


@pytest.mark.parametrize(
    ("room", "openers"), [("labram_jax.cli", ("labram_jax.__main__",)), ("labram_jax.configs", ("labram_jax.configs",))]
)
def test_rooms_that_hardly_anyone_imports(room, openers):
    for module, path in modules():
        strangers = [name for name in imports(tree_of(path)) if within(name, (room,)) and not within(module, openers)]
        assert not strangers, f"{module} imports {strangers}"


LOADED = "import importlib, sys; [importlib.import_module(m) for m in {modules!r}]; print(*sys.modules, sep='\\n')"


def loaded_after(*names: str) -> set[str]:
    """Libraries, and rooms of the package, in memory after a fresh interpreter imported some modules."""
    command = [sys.executable, "-c", LOADED.format(modules=names)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    names = [line.split(".") for line in result.stdout.splitlines()]
    return {".".join(parts[: 2 if parts[0] == "labram_jax" else 1]) for parts in names}


def test_preparing_never_loads_jax():
    """Not even through a library: its workers must start fast."""
    loaded = loaded_after(*(module for module, _ in modules() if within(module, ("labram_jax.data_prep",))))
    assert "mne" in loaded and not loaded & {"jax", "flax", "optax", "orbax", "grain", "torch", "tensorflow"}


def test_the_package_and_its_command_open_at_once():
    """`labram-jax --help`, and that of each command, must not wait for what only the commands themselves need."""
    commands = [f"labram_jax.commands.{room}" for room in {known.module for known in COMMANDS.values()}]
    loaded = loaded_after("labram_jax", "labram_jax.cli", *commands, "labram_jax.configfile")
    slow = {"jax", "flax", "mne", "tensorflow_datasets", "grain", "matplotlib", "scipy", "sklearn"}
    assert "tyro" in loaded and not loaded & {*slow, "labram_jax.data_prep"}


# Calls that change the object whose method they are.
CHANGING = frozenset(
    (
        *("append", "extend", "insert", "remove", "pop", "popitem", "clear", "sort", "reverse", "add", "discard"),
        *("update", "setdefault", "appendleft", "popleft", "difference_update", "intersection_update"),
        *("symmetric_difference_update", "__setitem__", "__delitem__", "__setattr__"),
    )
)
# Decorators that keep results at module level; what they keep follows from the arguments, but it is state all the same
# unless the function takes no argument and so holds a constant.
CACHES = frozenset({"cache", "lru_cache", "cached_property"})


def global_names(tree: ast.Module) -> set[str]:
    """Names that the module's own body binds: assignments, imports, definitions."""
    names = set()
    for node in _outside_functions(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
    return names


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes that run when the module is imported; class bodies bind attributes, not globals."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield from _outside_functions(child)


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.Lambda]:
    """Outermost functions, those of classes among them: what runs after the import."""

    def walk(node):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                yield child
            else:
                yield from walk(child)

    yield from walk(tree)


def changed_globals(tree: ast.Module) -> list[str]:
    """What functions do to names of the module: rebind, assign into, delete from, call a changing method of."""
    names, found = global_names(tree), []
    # `np.append` is a function and not a method; what a module's own methods change is not ours.
    libraries = {
        (a.asname or a.name).partition(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names
    }
    for function in functions(tree):
        nodes = list(ast.walk(function))
        own = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        own |= {node.arg for node in nodes if isinstance(node, ast.arg)}
        own |= {node.name for node in nodes if isinstance(node, ast.ExceptHandler) and node.name}
        for node in nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                own |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        for node in nodes:
            if isinstance(node, ast.Global):
                found.append(f"line {node.lineno}: global {', '.join(node.names)}")
            target, ours = _changed(node), names - own - (libraries if isinstance(node, ast.Call) else set())
            if target in ours:
                found.append(f"line {node.lineno}: {target} is changed")
    return found


# Hooks of the interpreter that are set by assignment, as a signal's handler and a logger's filter are by a call.
HOOKS = frozenset({"unraisablehook", "showwarning"})


def _changed(node: ast.AST) -> str | None:
    """The name at the root of what this node changes: NAME.a[b] = ..., del NAME[a], NAME.append(...)."""
    if isinstance(node, ast.Attribute) and node.attr in HOOKS:
        return None
    stored = isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del)
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGING
    if not stored and not called:
        return None
    root = node.func.value if called else node.value
    while isinstance(root, ast.Subscript | ast.Attribute):
        root = root.value
    return root.id if isinstance(root, ast.Name) else None


def memories(tree: ast.Module) -> list[str]:
    """Functions whose results are kept for as long as the program runs, though they depend on arguments."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and any(True for _ in ast.walk(node.args) if isinstance(_, ast.arg)):
            for decorator in node.decorator_list:
                names = {getattr(part, "attr", getattr(part, "id", None)) for part in ast.walk(decorator)}
                found += [f"line {node.lineno}: {node.name} remembers"] if names & CACHES else []
    return found


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_no_module_has_a_global_that_changes(module, path):
    tree = tree_of(path)
    assert not changed_globals(tree) + memories(tree), module


@pytest.mark.parametrize(
    "code",
    [
        "SEEN = []\ndef f(x):\n    SEEN.append(x)",
        "CACHE = {}\ndef f(x):\n    CACHE[x] = 1",
        "CACHE = {}\nclass A:\n    def f(self):\n        del CACHE[self]",
        "COUNT = 0\ndef f():\n    global COUNT\n    COUNT = 1",
        "import numpy as np\ndef f():\n    np.random.state = 1",
        "from a import TABLE\nf = lambda: TABLE['x'].update(y=1)",
        "import functools\n@functools.lru_cache(maxsize=2)\ndef f(x):\n    return x",
    ],
)
def test_the_check_sees_globals_that_change(code):
    tree = ast.parse(code)
    assert changed_globals(tree) + memories(tree)


def test_the_check_lets_constants_and_locals_be():
    body = "    y = dict(TABLE)\n    y[x] = np.append(x, 1)\n    x.append(y)\n    return TABLE[1]"
    tree = ast.parse(f"import numpy as np\nTABLE = {{1: 2}}\ndef f(x):\n{body}")
    assert not changed_globals(tree) + memories(tree)
