"""Search spaces are found in a clone and in an installed package, and a user's own file comes first."""

from __future__ import annotations

from pathlib import Path

import pytest

from dwp_sweep.config import shipped
from dwp_sweep.config.shipped import shipped_spaces, space_path
from dwp_sweep.config.space import load_space
from dwp_sweep.errors import InputError
from dwp_sweep.harness.cluster.job_package import job_request

ROOT = Path(__file__).resolve().parents[2]
DEMO = Path("search_spaces/demo.yaml")


def test_a_clone_has_them_beside_the_package() -> None:
    assert shipped_spaces() == ROOT / "search_spaces"


def test_an_installed_package_has_them_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "_PACKAGE", tmp_path / "dwp_sweep")
    inside = tmp_path / "dwp_sweep" / "search_spaces"
    inside.mkdir(parents=True)
    (tmp_path / "search_spaces").mkdir()  # of some other package beside it
    assert shipped_spaces() == inside


def test_outside_a_clone_the_documented_path_means_the_shipped_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert space_path(DEMO) == ROOT / DEMO
    assert load_space(DEMO).name == "demo"
    assert job_request(DEMO).space_file == ROOT / DEMO


def test_a_file_of_the_user_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    DEMO.parent.mkdir()
    DEMO.write_text("name: mine\n" + (ROOT / DEMO).read_text())
    assert load_space(DEMO).name == "mine"


@pytest.mark.parametrize("name", ["demo.yaml", "spaces/demo.yaml", "/search_spaces/demo.yaml"])
def test_no_other_path_means_a_shipped_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert space_path(Path(name)) == Path(name)


def test_a_mistyped_shipped_name_gets_the_nearest_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"did you mean search_spaces/joint\.yaml\?"):
        load_space("search_spaces/jiont.yaml")
