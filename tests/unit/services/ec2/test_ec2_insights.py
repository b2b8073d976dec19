"""Reachability Analyzer's operations, and its ways across peerings, endpoints and filters."""

import pytest
from insights_lab import Lab, allow, codes, entry, way


@pytest.fixture
def lab(cloud):
    return Lab(cloud)


@pytest.fixture
async def peers(lab):
    """Two peered VPCs with an open instance each: VPCs, peering, their route tables, instances."""
    vpcs = await lab.vpc("10.0.0.0/16"), await lab.vpc("10.1.0.0/16")
    peering = await lab.peering(*vpcs)
    instances = []
    for vpc, cidr in zip(vpcs, ("10.0.0.0/24", "10.1.0.0/24"), strict=True):
        instances.append(await lab.launch(await lab.subnet(vpc, cidr), await lab.group(vpc, allow("-1"))))
    return vpcs, peering, [await lab.main_table(vpc) for vpc in vpcs], instances


async def test_across_a_peering(lab, peers):
    vpcs, peering, tables, ((one, *_), (other, *_)) = peers
    assert codes(await lab.look(one, other, 80)) == [("NO_ROUTE_TO_DESTINATION", None)]
    await lab.route(tables[0], "10.1.0.0/16", peering)
    (explained,) = (await lab.look(one, other, 80))["Explanations"]
    assert (explained["ExplanationCode"], explained["RouteTable"]["Id"]) == ("NO_ROUTE_TO_DESTINATION", tables[1])
    await lab.route(tables[1], "10.0.0.0/16", peering)
    found = await lab.look(one, other, 80)
    assert found["NetworkPathFound"] is True
    assert way(found["ForwardPathComponents"]) == ["i", "eni", "sg", "acl", "rtb", "pcx", "acl", "sg", "eni", "i"]
    crossed = found["ForwardPathComponents"][5]
    assert (crossed["SourceVpc"]["Id"], crossed["DestinationVpc"]["Id"]) == vpcs
    assert (await lab.look(one, peering, 80))["NetworkPathFound"] is True
    assert (await lab.look(peering, other, 80))["NetworkPathFound"] is True


async def test_a_peering_carries_only_addresses_of_its_two_vpcs(lab, peers):
    _, peering, tables, ((one, near, _), (other, *_)) = peers
    await lab.route(tables[0], "10.0.0.0/8", peering)
    found = await lab.look(one, FilterAtSource={"DestinationAddress": "10.2.0.9"})
    (explained,) = found["Explanations"]
    assert (explained["ExplanationCode"], explained["Cidrs"]) == ("PCX_REQUIRES_ADDRESS_IN_VPC_CIDR", ["10.1.0.0/16"])
    await lab.call("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=near, SourceDestCheck={"Value": False})
    found = await lab.look(one, other, 80, SourceIp="10.5.0.1")
    assert ("PCX_REQUIRES_ADDRESS_IN_VPC_CIDR", None) in codes(found)


async def test_a_peering_that_ended_is_a_black_hole(lab, peers):
    _, peering, tables, ((one, *_), (other, *_)) = peers
    await lab.route(tables[0], "10.1.0.0/16", peering)
    await lab.call("DeleteVpcPeeringConnection", VpcPeeringConnectionId=peering)
    assert codes(await lab.look(one, other, 80)) == [("BAD_STATE_ROUTE", None)]


async def test_a_gateway_endpoint(lab):
    vpc = await lab.vpc()
    instance, *_ = await lab.launch(await lab.subnet(vpc, "10.0.0.0/24"), await lab.group(vpc))
    table = await lab.main_table(vpc)
    endpoint = await lab.endpoint(
        vpc, ServiceName="com.amazonaws.us-east-1.s3", VpcEndpointType="Gateway", RouteTableIds=[table]
    )
    found = await lab.look(instance, endpoint, 443)
    assert found["NetworkPathFound"] is True
    assert way(found["ForwardPathComponents"]) == ["i", "eni", "sg", "acl", "rtb", "vpce"]
    assert found["ForwardPathComponents"][4]["RouteTableRoute"]["DestinationPrefixListId"].startswith("pl-")
    assert codes(await lab.look(instance, endpoint, 443, "udp")) == [("VPCE_GATEWAY_PROTOCOL_RESTRICTION", None)]
    await lab.call("ModifyVpcEndpoint", VpcEndpointId=endpoint, RemoveRouteTableIds=[table])
    assert codes(await lab.look(instance, endpoint, 443)) == [("NO_ROUTE_TO_DESTINATION", None)]


async def test_an_interface_endpoint(lab):
    vpc = await lab.vpc()
    subnet = await lab.subnet(vpc, "10.0.0.0/24")
    instance, *_ = await lab.launch(subnet, await lab.group(vpc))
    closed = await lab.group(vpc)
    endpoint = await lab.endpoint(
        vpc,
        ServiceName="com.amazonaws.us-east-1.ec2",
        VpcEndpointType="Interface",
        PrivateDnsEnabled=False,
        SubnetIds=[subnet],
        SecurityGroupIds=[closed],
    )
    assert codes(await lab.look(instance, endpoint, 443)) == [("SG_HAS_NO_RULES", "ingress")]
    await lab.call("AuthorizeSecurityGroupIngress", GroupId=closed, IpPermissions=[allow("tcp", 443)])
    assert (await lab.look(instance, endpoint, 443))["NetworkPathFound"] is True


async def test_an_elastic_ip_is_reached_by_another_vpc_over_the_internet(lab):
    found = []
    for _ in range(2):  # with the same addresses
        vpc = await lab.vpc()
        subnet, gateway = await lab.subnet(vpc, "10.0.0.0/24"), await lab.gateway(vpc)
        await lab.route(await lab.main_table(vpc), "0.0.0.0/0", gateway)
        found.append((gateway, *await lab.launch(subnet, await lab.group(vpc, allow("tcp", 80)), public=True)))
    (_, one, *_), (_, _, eni, _) = found
    address = await lab.public_address(eni)
    answer = await lab.look(one, FilterAtSource={"DestinationAddress": address, "DestinationPortRange": ports(80)})
    assert answer["NetworkPathFound"] is True
    passed = way(answer["ForwardPathComponents"])
    assert passed == ["i", "eni", "sg", "acl", "rtb", "igw", "igw", "acl", "sg", "eni"]


def ports(low, high=None):
    return {"FromPort": low, "ToPort": low if high is None else high}


async def test_open_ports_are_looked_for(lab):
    vpc = await lab.vpc()
    subnet = await lab.subnet(vpc, "10.0.0.0/24")
    group = await lab.group(vpc, allow("tcp", 7777))
    (one, *_), (other, *_) = [await lab.launch(subnet, group) for _ in range(2)]
    found = await lab.look(one, other)
    assert found["NetworkPathFound"] is True
    header = found["ForwardPathComponents"][-2]["InboundHeader"]
    assert header["DestinationPortRanges"] == [{"From": 0, "To": 65535}]
    for low, high, there in ((7000, 7776, False), (7000, 8000, True), (7777, 9000, True)):
        found = await lab.look(one, other, FilterAtDestination={"DestinationPortRange": ports(low, high)})
        assert found["NetworkPathFound"] is there


async def test_open_addresses_are_looked_for(lab):
    vpc = await lab.vpc()
    subnet, gateway = await lab.subnet(vpc, "10.0.0.0/24"), await lab.gateway(vpc)
    await lab.route(await lab.main_table(vpc), "0.0.0.0/0", gateway)
    await lab.acl(vpc, subnet, entry("deny", egress=False, cidr="11.0.0.0/16"), entry(egress=False), entry(egress=True))
    near, far = [await lab.group(vpc, allow("tcp", 22, cidr=cidr)) for cidr in ("11.0.0.0/24", "11.0.0.0/15")]
    barred, *_ = await lab.launch(subnet, near, public=True)
    reached, *_ = await lab.launch(subnet, far, public=True)
    assert codes(await lab.look(gateway, barred, 22))
    assert (await lab.look(gateway, reached, 22))["NetworkPathFound"] is True


async def test_filters_at_the_destination_and_components(lab, peers):
    _, peering, tables, ((one, _, address), (other, *_)) = peers
    await lab.route(tables[0], "10.1.0.0/16", peering)
    await lab.route(tables[1], "10.0.0.0/16", peering)
    assert (await lab.look(one, other, FilterAtDestination={"SourceAddress": address}))["NetworkPathFound"] is True
    found = await lab.look(one, other, FilterAtDestination={"SourceAddress": "10.0.0.9"})
    assert codes(found) == [("COMPONENT_FILTER_RESTRICTION", None)]
    arn = f"arn:aws:ec2:us-east-1:{lab.cloud.account}:vpc-peering-connection/{peering}"
    assert (await lab.look(one, other, FilterInArns=[arn]))["NetworkPathFound"] is True
    found = await lab.look(one, other, FilterOutArns=[arn])
    assert (codes(found), found["FilterOutArns"]) == ([("COMPONENT_FILTER_RESTRICTION", None)], [arn])


async def test_paths_are_kept_and_shown(cloud, ec2, refused, lab, peers):
    _, _, _, ((one, eni, _), (other, *_)) = peers
    arn = f"arn:aws:ec2:us-east-1:{cloud.account}"
    filters = {"SourcePortRange": ports(1024, 65535), "DestinationAddress": "10.1.0.9"}
    made = await ec2(
        "CreateNetworkInsightsPath",
        Source=f"{arn}:network-interface/{eni}",
        Protocol="udp",
        FilterAtSource=filters,
        TagSpecifications=[{"ResourceType": "network-insights-path", "Tags": [{"Key": "a", "Value": "b"}]}],
    )
    path = made["NetworkInsightsPath"]
    id_ = path["NetworkInsightsPathId"]
    assert path == {
        "NetworkInsightsPathId": id_,
        "NetworkInsightsPathArn": f"{arn}:network-insights-path/{id_}",
        "CreatedDate": cloud.clock.now(),
        "Source": eni,
        "SourceArn": f"{arn}:network-interface/{eni}",
        "Protocol": "udp",
        "FilterAtSource": filters,
        "Tags": [{"Key": "a", "Value": "b"}],
    }
    await ec2("CreateNetworkInsightsPath", Source=one, Destination=other, Protocol="tcp", DestinationPort=80)
    assert (await ec2("DescribeNetworkInsightsPaths", NetworkInsightsPathIds=[id_]))["NetworkInsightsPaths"] == [path]
    for name, value, count in (
        ("protocol", "tcp", 1),
        ("source", eni, 1),
        ("destination", other, 1),
        ("filter-at-source.source-port-range", "1024-65535", 1),
        ("filter-at-source.destination-address", "10.1.0.9", 1),
        ("filter-at-destination.source-address", "10.1.0.9", 0),
        ("tag:a", "b", 1),
    ):
        found = await ec2("DescribeNetworkInsightsPaths", Filters=[{"Name": name, "Values": [value]}])
        assert len(found["NetworkInsightsPaths"]) == count, name
    cloud = cloud.of("210987654321")
    assert (await cloud.call("ec2", "DescribeNetworkInsightsPaths"))["NetworkInsightsPaths"] == []
    error = await cloud.refusal("ec2", "DescribeNetworkInsightsPaths", NetworkInsightsPathIds=[id_])
    assert error.code == "InvalidNetworkInsightsPathId.NotFound"


async def test_analyses_are_kept_and_shown(cloud, ec2, refused, lab, peers):
    _, _, _, ((one, *_), (other, *_)) = peers
    first = await lab.look(one, other, 80)
    cloud.clock.advance(60)
    second = await lab.look(other, one, 80)
    path = first["NetworkInsightsPathId"]
    id_ = first["NetworkInsightsAnalysisId"]
    assert first["NetworkInsightsAnalysisArn"].endswith(f":network-insights-analysis/{id_}")

    async def listed(**params):
        found = await ec2("DescribeNetworkInsightsAnalyses", **params)
        return [one["NetworkInsightsAnalysisId"] for one in found["NetworkInsightsAnalyses"]]

    both = sorted((id_, second["NetworkInsightsAnalysisId"]))
    assert sorted(await listed()) == both
    assert await listed(NetworkInsightsPathId=path) == [id_]
    assert await listed(AnalysisStartTime=second["StartDate"]) == [second["NetworkInsightsAnalysisId"]]
    assert await listed(AnalysisEndTime=first["StartDate"]) == [id_]
    assert sorted(await listed(Filters=[{"Name": "path-found", "Values": ["false"]}])) == both
    assert await listed(Filters=[{"Name": "status", "Values": ["running"]}]) == []
    assert (
        await refused("DeleteNetworkInsightsPath", NetworkInsightsPathId=path) == "AnalysisExistsForNetworkInsightsPath"
    )
    deleted = await ec2("DeleteNetworkInsightsAnalysis", NetworkInsightsAnalysisId=id_)
    assert deleted == {"NetworkInsightsAnalysisId": id_}
    gone = "InvalidNetworkInsightsAnalysisId.NotFound"
    assert await refused("DeleteNetworkInsightsAnalysis", NetworkInsightsAnalysisId=id_) == gone
    assert await ec2("DeleteNetworkInsightsPath", NetworkInsightsPathId=path) == {"NetworkInsightsPathId": path}
    gone = "InvalidNetworkInsightsPathId.NotFound"
    assert await refused("StartNetworkInsightsAnalysis", NetworkInsightsPathId=path) == gone


async def test_paths_that_make_no_sense(cloud, refused, lab, peers):
    _, _, _, ((one, *_), (other, *_)) = peers

    async def refusal(**params):
        return await refused("CreateNetworkInsightsPath", **{"Source": one, "Protocol": "tcp", **params})

    before = cloud.store.view().revision
    error = await cloud.refusal("ec2", "CreateNetworkInsightsPath", Source=one, Protocol="tcp", DestinationIp="1.2.3.4")
    assert error.code == "MissingParameter"
    assert "FilterAtSource.DestinationAddress" in str(error)
    assert await refusal(Destination=one) == "InvalidParameterValue"
    assert await refusal(Destination="subnet-0123456789abcdef0") == "InvalidParameterValue"
    assert await refusal(Destination="i-0123456789abcdef0") == "InvalidInstanceID.NotFound"
    assert await refusal(Destination="igw-xyz") == "InvalidInternetGatewayID.Malformed"
    assert await refusal(Destination="pcx-0123456789abcdef0") == "InvalidVpcPeeringConnectionID.NotFound"
    foreign = "arn:aws:ec2:us-east-1:210987654321:instance/"
    assert await refusal(Destination=foreign + other) == "InvalidInstanceID.NotFound"
    assert await refusal(Destination=other, Protocol="icmp") == "InvalidParameterValue"
    assert await refusal(Destination=other, SourceIp="300.1.1.1") == "InvalidParameterValue"
    at_source = {"DestinationAddress": "10.1.0.9"}
    for more in ({"SourceIp": "10.0.0.1"}, {"DestinationPort": 80}):
        assert await refusal(FilterAtSource=at_source, **more) == "InvalidParameterCombination"
    at_destination = {"SourceAddress": "10.1.0.9"}
    combined = {"FilterAtDestination": at_destination, "DestinationIp": "10.1.0.1"}
    assert await refusal(Destination=other, **combined) == "InvalidParameterCombination"
    swapped = {"DestinationPortRange": ports(90, 80)}
    assert await refusal(Destination=other, FilterAtSource=swapped) == "InvalidParameterValue"
    half = {"DestinationPortRange": {"FromPort": 80}}
    assert await refusal(Destination=other, FilterAtSource=half) == "MissingParameter"
    assert cloud.store.view().revision == before


async def test_a_path_whose_end_is_gone_fails(cloud, ec2, lab, peers):
    vpcs, *_ = peers
    subnet = await lab.subnet(vpcs[0], "10.0.9.0/24")
    loose = (await ec2("CreateNetworkInterface", SubnetId=subnet))["NetworkInterface"]["NetworkInterfaceId"]
    _, _, _, ((one, *_), _) = peers
    made = await ec2("CreateNetworkInsightsPath", Source=one, Destination=loose, Protocol="tcp")
    await ec2("DeleteNetworkInterface", NetworkInterfaceId=loose)
    await ec2(
        "StartNetworkInsightsAnalysis", NetworkInsightsPathId=made["NetworkInsightsPath"]["NetworkInsightsPathId"]
    )
    (found,) = (await ec2("DescribeNetworkInsightsAnalyses"))["NetworkInsightsAnalyses"]
    assert found["Status"] == "failed"
    assert loose in found["StatusMessage"]
