"""The limits that a model puts on its values: required members, lengths, ranges, patterns, enumerations.

Checked for every protocol but ec2 and rest-xml, whose services do that themselves. The messages are AWS's.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from pileus.aws.models import ServiceModel, Shape
from pileus.aws.protocol.errors import ConstraintViolation
from pileus.aws.protocol.lazy import Compiled
from pileus.aws.protocol.patterns import compile_pattern

Check = Callable[[Any, str, list[str]], None]
"""Takes a value and where it stands, and adds what is wrong with it to the list."""

Rule = tuple[Callable[[Any], bool], str]
"""Whether a value is allowed, and the constraint in words."""


class Constraints:
    """Compiles checks for one service. ``code`` is that of the error: ``ValidationError`` or ``ValidationException``."""

    def __init__(self, model: ServiceModel, code: str) -> None:
        self._model = model
        self._code = code
        self._structures: dict[str, Check] = {}

    def compile(self, shape: Shape) -> Callable[[dict[str, Any]], None]:
        """A function that raises ``ConstraintViolation`` for parameters which break a limit."""
        check = self._structure(shape)

        def enforce(params: dict[str, Any]) -> None:
            violations: list[str] = []
            check(params, "", violations)
            if violations:
                raise ConstraintViolation(self._code, violations)

        return enforce

    def _check(self, shape: Shape) -> Check | None:
        match shape.type:
            case "structure":
                return None if shape.document or shape.eventstream else self._structure(shape)
            case "list":
                return _both(_own(shape), self._list(shape))
            case "map":
                return _both(_own(shape), self._map(shape))
            case _:
                return _own(shape)

    def _structure(self, shape: Shape) -> Check:
        """One check for all places where the shape is used, itself among them."""
        known = self._structures.get(shape.shape)
        if known is not None:
            return known
        members = Compiled(lambda name: self._check(self._model.shape(shape.members[name])))

        def check(value: Any, path: str, violations: list[str]) -> None:
            prefix = f"{path}." if path else ""
            violations.extend(
                _violation("Value null", prefix + _lower(name), "Member must not be null")
                for name in shape.required
                if name not in value
            )
            for name, item in value.items():
                check_member = members[name]
                if check_member is not None:
                    check_member(item, prefix + _lower(name), violations)

        self._structures[shape.shape] = check
        return check

    def _list(self, shape: Shape) -> Check | None:
        assert shape.member
        member = self._model.shape(shape.member)
        if member.type not in ("structure", "list", "map"):
            return _each(_rules(member), "Member must satisfy constraint", sensitive=shape.sensitive)
        check_item = self._check(member)
        if check_item is None:
            return None

        def check(value: Any, path: str, violations: list[str]) -> None:
            for number, item in enumerate(value, 1):
                if item is not None:
                    check_item(item, f"{path}.{number}.member", violations)

        return check

    def _map(self, shape: Shape) -> Check | None:
        assert shape.key and shape.value
        key, value = self._model.shape(shape.key), self._model.shape(shape.value)
        check_keys = _each(_rules(key), "Map keys must satisfy constraint", sensitive=shape.sensitive)
        if value.type not in ("structure", "list", "map"):
            check_scalars = _each(_rules(value), "Map value must satisfy constraint", sensitive=shape.sensitive)
            if check_scalars is None:
                return check_keys
            return _both(check_keys, lambda items, path, found: check_scalars(items.values(), path, found))
        check_value = self._check(value)
        if check_value is None:
            return check_keys

        def check_values(items: Any, path: str, violations: list[str]) -> None:
            for name, item in items.items():
                if item is not None:
                    check_value(item, f"{path}.{name}.member", violations)

        return _both(check_keys, check_values)


def _both(first: Check | None, second: Check | None) -> Check | None:
    if first is None or second is None:
        return first or second

    def check(value: Any, path: str, violations: list[str]) -> None:
        first(value, path, violations)
        second(value, path, violations)

    return check


def _own(shape: Shape) -> Check | None:
    """The check of a value's own rules."""
    rules = _rules(shape)
    if not rules:
        return None

    def check(value: Any, path: str, violations: list[str]) -> None:
        for allows, words in rules:
            if not allows(value):
                violations.append(_violation(_shown(value, sensitive=shape.sensitive), path, words))
                return

    return check


def _each(rules: list[Rule], introduction: str, *, sensitive: bool) -> Check | None:
    """The check of single values in a list or map, which AWS reports as the container's fault, with all rules at once."""
    if not rules:
        return None
    words = f"{introduction}: [{', '.join(words for _, words in rules)}]"

    def check(value: Any, path: str, violations: list[str]) -> None:
        if not all(allows(item) for item in value for allows, _ in rules if item is not None):
            violations.append(_violation(_shown(list(value), sensitive=sensitive), path, words))

    return check


def _rules(shape: Shape) -> list[Rule]:
    """The rules on a value of this shape itself. Lengths come first: they keep patterns from running over long texts."""
    if shape.type in ("integer", "long", "float", "double"):
        return [
            (partial(_holds, bound, sign), f"Member must have value {words} than or equal to {bound}")
            for bound, sign, words in ((shape.min, 1, "greater"), (shape.max, -1, "less"))
            if bound is not None
        ]
    if shape.type not in ("string", "blob", "list", "map"):
        return []
    rules: list[Rule] = [
        (partial(_long_enough, bound, sign), f"Member must have length {words} than or equal to {bound}")
        for bound, sign, words in ((shape.min, 1, "greater"), (shape.max, -1, "less"))
        if bound is not None
    ]
    if shape.enum:
        allowed = frozenset(shape.enum)
        rules.append((allowed.__contains__, f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"))
    pattern = compile_pattern(shape.pattern) if shape.pattern else None
    if pattern is not None:
        words = f"Member must satisfy regular expression pattern: {shape.pattern}"
        rules.append((partial(_matches, pattern.fullmatch), words))
    return rules


def _holds(bound: float, sign: int, value: float) -> bool:
    return value * sign >= bound * sign


def _long_enough(bound: float, sign: int, value: Any) -> bool:
    return len(value) * sign >= bound * sign


def _matches(fullmatch: Callable[[str], object], value: str) -> bool:
    return fullmatch(value) is not None


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]


def _shown(value: Any, *, sensitive: bool) -> str:
    if sensitive:
        return "Value"
    text = f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - a value in the model's shape
    return f"Value '{text[:1000]}'"


def _violation(value: str, path: str, words: str) -> str:
    return f"{value} at '{path}' failed to satisfy constraint: {words}"
