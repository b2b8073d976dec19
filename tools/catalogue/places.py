"""Regions and zones as EC2 describes them, from their ids and what AWS's user guides say about them.

Sources of the hand-written tables: "AWS Regions" (which need no opt-in), "AWS Local Zones: available Local Zones",
"AWS Wavelength: available Wavelength Zones".
"""

import re
from collections.abc import Iterator

from pileus.catalogue.locations import RegionInfo, ZoneInfo
from tools.catalogue.sources import Region

# Regions opened before 20 March 2019: every account has them.
WITHOUT_OPT_IN = {
    *("ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-southeast-1", "ap-southeast-2"),
    *("ca-central-1", "eu-central-1", "eu-north-1", "eu-west-1", "eu-west-2", "eu-west-3", "sa-east-1"),
    *("us-east-1", "us-east-2", "us-west-1", "us-west-2"),
}

GEOGRAPHIES = {
    "AE": "United Arab Emirates",
    "AU": "Australia",
    "BH": "Bahrain",
    "BR": "Brazil",
    "CA": "Canada",
    "CH": "Switzerland",
    "CN": "Hong Kong",  # the only region of the commercial partition under that country code
    "DE": "Germany",
    "ES": "Spain",
    "FR": "France",
    "GB": "United Kingdom",
    "ID": "Indonesia",
    "IE": "Ireland",
    "IL": "Israel",
    "IN": "India",
    "IT": "Italy",
    "JP": "Japan",
    "KR": "South Korea",
    "MX": "Mexico",
    "MY": "Malaysia",
    "NZ": "New Zealand",
    "SE": "Sweden",
    "SG": "Singapore",
    "TH": "Thailand",
    "TW": "Taiwan",
    "US": "United States of America",
    "ZA": "South Africa",
}

LOCAL_ZONE_CITIES = {
    "ath": "Greece (Athens)",
    "atl": "US East (Atlanta)",
    "bos": "US East (Boston)",
    "bue": "Argentina (Buenos Aires)",
    "ccu": "India (Kolkata)",
    "chi": "US East (Chicago)",
    "cph": "Denmark (Copenhagen)",
    "del": "India (Delhi)",
    "den": "US West (Denver)",
    "dfw": "US East (Dallas)",
    "ham": "Germany (Hamburg)",
    "han": "Vietnam (Hanoi)",
    "hel": "Finland (Helsinki)",
    "hnl": "US West (Honolulu)",
    "iah": "US East (Houston)",
    "ist": "Türkiye (Istanbul)",
    "las": "US West (Las Vegas)",
    "lax": "US West (Los Angeles)",
    "lim": "Peru (Lima)",
    "los": "Nigeria (Lagos)",
    "mci": "US East (Kansas City)",
    "mct": "Oman (Muscat)",
    "mia": "US East (Miami)",
    "mnl": "Philippines (Manila)",
    "msp": "US East (Minneapolis)",
    "nyc": "US East (New York City)",
    "per": "Australia (Perth)",
    "phl": "US East (Philadelphia)",
    "phx": "US West (Phoenix)",
    "scl": "Chile (Santiago)",
    "sea": "US West (Seattle)",
    "waw": "Poland (Warsaw)",
}

# The parameters have lost the wavelength zones of the United States, which the user guide lists.
MORE_WAVELENGTH_ZONES = {
    "us-east-1": [
        f"use1-wl1-{city}-wlz1"
        for city in ("atl", "bna", "bos", "chi", "clt", "dfw", "dtw", "iah", "mia", "msp", "nyc", "tpa", "was")
    ],
    "us-west-2": [f"usw2-wl1-{city}-wlz1" for city in ("den", "las", "lax", "phx", "sea", "sfo")],
}

WAVELENGTH_GROUPS = {
    "ap-northeast-1-wl1": "Asia Pacific (KDDI)",
    "ca-central-1-wl1": "Canada (Bell)",
    "eu-west-2-wl2": "Europe (BT)",
    "eu-west-3-cmn-wlz-1": "Morocco (Casablanca)",
    "eu-west-3-dss-wlz-1": "Senegal (Dakar)",
    "us-east-1-wl1": "US East (Verizon)",
    "us-west-2-wl1": "US West (Verizon)",
}


def describe_region(region: Region) -> RegionInfo:
    """The region as DescribeRegions tells of it."""
    return RegionInfo(
        name=region.name,
        endpoint=f"ec2.{region.name}.amazonaws.com",
        opt_in_status="opt-in-not-required" if region.name in WITHOUT_OPT_IN else "not-opted-in",
        description=region.description,
        geography=GEOGRAPHIES[region.country],
    )


def describe_zones(region: Region) -> Iterator[ZoneInfo]:
    """The zones of a region as DescribeAvailabilityZones tells of them, availability zones first, then by name."""
    for zone_id, name in sorted(region.availability_zones.items(), key=lambda item: item[1]):
        yield ZoneInfo(
            name=name,
            id=zone_id,
            region=region.name,
            type="availability-zone",
            group=f"{region.name}-zg-1",
            group_long_name=f"{region.description} 1",
            network_border_group=region.name,
            opt_in_status="opt-in-not-required",
        )
    yield from sorted((_local_zone(region, zone_id) for zone_id in region.local_zones), key=lambda zone: zone.name)
    wavelength = [*region.wavelength_zones, *MORE_WAVELENGTH_ZONES.get(region.name, ())]
    yield from sorted((_wavelength_zone(region, zone_id) for zone_id in set(wavelength)), key=lambda zone: zone.name)


def _local_zone(region: Region, zone_id: str) -> ZoneInfo:
    """``usw2-lax1-az2`` is ``us-west-2-lax-1b``."""
    city, number, letter = _parts(r"\w+-([a-z]+)(\d)-az(\d)", zone_id)
    group = f"{region.name}-{city}-{number}"
    return _edge_zone(
        region,
        name=group + "_abcdef"[int(letter)],
        id=zone_id,
        type="local-zone",
        group=group,
        group_long_name=LOCAL_ZONE_CITIES[city] + (f" {number}" if number != "1" else ""),
        network_border_group=group,
    )


def _wavelength_zone(region: Region, zone_id: str) -> ZoneInfo:
    """``use1-wl1-bos-wlz1`` is ``us-east-1-wl1-bos-wlz-1``; the newer ``euw3-cmn1-wlz1`` is ``eu-west-3-cmn-wlz-1a``."""
    if "-wl1-" in zone_id or "-wl2-" in zone_id:
        carrier, city, number = _parts(r"\w+-(wl\d)-([a-z]+)-wlz(\d)", zone_id)
        group = f"{region.name}-{carrier}"
        name = border_group = f"{group}-{city}-wlz-{number}"
    else:
        city, letter, number = _parts(r"\w+-([a-z]+)(\d)-wlz(\d)", zone_id)
        group = border_group = f"{region.name}-{city}-wlz-{number}"
        name = group + "_abcdef"[int(letter)]
    return _edge_zone(
        region,
        name=name,
        id=zone_id,
        type="wavelength-zone",
        group=group,
        group_long_name=WAVELENGTH_GROUPS[group],
        network_border_group=border_group,
    )


def _edge_zone(region: Region, **fields: str) -> ZoneInfo:
    # Which zone is the parent is not in the sources; it names only who answers for the edge zone: the first one.
    parent_id = min(region.availability_zones)
    return ZoneInfo(
        **fields,
        region=region.name,
        opt_in_status="not-opted-in",
        parent_name=region.availability_zones[parent_id],
        parent_id=parent_id,
    )


def _parts(pattern: str, zone_id: str) -> tuple[str, ...]:
    match = re.fullmatch(pattern, zone_id)
    if match is None:
        raise ValueError(f"{zone_id}: a zone id of a form that is not known here")
    return match.groups()
