"""What an account may have of each kind of VPC resource: Amazon VPC's default quotas, with the error of each.

Values: https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html; codes:
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html. Used by every module that creates one.
"""

import msgspec

from pileus.services.ec2.errors import LimitExceeded


class Quota(msgspec.Struct, frozen=True):
    """At most ``value``; one more is refused with the error ``code``. ``what`` is for its message."""

    value: int
    code: str
    what: str

    def check(self, present: int, adding: int = 1) -> None:
        """Lets ``adding`` more join those that are ``present`` already. Raises LimitExceeded."""
        if present + adding > self.value:
            raise LimitExceeded(f"The maximum number of {self.what} has been reached: {self.value}.", code=self.code)


# Per region and account.
VPCS = Quota(5, "VpcLimitExceeded", "VPCs")
INTERNET_GATEWAYS = Quota(5, "InternetGatewayLimitExceeded", "internet gateways")
EGRESS_ONLY_GATEWAYS = Quota(5, "EgressOnlyInternetGatewayLimitExceeded", "egress-only internet gateways")
ELASTIC_IPS = Quota(5, "AddressLimitExceeded", "addresses")
NETWORK_INTERFACES = Quota(5000, "NetworkInterfaceLimitExceeded", "network interfaces")
SECURITY_GROUPS = Quota(2500, "SecurityGroupLimitExceeded", "security groups")
GATEWAY_ENDPOINTS = Quota(20, "VpcEndpointLimitExceeded", "gateway VPC endpoints")
PREFIX_LISTS = Quota(100, "PrefixListLimitExceeded", "prefix lists")
DHCP_OPTION_SETS = Quota(1000, "DhcpOptionsLimitExceeded", "DHCP option sets")

# Per VPC.
SUBNETS_PER_VPC = Quota(200, "SubnetLimitExceeded", "subnets")
IPV4_BLOCKS_PER_VPC = Quota(5, "CidrLimitExceeded", "IPv4 CIDR blocks of the VPC")
IPV6_BLOCKS_PER_VPC = Quota(5, "CidrLimitExceeded", "IPv6 CIDR blocks of the VPC")
ROUTE_TABLES_PER_VPC = Quota(200, "RouteTableLimitExceeded", "route tables")
NETWORK_ACLS_PER_VPC = Quota(200, "NetworkAclLimitExceeded", "network ACLs")
INTERFACE_ENDPOINTS_PER_VPC = Quota(50, "VpcEndpointLimitExceeded", "interface VPC endpoints of the VPC")
ACTIVE_PEERINGS_PER_VPC = Quota(
    50, "ActiveVpcPeeringConnectionPerVpcLimitExceeded", "active peering connections of the VPC"
)
OUTSTANDING_PEERINGS = Quota(
    25, "OutstandingVpcPeeringConnectionLimitExceeded", "outstanding peering connection requests"
)
CARRIER_GATEWAYS_PER_VPC = Quota(1, "CarrierGatewayLimitExceeded", "carrier gateways of the VPC")

# Per zone.
NAT_GATEWAYS_PER_ZONE = Quota(5, "NatGatewayLimitExceeded", "NAT gateways in the zone")

# Per resource.
ROUTES_PER_TABLE = Quota(500, "RouteLimitExceeded", "routes of one address family in the route table")
ACL_RULES_PER_DIRECTION = Quota(20, "NetworkAclEntryLimitExceeded", "network ACL entries in one direction")
RULES_PER_GROUP = Quota(60, "RulesPerSecurityGroupLimitExceeded", "rules per security group")
FLOW_LOGS_PER_RESOURCE = Quota(2, "FlowLogsLimitExceeded", "flow logs of the VPC, subnet or interface")
GROUPS_PER_INTERFACE = Quota(5, "SecurityGroupsPerInterfaceLimitExceeded", "security groups per interface")
