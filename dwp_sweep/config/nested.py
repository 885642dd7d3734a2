"""Plain values, nested and dotted as YAML files mix them: ``{unet: {channels: 3}}``, ``unet.channels: 3``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Spread dotted keys out; a later key wins over an earlier one."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        head, _, rest = str(key).partition(".")
        inner = nested({rest: value}) if rest else nested(value) if isinstance(value, Mapping) else value
        old = result.get(head)
        result[head] = merged(old, inner) if isinstance(old, dict) and isinstance(inner, dict) else inner
    return result


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested ``base`` with the values of nested ``over`` in place of its own."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def with_value(base: Mapping[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    """A copy of nested ``base`` with one dotted key set."""
    return merged(base, nested({dotted: value}))


def clashes(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Dotted keys that are set twice, once nested and once dotted, so that their order would decide."""
    seen: set[str] = set()
    twice: dict[str, None] = {}
    for key in _leaves(values):
        parts = key.split(".")
        above = {".".join(parts[:n]) for n in range(1, len(parts))}
        if key in seen or above & seen or any(other.startswith(f"{key}.") for other in seen):
            twice[key] = None
        seen.add(key)
    return tuple(twice)


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested or dotted values by dotted key; an empty mapping stays a value."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        inner = flat(value) if isinstance(value, Mapping) and value else None
        result |= {str(key): value} if inner is None else {f"{key}.{name}": v for name, v in inner.items()}
    return result


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
