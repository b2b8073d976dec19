"""Volume types: sizes, IOPS and throughput, their defaults and bounds. Read by everything that makes or changes volumes.

See https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volume-types.html.
"""

from collections.abc import Mapping

import msgspec

from pileus.base.errors import ServiceError
from pileus.catalogue import InstanceType
from pileus.records.volume import gp2_baseline
from pileus.services.ec2.errors import InvalidParameterCombination, InvalidParameterValue

DEFAULT_TYPE = "gp2"
"""What CreateVolume and mappings of empty volumes give when no type is named."""

MULTI_ATTACH_TYPES = frozenset({"io1", "io2"})
NOT_FOR_BOOT = frozenset({"st1", "sc1"})


class MissingSetting(ServiceError):
    """A setting that the volume type can't do without."""

    code = "MissingParameter"


class VolumeType(msgspec.Struct, frozen=True):
    """What a volume type allows: GiB, IOPS (None: it has no such setting), IOPS per GiB at most, throughput in MiB/s."""

    least: int
    most: int
    iops: tuple[int, int] | None = None
    iops_per_gib: int = 0
    throughput: tuple[int, int] | None = None


VOLUME_TYPES: Mapping[str, VolumeType] = {
    "standard": VolumeType(1, 1024),
    "gp2": VolumeType(1, 16384),
    "gp3": VolumeType(1, 65536, (3000, 80000), 500, (125, 2000)),
    "io1": VolumeType(4, 16384, (100, 64000), 50),
    "io2": VolumeType(4, 65536, (100, 256000), 1000),
    "st1": VolumeType(125, 16384),
    "sc1": VolumeType(125, 16384),
}

_IOPS_PER_MIB_OF_THROUGHPUT = 4
"""A gp3 volume has at most 0.25 MiB/s for each of its IOPS."""


_DEFAULT_LIMIT = 40
"""Attachments of an instance whose type has no number of its own."""


def most_volumes(type_: InstanceType, interfaces: int, store_disks: int) -> int:
    """How many volumes an instance of a type can have, beside so many network interfaces and instance store disks.

    See https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/volume_limits.html.
    """
    limit = type_.ebs.maximum_ebs_attachments or _DEFAULT_LIMIT
    shared = type_.ebs.attachment_limit_type == "shared" and type_.hypervisor == "nitro"
    return limit - interfaces - store_disks if shared else limit


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """A volume's type, GiB, IOPS and MiB/s, as they are kept and told."""

    volume_type: str
    size: int
    iops: int | None
    throughput: int | None


def settings(volume_type: str, size: int, iops: int | None, throughput: int | None) -> Settings:
    """What a volume gets for what was asked, or its type's defaults.

    Raises:
        InvalidParameterValue: an unknown type, or a value out of its bounds. InvalidParameterCombination: a setting that
            the type does not have. MissingSetting: one that it needs.
    """
    rules = VOLUME_TYPES.get(volume_type)
    if rules is None:
        raise InvalidParameterValue(f"Value ({volume_type}) for parameter volumeType is invalid. Unknown volume type.")
    if size < rules.least:
        raise InvalidParameterValue(f"Volume of {size}GiB is too small; minimum is {rules.least}GiB.")
    if size > rules.most:
        raise InvalidParameterValue(
            f"Volume of {size}GiB is too large for volume type {volume_type}; maximum is {rules.most}GiB."
        )
    given = _iops(volume_type, rules, size, iops)
    return Settings(
        volume_type=volume_type,
        size=size,
        iops=given,
        throughput=_throughput(volume_type, rules, given, throughput),
    )


def _iops(name: str, rules: VolumeType, size: int, wanted: int | None) -> int | None:
    if rules.iops is None:
        if wanted is not None:
            raise InvalidParameterCombination(f"The parameter iops is not supported for {name} volumes.")
        return gp2_baseline(size) if name == "gp2" else None
    least, most = rules.iops
    if wanted is None:
        if name != "gp3":
            raise MissingSetting(f"The parameter iops must be specified for {name} volumes.")
        return least
    if wanted < least:
        raise InvalidParameterValue(f"Volume iops of {wanted} is too low; minimum is {least}.")
    if wanted > most:
        raise InvalidParameterValue(f"Volume iops of {wanted} is too high; maximum is {most}.")
    if wanted > max(rules.iops_per_gib * size, least):
        raise InvalidParameterValue(
            f"Iops to volume size ratio of {wanted / size:.6f} is too high; maximum is {rules.iops_per_gib}."
        )
    return wanted


def _throughput(name: str, rules: VolumeType, iops: int | None, wanted: int | None) -> int | None:
    if rules.throughput is None:
        if wanted is not None:
            raise InvalidParameterCombination(f"The parameter throughput is not supported for {name} volumes.")
        return None
    least, most = rules.throughput
    if wanted is None:
        return least
    if wanted < least:
        raise InvalidParameterValue(f"Throughput of {wanted} is too low; minimum is {least}.")
    if wanted > most:
        raise InvalidParameterValue(f"Throughput of {wanted} is too high; maximum is {most}.")
    if iops is not None and wanted * _IOPS_PER_MIB_OF_THROUGHPUT > iops:
        raise InvalidParameterValue(
            f"Throughput (MiBps) to iops ratio of {wanted / iops:.6f} is too high; maximum is 0.250000 MiBps per iops."
        )
    return wanted
