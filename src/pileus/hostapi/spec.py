"""What a host must make so. Written by the controllers, read by the agent and its drivers.

A spec is level-triggered: it says what must hold, never what to do next. Applying the same spec twice changes nothing.
Networks, interfaces and rules that are absent are removed. Guests and volumes, which hold what people would miss, are
removed only on an explicit ``gone``: a control plane that lost its store can't make a host delete anything.
"""

from typing import Literal

from pileus.hostapi.network_spec import NetworkSpec, Spec


class SourceSpec(Spec, frozen=True, kw_only=True):
    """What a fresh volume starts as, when that is a snapshot: it reads so at once, and fills behind.

    ``root`` is the snapshot's root digest in the block store (hexadecimal), ``size`` its bytes. ``key_id`` names the
    data key that opens its blocks, None when they are not sealed.
    """

    root: str
    size: int
    key_id: str | None = None


class VolumeSpec(Spec, frozen=True, kw_only=True):
    """A block volume on this host.

    Attributes:
        size: bytes, never below those of image or source; a volume grows when it is raised, also in a running guest.
        image: the content id of the base image that a fresh volume starts as. source: the same with a snapshot. With
            neither, it starts empty.
        key_id: the data key under which its own layers are encrypted; the key itself is asked for over the link and
            never kept. None: not encrypted.
        kind: ``ebs``; ``ephemeral`` (instance store: has no snapshots, and no byte of it is read after ``gone``).
        shared: several guests may have it at once.
        state: ``gone`` removes the volume's data for ever.
    """

    volume_id: str
    size: int
    image: str | None = None
    source: SourceSpec | None = None
    key_id: str | None = None
    kind: Literal["ebs", "ephemeral"] = "ebs"
    shared: bool = False
    state: Literal["present", "gone"] = "present"


class SnapshotSpec(Spec, frozen=True, kw_only=True):
    """A snapshot to take of a volume on this host, listed until its blocks are uploaded and that is on record.

    Attributes:
        group: snapshots of one ``group`` are taken at one instant.
        parent: root digest of a snapshot of the same line whose blocks the store still has, None at the first; what was
            not written since then is not read again.
        key_id: the data key under which its blocks are sealed, None: not sealed.
    """

    snapshot_id: str
    volume_id: str
    group: str
    parent: str | None = None
    key_id: str | None = None


class ConversionSpec(Spec, frozen=True, kw_only=True):
    """A disk image file, or a snapshot, to be brought into another form, listed until the result is on record.

    Attributes:
        source: root digest of the file's bytes in the block store (a file is kept there as a snapshot is), or of a
            snapshot. size: how many bytes it has.
        source_format: as QEMU names it: ``raw``, ``qcow2``, ``vmdk``, ``vpc``, ``vhdx``; None: to be found out.
        target_format: the result's. ``raw``: the result is a disk, which is as long as the image says.
        source_key_id, key_id: the data keys that seal the source and the result, None: not sealed.
    """

    task_id: str
    source: str
    size: int
    target_format: str
    source_format: str | None = None
    source_key_id: str | None = None
    key_id: str | None = None


class DiskSpec(Spec, frozen=True, kw_only=True):
    """A volume in a guest. ``serial`` is the volume id without its dash, as the guest sees it; ``index`` 0 boots.

    ``iops`` (operations of any size a second) and ``throughput`` (bytes a second) limit it; None: without limit. Disks
    that come, go or change while the guest runs are plugged, unplugged and limited anew.
    """

    volume_id: str
    index: int
    device_name: str
    serial: str
    iops: int | None = None
    throughput: int | None = None


class NicSpec(Spec, frozen=True, kw_only=True):
    """An interface in a guest; its network side is ``InterfaceSpec`` of the same id. ``index`` is the device index.

    Those that come or go while the guest runs are plugged and unplugged, as disks are.
    """

    interface_id: str
    mac: str
    index: int


class GuestSpec(Spec, frozen=True, kw_only=True):
    """A virtual machine.

    Attributes:
        boot: counts launches and starts; a guest of a lower boot is stopped first, and what is observed of an older
            boot says nothing about this one.
        reset: counts RebootInstances within this boot.
        power: ``on``; ``off`` (ACPI power button, after ``stop_timeout`` seconds the plug); ``cut`` (the plug at once);
            ``gone`` (the plug at once, then everything kept for this guest is removed; volumes have their own spec).
        memory: MiB. vcpus: as the guest sees them.
        uuid: SMBIOS system uuid and serial, lower case, begins with ``ec2``.
        image: content id whose manifest says how it boots; None: by the firmware, from the first disk.
        torn_out: volumes and interfaces that leave the guest even if it does not let go of them (a forced detachment).
        wiring: counts what was asked about ``disks`` and ``nics``; observations echo it, so that what is observed of older wishes
            is not taken for an answer to newer ones.
        metadata: what the metadata service tells this guest.
    """

    instance_id: str
    boot: int
    power: Literal["on", "off", "cut", "gone"]
    uuid: str
    vcpus: int
    memory: int
    image: str | None
    disks: tuple[DiskSpec, ...]
    nics: tuple[NicSpec, ...]
    metadata: "MetadataSpec"
    reset: int = 0
    stop_timeout: float = 90.0
    cmdline: str = ""
    torn_out: tuple[str, ...] = ()
    wiring: int = 0


class MetadataInterface(Spec, frozen=True, kw_only=True):
    """One entry under ``network/interfaces/macs/``. ``public_addresses`` are (public, private) pairs."""

    mac: str
    interface_id: str
    index: int
    subnet_id: str
    subnet_cidr: str
    vpc_id: str
    vpc_cidrs: tuple[str, ...]
    owner_id: str
    private_addresses: tuple[str, ...]
    local_hostname: str
    public_addresses: tuple[tuple[str, str], ...] = ()
    public_hostname: str | None = None
    subnet_ipv6_cidr: str | None = None
    vpc_ipv6_cidrs: tuple[str, ...] = ()
    ipv6_addresses: tuple[str, ...] = ()
    ipv4_prefixes: tuple[str, ...] = ()
    ipv6_prefixes: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    security_group_ids: tuple[str, ...] = ()


class MetadataSpec(Spec, frozen=True, kw_only=True):
    """What 169.254.169.254 answers to one instance. Secrets (user data may be one) are never logged.

    ``public_keys`` are (name, OpenSSH line). ``user_data`` is base64 or None. ``pending_time`` is ISO 8601, UTC.
    ``tags`` is None unless InstanceMetadataTags is enabled. ``hop_limit`` 1 to 64.
    """

    instance_id: str
    account: str
    region: str
    zone: str
    zone_id: str
    image_id: str
    instance_type: str
    reservation_id: str
    launch_index: int
    architecture: str
    pending_time: str
    local_hostname: str
    interfaces: tuple[MetadataInterface, ...]
    security_groups: tuple[str, ...]
    public_keys: tuple[tuple[str, str], ...] = ()
    user_data: str | None = None
    tags: tuple[tuple[str, str], ...] | None = None
    block_devices: tuple[tuple[str, str], ...] = ()
    partition: str = "aws"
    domain: str = "amazonaws.com"
    life_cycle: str = "on-demand"
    endpoint_enabled: bool = True
    tokens_required: bool = False
    hop_limit: int = 2


class HostSpec(Spec, frozen=True, kw_only=True, tag="spec"):
    """Everything one host must make so. ``revision`` only grows; an older one is refused by the agent."""

    revision: int
    guests: tuple[GuestSpec, ...] = ()
    volumes: tuple[VolumeSpec, ...] = ()
    snapshots: tuple[SnapshotSpec, ...] = ()
    conversions: tuple[ConversionSpec, ...] = ()
    network: NetworkSpec = NetworkSpec()
