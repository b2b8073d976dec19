"""The instance store: which disks of its host an instance of a type has. Called by launches and changes of the type.

See https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/InstanceStorage.html.
"""

from msgspec.structs import replace

from pileus.base.config import Config
from pileus.catalogue import InstanceType
from pileus.records import Instance
from pileus.records.instance import StoreDisk
from pileus.records.volume import GIB, MIB

_GB = 10**9


def with_store(instance: Instance, type_: InstanceType, config: Config) -> Instance:
    """The instance with the disks that the type has: all of them where they are NVMe, else those that were mapped by name."""
    bare = replace(instance, store=())
    if type_.instance_storage is None:
        return bare
    sizes = [disk.size_gb * _GB for disk in type_.instance_storage.disks for _ in range(disk.count)]
    names = dict(instance.store_names)
    by_themselves = type_.instance_storage.nvme_support != "unsupported"
    for number, size in enumerate(sizes):
        if by_themselves or number in names:
            disk = StoreDisk(
                number=number,
                size=_on_this_cloud(size, config),
                index=bare.free_index,
                device_name=None if by_themselves else names[number],
            )
            bare = replace(bare, store=(*bare.store, disk))
    return bare


def _on_this_cloud(size: int, config: Config) -> int:
    """Bytes, in whole MiB, and no more than the configuration allows a disk."""
    most = size if config.instance_store_limit is None else config.instance_store_limit * GIB
    return min(size, most) // MIB * MIB
