"""Each explanation code of Reachability Analyzer, in the smallest network that has it."""

import pytest
from insights_lab import Lab, allow, codes, entry, way

from pileus.records.instance import State


@pytest.fixture
def lab(cloud):
    return Lab(cloud)


@pytest.fixture
async def pair(lab):
    """Two instances in two subnets of a VPC, open to one another: VPC, subnets, instances."""
    vpc = await lab.vpc()
    subnets = await lab.subnet(vpc, "10.0.0.0/24"), await lab.subnet(vpc, "10.0.1.0/24")
    group = await lab.group(vpc, allow("-1"))
    return vpc, subnets, [await lab.launch(subnet, group) for subnet in subnets]


async def regroup(lab, interface, *groups):
    await lab.call("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=interface, Groups=list(groups))


async def test_the_way_between_two_subnets(lab, pair):
    vpc, subnets, ((one, eni, address), (other, far, far_address)) = pair
    found = await lab.look(one, other, 80)
    assert found["NetworkPathFound"] is True
    assert "Explanations" not in found
    forward, back = found["ForwardPathComponents"], found["ReturnPathComponents"]
    assert way(forward) == ["i", "eni", "sg", "acl", "rtb", "acl", "sg", "eni", "i"]
    assert way(back) == ["i", "eni", "acl", "rtb", "acl", "eni", "i"]
    arn = f"arn:aws:ec2:us-east-1:{lab.cloud.account}"
    assert forward[1] == {
        "SequenceNumber": 2,
        "Component": {"Id": eni, "Arn": f"{arn}:network-interface/{eni}"},
        "AttachedTo": {"Id": one, "Arn": f"{arn}:instance/{one}"},
        "Subnet": {"Id": subnets[0], "Arn": f"{arn}:subnet/{subnets[0]}"},
        "Vpc": {"Id": vpc, "Arn": f"{arn}:vpc/{vpc}"},
        "OutboundHeader": {
            "Protocol": "6",
            "SourceAddresses": [f"{address}/32"],
            "DestinationAddresses": [f"{far_address}/32"],
            "SourcePortRanges": [{"From": 0, "To": 65535}],
            "DestinationPortRanges": [{"From": 80, "To": 80}],
        },
    }
    assert forward[2]["SecurityGroupRule"] == {"Direction": "egress", "Protocol": "all", "Cidr": "0.0.0.0/0"}
    assert forward[3]["AclRule"] == {
        "Cidr": "0.0.0.0/0",
        "Egress": True,
        "Protocol": "all",
        "RuleAction": "allow",
        "RuleNumber": 100,
    }
    assert forward[4]["RouteTableRoute"] == {
        "DestinationCidr": "10.0.0.0/16",
        "GatewayId": "local",
        "Origin": "CreateRouteTable",
        "State": "active",
    }
    assert forward[7]["Component"]["Id"] == far
    assert forward[7]["InboundHeader"] == forward[1]["OutboundHeader"]


async def test_within_a_subnet_no_acl_is_passed(lab, pair):
    _, subnets, ((one, *_), _) = pair
    vpc = pair[0]
    await lab.acl(vpc, subnets[0])
    group = await lab.group(vpc, allow("-1"))
    other, *_ = await lab.launch(subnets[0], group)
    found = await lab.look(one, other, 80)
    assert way(found["ForwardPathComponents"]) == ["i", "eni", "sg", "sg", "eni", "i"]


async def test_groups_that_do_not_let_it_in_or_out(lab, pair):
    vpc, _, ((one, near, address), (other, far, _)) = pair
    group = await lab.group(vpc, allow("tcp", 22), egress=(allow("udp"),))
    await regroup(lab, near, group)
    await regroup(lab, far, group)
    found = await lab.look(one, other, 80)
    assert found["NetworkPathFound"] is False
    assert codes(found) == [("ENI_SG_RULES_MISMATCH", "egress"), ("ENI_SG_RULES_MISMATCH", "ingress")]
    out, into = found["Explanations"]
    assert (out["NetworkInterface"]["Id"], into["NetworkInterface"]["Id"]) == (near, far)
    assert [one["Id"] for one in into["SecurityGroups"]] == [group]
    assert (into["Port"], into["Protocols"], into["Address"]) == (80, ["tcp"], address)
    assert way(found["ForwardPathComponents"]) == ["i", "eni"]
    assert "ReturnPathComponents" not in found


async def test_groups_without_rules(lab, pair):
    vpc, _, ((one, near, _), (other, far, _)) = pair
    await regroup(lab, near, await lab.group(vpc, egress=()))
    await regroup(lab, far, await lab.group(vpc))
    found = await lab.look(one, other, 80)
    assert codes(found) == [("SG_HAS_NO_RULES", "egress"), ("SG_HAS_NO_RULES", "ingress")]


async def test_a_rule_that_names_a_group_means_its_members_and_prefix_lists_mean_their_cidrs(lab, pair):
    vpc, _, ((one, near, address), (other, far, _)) = pair
    members = await lab.group(vpc)
    await regroup(lab, far, await lab.group(vpc, allow("tcp", 80, group=members)))
    assert codes(await lab.look(one, other, 80)) == [("ENI_SG_RULES_MISMATCH", "ingress")]
    await regroup(lab, near, members)
    found = await lab.look(one, other, 80)
    assert found["NetworkPathFound"] is True
    assert found["ForwardPathComponents"][6]["SecurityGroupRule"]["SecurityGroupId"] == members
    listed = await lab.call(
        "CreateManagedPrefixList",
        PrefixListName="one",
        AddressFamily="IPv4",
        MaxEntries=2,
        Entries=[{"Cidr": f"{address}/32"}],
    )
    list_id = listed["PrefixList"]["PrefixListId"]
    permission = {"IpProtocol": "tcp", "FromPort": 81, "ToPort": 81, "PrefixListIds": [{"PrefixListId": list_id}]}
    await regroup(lab, far, await lab.group(vpc, permission))
    assert (await lab.look(one, other, 81))["NetworkPathFound"] is True
    assert (await lab.look(other, one, 81))["Explanations"]


async def test_acls_stop_it_on_all_four_borders(lab, pair):
    vpc, subnets, ((one, *_), (other, *_)) = pair
    await lab.acl(
        vpc, subnets[0], entry(egress=True, protocol="17"), entry(egress=False, ports=(1024, 2000), protocol="6")
    )
    blocked = entry("deny", egress=False, protocol="6", ports=(80, 80))
    acl = await lab.acl(vpc, subnets[1], blocked, entry(egress=False), entry("deny", egress=True), entry(egress=True))
    found = await lab.look(one, other, 80)
    assert codes(found) == [
        ("SUBNET_ACL_RESTRICTION", "egress"),
        ("SUBNET_ACL_RESTRICTION", "ingress"),
        ("SUBNET_ACL_RESTRICTION", "egress"),
        ("SUBNET_ACL_RESTRICTION", "ingress"),
    ]
    assert found["Explanations"][1]["Acl"]["Id"] == acl
    assert found["Explanations"][1]["AclRule"]["RuleNumber"] == 1
    assert found["Explanations"][1]["Subnet"]["Id"] == subnets[1]
    assert way(found["ForwardPathComponents"]) == ["i", "eni", "sg"]


async def test_no_route(lab, pair):
    vpc, _, ((one, *_), _) = pair
    gateway = await lab.gateway(vpc)
    found = await lab.look(one, gateway, 443)
    (explained,) = found["Explanations"]
    assert explained["ExplanationCode"] == "NO_ROUTE_TO_DESTINATION"
    assert explained["RouteTable"]["Id"] == await lab.main_table(vpc)
    assert explained["Destination"]["Id"] == gateway
    assert explained["Vpc"]["Id"] == vpc


async def test_the_internet_from_within(lab, pair):
    vpc, subnets, ((one, near, address), _) = pair
    gateway = await lab.gateway(vpc)
    await lab.route(await lab.main_table(vpc), "0.0.0.0/0", gateway)
    found = await lab.look(one, gateway, 443)
    assert codes(found) == [("IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS", "egress")]
    (explained,) = found["Explanations"]
    assert (explained["InternetGateway"]["Id"], explained["NetworkInterface"]["Id"]) == (gateway, near)
    assert explained["Address"] == address
    public, eni, private = await lab.launch(subnets[0], await lab.group(vpc), public=True)
    found = await lab.look(public, gateway, 443)
    assert found["NetworkPathFound"] is True
    assert way(found["ForwardPathComponents"]) == ["i", "eni", "sg", "acl", "rtb", "igw"]
    assert way(found["ReturnPathComponents"]) == ["igw", "acl", "eni", "i"]
    last = found["ForwardPathComponents"][-1]
    assert last["InboundHeader"]["SourceAddresses"] == [f"{private}/32"]
    assert last["OutboundHeader"]["SourceAddresses"] == [f"{await lab.public_address(eni)}/32"]
    assert last["OutboundHeader"]["DestinationAddresses"] == ["0.0.0.0/0"]
    reply = found["ReturnPathComponents"][0]
    assert reply["InboundHeader"]["SourceAddresses"] == ["0.0.0.0/0"]


async def test_private_addresses_do_not_leave_by_an_internet_gateway(lab, pair):
    vpc, subnets, _ = pair
    gateway = await lab.gateway(vpc)
    await lab.route(await lab.main_table(vpc), "0.0.0.0/0", gateway)
    public, *_ = await lab.launch(subnets[0], await lab.group(vpc), public=True)
    for address, family in (("192.168.1.1", "RFC1918"), ("172.16.0.1", "RFC1918"), ("100.64.0.1", "RFC6598")):
        found = await lab.look(public, FilterAtSource={"DestinationAddress": address})
        assert codes(found) == [(f"IGW_DESTINATION_ADDRESS_NOT_IN_{family}_EGRESS", "egress")]


async def test_the_internet_from_without(lab, pair):
    vpc, subnets, ((private, *_), _) = pair
    gateway = await lab.gateway(vpc)
    table = await lab.table(vpc, subnets[0])
    instance, eni, address = await lab.launch(subnets[0], await lab.group(vpc, allow("tcp", 22)), public=True)
    found = await lab.look(gateway, instance, 22)
    (explained,) = found["Explanations"]  # the answer does not know the way
    assert (explained["ExplanationCode"], explained["RouteTable"]["Id"]) == ("NO_ROUTE_TO_DESTINATION", table)
    await lab.route(table, "0.0.0.0/0", gateway)
    found = await lab.look(gateway, instance, 22)
    assert found["NetworkPathFound"] is True
    assert way(found["ForwardPathComponents"]) == ["igw", "acl", "sg", "eni", "i"]
    first = found["ForwardPathComponents"][0]
    assert first["InboundHeader"]["DestinationAddresses"] == [f"{await lab.public_address(eni)}/32"]
    assert first["OutboundHeader"]["DestinationAddresses"] == [f"{address}/32"]
    assert codes(await lab.look(gateway, instance, 23)) == [("ENI_SG_RULES_MISMATCH", "ingress")]
    found = await lab.look(gateway, private, 22)
    assert ("IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS", "ingress") in codes(found)
    found = await lab.look(gateway, instance, 22, SourceIp="10.9.9.9")
    assert ("IGW_SOURCE_ADDRESS_NOT_IN_RFC1918_INGRESS", "ingress") in codes(found)
    found = await lab.look(gateway, instance, 22, SourceIp="100.64.9.9")
    assert ("IGW_SOURCE_ADDRESS_NOT_IN_RFC6598_INGRESS", "ingress") in codes(found)


async def test_an_answer_by_a_nat_gateway_is_of_no_use(lab, pair):
    vpc, subnets, _ = pair
    gateway = await lab.gateway(vpc)
    nat = await lab.nat(subnets[1])
    await lab.route(await lab.table(vpc, subnets[1]), "0.0.0.0/0", gateway)
    await lab.route(await lab.table(vpc, subnets[0]), "0.0.0.0/0", nat)
    instance, *_ = await lab.launch(subnets[0], await lab.group(vpc, allow("tcp", 22)), public=True)
    found = await lab.look(gateway, instance, 22)
    (explained,) = found["Explanations"]
    assert (explained["ExplanationCode"], explained["NatGateway"]["Id"]) == ("NGW_SOURCE_ADDRESS_REASSIGN", nat)


async def test_a_nat_gateway_on_the_way(lab, pair):
    vpc, subnets, ((one, _, address), _) = pair
    gateway = await lab.gateway(vpc)
    nat = await lab.nat(subnets[1])
    await lab.route(await lab.table(vpc, subnets[0]), "0.0.0.0/0", nat)
    found = await lab.look(one, gateway, 443)
    assert codes(found) == [("NO_ROUTE_TO_DESTINATION", None)]
    await lab.route(await lab.table(vpc, subnets[1]), "0.0.0.0/0", gateway)
    found = await lab.look(one, gateway, 443)
    assert found["NetworkPathFound"] is True
    assert way(found["ForwardPathComponents"]) == ["i", "eni", "sg", "acl", "rtb", "acl", "nat", "acl", "rtb", "igw"]
    assert way(found["ReturnPathComponents"]) == ["igw", "acl", "nat", "acl", "rtb", "acl", "eni", "i"]
    assert found["ReturnPathComponents"][2]["OutboundHeader"]["DestinationAddresses"] == [f"{address}/32"]
    await lab.acl(vpc, subnets[1], entry(egress=True), entry(egress=False, cidr="10.0.0.0/16"))
    found = await lab.look(one, gateway, 443)
    assert codes(found) == [("SUBNET_ACL_RESTRICTION", "ingress")]


async def test_nobody_connects_to_a_nat_gateway(lab, pair):
    _, subnets, ((one, *_), _) = pair
    nat = await lab.private_nat(subnets[1])
    (drawn,) = (await lab.call("DescribeNatGateways", NatGatewayIds=[nat]))["NatGateways"]
    address = drawn["NatGatewayAddresses"][0]["PrivateIp"]
    found = await lab.look(one, FilterAtSource={"DestinationAddress": address})
    assert codes(found) == [("NO_POSSIBLE_DESTINATION", None)]
    assert found["Explanations"][0]["NatGateway"]["Id"] == nat


async def test_a_route_whose_target_is_gone(lab, pair):
    vpc, _, ((one, *_), _) = pair
    gateway = await lab.gateway(vpc)
    await lab.route(await lab.main_table(vpc), "0.0.0.0/0", gateway)
    await lab.call("DetachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
    found = await lab.look(one, gateway, 443)
    (explained,) = found["Explanations"]
    assert (explained["ExplanationCode"], explained["State"]) == ("BAD_STATE_ROUTE", "blackhole")
    assert explained["RouteTableRoute"]["GatewayId"] == gateway


async def test_routes_that_lead_elsewhere(lab, pair):
    vpc, subnets, _ = pair
    gateway = await lab.gateway(vpc)
    nat = await lab.nat(subnets[1])
    table = await lab.main_table(vpc)
    await lab.route(table, "8.0.0.0/8", nat)
    await lab.route(table, "0.0.0.0/0", gateway)
    other = await lab.vpc("10.1.0.0/16")
    peering = await lab.peering(vpc, other)
    public, *_ = await lab.launch(subnets[0], await lab.group(vpc), public=True)
    found = await lab.look(public, peering, FilterAtSource={"DestinationAddress": "10.1.0.9"})
    assert codes(found)[-1] == ("NO_ROUTE_TO_DESTINATION", None)
    await lab.route(table, "10.1.0.0/24", peering)
    found = await lab.look(public, peering, FilterAtSource={"DestinationAddress": "10.1.9.9"})
    assert codes(found)[-1] == ("CANNOT_ROUTE", None)
    assert found["Explanations"][-1]["RouteTableRoute"]["VpcPeeringConnectionId"] == peering


async def test_a_more_specific_route(lab, pair):
    vpc, subnets, _ = pair
    gateway, other = await lab.gateway(vpc), await lab.vpc("10.1.0.0/16")
    peering = await lab.peering(vpc, other)
    table = await lab.main_table(vpc)
    await lab.route(table, "10.0.0.0/8", gateway)
    await lab.route(table, "10.1.0.0/24", peering)
    await lab.route(await lab.main_table(other), "10.0.0.0/16", peering)
    open_group = await lab.group(other, allow("-1"))
    _, _, there = await lab.launch(await lab.subnet(other, "10.1.0.0/24"), open_group)
    public, *_ = await lab.launch(subnets[0], await lab.group(vpc), public=True)
    found = await lab.look(public, gateway, FilterAtSource={"DestinationAddress": there})
    (explained,) = found["Explanations"]
    assert (explained["ExplanationCode"], explained["RouteTable"]["Id"]) == ("MORE_SPECIFIC_ROUTE", table)
    assert explained["RouteTableRoute"]["GatewayId"] == gateway
    assert (await lab.look(public, FilterAtSource={"DestinationAddress": there}))["NetworkPathFound"] is True


async def test_addresses_that_nobody_has(lab, pair):
    _, _, ((one, *_), _) = pair
    found = await lab.look(one, FilterAtSource={"DestinationAddress": "10.0.77.7"})
    (explained,) = found["Explanations"]
    assert (explained["ExplanationCode"], explained["Address"]) == ("NO_POSSIBLE_DESTINATION", "10.0.77.7")


async def test_what_is_not_running_neither_sends_nor_receives(lab, pair):
    vpc, subnets, ((one, *_), (other, *_)) = pair
    await lab.call("StopInstances", InstanceIds=[other])
    lab.cloud.enter(other, State.STOPPED)
    for source, destination in ((one, other), (other, one)):
        found = await lab.look(source, destination, 80)
        assert codes(found) == [("BAD_STATE", None)]
        assert found["Explanations"][0]["Component"]["Id"] == other
    group = await lab.group(vpc, allow("-1"))
    loose = await lab.call("CreateNetworkInterface", SubnetId=subnets[0], Groups=[group])
    id_ = loose["NetworkInterface"]["NetworkInterfaceId"]
    found = await lab.look(one, id_, 80)
    assert codes(found) == [("BAD_STATE_ATTACHMENT", None)]
    assert found["Explanations"][0]["NetworkInterface"]["Id"] == id_


async def test_spoofed_sources_are_checked(lab, pair):
    _, _, ((one, near, address), (other, *_)) = pair
    found = await lab.look(one, other, 80, SourceIp="192.168.99.1")
    explained = found["Explanations"][0]
    assert (explained["ExplanationCode"], explained["Direction"]) == ("ENI_SOURCE_DEST_CHECK_RESTRICTION", "egress")
    assert (explained["NetworkInterface"]["Id"], explained["Addresses"]) == (near, [address])


async def test_by_a_router(lab, pair):
    vpc, subnets, ((one, *_), (_, eni, _)) = pair
    gateway = await lab.gateway(vpc)
    public = await lab.subnet(vpc, "10.0.2.0/24")
    await lab.route(await lab.table(vpc, subnets[0]), "8.0.0.0/8", eni)
    await lab.route(await lab.table(vpc, subnets[1]), "0.0.0.0/0", await lab.nat(public))
    await lab.route(await lab.table(vpc, public), "0.0.0.0/0", gateway)
    to = {"FilterAtSource": {"DestinationAddress": "8.8.8.8", "DestinationPortRange": {"FromPort": 53, "ToPort": 53}}}
    found = await lab.look(one, protocol="udp", **to)
    assert codes(found) == [("ENI_SOURCE_DEST_CHECK_RESTRICTION", "ingress")]
    assert found["Explanations"][0]["NetworkInterface"]["Id"] == eni
    await lab.call("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=eni, SourceDestCheck={"Value": False})
    found = await lab.look(one, protocol="udp", **to)
    assert found["NetworkPathFound"] is True
    passed = way(found["ForwardPathComponents"])
    assert passed.count("eni") == 2
    assert passed[-1] == "igw"
