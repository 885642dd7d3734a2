"""The report page in a real browser: opens from the disk, nothing on the console, not blank."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from numpy.typing import NDArray

from dwp_sweep.report.page.write import write_page
from tests.report.toy_evidence import toy_evidence

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    return write_page(toy_evidence(folder / "nodes"), folder / "out").page


def chromium(page: Path, folder: Path, *options: str) -> tuple[str, str]:
    """Standard output and log of a headless Chromium that cannot reach any host."""
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--no-first-run", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", *options, page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, done.stderr


def shot(page: Path, folder: Path, name: str, *options: str, size: str = "1200,2400") -> NDArray[np.float64]:
    path = folder / f"{name}.png"
    _, log = chromium(page, folder, f"--screenshot={path}", f"--window-size={size}", *options)
    said = [line for line in log.splitlines() if "CONSOLE" in line]
    assert said == []
    return np.asarray(matplotlib.image.imread(path)[..., :3], dtype=np.float64)


def test_the_page_opens_without_a_network_and_shows_text_and_pictures(page: Path, tmp_path: Path) -> None:
    seen = shot(page, tmp_path, "light")
    assert seen.shape == (2400, 1200, 3)
    paper = np.all(seen > 0.99, axis=2)
    assert 0.5 < paper.mean() < 0.99  # mostly paper, and something on it
    # Coloured ink: the lines of the chart, which are pictures inside the page.
    assert float(np.mean(np.ptp(seen, axis=2) > 0.3)) > 0.001


def test_a_dark_theme_is_dark_and_its_pictures_too(page: Path, tmp_path: Path) -> None:
    seen = shot(page, tmp_path, "dark", "--blink-settings=preferredColorScheme=0")
    assert float(np.mean(seen.mean(axis=2) < 0.25)) > 0.7
    assert float(np.mean(np.all(seen > 0.97, axis=2))) < 0.02  # no white cards


def test_a_narrow_screen_needs_no_sideways_scrolling(page: Path, tmp_path: Path) -> None:
    text = page.read_text().replace(
        "</body>", "<script>document.title=document.documentElement.scrollWidth</script></body>"
    )
    probe = page.with_name("probe.html")
    probe.write_text(text)
    found, _ = chromium(probe, tmp_path, "--dump-dom", "--window-size=500,900")
    width = re.search(r"<title>(\d+)</title>", found)
    assert width is not None and int(width[1]) <= 500
