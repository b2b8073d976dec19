"""Instance types: what a machine of a type has, and what AWS says about it.

The structs mirror ``InstanceTypeInfo`` of the EC2 API under Python names, as far as Pileus acts on it; ``describe``
gives the whole of it.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import msgspec

from pileus.catalogue.tables import InstanceTypeTable, read


class _Part(msgspec.Struct, frozen=True, rename="pascal"):
    """A part of an instance type, under AWS's member names on the wire."""


class Processor(_Part, frozen=True):
    """``supported_architectures``: ``i386``, ``x86_64``, ``arm64``, ``x86_64_mac``, ``arm64_mac``."""

    supported_architectures: tuple[str, ...]
    supported_features: tuple[str, ...] = ()
    manufacturer: str = ""
    sustained_clock_speed_in_ghz: float | None = None


class VCpus(_Part, frozen=True):
    """The default shape, and the shapes that ``CpuOptions`` may ask for (empty: only the default)."""

    default_vcpus: int = msgspec.field(name="DefaultVCpus")
    default_cores: int
    default_threads_per_core: int
    valid_cores: tuple[int, ...] = ()
    valid_threads_per_core: tuple[int, ...] = ()


class Memory(_Part, frozen=True):
    size_mib: int = msgspec.field(name="SizeInMiB")


class Disk(_Part, frozen=True):
    """Disks of the instance store that are alike; ``type`` is ``ssd`` or ``hdd``."""

    count: int
    size_gb: int = msgspec.field(name="SizeInGB")
    type: str


class InstanceStorage(_Part, frozen=True):
    """The instance store; support is ``required``, ``supported`` or ``unsupported``."""

    disks: tuple[Disk, ...]
    total_size_gb: int = msgspec.field(name="TotalSizeInGB")
    nvme_support: str
    encryption_support: str


class EbsLimits(_Part, frozen=True):
    """What the machine gets through to all its volumes together: always (baseline) and in bursts (maximum)."""

    baseline_bandwidth_mbps: int = msgspec.field(name="BaselineBandwidthInMbps")
    baseline_throughput_mb_per_second: float = msgspec.field(name="BaselineThroughputInMBps")
    baseline_iops: int
    maximum_bandwidth_mbps: int = msgspec.field(name="MaximumBandwidthInMbps")
    maximum_throughput_mb_per_second: float = msgspec.field(name="MaximumThroughputInMBps")
    maximum_iops: int


class Ebs(_Part, frozen=True):
    """``limits`` and ``maximum_ebs_attachments`` are ``None`` where AWS gives none.

    ``ebs_optimized_support`` is ``default`` (always on), ``supported`` (by request) or ``unsupported``;
    ``attachment_limit_type`` is ``shared`` when network interfaces and instance store disks count as attachments too.
    """

    ebs_optimized_support: str
    encryption_support: str
    nvme_support: str
    limits: EbsLimits | None = msgspec.field(default=None, name="EbsOptimizedInfo")
    maximum_ebs_attachments: int | None = None
    attachment_limit_type: str = "shared"


class NetworkCard(_Part, frozen=True):
    """One physical card; ``network_performance`` is AWS's phrase, such as ``Up to 5 Gigabit``."""

    network_card_index: int
    network_performance: str
    maximum_network_interfaces: int
    baseline_bandwidth_gbps: float | None = msgspec.field(default=None, name="BaselineBandwidthInGbps")
    peak_bandwidth_gbps: float | None = msgspec.field(default=None, name="PeakBandwidthInGbps")


class Network(_Part, frozen=True):
    """Limits of the network; ``ena_support`` is ``required``, ``supported`` or ``unsupported``."""

    network_performance: str
    maximum_network_interfaces: int
    maximum_network_cards: int
    default_network_card_index: int
    network_cards: tuple[NetworkCard, ...]
    ipv4_addresses_per_interface: int
    ipv6_addresses_per_interface: int
    ipv6_supported: bool
    ena_support: str
    efa_supported: bool


class Gpu(_Part, frozen=True):
    """GPUs that are alike. ``count`` is 0 where the machine gets a part of one: see ``gpu_partition_size``."""

    name: str
    manufacturer: str
    count: int
    memory: Memory = msgspec.field(name="MemoryInfo")
    gpu_partition_size: float = 1.0


class Gpus(_Part, frozen=True):
    gpus: tuple[Gpu, ...]
    total_memory_mib: int = msgspec.field(name="TotalGpuMemoryInMiB")


class PlacementGroups(_Part, frozen=True):
    supported_strategies: tuple[str, ...]


class InstanceType(_Part, frozen=True, kw_only=True):
    """One instance type. ``hypervisor`` is ``nitro`` or ``xen``, and ``None`` on bare metal."""

    name: str = msgspec.field(name="InstanceType")
    processor: Processor = msgspec.field(name="ProcessorInfo")
    cpu: VCpus = msgspec.field(name="VCpuInfo")
    memory: Memory = msgspec.field(name="MemoryInfo")
    network: Network = msgspec.field(name="NetworkInfo")
    ebs: Ebs = msgspec.field(name="EbsInfo")
    instance_storage: InstanceStorage | None = msgspec.field(default=None, name="InstanceStorageInfo")
    gpu: Gpus | None = msgspec.field(default=None, name="GpuInfo")
    placement_groups: PlacementGroups = msgspec.field(name="PlacementGroupInfo")
    hypervisor: str | None = None
    bare_metal: bool
    current_generation: bool
    free_tier_eligible: bool
    burstable: bool = msgspec.field(name="BurstablePerformanceSupported")
    hibernation_supported: bool
    dedicated_hosts_supported: bool
    auto_recovery_supported: bool
    nitro_enclaves_support: str
    nitro_tpm_support: str
    supported_boot_modes: tuple[str, ...]
    supported_root_device_types: tuple[str, ...]
    supported_usage_classes: tuple[str, ...]
    supported_virtualization_types: tuple[str, ...]

    @property
    def family(self) -> str:
        """What stands before the dot: ``t3`` of ``t3.nano``."""
        return self.name.partition(".")[0]

    @property
    def vcpus(self) -> int:
        """Virtual CPUs when ``CpuOptions`` asks for nothing else."""
        return self.cpu.default_vcpus

    @property
    def memory_mib(self) -> int:
        return self.memory.size_mib

    @property
    def architectures(self) -> tuple[str, ...]:
        return self.processor.supported_architectures

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        return self.gpu.gpus if self.gpu else ()


@cache
def _table() -> InstanceTypeTable:
    return read("instance_types", InstanceTypeTable)


@cache
def instance_types() -> Sequence[str]:
    """The names of all instance types, sorted."""
    return tuple(_table().types)


@lru_cache(maxsize=128)
def instance_type(name: str) -> InstanceType | None:
    """The instance type called ``name``, or ``None`` where there is none."""
    if name not in _table().types:
        return None
    return msgspec.json.decode(_document(name), type=InstanceType)


def describe(name: str) -> dict[str, Any]:
    """The instance type in the shape of EC2's ``InstanceTypeInfo``; a fresh dictionary each time.

    Raises:
        KeyError: there is no such type.
    """
    return msgspec.json.decode(_document(name))


def _document(name: str) -> bytes:
    """The JSON document of one type, put together from its row."""
    table = _table()
    row = msgspec.json.decode(table.types[name], type=list[int])
    document: dict[str, object] = {"InstanceType": name}
    document |= {
        member: values[index]
        for member, values, index in zip(table.members, table.values, row, strict=True)
        if index >= 0
    }
    return msgspec.json.encode(document)
