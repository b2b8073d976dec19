"""AWS's public facts: instance types, where they are offered, what they cost, regions and zones, quota families.

Read by services, scheduler and metering; pure, and the same for every account. The data are tables of our own, made by
``python -m tools.catalogue`` (docs/adr/0003-catalogue.md) and read from the package when first asked for.
"""

from pileus.catalogue.instance_types import InstanceType, describe, instance_type, instance_types
from pileus.catalogue.locations import RegionInfo, ZoneInfo, is_offered, offerings, regions, zones
from pileus.catalogue.prices import price
from pileus.catalogue.quotas import QUOTA_FAMILIES, QuotaFamily, quota_family

__all__ = [
    "QUOTA_FAMILIES",
    "InstanceType",
    "QuotaFamily",
    "RegionInfo",
    "ZoneInfo",
    "describe",
    "instance_type",
    "instance_types",
    "is_offered",
    "offerings",
    "price",
    "quota_family",
    "regions",
    "zones",
]
