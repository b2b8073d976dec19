"""The networking of a host, computed from the records."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_network
from typing import Literal

from pileus.base.config import Config, RegionConfig, api_address, s3_address
from pileus.controllers.reading import Reading
from pileus.controllers.vpc_names import dhcp, endpoint_service, hosts_of, names_of
from pileus.hostapi.network_spec import (
    AclEntrySpec,
    AclSpec,
    AddressSpec,
    CaptureSpec,
    EndpointSpec,
    GroupSpec,
    InterfaceSpec,
    NatGatewaySpec,
    NetworkSpec,
    PeeringSpec,
    PoolSpec,
    PrefixListSpec,
    PublicDomainSpec,
    RouteSpec,
    RouteTableSpec,
    RuleSpec,
    ServiceSpec,
    SubnetSpec,
    VpcSpec,
)
from pileus.records import (
    CarrierGateway,
    FlowLog,
    Instance,
    InternetGateway,
    NatGateway,
    NetworkInterface,
    Peering,
    PrefixList,
    SecurityGroup,
    Subnet,
    Vpc,
    VpcEndpoint,
)
from pileus.records.dns_names import private_domain, public_domain
from pileus.records.instance import State
from pileus.records.network_acl import AclEntry, NetworkAcl
from pileus.records.route_table import RouteTable
from pileus.records.routing import network_acl_of, route_kind, route_table_of, routes_of
from pileus.records.security_group import SecurityGroupRule, is_stale

_NETWORKED = frozenset({State.PENDING, State.RUNNING, State.STOPPING, State.SHUTTING_DOWN})


def network_spec(view: Reading, host_id: str, config: Config) -> NetworkSpec:
    """Everything that has interfaces of the host's guests: their VPCs whole, and peerings between those."""
    interfaces = view.part(f"interfaces/{host_id}", lambda view: _interfaces(view, host_id))
    vpc_ids = sorted(interfaces)
    return NetworkSpec(
        pools=tuple(dict.fromkeys(pool for region in config.regions for pool in _pools(region))),
        ipv6_pools=tuple(dict.fromkeys(region.ipv6_pool for region in config.regions)),
        services=tuple(service for region in config.regions for service in _services(region)),
        vpcs=tuple(
            view.part(
                f"network/{host_id}/{vpc_id}",
                lambda view, vpc_id=vpc_id: _vpc(view, host_id, vpc_id, config),
            )
            for vpc_id in vpc_ids
        ),
        peerings=view.part(f"peerings/{host_id}", lambda view: _peerings(view, host_id)),
    )


def _pools(region: RegionConfig) -> Iterator[PoolSpec]:
    for cidr in (*region.public_pool, *region.carrier_pool):
        yield PoolSpec(cidr=cidr, announce=region.announce)


def _services(region: RegionConfig) -> Iterator[ServiceSpec]:
    yield ServiceSpec(service="api", address=api_address(region))
    yield ServiceSpec(service="s3", address=s3_address(region))


def _interfaces(view: Reading, host_id: str) -> Mapping[str, tuple[str, ...]]:
    """The ids of the interfaces of the host's guests by VPC."""
    by_vpc: dict[str, list[str]] = {}
    for instance in view.list(Instance, host_id=host_id):
        if instance.state in _NETWORKED:
            for interface in view.list(NetworkInterface, instance_id=instance.id):
                by_vpc.setdefault(interface.vpc_id, []).append(interface.id)
    return {vpc_id: tuple(sorted(ids)) for vpc_id, ids in by_vpc.items()}


def _peerings(view: Reading, host_id: str) -> tuple[PeeringSpec, ...]:
    found: dict[str, PeeringSpec] = {}
    here = frozenset(view.part(f"interfaces/{host_id}", lambda view: _interfaces(view, host_id)))
    for vpc_id in here:
        for peering in view.list(Peering, vpc_ids=vpc_id):
            if peering.state == "active" and here.issuperset(peering.vpc_ids):
                requester, accepter = peering.vpc_ids
                found[peering.id] = PeeringSpec(peering_id=peering.id, requester=requester, accepter=accepter)
    return tuple(found[name] for name in sorted(found))


def _vpc(view: Reading, host_id: str, vpc_id: str, config: Config) -> VpcSpec:
    vpc = view.get(Vpc, vpc_id)
    assert vpc is not None, f"{vpc_id} is gone, but has interfaces"
    here = view.part(f"interfaces/{host_id}", lambda view: _interfaces(view, host_id)).get(vpc_id, ())
    nats = [nat for nat in view.list(NatGateway, vpc_id=vpc_id) if nat.state == "available"]
    endpoints = [
        endpoint
        for endpoint in view.list(VpcEndpoint, vpc_id=vpc_id)
        if endpoint.state == "available" and endpoint.endpoint_type == "Interface"
    ]
    managed = {nat.interface_id for nat in nats}
    managed |= {interface_id for endpoint in endpoints for interface_id in endpoint.interface_ids}
    interfaces = tuple(
        view.part(f"interface/{one}", lambda view, one=one: _interface(view, one)) for one in sorted({*here, *managed})
    )
    subnets = [subnet for name in sorted({one.subnet for one in interfaces}) if (subnet := view.get(Subnet, name))]
    tables = {subnet.id: route_table_of(view, subnet) for subnet in subnets}
    acls = {subnet.id: network_acl_of(view, subnet.id) for subnet in subnets}
    groups = tuple(_groups(view, interfaces))
    return VpcSpec(
        vpc_id=vpc.id,
        cidrs=tuple(cidr for _, cidr in vpc.cidrs),
        ipv6_cidrs=vpc.ipv6_cidrs,
        domain=private_domain(vpc.region),
        dhcp=dhcp(view, vpc),
        dns=vpc.dns_support,
        subnets=tuple(_subnet(subnet, tables[subnet.id], acls[subnet.id]) for subnet in subnets),
        route_tables=tuple(
            _route_table(view, vpc, table) for table in {table.id: table for table in tables.values()}.values()
        ),
        acls=tuple(_acl(acl) for acl in {acl.id: acl for acl in acls.values()}.values()),
        groups=groups,
        prefix_lists=tuple(_prefix_lists(view, groups)),
        interfaces=interfaces,
        internet=bool(view.list(InternetGateway, vpc_id=vpc_id)),
        carrier=bool(view.list(CarrierGateway, vpc_id=vpc_id)),
        nat_gateways=tuple(NatGatewaySpec(nat_gateway_id=nat.id, interface_id=nat.interface_id) for nat in nats),
        endpoints=tuple(
            EndpointSpec(
                endpoint_id=endpoint.id,
                service=endpoint_service(endpoint.service_name),
                interfaces=endpoint.interface_ids,
            )
            for endpoint in endpoints
        ),
        hosts=hosts_of(view, vpc, config),
        public_domains=tuple(
            PublicDomainSpec(domain=public_domain(region.name), cidr=cidr)
            for region in config.regions
            for cidr in region.public_pool
        ),
        captures=tuple(_captures(view, vpc, interfaces)),
    )


def _subnet(subnet: Subnet, table: RouteTable, acl: NetworkAcl) -> SubnetSpec:
    return SubnetSpec(
        subnet_id=subnet.id,
        cidr=subnet.cidr,
        ipv6_cidr=subnet.ipv6_block.cidr if subnet.ipv6_block else None,
        route_table=table.id,
        acl=acl.id,
    )


def _route_table(view: Reading, vpc: Vpc, table: RouteTable) -> RouteTableSpec:
    """The table with prefix lists spelled out. Where a route of one list has a CIDR of another, an exact one wins."""
    routes: dict[str, RouteSpec] = {}
    for route in sorted(routes_of(view, table), key=lambda route: not route.destination.startswith("pl-")):
        kind = route_kind(view, vpc.id, route.target)
        for cidr in _destinations(view, route.destination):
            routes[cidr] = RouteSpec(destination=cidr, kind=kind, target="" if kind == "local" else route.target)
    return RouteTableSpec(route_table_id=table.id, routes=tuple(routes[cidr] for cidr in sorted(routes)))


def _destinations(view: Reading, destination: str) -> Sequence[str]:
    if not destination.startswith("pl-"):
        return (destination,)
    prefix_list = view.get(PrefixList, destination)
    return prefix_list.cidrs if prefix_list is not None else ()


def _acl(acl: NetworkAcl) -> AclSpec:
    ordered = sorted(acl.entries, key=lambda entry: entry.number)
    return AclSpec(
        acl_id=acl.id,
        ingress=tuple(_acl_entry(entry) for entry in ordered if not entry.egress),
        egress=tuple(_acl_entry(entry) for entry in ordered if entry.egress),
    )


def _acl_entry(entry: AclEntry) -> AclEntrySpec:
    return AclEntrySpec(
        allow=entry.action == "allow",
        protocol=_NAMED.get(entry.protocol, entry.protocol),
        cidr=entry.cidr6 or entry.cidr or "0.0.0.0/0",
        from_port=entry.from_port,
        to_port=entry.to_port,
    )


_NAMED = {"1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6"}


def _groups(view: Reading, interfaces: Iterable[InterfaceSpec]) -> Iterator[GroupSpec]:
    """The groups of these interfaces with their rules, and those that the rules name with their members."""
    own = {group_id for interface in interfaces for group_id in interface.groups}
    groups = {group_id: view.get(SecurityGroup, group_id) for group_id in own}
    in_force = {
        group.id: tuple(rule for rule in group.rules if not is_stale(view, rule)) for group in groups.values() if group
    }
    named = {rule.group_id for rules in in_force.values() for rule in rules if rule.group_id}
    for group_id in sorted(own | named):
        rules = in_force.get(group_id, ())
        yield GroupSpec(
            group_id=group_id,
            ingress=tuple(_rule(rule) for rule in rules if not rule.egress),
            egress=tuple(_rule(rule) for rule in rules if rule.egress),
            members=view.part(f"members/{group_id}", lambda view, group_id=group_id: _members(view, group_id))
            if group_id in named
            else (),
        )


def _members(view: Reading, group_id: str) -> tuple[str, ...]:
    """Every address of those in the group, whichever account and VPC they are in."""
    return tuple(
        sorted(
            address
            for interface in view.list(NetworkInterface, groups=group_id)
            if interface.attachment or interface.requester_id
            for address in (*interface.private_addresses, *interface.ipv4_prefixes, *interface.ipv6_prefixes)
        )
    )


def _rule(rule: SecurityGroupRule) -> RuleSpec:
    return RuleSpec(
        protocol=rule.protocol,
        from_port=rule.from_port,
        to_port=rule.to_port,
        cidr=rule.cidr or rule.cidr6,
        group=rule.group_id,
        prefix_list=rule.prefix_list_id,
    )


def _prefix_lists(view: Reading, groups: Iterable[GroupSpec]) -> Iterator[PrefixListSpec]:
    named = {rule.prefix_list for group in groups for rule in (*group.ingress, *group.egress) if rule.prefix_list}
    for name in sorted(named):
        prefix_list = view.get(PrefixList, name)
        cidrs = prefix_list.cidrs if prefix_list is not None else ()
        yield PrefixListSpec(prefix_list_id=name, cidrs=tuple(sorted(cidrs, key=ip_network_key)))


def ip_network_key(cidr: str) -> tuple[int, int, int]:
    """Sorts CIDRs by family, address and length."""
    network = ip_network(cidr)
    return network.version, int(network.network_address), network.prefixlen


def _interface(view: Reading, interface_id: str) -> InterfaceSpec:
    interface = view.get(NetworkInterface, interface_id)
    assert interface is not None, f"{interface_id} was just there"
    vpc = view.get(Vpc, interface.vpc_id)
    assert vpc is not None, f"{interface.id} is in a VPC that is gone"
    named = names_of(view, vpc, interface)
    return InterfaceSpec(
        interface_id=interface.id,
        kind=_KINDS.get(interface.interface_type, "guest"),
        mac=interface.mac,
        subnet=interface.subnet_id,
        addresses=tuple(
            AddressSpec(
                address=one.address,
                public=one.public,
                names=named.private.get(one.address, ()),
                public_names=named.public.get(one.address, ()),
            )
            for one in interface.addresses
        ),
        ipv6=interface.ipv6_addresses,
        ipv6_names=named.ipv6,
        prefixes=(*interface.ipv4_prefixes, *interface.ipv6_prefixes),
        groups=interface.groups,
        hostname=named.hostname,
        source_dest_check=interface.source_dest_check,
    )


_KINDS: Mapping[str, Literal["nat", "endpoint"]] = {"nat_gateway": "nat", "vpc_endpoint": "endpoint"}


def _captures(view: Reading, vpc: Vpc, interfaces: Iterable[InterfaceSpec]) -> Iterator[CaptureSpec]:
    for interface in interfaces:
        logs = [
            log
            for resource in (vpc.id, interface.subnet, interface.interface_id)
            for log in view.list(FlowLog, resource_id=resource)
        ]
        if logs:
            yield CaptureSpec(
                interface_id=interface.interface_id,
                accepted=any(log.traffic != "REJECT" for log in logs),
                rejected=any(log.traffic != "ACCEPT" for log in logs),
            )
