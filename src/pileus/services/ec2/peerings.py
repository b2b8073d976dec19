"""VPC peering connections: listing them, and what both sides need. Asking, answering and ending are in ``peerings_life``."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.operations.filters import Field
from pileus.operations.listing import Listing
from pileus.operations.tags import tag_set
from pileus.records import Peering, Vpc
from pileus.records.peering import PeeringSide
from pileus.services.ec2.resources import PEERING
from pileus.services.ec2.service import ec2
from pileus.services.ec2.times import iso

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import DescribeVpcPeeringConnectionsRequestTypeDef


def is_mine(context: Context, side: PeeringSide) -> bool:
    """Whether this side is the caller's, in the region of the call."""
    return (side.account, side.region) == (context.account, context.region)


def find_peerings(context: Context, ids: Sequence[str]) -> list[Peering]:
    """The peerings of these ids that the caller sees from here. Raises MalformedId, NotFound."""
    found: list[Peering] = []
    missing: list[str] = []
    for id_ in ids:
        PEERING.check(id_)
        peering = context.view.get(Peering, id_)
        if peering is None or not (is_mine(context, peering.requester) or is_mine(context, peering.accepter)):
            missing.append(id_)
        else:
            found.append(peering)
    if missing:
        raise PEERING.not_found(missing)
    return found


def one_peering(context: Context, id_: str) -> Peering:
    """The peering of this id, seen from either side. Raises MalformedId, NotFound."""
    return find_peerings(context, [id_])[0]


def retag_peering(context: Context, id_: str, retag: Callable[[Mapping[str, str]], Mapping[str, str]]) -> None:
    """Changes the tags of the caller's side. Raises MalformedId, NotFound."""
    peering = one_peering(context, id_)
    after = retag(peering.tags_for(context.account, context.region))
    if peering.is_requester(context.account, context.region):
        context.tx.put(replace(peering, tags=after))
    else:
        context.tx.put(replace(peering, accepter_tags=after))


def accepted_here(context: Context) -> list[Peering]:
    """The peerings that the caller's VPCs here are asked for by others."""
    offered = context.view.list(Peering, accepter_account=context.account)
    return [
        peering
        for peering in offered
        if is_mine(context, peering.accepter) and not peering.is_requester(context.account, context.region)
    ]


def _seen(context: Context, peerings: Iterable[Peering]) -> list[Peering]:
    """The same with the tags of the caller's side, for filters."""
    return [replace(one, tags=one.tags_for(context.account, context.region)) for one in peerings]


def status_code(peering: Peering, context: Context) -> str:
    """Its state; a request is over the moment its week is."""
    overdue = peering.state == "pending-acceptance" and peering.expires <= context.now
    return "expired" if overdue else peering.state


def _message(context: Context, peering: Peering) -> str:
    return "Expired" if status_code(peering, context) == "expired" else peering.message


def draw_options(peering: Peering, side: PeeringSide) -> dict[str, Any]:
    """What a side allows the other: that its public names are resolved there to private addresses."""
    other = peering.accepter if side is peering.requester else peering.requester
    return {
        "AllowDnsResolutionFromRemoteVpc": other.resolves,
        "AllowEgressFromLocalClassicLinkToRemoteVpc": False,
        "AllowEgressFromLocalVpcToRemoteClassicLink": False,
    }


def _draw_side(context: Context, peering: Peering, side: PeeringSide) -> dict[str, Any]:
    """A side; of the accepter's VPC little is said until it has accepted."""
    drawn: dict[str, Any] = {"VpcId": side.vpc_id, "OwnerId": side.account, "Region": side.region}
    vpc = context.view.get(Vpc, side.vpc_id)
    if vpc is None or (side is peering.accepter and peering.state != "active"):
        return drawn
    return {
        **drawn,
        "CidrBlock": vpc.cidr,
        "CidrBlockSet": [{"CidrBlock": cidr} for _, cidr in vpc.cidrs],
        "Ipv6CidrBlockSet": [{"Ipv6CidrBlock": cidr} for cidr in vpc.ipv6_cidrs],
        "PeeringOptions": draw_options(peering, side),
    }


def draw_peering(context: Context, peering: Peering) -> dict[str, Any]:
    """A peering as answers have it, with the tags of the caller's side."""
    return {
        "VpcPeeringConnectionId": peering.id,
        "RequesterVpcInfo": _draw_side(context, peering, peering.requester),
        "AccepterVpcInfo": _draw_side(context, peering, peering.accepter),
        "Status": {"Code": status_code(peering, context), "Message": _message(context, peering)},
        "ExpirationTime": peering.expires if peering.state == "pending-acceptance" else None,
        "Tags": tag_set(peering.tags_for(context.account, context.region)),
    }


def _rows(context: Context) -> Iterable[Peering]:
    """Those that the caller's VPCs here ask for, and those that they are asked for."""
    asked = context.view.list(Peering, account=context.account, region=context.region)
    return _seen(context, [*asked, *(one for one in accepted_here(context) if one.state != "failed")])


def _cidrs(pick: str) -> Field[Peering]:
    def field(context: Context, peering: Peering) -> Iterable[str]:
        side = peering.requester if pick == "requester" else peering.accepter
        return [one["CidrBlock"] for one in _draw_side(context, peering, side).get("CidrBlockSet", ())]

    return field


PEERINGS = Listing(
    kind=Peering,
    member="VpcPeeringConnections",
    draw=draw_peering,
    cached=False,
    ids="VpcPeeringConnectionIds",
    find=lambda context, ids: _seen(context, find_peerings(context, ids)),
    rows=_rows,
    filters={
        "accepter-vpc-info.cidr-block": _cidrs("accepter"),
        "accepter-vpc-info.owner-id": lambda _, peering: peering.accepter.account,
        "accepter-vpc-info.vpc-id": lambda _, peering: peering.accepter.vpc_id,
        "expiration-time": lambda _, peering: iso(peering.expires),
        "requester-vpc-info.cidr-block": _cidrs("requester"),
        "requester-vpc-info.owner-id": lambda _, peering: peering.requester.account,
        "requester-vpc-info.vpc-id": lambda _, peering: peering.requester.vpc_id,
        "status-code": lambda context, peering: status_code(peering, context),
        "status-message": _message,
        "vpc-peering-connection-id": lambda _, peering: peering.id,
    },
)


@ec2.reads("DescribeVpcPeeringConnections")
def describe_peerings(context: Context, params: "DescribeVpcPeeringConnectionsRequestTypeDef") -> dict[str, Any]:
    """The peerings of the caller's VPCs, whoever asked for them; those that are over, for a while."""
    return PEERINGS.answer(context, params)
