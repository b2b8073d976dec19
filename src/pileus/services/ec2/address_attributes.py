"""The reverse name of an Elastic IP, its only attribute, and pools of addresses that owners bring along: there are none."""

import re
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.operations.filters import compile_filters
from pileus.operations.paging import Page, paginate
from pileus.records import Address
from pileus.services.ec2.errors import InvalidParameterValue, MissingParameter, NotFound
from pileus.services.ec2.resources import ADDRESS
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from types_boto3_ec2.type_defs import (
        DescribeAddressesAttributeRequestTypeDef,
        DescribeIpv6PoolsRequestTypeDef,
        DescribePublicIpv4PoolsRequestTypeDef,
        ModifyAddressAttributeRequestTypeDef,
        ResetAddressAttributeRequestTypeDef,
    )

_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_MAX_NAME = 253


def _draw(address: Address) -> dict[str, Any]:
    return {"PublicIp": address.public_address, "AllocationId": address.id, "PtrRecord": address.ptr}


@ec2.writes("ModifyAddressAttribute", resources=("elastic-ip:AllocationId",))
def modify_address_attribute(context: Context, params: "ModifyAddressAttributeRequestTypeDef") -> dict[str, Any]:
    """Gives an Elastic IP a reverse name. Resolvers have it as soon as hosts have heard of it."""
    address = ADDRESS.one(context, params["AllocationId"])
    wanted = params.get("DomainName")
    if not wanted:
        raise MissingParameter("domainName")
    name = _domain_name(wanted)
    changed = context.tx.put(replace(address, ptr=name))
    return {"Address": {**_draw(changed), "PtrRecordUpdate": {"Value": name, "Status": "PENDING"}}}


def _domain_name(text: str) -> str:
    """A fully qualified name with its closing dot, as EC2 shows it. Raises InvalidParameterValue."""
    labels = text.removesuffix(".").split(".")
    if len(text) > _MAX_NAME or len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels):
        raise InvalidParameterValue(f"Value ({text}) for parameter domainName is invalid. It is no domain name.")
    return f"{'.'.join(labels).lower()}."


@ec2.writes("ResetAddressAttribute", resources=("elastic-ip:AllocationId",))
def reset_address_attribute(context: Context, params: "ResetAddressAttributeRequestTypeDef") -> dict[str, Any]:
    """Takes the reverse name away."""
    _check_attribute(params.get("Attribute"))
    address = context.tx.put(replace(ADDRESS.one(context, params["AllocationId"]), ptr=None))
    return {"Address": _draw(address)}


def _check_attribute(name: str | None) -> None:
    if name not in {None, "domain-name"}:
        raise InvalidParameterValue(f"Value ({name}) for parameter attribute is invalid. Expecting 'domain-name'.")


@ec2.reads("DescribeAddressesAttribute", resources=("elastic-ip:AllocationIds",))
def describe_addresses_attribute(
    context: Context, params: "DescribeAddressesAttributeRequestTypeDef"
) -> dict[str, Any]:
    """The reverse names of those Elastic IPs that have one."""
    _check_attribute(params.get("Attribute"))
    named = params.get("AllocationIds")
    own = (
        ADDRESS.find(context, list(dict.fromkeys(named)))
        if named
        else context.view.list(Address, account=context.account, region=context.region)
    )
    with_names = [address for address in own if address.ptr]
    page, token = paginate(context, params, with_names, Page(least=1), lambda address: address.id)
    result: dict[str, Any] = {"Addresses": [_draw(address) for address in page]}
    return {**result, "NextToken": token} if token else result


@ec2.reads("DescribePublicIpv4Pools")
def describe_public_ipv4_pools(context: Context, params: "DescribePublicIpv4PoolsRequestTypeDef") -> dict[str, Any]:
    """Public IPv4 pools that owners brought along."""
    return _no_pools(context, params, "PublicIpv4Pools", "InvalidPublicIpv4PoolID.NotFound", Page(least=1, most=10))


@ec2.reads("DescribeIpv6Pools")
def describe_ipv6_pools(context: Context, params: "DescribeIpv6PoolsRequestTypeDef") -> dict[str, Any]:
    """IPv6 pools that owners brought along."""
    return _no_pools(context, params, "Ipv6Pools", "InvalidIpv6PoolID.NotFound", Page(least=1))


def _no_pools(context: Context, params: "Mapping[str, Any]", member: str, missing: str, page: Page) -> dict[str, Any]:
    compile_filters(params.get("Filters", ()), {})
    named: Sequence[str] = params.get("PoolIds", ())
    if named:
        raise NotFound(f"The pool ID '{named[0]}' does not exist", code=missing)
    nothing: list[str] = []
    paginate(context, params, nothing, page, str)
    return {member: []}
