"""What filters and weighers look at."""

import msgspec

from pileus.catalogue import InstanceType, instance_type
from pileus.records import Instance


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance needs of a host. ``memory`` in MiB, ``disk`` (for its instance store) in GiB.

    ``host_id``: where its volumes are already, if anywhere.
    """

    zone: str
    vcpus: int
    memory: int
    disk: int
    architecture: str
    gpus: int
    bare_metal: bool
    host_id: str | None


def vcpus_of(instance: Instance) -> int:
    """The processors that the guest sees."""
    type_ = type_of(instance)
    if instance.core_count is None and instance.threads_per_core is None:
        return type_.vcpus
    cores = instance.core_count or type_.cpu.default_cores
    return cores * (instance.threads_per_core or type_.cpu.default_threads_per_core)


def type_of(instance: Instance) -> InstanceType:
    """The catalogue's record of its type; launching checked that there is one."""
    type_ = instance_type(instance.instance_type)
    assert type_ is not None, f"{instance.id} has a type that the catalogue lost: {instance.instance_type}"
    return type_


def request_of(instance: Instance) -> Request:
    """What this instance needs."""
    type_ = type_of(instance)
    return Request(
        zone=instance.zone,
        vcpus=vcpus_of(instance),
        memory=type_.memory_mib,
        disk=-(-sum(disk.size for disk in instance.store) // (1 << 30)),
        architecture=instance.architecture,
        gpus=sum(gpu.count for gpu in type_.gpus),
        bare_metal=type_.bare_metal,
        host_id=instance.host_id,
    )
