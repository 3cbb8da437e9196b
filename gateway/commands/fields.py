"""Options of a command that are declared as the fields of a named tuple."""

from __future__ import annotations

import inspect
from functools import wraps
from inspect import Parameter
from typing import TYPE_CHECKING, Annotated, Any, get_origin, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable


def with_fields(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with the fields of its named tuples as options.

    Replaces a parameter whose type is a named tuple by one for each of its fields that has a
    `typer.Option` or `typer.Argument`; the command gets the tuple with their values.
    """
    parameters: list[Parameter] = []
    tuples: dict[str, tuple[Any, list[str]]] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        kind = parameter.annotation
        if not hasattr(kind, "_field_defaults"):
            parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))
            continue
        hints = get_type_hints(kind, include_extras=True)
        names = [name for name in kind._fields if get_origin(hints[name]) is Annotated]
        tuples[parameter.name] = kind, names
        for name in names:
            default = kind._field_defaults.get(name, Parameter.empty)
            hint = hints[name]
            parameters.append(
                Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=hint)
            )

    @wraps(command)
    def run(**values: Any) -> None:
        made = {
            parameter: kind(**{name: values.pop(name) for name in names})
            for parameter, (kind, names) in tuples.items()
        }
        command(**made, **values)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
