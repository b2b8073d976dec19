"""The request limits that EC2 documents, as data for ``pileus.gateway.throttle``.

Source: Amazon EC2 Developer Guide, "Request throttling for the Amazon EC2 API", its tables of request token and resource token
buckets.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec


class Rate(NamedTuple):
    """A token bucket: how many tokens it holds, and how many flow in per second."""

    capacity: float
    refill: float


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """One table of limits. Every action has buckets of its own; the category only gives their size.

    Attributes:
        unfiltered_actions: those that draw on a smaller bucket when asked for everything (no filter, no page size).
        own: actions with sizes of their own. resources: per instance instead of per request, besides the request bucket.
    """

    non_mutating: Rate
    unfiltered: Rate
    console: Rate
    mutating: Rate
    resource_intensive: Rate
    unfiltered_actions: frozenset[str]
    resource_intensive_actions: frozenset[str]
    own: Mapping[str, Rate]
    resources: Mapping[str, Rate]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _table(rows: Iterable[tuple[float, float, str]]) -> dict[str, Rate]:
    return {action: Rate(capacity, refill) for capacity, refill, actions in rows for action in actions.split()}


EC2 = Limits(
    non_mutating=Rate(100, 20),
    unfiltered=Rate(50, 10),
    console=Rate(100, 10),
    mutating=Rate(50, 5),
    resource_intensive=Rate(50, 5),
    unfiltered_actions=_names(
        "DescribeInstances DescribeInstanceStatus DescribeNetworkInterfaces DescribeSecurityGroups DescribeSnapshots "
        "DescribeSpotInstanceRequests DescribeVolumes"
    ),
    resource_intensive_actions=_names(
        "AcceptVpcPeeringConnection AuthorizeSecurityGroupIngress CancelSpotInstanceRequests CreateKeyPair "
        "CreateVpcPeeringConnection DeleteVpcPeeringConnection RejectVpcPeeringConnection RequestSpotInstances "
        "RevokeSecurityGroupIngress"
    ),
    own=_table(
        [
            (1, 0.1, "AdvertiseByoipCidr DeprovisionByoipCidr ProvisionByoipCidr WithdrawByoipCidr"),
            (1, 0.1, "DisableImageBlockPublicAccess DisableSnapshotBlockPublicAccess"),
            (1, 0.1, "EnableImageBlockPublicAccess EnableSnapshotBlockPublicAccess"),
            (1, 0.5, "AssociateCapacityReservationBillingOwner DisassociateCapacityReservationBillingOwner"),
            (1, 0.5, "DescribeByoipCidrs"),
            (1, 1, "CancelDeclarativePoliciesReport CreateDefaultSubnet CreateDefaultVpc DescribeInstanceTopology"),
            (1, 1, "DescribeMovingAddresses MoveAddressToVpc RestoreAddressToClassic StartDeclarativePoliciesReport"),
            (2, 2, "ModifyInstanceMetadataDefaults"),
            (4, 0.3, "CreateVpcEndpoint DeleteVpcEndpoints ModifyVpcEndpoint"),
            (5, 1, "CreateCoipCidr CreateCoipPool CreateSubnetCidrReservation DeleteCoipCidr DeleteCoipPool"),
            (5, 1, "DeleteSubnetCidrReservation"),
            (5, 2, "RunInstances StartInstances"),
            (5, 2, "AuthorizeClientVpnIngress CreateClientVpnRoute DeleteClientVpnRoute RevokeClientVpnIngress"),
            (5, 2, "DescribeHostReservations DescribeHostReservationOfferings GetHostReservationPurchasePreview"),
            (5, 2, "DisableFastLaunch EnableFastLaunch PurchaseHostReservation"),
            (5, 5, "DeleteQueuedReservedInstances DescribeDeclarativePoliciesReports"),
            (5, 5, "GetDeclarativePoliciesReportSummary PurchaseReservedInstancesOffering"),
            (10, 0.15, "DescribeCapacityBlockExtensionOfferings DescribeCapacityBlockOfferings"),
            (10, 0.15, "PurchaseCapacityBlock PurchaseCapacityBlockExtension"),
            (10, 1, "AcceptVpcEndpointConnections AssignPrivateNatGatewayAddress AssociateEnclaveCertificateIamRole"),
            (
                10,
                1,
                "AssociateNatGatewayAddress CreateNatGateway CreateVpcEndpointServiceConfiguration DeleteNatGateway",
            ),
            (10, 1, "DeleteVpcEndpointServiceConfigurations DisassociateEnclaveCertificateIamRole"),
            (10, 1, "DisassociateNatGatewayAddress GetAssociatedEnclaveCertificateIamRoles"),
            (10, 1, "ModifyVpcEndpointServiceConfiguration RejectVpcEndpointConnections"),
            (10, 1, "UnassignPrivateNatGatewayAddress"),
            (10, 2, "AttachVerifiedAccessTrustProvider CreateVerifiedAccessGroup CreateVerifiedAccessInstance"),
            (10, 2, "CreateVerifiedAccessTrustProvider DeleteVerifiedAccessGroup DeleteVerifiedAccessInstance"),
            (10, 2, "DeleteVerifiedAccessTrustProvider DescribeVerifiedAccessInstanceLoggingConfigurations"),
            (10, 2, "DetachVerifiedAccessTrustProvider ModifyVerifiedAccessGroup ModifyVerifiedAccessInstance"),
            (10, 2, "ModifyVerifiedAccessInstanceLoggingConfiguration ModifyVerifiedAccessTrustProvider"),
            (10, 10, "DescribeAggregateIdFormat DescribeIdentityIdFormat DescribeIdFormat DescribePrincipalIdFormat"),
            (10, 10, "DescribeReservedInstancesOfferings"),
            (20, 4, "CreateVerifiedAccessEndpoint DeleteVerifiedAccessEndpoint ModifyVerifiedAccessEndpoint"),
            (20, 4, "ModifyVerifiedAccessEndpointPolicy ModifyVerifiedAccessGroupPolicy"),
            (20, 5, "DescribeSecurityGroupReferences DescribeStaleSecurityGroups"),
            (50, 0.1, "CreateRestoreImageTask CreateStoreImageTask"),
            (50, 0.5, "DescribeStoreImageTasks"),
            (50, 3, "CreateSpotDatafeedSubscription DeleteSpotDatafeedSubscription DescribeSpotFleetRequests"),
            (100, 1, "CopyImage"),
            (100, 5, "AssignIpv6Addresses AssignPrivateIpAddresses AssociateIamInstanceProfile"),
            (100, 5, "CreateLaunchTemplateVersion CreateNetworkInterface CreateSnapshot CreateSnapshots CreateVolume"),
            (100, 5, "DeleteNetworkInterface DeleteSnapshot DeleteVolume DeregisterImage DescribeSpotFleetInstances"),
            (100, 5, "DescribeSpotFleetRequestHistory DisassociateIamInstanceProfile ModifyImageAttribute"),
            (100, 5, "ModifyInstanceMetadataOptions ModifyLaunchTemplate ModifyNetworkInterfaceAttribute"),
            (100, 5, "ModifySnapshotAttribute TerminateInstances UnassignPrivateIpAddresses"),
            (100, 10, "CreateTags DeleteTags"),
            (100, 13, "DescribeSpotDatafeedSubscription"),
        ]
    ),
    resources=_table([(1000, 2, "RunInstances StartInstances"), (1000, 20, "TerminateInstances StopInstances")]),
)
