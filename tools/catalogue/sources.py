"""Reads what the tables are made from: data files of installed packages, and the retired types kept here.

moto's files are answers of AWS's own API, collected by its maintainers: DescribeInstanceTypes,
DescribeInstanceTypeOfferings, and the public parameters below ``/aws/service/global-infrastructure``.
"""

import gzip
import json
from importlib import metadata, resources
from pathlib import Path
from typing import Any, NamedTuple

Json = dict[str, Any]


class Region(NamedTuple):
    """A region of the commercial partition; zones by id, availability zones with their letters where known."""

    name: str
    description: str
    country: str
    availability_zones: dict[str, str]
    local_zones: list[str]
    wavelength_zones: list[str]


class Source(NamedTuple):
    """Everything that the tables are made from.

    Attributes:
        instance_types: ``InstanceTypeInfo`` for each type name.
        zone_types: for each availability zone by name, the types offered there.
        regions: sorted by name.
        prices: for each type and location US dollars per hour under Linux, 0.0 where unknown.
    """

    instance_types: dict[str, Json]
    zone_types: dict[str, set[str]]
    regions: list[Region]
    prices: dict[str, dict[str, float]]


def installed_versions() -> dict[str, str]:
    """The versions of the source packages that are installed now."""
    return {package: metadata.version(package) for package in ("apache-libcloud", "moto")}


def read_source() -> Source:
    """Read it all."""
    infrastructure = _moto("ssm/resources/regions.json.gz")["aws"]["service"]["global-infrastructure"]["regions"]
    by_name, by_id = _offerings("availability-zone"), _offerings("availability-zone-id")
    regions = [
        _region(name, region, _zone_names(by_name.get(name, {}), by_id.get(name, {})))
        for name, region in sorted(infrastructure.items())
        if region["partition"]["Value"] == "aws"
    ]
    instance_types = _moto("ec2/resources/instance_types.json.gz")
    zone_types = {zone: types for zones in by_name.values() for zone, types in zones.items()}
    for name, retired in json.loads(Path(__file__).with_name("retired.json").read_text()).items():
        instance_types[name] = {"InstanceType": name, **retired["info"]}
        for zone in retired["zones"]:
            zone_types[zone].add(name)
    pricing = json.loads(resources.files("libcloud").joinpath("data/pricing.json").read_text())
    return Source(instance_types, zone_types, regions, pricing["compute"]["ec2_linux"])


def _moto(path: str) -> Json:
    return json.loads(gzip.decompress(resources.files("moto").joinpath(path).read_bytes()))


def _offerings(location_type: str) -> dict[str, dict[str, set[str]]]:
    """Region → zone → types offered there."""
    offered: dict[str, dict[str, set[str]]] = {}
    for file in resources.files("moto").joinpath("ec2/resources/instance_type_offerings", location_type).iterdir():
        zones = offered.setdefault(file.name.removesuffix(".json.gz"), {})
        for offering in json.loads(gzip.decompress(file.read_bytes())):
            zones.setdefault(offering["Location"], set()).add(offering["InstanceType"])
    return offered


def _zone_names(by_name: dict[str, set[str]], by_id: dict[str, set[str]]) -> dict[str, str]:
    """Zone id → zone name in one region. Both lists are one account's, so a zone is known by the types it offers.

    Where two zones offer the same types (il-central-1a and c) either order is as true: every account has its own.
    """
    names: dict[str, str] = {}
    for zone_id, types in sorted(by_id.items()):
        names[zone_id] = next(
            name for name, offered in sorted(by_name.items()) if offered == types and name not in names.values()
        )
    return names


def _region(name: str, region: Json, zone_names: dict[str, str]) -> Region:
    # Where no account was asked (new regions) the letters follow the ids.
    in_order = {
        zone_id: name + letter for letter, zone_id in zip("abcdef", sorted(region["availability-zones"]), strict=False)
    }
    return Region(
        name=name,
        description=region["longName"]["Value"],
        country=region["geolocationCountry"]["Value"],
        availability_zones=zone_names or in_order,
        local_zones=sorted(region.get("local-zones", ())),
        wavelength_zones=sorted(region.get("wavelength-zones", ())),
    )
