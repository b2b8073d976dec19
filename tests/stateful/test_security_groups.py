"""Random changes to the rules of two groups against a set of tuples: what is listed is what was authorised and not revoked."""

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pileus.base.config import Config
from pileus.base.errors import ServiceError
from pileus.testing.in_process import DirectCloud

GROUPS = ("web", "db")
ports = st.sampled_from([("tcp", 22, 22), ("tcp", 1, 1024), ("udp", 53, 53), ("icmp", 8, -1), ("-1", -1, -1)])
peers = st.sampled_from(["0.0.0.0/0", "10.0.0.0/8", "192.0.2.1/32", *GROUPS])
sides = st.sampled_from(["Ingress", "Egress"])


class Rules(RuleBasedStateMachine):
    """The model: (group, side, protocol, from, to, peer) of every rule."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp(prefix="pileus-"))
        self.cloud = DirectCloud.open(self.directory, Config())
        self.ids = {
            name: self.call("CreateSecurityGroup", GroupName=name, Description=name)["GroupId"] for name in GROUPS
        }
        self.model = {(name, "Egress", "-1", -1, -1, "0.0.0.0/0") for name in GROUPS}

    def teardown(self):
        self.cloud.close()
        self.loop.close()
        shutil.rmtree(self.directory)

    def call(self, operation, **params):
        return self.loop.run_until_complete(self.cloud.call("ec2", operation, **params))

    def refused(self, operation, **params):
        try:
            self.call(operation, **params)
        except ServiceError as error:
            return error.code
        return None

    def permission(self, port, *among):
        """One permission of several peers."""
        cidrs = [{"CidrIp": peer} for peer in among if peer not in GROUPS]
        pairs = [{"GroupId": self.ids[peer]} for peer in among if peer in GROUPS]
        protocol, first, last = port
        return [
            {"IpProtocol": protocol, "FromPort": first, "ToPort": last, "IpRanges": cidrs, "UserIdGroupPairs": pairs}
        ]

    @rule(
        group=st.sampled_from(GROUPS),
        side=sides,
        port=ports,
        among=st.lists(peers, min_size=1, max_size=3, unique=True),
    )
    def authorize(self, group, side, port, among):
        new = {(group, side, *port, peer) for peer in among}
        params = {"GroupId": self.ids[group], "IpPermissions": self.permission(port, *among)}
        code = self.refused(f"AuthorizeSecurityGroup{side}", **params)
        if new & self.model:
            assert code == "InvalidPermission.Duplicate"  # and none of the others is added
        else:
            assert code is None
            self.model |= new

    @rule(
        group=st.sampled_from(GROUPS),
        side=sides,
        port=ports,
        among=st.lists(peers, min_size=1, max_size=3, unique=True),
    )
    def revoke(self, group, side, port, among):
        """In the default VPC, what is not there is told and not refused."""
        named = {(group, side, *port, peer) for peer in among}
        answer = self.call(
            f"RevokeSecurityGroup{side}", GroupId=self.ids[group], IpPermissions=self.permission(port, *among)
        )
        assert len(answer["RevokedSecurityGroupRules"]) == len(named & self.model)
        assert bool(answer["UnknownIpPermissions"]) == bool(named - self.model)
        self.model -= named

    @rule(data=st.data(), port=ports, peer=st.sampled_from(["0.0.0.0/0", "198.51.100.0/24"]))
    def modify(self, data, port, peer):
        if not self.model:
            return
        before = data.draw(st.sampled_from(sorted(self.model)))
        group, side = before[:2]
        wanted = (group, side, *port, peer)
        update = {"IpProtocol": port[0], "FromPort": port[1], "ToPort": port[2], "CidrIpv4": peer}
        rule_id = next(one["SecurityGroupRuleId"] for one in self.listed() if self.known(one) == before)
        code = self.refused(
            "ModifySecurityGroupRules",
            GroupId=self.ids[group],
            SecurityGroupRules=[{"SecurityGroupRuleId": rule_id, "SecurityGroupRule": update}],
        )
        if wanted in self.model - {before}:
            assert code == "InvalidPermission.Duplicate"
        else:
            assert code is None
            self.model = self.model - {before} | {wanted}

    @rule(group=st.sampled_from(GROUPS))
    def delete(self, group):
        """Only a group that no other names can go; then it comes again, new."""
        used = any(peer == group and owner != group for owner, *_, peer in self.model)
        code = self.refused("DeleteSecurityGroup", GroupId=self.ids[group])
        assert code == ("DependencyViolation" if used else None)
        if code is None:
            self.ids[group] = self.call("CreateSecurityGroup", GroupName=group, Description=group)["GroupId"]
            self.model = {one for one in self.model if one[0] != group}
            self.model.add((group, "Egress", "-1", -1, -1, "0.0.0.0/0"))

    def listed(self):
        wanted = [{"Name": "group-id", "Values": list(self.ids.values())}]
        return self.call("DescribeSecurityGroupRules", Filters=wanted)["SecurityGroupRules"]

    def known(self, told):
        """A rule of an answer as the model has it."""
        names = {id_: name for name, id_ in self.ids.items()}
        referenced = told.get("ReferencedGroupInfo", {}).get("GroupId")
        side = "Egress" if told["IsEgress"] else "Ingress"
        peer = names[referenced] if referenced else told["CidrIpv4"]
        return names[told["GroupId"]], side, told["IpProtocol"], told["FromPort"], told["ToPort"], peer

    @invariant()
    def what_is_listed_is_what_was_said(self):
        listed = [self.known(one) for one in self.listed()]
        assert len(listed) == len(set(listed))
        assert set(listed) == self.model


TestRules = Rules.TestCase
TestRules.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
