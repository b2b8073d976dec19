"""The model of what a network lets pass."""

import pytest
from network_specs import INTERNET, OPEN_ACL, group, interface, network, route_table, subnet, tcp, vpc

from pileus.drivers.network.reachability import allows
from pileus.hostapi.network_spec import AclEntrySpec, AclSpec, NatGatewaySpec, RuleSpec

WEB = group("sg-web", tcp(80, cidr="0.0.0.0/0"), tcp(22, 25, cidr="10.0.0.6/32"))
DATABASE = group("sg-db", tcp(5432, source="sg-web"), RuleSpec(protocol="icmp", from_port=8, cidr="0.0.0.0/0"))
MUTE = group("sg-mute", egress=(RuleSpec(protocol="17", from_port=53, to_port=53, cidr="10.0.0.0/8"),))
SPEC = network(
    *(
        vpc(
            (group("sg-web", *WEB.ingress, members=("10.0.0.5",)), DATABASE, MUTE),
            interface(5, "sg-web", public="203.0.113.5"),
            interface(6, "sg-db"),
            interface(7, "sg-mute", "sg-unknown"),
            interface(8, "sg-web"),
        ),
        vpc((WEB,), interface(5, "sg-web", interface_id="eni-25", public="203.0.113.25"), name="vpc-2"),
    )
)


@pytest.mark.parametrize(
    ("source", "destination", "protocol", "port", "passes"),
    [
        ("eni-6", "10.0.0.5", "tcp", 80, True),
        ("eni-6", "10.0.0.5", "6", 24, True),
        ("eni-5", "10.0.0.5", "tcp", 24, False),
        ("eni-6", "10.0.0.5", "tcp", 26, False),
        ("eni-6", "10.0.0.5", "udp", 80, False),
        ("eni-5", "10.0.0.6", "tcp", 5432, True),
        ("eni-6", "10.0.0.6", "tcp", 5432, False),
        ("eni-5", "10.0.0.6", "icmp", 8, True),
        ("eni-5", "10.0.0.6", "icmp", 13, False),
        ("eni-7", "10.0.0.5", "tcp", 80, False),
        ("eni-5", "10.0.0.7", "tcp", 80, False),
        ("eni-5", "10.0.0.99", "tcp", 80, False),
        ("192.0.2.1", "203.0.113.5", "tcp", 80, True),
        ("192.0.2.1", "10.0.0.5", "tcp", 80, False),
        ("192.0.2.1", "203.0.113.8", "tcp", 80, False),
        ("eni-5", "203.0.113.25", "tcp", 80, True),
        ("eni-5", "203.0.113.5", "tcp", 80, True),
        ("eni-6", "203.0.113.25", "tcp", 80, False),
        ("eni-8", "203.0.113.25", "tcp", 80, False),
        ("eni-5", "192.0.2.1", "tcp", 80, True),
        ("eni-6", "192.0.2.1", "tcp", 80, False),
    ],
)
def test_what_passes(source: str, destination: str, protocol: str, port: int, passes: bool) -> None:
    assert allows(SPEC, source, destination, protocol, port) is passes


NAT = interface(90, kind="nat", public="203.0.113.90", subnet="10.0.16.0/20", interface_id="eni-90")
BEHIND_NAT = network(
    vpc(
        (group("sg-out"),),
        interface(5, "sg-out"),
        NAT,
        subnets=(subnet(table="rtb-private"), subnet("10.0.16.0/20")),
        route_tables=(INTERNET, route_table(("0.0.0.0/0", "nat", "nat-1"), name="rtb-private")),
        nat_gateways=(NatGatewaySpec(nat_gateway_id="nat-1", interface_id="eni-90"),),
    )
)


def test_a_nat_gateway_lets_out_and_nobody_in() -> None:
    assert allows(BEHIND_NAT, "eni-5", "192.0.2.1", "tcp", 443)
    assert not allows(BEHIND_NAT, "192.0.2.1", "203.0.113.90", "tcp", 443)
    assert not allows(BEHIND_NAT, "eni-5", "10.0.16.90", "tcp", 443)


@pytest.mark.parametrize(("answers", "passes"), [(OPEN_ACL.egress, True), (OPEN_ACL.egress[1:], False)])
def test_an_acl_must_let_answers_out(answers: tuple[AclEntrySpec, ...], passes: bool) -> None:
    acl = AclSpec(acl_id="acl-1", ingress=OPEN_ACL.ingress, egress=answers)
    spec = network(vpc((WEB,), interface(5, "sg-web", public="203.0.113.5"), acls=(acl,)))
    assert allows(spec, "192.0.2.1", "203.0.113.5", "tcp", 80) is passes
