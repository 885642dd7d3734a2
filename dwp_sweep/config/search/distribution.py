"""What one searched field may be: a range of numbers or a list of choices, and when it applies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Literal

from pydantic import Field, GetJsonSchemaHandler, model_validator

from dwp_sweep.strict import StrictModel

_KINDS = ("int", "float", "choice")
_MAX_STEPS = 1_000_000
_SHAPES = "{int: [low, high]}, {float: [low, high]} or {choice: [...]}"


class Distribution(StrictModel):
    """What one field may be: ``{int: [2, 16]}``, ``{float: [1e-6, 1e-2], log: true}``, ``{choice: [a, b]}``.

    Attributes:
        kind: ``int``, ``float`` or ``choice``.
        low: Smallest value of a number.
        high: Largest value of a number, included.
        step: Distance between neighbouring values; None: 1 for whole numbers, none for others.
        log: Even on a logarithmic scale.
        choices: Values of a choice; each a plain number, text, truth value or null, or a list of such.
        when: Dotted key -> the values with which the field applies; all of them must hold.
    """

    kind: Literal["int", "float", "choice"]
    low: float | int | None = None
    high: float | int | None = None
    step: float | int | None = Field(None, gt=0)
    log: bool = False
    choices: tuple[Any, ...] = ()
    when: dict[str, tuple[Any, ...]] = Field(default_factory=dict)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Of the form that a file has: the kind is a key."""
        schema = super().__get_pydantic_json_schema__(core_schema, handler)
        own = handler.resolve_ref_schema(schema)
        ends = {"type": "array", "minItems": 2, "maxItems": 2}
        kinds: dict[str, Any] = {
            "int": {**ends, "items": {"type": "integer"}, "description": "Smallest and largest value."},
            "float": {**ends, "items": {"type": "number"}, "description": "Smallest and largest value."},
            "choice": {"type": "array", "minItems": 2, "description": "The values to choose from."},
        }
        shared = {name: own["properties"][name] for name in ("step", "log", "when")}
        # The values with which a field applies may be one or several.
        shared["when"] = {"type": "object", "description": shared["when"]["description"]}
        own |= {"properties": kinds | shared, "oneOf": [{"required": [kind]} for kind in kinds]}
        return schema

    @model_validator(mode="before")
    @classmethod
    def _from_file(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            raise ValueError(f"should be {_SHAPES}")
        named = [kind for kind in _KINDS if kind in values]
        if not named and values.get("kind") in _KINDS:
            when = _when(values) if values.get("when") else {}
            return {**values, "choices": tuple(values.get("choices", ()))} | when
        if len(named) != 1:
            raise ValueError(f"should be {_SHAPES}; keys are dotted, e.g. prior.latent_dim")
        kind = named[0]
        rest = {name: value for name, value in values.items() if name != kind}
        return {**rest, "kind": kind, **_limits(kind, values[kind])} | _when(rest)

    @model_validator(mode="after")
    def _has_values(self) -> Distribution:
        if self.kind == "choice":
            if self.step is not None or self.log:
                raise ValueError("a choice has neither step nor log")
            if len({repr(value) for value in self.choices}) < 2:
                raise ValueError("a choice needs at least two different values")
            return self
        assert self.low is not None and self.high is not None
        if self.low >= self.high:
            raise ValueError(f"the range is empty: low {self.low:g} is not below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"log: true needs a positive range, and low is {self.low:g}")
        if self.step is None:
            return self
        if self.log:
            raise ValueError("step and log: true exclude each other")
        if self.kind == "int" and self.step != int(self.step):
            raise ValueError(f"step {self.step:g} is no whole number")
        if self.step > self.high - self.low:
            raise ValueError(f"step {self.step:g} is larger than the range: only {self.low:g} is left")
        if (self.high - self.low) / self.step > _MAX_STEPS:
            raise ValueError(f"step {self.step:g} is too small: it gives more than {_MAX_STEPS:,} values")
        return self

    @property
    def probes(self) -> tuple[Any, ...]:
        """Values that are tried on the experiment for all others: both ends of a range, or all choices."""
        return self.choices if self.kind == "choice" else (self.low, self.high)

    def holds(self, value: Any) -> bool:
        """Whether a value may be suggested."""
        if self.kind == "choice":
            return among(value, self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        assert self.low is not None and self.high is not None
        if not self.low <= value <= self.high or (self.kind == "int" and value != int(value)):
            return False
        # In decimals, as suggestions are: three times 0.1 is 0.3.
        exact, low = Decimal(repr(value)), Decimal(repr(self.low))
        return self.step is None or (exact - low) % Decimal(repr(self.step)) == 0


def among(value: Any, allowed: Iterable[Any]) -> bool:
    """Whether one of the allowed YAML values is this value; ``true`` is not 1."""
    return any(isinstance(value, bool) == isinstance(other, bool) and value == other for other in allowed)


def _limits(kind: str, values: Any) -> dict[str, Any]:
    if kind == "choice":
        if not isinstance(values, list | tuple) or not values:
            raise ValueError("choice should be a list of values")
        return {"choices": tuple(values)}
    number = int if kind == "int" else int | float
    is_range = isinstance(values, list | tuple) and len(values) == 2
    if not is_range or not all(isinstance(v, number) and not isinstance(v, bool) for v in values):
        what = "two whole numbers" if kind == "int" else "two numbers"
        raise ValueError(f"{kind} should be [low, high], {what}")
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"{kind} should be [low, high], both finite")
    convert = int if kind == "int" else float
    return {"low": convert(values[0]), "high": convert(values[1])}


def _when(rest: Mapping[str, Any]) -> dict[str, Any]:
    if rest.get("when") is None:
        return {}
    if not isinstance(rest["when"], Mapping) or not rest["when"]:
        raise ValueError("when should map fields to values, e.g. when: {method: deep_weight_prior}")
    return {
        "when": {
            str(key): tuple(v) if isinstance(v, list | tuple) else (v,) for key, v in rest["when"].items()
        }
    }
