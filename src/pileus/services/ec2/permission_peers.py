"""The groups and prefix lists that permissions of security groups name as peers."""

from collections.abc import Mapping
from typing import Any

from pileus.operations.context import Context
from pileus.records import Peering, PrefixList, SecurityGroup
from pileus.services.ec2.errors import MissingParameter, NotFound
from pileus.services.ec2.resources import PREFIX_LIST, SECURITY_GROUP, find_visible


class Peers:
    """Finds the peers of one group's rules, as the caller names them.

    ``present``: whether those rules are there already, so that what they name may be gone.
    """

    def __init__(self, context: Context, group: SecurityGroup, *, present: bool = False) -> None:
        self._context = context
        self._group = group
        self._present = present

    def group(self, pair: Mapping[str, Any]) -> dict[str, str]:
        """The fields of a rule whose peer is the group that a UserIdGroupPair names.

        One of another VPC, perhaps another account's, can be named by id as long as an active peering connects the two.
        Raises NotFound (InvalidGroup.NotFound), MalformedId, MissingParameter.
        """
        if pair.get("GroupId"):
            return self._by_id(pair["GroupId"], pair.get("UserId"))
        if pair.get("GroupName"):
            peer = self._by_name(pair["GroupName"], pair.get("UserId"))
            return {"group_id": peer.id, "group_account": peer.account}
        raise MissingParameter("groupName or groupId")

    def prefix_list(self, id_: str | None) -> str:
        """The id of a prefix list of the caller's or the cloud's own. Raises MissingParameter, MalformedId, NotFound."""
        if not id_:
            raise MissingParameter("prefixListId")
        visible = (self._context.account, "AWS")
        (found,) = find_visible(PREFIX_LIST, self._context, [id_], lambda record: record.account in visible)
        assert isinstance(found, PrefixList)
        return found.id

    def _by_name(self, name: str, owner: str | None) -> SecurityGroup:
        if owner in {None, "", self._context.account}:
            for group in self._context.view.list(SecurityGroup, vpc_id=self._group.vpc_id, name=name):
                return group
        raise NotFound(
            f"The security group '{name}' does not exist in VPC '{self._group.vpc_id}'", code="InvalidGroup.NotFound"
        )

    def _by_id(self, id_: str, owner: str | None) -> dict[str, str]:
        SECURITY_GROUP.check(id_)
        if self._present and id_ in self._group.referenced:
            return {"group_id": id_, "group_account": owner or self._context.account}
        peer = self._context.view.get(SecurityGroup, id_)
        if peer is None or peer.region != self._context.region or peer.account != (owner or self._context.account):
            raise SECURITY_GROUP.not_found([id_])
        fields = {"group_id": peer.id, "group_account": peer.account}
        if peer.vpc_id == self._group.vpc_id:
            return fields
        peering = self._peering_with(peer.vpc_id)
        if peering is None and peer.account != self._context.account:
            raise SECURITY_GROUP.not_found([id_])
        if peering is None:
            raise NotFound(
                f"You have specified two resources that belong to different networks: {self._group.id} and {peer.id}",
                code="InvalidGroup.NotFound",
            )
        return {**fields, "group_vpc_id": peer.vpc_id, "peering_id": peering.id}

    def _peering_with(self, vpc_id: str) -> Peering | None:
        for peering in self._context.view.list(Peering, vpc_ids=vpc_id):
            if peering.state == "active" and self._group.vpc_id in peering.vpc_ids:
                return peering
        return None
