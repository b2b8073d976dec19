"""Regions and zones: AWS's by name and place, those that this cloud is configured to have."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pileus import catalogue
from pileus.catalogue import RegionInfo, ZoneInfo
from pileus.operations.context import Context
from pileus.operations.filters import Field, absent, compile_filters, constant
from pileus.services.ec2.errors import InvalidParameterValue
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import DescribeAvailabilityZonesRequestTypeDef, DescribeRegionsRequestTypeDef


def configured_zones(context: Context) -> Sequence[ZoneInfo]:
    """The availability zones that the call's region has in this cloud."""
    names = {context.region + letter for letter in context.env.config.region(context.region).zones}
    return [zone for zone in catalogue.zones(context.region) if zone.name in names]


def _check_names(given: Sequence[str], known: Sequence[str], what: str) -> None:
    for name in given:
        if name not in known:
            raise InvalidParameterValue(f"Invalid {what}: [{name}]")


def _region_status(context: Context, region: RegionInfo) -> str:
    """Regions are opted in to by the operator: what is configured is on for every account."""
    if all(configured.name != region.name for configured in context.env.config.regions):
        return "not-opted-in"
    return "opted-in" if region.opt_in_status == "not-opted-in" else region.opt_in_status


_REGION_FILTERS: Mapping[str, Field[RegionInfo]] = {
    "endpoint": lambda _, region: region.endpoint,
    "opt-in-status": _region_status,
    "region-name": lambda _, region: region.name,
}


@ec2.reads("DescribeRegions")
def describe_regions(context: Context, params: "DescribeRegionsRequestTypeDef") -> dict[str, Any]:
    """The regions of this cloud, or with AllRegions every region of AWS."""
    predicates = compile_filters(params.get("Filters", ()), _REGION_FILTERS, tags=False)
    regions = [
        region
        for region in catalogue.regions()
        if params.get("AllRegions") or _region_status(context, region) != "not-opted-in"
    ]
    names = params.get("RegionNames", ())
    _check_names(names, [region.name for region in regions], "region")
    return {
        "Regions": [
            {
                "RegionName": region.name,
                "Endpoint": region.endpoint,
                "OptInStatus": _region_status(context, region),
                "Geography": [{"Name": region.geography}],
            }
            for region in regions
            if (not names or region.name in names) and all(holds(context, region) for holds in predicates)
        ]
    }


_ZONE_FILTERS: Mapping[str, Field[ZoneInfo]] = {
    "group-long-name": lambda _, zone: zone.group_long_name,
    "group-name": lambda _, zone: zone.group,
    "message": absent,
    "opt-in-status": lambda _, zone: zone.opt_in_status,
    "parent-zone-id": lambda _, zone: zone.parent_id,
    "parent-zone-name": lambda _, zone: zone.parent_name,
    "region-name": lambda _, zone: zone.region,
    "state": constant("available"),
    "zone-id": lambda _, zone: zone.id,
    "zone-name": lambda _, zone: zone.name,
    "zone-type": lambda _, zone: zone.type,
}


@ec2.reads("DescribeAvailabilityZones")
def describe_availability_zones(context: Context, params: "DescribeAvailabilityZonesRequestTypeDef") -> dict[str, Any]:
    """The zones of the region in this cloud; AllAvailabilityZones adds the local and wavelength zones, all opted out."""
    predicates = compile_filters(params.get("Filters", ()), _ZONE_FILTERS, tags=False)
    zones = list(configured_zones(context))
    if params.get("AllAvailabilityZones"):
        zones += [zone for zone in catalogue.zones(context.region) if zone.type != "availability-zone"]
    names, ids = params.get("ZoneNames", ()), params.get("ZoneIds", ())
    _check_names(names, [zone.name for zone in zones], "availability zone")
    _check_names(ids, [zone.id for zone in zones], "availability zone-id")
    chosen = [zone for zone in zones if not (names or ids) or zone.name in names or zone.id in ids]
    return {
        "AvailabilityZones": [_draw_zone(zone) for zone in chosen if all(holds(context, zone) for holds in predicates)]
    }


def _draw_zone(zone: ZoneInfo) -> dict[str, Any]:
    return {
        "ZoneName": zone.name,
        "ZoneId": zone.id,
        "ZoneType": zone.type,
        "RegionName": zone.region,
        "GroupName": zone.group,
        "GroupLongName": zone.group_long_name,
        "NetworkBorderGroup": zone.network_border_group,
        "OptInStatus": zone.opt_in_status,
        "State": "available",
        "Messages": [],
        "ParentZoneName": zone.parent_name,
        "ParentZoneId": zone.parent_id,
    }
