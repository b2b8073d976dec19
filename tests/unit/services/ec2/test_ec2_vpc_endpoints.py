"""VPC endpoints: gateway endpoints with their routes, interface endpoints with their interfaces."""

import json

import pytest
from routing_lab import Lab, settle

S3 = "com.amazonaws.us-east-1.s3"
EC2 = "com.amazonaws.us-east-1.ec2"


@pytest.fixture
async def lab(cloud):
    lab = await Lab.make(cloud)
    await lab.call("ModifyVpcAttribute", VpcId=lab.vpc_id, EnableDnsHostnames={"Value": True})
    return lab


async def create(lab, **params):
    answer = await lab.call("CreateVpcEndpoint", VpcId=lab.vpc_id, **{"ServiceName": S3, **params})
    return answer["VpcEndpoint"]


async def shown(lab, endpoint):
    (found,) = (await lab.call("DescribeVpcEndpoints", VpcEndpointIds=[endpoint]))["VpcEndpoints"]
    return found


async def s3_list(lab):
    by_name = [{"Name": "prefix-list-name", "Values": [S3]}]
    (found,) = (await lab.call("DescribePrefixLists", Filters=by_name))["PrefixLists"]
    return found["PrefixListId"]


async def interfaces(lab):
    return {
        one["NetworkInterfaceId"]: one for one in (await lab.call("DescribeNetworkInterfaces"))["NetworkInterfaces"]
    }


async def test_a_gateway_endpoint_is_a_route_in_its_tables(cloud, lab):
    first, second = await lab.table(), await lab.table()
    params = {
        "VpcId": lab.vpc_id,
        "ServiceName": S3,
        "RouteTableIds": [first],
        "ClientToken": "once",
        "TagSpecifications": [{"ResourceType": "vpc-endpoint", "Tags": [{"Key": "a", "Value": "b"}]}],
    }
    answer = await lab.call("CreateVpcEndpoint", **params)
    made = answer["VpcEndpoint"]
    assert (made["VpcEndpointType"], made["State"], made["RouteTableIds"]) == ("Gateway", "available", [first])
    assert (made["OwnerId"], made["DnsEntries"], made["Tags"]) == (cloud.account, [], [{"Key": "a", "Value": "b"}])
    assert await lab.call("CreateVpcEndpoint", **params) == answer
    endpoint, destination = made["VpcEndpointId"], await s3_list(lab)
    assert (await lab.routes(first))[destination] == (endpoint, "active")
    await lab.call("ModifyVpcEndpoint", VpcEndpointId=endpoint, AddRouteTableIds=[second], RemoveRouteTableIds=[first])
    assert destination not in await lab.routes(first)
    assert (await lab.routes(second))[destination] == (endpoint, "active")
    assert await lab.call("DeleteVpcEndpoints", VpcEndpointIds=[endpoint]) == {"Unsuccessful": []}
    assert set(await lab.routes(second)) == {"10.0.0.0/16"}
    settle(cloud)
    code = await lab.refused("DescribeVpcEndpoints", VpcEndpointIds=[endpoint])
    assert code == "InvalidVpcEndpointId.NotFound"


async def test_its_route_is_not_the_callers_to_change(lab):
    table, gateway = await lab.table(), await lab.gateway()
    await create(lab, RouteTableIds=[table])
    route = {"RouteTableId": table, "DestinationPrefixListId": await s3_list(lab)}
    assert await lab.refused("DeleteRoute", **route) == "InvalidParameterValue"
    assert await lab.refused("ReplaceRoute", **route, GatewayId=gateway) == "InvalidParameterValue"
    assert await lab.refused("CreateRoute", **route, GatewayId=gateway) == "RouteAlreadyExists"
    code = await lab.refused("CreateVpcEndpoint", VpcId=lab.vpc_id, ServiceName=S3, RouteTableIds=[table])
    assert code == "RouteAlreadyExists"
    assert len((await lab.call("DescribeVpcEndpoints"))["VpcEndpoints"]) == 1


async def test_a_table_goes_from_its_endpoint(lab):
    table = await lab.table()
    endpoint = (await create(lab, RouteTableIds=[table]))["VpcEndpointId"]
    await lab.call("DeleteRouteTable", RouteTableId=table)
    assert (await shown(lab, endpoint))["RouteTableIds"] == []


async def test_an_interface_endpoint_has_an_interface_in_each_subnet(cloud, lab):
    one, other = await lab.subnet(), await lab.subnet("10.0.1.0/24", zone="b")
    made = await create(
        lab,
        ServiceName=EC2,
        VpcEndpointType="Interface",
        SubnetIds=[one, other],
        SubnetConfigurations=[{"SubnetId": one, "Ipv4": "10.0.0.40"}],
    )
    assert (made["State"], made["PrivateDnsEnabled"], made["SubnetIds"]) == ("pending", True, [one, other])
    settle(cloud)
    endpoint = await shown(lab, made["VpcEndpointId"])
    found = await interfaces(lab)
    assert endpoint["State"] == "available"
    assert set(endpoint["NetworkInterfaceIds"]) == set(found)
    assert [group["GroupName"] for group in endpoint["Groups"]] == ["default"]
    for interface in found.values():
        assert (interface["InterfaceType"], interface["RequesterManaged"]) == ("vpc_endpoint", True)
        assert interface["Description"] == f"VPC Endpoint Interface {endpoint['VpcEndpointId']}"
        assert interface["Groups"] == endpoint["Groups"]
    assert {one["PrivateIpAddress"] for one in found.values() if one["SubnetId"] == endpoint["SubnetIds"][0]} == {
        "10.0.0.40"
    }
    names = [entry["DnsName"] for entry in endpoint["DnsEntries"]]
    assert names[0].startswith(f"{endpoint['VpcEndpointId']}-")
    assert names[0].endswith(".ec2.us-east-1.vpce.amazonaws.com")
    assert ["us-east-1a" in names[1], "us-east-1b" in names[2]] == [True, True]
    assert names[3:] == ["ec2.us-east-1.amazonaws.com"]
    await lab.call("DeleteVpcEndpoints", VpcEndpointIds=[endpoint["VpcEndpointId"]])
    assert (await shown(lab, endpoint["VpcEndpointId"]))["State"] == "deleting"
    settle(cloud)
    assert await interfaces(lab) == {}
    await lab.call("DeleteSubnet", SubnetId=one)


async def test_its_subnets_and_groups_change(cloud, lab):
    one, other = await lab.subnet(), await lab.subnet("10.0.1.0/24", zone="b")
    group = (await lab.call("CreateSecurityGroup", GroupName="x", Description="x", VpcId=lab.vpc_id))["GroupId"]
    made = await create(lab, ServiceName=EC2, VpcEndpointType="Interface", SubnetIds=[one])
    settle(cloud)
    (before,) = made["NetworkInterfaceIds"]
    named = {"VpcEndpointId": made["VpcEndpointId"]}
    default = made["Groups"][0]["GroupId"]
    await lab.call("ModifyVpcEndpoint", **named, AddSubnetIds=[other], RemoveSubnetIds=[one])
    settle(cloud)
    endpoint = await shown(lab, made["VpcEndpointId"])
    (after,) = endpoint["NetworkInterfaceIds"]
    assert (endpoint["SubnetIds"], list(await interfaces(lab))) == ([other], [after])
    assert before != after
    await lab.call("ModifyVpcEndpoint", **named, AddSecurityGroupIds=[group], RemoveSecurityGroupIds=[default])
    assert [one["GroupId"] for one in (await interfaces(lab))[after]["Groups"]] == [group]
    code = await lab.refused("ModifyVpcEndpoint", **named, RemoveSecurityGroupIds=[group])
    assert code == "InvalidParameter"
    assert await lab.refused("ModifyVpcEndpoint", **named, RemoveSubnetIds=[one]) == "InvalidParameter"
    assert await lab.refused("DeleteSecurityGroup", GroupId=group) == "DependencyViolation"


async def test_private_names_need_the_vpcs_dns_and_are_one_endpoints(cloud, lab):
    subnet = await lab.subnet()
    interface = {"ServiceName": EC2, "VpcEndpointType": "Interface", "SubnetIds": [subnet]}
    first = await create(lab, **interface)
    code = await lab.refused("CreateVpcEndpoint", VpcId=lab.vpc_id, **interface)
    assert code == "InvalidParameter"
    second = await create(lab, **interface, PrivateDnsEnabled=False)
    named = {"VpcEndpointId": second["VpcEndpointId"], "PrivateDnsEnabled": True}
    assert await lab.refused("ModifyVpcEndpoint", **named) == "InvalidParameter"
    await lab.call("ModifyVpcEndpoint", VpcEndpointId=first["VpcEndpointId"], PrivateDnsEnabled=False)
    await lab.call("ModifyVpcEndpoint", **named)
    plain = await Lab.make(cloud, "10.9.0.0/16")
    code = await plain.refused("CreateVpcEndpoint", VpcId=plain.vpc_id, ServiceName=EC2, VpcEndpointType="Interface")
    assert code == "InvalidParameter"


async def test_policies_are_kept_and_checked(lab):
    policy = json.dumps({"Statement": {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"}})
    endpoint = (await create(lab))["VpcEndpointId"]
    assert json.loads((await shown(lab, endpoint))["PolicyDocument"])["Statement"][0]["Effect"] == "Allow"
    await lab.call("ModifyVpcEndpoint", VpcEndpointId=endpoint, PolicyDocument=policy)
    assert (await shown(lab, endpoint))["PolicyDocument"] == policy
    for bad in ("{", "[]", '{"Statement": []}', '{"Statement": [{"Effect": "Perhaps", "Action": "*"}]}'):
        code = await lab.refused("ModifyVpcEndpoint", VpcEndpointId=endpoint, PolicyDocument=bad)
        assert code == "InvalidPolicyDocument", bad
        code = await lab.refused("CreateVpcEndpoint", VpcId=lab.vpc_id, ServiceName=S3, PolicyDocument=bad)
        assert code == "InvalidPolicyDocument", bad
    code = await lab.refused("ModifyVpcEndpoint", VpcEndpointId=endpoint, PolicyDocument=policy, ResetPolicy=True)
    assert code == "InvalidParameterCombination"
    await lab.call("ModifyVpcEndpoint", VpcEndpointId=endpoint, ResetPolicy=True)
    assert (await shown(lab, endpoint))["PolicyDocument"] != policy


async def test_what_is_refused(cloud, lab):
    subnet, neighbour = await lab.subnet(), await lab.subnet("10.0.1.0/24")
    elsewhere = await Lab.make(cloud, "10.9.0.0/16")
    foreign_table, foreign_subnet = await elsewhere.table(), await elsewhere.subnet("10.9.0.0/24")
    for params, code in (
        ({}, "MissingParameter"),
        ({"ServiceName": "com.amazonaws.us-east-1.moon"}, "InvalidServiceName"),
        ({"ServiceName": "com.amazonaws.eu-central-1.s3"}, "InvalidServiceName"),
        ({"ServiceName": EC2}, "InvalidParameter"),
        ({"ServiceName": S3, "VpcEndpointType": "GatewayLoadBalancer"}, "InvalidParameter"),
        ({"ServiceName": S3, "SubnetIds": [subnet]}, "InvalidParameter"),
        ({"ServiceName": S3, "RouteTableIds": [foreign_table]}, "InvalidParameter"),
        ({"ServiceName": S3, "RouteTableIds": ["rtb-0123456789abcdef0"]}, "InvalidRouteTableID.NotFound"),
        ({"ServiceName": S3, "IpAddressType": "ipv6"}, "Unsupported"),
        ({"ServiceName": S3, "ServiceRegion": "eu-central-1"}, "InvalidParameter"),
    ):
        assert await lab.refused("CreateVpcEndpoint", VpcId=lab.vpc_id, **params) == code, params
    for params, code in (
        ({"RouteTableIds": [await lab.table()]}, "InvalidParameter"),
        ({"SubnetIds": [foreign_subnet]}, "InvalidParameter"),
        ({"SubnetIds": [subnet, neighbour]}, "DuplicateSubnetsInSameZone"),
        ({"SecurityGroupIds": ["sg-0123456789abcdef0"]}, "InvalidGroup.NotFound"),
        ({"SubnetConfigurations": [{"SubnetId": subnet, "Ipv4": "10.0.9.9"}]}, "InvalidParameterValue"),
    ):
        named = {"VpcId": lab.vpc_id, "ServiceName": EC2, "VpcEndpointType": "Interface"}
        assert await lab.refused("CreateVpcEndpoint", **named, **params) == code, params
    assert await interfaces(lab) == {}


async def test_those_that_can_not_be_deleted_are_named(lab):
    endpoint = (await create(lab))["VpcEndpointId"]
    gone = "vpce-0123456789abcdef0"
    answer = await lab.call("DeleteVpcEndpoints", VpcEndpointIds=[gone, endpoint, "x"])
    assert [(one["ResourceId"], one["Error"]["Code"]) for one in answer["Unsuccessful"]] == [
        (gone, "InvalidVpcEndpoint.NotFound"),
        ("x", "InvalidVpcEndpointId.Malformed"),
    ]
    assert (await shown(lab, endpoint))["State"] == "deleting"


async def test_filters(lab):
    endpoint = (await create(lab))["VpcEndpointId"]
    for name, value in (
        ("service-name", S3),
        ("service-region", "us-east-1"),
        ("vpc-endpoint-id", endpoint),
        ("vpc-endpoint-state", "available"),
        ("vpc-endpoint-type", "Gateway"),
        ("vpc-id", lab.vpc_id),
        ("ip-address-type", "ipv4"),
    ):
        found = await lab.call("DescribeVpcEndpoints", Filters=[{"Name": name, "Values": [value]}])
        assert len(found["VpcEndpoints"]) == 1, name


async def test_the_services_that_there_are(ec2, refused):
    found = await ec2("DescribeVpcEndpointServices")
    assert {S3, EC2} <= set(found["ServiceNames"])
    (detail,) = (await ec2("DescribeVpcEndpointServices", ServiceNames=[EC2]))["ServiceDetails"]
    assert (detail["Owner"], detail["PrivateDnsName"]) == ("amazon", "ec2.us-east-1.amazonaws.com")
    assert detail["AvailabilityZones"] == ["us-east-1a", "us-east-1b"]
    assert detail["ServiceType"] == [{"ServiceType": "Interface"}]
    by_type = [{"Name": "service-type", "Values": ["Gateway"]}]
    gateways = await ec2("DescribeVpcEndpointServices", Filters=by_type)
    assert gateways["ServiceNames"] == [S3]
    both = await ec2("DescribeVpcEndpointServices", ServiceNames=[S3])
    assert len(both["ServiceDetails"]) == 2
    code = await refused("DescribeVpcEndpointServices", ServiceNames=["com.amazonaws.us-east-1.moon"])
    assert code == "InvalidServiceName"
    names, token = [], None
    while True:
        page = await ec2("DescribeVpcEndpointServices", MaxResults=3, **({"NextToken": token} if token else {}))
        names += [one["ServiceId"] for one in page["ServiceDetails"]]
        token = page.get("NextToken")
        if token is None:
            break
    assert sorted(names) == sorted(one["ServiceId"] for one in found["ServiceDetails"])
