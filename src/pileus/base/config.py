"""The cloud's configuration: ``config.toml`` in the data directory. Read by the composition roots in ``pileus.cmd``."""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from itertools import combinations, islice, zip_longest
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

_SMALLEST_POOL = 29
_VPC_IPV6_PREFIX = 56


class RegionConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A region and its zones.

    Attributes:
        name: one of AWS's region names, e.g. ``us-east-1``.
        zones: the letters of its availability zones.
        local_zones, wavelength_zones: names of those that it has, e.g. ``us-west-2-lax-1a``.
        public_pool: CIDRs of the public addresses that its instances get. The first pool's fourth address is the API's,
            the last but one is S3's.
        carrier_pool: CIDRs of the addresses that instances in wavelength zones get.
        announce: how the uplink's network learns of the pools: it has a route (""), by ARP (``arp``), by BGP (``bgp``).
        ipv6_pool: of which VPCs get their /56. By default each region has a /36 of 2001:db8::/32, by its place.
    """

    name: str = "us-east-1"
    zones: tuple[str, ...] = ("a", "b", "c")
    local_zones: tuple[str, ...] = ()
    wavelength_zones: tuple[str, ...] = ()
    public_pool: tuple[str, ...] = ("203.0.113.0/24",)
    carrier_pool: tuple[str, ...] = ()
    announce: Literal["", "arp", "bgp"] = ""
    ipv6_pool: str = ""

    def __post_init__(self) -> None:
        if not self.zones:
            raise ValueError(f"the region {self.name} needs at least one zone")
        if not self.public_pool:
            raise ValueError(f"the region {self.name} needs a public pool")
        for cidr in (*self.public_pool, *self.carrier_pool):
            if IPv4Network(cidr).prefixlen > _SMALLEST_POOL:
                raise ValueError(f"the pool {cidr} is smaller than a /{_SMALLEST_POOL}")
        if self.ipv6_pool and IPv6Network(self.ipv6_pool).prefixlen > _VPC_IPV6_PREFIX:
            raise ValueError(f"the IPv6 pool {self.ipv6_pool} is smaller than a /{_VPC_IPV6_PREFIX}")
        if self.wavelength_zones and not self.carrier_pool:
            raise ValueError(f"the region {self.name} has wavelength zones and needs a carrier pool for them")

    @property
    def zone_names(self) -> tuple[str, ...]:
        """The names of all its zones."""
        return (*(self.name + letter for letter in self.zones), *self.local_zones, *self.wavelength_zones)


def api_address(region: RegionConfig) -> str:
    """The public address at which guests reach the API in this region."""
    return str(IPv4Network(region.public_pool[0])[3])


def s3_address(region: RegionConfig) -> str:
    """The public address at which guests reach S3 in this region."""
    return str(IPv4Network(region.public_pool[0])[-2])


class ObjectsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The bucket of another S3 that keeps the bytes of objects.

    Attributes:
        endpoint: its URL. region: for signatures. addressing: whether the bucket is in the path or in the host's name.
        bucket: must be there already. prefix: of all keys; below it every cloud has a folder of its own.
        access_key: of somebody who may put, get, list and delete in it.
        secret_key_file: holds the secret access key; None: the environment variable PILEUS_OBJECTS_SECRET_KEY does.
        certificates: a PEM file of certificates to trust instead of the system's.
    """

    endpoint: str
    bucket: str
    access_key: str
    secret_key_file: str | None = None
    region: str = "us-east-1"
    prefix: str = ""
    addressing: Literal["path", "virtual"] = "path"
    certificates: str | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query:
            raise ValueError("endpoint must be a URL like https://s3.example.net, without keys in it")
        if not self.bucket or "/" in self.bucket or not self.access_key:
            raise ValueError("bucket and access_key must be given")
        if len(self.prefix.encode()) > 512:
            raise ValueError("prefix is longer than 512 bytes")


class BgpConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where pools are announced with BGP.

    Attributes:
        asn: the host's own autonomous system. neighbours: addresses of routers, IPv4 or IPv6, with their system's number.
        router_id: an IPv4 address that names the host; None: that of the host on its uplink.
    """

    asn: int
    neighbours: dict[str, int]
    router_id: str | None = None

    def __post_init__(self) -> None:
        for number in (self.asn, *self.neighbours.values()):
            if not 0 < number < 1 << 32:
                raise ValueError(f"bgp: {number} is not the number of an autonomous system")
        if not self.neighbours:
            raise ValueError("bgp: there must be at least one neighbour")
        for address in self.neighbours:
            ip_address(address)
        if self.router_id is not None:
            IPv4Address(self.router_id)


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set. The first region is the default one.

    Attributes:
        listen, port: where the API answers. certificate, key: PEM files; TLS is on when both are given.
        store: ``sqlite:///path`` or ``postgresql://…``; None: SQLite in the data directory.
        cpu_overcommit: vCPUs promised per processor of a host. memory_overcommit: the same for memory.
        reserved_memory: MiB of each host kept for the host itself.
        uplink: the host's interface by which guests with public addresses reach the outside; None: not at all.
        throttle: whether requests are limited by EC2's token buckets.
        accelerator: ``kvm``, ``tcg``, or ``auto``: a probe boots something to find out whether KVM works.
        guest_uids: the first and the last numeric user id for guests; each running guest has its own.
        simulated_hosts: how many hosts ``--simulate`` pretends to have, with 64 processors and 64 GiB each.
        launch_watchdog: seconds in which a launched guest must print something, and send a packet or go on printing, or
            it is started anew, once.
        volume_modification_wait: seconds from one ModifyVolume to the next of the same volume.
        host_zones: names of the zones that this host serves, e.g. ``us-east-1a``; none: all.
        instance_store_limit: GiB that a disk of an instance store has at most; None: as much as its type says.
        objects: where the bytes of objects are kept; None: below the data directory.
        bgp: the routers that pools are announced to with BGP.
        block_collection_interval: seconds from one collection of unused snapshot blocks to the next.
        block_grace: seconds for which a block is kept after it was last written or asked for, needed or not.
        block_check_rate: MiB a second at which stored snapshot blocks are checked for damage; 0: they are not.
    """

    regions: tuple[RegionConfig, ...] = (RegionConfig(),)
    account: str = "000000000001"
    listen: str = "127.0.0.1"
    port: int = 4566
    certificate: str | None = None
    key: str | None = None
    store: str | None = None
    cpu_overcommit: float = 16.0
    memory_overcommit: float = 1.0
    reserved_memory: int = 2048
    uplink: str | None = None
    throttle: bool = False
    accelerator: Literal["auto", "kvm", "tcg"] = "auto"
    guest_uids: tuple[int, int] = (700000, 799999)
    simulated_hosts: int = 8
    launch_watchdog: float = 120.0
    volume_modification_wait: float = 21600.0
    host_zones: tuple[str, ...] = ()
    instance_store_limit: int | None = None
    objects: ObjectsConfig | None = None
    bgp: BgpConfig | None = None
    block_collection_interval: float = 3600.0
    block_grace: float = 3600.0
    block_check_rate: float = 4.0

    def __post_init__(self) -> None:
        names = [region.name for region in self.regions]
        if not names or len(set(names)) < len(names):
            raise ValueError("there must be at least one region, and each but once")
        _check_apart(
            [IPv4Network(pool) for region in self.regions for pool in (*region.public_pool, *region.carrier_pool)]
        )
        msgspec.structs.force_setattr(self, "regions", tuple(_with_ipv6_pools(self.regions)))
        _check_apart([IPv6Network(region.ipv6_pool) for region in self.regions])
        known = {zone for region in self.regions for zone in region.zone_names}
        for zone in self.host_zones:
            if zone not in known:
                raise ValueError(f"host_zones: no region has the zone {zone}")
        if self.bgp is None and any(region.announce == "bgp" for region in self.regions):
            raise ValueError("a pool is announced with BGP: the section [bgp] must say to whom")
        if not 0 < self.port < 1 << 16:
            raise ValueError(f"port {self.port} is not between 1 and 65535")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        if self.store is not None and not self.store.startswith(("sqlite:///", "postgresql://")):
            raise ValueError(f"store {self.store!r} begins with neither sqlite:/// nor postgresql://")
        if self.instance_store_limit is not None and self.instance_store_limit < 1:
            raise ValueError(f"instance_store_limit {self.instance_store_limit} is not positive")
        if self.simulated_hosts < 1:
            raise ValueError(f"simulated_hosts {self.simulated_hosts} is not positive")
        if self.block_collection_interval <= 0 or self.block_grace < 0 or self.block_check_rate < 0:
            raise ValueError(
                "block_collection_interval must be positive, block_grace and block_check_rate not negative"
            )

    @property
    def default_region(self) -> str:
        """Where a request without a region goes."""
        return self.regions[0].name

    def region(self, name: str) -> RegionConfig:
        """The configuration of a region. Raises KeyError."""
        for region in self.regions:
            if region.name == name:
                return region
        raise KeyError(name)


def _with_ipv6_pools(regions: Sequence[RegionConfig]) -> Iterator[RegionConfig]:
    """The regions with IPv6 pools: the n-th one has the n-th /36 of the documentation's range unless it says otherwise."""
    defaults = IPv6Network("2001:db8::/32").subnets(new_prefix=36)
    for region, pool in zip_longest(regions, islice(defaults, len(regions))):
        if pool is None:
            raise ValueError(f"there is no default IPv6 pool left for {region.name}: set its ipv6_pool")
        yield msgspec.structs.replace(region, ipv6_pool=region.ipv6_pool or str(pool))


def _check_apart(pools: Sequence[IPv4Network | IPv6Network]) -> None:
    """Raises ValueError when two pools overlap: an address belongs to one region."""
    for one, other in combinations(pools, 2):
        if one.overlaps(other):
            raise ValueError(f"the pools {one} and {other} overlap")


def load(path: Path) -> Config:
    """The configuration in a TOML file; the defaults where there is none.

    Raises:
        msgspec.DecodeError: it is no TOML, or a setting is unknown, of the wrong type or impossible; the message names it.
        UnicodeDecodeError: it is no text.
    """
    if not path.exists():
        return Config()
    return msgspec.toml.decode(path.read_bytes(), type=Config)
