"""Elastic IPs beyond one per instance: at secondary addresses, of carriers, with reverse names, given to others."""

import pytest
from interface_lab import interface, make_lab

from pileus.base.config import Config, RegionConfig
from pileus.records import Address
from pileus.records.instance import State
from pileus.testing.consistency import problems
from pileus.testing.in_process import DirectCloud

OTHER = "000000000002"


@pytest.fixture
async def lab(ec2):
    return await make_lab(ec2)


@pytest.fixture
def create(ec2, lab):
    async def make(**params):
        made = await ec2("CreateNetworkInterface", **{"SubnetId": lab.subnet, **params})
        return made["NetworkInterface"]["NetworkInterfaceId"]

    return make


@pytest.fixture
def allocate(ec2):
    async def address(**params):
        return (await ec2("AllocateAddress", **params))["AllocationId"]

    return address


@pytest.fixture(autouse=True)
def everything_fits(cloud):
    yield
    assert [line for line in problems(cloud.store.view(), cloud.config) if "eip" in line or "eni" in line] == []


@pytest.fixture
def wavelength(tmp_path):
    """A cloud with a wavelength zone that its account has opted in to."""
    (tmp_path / "edge").mkdir()
    region = RegionConfig(
        name="us-east-1",
        zones=("a",),
        wavelength_zones=("us-east-1-wl1-bos-wlz-1",),
        carrier_pool=("192.0.2.0/28",),
    )
    cloud = DirectCloud.open(tmp_path / "edge", Config(regions=(region,)))
    yield cloud
    cloud.close()


async def test_one_at_each_private_address(ec2, refused, create, allocate):
    nic = await create(SecondaryPrivateIpAddressCount=1)
    first, second = [one["PrivateIpAddress"] for one in (await interface(ec2, nic))["PrivateIpAddresses"]]
    one, other = await allocate(), await allocate()
    await ec2("AssociateAddress", AllocationId=one, NetworkInterfaceId=nic)
    there = {"NetworkInterfaceId": nic, "PrivateIpAddress": second}
    association = (await ec2("AssociateAddress", AllocationId=other, **there))["AssociationId"]
    assert await ec2("AssociateAddress", AllocationId=other, **there) == {"AssociationId": association}
    drawn = (await interface(ec2, nic))["PrivateIpAddresses"]
    assert [one["Association"]["AllocationId"] for one in drawn] == [one, other]
    found = await ec2("DescribeAddresses", Filters=[{"Name": "private-ip-address", "Values": [second]}])
    assert [one["AllocationId"] for one in found["Addresses"]] == [other]
    third = await allocate()
    assert await refused("AssociateAddress", AllocationId=third, **there) == "Resource.AlreadyAssociated"
    await ec2("AssociateAddress", AllocationId=third, **there, AllowReassociation=True)
    await ec2("AssociateAddress", AllocationId=third, NetworkInterfaceId=nic, AllowReassociation=True)
    drawn = (await interface(ec2, nic))["PrivateIpAddresses"]
    assert drawn[0]["Association"]["AllocationId"] == third
    assert "Association" not in drawn[1]
    assert first != second
    nowhere = await refused("AssociateAddress", AllocationId=one, NetworkInterfaceId=nic, PrivateIpAddress="10.0.1.3")
    assert nowhere == "InvalidParameterValue"


async def test_it_goes_along_with_its_interface_and_not_with_its_secondary_address(
    cloud, ec2, lab, create, allocate, launch
):
    nic = await create(SecondaryPrivateIpAddressCount=1)
    one, other = await allocate(), await allocate()
    second = (await interface(ec2, nic))["PrivateIpAddresses"][1]["PrivateIpAddress"]
    await ec2("AssociateAddress", AllocationId=one, NetworkInterfaceId=nic)
    await ec2("AssociateAddress", AllocationId=other, NetworkInterfaceId=nic, PrivateIpAddress=second)
    id_ = (await launch(InstanceType="m5.large", SubnetId=lab.subnet))["InstanceId"]
    cloud.enter(id_, State.RUNNING)
    await ec2("AttachNetworkInterface", InstanceId=id_, NetworkInterfaceId=nic, DeviceIndex=1)
    drawn = (await ec2("DescribeAddresses"))["Addresses"]
    assert [address["InstanceId"] for address in drawn] == [id_, id_]
    await ec2("UnassignPrivateIpAddresses", NetworkInterfaceId=nic, PrivateIpAddresses=[second])
    (left,) = (await ec2("DescribeAddresses", AllocationIds=[other]))["Addresses"]
    assert "AssociationId" not in left


async def test_it_moves_with_a_secondary_address(ec2, create, allocate):
    one, other, elastic = await create(), await create(), await allocate()
    moving = {"PrivateIpAddresses": ["10.0.1.50"], "AllowReassignment": True}
    await ec2("AssignPrivateIpAddresses", NetworkInterfaceId=one, **moving)
    there = {"AllocationId": elastic, "NetworkInterfaceId": one, "PrivateIpAddress": "10.0.1.50"}
    association = (await ec2("AssociateAddress", **there))["AssociationId"]
    await ec2("AssignPrivateIpAddresses", NetworkInterfaceId=other, **moving)
    (drawn,) = (await ec2("DescribeAddresses"))["Addresses"]
    assert (drawn["NetworkInterfaceId"], drawn["PrivateIpAddress"]) == (other, "10.0.1.50")
    moved = (await interface(ec2, other))["PrivateIpAddresses"][1]
    assert (moved["PrivateIpAddress"], moved["Association"]["AssociationId"]) == ("10.0.1.50", association)


async def test_there_must_be_a_way_to_the_internet(ec2, refused, allocate):
    vpc = (await ec2("CreateVpc", CidrBlock="10.9.0.0/16"))["Vpc"]["VpcId"]
    subnet = (await ec2("CreateSubnet", VpcId=vpc, CidrBlock="10.9.0.0/24"))["Subnet"]["SubnetId"]
    nic = (await ec2("CreateNetworkInterface", SubnetId=subnet))["NetworkInterface"]["NetworkInterfaceId"]
    assert (
        await refused("AssociateAddress", AllocationId=await allocate(), NetworkInterfaceId=nic)
        == "Gateway.NotAttached"
    )


async def test_five_and_no_more(refused, allocate):
    for _ in range(5):
        await allocate()
    assert await refused("AllocateAddress") == "AddressLimitExceeded"
    assert await refused("AllocateAddress", CustomerOwnedIpv4Pool="ipv4pool-coip-0") == "Unsupported"


async def test_reverse_names(ec2, refused, allocate):
    one, other = await allocate(), await allocate()
    made = await ec2("ModifyAddressAttribute", AllocationId=one, DomainName="Mail.Example.com")
    assert made["Address"]["PtrRecord"] == "mail.example.com."
    described = await ec2("DescribeAddressesAttribute", AllocationIds=[one, other], Attribute="domain-name")
    (only,) = described["Addresses"]
    assert (only["AllocationId"], only["PtrRecord"]) == (one, "mail.example.com.")
    assert await refused("ReleaseAddress", AllocationId=one) == "InvalidAddress.Locked"
    assert "PtrRecord" not in (await ec2("ResetAddressAttribute", AllocationId=one, Attribute="domain-name"))["Address"]
    assert (await ec2("DescribeAddressesAttribute"))["Addresses"] == []
    await ec2("ReleaseAddress", AllocationId=one)
    for name in ("x", "a b.example.com", f"{'y' * 64}.com", "-a.example.com"):
        assert await refused("ModifyAddressAttribute", AllocationId=other, DomainName=name) == "InvalidParameterValue"
    assert await refused("ModifyAddressAttribute", AllocationId=other) == "MissingParameter"


async def test_from_one_account_to_another(cloud, ec2, refused, allocate):
    cloud.add_account(OTHER)
    other = cloud.of(OTHER)
    one = await allocate()
    public = (await ec2("DescribeAddresses"))["Addresses"][0]["PublicIp"]
    offer = (await ec2("EnableAddressTransfer", AllocationId=one, TransferAccountId=OTHER))["AddressTransfer"]
    assert (offer["AddressTransferStatus"], offer["TransferAccountId"]) == ("pending", OTHER)
    assert await refused("AcceptAddressTransfer", Address=public) == "InvalidAddress.NotFound"
    await ec2("ModifyAddressAttribute", AllocationId=one, DomainName="mail.example.com")
    assert (await other.refusal("ec2", "AcceptAddressTransfer", Address=public)).code == (
        "InvalidTransfer.AddressCustomPtrSet"
    )
    await ec2("ResetAddressAttribute", AllocationId=one, Attribute="domain-name")
    accepted = (await other.call("ec2", "AcceptAddressTransfer", Address=public))["AddressTransfer"]
    assert accepted["AddressTransferStatus"] == "accepted"
    assert [one["PublicIp"] for one in (await other.call("ec2", "DescribeAddresses"))["Addresses"]] == [public]
    assert (await ec2("DescribeAddresses"))["Addresses"] == []
    (told,) = (await ec2("DescribeAddressTransfers"))["AddressTransfers"]
    assert (told["AddressTransferStatus"], told["AllocationId"]) == ("accepted", one)
    assert (await other.call("ec2", "DescribeAddressTransfers"))["AddressTransfers"] == []
    cloud.clock.advance(15 * 86400)
    assert (await ec2("DescribeAddressTransfers"))["AddressTransfers"] == []


async def test_offers_are_taken_back_and_end(cloud, ec2, refused, allocate):
    cloud.add_account(OTHER)
    one = await allocate()
    public = (await ec2("DescribeAddresses"))["Addresses"][0]["PublicIp"]
    offer = {"AllocationId": one, "TransferAccountId": OTHER}
    await ec2("EnableAddressTransfer", **offer)
    disabled = await ec2("DisableAddressTransfer", AllocationId=one)
    assert disabled["AddressTransfer"]["AddressTransferStatus"] == "disabled"
    assert await refused("DisableAddressTransfer", AllocationId=one) == "InvalidTransfer.NotFound"
    await ec2("EnableAddressTransfer", **offer)
    cloud.clock.advance(7 * 86400)
    code = (await cloud.of(OTHER).refusal("ec2", "AcceptAddressTransfer", Address=public)).code
    assert code == "InvalidAddress.NotFound"
    assert await refused("EnableAddressTransfer", AllocationId=one, TransferAccountId="x") == "InvalidParameterValue"


async def test_what_is_left_of_classic_and_of_pools(ec2, refused, allocate):
    one = await allocate()
    public = (await ec2("DescribeAddresses"))["Addresses"][0]["PublicIp"]
    assert await ec2("MoveAddressToVpc", PublicIp=public) == {"AllocationId": one, "Status": "InVpc"}
    assert await refused("RestoreAddressToClassic", PublicIp=public) == "UnsupportedOperation"
    assert (await ec2("DescribeMovingAddresses"))["MovingAddressStatuses"] == []
    assert (await ec2("DescribePublicIpv4Pools"))["PublicIpv4Pools"] == []
    assert (await ec2("DescribeIpv6Pools"))["Ipv6Pools"] == []
    code = await refused("DescribePublicIpv4Pools", PoolIds=["ipv4pool-ec2-0123456789abcdef0"])
    assert code == "InvalidPublicIpv4PoolID.NotFound"


async def test_a_carriers_address(wavelength):
    call, zone = wavelength.call, "us-east-1-wl1-bos-wlz-1"
    await call("ec2", "ModifyAvailabilityZoneGroup", GroupName="us-east-1-wl1", OptInStatus="opted-in")
    (described,) = (await call("ec2", "DescribeAvailabilityZones", ZoneNames=[zone]))["AvailabilityZones"]
    group = described["NetworkBorderGroup"]
    vpc = (await call("ec2", "CreateVpc", CidrBlock="10.0.0.0/16"))["Vpc"]["VpcId"]
    made = await call("ec2", "CreateSubnet", VpcId=vpc, CidrBlock="10.0.1.0/24", AvailabilityZone=zone)
    subnet = made["Subnet"]["SubnetId"]
    elastic = await call("ec2", "AllocateAddress", NetworkBorderGroup=group)
    assert elastic["CarrierIp"].startswith("192.0.2.")
    nic = (await call("ec2", "CreateNetworkInterface", SubnetId=subnet))["NetworkInterface"]["NetworkInterfaceId"]
    there = {"AllocationId": elastic["AllocationId"], "NetworkInterfaceId": nic}
    assert (await wavelength.refusal("ec2", "AssociateAddress", **there)).code == "Gateway.NotAttached"
    await call("ec2", "CreateCarrierGateway", VpcId=vpc)
    await call("ec2", "AssociateAddress", **there)
    described = await call("ec2", "DescribeNetworkInterfaces", NetworkInterfaceIds=[nic])
    association = described["NetworkInterfaces"][0]["Association"]
    assert (association["CarrierIp"], "PublicIp" in association) == (elastic["CarrierIp"], False)
    usual = (await call("ec2", "AllocateAddress"))["AllocationId"]
    there = {"AllocationId": usual, "NetworkInterfaceId": nic, "AllowReassociation": True}
    wrong = await wavelength.refusal("ec2", "AssociateAddress", **there)
    assert wrong.code == "InvalidParameterValue"
    image = wavelength.add_image().id
    launched = await call(
        "ec2",
        "RunInstances",
        ImageId=image,
        InstanceType="t3.medium",
        MinCount=1,
        MaxCount=1,
        NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnet, "AssociateCarrierIpAddress": True}],
    )
    drawn = launched["Instances"][0]["NetworkInterfaces"][0]["Association"]
    assert drawn["CarrierIp"].startswith("192.0.2.")
    assert "PublicIpAddress" not in launched["Instances"][0]
    assert {one.carrier for one in wavelength.store.view().list(Address)} == {True, False}
