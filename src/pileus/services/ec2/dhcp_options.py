"""Sets of DHCP options, and which VPC uses which."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.listing import Listing
from pileus.operations.tags import tag_set, tags_for
from pileus.records import DhcpOptions, Vpc
from pileus.services.ec2.errors import DependencyViolation, InvalidParameterValue, MissingParameter
from pileus.services.ec2.resources import DHCP_OPTIONS, VPC
from pileus.services.ec2.service import ec2
from pileus.services.ec2.vpc_quotas import DHCP_OPTION_SETS

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        AssociateDhcpOptionsRequestTypeDef,
        CreateDhcpOptionsRequestTypeDef,
        DeleteDhcpOptionsRequestTypeDef,
        DescribeDhcpOptionsRequestTypeDef,
    )

NONE = "default"
"""What AssociateDhcpOptions takes for a VPC without options, and DescribeVpcs says of it."""

AMAZON_DNS = "AmazonProvidedDNS"
_DOMAIN = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?")
_SHORTEST_LEASE, _LONGEST_LEASE = 140, 2147483647
_MOST_SERVERS = 4


def _invalid(values: Iterable[str], key: str) -> InvalidParameterValue:
    return InvalidParameterValue(f"Value ({', '.join(values)}) for parameter {key} is invalid.")


def _versions(key: str, values: Sequence[str]) -> list[int]:
    """The IP versions of values that all have to be addresses, without scopes."""
    if any("%" in value for value in values):
        raise _invalid(values, key)
    try:
        return [ip_address(value).version for value in values]
    except ValueError as error:
        raise _invalid(values, key) from error


def _check_domain(key: str, values: Sequence[str]) -> None:
    names = values[0].split(" ") if len(values) == 1 else []
    if not names or len(values[0]) > 255 or not all(_DOMAIN.fullmatch(name) for name in names):
        raise _invalid(values, key)


def _check_name_servers(key: str, values: Sequence[str]) -> None:
    if values == [AMAZON_DNS]:
        return
    if len(values) > _MOST_SERVERS:
        raise _invalid(values, key)
    _versions(key, values)


def _check_time_servers(key: str, values: Sequence[str]) -> None:
    versions = _versions(key, values)
    if max(versions.count(4), versions.count(6)) > _MOST_SERVERS:
        raise _invalid(values, key)


def _check_netbios_servers(key: str, values: Sequence[str]) -> None:
    if len(values) > _MOST_SERVERS or 6 in _versions(key, values):
        raise _invalid(values, key)


def _check_node_type(key: str, values: Sequence[str]) -> None:
    if len(values) != 1 or values[0] not in {"1", "2", "4", "8"}:
        raise _invalid(values, key)


def _check_lease(key: str, values: Sequence[str]) -> None:
    text = values[0]
    well_formed = len(values) == 1 and text.isascii() and text.isdecimal() and len(text) <= len(str(_LONGEST_LEASE))
    if not well_formed or not _SHORTEST_LEASE <= int(text) <= _LONGEST_LEASE:
        raise _invalid(values, key)


_CHECKS: Mapping[str, Callable[[str, Sequence[str]], None]] = {
    "domain-name": _check_domain,
    "domain-name-servers": _check_name_servers,
    "ntp-servers": _check_time_servers,
    "netbios-name-servers": _check_netbios_servers,
    "netbios-node-type": _check_node_type,
    "ipv6-address-preferred-lease-time": _check_lease,
}


def _draw(_: Context, options: DhcpOptions) -> dict[str, Any]:
    return {
        "DhcpOptionsId": options.id,
        "OwnerId": options.account,
        "DhcpConfigurations": [
            {"Key": key, "Values": [{"Value": value} for value in values]} for key, values in options.options
        ],
        "Tags": tag_set(options.tags),
    }


DHCP_OPTION_SETS_LISTING = Listing(
    kind=DhcpOptions,
    member="DhcpOptions",
    draw=_draw,
    ids="DhcpOptionsIds",
    find=DHCP_OPTIONS.find,
    exclusive=True,
    filters={
        "dhcp-options-id": lambda _, options: options.id,
        "key": lambda _, options: [key for key, _ in options.options],
        "owner-id": lambda _, options: options.account,
        "value": lambda _, options: [value for _, values in options.options for value in values],
    },
)


@ec2.reads("DescribeDhcpOptions")
def describe_dhcp_options(context: Context, params: "DescribeDhcpOptionsRequestTypeDef") -> dict[str, Any]:
    """The caller's sets of DHCP options."""
    return DHCP_OPTION_SETS_LISTING.answer(context, params)


@ec2.writes("CreateDhcpOptions", taggable=("dhcp-options",))
def create_dhcp_options(context: Context, params: "CreateDhcpOptionsRequestTypeDef") -> dict[str, Any]:
    """Makes a set of DHCP options; it can't be changed afterwards."""
    parsed = tuple(_parse(one) for one in params["DhcpConfigurations"])
    if not parsed:
        raise MissingParameter("dhcpConfiguration")
    keys = [key for key, _ in parsed]
    for key in keys:
        if keys.count(key) > 1:
            raise InvalidParameterValue(f"Value ({key}) for parameter key is invalid. It is given more than once.")
    DHCP_OPTION_SETS.check(len(context.view.list(DhcpOptions, account=context.account, region=context.region)))
    options = context.tx.put(
        DhcpOptions(
            id=new_id("dopt"),
            account=context.account,
            region=context.region,
            tags=tags_for(params, "dhcp-options"),
            options=parsed,
        )
    )
    return {"DhcpOptions": _draw(context, options)}


def _parse(configuration: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """One option. Values may be lists themselves, with commas."""
    key = configuration.get("Key") or ""
    if key not in _CHECKS:
        raise InvalidParameterValue(f"Value ({key}) for parameter name is invalid. Unknown DHCP option")
    values = [part.strip() for value in configuration.get("Values") or () for part in value.split(",")]
    if not values or not all(values):
        raise _invalid(values, key)
    _CHECKS[key](key, values)
    return key, tuple(values)


@ec2.writes("DeleteDhcpOptions", resources=("dhcp-options:DhcpOptionsId",))
def delete_dhcp_options(context: Context, params: "DeleteDhcpOptionsRequestTypeDef") -> dict[str, Any]:
    """Deletes a set that no VPC uses."""
    options = DHCP_OPTIONS.one(context, params["DhcpOptionsId"])
    if context.view.list(Vpc, dhcp_options_id=options.id):
        raise DependencyViolation(f"The dhcpOptions '{options.id}' has dependencies and cannot be deleted.")
    context.tx.delete(options)
    return {}


@ec2.writes("AssociateDhcpOptions", resources=("dhcp-options:DhcpOptionsId", "vpc:VpcId"))
def associate_dhcp_options(context: Context, params: "AssociateDhcpOptionsRequestTypeDef") -> dict[str, Any]:
    """Lets a VPC use a set, or with ``default`` none."""
    vpc, wanted = VPC.one(context, params["VpcId"]), params["DhcpOptionsId"]
    options_id = NONE if wanted == NONE else DHCP_OPTIONS.one(context, wanted).id
    context.tx.put(replace(vpc, dhcp_options_id=options_id))
    return {}
