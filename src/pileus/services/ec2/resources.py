"""How EC2 names its resources: prefixes, parameters and the errors for ids that are malformed or not there."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

import msgspec

from pileus.operations.context import Context
from pileus.records import (
    Address,
    CarrierGateway,
    DhcpOptions,
    EgressOnlyGateway,
    FlowLog,
    Image,
    InsightsAnalysis,
    InsightsPath,
    Instance,
    InternetGateway,
    KeyPair,
    NatGateway,
    NetworkAcl,
    NetworkInterface,
    Peering,
    PrefixList,
    RouteTable,
    SecurityGroup,
    Snapshot,
    Subnet,
    SubnetReservation,
    Volume,
    Vpc,
    VpcEndpoint,
)
from pileus.records.tagged import Tagged
from pileus.services.ec2.errors import MalformedId, NotFound

R = TypeVar("R", bound=Tagged)

_HEX = re.compile(r"(?:[0-9a-f]{8}|[0-9a-f]{17})")


class Resource(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """One resource type.

    Attributes:
        type: as in tags and ARNs, e.g. ``security-group``. prefix: of its ids, without the dash.
        code: the family of its errors, e.g. ``InvalidVpcID``; ``malformed`` and ``absent`` where those codes differ.
        missing: the message for one id that is not there; ``missing_many`` for several, else the first is named.
    """

    kind: type[R]
    type: str
    prefix: str
    code: str
    missing: str
    malformed: str | None = None
    absent: str | None = None
    missing_many: str | None = None

    def check(self, id: str) -> None:  # noqa: A002 - the word for it
        """Raises MalformedId unless this looks like an id of the resource."""
        prefix, dash, digits = id.partition("-")
        if prefix != self.prefix or not dash or not _HEX.fullmatch(digits):
            code = self.malformed or f"{self.code}.Malformed"
            raise MalformedId(f'Invalid id: "{id}" (expecting "{self.prefix}-...")', code=code)

    def find(self, context: Context, ids: Sequence[str]) -> list[R]:
        """The caller's records of these ids, in this region.

        Raises:
            MalformedId: one of them is no id of this resource.
            NotFound: one of them is not there, or is another account's: EC2 does not tell which.
        """
        return find_visible(self, context, ids, lambda record: record.account == context.account)

    def one(self, context: Context, id: str) -> R:  # noqa: A002
        """The caller's record of this id; errors as ``find``."""
        return self.find(context, [id])[0]

    def not_found(self, ids: Sequence[str]) -> NotFound:
        """The error for ids that are not there."""
        template = self.missing_many if len(ids) > 1 and self.missing_many else self.missing
        named = ", ".join(ids) if template is self.missing_many else ids[0]
        return NotFound(template.format(named), code=self.absent or f"{self.code}.NotFound")


def find_visible(resource: Resource[R], context: Context, ids: Iterable[str], visible: Callable[[R], bool]) -> list[R]:
    """Like ``Resource.find`` for resources that others may see too."""
    found: list[R] = []
    missing: list[str] = []
    for id_ in ids:
        resource.check(id_)
        record = context.view.get(resource.kind, id_)
        if record is None or record.region != context.region or not visible(record):
            missing.append(id_)
        else:
            found.append(record)
    if missing:
        raise resource.not_found(missing)
    return found


ADDRESS = Resource(
    kind=Address,
    type="elastic-ip",
    prefix="eipalloc",
    code="InvalidAllocationID",
    missing="The allocation ID '{}' does not exist",
    missing_many="The allocation IDs '{}' do not exist",
)
CARRIER_GATEWAY = Resource(
    kind=CarrierGateway,
    type="carrier-gateway",
    prefix="cagw",
    code="InvalidCarrierGatewayID",
    missing="The carrier gateway ID '{}' does not exist",
)
DHCP_OPTIONS = Resource(
    kind=DhcpOptions,
    type="dhcp-options",
    prefix="dopt",
    code="InvalidDhcpOptionID",
    malformed="InvalidDhcpOptionsId.Malformed",
    missing="The dhcpOption ID '{}' does not exist",
)
EGRESS_ONLY_GATEWAY = Resource(
    kind=EgressOnlyGateway,
    type="egress-only-internet-gateway",
    prefix="eigw",
    code="InvalidGatewayID",
    missing="The eigw ID '{}' does not exist",
)
FLOW_LOG = Resource(
    kind=FlowLog,
    type="vpc-flow-log",
    prefix="fl",
    code="InvalidFlowLogId",
    missing="These flow log ids in the input list are not found: [TotalCount: 1] {}",
)
IMAGE = Resource(
    kind=Image,
    type="image",
    prefix="ami",
    code="InvalidAMIID",
    missing="The image id '[{}]' does not exist",
    missing_many="The image ids '[{}]' do not exist",
)
INSTANCE = Resource(
    kind=Instance,
    type="instance",
    prefix="i",
    code="InvalidInstanceID",
    missing="The instance ID '{}' does not exist",
    missing_many="The instance IDs '{}' do not exist",
)
INTERNET_GATEWAY = Resource(
    kind=InternetGateway,
    type="internet-gateway",
    prefix="igw",
    code="InvalidInternetGatewayID",
    missing="The internetGateway ID '{}' does not exist",
)
KEY_PAIR = Resource(
    kind=KeyPair, type="key-pair", prefix="key", code="InvalidKeyPair", missing="The key pair ID '{}' does not exist"
)
NAT_GATEWAY = Resource(
    kind=NatGateway,
    type="natgateway",
    prefix="nat",
    code="NatGateway",
    malformed="NatGatewayMalformed",
    absent="NatGatewayNotFound",
    missing="NAT gateway {} was not found",
)
NETWORK_ACL = Resource(
    kind=NetworkAcl,
    type="network-acl",
    prefix="acl",
    code="InvalidNetworkAclID",
    missing="The networkAcl ID '{}' does not exist",
)
NETWORK_INSIGHTS_ANALYSIS = Resource(
    kind=InsightsAnalysis,
    type="network-insights-analysis",
    prefix="nia",
    code="InvalidNetworkInsightsAnalysisId",
    missing="The networkInsightsAnalysis ID '{}' does not exist",
)
NETWORK_INSIGHTS_PATH = Resource(
    kind=InsightsPath,
    type="network-insights-path",
    prefix="nip",
    code="InvalidNetworkInsightsPathId",
    missing="The networkInsightsPath ID '{}' does not exist",
)
NETWORK_INTERFACE = Resource(
    kind=NetworkInterface,
    type="network-interface",
    prefix="eni",
    code="InvalidNetworkInterfaceID",
    malformed="InvalidNetworkInterfaceId.Malformed",
    missing="The networkInterface ID '{}' does not exist",
)
PEERING = Resource(
    kind=Peering,
    type="vpc-peering-connection",
    prefix="pcx",
    code="InvalidVpcPeeringConnectionID",
    malformed="InvalidVpcPeeringConnectionId.Malformed",
    missing="The vpcPeeringConnection ID '{}' does not exist",
)
PREFIX_LIST = Resource(
    kind=PrefixList,
    type="prefix-list",
    prefix="pl",
    code="InvalidPrefixListID",
    malformed="InvalidPrefixListId.Malformed",
    missing="The prefix list ID '{}' does not exist",
)
ROUTE_TABLE = Resource(
    kind=RouteTable,
    type="route-table",
    prefix="rtb",
    code="InvalidRouteTableID",
    malformed="InvalidRouteTableId.Malformed",
    missing="The routeTable ID '{}' does not exist",
)
SECURITY_GROUP = Resource(
    kind=SecurityGroup,
    type="security-group",
    prefix="sg",
    code="InvalidGroup",
    malformed="InvalidGroupId.Malformed",
    missing="The security group '{}' does not exist",
)
SNAPSHOT = Resource(
    kind=Snapshot,
    type="snapshot",
    prefix="snap",
    code="InvalidSnapshot",
    malformed="InvalidSnapshotID.Malformed",
    missing="The snapshot '{}' does not exist.",
)
SUBNET = Resource(
    kind=Subnet,
    type="subnet",
    prefix="subnet",
    code="InvalidSubnetID",
    missing="The subnet ID '{}' does not exist",
    missing_many="The subnet IDs '{}' do not exist",
)
SUBNET_RESERVATION = Resource(
    kind=SubnetReservation,
    type="subnet-cidr-reservation",
    prefix="scr",
    code="InvalidSubnetCidrReservationID",
    missing="The subnet-cidr-reservation ID '{}' does not exist",
)
VOLUME = Resource(
    kind=Volume,
    type="volume",
    prefix="vol",
    code="InvalidVolume",
    malformed="InvalidVolumeID.Malformed",
    missing="The volume '{}' does not exist.",
)
VPC = Resource(
    kind=Vpc,
    type="vpc",
    prefix="vpc",
    code="InvalidVpcID",
    missing="The vpc ID '{}' does not exist",
    missing_many="The vpc IDs '{}' do not exist",
)
VPC_ENDPOINT = Resource(
    kind=VpcEndpoint,
    type="vpc-endpoint",
    prefix="vpce",
    code="InvalidVpcEndpointId",
    missing="The Vpc Endpoint Id '{}' does not exist",
)

RESOURCES: tuple[Resource[Tagged], ...] = (  # pyright: ignore[reportAssignmentType] - covariant, but msgspec can't say it
    ADDRESS,
    CARRIER_GATEWAY,
    DHCP_OPTIONS,
    EGRESS_ONLY_GATEWAY,
    FLOW_LOG,
    IMAGE,
    INSTANCE,
    INTERNET_GATEWAY,
    KEY_PAIR,
    NAT_GATEWAY,
    NETWORK_ACL,
    NETWORK_INSIGHTS_ANALYSIS,
    NETWORK_INSIGHTS_PATH,
    NETWORK_INTERFACE,
    PEERING,
    PREFIX_LIST,
    ROUTE_TABLE,
    SECURITY_GROUP,
    SNAPSHOT,
    SUBNET,
    SUBNET_RESERVATION,
    VOLUME,
    VPC,
    VPC_ENDPOINT,
)
"""All of them: what CreateTags and DescribeTags know."""
