"""``data phantom`` and ``data check``, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dwp_sweep.cli import main


def data(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["data", *map(str, arguments)])


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "phantom"
    made = data(
        "phantom", folder, "--kind", "target", "--n-subjects", "3", "--shape", "16,16,16", "--seed", "5"
    )
    assert made.exit_code == 0, made.output
    assert f"3 subjects in {folder}" in made.stdout
    return folder


def test_a_phantom_is_a_folder_that_the_check_accepts(scans: Path) -> None:
    found = data("check", scans, "--layout", "msd")
    assert found.exit_code == 0, found.output
    assert found.stdout.count("16x16x16") == 3
    assert "3 subjects, ready to use" in found.stdout


def test_the_same_seed_gives_the_same_files_and_another_does_not(scans: Path, tmp_path: Path) -> None:
    def images(folder: Path) -> list[bytes]:
        return [path.read_bytes() for path in sorted(folder.glob("imagesTr/*.nii*"))]

    for seed in ("5", "6"):
        options = ("--kind", "target", "--n-subjects", "3", "--shape", "16,16,16", "--seed", seed)
        assert data("phantom", tmp_path / seed, *options).exit_code == 0
    assert images(tmp_path / "5") == images(scans)
    assert all(a != b for a, b in zip(images(tmp_path / "6"), images(scans), strict=True))


def test_the_check_speaks_json_to_programs(scans: Path) -> None:
    found = data("check", scans, "--layout", "msd", "--subjects", "0:2", "--json")
    values = json.loads(found.stdout)
    assert [row["shape"] for row in values["subjects"]] == [[16, 16, 16]] * 2
    assert values["problems"] == []


def test_the_check_draws_a_picture(scans: Path, tmp_path: Path) -> None:
    picture = tmp_path / "new" / "overview.png"
    assert data("check", scans, "--layout", "msd", "--picture", picture).exit_code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["overview.xyz", "overview", "png"])
def test_a_picture_of_an_unknown_kind_is_refused_before_a_scan_is_read(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def read(*_: object) -> None:
        raise AssertionError("a scan was read")

    monkeypatch.setattr("dwp_sweep.data.check.read_pair", read)
    found = data("check", scans, "--layout", "msd", "--picture", tmp_path / name)
    assert found.exit_code == 2
    assert "--picture" in found.stderr and name in found.stderr and ".png" in found.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_missing_csv_is_called_a_file(tmp_path: Path) -> None:
    found = data("check", tmp_path / "ds.csv", "--layout", "pairs")
    assert found.exit_code == 2
    assert f"{tmp_path / 'ds.csv'}: there is no such file" in found.stderr
    assert "folder:" not in found.output


def test_all_problems_of_a_folder_come_at_once_and_no_picture(scans: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    assert (
        data("phantom", broken, "--kind", "target", "--n-subjects", "3", "--shape", "16,16,16").exit_code == 0
    )
    first, second, _ = sorted(broken.glob("imagesTr/*.nii*"))
    first.write_bytes(first.read_bytes()[:100])
    mask = next(broken.glob(f"labelsTr/{second.name}"))
    mask.unlink()
    found = data("check", broken, "--layout", "msd", "--picture", tmp_path / "no.png")
    assert found.exit_code == 2
    assert first.name in found.stdout
    assert mask.name in found.stdout
    assert "2 problems" in found.stdout
    assert not (tmp_path / "no.png").exists()
    assert len(json.loads(data("check", broken, "--layout", "msd", "--json").stdout)["problems"]) == 2
