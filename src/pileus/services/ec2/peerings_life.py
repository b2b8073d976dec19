"""Peering two VPCs: asking for it, accepting, rejecting, ending it, and its options."""

from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.tags import tags_for
from pileus.records import Peering, Vpc
from pileus.records.peering import PeeringSide
from pileus.services.ec2.errors import InvalidParameterValue, MissingParameter, OperationNotPermitted, Unsupported
from pileus.services.ec2.peerings import draw_options, draw_peering, is_mine, one_peering, status_code
from pileus.services.ec2.resources import VPC
from pileus.services.ec2.service import ec2
from pileus.services.ec2.vpc_quotas import ACTIVE_PEERINGS_PER_VPC, OUTSTANDING_PEERINGS

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        AcceptVpcPeeringConnectionRequestTypeDef,
        CreateVpcPeeringConnectionRequestTypeDef,
        DeleteVpcPeeringConnectionRequestTypeDef,
        ModifyVpcPeeringConnectionOptionsRequestTypeDef,
        RejectVpcPeeringConnectionRequestTypeDef,
    )

PATIENCE = timedelta(days=7)
"""For how long a request can be accepted."""

_LIVE = frozenset({"pending-acceptance", "active"})


class InvalidStateTransition(ServiceError):
    """The peering is in a state in which this can't be done."""

    code = "InvalidStateTransition"


class PeeringAlreadyExists(ServiceError):
    """The two VPCs are peered already, by another request."""

    code = "VpcPeeringConnectionAlreadyExists"


@ec2.writes(
    "CreateVpcPeeringConnection",
    resources=("vpc-peering-connection:*", "vpc:VpcId"),
    taggable=("vpc-peering-connection",),
)
def create_peering(context: Context, params: "CreateVpcPeeringConnectionRequestTypeDef") -> dict[str, Any]:
    """Asks the owner of another VPC for a peering. One that can't be is made, too, and has failed.

    Who asks again is told of the same request. The other side may ask as well; only one of the two can be accepted.
    """
    vpc = VPC.one(context, params["VpcId"])
    peer_id = params.get("PeerVpcId")
    if not peer_id:
        raise MissingParameter("peerVpcId")
    VPC.check(peer_id)
    if any(params.get("RequesterPeeringConnectionOptions", {}).values()):
        raise Unsupported("The parameter requesterPeeringConnectionOptions is not available in this cloud.")
    requester = PeeringSide(vpc_id=vpc.id, account=context.account, region=context.region)
    accepter = _accepter(context, params, peer_id)
    for one in context.tx.list(Peering, vpc_ids=vpc.id):
        if one.vpc_ids == (vpc.id, peer_id) and status_code(one, context) in _LIVE:
            return {"VpcPeeringConnection": draw_peering(context, one)}
    mine = context.tx.list(Peering, account=context.account, region=context.region)
    OUTSTANDING_PEERINGS.check(sum(status_code(one, context) == "pending-acceptance" for one in mine))
    possible = _possible(context, vpc, accepter)
    peering = context.tx.put(
        Peering(
            id=new_id("pcx"),
            account=context.account,
            region=context.region,
            tags=tags_for(params, "vpc-peering-connection"),
            requester=requester,
            accepter=accepter,
            requested=context.now,
            expires=context.now + PATIENCE,
            state="pending-acceptance" if possible else "failed",
            message=f"Pending Acceptance by {accepter.account}"
            if possible
            else "Failed due to incorrect VPC-ID, Account ID, or overlapping CIDR range",
            ended=None if possible else context.now,
        )
    )
    initiating = {"Code": "initiating-request", "Message": f"Initiating Request to {accepter.account}"}
    return {"VpcPeeringConnection": {**draw_peering(context, peering), "Status": initiating}}


def _accepter(context: Context, params: "CreateVpcPeeringConnectionRequestTypeDef", peer_id: str) -> PeeringSide:
    """The side that is asked. Of the caller's own VPCs here it is known whether they exist. Raises NotFound and more."""
    account = params.get("PeerOwnerId") or context.account
    region = params.get("PeerRegion") or context.region
    if region not in {one.name for one in context.env.config.regions}:
        raise InvalidParameterValue(f"Value ({region}) for parameter peerRegion is invalid. There is no such region.")
    if (account, region) == (context.account, context.region):
        VPC.one(context, peer_id)
    return PeeringSide(vpc_id=peer_id, account=account, region=region)


def _possible(context: Context, vpc: Vpc, accepter: PeeringSide) -> bool:
    """Whether the other VPC is there, and no address would be in both."""
    other = context.view.get(Vpc, accepter.vpc_id)
    if other is None or (other.account, other.region) != (accepter.account, accepter.region):
        return False
    return not overlap(vpc, other)


def overlap(one: Vpc, other: Vpc) -> bool:
    """Whether some CIDRs of two VPCs overlap."""
    return any(
        IPv4Network(mine).overlaps(IPv4Network(theirs)) for _, mine in one.cidrs for _, theirs in other.cidrs
    ) or any(IPv6Network(mine).overlaps(IPv6Network(theirs)) for mine in one.ipv6_cidrs for theirs in other.ipv6_cidrs)


def _check_accepter(context: Context, peering: Peering, verb: str) -> None:
    """Raises unless the caller is the accepter and the request is open."""
    if peering.accepter.account != context.account:
        raise OperationNotPermitted(f"User ({context.account}) cannot {verb} peering {peering.id}")
    if not is_mine(context, peering.accepter):
        raise OperationNotPermitted(
            f"Incorrect region ({context.region}) specified for this request. VPC peering connection {peering.id} must be "
            f"accepted or rejected in region {peering.accepter.region}"
        )
    _check_state(context, peering, {"pending-acceptance"})


def _check_state(context: Context, peering: Peering, allowed: set[str]) -> None:
    state = status_code(peering, context)
    if state not in allowed:
        raise InvalidStateTransition(f"The peering {peering.id} is in the state {state}, in which this can't be done.")


@ec2.writes("AcceptVpcPeeringConnection", resources=("vpc-peering-connection:VpcPeeringConnectionId",))
def accept_peering(context: Context, params: "AcceptVpcPeeringConnectionRequestTypeDef") -> dict[str, Any]:
    """Lets the two VPCs route to one another, where their route tables say so."""
    peering = one_peering(context, _id(params))
    _check_accepter(context, peering, "accept")
    sides = [context.tx.get(Vpc, vpc_id) for vpc_id in peering.vpc_ids]
    first, second = sides
    if first is None or second is None or overlap(first, second):
        raise InvalidStateTransition(f"The VPCs of the peering {peering.id} can't be peered any more.")
    for vpc in (first, second):
        present = context.tx.list(Peering, vpc_ids=vpc.id)
        if any(one.state == "active" and set(one.vpc_ids) == set(peering.vpc_ids) for one in present):
            raise PeeringAlreadyExists(f"The vpc peering connection identified by {peering.id} already exists.")
        ACTIVE_PEERINGS_PER_VPC.check(sum(one.state == "active" for one in present))
    after = context.tx.put(replace(peering, state="active", message="Active"))
    drawn = draw_peering(context, after)
    return {"VpcPeeringConnection": {**drawn, "Status": {"Code": "provisioning", "Message": "Provisioning"}}}


def _id(params: Any) -> str:
    id_ = params.get("VpcPeeringConnectionId")
    if not id_:
        raise MissingParameter("vpcPeeringConnectionId")
    return str(id_)


@ec2.writes("RejectVpcPeeringConnection", resources=("vpc-peering-connection:VpcPeeringConnectionId",))
def reject_peering(context: Context, params: "RejectVpcPeeringConnectionRequestTypeDef") -> dict[str, Any]:
    """Turns a request down."""
    peering = one_peering(context, _id(params))
    _check_accepter(context, peering, "reject")
    context.tx.put(replace(peering, state="rejected", message=f"Rejected by {context.account}", ended=context.now))
    return {"Return": True}


@ec2.writes("DeleteVpcPeeringConnection", resources=("vpc-peering-connection:VpcPeeringConnectionId",))
def delete_peering(context: Context, params: "DeleteVpcPeeringConnectionRequestTypeDef") -> dict[str, Any]:
    """Ends a peering, or takes a request back. Routes that lead to it become black holes."""
    peering = one_peering(context, _id(params))
    requesters = peering.requester.account == context.account
    _check_state(context, peering, {"active", "pending-acceptance"} if requesters else {"active"})
    context.tx.put(replace(peering, state="deleted", message=f"Deleted by {context.account}", ended=context.now))
    return {"Return": True}


@ec2.writes("ModifyVpcPeeringConnectionOptions", resources=("vpc-peering-connection:VpcPeeringConnectionId",))
def modify_peering_options(
    context: Context, params: "ModifyVpcPeeringConnectionOptionsRequestTypeDef"
) -> dict[str, Any]:
    """Says for either side whether the other one resolves its public names to private addresses."""
    peering = one_peering(context, _id(params))
    if status_code(peering, context) != "active":
        raise OperationNotPermitted(
            f"Peering {peering.id} is not active. Peering options can be added only to active peerings."
        )
    after = peering
    asked = {
        "requester": params.get("RequesterPeeringConnectionOptions"),
        "accepter": params.get("AccepterPeeringConnectionOptions"),
    }
    if not any(asked.values()):
        raise MissingParameter("accepterPeeringConnectionOptions or requesterPeeringConnectionOptions")
    for name, options in asked.items():
        if not options:
            continue
        side = peering.requester if name == "requester" else peering.accepter
        if not is_mine(context, side):
            raise OperationNotPermitted(
                f"User {context.account} cannot modify {name} peering options of {peering.id} in {context.region}."
            )
        after = _allow(after, name, _allowed(options))
    context.tx.put(after)
    return {
        "RequesterPeeringConnectionOptions": draw_options(after, after.requester) if asked["requester"] else None,
        "AccepterPeeringConnectionOptions": draw_options(after, after.accepter) if asked["accepter"] else None,
    }


def _allowed(options: Any) -> bool | None:
    """Whether names are resolved; None where the call does not say."""
    for name, value in options.items():
        if name != "AllowDnsResolutionFromRemoteVpc" and value:
            raise InvalidParameterValue(
                f"Value ({value}) for parameter {name[0].lower()}{name[1:]} is invalid. This cloud does not have it."
            )
    return options.get("AllowDnsResolutionFromRemoteVpc")


def _allow(peering: Peering, name: str, allowed: bool | None) -> Peering:
    """What one side allows holds in the other."""
    if allowed is None:
        return peering
    if name == "requester":
        return replace(peering, accepter=replace(peering.accepter, resolves=allowed))
    return replace(peering, requester=replace(peering.requester, resolves=allowed))
