# ruff: noqa: INP001
"""Replaces dbt's `adapter` when sqlfluff renders the models: a dispatched macro becomes a call of its own name.

So the models can be linted without dbt and without a warehouse; what an engine makes of the macro is in
macros/dialect.sql. Nothing else belongs here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable


def dispatch(name: str, package: str) -> Callable[..., str]:  # noqa: ARG001
    """Returns a function that writes the call of a dispatched macro as plain SQL, lists of arguments laid flat."""
    return lambda *arguments: f"{name}({', '.join(_flat(arguments))})"


def _flat(arguments: Iterable[object]) -> Iterable[str]:
    for argument in arguments:
        if isinstance(argument, str):
            yield argument
        elif isinstance(argument, Iterable):
            yield from _flat(argument)
        else:
            yield str(argument)
