"""Regions, zones, and which instance types AWS offers in each."""

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache

import msgspec

from pileus.catalogue.instance_types import instance_types
from pileus.catalogue.tables import read


class RegionInfo(msgspec.Struct, frozen=True):
    """A region of AWS's commercial partition.

    Attributes:
        endpoint: the host name of EC2 there.
        opt_in_status: of a new account: ``opt-in-not-required`` or ``not-opted-in``.
        description: AWS's long name, such as ``Europe (Frankfurt)``.
        geography: the country it is in.
    """

    name: str
    endpoint: str
    opt_in_status: str
    description: str
    geography: str


class ZoneInfo(msgspec.Struct, frozen=True):
    """An availability zone, or a local or wavelength zone at the edge of its region.

    Attributes:
        type: ``availability-zone``, ``local-zone`` or ``wavelength-zone``.
        group: what an account opts in to.
        group_long_name: for people, such as ``US West (Los Angeles)``.
        network_border_group: where public addresses of the zone are announced.
        opt_in_status: of a new account: ``opt-in-not-required`` or ``not-opted-in``.
        parent_name, parent_id: the availability zone that an edge zone hangs on; ``None`` for availability zones.
    """

    name: str
    id: str
    region: str
    type: str
    group: str
    group_long_name: str
    network_border_group: str
    opt_in_status: str
    parent_name: str | None = None
    parent_id: str | None = None


@cache
def regions() -> Sequence[RegionInfo]:
    """AWS's commercial regions, sorted by name."""
    return read("regions", tuple[RegionInfo, ...])


@cache
def _zones_by_region() -> Mapping[str, Sequence[ZoneInfo]]:
    grouped: dict[str, list[ZoneInfo]] = {}
    for zone in read("zones", list[ZoneInfo]):
        grouped.setdefault(zone.region, []).append(zone)
    return grouped


def zones(region: str) -> Sequence[ZoneInfo]:
    """The zones of a region: availability zones first, then by name; none where AWS has no such region."""
    return _zones_by_region().get(region, ())


@cache
def _offered() -> Mapping[str, int]:
    """For each zone, and each region as the union of its zones, a set of types: bit i stands for ``instance_types()[i]``."""
    offered = {zone: int(bits, 16) for zone, bits in read("offerings", dict[str, str]).items()}
    for region in regions():
        bits = 0
        for zone in zones(region.name):
            bits |= offered.get(zone.name, 0)
        if bits:
            offered[region.name] = bits
    return offered


@lru_cache(maxsize=16)
def offerings(location: str) -> Sequence[str]:
    """The instance types offered in a region or zone (by name), sorted.

    Where nothing is known (a region that an operator named, or one too new for our source) it is the whole catalogue:
    there the hosts decide, not AWS. Edge zones offer what their parent zone offers.
    """
    bits = _offered().get(location)
    if bits is None:
        return instance_types()
    return tuple(name for index, name in enumerate(instance_types()) if bits >> index & 1)


def is_offered(name: str, location: str) -> bool:
    """Whether a type is among the ``offerings`` of a region or zone."""
    return name in offerings(location)
