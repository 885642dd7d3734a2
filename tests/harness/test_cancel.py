from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from dwp_sweep.harness.cancel import Interrupt


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_drains_and_the_second_ends(tmp_path: Path, number: signal.Signals) -> None:
    stop_file, requests = tmp_path / "stop", []
    before = signal.getsignal(number)
    with Interrupt(stop_file, lambda: requests.append(1)) as interrupt:
        assert not stop_file.exists()
        os.kill(os.getpid(), number)
        assert stop_file.exists() and interrupt.is_requested and requests == [1]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert not stop_file.exists() and signal.getsignal(number) == before
