"""The part of our own source that an export carries, so that it runs where dwp_sweep is not installed.

It is found by following imports from `dwp_sweep.export.runtime` and copied under another name: it never
hides a dwp_sweep that is installed there.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from dwp_sweep import __version__

RUNTIME = "dwp_sweep_runtime"
"""Name of the copy."""
LIBRARIES = ("filelock", "monai", "nibabel", "numpy", "psutil", "pydantic", "safetensors", "scipy", "torch")
"""What the copied modules import beyond Python's own library; a test compares."""
_PACKAGE = Path(__file__).resolve().parent.parent
_OWN_IMPORT = re.compile(r"^(\s*(?:from|import)\s+)dwp_sweep\b", re.MULTILINE)


def copy_runtime(folder: Path, roots: tuple[str, ...]) -> Path:
    """Copy modules, and all that they import of this package, into ``folder / RUNTIME``.

    Args:
        folder: Where the copy goes.
        roots: Dotted names, e.g. ``dwp_sweep.export.runtime``.
    """
    target = folder / RUNTIME
    for path in runtime_modules(roots):
        place = target / path.relative_to(_PACKAGE)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(_OWN_IMPORT.sub(rf"\1{RUNTIME}", path.read_text(encoding="utf-8")))
    about = f'"""The part of dwp_sweep {__version__} that runs an exported network (Apache License 2.0)."""\n'
    (target / "__init__.py").write_text(f'{about}\n__version__ = "{__version__}"\n')
    return target


def runtime_modules(roots: tuple[str, ...]) -> list[Path]:
    """Source files that modules need, their packages included, the top one's ``__init__`` left out."""
    found: dict[str, Path] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        path = _file_of(name)
        if name in found or path is None or name == "dwp_sweep":
            continue
        found[name] = path
        waiting += [name.rpartition(".")[0], *imported_names(path)]
    return sorted(found.values())


def imported_names(path: Path) -> Iterator[str]:
    """Dotted names that a file imports anywhere when it runs; what only type checkers read is left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(item)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for item in ast.walk(block)
    }
    for item in ast.walk(tree):
        if id(item) in skipped:
            continue
        if isinstance(item, ast.ImportFrom) and item.module:
            yield item.module
            yield from (f"{item.module}.{alias.name}" for alias in item.names)
        elif isinstance(item, ast.Import):
            yield from (alias.name for alias in item.names)


def _file_of(name: str) -> Path | None:
    first, *rest = name.split(".")
    if first != _PACKAGE.name:
        return None
    place = _PACKAGE.joinpath(*rest)
    candidates = (place.with_suffix(".py"), place / "__init__.py") if rest else ()
    return next((path for path in candidates if path.is_file()), None)
