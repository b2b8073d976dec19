"""Turns the source into the tables that ``pileus.catalogue`` reads. Same source, same bytes."""

from typing import Any

import msgspec

from tools.catalogue.places import describe_region, describe_zones
from tools.catalogue.sources import Json, Source, installed_versions, read_source


def build() -> dict[str, bytes]:
    """For each table its JSON text."""
    source = read_source()
    zones = [zone for region in source.regions for zone in describe_zones(region)]
    types = sorted(source.instance_types)
    tables: dict[str, Any] = {
        "sources": installed_versions(),
        "instance_types": _instance_types(source.instance_types),
        "offerings": {
            zone.name: _bits(types, source.zone_types[zone.parent_name or zone.name])
            for zone in zones
            if (zone.parent_name or zone.name) in source.zone_types
        },
        "prices": _prices(source),
        "regions": [describe_region(region) for region in source.regions],
        "zones": zones,
    }
    return {name: msgspec.json.encode(table) for name, table in tables.items()}


def _instance_types(infos: dict[str, Json]) -> Json:
    """See ``pileus.catalogue.tables.InstanceTypeTable``."""
    members = sorted({member for info in infos.values() for member in info} - {"InstanceType"})
    numbers: dict[str, dict[bytes, int]] = {member: {} for member in members}
    types: dict[str, list[int]] = {}
    for name in sorted(infos):
        row: list[int] = []
        for member in members:
            if member not in infos[name]:
                row.append(-1)
                continue
            value = msgspec.json.encode(infos[name][member], order="deterministic")
            row.append(numbers[member].setdefault(value, len(numbers[member])))
        types[name] = row
    return {
        "members": members,
        "values": [[msgspec.Raw(value) for value in numbers[member]] for member in members],
        "types": types,
    }


def _bits(types: list[str], offered: set[str]) -> str:
    return format(sum(1 << index for index, name in enumerate(types) if name in offered), "x")


def _prices(source: Source) -> Json:
    """Of the types in the catalogue; a price of 0.0 says that the source has none."""
    priced = {name: source.prices[name] for name in sorted(source.instance_types) if name in source.prices}
    locations = sorted({location for prices in priced.values() for location in prices})
    rows = {name: [prices.get(location) or None for location in locations] for name, prices in priced.items()}
    return {"locations": locations, "usd_per_hour": {name: row for name, row in rows.items() if any(row)}}
