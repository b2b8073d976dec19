"""Internet gateways and egress-only ones."""

import pytest
from routing_lab import Lab


@pytest.fixture
async def lab(cloud):
    return await Lab.make(cloud)


async def test_a_gateway_comes_and_goes(cloud, lab):
    tags = [{"Key": "a", "Value": "b"}]
    specification = [{"ResourceType": "internet-gateway", "Tags": tags}]
    made = (await lab.call("CreateInternetGateway", TagSpecifications=specification))["InternetGateway"]
    assert (made["Attachments"], made["OwnerId"], made["Tags"]) == ([], cloud.account, tags)
    gateway = made["InternetGatewayId"]
    await lab.call("AttachInternetGateway", InternetGatewayId=gateway, VpcId=lab.vpc_id)
    by_vpc = [{"Name": "attachment.vpc-id", "Values": [lab.vpc_id]}]
    (found,) = (await lab.call("DescribeInternetGateways", Filters=by_vpc))["InternetGateways"]
    assert found["Attachments"] == [{"State": "available", "VpcId": lab.vpc_id}]
    assert await lab.refused("DeleteInternetGateway", InternetGatewayId=gateway) == "DependencyViolation"
    await lab.call("DetachInternetGateway", InternetGatewayId=gateway, VpcId=lab.vpc_id)
    await lab.call("DeleteInternetGateway", InternetGatewayId=gateway)
    code = await lab.refused("DeleteInternetGateway", InternetGatewayId=gateway)
    assert code == "InvalidInternetGatewayID.NotFound"


async def test_one_gateway_for_one_vpc(cloud, lab):
    gateway, other = await lab.gateway(), await Lab.make(cloud, "10.9.0.0/16")
    spare = await lab.gateway(attached=False)
    code = await lab.refused("AttachInternetGateway", InternetGatewayId=gateway, VpcId=other.vpc_id)
    assert code == "Resource.AlreadyAssociated"
    code = await lab.refused("AttachInternetGateway", InternetGatewayId=spare, VpcId=lab.vpc_id)
    assert code == "InvalidParameterValue"
    code = await lab.refused("DetachInternetGateway", InternetGatewayId=gateway, VpcId=other.vpc_id)
    assert code == "Gateway.NotAttached"
    code = await lab.refused("DetachInternetGateway", InternetGatewayId=spare, VpcId=lab.vpc_id)
    assert code == "Gateway.NotAttached"


async def test_mapped_public_addresses_hold_it(lab):
    gateway, interface = await lab.gateway(), await lab.interface(await lab.subnet())
    address = await lab.elastic_ip()
    bound = await lab.call("AssociateAddress", AllocationId=address, NetworkInterfaceId=interface)
    detach = {"InternetGatewayId": gateway, "VpcId": lab.vpc_id}
    assert await lab.refused("DetachInternetGateway", **detach) == "DependencyViolation"
    await lab.call("DisassociateAddress", AssociationId=bound["AssociationId"])
    await lab.call("DetachInternetGateway", **detach)


async def test_five_in_a_region(lab):
    for _ in range(4):
        await lab.gateway(attached=False)
    assert await lab.refused("CreateInternetGateway") == "InternetGatewayLimitExceeded"


async def test_an_egress_only_gateway_comes_and_goes(lab):
    tags = [{"Key": "a", "Value": "b"}]
    params = {
        "VpcId": lab.vpc_id,
        "ClientToken": "once",
        "TagSpecifications": [{"ResourceType": "egress-only-internet-gateway", "Tags": tags}],
    }
    made = await lab.call("CreateEgressOnlyInternetGateway", **params)
    gateway = made["EgressOnlyInternetGateway"]
    assert gateway["Attachments"] == [{"State": "attached", "VpcId": lab.vpc_id}]
    assert (gateway["Tags"], made["ClientToken"]) == (tags, "once")
    assert await lab.call("CreateEgressOnlyInternetGateway", **params) == made
    found = await lab.call("DescribeEgressOnlyInternetGateways")
    assert found["EgressOnlyInternetGateways"] == [gateway]
    named = {"EgressOnlyInternetGatewayId": gateway["EgressOnlyInternetGatewayId"]}
    assert await lab.call("DeleteEgressOnlyInternetGateway", **named) == {"ReturnCode": True}
    assert await lab.refused("DeleteEgressOnlyInternetGateway", **named) == "InvalidGatewayID.NotFound"
