"""Instance types, and where they are offered: AWS's catalogue in the zones of this cloud."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from pileus.base.errors import ServiceError
from pileus.catalogue import describe, instance_types, offerings
from pileus.operations.context import Context
from pileus.operations.filters import Field, Predicate, compile_filters
from pileus.operations.paging import Page, paginate
from pileus.services.ec2.errors import InvalidParameterCombination, InvalidParameterValue
from pileus.services.ec2.regions import configured_zones
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        DescribeInstanceTypeOfferingsRequestTypeDef,
        DescribeInstanceTypesRequestTypeDef,
    )

Document = Mapping[str, Any]
"""An instance type in the shape of ``InstanceTypeInfo``."""

_MAX_NAMED = 100


class InvalidInstanceType(ServiceError):
    """A type that is not in the catalogue, or not offered in the region."""

    code = "InvalidInstanceType"


def _walk(value: Any, path: Sequence[str]) -> Iterable[str]:
    """The texts that stand at a path of members; lists are walked through."""
    if isinstance(value, list):
        for item in value:  # pyright: ignore[reportUnknownVariableType] - decoded JSON
            yield from _walk(item, path)
    elif path:
        if path[0] in value:
            yield from _walk(value[path[0]], path[1:])
    elif isinstance(value, bool):
        yield str(value).lower()
    elif isinstance(value, float):
        yield str(value).removesuffix(".0")
    else:
        yield str(value)


def _at(*path: str) -> Field[Document]:
    return lambda _, document: _walk(document, path)


def _joined(*path: str) -> Field[Document]:
    """A list whose filter takes one of the values, or all of them as ``1,2``."""

    def field(_: Context, document: Document) -> Iterable[str]:
        texts = list(_walk(document, path))
        return [*texts, ",".join(texts)]

    return field


_LIMITS = {
    "bandwidth-in-mbps": "BandwidthInMbps",
    "iops": "Iops",
    "throughput-in-mbps": "ThroughputInMBps",
}

_FILTERS: Mapping[str, Field[Document]] = {
    "auto-recovery-supported": _at("AutoRecoverySupported"),
    "bare-metal": _at("BareMetal"),
    "burstable-performance-supported": _at("BurstablePerformanceSupported"),
    "current-generation": _at("CurrentGeneration"),
    "dedicated-hosts-supported": _at("DedicatedHostsSupported"),
    "ebs-info.attachment-limit-type": _at("EbsInfo", "AttachmentLimitType"),
    "ebs-info.maximum-ebs-attachments": _at("EbsInfo", "MaximumEbsAttachments"),
    **{
        f"ebs-info.ebs-optimized-info.{side.lower()}-{name}": _at("EbsInfo", "EbsOptimizedInfo", side + member)
        for side in ("Baseline", "Maximum")
        for name, member in _LIMITS.items()
    },
    "ebs-info.ebs-optimized-support": _at("EbsInfo", "EbsOptimizedSupport"),
    "ebs-info.encryption-support": _at("EbsInfo", "EncryptionSupport"),
    "ebs-info.nvme-support": _at("EbsInfo", "NvmeSupport"),
    "free-tier-eligible": _at("FreeTierEligible"),
    "hibernation-supported": _at("HibernationSupported"),
    "hypervisor": _at("Hypervisor"),
    "instance-storage-info.disk.count": _at("InstanceStorageInfo", "Disks", "Count"),
    "instance-storage-info.disk.size-in-gb": _at("InstanceStorageInfo", "Disks", "SizeInGB"),
    "instance-storage-info.disk.type": _at("InstanceStorageInfo", "Disks", "Type"),
    "instance-storage-info.encryption-support": _at("InstanceStorageInfo", "EncryptionSupport"),
    "instance-storage-info.nvme-support": _at("InstanceStorageInfo", "NvmeSupport"),
    "instance-storage-info.total-size-in-gb": _at("InstanceStorageInfo", "TotalSizeInGB"),
    "instance-storage-supported": _at("InstanceStorageSupported"),
    "instance-type": _at("InstanceType"),
    "memory-info.size-in-mib": _at("MemoryInfo", "SizeInMiB"),
    "network-info.bandwidth-weightings": _at("NetworkInfo", "BandwidthWeightings"),
    "network-info.efa-info.maximum-efa-interfaces": _at("NetworkInfo", "EfaInfo", "MaximumEfaInterfaces"),
    "network-info.efa-supported": _at("NetworkInfo", "EfaSupported"),
    "network-info.ena-support": _at("NetworkInfo", "EnaSupport"),
    "network-info.encryption-in-transit-supported": _at("NetworkInfo", "EncryptionInTransitSupported"),
    "network-info.flexible-ena-queues-support": _at("NetworkInfo", "FlexibleEnaQueuesSupport"),
    "network-info.ipv4-addresses-per-interface": _at("NetworkInfo", "Ipv4AddressesPerInterface"),
    "network-info.ipv6-addresses-per-interface": _at("NetworkInfo", "Ipv6AddressesPerInterface"),
    "network-info.ipv6-supported": _at("NetworkInfo", "Ipv6Supported"),
    "network-info.maximum-network-cards": _at("NetworkInfo", "MaximumNetworkCards"),
    "network-info.maximum-network-interfaces": _at("NetworkInfo", "MaximumNetworkInterfaces"),
    "network-info.network-performance": _at("NetworkInfo", "NetworkPerformance"),
    "nitro-enclaves-support": _at("NitroEnclavesSupport"),
    "nitro-tpm-info.supported-versions": _at("NitroTpmInfo", "SupportedVersions"),
    "nitro-tpm-support": _at("NitroTpmSupport"),
    "processor-info.supported-architecture": _at("ProcessorInfo", "SupportedArchitectures"),
    "processor-info.supported-features": _at("ProcessorInfo", "SupportedFeatures"),
    "processor-info.sustained-clock-speed-in-ghz": _at("ProcessorInfo", "SustainedClockSpeedInGhz"),
    "reboot-migration-support": _at("RebootMigrationSupport"),
    "supported-boot-mode": _at("SupportedBootModes"),
    "supported-root-device-type": _at("SupportedRootDeviceTypes"),
    "supported-usage-class": _at("SupportedUsageClasses"),
    "supported-virtualization-type": _at("SupportedVirtualizationTypes"),
    "vcpu-info.default-cores": _at("VCpuInfo", "DefaultCores"),
    "vcpu-info.default-threads-per-core": _at("VCpuInfo", "DefaultThreadsPerCore"),
    "vcpu-info.default-vcpus": _at("VCpuInfo", "DefaultVCpus"),
    "vcpu-info.valid-cores": _joined("VCpuInfo", "ValidCores"),
    "vcpu-info.valid-threads-per-core": _joined("VCpuInfo", "ValidThreadsPerCore"),
}


def _offered(context: Context) -> frozenset[str]:
    """The types that the configured zones have, together."""
    return frozenset(name for zone in configured_zones(context) for name in offerings(zone.name))


@ec2.reads("DescribeInstanceTypes")
def describe_instance_types(context: Context, params: "DescribeInstanceTypesRequestTypeDef") -> dict[str, Any]:
    """The instance types of the region, or with IncludeUnsupportedInRegion all that there are; by name."""
    predicates = compile_filters(params.get("Filters", ()), _FILTERS, tags=False)
    offered = _offered(context)
    known = instance_types() if params.get("IncludeUnsupportedInRegion") else sorted(offered)
    if params.get("InstanceTypes"):
        _check_named(params, frozenset(known))
    names: Iterable[str] = dict.fromkeys(params.get("InstanceTypes") or known)
    if predicates:
        names = (name for name in names if _holds(context, describe(name), predicates))
    page, token = paginate(context, params, list(names), Page(least=5, most=100, default=100), str)
    return {
        "InstanceTypes": [{**describe(name), "SupportedInRegion": name in offered} for name in page],
        "NextToken": token,
    }


def _holds(context: Context, document: Document, predicates: Sequence[Predicate[Document]]) -> bool:
    return all(holds(context, document) for holds in predicates)


def _check_named(params: "DescribeInstanceTypesRequestTypeDef", known: frozenset[str]) -> None:
    names: Sequence[str] = params.get("InstanceTypes", ())
    if params.get("MaxResults") is not None:
        raise InvalidParameterCombination("The parameter InstanceTypes cannot be used with the parameter MaxResults")
    if len(names) > _MAX_NAMED:
        raise InvalidParameterValue(f"The maximum number of instance types on a single call is {_MAX_NAMED}")
    missing = [name for name in dict.fromkeys(names) if name not in known]
    if missing:
        raise InvalidInstanceType(f"The following supplied instance types do not exist: [{', '.join(missing)}]")


class Offering(msgspec.Struct, frozen=True):
    """A type at a location: a region's name, a zone's name or a zone's id."""

    type: str
    location: str


_OFFERING_FILTERS: Mapping[str, Field[Offering]] = {
    "instance-type": lambda _, offering: offering.type,
    "location": lambda _, offering: offering.location,
}


def _locations(context: Context, location_type: str) -> Iterable[Offering]:
    zones = configured_zones(context)
    match location_type:
        case "region":
            return [Offering(name, context.region) for name in _offered(context)]
        case "availability-zone":
            return [Offering(name, zone.name) for zone in zones for name in offerings(zone.name)]
        case "availability-zone-id":
            return [Offering(name, zone.id) for zone in zones for name in offerings(zone.name)]
        case "outpost":
            return []
        case _:
            raise InvalidParameterValue(f"Value ({location_type}) for parameter locationType is invalid.")


@ec2.reads("DescribeInstanceTypeOfferings")
def describe_instance_type_offerings(
    context: Context, params: "DescribeInstanceTypeOfferingsRequestTypeDef"
) -> dict[str, Any]:
    """Which types the region, or each of its zones, has."""
    location_type = params.get("LocationType", "region")
    predicates = compile_filters(params.get("Filters", ()), _OFFERING_FILTERS, tags=False)
    found = [
        offering
        for offering in _locations(context, location_type)
        if all(holds(context, offering) for holds in predicates)
    ]
    page, token = paginate(
        context, params, found, Page(default=1000), lambda offering: f"{offering.type}/{offering.location}"
    )
    return {
        "InstanceTypeOfferings": [
            {"InstanceType": offering.type, "LocationType": location_type, "Location": offering.location}
            for offering in page
        ],
        "NextToken": token,
    }
