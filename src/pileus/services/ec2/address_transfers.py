"""Elastic IPs go from one account to another: the one offers, the other accepts within seven days.

See https://docs.aws.amazon.com/vpc/latest/userguide/transfer-EIPs-intro.html.
"""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.filters import compile_filters
from pileus.operations.paging import Page, paginate
from pileus.operations.tags import tags_for
from pileus.records import Account, Address
from pileus.records.address import AddressTransfer, pool_scope
from pileus.services.ec2.addresses import one_address
from pileus.services.ec2.errors import InvalidParameterValue, NotFound, UnsupportedOperation
from pileus.services.ec2.resources import ADDRESS
from pileus.services.ec2.service import ec2
from pileus.services.ec2.vpc_quotas import ELASTIC_IPS

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        AcceptAddressTransferRequestTypeDef,
        DescribeAddressTransfersRequestTypeDef,
        DescribeMovingAddressesRequestTypeDef,
        DisableAddressTransferRequestTypeDef,
        EnableAddressTransferRequestTypeDef,
        MoveAddressToVpcRequestTypeDef,
        RestoreAddressToClassicRequestTypeDef,
    )

OPEN_FOR = timedelta(days=7)
SHOWN_FOR = timedelta(days=14)
"""How long an accepted transfer is shown to who gave the address away."""


class InvalidTransfer(ServiceError):
    """The Elastic IP can't change hands as it is. The code says why."""


def _draw(address: Address, transfer: AddressTransfer) -> dict[str, Any]:
    return {
        "PublicIp": address.public_address,
        "AllocationId": transfer.allocation_id,
        "TransferAccountId": transfer.account,
        "TransferOfferExpirationTimestamp": transfer.expires,
        "TransferOfferAcceptedTimestamp": transfer.accepted,
        "AddressTransferStatus": transfer.status,
    }


@ec2.writes("EnableAddressTransfer", resources=("elastic-ip:AllocationId",))
def enable_address_transfer(context: Context, params: "EnableAddressTransferRequestTypeDef") -> dict[str, Any]:
    """Offers an Elastic IP to another account; a new offer replaces an older one."""
    address = ADDRESS.one(context, params["AllocationId"])
    account = params["TransferAccountId"]
    if account == context.account or context.view.get(Account, account) is None:
        raise InvalidParameterValue(f"Value ({account}) for parameter transferAccountId is invalid.")
    transfer = AddressTransfer(
        account=account, expires=context.now + OPEN_FOR, source=context.account, allocation_id=address.id
    )
    return {"AddressTransfer": _draw(context.tx.put(replace(address, transfer=transfer)), transfer)}


@ec2.writes("DisableAddressTransfer", resources=("elastic-ip:AllocationId",))
def disable_address_transfer(context: Context, params: "DisableAddressTransferRequestTypeDef") -> dict[str, Any]:
    """Takes an offer back."""
    address = ADDRESS.one(context, params["AllocationId"])
    transfer = address.transfer
    if transfer is None or not _is_open(context, address):
        raise InvalidTransfer(f"There is no pending transfer of {address.id}.", code="InvalidTransfer.NotFound")
    disabled = replace(transfer, status="disabled")
    return {"AddressTransfer": _draw(context.tx.put(replace(address, transfer=disabled)), disabled)}


def _is_open(context: Context, address: Address) -> bool:
    transfer = address.transfer
    return transfer is not None and transfer.status == "pending" and context.now < transfer.expires


@ec2.writes("AcceptAddressTransfer", resources=("elastic-ip:*",), taggable=("elastic-ip",))
def accept_address_transfer(context: Context, params: "AcceptAddressTransferRequestTypeDef") -> dict[str, Any]:
    """Takes an offered Elastic IP over. It gets a new allocation id, and loses the tags of its owner before.

    Raises:
        LimitExceeded: the caller has as many as its quota allows. InvalidTransfer: it is associated, or has a reverse name.
    """
    public = params["Address"]
    offered = [
        address
        for address in context.view.list(Address, region=context.region, public_address=public)
        if _is_open(context, address) and address.transfer and address.transfer.account == context.account
    ]
    if not offered:
        raise NotFound(f"Address '{public}' not found.", code="InvalidAddress.NotFound")
    address = offered[0]
    transfer = address.transfer
    assert transfer is not None
    ELASTIC_IPS.check(len(context.view.list(Address, account=context.account, region=context.region)))
    if address.association_id:
        raise InvalidTransfer(f"Address {public} is associated.", code="InvalidTransfer.AddressAssociated")
    if address.ptr:
        raise InvalidTransfer(f"Address {public} has a reverse name.", code="InvalidTransfer.AddressCustomPtrSet")
    accepted = replace(transfer, status="accepted", accepted=context.now)
    taken = Address(
        id=new_id("eipalloc"),
        account=context.account,
        region=context.region,
        public_address=public,
        allocated=context.now,
        border_group=address.border_group,
        carrier=address.carrier,
        transfer=accepted,
        tags=tags_for(params, "elastic-ip"),
    )
    context.tx.release(pool_scope(context.region), public)
    context.tx.delete(address)
    context.tx.claim(pool_scope(context.region), public, taken.id)
    context.tx.put(taken)
    return {"AddressTransfer": _draw(taken, replace(accepted, allocation_id=taken.id))}


@ec2.reads("DescribeAddressTransfers")
def describe_address_transfers(context: Context, params: "DescribeAddressTransfersRequestTypeDef") -> dict[str, Any]:
    """Offers that the caller has made, and what was accepted of them in the last two weeks."""
    named = params.get("AllocationIds")
    shown = [
        (address, transfer)
        for address in context.view.list(Address, region=context.region, transfer_source=context.account)
        if (transfer := address.transfer) is not None
        and (_is_open(context, address) or (transfer.accepted and context.now < transfer.accepted + SHOWN_FOR))
    ]
    if named:
        known = {transfer.allocation_id for _, transfer in shown}
        ADDRESS.find(context, [one for one in named if one not in known])
        shown = [pair for pair in shown if pair[1].allocation_id in named]
    page, token = paginate(context, params, shown, Page(), lambda pair: pair[1].allocation_id)
    result: dict[str, Any] = {"AddressTransfers": [_draw(address, transfer) for address, transfer in page]}
    return {**result, "NextToken": token} if token else result


@ec2.writes("MoveAddressToVpc")
def move_address_to_vpc(context: Context, params: "MoveAddressToVpcRequestTypeDef") -> dict[str, Any]:
    """Every Elastic IP is in a VPC already, now that EC2-Classic is gone."""
    return {"AllocationId": one_address(context, {"PublicIp": params["PublicIp"]}).id, "Status": "InVpc"}


@ec2.writes("RestoreAddressToClassic")
def restore_address_to_classic(context: Context, params: "RestoreAddressToClassicRequestTypeDef") -> dict[str, Any]:
    """There is no EC2-Classic any more."""
    address = one_address(context, {"PublicIp": params["PublicIp"]})
    raise UnsupportedOperation(f"The address {address.public_address} can't go to EC2-Classic, which is retired.")


@ec2.reads("DescribeMovingAddresses")
def describe_moving_addresses(context: Context, params: "DescribeMovingAddressesRequestTypeDef") -> dict[str, Any]:
    """None moves between EC2-Classic and a VPC any more."""
    compile_filters(params.get("Filters", ()), {"moving-status": lambda _context, _address: None}, tags=False)
    for public in params.get("PublicIps", ()):
        one_address(context, {"PublicIp": public})
    nothing: list[str] = []
    paginate(context, params, nothing, Page(), str)
    return {"MovingAddressStatuses": []}
