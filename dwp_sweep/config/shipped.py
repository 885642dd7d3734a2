"""The search spaces that come with the package, and what the path of a search space means.

A clone has them beside the package, an installed package inside itself.
"""

from __future__ import annotations

from pathlib import Path

_NAME = "search_spaces"
_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_spaces() -> Path:
    """The folder of the search spaces that come with the package."""
    inside = _PACKAGE / _NAME
    return inside if inside.is_dir() else _PACKAGE.parent / _NAME


def space_path(path: Path) -> Path:
    """The file or folder that a user means: the path itself where it exists, else a shipped one.

    Only relative paths below ``search_spaces`` may mean a shipped file, so that the commands of the
    documentation work in any folder, while a file of the user always comes first. A bare name that is no file
    means the file of that name there: ``demo`` is ``search_spaces/demo.yaml``.
    """
    if path.exists():
        return path
    if path.parts[:1] == (_NAME,):
        shipped = shipped_spaces().joinpath(*path.parts[1:])
        return shipped if shipped.exists() else path
    if len(path.parts) == 1 and not path.suffix:
        named = space_path(Path(_NAME) / f"{path.name}.yaml")
        return named if named.is_file() else path
    return path
