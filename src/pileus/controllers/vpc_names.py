"""The names in a VPC, and what its DHCP hands out."""

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

from pileus.base.config import Config, api_address, s3_address
from pileus.controllers.reading import Reading
from pileus.hostapi.network_spec import DhcpSpec, HostEntry
from pileus.records import Address, DhcpOptions, Instance, NetworkInterface, Peering, Vpc, VpcEndpoint
from pileus.records.dns_names import gives_names, private_domain, private_name, public_name_at, resource_name
from pileus.records.endpoint_services import GLOBAL_NAMES, SERVICES, endpoint_dns_names, named


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """An interface's names. ``private`` and ``public`` are by private address; ``hostname`` has no domain."""

    hostname: str
    private: Mapping[str, tuple[str, ...]]
    public: Mapping[str, tuple[str, ...]]
    ipv6: tuple[str, ...] = ()


def names_of(view: Reading, vpc: Vpc, interface: NetworkInterface) -> Names:
    """The names of an interface. Without the VPC's two DNS attributes it has but a host name."""
    instance = view.get(Instance, interface.instance_id) if interface.instance_id else None
    if instance is None or interface.device_index != 0:
        instance = None  # resource names mean an instance's first interface
    by_resource = instance is not None and instance.hostname_type == "resource-name"
    own = private_name(vpc.region, interface.private_address)
    hostname = instance.id if instance is not None and by_resource else own.partition(".")[0]
    if not gives_names(vpc):
        return Names(hostname=hostname, private={}, public={})
    private: dict[str, tuple[str, ...]] = {
        one.address: (private_name(vpc.region, one.address),) for one in interface.addresses
    }
    resource = (resource_name(vpc.region, instance.id),) if instance is not None else ()
    if instance is not None and instance.resource_name_dns_a:
        names = (*resource, own) if by_resource else (own, *resource)
        private[interface.private_address] = names
    public = {one.address: (name,) for one in interface.addresses if (name := public_name_at(vpc, vpc.region, one))}
    ipv6 = resource if instance is not None and instance.resource_name_dns_aaaa else ()
    return Names(hostname=hostname, private=private, public=public, ipv6=ipv6)


def local_hostname(view: Reading, vpc: Vpc, interface: NetworkInterface) -> str:
    """The whole host name that a guest is told: in the domain of the VPC's DHCP options, if they have one."""
    domain = dhcp(view, vpc).domain or private_domain(vpc.region)
    return f"{names_of(view, vpc, interface).hostname}.{domain.split()[0]}"


def dhcp(view: Reading, vpc: Vpc) -> DhcpSpec:
    """The VPC's DHCP options; without any, nothing but addresses is handed out."""
    found = view.get(DhcpOptions, vpc.dhcp_options_id)
    options = dict(found.options) if found is not None else {}
    node_type = options.get("netbios-node-type")
    servers = options.get("domain-name-servers", ())
    return DhcpSpec(
        domain=next(iter(options.get("domain-name", ())), None),
        dns_servers=tuple("amazon" if server == "AmazonProvidedDNS" else server for server in servers),
        ntp_servers=options.get("ntp-servers", ()),
        netbios_servers=options.get("netbios-name-servers", ()),
        netbios_node_type=int(node_type[0]) if node_type else None,
        ipv6_lease=int(next(iter(options.get("ipv6-address-preferred-lease-time", ())), "140")),
    )


def endpoint_service(service_name: str) -> Literal["api", "s3"]:
    """What an endpoint of this service leads to."""
    service = SERVICES.get(service_name.rpartition(".")[2])
    assert service is not None, f"there is an endpoint for {service_name}, which this cloud does not have"
    return service.target


def hosts_of(view: Reading, vpc: Vpc, config: Config) -> tuple[HostEntry, ...]:
    """The cloud's own services: at their public addresses, or where an interface endpoint with private DNS is there."""
    region = config.region(vpc.region)
    public = {"api": (api_address(region),), "s3": (s3_address(region),)}
    entries: dict[str, tuple[str, ...]] = {name: public[target] for name, target in GLOBAL_NAMES.items()}
    entries |= {name: public[service.target] for service in SERVICES.values() for name in service.dns_names(vpc.region)}
    for endpoint in view.list(VpcEndpoint, vpc_id=vpc.id):
        entries |= _names_of_endpoint(view, endpoint)
    entries |= _reverse_names(view, vpc.region)
    for peer in _resolved_peers(view, vpc):
        entries |= view.part(f"public-names/{peer}", lambda view, peer=peer: _public_names(view, peer))
    return tuple(HostEntry(name=name, addresses=addresses) for name, addresses in sorted(entries.items()))


def _reverse_names(view: Reading, region: str) -> Mapping[str, tuple[str, ...]]:
    """The names that owners gave to their Elastic IPs, for reverse queries."""
    found: dict[str, tuple[str, ...]] = {}
    for address in view.list(Address, ptr_region=region):
        name = (address.ptr or "").removesuffix(".")
        found[name] = (*found.get(name, ()), address.public_address)
    return found


def _resolved_peers(view: Reading, vpc: Vpc) -> Iterator[str]:
    """The VPCs whose public names mean private addresses in this one."""
    for peering in view.list(Peering, vpc_ids=vpc.id):
        sides = (peering.requester, peering.accepter)
        here, there = sides if peering.requester.vpc_id == vpc.id else reversed(sides)
        if peering.state == "active" and here.resolves:
            yield there.vpc_id


def _public_names(view: Reading, vpc_id: str) -> Mapping[str, tuple[str, ...]]:
    """The public names of a VPC's interfaces with their private addresses."""
    vpc = view.get(Vpc, vpc_id)
    return {
        name: (one.address,)
        for interface in view.list(NetworkInterface, vpc_id=vpc_id)
        for one in interface.addresses
        if vpc is not None and (name := public_name_at(vpc, vpc.region, one))
    }


def _names_of_endpoint(view: Reading, endpoint: VpcEndpoint) -> Mapping[str, tuple[str, ...]]:
    """The names that mean an interface endpoint: its own, those of its zones, and with private DNS the service's."""
    service = named(endpoint.service_name, endpoint.region)
    found = (view.get(NetworkInterface, name) for name in endpoint.interface_ids)
    interfaces = [one for one in found if one is not None]
    if service is None or endpoint.state != "available" or not interfaces:
        return {}
    addresses = tuple(one.private_address for one in interfaces)
    zones = [one.zone for one in interfaces]
    whole, *zonal = endpoint_dns_names(service, endpoint.id, endpoint.region, zones)
    entries = {whole: addresses, **{name: (one,) for name, one in zip(zonal, addresses, strict=True)}}
    if endpoint.private_dns:
        entries |= dict.fromkeys(service.dns_names(endpoint.region), addresses)
    return entries
