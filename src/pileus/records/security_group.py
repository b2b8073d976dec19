"""Security groups and their rules."""

from typing import ClassVar

from pileus.records.tagged import Tagged


class SecurityGroupRule(Tagged, frozen=True, kw_only=True):
    """One peer of one permission, with its own ``sgr-`` id. Kept inside its group, not by itself.

    ``protocol`` is ``-1``, ``tcp``, ``udp``, ``icmp``, ``icmpv6`` or a number; ports (ICMP: type and code) are -1 where
    they do not apply. Exactly one of ``cidr``, ``cidr6``, ``group_id`` and ``prefix_list_id`` is set.
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


def group_name_scope(vpc_id: str) -> str:
    """The claim scope in which group names are unique."""
    return f"security-group-name/{vpc_id}"
