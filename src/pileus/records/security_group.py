"""Security groups and their rules."""

from typing import ClassVar, Literal

from pileus.records.peering import Peering
from pileus.records.prefix_list import PrefixList
from pileus.records.routing import Lookup
from pileus.records.tagged import Tagged


class SecurityGroupRule(Tagged, frozen=True, kw_only=True):
    """One peer of one permission, with its own ``sgr-`` id. Kept inside its group, not by itself.

    ``protocol`` is ``-1``, ``tcp``, ``udp``, ``icmp``, ``icmpv6`` or a number; ports (ICMP: type and code) are -1 where
    they do not apply. Exactly one of ``cidr``, ``cidr6``, ``group_id`` and ``prefix_list_id`` is set. Where the group is in
    another VPC, ``group_vpc_id`` is that one and ``peering_id`` the peering by which the rule came to be allowed.
    """

    kind: ClassVar[str] = "security-group-rule"

    egress: bool
    protocol: str
    from_port: int
    to_port: int
    cidr: str | None = None
    cidr6: str | None = None
    group_id: str | None = None
    group_account: str | None = None
    group_vpc_id: str | None = None
    peering_id: str | None = None
    prefix_list_id: str | None = None
    description: str | None = None

    @property
    def match(self) -> tuple[object, ...]:
        """What makes two rules duplicates: everything but id, description and tags."""
        peer = (self.cidr, self.cidr6, self.group_id, self.prefix_list_id)
        return (self.egress, self.protocol, self.from_port, self.to_port, *peer)


class SecurityGroup(Tagged, frozen=True, kw_only=True):
    """A stateful filter around interfaces."""

    kind: ClassVar[str] = "security-group"
    indexes: ClassVar[tuple[str, ...]] = ("vpc_id", "name", "rule_ids", "referenced", "prefix_lists")

    vpc_id: str
    name: str
    description: str
    rules: tuple[SecurityGroupRule, ...] = ()

    @property
    def rule_ids(self) -> tuple[str, ...]:
        """The ids of its rules."""
        return tuple(rule.id for rule in self.rules)

    @property
    def referenced(self) -> tuple[str, ...]:
        """The groups that its rules name as peers, each once."""
        return tuple(dict.fromkeys(rule.group_id for rule in self.rules if rule.group_id))

    @property
    def prefix_lists(self) -> tuple[str, ...]:
        """The prefix lists that its rules name as peers, each once."""
        return tuple(dict.fromkeys(rule.prefix_list_id for rule in self.rules if rule.prefix_list_id))


def peering_status(view: Lookup, rule: SecurityGroupRule) -> str | None:
    """The state of the peering that a rule with a group of another VPC needs; None for other rules."""
    if rule.peering_id is None:
        return None
    peering = view.get(Peering, rule.peering_id)
    return peering.state if peering is not None else "deleted"


def is_stale(view: Lookup, rule: SecurityGroupRule) -> bool:
    """Whether a rule lets nobody in or out any more, since its group in another VPC or the peering with that is gone."""
    if rule.peering_id is None or rule.group_id is None:
        return False
    return peering_status(view, rule) != "active" or view.get(SecurityGroup, rule.group_id) is None


def rule_weight(view: Lookup, rule: SecurityGroupRule, family: Literal[4, 6]) -> int:
    """How much of the quota of rules of an address family a rule takes.

    A group counts for both, a customer's prefix list for as many as it may have entries.
    Source: https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html#security-group-size.
    """
    if rule.cidr is not None or rule.cidr6 is not None:
        return int((rule.cidr is not None) == (family == 4))
    if rule.prefix_list_id is None:
        return 1
    prefix_list = view.get(PrefixList, rule.prefix_list_id)
    if prefix_list is None or (prefix_list.address_family == "IPv4") != (family == 4):
        return 0
    return 1 if prefix_list.account == "AWS" else prefix_list.max_entries


def group_name_scope(vpc_id: str) -> str:
    """The claim scope in which group names are unique."""
    return f"security-group-name/{vpc_id}"
