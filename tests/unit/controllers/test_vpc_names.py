"""Which names mean which addresses, as a VPC's resolver and its guests are told."""

import pytest

from pileus.controllers.host_spec import host_spec
from pileus.controllers.reading import Reading
from pileus.controllers.spec_book import SpecBook
from pileus.records import Instance, NetworkInterface
from pileus.records.instance import State
from pileus.testing.in_process import HOST, DirectCloud


@pytest.fixture
def cloud(tmp_path):
    cloud = DirectCloud.open(tmp_path)
    cloud.image_id = cloud.add_image().id
    yield cloud
    cloud.close()


@pytest.fixture
def call(cloud):
    async def ec2(operation, **params):
        return await cloud.call("ec2", operation, **params)

    return ec2


@pytest.fixture
def launch(cloud, call):
    async def run(**params):
        plain = {"ImageId": cloud.image_id, "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1}
        id_ = (await call("RunInstances", **{**plain, **params}))["Instances"][0]["InstanceId"]
        cloud.enter(id_, State.RUNNING)
        return id_

    return run


@pytest.fixture
def make_vpc(call):
    """``await make_vpc("10.1", hostnames=True)``: the ids of a VPC with an internet gateway, and of its subnet."""

    async def make(start, *, hostnames):
        vpc = (await call("CreateVpc", CidrBlock=f"{start}.0.0/16"))["Vpc"]["VpcId"]
        await call("ModifyVpcAttribute", VpcId=vpc, EnableDnsHostnames={"Value": hostnames})
        subnet = (await call("CreateSubnet", VpcId=vpc, CidrBlock=f"{start}.0.0/24"))["Subnet"]["SubnetId"]
        await call("ModifySubnetAttribute", SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
        return vpc, subnet

    return make


def spec(cloud):
    return host_spec(Reading(cloud.store.view()), HOST, cloud.config, 1)


def vpc_spec(cloud, vpc_id):
    return next(vpc for vpc in spec(cloud).network.vpcs if vpc.vpc_id == vpc_id)


def entries(cloud, vpc_id):
    return {entry.name: entry.addresses for entry in vpc_spec(cloud, vpc_id).hosts}


def dashed(address):
    return address.replace(".", "-")


async def test_names_need_both_attributes(cloud, call, launch, make_vpc):
    vpc, subnet = await make_vpc("10.1", hostnames=True)
    await launch(SubnetId=subnet, PrivateDnsNameOptions={"EnableResourceNameDnsARecord": True})
    (nic,) = vpc_spec(cloud, vpc).interfaces
    (one,) = nic.addresses
    private = f"ip-{dashed(one.address)}"
    id_ = cloud.store.view().list(Instance)[0].id
    assert one.names == (f"{private}.ec2.internal", f"{id_}.ec2.internal")
    assert one.public_names == (f"ec2-{dashed(one.public)}.compute-1.amazonaws.com",)
    assert nic.hostname == private
    for attribute in ("EnableDnsHostnames", "EnableDnsSupport"):
        await call("ModifyVpcAttribute", VpcId=vpc, **{attribute: {"Value": False}})
        (nic,) = vpc_spec(cloud, vpc).interfaces
        assert (nic.addresses[0].names, nic.addresses[0].public_names, nic.hostname) == ((), (), private)
        drawn = (await call("DescribeInstances"))["Reservations"][0]["Instances"][0]
        assert drawn["PublicDnsName"] == ""
        await call("ModifyVpcAttribute", VpcId=vpc, **{attribute: {"Value": True}})


async def test_a_resource_name_is_the_host_name(cloud, call, launch, make_vpc):
    vpc, subnet = await make_vpc("10.1", hostnames=True)
    options = {"HostnameType": "resource-name", "EnableResourceNameDnsARecord": True}
    extra = {"DeviceIndex": 1, "SubnetId": subnet, "SecondaryPrivateIpAddressCount": 1}
    id_ = await launch(NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnet}, extra], PrivateDnsNameOptions=options)
    nics = {one.interface_id: one for one in vpc_spec(cloud, vpc).interfaces}
    records = {one.device_index: nics[one.id] for one in cloud.store.view().list(NetworkInterface, instance_id=id_)}
    first, second = records[0], records[1]
    assert first.hostname == id_
    assert first.addresses[0].names[0] == f"{id_}.ec2.internal"
    assert second.hostname == f"ip-{dashed(second.private_address)}"
    assert [one.names for one in second.addresses] == [
        (f"ip-{dashed(one.address)}.ec2.internal",) for one in second.addresses
    ]
    (guest,) = spec(cloud).guests
    assert guest.metadata.local_hostname == f"{id_}.ec2.internal"
    assert [one.index for one in guest.metadata.interfaces] == [0, 1]
    assert guest.metadata.interfaces[1].private_addresses == tuple(one.address for one in second.addresses)


async def test_the_option_set_names_the_domain(cloud, call, launch, make_vpc):
    vpc, subnet = await make_vpc("10.1", hostnames=True)
    wish = [{"Key": "domain-name", "Values": ["corp.example.com"]}]
    options = (await call("CreateDhcpOptions", DhcpConfigurations=wish))["DhcpOptions"]["DhcpOptionsId"]
    await call("AssociateDhcpOptions", DhcpOptionsId=options, VpcId=vpc)
    await launch(SubnetId=subnet)
    (guest,) = spec(cloud).guests
    assert guest.metadata.local_hostname.endswith(".corp.example.com")


async def test_a_peer_knows_public_names_where_it_may(cloud, call, launch, make_vpc):
    (one, first), (other, second) = await make_vpc("10.1", hostnames=True), await make_vpc("10.2", hostnames=True)
    await launch(SubnetId=first)
    there = await launch(SubnetId=second)
    drawn = (await call("DescribeInstances", InstanceIds=[there]))["Reservations"][0]["Instances"][0]
    name, private = drawn["PublicDnsName"], drawn["PrivateIpAddress"]
    peering = (await call("CreateVpcPeeringConnection", VpcId=one, PeerVpcId=other))["VpcPeeringConnection"]
    peering = peering["VpcPeeringConnectionId"]
    await call("AcceptVpcPeeringConnection", VpcPeeringConnectionId=peering)
    assert name not in entries(cloud, one)
    allow = {"AllowDnsResolutionFromRemoteVpc": True}
    await call(
        "ModifyVpcPeeringConnectionOptions", VpcPeeringConnectionId=peering, AccepterPeeringConnectionOptions=allow
    )
    assert entries(cloud, one)[name] == (private,)
    assert not any(entry.startswith("ec2-") for entry in entries(cloud, other))
    await call("DeleteVpcPeeringConnection", VpcPeeringConnectionId=peering)
    assert name not in entries(cloud, one)


async def test_an_elastic_ip_has_the_name_that_its_owner_gave_it(cloud, call, launch, make_vpc):
    vpc, subnet = await make_vpc("10.1", hostnames=True)
    await launch(SubnetId=subnet)
    elastic = await call("AllocateAddress")
    await call("ModifyAddressAttribute", AllocationId=elastic["AllocationId"], DomainName="mail.example.com")
    assert entries(cloud, vpc)["mail.example.com"] == (elastic["PublicIp"],)
    await call("ResetAddressAttribute", AllocationId=elastic["AllocationId"], Attribute="domain-name")
    assert "mail.example.com" not in entries(cloud, vpc)


class Session:
    host_id = HOST

    async def send_spec(self, spec):
        self.pushed = spec


async def test_every_change_of_interfaces_reaches_the_host(cloud, call, launch, make_vpc):
    vpc_id, subnet = await make_vpc("10.1", hostnames=True)
    gateway = (await call("CreateInternetGateway"))["InternetGateway"]["InternetGatewayId"]
    await call("AttachInternetGateway", InternetGatewayId=gateway, VpcId=vpc_id)
    id_, session, book = await launch(SubnetId=subnet), Session(), SpecBook(cloud.store, cloud.config)
    await book.open(session)
    nic = (await call("CreateNetworkInterface", SubnetId=subnet))["NetworkInterface"]["NetworkInterfaceId"]
    elastic = (await call("AllocateAddress"))["AllocationId"]
    named = {"NetworkInterfaceId": nic}
    secondary = {"PrivateIpAddresses": ["10.1.0.200"]}
    for operation, params in (
        ("AttachNetworkInterface", {**named, "InstanceId": id_, "DeviceIndex": 1}),
        ("AssignPrivateIpAddresses", {**named, **secondary}),
        ("AssociateAddress", {**named, "AllocationId": elastic, "PrivateIpAddress": "10.1.0.200"}),
        ("ModifyAddressAttribute", {"AllocationId": elastic, "DomainName": "a.example.com"}),
        ("ModifyNetworkInterfaceAttribute", {**named, "SourceDestCheck": {"Value": False}}),
        ("ModifyPrivateDnsNameOptions", {"InstanceId": id_, "EnableResourceNameDnsARecord": True}),
        ("UnassignPrivateIpAddresses", {**named, **secondary}),
        ("ModifyVpcAttribute", {"VpcId": vpc_id, "EnableDnsHostnames": {"Value": False}}),
    ):
        before = session.pushed
        await call(operation, **params)
        await book.follow()
        assert session.pushed != before, operation
        assert session.pushed == host_spec(Reading(cloud.store.view()), HOST, cloud.config, session.pushed.revision)
    (guest,) = session.pushed.guests
    assert [one.index for one in guest.nics] == [0, 1]
    attachment = cloud.store.view().get(NetworkInterface, nic).attachment.id
    await call("DetachNetworkInterface", AttachmentId=attachment, Force=True)
    await book.follow()
    (guest,) = session.pushed.guests
    assert ([one.index for one in guest.nics], guest.torn_out) == ([0], (nic,))
    assert nic in {one.interface_id for vpc in session.pushed.network.vpcs for one in vpc.interfaces}
