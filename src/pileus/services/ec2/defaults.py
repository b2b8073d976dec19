"""What an account finds in each region from the start: the default VPC with a subnet per zone, its internet gateway, main
route table, network ACL and default security group. Called by ``pileus.cmd`` when an account is made.
"""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network

from pileus.base.ids import new_id
from pileus.catalogue import zones as catalogue_zones
from pileus.records import InternetGateway, NetworkAcl, RouteTable, SecurityGroup, Subnet, Vpc
from pileus.records.network_acl import AclAssociation, AclEntry
from pileus.records.route_table import Route, RouteAssociation
from pileus.records.security_group import SecurityGroupRule, group_name_scope
from pileus.store import Transaction

DEFAULT_CIDR = "172.31.0.0/16"
_SUBNET_PREFIX = 20


def create_default_vpc(tx: Transaction, account: str, region: str, zones: Sequence[str]) -> Vpc:
    """Makes the default VPC of an account in a region, with a subnet in each zone (names such as ``us-east-1a``)."""
    vpc = tx.put(
        Vpc(
            id=new_id("vpc"),
            account=account,
            region=region,
            cidrs=((new_id("vpc-cidr-assoc"), DEFAULT_CIDR),),
            dhcp_options_id=new_id("dopt"),
            is_default=True,
            dns_hostnames=True,
        )
    )
    zone_ids: Mapping[str, str] = {zone.name: zone.id for zone in catalogue_zones(region)}
    subnets = [
        tx.put(
            Subnet(
                id=new_id("subnet"),
                account=account,
                region=region,
                vpc_id=vpc.id,
                cidr=str(cidr),
                zone=zone,
                zone_id=zone_ids[zone],
                default_for_az=True,
                map_public_ip_on_launch=True,
            )
        )
        for zone, cidr in zip(zones, IPv4Network(DEFAULT_CIDR).subnets(new_prefix=_SUBNET_PREFIX), strict=False)
    ]
    gateway = tx.put(InternetGateway(id=new_id("igw"), account=account, region=region, vpc_id=vpc.id))
    create_network(tx, vpc, subnets, gateway.id)
    return vpc


def create_network(tx: Transaction, vpc: Vpc, subnets: Sequence[Subnet], gateway_id: str | None) -> None:
    """What comes with every VPC: the main route table, the default network ACL and the default security group."""
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
    tx.put(
        NetworkAcl(
            id=new_id("acl"),
            account=vpc.account,
            region=vpc.region,
            vpc_id=vpc.id,
            is_default=True,
            entries=tuple(
                entry
                for egress in (True, False)
                for entry in (
                    AclEntry(number=100, egress=egress, action="allow"),
                    AclEntry(number=32767, egress=egress, action="deny"),
                )
            ),
            associations=tuple(AclAssociation(id=new_id("aclassoc"), subnet_id=subnet.id) for subnet in subnets),
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
            rules=(_from_itself(vpc, group_id), everything_out(vpc.account, vpc.region)),
        )
    )


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


def everything_out(account: str, region: str) -> SecurityGroupRule:
    """The egress rule that every new group has."""
    return SecurityGroupRule(
        id=new_id("sgr"),
        account=account,
        region=region,
        egress=True,
        protocol="-1",
        from_port=-1,
        to_port=-1,
        cidr="0.0.0.0/0",
    )
