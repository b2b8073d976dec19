"""Route tables and the subnets that they hold for."""

import pytest
from routing_lab import Lab


@pytest.fixture
async def lab(cloud):
    return await Lab.make(cloud)


async def associations(lab, table):
    (found,) = (await lab.call("DescribeRouteTables", RouteTableIds=[table]))["RouteTables"]
    return [(one["RouteTableAssociationId"], one.get("SubnetId"), one["Main"]) for one in found["Associations"]]


async def test_a_new_table_has_the_local_route_alone(cloud, lab):
    tags = [{"Key": "a", "Value": "b"}]
    made = await lab.call(
        "CreateRouteTable",
        VpcId=lab.vpc_id,
        TagSpecifications=[{"ResourceType": "route-table", "Tags": tags}],
        ClientToken="once",
    )
    table = made["RouteTable"]
    assert (table["VpcId"], table["OwnerId"], table["Tags"]) == (lab.vpc_id, cloud.account, tags)
    assert table["Associations"] == []
    assert table["Routes"] == [
        {
            "DestinationCidrBlock": "10.0.0.0/16",
            "GatewayId": "local",
            "Origin": "CreateRouteTable",
            "State": "active",
        }
    ]
    again = await lab.call(
        "CreateRouteTable",
        VpcId=lab.vpc_id,
        TagSpecifications=[{"ResourceType": "route-table", "Tags": tags}],
        ClientToken="once",
    )
    assert again == made


async def test_local_routes_follow_the_cidrs_of_the_vpc(lab):
    table = await lab.table()
    more = await lab.call("AssociateVpcCidrBlock", VpcId=lab.vpc_id, CidrBlock="10.1.0.0/16")
    await lab.call("AssociateVpcCidrBlock", VpcId=lab.vpc_id, AmazonProvidedIpv6CidrBlock=True)
    routes = await lab.routes(table)
    six = next(one for one in routes if ":" in one)
    assert routes == dict.fromkeys(("10.0.0.0/16", "10.1.0.0/16", six), ("local", "active"))
    await lab.call("DisassociateVpcCidrBlock", AssociationId=more["CidrBlockAssociation"]["AssociationId"])
    assert set(await lab.routes(table)) == {"10.0.0.0/16", six}


async def test_a_table_holds_for_a_subnet(lab):
    table, other, subnet = await lab.table(), await lab.table(), await lab.subnet()
    made = await lab.call("AssociateRouteTable", RouteTableId=table, SubnetId=subnet)
    assert made["AssociationState"] == {"State": "associated"}
    assert await associations(lab, table) == [(made["AssociationId"], subnet, False)]
    again = await lab.call("AssociateRouteTable", RouteTableId=table, SubnetId=subnet)
    assert again["AssociationId"] == made["AssociationId"]
    code = await lab.refused("AssociateRouteTable", RouteTableId=other, SubnetId=subnet)
    assert code == "Resource.AlreadyAssociated"
    await lab.call("DisassociateRouteTable", AssociationId=made["AssociationId"])
    assert await associations(lab, table) == []
    code = await lab.refused("DisassociateRouteTable", AssociationId=made["AssociationId"])
    assert code == "InvalidAssociationID.NotFound"


async def test_an_association_moves_to_another_table(lab):
    table, other, subnet = await lab.table(), await lab.table(), await lab.subnet()
    made = await lab.call("AssociateRouteTable", RouteTableId=table, SubnetId=subnet)
    moved = await lab.call("ReplaceRouteTableAssociation", AssociationId=made["AssociationId"], RouteTableId=other)
    assert moved["NewAssociationId"] != made["AssociationId"]
    assert await associations(lab, table) == []
    assert await associations(lab, other) == [(moved["NewAssociationId"], subnet, False)]


async def test_another_table_becomes_the_main_one(lab):
    main, table = await lab.main_table(), await lab.table()
    association = main["Associations"][0]["RouteTableAssociationId"]
    assert await lab.refused("DisassociateRouteTable", AssociationId=association) == "InvalidParameterValue"
    assert await lab.refused("DeleteRouteTable", RouteTableId=main["RouteTableId"]) == "DependencyViolation"
    moved = await lab.call("ReplaceRouteTableAssociation", AssociationId=association, RouteTableId=table)
    assert await associations(lab, table) == [(moved["NewAssociationId"], None, True)]
    await lab.call("DeleteRouteTable", RouteTableId=main["RouteTableId"])
    assert (await lab.main_table())["RouteTableId"] == table


async def test_a_table_that_holds_for_a_subnet_stays(lab):
    table, subnet = await lab.table(), await lab.subnet()
    await lab.call("AssociateRouteTable", RouteTableId=table, SubnetId=subnet)
    assert await lab.refused("DeleteRouteTable", RouteTableId=table) == "DependencyViolation"
    await lab.call("DeleteSubnet", SubnetId=subnet)
    await lab.call("DeleteRouteTable", RouteTableId=table)
    assert await lab.refused("DescribeRouteTables", RouteTableIds=[table]) == "InvalidRouteTableID.NotFound"


async def test_what_can_not_be_associated(cloud, lab):
    table, subnet, gateway = await lab.table(), await lab.subnet(), await lab.gateway()
    elsewhere = await Lab.make(cloud, "10.9.0.0/16")
    foreign = await elsewhere.table()
    for params, code in (
        ({"RouteTableId": table}, "MissingParameter"),
        ({"RouteTableId": table, "GatewayId": gateway}, "Unsupported"),
        ({"RouteTableId": table, "GatewayId": gateway, "SubnetId": subnet}, "InvalidParameterCombination"),
        ({"RouteTableId": foreign, "SubnetId": subnet}, "InvalidParameterValue"),
        ({"RouteTableId": table, "SubnetId": "subnet-0123456789abcdef0"}, "InvalidSubnetID.NotFound"),
        ({"RouteTableId": "rtb-0123456789abcdef0", "SubnetId": subnet}, "InvalidRouteTableID.NotFound"),
    ):
        assert await lab.refused("AssociateRouteTable", **params) == code, params
    made = await lab.call("AssociateRouteTable", RouteTableId=table, SubnetId=subnet)
    code = await lab.refused("ReplaceRouteTableAssociation", AssociationId=made["AssociationId"], RouteTableId=foreign)
    assert code == "InvalidParameterValue"
    code = await lab.refused("DisassociateRouteTable", AssociationId="x")
    assert code == "InvalidRouteTableAssociationId.Malformed"


async def test_another_accounts_tables_are_not_seen(cloud, lab):
    table, subnet = await lab.table(), await lab.subnet()
    made = await lab.call("AssociateRouteTable", RouteTableId=table, SubnetId=subnet)
    other = cloud.of("000000000002")
    for operation, params in (
        ("DeleteRouteTable", {"RouteTableId": table}),
        ("CreateRoute", {"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0"}),
        ("DisassociateRouteTable", {"AssociationId": made["AssociationId"]}),
        ("CreateRouteTable", {"VpcId": lab.vpc_id}),
    ):
        error = await other.refusal("ec2", operation, **params)
        assert error.code.endswith(".NotFound"), operation


async def test_filters(lab):
    table, subnet, gateway = await lab.table(), await lab.subnet(), await lab.gateway()
    made = await lab.call("AssociateRouteTable", RouteTableId=table, SubnetId=subnet)
    await lab.call("CreateRoute", RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    for name, value in (
        ("association.route-table-association-id", made["AssociationId"]),
        ("association.route-table-id", table),
        ("association.subnet-id", subnet),
        ("route.gateway-id", gateway),
        ("route-table-id", table),
    ):
        found = await lab.call("DescribeRouteTables", Filters=[{"Name": name, "Values": [value]}])
        assert [one["RouteTableId"] for one in found["RouteTables"]] == [table], name
    both = [{"Name": "route.state", "Values": ["blackhole"]}, {"Name": "vpc-id", "Values": [lab.vpc_id]}]
    assert (await lab.call("DescribeRouteTables", Filters=both))["RouteTables"] == []
    await lab.call("DetachInternetGateway", InternetGatewayId=gateway, VpcId=lab.vpc_id)
    found = await lab.call("DescribeRouteTables", Filters=both)
    assert [one["RouteTableId"] for one in found["RouteTables"]] == [table]


async def test_pages(lab):
    tables = {await lab.table() for _ in range(7)}
    found, token = set(), None
    while True:
        page = await lab.call("DescribeRouteTables", MaxResults=5, **({"NextToken": token} if token else {}))
        found |= {one["RouteTableId"] for one in page["RouteTables"]}
        token = page.get("NextToken")
        if token is None:
            break
    assert tables < found
