"""Regions and zones: AWS's by name and place, those that this cloud is configured to have."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pileus import catalogue
from pileus.catalogue import RegionInfo, ZoneInfo
from pileus.operations.context import Context
from pileus.operations.filters import Field, absent, compile_filters, constant
from pileus.records import Subnet, ZoneGroupOptIn
from pileus.records.zone_group import opt_in_id
from pileus.services.ec2.errors import InvalidParameterValue
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import DescribeAvailabilityZonesRequestTypeDef, DescribeRegionsRequestTypeDef


def all_zones(context: Context) -> Sequence[ZoneInfo]:
    """The zones that the call's region has in this cloud: availability zones, then local and wavelength zones."""
    region = context.env.config.region(context.region)
    return [zone for zone in catalogue.zones(region.name) if zone.name in region.zone_names]


def configured_zones(context: Context) -> Sequence[ZoneInfo]:
    """Those of them that the caller can use: availability zones, and edge zones whose group the account opted in to."""
    return [zone for zone in all_zones(context) if opt_in_status(context, zone) != "not-opted-in"]


def opt_in_status(context: Context, zone: ZoneInfo) -> str:
    """``opt-in-not-required``, or for edge zones ``opted-in`` or ``not-opted-in`` as the caller's account has chosen."""
    if zone.opt_in_status != "not-opted-in":
        return zone.opt_in_status
    chosen = context.view.get(ZoneGroupOptIn, opt_in_id(context.account, zone.group))
    return "not-opted-in" if chosen is None else "opted-in"


def zone_of(subnet: Subnet) -> ZoneInfo | None:
    """The zone of a subnet; None when AWS gave it up since."""
    return next((zone for zone in catalogue.zones(subnet.region) if zone.name == subnet.zone), None)


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
    "opt-in-status": opt_in_status,
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
    """The zones of the region that the caller can use; AllAvailabilityZones adds those that it has not opted in to."""
    predicates = compile_filters(params.get("Filters", ()), _ZONE_FILTERS, tags=False)
    zones = all_zones(context) if params.get("AllAvailabilityZones") else configured_zones(context)
    names, ids = params.get("ZoneNames", ()), params.get("ZoneIds", ())
    _check_names(names, [zone.name for zone in zones], "availability zone")
    _check_names(ids, [zone.id for zone in zones], "availability zone-id")
    chosen = [zone for zone in zones if not (names or ids) or zone.name in names or zone.id in ids]
    return {
        "AvailabilityZones": [
            _draw_zone(context, zone) for zone in chosen if all(holds(context, zone) for holds in predicates)
        ]
    }


def _draw_zone(context: Context, zone: ZoneInfo) -> dict[str, Any]:
    region = next(region for region in catalogue.regions() if region.name == zone.region)
    return {
        "ZoneName": zone.name,
        "ZoneId": zone.id,
        "ZoneType": zone.type,
        "RegionName": zone.region,
        "GroupName": zone.group,
        "GroupLongName": zone.group_long_name,
        "NetworkBorderGroup": zone.network_border_group,
        "OptInStatus": opt_in_status(context, zone),
        "ParentZoneName": zone.parent_name,
        "ParentZoneId": zone.parent_id,
        # Where an edge zone lies is not in the catalogue: it may be another country than its region's.
        "Geography": [{"Name": region.geography}] if zone.type == "availability-zone" else None,
        "State": "available",
        "Messages": [],
    }
