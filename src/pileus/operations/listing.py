"""Describe operations as data: which records, by which ids, filters and pages, drawn how."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from pileus.aws.protocol import Fragment
from pileus.base.errors import ServiceError
from pileus.base.record import Record
from pileus.operations.context import Context
from pileus.operations.filters import Field, compile_filters
from pileus.operations.paging import Page, paginate

R = TypeVar("R", bound=Record)


class InvalidParameterCombination(ServiceError):
    """Parameters that exclude one another."""

    code = "InvalidParameterCombination"


class Listing(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """How one kind of record is listed.

    Attributes:
        member: the result's list, e.g. ``Vpcs``. draw: a record in the result's shape.
        ids: the parameter that names records, and ``find`` looks them up or raises the resource's own error.
        rows: what the caller sees without naming ids; default: its account's records in its region.
        filters: by documented name. page: None where the operation does not page.
        cached: whether what ``draw`` makes depends on the record and what touches it alone, so that it can be kept.
        exclusive: whether MaxResults can't be combined with ids.
    """

    kind: type[R]
    member: str
    draw: Callable[[Context, R], Mapping[str, Any]]
    filters: Mapping[str, Field[R]]
    ids: str | None = None
    find: Callable[[Context, Sequence[str]], Sequence[R]] | None = None
    rows: Callable[[Context], Iterable[R]] | None = None
    page: Page | None = Page()
    cached: bool | Callable[[R], bool] = True
    exclusive: bool = False

    def select(
        self, context: Context, params: Mapping[str, Any], keep: Callable[[R], bool] | None = None
    ) -> tuple[Sequence[R], str | None]:
        """The records of the answer and the next page's token. ``keep`` is what else the call asks for.

        Raises:
            ServiceError: an id is malformed or not there, a filter is unknown, MaxResults or NextToken is invalid.
        """
        predicates = compile_filters(params.get("Filters", ()), self.filters)
        named = params.get(self.ids) if self.ids else None
        if named and self.exclusive and params.get("MaxResults") is not None:
            raise InvalidParameterCombination(f"The parameter {self.ids} cannot be used with the parameter maxResults")
        records = self._named(context, named) if named else self._all(context)
        if predicates:
            records = [record for record in records if all(holds(context, record) for holds in predicates)]
        if keep is not None:
            records = [record for record in records if keep(record)]
        if self.page is None:
            return records, None
        return paginate(context, params, records, self.page, lambda record: record.id)

    def answer(
        self, context: Context, params: Mapping[str, Any], keep: Callable[[R], bool] | None = None
    ) -> dict[str, Any]:
        """The whole result."""
        records, token = self.select(context, params, keep)
        result: dict[str, Any] = {self.member: [self.item(context, record) for record in records]}
        if token:
            result["NextToken"] = token
        return result

    def item(self, context: Context, record: R) -> Mapping[str, Any] | Fragment:
        """One record drawn, from the cache where it may be."""
        if not (self.cached if isinstance(self.cached, bool) else self.cached(record)):
            return self.draw(context, record)
        key = (context.account, record.id, context.view.stamp(record.id))
        return Fragment(key, lambda: self.draw(context, record))

    def _named(self, context: Context, ids: Sequence[str]) -> Sequence[R]:
        assert self.find is not None
        return self.find(context, list(dict.fromkeys(ids)))

    def _all(self, context: Context) -> Sequence[R]:
        if self.rows is not None:
            return list(self.rows(context))
        return context.view.list(self.kind, account=context.account, region=context.region)
