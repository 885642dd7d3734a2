"""A setting as people read it: floats with four digits, everything else as in a search space."""

from __future__ import annotations

import json
from typing import Any


def setting_text(value: Any) -> str:
    """``0.0005609`` for 0.0005609374574622063; lists as JSON."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)
