"""What settings of a method may be: each is looked at when the method is made."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TypeVar

from fimo.errors import UserError
from fimo.gradients.diagonal_metric import AdamMetric

Kind = TypeVar("Kind")


def require_instance(kind: type[Kind], name: str, value: object) -> Kind:
    """`value`, which has to be of a class.

    Args:
        kind: the class.
        name: of the setting, for the error.
        value: of the setting.

    Returns:
        The value.

    Raises:
        UserError: where it is of another class.
    """
    if not isinstance(value, kind):
        settings = " and ".join(field.name for field in fields(kind)) if is_dataclass(kind) else "its settings"
        raise UserError(f"{name} must be a {kind.__name__} with {settings}, found {value!r}.")
    return value


def require_metric(name: str, value: object) -> AdamMetric | None:
    """A metric, or None.

    Args:
        name: of the setting, for the error.
        value: of the setting; `none` and None are no metric.

    Returns:
        The metric.

    Raises:
        UserError: where it is something else.
    """
    if value is None or value == "none":
        return None
    if not isinstance(value, AdamMetric):
        raise UserError(f"{name} must be none or adam, found {value!r}.")
    return value


def require_whole(name: str, value: object, least: int = 1) -> int:
    """A whole number of at least `least`.

    Args:
        name: of the setting, for the error.
        value: of the setting.
        least: the smallest number that is allowed.

    Returns:
        The number.

    Raises:
        UserError: where `value` is something else.
    """
    if type(value) is not int or value < least:
        raise UserError(f"{name} must be a whole number of at least {least}, found {value!r}.")
    return value
