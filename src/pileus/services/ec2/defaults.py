"""What comes of itself: with an account in each region a default VPC and a set of DHCP options, with every VPC its main
route table, network ACL and security group. Called by the services and, when an account is made, by ``pileus.cmd``.
"""

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network

from msgspec.structs import replace

from pileus.base.ids import new_id
from pileus.catalogue import zones as catalogue_zones
from pileus.records import DhcpOptions, InternetGateway, NetworkAcl, RouteTable, SecurityGroup, Subnet, Vpc
from pileus.records.dns_names import private_domain
from pileus.records.network_acl import AclAssociation, AclEntry
from pileus.records.route_table import Route, RouteAssociation
from pileus.records.security_group import SecurityGroupRule, group_name_scope
from pileus.store import Transaction

DEFAULT_CIDR = "172.31.0.0/16"
SUBNET_PREFIX = 20


def create_default_vpc(tx: Transaction, account: str, region: str, zones: Sequence[str]) -> Vpc:
    """Makes the default VPC of an account in a region, with a subnet in each zone (names such as ``us-east-1a``)."""
    vpc = tx.put(
        Vpc(
            id=new_id("vpc"),
            account=account,
            region=region,
            cidrs=((new_id("vpc-cidr-assoc"), DEFAULT_CIDR),),
            dhcp_options_id=default_dhcp_options(tx, account, region).id,
            is_default=True,
            dns_hostnames=True,
        )
    )
    zone_ids: Mapping[str, str] = {zone.name: zone.id for zone in catalogue_zones(region)}
    gateway = tx.put(InternetGateway(id=new_id("igw"), account=account, region=region, vpc_id=vpc.id))
    create_network(tx, vpc, gateway.id)
    for zone, cidr in zip(zones, IPv4Network(DEFAULT_CIDR).subnets(new_prefix=SUBNET_PREFIX), strict=False):
        put_default_subnet(tx, vpc, str(cidr), zone, zone_ids[zone])
    return vpc


def put_default_subnet(tx: Transaction, vpc: Vpc, cidr: str, zone: str, zone_id: str) -> Subnet:
    """Makes a zone's default subnet."""
    return put_subnet(
        tx,
        Subnet(
            id=new_id("subnet"),
            account=vpc.account,
            region=vpc.region,
            vpc_id=vpc.id,
            cidr=cidr,
            zone=zone,
            zone_id=zone_id,
            default_for_az=True,
            map_public_ip_on_launch=True,
        ),
    )


def put_subnet(tx: Transaction, subnet: Subnet) -> Subnet:
    """Makes a subnet, behind the default network ACL of its VPC."""
    default = next(acl for acl in tx.list(NetworkAcl, vpc_id=subnet.vpc_id) if acl.is_default)
    association = AclAssociation(id=new_id("aclassoc"), subnet_id=subnet.id)
    tx.put(replace(default, associations=(*default.associations, association)))
    return tx.put(subnet)


def default_dhcp_options(tx: Transaction, account: str, region: str) -> DhcpOptions:
    """The DHCP options with which new VPCs begin, made anew where the account has deleted them."""
    for options in tx.list(DhcpOptions, account=account, region=region):
        if options.is_default:
            return options
    return tx.put(default_options(new_id("dopt"), account, region))


def default_options(id: str, account: str, region: str) -> DhcpOptions:  # noqa: A002 - the word for it
    """The cloud's own name server and the region's domain."""
    return DhcpOptions(
        id=id,
        account=account,
        region=region,
        options=(("domain-name", (private_domain(region),)), ("domain-name-servers", ("AmazonProvidedDNS",))),
        is_default=True,
    )


def create_network(tx: Transaction, vpc: Vpc, gateway_id: str | None = None) -> None:
    """What comes with every VPC: the main route table, the default network ACL and the default security group.

    With ``gateway_id``, everything that is not local goes to this internet gateway.
    """
    routes = [Route(destination=vpc.cidr, target="local", origin="CreateRouteTable")]
    if gateway_id:
        routes.append(Route(destination="0.0.0.0/0", target=gateway_id))
    tx.put(
        RouteTable(
            id=new_id("rtb"),
            account=vpc.account,
            region=vpc.region,
            vpc_id=vpc.id,
            routes=tuple(routes),
            associations=(RouteAssociation(id=new_id("rtbassoc")),),
        )
    )
    ipv6 = bool(vpc.ipv6_blocks)
    tx.put(
        NetworkAcl(
            id=new_id("acl"),
            account=vpc.account,
            region=vpc.region,
            vpc_id=vpc.id,
            is_default=True,
            entries=(*open_entries(ipv6=ipv6), *closing_entries(ipv6=ipv6)),
        )
    )
    group_id = new_id("sg")
    tx.claim(group_name_scope(vpc.id), "default", group_id)
    tx.put(
        SecurityGroup(
            id=group_id,
            account=vpc.account,
            region=vpc.region,
            vpc_id=vpc.id,
            name="default",
            description="default VPC security group",
            rules=(_from_itself(vpc, group_id), *default_egress(vpc)),
        )
    )


def open_entries(*, ipv6: bool) -> Iterator[AclEntry]:
    """What a default network ACL begins with: everything is let through, both ways."""
    for egress in (True, False):
        yield AclEntry(number=100, egress=egress, action="allow")
        if ipv6:
            yield AclEntry(number=101, egress=egress, action="allow", cidr=None, cidr6="::/0")


def closing_entries(*, ipv6: bool) -> Iterator[AclEntry]:
    """What every network ACL ends with: ``*`` denies the rest. ``ipv6``: whether its VPC has IPv6."""
    for egress in (True, False):
        yield AclEntry(number=32767, egress=egress, action="deny")
        if ipv6:
            yield AclEntry(number=32768, egress=egress, action="deny", cidr=None, cidr6="::/0")


def _from_itself(vpc: Vpc, group_id: str) -> SecurityGroupRule:
    return SecurityGroupRule(
        id=new_id("sgr"),
        account=vpc.account,
        region=vpc.region,
        egress=False,
        protocol="-1",
        from_port=-1,
        to_port=-1,
        group_id=group_id,
        group_account=vpc.account,
    )


def default_egress(vpc: Vpc) -> tuple[SecurityGroupRule, ...]:
    """The egress rules that every new group of a VPC has: everything out, by IPv6 too where the VPC has it."""
    ipv4 = everything_out(vpc.account, vpc.region)
    return (ipv4, everything_out(vpc.account, vpc.region, ipv6=True)) if vpc.ipv6_blocks else (ipv4,)


def everything_out(account: str, region: str, *, ipv6: bool = False) -> SecurityGroupRule:
    """The rule that lets everything of one address family out."""
    return SecurityGroupRule(
        id=new_id("sgr"),
        account=account,
        region=region,
        egress=True,
        protocol="-1",
        from_port=-1,
        to_port=-1,
        cidr=None if ipv6 else "0.0.0.0/0",
        cidr6="::/0" if ipv6 else None,
    )
