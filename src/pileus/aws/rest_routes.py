"""Which operation of a REST service a method, path and query string mean. Used by ``pileus.aws.routing``."""

import re
from collections.abc import Collection
from functools import cache
from urllib.parse import unquote

import msgspec

from pileus.aws.http import HttpRequest
from pileus.aws.models import OperationModel, ServiceModel, load_model
from pileus.aws.protocol.bindings import query_fields

_LABEL = re.compile(r"\{(\w+)(\+?)\}")


class _Candidate(msgspec.Struct, frozen=True):
    """An operation of a path, and what a request must carry to mean it."""

    name: str
    literals: dict[str, str]  # of the template's query string; an empty value stands for any
    fields: frozenset[str]  # required members in the query string
    headers: frozenset[str]
    deprecated: bool

    @property
    def weight(self) -> tuple[int, bool]:
        """The more an operation asks for, the more surely it is meant; an old name yields to the new one."""
        return len(self.literals) + len(self.fields) + len(self.headers), not self.deprecated

    def meant_by(self, fields: dict[str, list[str]], headers: Collection[str]) -> bool:
        return (
            all(name in fields and value in ("", fields[name][0]) for name, value in self.literals.items())
            and all(name in fields for name in self.fields)
            and all(name in headers for name in self.headers)
        )


class RestRoutes:
    """The operations of one service by method and path."""

    def __init__(self, model: ServiceModel) -> None:
        by_path: dict[tuple[str, str], list[_Candidate]] = {}
        for operation in model.operations():
            path = operation.http.request_uri.partition("?")[0]
            by_path.setdefault((operation.http.method, path), []).append(_candidate(model, operation))
        # The path with the most fixed text is tried first: /tags/list before /tags/{name}.
        ordered = sorted(by_path.items(), key=lambda entry: _fixed_length(entry[0][1]), reverse=True)
        self._routes = [
            (method, _expression(path), sorted(candidates, key=lambda candidate: candidate.weight, reverse=True))
            for (method, path), candidates in ordered
        ]

    def find(self, request: HttpRequest) -> tuple[str, dict[str, str]] | None:
        """The operation's name and the decoded path parameters; None when nothing fits."""
        fields = query_fields(request.query)
        for method, expression, candidates in self._routes:
            match = expression.fullmatch(request.path) if method == request.method else None
            if match is None:
                continue
            for candidate in candidates:
                if candidate.meant_by(fields, request.headers):
                    return candidate.name, {name: unquote(value) for name, value in match.groupdict().items()}
        return None


@cache
def rest_routes(service: str) -> RestRoutes:
    """The routes of a service by botocore's name for it."""
    return RestRoutes(load_model(service))


def _candidate(model: ServiceModel, operation: OperationModel) -> _Candidate:
    query = operation.http.request_uri.partition("?")[2]
    literals = {name: value for name, _, value in (field.partition("=") for field in query.split("&")) if name}
    required: dict[str, set[str]] = {"querystring": set(), "header": set()}
    if operation.input:
        shape = model.shape(operation.input)
        for name in shape.required:
            ref = shape.members[name]
            if ref.location in required:
                required[ref.location].add(ref.location_name or name)
    return _Candidate(
        operation.name,
        literals,
        frozenset(required["querystring"]),
        frozenset(required["header"]),
        operation.deprecated,
    )


def _fixed_length(path: str) -> int:
    return len(_LABEL.sub("", path))


def _expression(path: str) -> re.Pattern[str]:
    """``/{Bucket}/{Key+}`` as an expression: a label is one segment, with a plus it is the rest of the path."""
    parts: list[str] = []
    end = 0
    for label in _LABEL.finditer(path):
        parts.append(re.escape(path[end : label.start()]))
        parts.append(f"(?P<{label[1]}>{'.+' if label[2] else '[^/]+'})")
        end = label.end()
    parts.append(re.escape(path[end:].rstrip("/")))
    greedy_end = path.endswith("+}")
    return re.compile("".join(parts) + ("" if greedy_end else "/?"), re.DOTALL)
