"""Managed prefix lists: named CIDRs that route tables and security groups may name. They change in a module of their own."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pileus.base.errors import ServiceError
from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.listing import Listing
from pileus.operations.paging import Page, paginate
from pileus.operations.tags import tag_set, tags_for
from pileus.records import PrefixList, RouteTable, SecurityGroup
from pileus.records.prefix_list import CLOUD, PrefixEntry
from pileus.services.ec2.cidr_rules import parse_ipv4, parse_ipv6
from pileus.services.ec2.errors import DependencyViolation, InvalidParameterValue
from pileus.services.ec2.resources import PREFIX_LIST, find_visible
from pileus.services.ec2.service import ec2
from pileus.services.ec2.vpc_quotas import PREFIX_LISTS as QUOTA

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        CreateManagedPrefixListRequestTypeDef,
        DeleteManagedPrefixListRequestTypeDef,
        DescribeManagedPrefixListsRequestTypeDef,
        DescribePrefixListsRequestTypeDef,
        GetManagedPrefixListAssociationsRequestTypeDef,
        GetManagedPrefixListEntriesRequestTypeDef,
    )

MOST_ENTRIES = 1000
_AT_ONCE = 100
_LONGEST_NAME = 255
_LONGEST_DESCRIPTION = 255


class InvalidPrefixListModification(ServiceError):
    """The list is the cloud's own, or does not have what is to be removed."""

    code = "InvalidPrefixListModification"


class PrefixListMaxEntriesExceeded(ServiceError):
    """More entries than the list may have."""

    code = "PrefixListMaxEntriesExceeded"


def find_prefix_lists(context: Context, ids: Sequence[str]) -> list[PrefixList]:
    """The caller's and the cloud's own lists of these ids. Raises MalformedId, NotFound."""
    return find_visible(PREFIX_LIST, context, ids, lambda one: one.account in {context.account, CLOUD})


def usable_prefix_list(context: Context, id_: str) -> PrefixList:
    """The list that a route or a rule of the caller's may name. Raises MalformedId, NotFound."""
    return find_prefix_lists(context, [id_])[0]


def own_prefix_list(context: Context, id_: str) -> PrefixList:
    """A list that the caller may change. Raises MalformedId, NotFound, InvalidPrefixListModification."""
    found = usable_prefix_list(context, id_)
    if found.account == CLOUD:
        raise InvalidPrefixListModification(f"The prefix list '{id_}' is managed by AWS and can't be changed.")
    return found


def draw_prefix_list(_: Context, found: PrefixList) -> dict[str, Any]:
    """A list in the shape of DescribeManagedPrefixLists. The cloud's own have neither versions nor a largest size."""
    cloud = found.account == CLOUD
    owner = "aws" if cloud else found.account
    return {
        "PrefixListId": found.id,
        "PrefixListArn": f"arn:aws:ec2:{found.region}:{owner}:prefix-list/{found.id}",
        "PrefixListName": found.name,
        "AddressFamily": found.address_family,
        "State": found.state,
        "MaxEntries": None if cloud else found.max_entries,
        "Version": None if cloud else found.list_version,
        "OwnerId": found.account,
        "Tags": tag_set(found.tags),
    }


def _rows(context: Context) -> Iterable[PrefixList]:
    for account in (CLOUD, context.account):
        yield from context.view.list(PrefixList, account=account, region=context.region)


MANAGED_PREFIX_LISTS = Listing(
    kind=PrefixList,
    member="PrefixLists",
    draw=draw_prefix_list,
    ids="PrefixListIds",
    find=find_prefix_lists,
    rows=_rows,
    page=Page(least=1, most=100),
    filters={
        "owner-id": lambda _, one: one.account,
        "prefix-list-id": lambda _, one: one.id,
        "prefix-list-name": lambda _, one: one.name,
    },
)

PREFIX_LISTS = Listing(
    kind=PrefixList,
    member="PrefixLists",
    draw=lambda _, one: {"PrefixListId": one.id, "PrefixListName": one.name, "Cidrs": list(one.cidrs)},
    ids="PrefixListIds",
    find=lambda context, ids: find_visible(PREFIX_LIST, context, ids, lambda one: one.account == CLOUD),
    rows=lambda context: context.view.list(PrefixList, account=CLOUD, region=context.region),
    filters={
        "prefix-list-id": lambda _, one: one.id,
        "prefix-list-name": lambda _, one: one.name,
    },
)


@ec2.reads("DescribeManagedPrefixLists")
def describe_managed_prefix_lists(
    context: Context, params: "DescribeManagedPrefixListsRequestTypeDef"
) -> dict[str, Any]:
    """The caller's prefix lists and the cloud's own."""
    return MANAGED_PREFIX_LISTS.answer(context, params)


@ec2.reads("DescribePrefixLists")
def describe_prefix_lists(context: Context, params: "DescribePrefixListsRequestTypeDef") -> dict[str, Any]:
    """The cloud's own prefix lists, with their CIDRs."""
    return PREFIX_LISTS.answer(context, params)


def parse_entries(entries: Sequence[Mapping[str, Any]], family: str) -> tuple[PrefixEntry, ...]:
    """The entries that a call gives, with canonical CIDRs.

    Raises InvalidParameterValue: more than 100, one twice, a CIDR of another family or none, a too long description.
    """
    if len(entries) > _AT_ONCE:
        raise InvalidParameterValue(f"The number of entries per request cannot exceeds limit ({_AT_ONCE}).")
    parsed = tuple(
        PrefixEntry(cidr=parse_cidr(entry["Cidr"], family), description=_description(entry)) for entry in entries
    )
    if len({entry.cidr for entry in parsed}) < len(parsed):
        raise InvalidParameterValue("The parameter entries names a CIDR more than once.")
    return parsed


def parse_cidr(cidr: str, family: str) -> str:
    """A canonical CIDR of this address family. Raises InvalidParameterValue."""
    return str(parse_ipv4(cidr, "cidr") if family == "IPv4" else parse_ipv6(cidr, "cidr"))


def _description(entry: Mapping[str, Any]) -> str | None:
    text = entry.get("Description")
    if text and len(text) > _LONGEST_DESCRIPTION:
        raise InvalidParameterValue(
            f"The description of the entry {entry['Cidr']} is longer than {_LONGEST_DESCRIPTION} characters."
        )
    return text or None


def checked_name(name: str) -> str:
    """A name that a customer's list may have. Raises InvalidParameterValue."""
    if not 0 < len(name) <= _LONGEST_NAME or name.startswith("com.amazonaws"):
        raise InvalidParameterValue(
            f"Value ({name}) for parameter prefixListName is invalid. It must have up to {_LONGEST_NAME} characters and "
            "not begin with com.amazonaws."
        )
    return name


def checked_max(max_entries: int, present: int) -> int:
    """A largest size that a list with this many entries may have. Raises InvalidParameterValue and the like."""
    if not 1 <= max_entries <= MOST_ENTRIES:
        raise InvalidParameterValue(
            f"Value ({max_entries}) for parameter maxEntries is invalid. It must be between 1 and {MOST_ENTRIES}."
        )
    if present > max_entries:
        raise PrefixListMaxEntriesExceeded(
            f"The prefix list would have {present} entries, more than its maximum of {max_entries}."
        )
    return max_entries


@ec2.writes("CreateManagedPrefixList", resources=("prefix-list:*",), idempotent=True, taggable=("prefix-list",))
def create_managed_prefix_list(context: Context, params: "CreateManagedPrefixListRequestTypeDef") -> dict[str, Any]:
    """A new list, with up to 100 entries at first."""
    family = params["AddressFamily"]
    if family not in {"IPv4", "IPv6"}:
        raise InvalidParameterValue(
            f"Value ({family}) for parameter addressFamily is invalid. Valid values: IPv4, IPv6."
        )
    entries = parse_entries(params.get("Entries", ()), family)
    max_entries = checked_max(params["MaxEntries"], len(entries))
    QUOTA.check(len(context.tx.list(PrefixList, account=context.account, region=context.region)))
    made = PrefixList(
        id=new_id("pl"),
        account=context.account,
        region=context.region,
        name=checked_name(params["PrefixListName"]),
        address_family="IPv4" if family == "IPv4" else "IPv6",
        max_entries=max_entries,
        entries=entries,
        tags=tags_for(params, "prefix-list"),
    )
    return {"PrefixList": draw_prefix_list(context, context.tx.put(made))}


def _users(context: Context, found: PrefixList) -> list[RouteTable | SecurityGroup]:
    """What names the list."""
    tables = context.view.list(RouteTable, prefix_lists=found.id)
    return [*tables, *context.view.list(SecurityGroup, prefix_lists=found.id)]


@ec2.writes("DeleteManagedPrefixList", resources=("prefix-list:PrefixListId",))
def delete_managed_prefix_list(context: Context, params: "DeleteManagedPrefixListRequestTypeDef") -> dict[str, Any]:
    """Deletes a list that nothing names."""
    found = own_prefix_list(context, params["PrefixListId"])
    if users := _users(context, found):
        raise DependencyViolation(
            f"The prefix list '{found.id}' is in use by {', '.join(user.id for user in users)} and cannot be deleted."
        )
    context.tx.delete(found)
    return {"PrefixList": {**draw_prefix_list(context, found), "State": "delete-complete"}}


@ec2.reads("GetManagedPrefixListEntries", resources=("prefix-list:PrefixListId",))
def get_managed_prefix_list_entries(
    context: Context, params: "GetManagedPrefixListEntriesRequestTypeDef"
) -> dict[str, Any]:
    """The entries of a list, now or in an earlier version."""
    found = usable_prefix_list(context, params["PrefixListId"])
    entries = entries_of(found, params.get("TargetVersion"), "targetVersion")
    page, token = paginate(context, params, entries, Page(least=1, most=100), lambda entry: entry.cidr)
    return {"Entries": [{"Cidr": one.cidr, "Description": one.description} for one in page], "NextToken": token}


def entries_of(found: PrefixList, version: int | None, parameter: str) -> Sequence[PrefixEntry]:
    """The entries of a version; None: of the newest. Raises InvalidParameterValue for one that is not there."""
    if version is None or version == found.list_version:
        return found.entries
    for number, entries in found.history:
        if number == version:
            return entries
    raise InvalidParameterValue(
        f"Value ({version}) for parameter {parameter} is invalid. The prefix list '{found.id}' has no such version."
    )


@ec2.reads("GetManagedPrefixListAssociations", resources=("prefix-list:PrefixListId",))
def get_managed_prefix_list_associations(
    context: Context, params: "GetManagedPrefixListAssociationsRequestTypeDef"
) -> dict[str, Any]:
    """The caller's route tables and security groups that name a list."""
    found = usable_prefix_list(context, params["PrefixListId"])
    users = [user for user in _users(context, found) if user.account == context.account]
    page, token = paginate(context, params, users, Page(least=5, most=255), lambda user: user.id)
    return {
        "PrefixListAssociations": [{"ResourceId": user.id, "ResourceOwner": user.account} for user in page],
        "NextToken": token,
    }
