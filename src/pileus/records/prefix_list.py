"""Managed prefix lists."""

from typing import ClassVar, Literal

import msgspec

from pileus.records.tagged import Tagged

CLOUD = "AWS"
"""The account of the cloud's own lists."""


class PrefixEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A CIDR, IPv4 or IPv6 as its list is."""

    cidr: str
    description: str | None = None


class PrefixList(Tagged, frozen=True, kw_only=True):
    """A named list of CIDRs that route tables and security groups may name. The cloud's own have the account ``CLOUD``.

    ``history`` are the entries of earlier versions, (version, entries), the oldest first.
    """

    kind: ClassVar[str] = "prefix-list"
    indexes: ClassVar[tuple[str, ...]] = ("name",)

    name: str
    address_family: Literal["IPv4", "IPv6"]
    max_entries: int
    entries: tuple[PrefixEntry, ...]
    list_version: int = 1
    history: tuple[tuple[int, tuple[PrefixEntry, ...]], ...] = ()
    state: str = "create-complete"

    @property
    def cidrs(self) -> tuple[str, ...]:
        """The CIDRs of its newest version."""
        return tuple(entry.cidr for entry in self.entries)
