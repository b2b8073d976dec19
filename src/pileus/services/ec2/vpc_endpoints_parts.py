"""What VPC endpoints are made of: routes in tables for gateway endpoints, interfaces in subnets for the others."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.operations.context import Context
from pileus.records import NetworkInterface, RouteTable, SecurityGroup, Subnet, Vpc, VpcEndpoint
from pileus.records.route_table import Route
from pileus.services.ec2.cloud_prefix_lists import s3_prefix_list_id
from pileus.services.ec2.errors import InvalidParameter, InvalidParameterValue, Unsupported
from pileus.services.ec2.interface_addresses import Wanted, ipv4
from pileus.services.ec2.interface_creation import AMAZON, make_interface
from pileus.services.ec2.prefix_lists_weights import route_weights
from pileus.services.ec2.resources import ROUTE_TABLE, SECURITY_GROUP, SUBNET
from pileus.services.ec2.routes import RouteAlreadyExists
from pileus.services.ec2.security_groups import group_named
from pileus.services.ec2.vpc_quotas import GROUPS_PER_INTERFACE, ROUTES_PER_TABLE


class DuplicateSubnetsInSameZone(ServiceError):
    """An endpoint has one subnet in a zone at most."""

    code = "DuplicateSubnetsInSameZone"


def check_dns_options(params: Mapping[str, Any]) -> None:
    """Raises Unsupported for addresses and names other than IPv4."""
    if params.get("IpAddressType", "ipv4") != "ipv4":
        raise Unsupported("The parameter ipAddressType: endpoints have IPv4 addresses only in this cloud.")
    options = params.get("DnsOptions", {})
    if options.get("DnsRecordIpType", "ipv4") not in {"ipv4", "service-defined"}:
        raise Unsupported("The parameter dnsOptions.dnsRecordIpType: endpoints have IPv4 names only in this cloud.")
    if options.get("PrivateDnsOnlyForInboundResolverEndpoint"):
        raise Unsupported(
            "The parameter dnsOptions.privateDnsOnlyForInboundResolverEndpoint: there are no inbound resolver endpoints "
            "in this cloud."
        )


def check_private_dns(context: Context, vpc: Vpc, endpoint: VpcEndpoint) -> None:
    """Raises InvalidParameter when the service's own names can't mean the endpoint in its VPC."""
    if not (vpc.dns_support and vpc.dns_hostnames):
        raise InvalidParameter(
            "Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to true "
            f"for {vpc.id}"
        )
    for other in context.tx.list(VpcEndpoint, vpc_id=vpc.id):
        taken = other.private_dns and other.service_name == endpoint.service_name and other.state != "deleting"
        if taken and other.id != endpoint.id:
            raise InvalidParameter(
                "private-dns-enabled cannot be set because there is already a conflicting DNS domain for "
                f"{endpoint.service_name} in the VPC {vpc.id}: {other.id} has it."
            )


def endpoint_tables(context: Context, vpc: Vpc, ids: Sequence[str]) -> list[RouteTable]:
    """The route tables of the VPC that a call names. Raises NotFound, InvalidParameter."""
    tables: list[RouteTable] = ROUTE_TABLE.find(context, list(dict.fromkeys(ids)))
    for table in tables:
        if table.vpc_id != vpc.id:
            raise InvalidParameter(f"The route table {table.id} does not belong to the VPC {vpc.id}")
    return tables


def add_routes(context: Context, endpoint: VpcEndpoint, tables: Sequence[RouteTable]) -> VpcEndpoint:
    """The gateway endpoint with routes to it in further tables. Raises RouteAlreadyExists, LimitExceeded."""
    destination = s3_prefix_list_id(endpoint.region)
    for table in tables:
        if destination in table.prefix_lists:
            raise RouteAlreadyExists(
                f"route table {table.id} already has a route with destination-prefix-list-id {destination}"
            )
        ROUTES_PER_TABLE.check(route_weights(context, table, "IPv4"))
        route = Route(destination=destination, target=endpoint.id)
        context.tx.put(replace(table, routes=(*table.routes, route)))
    return replace(endpoint, route_table_ids=(*endpoint.route_table_ids, *(table.id for table in tables)))


def remove_routes(context: Context, endpoint: VpcEndpoint, table_ids: Sequence[str]) -> VpcEndpoint:
    """The gateway endpoint without its routes in these tables."""
    for id_ in table_ids:
        table = context.tx.get(RouteTable, id_)
        if table is not None:
            context.tx.put(replace(table, routes=tuple(one for one in table.routes if one.target != endpoint.id)))
    left = tuple(id_ for id_ in endpoint.route_table_ids if id_ not in table_ids)
    return replace(endpoint, route_table_ids=left)


def endpoint_groups(context: Context, vpc: Vpc, ids: Sequence[str]) -> tuple[str, ...]:
    """The groups of an endpoint's interfaces: the VPC's default one where none is named. Raises NotFound and others."""
    groups: list[SecurityGroup] = SECURITY_GROUP.find(context, list(dict.fromkeys(ids)))
    for group in groups:
        if group.vpc_id != vpc.id:
            raise InvalidParameter(f"The security group {group.id} does not belong to the VPC {vpc.id}")
    GROUPS_PER_INTERFACE.check(0, len(groups))
    return tuple(group.id for group in groups) or (group_named(context, "default", vpc.id).id,)


def add_subnets(
    context: Context,
    endpoint: VpcEndpoint,
    subnet_ids: Sequence[str],
    configurations: Sequence[Mapping[str, Any]] = (),
) -> VpcEndpoint:
    """The interface endpoint with an interface in each of further subnets, which are of different zones.

    ``configurations`` name the address in a subnet. Raises NotFound, InvalidParameter, DuplicateSubnetsInSameZone, and what
    making an interface raises.
    """
    wanted = _configured(configurations)
    ids = list(dict.fromkeys([*subnet_ids, *wanted]))
    subnets: list[Subnet] = SUBNET.find(context, [id_ for id_ in ids if id_ not in endpoint.subnet_ids])
    present = (context.tx.get(Subnet, id_) for id_ in endpoint.subnet_ids)
    zones = {subnet.zone for subnet in present if subnet is not None}
    for subnet in subnets:
        if subnet.vpc_id != endpoint.vpc_id:
            raise InvalidParameter(f"The subnet ID {subnet.id} does not belong to the VPC {endpoint.vpc_id}")
        if subnet.zone in zones:
            raise DuplicateSubnetsInSameZone(
                f"Found another VPC endpoint subnet in the availability zone of {subnet.id}. VPC endpoint subnets should "
                "be in different availability zones supported by the VPC endpoint service."
            )
        zones.add(subnet.zone)
    known = {interface.subnet_id: interface.id for interface in _interfaces(context, endpoint)}
    made = tuple(
        make_interface(
            context,
            subnet,
            wanted=Wanted(primary=wanted.get(subnet.id)),
            groups=endpoint.groups,
            description=f"VPC Endpoint Interface {endpoint.id}",
            interface_type="vpc_endpoint",
            requester_id=AMAZON,
        ).id
        for subnet in subnets
        if subnet.id not in known
    )
    return replace(
        endpoint,
        subnet_ids=(*endpoint.subnet_ids, *(subnet.id for subnet in subnets)),
        interface_ids=(*endpoint.interface_ids, *made),
    )


def _configured(configurations: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    """The IPv4 address that is wanted in each subnet. Raises InvalidParameterValue, Unsupported."""
    wanted: dict[str, str | None] = {}
    for one in configurations:
        if one.get("Ipv6"):
            raise Unsupported(
                "The parameter subnetConfigurations.ipv6: endpoints have IPv4 addresses only in this cloud."
            )
        if not one.get("SubnetId"):
            raise InvalidParameterValue("Each of the parameter subnetConfigurations must have a subnetId.")
        wanted[str(one["SubnetId"])] = ipv4(str(one["Ipv4"])) if one.get("Ipv4") else None
    return wanted


def _interfaces(context: Context, endpoint: VpcEndpoint) -> list[NetworkInterface]:
    found = (context.tx.get(NetworkInterface, name) for name in endpoint.interface_ids)
    return [interface for interface in found if interface is not None]


def set_groups(context: Context, endpoint: VpcEndpoint, groups: tuple[str, ...]) -> VpcEndpoint:
    """The endpoint whose interfaces are in these groups."""
    for interface in _interfaces(context, endpoint):
        context.tx.put(replace(interface, groups=groups))
    return replace(endpoint, groups=groups)
