"""What is wrong with settings: pydantic's errors, all at once, in plain words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from reidtune.errors import SettingsError, did_you_mean

Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], values: dict[str, Any], *, prefix: str = "", extra: Iterable[str] = ()) -> Model:
    """``values`` as a ``model``; raises one :class:`SettingsError` with a line for each problem.

    ``prefix`` stands before every setting's name, ``extra`` are problems found elsewhere that belong to the same list.
    """
    problems = list(extra)
    try:
        checked = model.model_validate(values)
    except ValidationError as error:
        problems += [_problem(model, detail, prefix) for detail in error.errors()]
    if problems:
        count = "A setting is" if len(problems) == 1 else f"{len(problems)} settings are"
        raise SettingsError("\n".join([f"{count} wrong:", *(f"  {line}" for line in problems)]))
    return checked


def _problem(model: type[BaseModel], detail: ErrorDetails, prefix: str) -> str:
    """One line for one of pydantic's errors, in our words."""
    location = [str(part) for part in detail["loc"]]
    name, value = prefix + ".".join(location), detail.get("input")
    shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:57]}..."
    if detail["type"] == "extra_forbidden":
        return f"{name}: unknown setting.{_suggest(model, location)}"
    if detail["type"] == "missing":
        return f"{name}: is missing"
    if detail["type"] in {"model_type", "dict_type", "model_attributes_type"}:
        return f"{name}: must be a section ([{name}]), but is {shown}"
    if detail["type"] == "value_error":
        message = detail["msg"].removeprefix("Value error, ")
        return f"{name}: {message}" if name else message
    if detail["type"] == "string_pattern_mismatch" and name == "training.device":
        return f"{name}: must be auto, cpu, cuda, cuda:N or mps, but is {shown}"
    message = re.sub(r"^(Input|String|Tuple|List|Value) should ", "must ", detail["msg"])
    return f"{name}: {message}, but is {shown}"


def _suggest(model: type[BaseModel], location: list[str]) -> str:
    fields = model.model_fields
    for part in location[:-1]:
        annotation = fields[part].annotation if part in fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return ""
        fields = annotation.model_fields
    if len(location) == 1 and (section := _section_of(model, location[0])):
        return f' Did you mean "{section}.{location[0]}"?'
    return did_you_mean(location[-1], fields)


def _section_of(model: type[BaseModel], key: str) -> str | None:
    """The first section with a setting called ``key``: people leave the section out."""
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel) and key in annotation.model_fields:
            return name
    return None
