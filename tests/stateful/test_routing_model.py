"""Random routes and random fates of what they lead to, against a naive model: which target each has, and whether it works."""

import asyncio
import shutil
import tempfile
from ipaddress import ip_network
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pileus.base.config import Config
from pileus.base.errors import ServiceError
from pileus.controllers import routing
from pileus.testing.consistency import problems
from pileus.testing.in_process import DirectCloud

OWN, MORE, PEER = "10.0.0.0/16", "10.64.0.0/16", "10.1.0.0/16"
SUBNET, NO_SUBNET = "10.0.1.0/24", "10.0.3.0/24"
DESTINATIONS = ("0.0.0.0/0", "::/0", "192.0.2.0/24", OWN, MORE, PEER, SUBNET, NO_SUBNET, "10.64.5.0/24")
PARAMETERS = {
    "igw": "GatewayId",
    "eigw": "EgressOnlyInternetGatewayId",
    "nat": "NatGatewayId",
    "eni": "NetworkInterfaceId",
    "pcx": "VpcPeeringConnectionId",
}
MEMBERS = (*PARAMETERS.values(), "GatewayId")
kinds = st.sampled_from(sorted(PARAMETERS))
destinations = st.sampled_from(DESTINATIONS)


def named(destination):
    return {"DestinationIpv6CidrBlock" if ":" in destination else "DestinationCidrBlock": destination}


def within(one, others):
    network = ip_network(one)
    return any(network.version == ip_network(o).version and network.subnet_of(ip_network(o)) for o in others)


class Routes(RuleBasedStateMachine):
    """The model: what was written (``routes``, target by destination), the VPC's CIDRs, the newest target of each kind
    (``newest``), and of all targets which may be named (``usable``) and which ``work``.
    """

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp(prefix="pileus-"))
        self.cloud = DirectCloud.open(self.directory, Config())
        self.routes, self.local = {}, {OWN: None}
        self.newest, self.usable, self.work = {}, set(), set()

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

    @initialize()
    def build(self):
        self.vpc = self.call("CreateVpc", CidrBlock=OWN)["Vpc"]["VpcId"]
        self.peer = self.call("CreateVpc", CidrBlock=PEER)["Vpc"]["VpcId"]
        self.subnet = self.call("CreateSubnet", VpcId=self.vpc, CidrBlock=SUBNET)["Subnet"]["SubnetId"]
        self.table = self.call("CreateRouteTable", VpcId=self.vpc)["RouteTable"]["RouteTableId"]
        gateway = self.call("CreateInternetGateway")["InternetGateway"]["InternetGatewayId"]
        self.newest["igw"] = gateway

    # What routes lead to

    @rule()
    def internet_gateway_comes_or_goes(self):
        gateway = self.newest["igw"]
        params = {"InternetGatewayId": gateway, "VpcId": self.vpc}
        if gateway in self.work:
            self.call("DetachInternetGateway", **params)
            self.usable.discard(gateway)
            self.work.discard(gateway)
        else:
            self.call("AttachInternetGateway", **params)
            self._appears("igw", gateway, works=True)

    def _appears(self, kind, target, *, works):
        self.newest[kind] = target
        self.usable.add(target)
        if works:
            self.work.add(target)

    def _goes(self, target):
        self.usable.discard(target)
        self.work.discard(target)

    @rule()
    def egress_only_gateway_comes_or_goes(self):
        gateway = self.newest.get("eigw")
        if gateway in self.work:
            self.call("DeleteEgressOnlyInternetGateway", EgressOnlyInternetGatewayId=gateway)
            self._goes(gateway)
        else:
            made = self.call("CreateEgressOnlyInternetGateway", VpcId=self.vpc)["EgressOnlyInternetGateway"]
            self._appears("eigw", made["EgressOnlyInternetGatewayId"], works=True)

    @rule()
    def nat_gateway_comes_or_goes(self):
        nat = self.newest.get("nat")
        if nat in self.usable:
            self.call("DeleteNatGateway", NatGatewayId=nat)
            self._goes(nat)
        else:
            self.controllers_settle()  # five that are on their way are the most that a zone has
            made = self.call("CreateNatGateway", SubnetId=self.subnet, ConnectivityType="private")["NatGateway"]
            self._appears("nat", made["NatGatewayId"], works=False)

    @rule()
    def controllers_settle(self):
        now = self.cloud.clock.now()
        self.cloud.store.transact(lambda tx: routing.settle(tx, now))
        nat = self.newest.get("nat")
        if nat in self.usable:
            self.work.add(nat)

    @rule()
    def interface_comes_or_goes(self):
        """It is in no instance, so it is a target that never works."""
        interface = self.newest.get("eni")
        if interface in self.usable:
            self.call("DeleteNetworkInterface", NetworkInterfaceId=interface)
            self._goes(interface)
        else:
            made = self.call("CreateNetworkInterface", SubnetId=self.subnet)["NetworkInterface"]
            self._appears("eni", made["NetworkInterfaceId"], works=False)

    @rule()
    def peering_goes_on(self):
        """Asked for, accepted, deleted, asked for again."""
        peering = self.newest.get("pcx")
        if peering in self.work:
            self.call("DeleteVpcPeeringConnection", VpcPeeringConnectionId=peering)
            self._goes(peering)
        elif peering in self.usable:
            self.call("AcceptVpcPeeringConnection", VpcPeeringConnectionId=peering)
            self.work.add(peering)
        else:
            made = self.call("CreateVpcPeeringConnection", VpcId=self.vpc, PeerVpcId=self.peer)
            self._appears("pcx", made["VpcPeeringConnection"]["VpcPeeringConnectionId"], works=False)

    @rule()
    def cidr_comes_or_goes(self):
        if MORE in self.local:
            self.call("DisassociateVpcCidrBlock", AssociationId=self.local.pop(MORE))
            return
        params = {"VpcId": self.vpc, "CidrBlock": MORE}
        try:
            made = self.call("AssociateVpcCidrBlock", **params)
        except ServiceError:
            assert any(within(MORE, [one]) or within(one, [MORE]) for one in self.routes)
        else:
            self.local[MORE] = made["CidrBlockAssociation"]["AssociationId"]

    # Routes

    def _listed(self):
        return {**dict.fromkeys(self.local, "local"), **self.routes}

    def _fits(self, destination, kind):
        """Whether a route may lead from here to a target of this kind."""
        if kind == "eigw" and ":" not in destination:
            return False
        if not within(destination, self.local):
            return True
        return kind in {"nat", "eni"} and (destination in self.local or destination == SUBNET)

    @rule(destination=destinations, kind=kinds)
    def create(self, destination, kind):
        target = self.newest.get(kind, f"{kind}-0123456789abcdef0")
        code = self.refused("CreateRoute", RouteTableId=self.table, **named(destination), **{PARAMETERS[kind]: target})
        if destination in self._listed():
            assert code == "RouteAlreadyExists"
        elif target in self.usable and self._fits(destination, kind):
            assert code is None
            self.routes[destination] = target
        else:
            assert code is not None

    @rule(destination=destinations, kind=kinds)
    def replace(self, destination, kind):
        target = self.newest.get(kind, f"{kind}-0123456789abcdef0")
        code = self.refused("ReplaceRoute", RouteTableId=self.table, **named(destination), **{PARAMETERS[kind]: target})
        if destination in self._listed() and target in self.usable and self._fits(destination, kind):
            assert code is None
            self.routes[destination] = target
        else:
            assert code is not None

    @rule(destination=destinations)
    def make_local_again(self, destination):
        code = self.refused("ReplaceRoute", RouteTableId=self.table, **named(destination), LocalTarget=True)
        assert (code is None) == (destination in self.local)
        if code is None:
            self.routes.pop(destination, None)

    @rule(destination=destinations)
    def delete(self, destination):
        code = self.refused("DeleteRoute", RouteTableId=self.table, **named(destination))
        if destination in self.local:
            assert code == "InvalidParameterValue"
        elif destination in self.routes:
            assert code is None
            del self.routes[destination]
        else:
            assert code == "InvalidRoute.NotFound"

    @invariant()
    def what_is_listed_is_what_the_model_says(self):
        if not hasattr(self, "table"):
            return
        (table,) = self.call("DescribeRouteTables", RouteTableIds=[self.table])["RouteTables"]
        listed = {
            next(value for name, value in route.items() if name.startswith("Destination")): (
                next(route[name] for name in MEMBERS if name in route),
                route["State"],
            )
            for route in table["Routes"]
        }
        assert len(listed) == len(table["Routes"])
        assert listed == {
            destination: (target, "active" if target in self.work | {"local"} else "blackhole")
            for destination, target in self._listed().items()
        }

    @invariant()
    def the_records_fit_together(self):
        assert problems(self.cloud.store.view(), self.cloud.config) == []


TestRoutes = Routes.TestCase
TestRoutes.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
