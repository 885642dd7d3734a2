"""The import graph of the package, from its source: layers, homes of foreign libraries, forbidden calls."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "dwp_sweep"

# Top to bottom; a line imports only from lines below it, names on one line not from each other.
LAYERS = (
    ("__main__",),
    ("cli",),
    ("api",),
    ("bench", "export"),
    ("report", "prediction", "harness"),
    ("tracking",),
    ("config",),
    ("store",),
    ("stages",),
    ("methods",),
    ("training", "losses", "metrics", "nets", "data"),
    ("strict", "tables"),
    ("errors",),
    ("atomic_write", "passwords", "stop_signals"),
)
DEPTH = {name: depth for depth, names in enumerate(LAYERS) for name in names}
COMPUTE = [name for name in DEPTH if DEPTH[name] >= DEPTH["store"]]

HOMES = {
    "nibabel": ("data/files/"),
    "ray": ("harness/",),
    "optuna": ("harness/",),
    "mlflow": ("tracking/",),
    "boto3": ("store/s3/bucket.py",),
    "botocore": ("store/s3/bucket.py", "store/s3/retries.py"),
    "click": ("cli/",),
    "yaml": ("config/",),
    "jinja2": ("tables.py", "report/page/write.py"),
    "difflib": ("errors.py",),
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Dotted names that a file imports anywhere, inside functions and for type checkers, too."""
    for item in ast.walk(ast.parse(path.read_text())):
        if isinstance(item, ast.Import):
            yield from ((alias.name, item.lineno) for alias in item.names)
        elif isinstance(item, ast.ImportFrom):
            assert item.level == 0, f"{place(path)}:{item.lineno}: imports are absolute here"
            yield from ((f"{item.module}.{alias.name}", item.lineno) for alias in item.names)


def imported_layers(path: Path) -> Iterator[tuple[str, int]]:
    for name, line in imports(path):
        parts = name.split(".")
        if parts[0] == "dwp_sweep" and len(parts) > 1 and parts[1] in DEPTH:
            yield parts[1], line


def test_every_part_of_the_package_stands_in_a_layer() -> None:
    parts = {layer(path) for path in modules()} - {"__init__"}
    assert parts == set(DEPTH)


@pytest.mark.parametrize("path", [p for p in modules() if layer(p) != "__init__"], ids=place)
def test_a_line_imports_only_from_lines_below_it(path: Path) -> None:
    own = layer(path)
    wrong = [
        f"line {line} imports {name}"
        for name, line in imported_layers(path)
        if name != own and DEPTH[name] <= DEPTH[own]
    ]
    assert not wrong


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def test_no_module_imports_itself_through_others() -> None:
    # The package's own file is left out: it names the public functions and loads them on first use.
    names = {dotted(path) for path in modules()} - {"dwp_sweep"}
    graph = {
        dotted(path): {name if name in names else name.rpartition(".")[0] for name, _ in imports(path)}
        for path in modules()
    }
    inside = {name: (graph[name] & names) - {name} for name in sorted(names)}
    TopologicalSorter(inside).prepare()  # raises CycleError, which names the circle


def test_no_class_name_is_defined_twice() -> None:
    places = defaultdict(list)
    for path in modules():
        for item in ast.walk(ast.parse(path.read_text())):
            if isinstance(item, ast.ClassDef):
                places[item.name].append(f"{place(path)}:{item.lineno}")
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_the_store_knows_no_stage() -> None:
    names = {name for path in (PACKAGE / "store").rglob("*.py") for name, _ in imported_layers(path)}
    assert names <= {"store", "strict", "errors", "atomic_write", "passwords"}


def test_only_the_store_asks_of_which_kind_a_storage_is() -> None:
    kinds = {
        item.name
        for path in (PACKAGE / "store").rglob("*.py")
        for item in ast.walk(ast.parse(path.read_text()))
        if isinstance(item, ast.ClassDef) and item.name.endswith("Store")
    }
    assert len(kinds) >= 2
    wrong = [
        f"{place(path)}:{call.lineno}: {ast.unparse(call)}"
        for path in modules()
        if layer(path) != "store"
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "isinstance"
        if kinds & set(re.findall(r"\w+", ast.unparse(call.args[1])))
    ]
    assert not wrong


@pytest.mark.parametrize("library", HOMES)
def test_a_foreign_library_has_one_home(library: str) -> None:
    users = {place(path) for path in modules() for name, _ in imports(path) if name.split(".")[0] == library}
    assert [user for user in users if not user.startswith(HOMES[library])] == []


def test_the_compute_side_never_imports_what_schedules_tracks_or_parses() -> None:
    foreign = {"ray", "optuna", "mlflow", "click", "yaml"}
    wrong = [
        f"{place(path)}:{line} imports {name}"
        for path in modules()
        if layer(path) in COMPUTE
        for name, line in imports(path)
        if name.split(".")[0] in foreign
    ]
    assert not wrong


def test_a_method_is_named_in_its_own_file_and_the_registry_alone() -> None:
    names = {path.stem for path in (PACKAGE / "methods").glob("*.py")} - {
        "__init__",
        "contract",
        "start",
    }
    assert {"random_init", "fine_tune", "freeze_middle", "deep_weight_prior"} <= names
    wrong = [
        f"{place(path)}:{item.lineno} compares with {item.value!r}"
        for path in modules()
        for comparison in ast.walk(ast.parse(path.read_text()))
        if isinstance(comparison, ast.Compare)
        for item in ast.walk(comparison)
        if isinstance(item, ast.Constant) and item.value in names
    ]
    assert not wrong


def guarded_calls(tree: ast.AST) -> set[ast.AST]:
    """Everything inside a ``with torch.random.fork_rng(...)``, which gives the global generator back."""
    blocks = [item for item in ast.walk(tree) if isinstance(item, ast.With)]
    forks = [block for block in blocks if any("fork_rng" in ast.unparse(part) for part in block.items)]
    return {item for block in forks for item in ast.walk(block)}


def test_library_functions_never_seed_globally_or_unpickle() -> None:
    forbidden = {
        "torch.manual_seed",
        "np.random.seed",
        "numpy.random.seed",
        "random.seed",
        "pickle.load",
        "torch.load",
    }
    wrong = []
    for path in modules():
        tree = ast.parse(path.read_text())
        guarded = guarded_calls(tree)
        calls = [item for item in ast.walk(tree) if isinstance(item, ast.Call) and item not in guarded]
        wrong += [
            f"{place(path)}:{c.lineno}: {name}" for c in calls if (name := ast.unparse(c.func)) in forbidden
        ]
    assert not wrong
