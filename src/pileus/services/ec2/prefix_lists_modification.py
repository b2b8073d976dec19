"""Changing prefix lists: each change of the entries makes a version, and earlier ones can be restored."""

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.operations.context import Context
from pileus.records import PrefixList
from pileus.records.prefix_list import PrefixEntry
from pileus.services.ec2.errors import InvalidParameterCombination, InvalidParameterValue, MissingParameter
from pileus.services.ec2.prefix_lists import (
    InvalidPrefixListModification,
    checked_max,
    checked_name,
    draw_prefix_list,
    entries_of,
    own_prefix_list,
    parse_cidr,
    parse_entries,
)
from pileus.services.ec2.prefix_lists_weights import check_growth
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        ModifyManagedPrefixListRequestTypeDef,
        RestoreManagedPrefixListVersionRequestTypeDef,
    )

_AT_ONCE = 100
_VERSIONS = 1000
"""How many earlier versions are kept; the oldest go first."""


class PrefixListVersionMismatch(ServiceError):
    """The list has changed since the caller looked."""

    code = "PrefixListVersionMismatch"


def _next(found: PrefixList, entries: tuple[PrefixEntry, ...], state: str) -> PrefixList:
    """The list's next version."""
    history = (*found.history, (found.list_version, found.entries))[-_VERSIONS:]
    return replace(found, entries=entries, list_version=found.list_version + 1, history=history, state=state)


def _check_version(found: PrefixList, current: int | None) -> None:
    if current is None:
        raise MissingParameter("currentVersion")
    if current != found.list_version:
        raise PrefixListVersionMismatch("The prefix list has the incorrect version number.")


@ec2.writes("ModifyManagedPrefixList", resources=("prefix-list:PrefixListId",))
def modify_managed_prefix_list(context: Context, params: "ModifyManagedPrefixListRequestTypeDef") -> dict[str, Any]:
    """Adds and removes entries, which needs the present version's number; or changes the largest size; or the name."""
    found = own_prefix_list(context, params["PrefixListId"])
    max_entries = params.get("MaxEntries")
    changes = bool(params.get("AddEntries") or params.get("RemoveEntries"))
    if changes and max_entries is not None:
        raise InvalidParameterCombination(
            "You cannot modify the entries and the maximum entries for the prefix list in the same request."
        )
    after = replace(found, state="modify-complete")
    if changes:
        _check_version(found, params.get("CurrentVersion"))
        after = _next(found, _changed(found, params), "modify-complete")
    if max_entries is not None:
        after = replace(after, max_entries=checked_max(max_entries, len(found.entries)))
        check_growth(context, found, max_entries)
    name = params.get("PrefixListName")
    if name is not None:
        after = replace(after, name=checked_name(name))
    return {"PrefixList": draw_prefix_list(context, context.tx.put(after))}


def _changed(found: PrefixList, params: "ModifyManagedPrefixListRequestTypeDef") -> tuple[PrefixEntry, ...]:
    """The entries after the call. One that is added again has the new description."""
    added = parse_entries(params.get("AddEntries", ()), found.address_family)
    removed = [parse_cidr(entry["Cidr"], found.address_family) for entry in params.get("RemoveEntries", ())]
    if len(added) + len(removed) > _AT_ONCE:
        raise InvalidParameterValue(f"The request cannot contain more than {_AT_ONCE} entry additions or removals.")
    both = {entry.cidr for entry in added} & set(removed)
    if both:
        raise InvalidParameterValue(f"The CIDR {min(both)} can't be added and removed in the same request.")
    entries = {entry.cidr: entry for entry in found.entries}
    for cidr in removed:
        if entries.pop(cidr, None) is None:
            raise InvalidPrefixListModification(f"The entry {cidr} of the prefix list '{found.id}' does not exist.")
    entries |= {entry.cidr: entry for entry in added}
    checked_max(found.max_entries, len(entries))
    return tuple(entries.values())


@ec2.writes("RestoreManagedPrefixListVersion", resources=("prefix-list:PrefixListId",))
def restore_managed_prefix_list_version(
    context: Context, params: "RestoreManagedPrefixListVersionRequestTypeDef"
) -> dict[str, Any]:
    """Makes a new version with the entries of an earlier one."""
    found = own_prefix_list(context, params["PrefixListId"])
    _check_version(found, params["CurrentVersion"])
    entries = tuple(entries_of(found, params["PreviousVersion"], "previousVersion"))
    checked_max(found.max_entries, len(entries))
    return {"PrefixList": draw_prefix_list(context, context.tx.put(_next(found, entries, "restore-complete")))}
