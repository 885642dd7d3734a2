"""The user's own folder of caches: what this machine may keep beside any storage, and may lose."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """``$XDG_CACHE_HOME/dwp_sweep``; under ``~/.cache`` where that is not set."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dwp_sweep"
