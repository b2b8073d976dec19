"""Filters of Describe operations: values with ``*`` and ``?``, ``tag:KEY``, ``tag-key``; several values are or, filters are and.

See https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pileus.base.errors import ServiceError
from pileus.operations.context import Context
from pileus.records.tagged import Tagged

R = TypeVar("R")
Value = str | bool | int | None | Iterable[str]
Field = Callable[[Context, R], Value]
Predicate = Callable[[Context, R], bool]

MAX_VALUES = 200


def absent(_context: Context, _record: object, /) -> None:
    """The field of a filter that AWS documents and that no record here has: it matches nothing."""


def constant(value: str | bool) -> Field[Any]:
    """The field of a filter whose value is the same for all records."""

    def field(_context: Context, _record: object) -> str | bool:
        return value

    return field


class InvalidFilter(ServiceError):
    """A filter that the operation does not have, or that is not well formed."""

    code = "InvalidParameterValue"


def texts(value: Value) -> Iterable[str]:
    """A field's value as the texts that a filter compares."""
    if value is None:
        return ()
    if isinstance(value, bool):
        return ("true" if value else "false",)
    if isinstance(value, str):
        return (value,)
    if isinstance(value, int):
        return (str(value),)
    return value


def _pattern(value: str) -> str:
    """A filter value as a regular expression: ``*`` any run, ``?`` one character, a backslash takes the next literally.

    Runs are atomic groups, so that matching stays linear whatever a client sends.
    """
    chunks = [""]
    characters = iter(value)
    for character in characters:
        if character == "*":
            chunks.append("")
        elif character == "?":
            chunks[-1] += "."
        else:
            chunks[-1] += re.escape(next(characters, "\\") if character == "\\" else character)
    if len(chunks) == 1:
        return chunks[0]
    first, *middle, last = chunks
    return first + "".join(f"(?>.*?{chunk})" for chunk in middle if chunk) + ".*" + last


def matcher(values: Sequence[str]) -> Callable[[Iterable[str]], bool]:
    """Whether any of a record's texts equals or matches any of the filter's values."""
    plain = {value for value in values if not any(special in value for special in "*?\\")}
    patterns = [re.compile(_pattern(value), re.DOTALL) for value in values if value not in plain]

    def matches(texts: Iterable[str]) -> bool:
        return any(text in plain or any(pattern.fullmatch(text) for pattern in patterns) for text in texts)

    return matches


def compile_filters(
    filters: Sequence[Mapping[str, Any]], fields: Mapping[str, Field[R]], *, tags: bool = True
) -> list[Predicate[R]]:
    """The request's ``Filters`` as predicates over records.

    Raises:
        InvalidFilter: a name that is not in ``fields``, a filter without values, or more than 200 values.
    """
    predicates: list[Predicate[R]] = []
    for entry in filters:
        name, values = str(entry.get("Name", "")), list(entry.get("Values", ()))
        if len(values) > MAX_VALUES:
            raise InvalidFilter(f"The maximum number of filter values specified on a single call is {MAX_VALUES}")
        if not values:
            raise InvalidFilter(f"The filter '{name}' must have at least one value")
        predicates.append(_predicate(name, matcher(values), fields, tags=tags))
    return predicates


def _predicate(
    name: str, matches: Callable[[Iterable[str]], bool], fields: Mapping[str, Field[R]], *, tags: bool
) -> Predicate[R]:
    field = fields.get(name)
    if field is not None:
        return lambda context, record: matches(texts(field(context, record)))
    if tags and name.startswith("tag:"):
        key = name[4:]
        return lambda _, record: matches(value for value in [_tags(record).get(key)] if value is not None)
    if tags and name == "tag-key":
        return lambda _, record: matches(_tags(record))
    if tags and name == "tag-value":
        return lambda _, record: matches(_tags(record).values())
    raise InvalidFilter(f"The filter '{name}' is invalid")


def _tags(record: object) -> Mapping[str, str]:
    assert isinstance(record, Tagged)
    return record.tags
