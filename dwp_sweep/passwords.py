"""Text without the secrets that it may hold: what messages, records and pages show of an address.

Bottom of the package: errors for people pass through it, so that no caller has to think of it.
"""

from __future__ import annotations

import os
import re

SECRET_VARIABLES = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "PGPASSWORD",
    "RAY_AUTH_TOKEN",
)
"""Variables of the environment whose values are shown nowhere."""

_HIDDEN = "***"
_SHORTEST = 6
"""A shorter value of such a variable is no secret, and hiding it would spoil words."""

# A password may hold slashes and colons, though it should not; digits before a slash are a port.
_IN_ADDRESS = re.compile(r"(://[^\s:/@'\"]*):(?!\d+(?:[/?#,\s]|$))[^\s'\"]+@")
_IN_QUERY = re.compile(r"(?i)([?&;\s](?:\w*password|passwd|pwd|\w*token|\w*secret\w*)=)[^&\s'\"]+")


def without_secrets(text: str) -> str:
    """The text with the passwords of addresses, and the values of `SECRET_VARIABLES`, as ``***``.

    >>> without_secrets("postgresql://me:pa/ss@host:5432/db?sslpassword=x")
    'postgresql://me:***@host:5432/db?sslpassword=***'
    >>> without_secrets("http://127.0.0.1:5000/#/experiments")
    'http://127.0.0.1:5000/#/experiments'
    """
    for name in SECRET_VARIABLES:
        value = os.environ.get(name, "").strip()
        if len(value) >= _SHORTEST:
            text = text.replace(value, _HIDDEN)
    text = _IN_ADDRESS.sub(rf"\1:{_HIDDEN}@", text)
    return _IN_QUERY.sub(rf"\1{_HIDDEN}", text)
