"""Interfaces in instances: attached, detached, moved; their addresses changed while they are there; launches with several."""

from functools import partial

import pytest
from interface_lab import instance, interface, make_lab
from msgspec.structs import replace

from pileus.controllers import instances, interfaces
from pileus.hostapi.observation import GuestObservation
from pileus.records import Instance
from pileus.records.instance import State
from pileus.testing.consistency import problems
from pileus.testing.in_process import HOST


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
def run(cloud, launch, lab):
    async def running(**params):
        params = params if "NetworkInterfaces" in params else {"SubnetId": lab.subnet, **params}
        id_ = (await launch(**{"InstanceType": "m5.large", **params}))["InstanceId"]
        cloud.enter(id_, State.RUNNING)
        return id_

    return running


@pytest.fixture
def seen(cloud):
    """``seen(instance_id, interface_ids)``: what the host reports of its guest, in answer to the newest spec."""

    def report(id_, held, wiring=None):
        def note(tx):
            one = tx.get(Instance, id_)
            observation = GuestObservation(
                instance_id=id_,
                boot=one.boot,
                phase="running",
                interfaces=tuple(held),
                wiring=one.wiring if wiring is None else wiring,
            )
            instances.observe(tx, HOST, observation, cloud.clock.now())
            interfaces.settle_of(tx, id_)

        cloud.store.transact(note)

    return report


@pytest.fixture(autouse=True)
def everything_fits(cloud):
    yield
    found = problems(cloud.store.view(), cloud.config)
    # Nothing places instances here.
    assert [line for line in found if "capacity" not in line and "nobody knows" not in line] == []


async def test_a_running_guest_gets_one_and_lets_it_go(ec2, refused, create, run, seen):
    id_, nic = await run(), await create(SecondaryPrivateIpAddressCount=1)
    mac = (await interface(ec2, nic))["MacAddress"]
    made = await ec2("AttachNetworkInterface", InstanceId=id_, NetworkInterfaceId=nic, DeviceIndex=1)
    attachment = (await interface(ec2, nic))["Attachment"]
    assert attachment["AttachmentId"] == made["AttachmentId"]
    assert attachment["Status"] == "attaching"
    assert attachment["DeleteOnTermination"] is False
    primary = (await instance(ec2, id_))["NetworkInterfaces"][0]["NetworkInterfaceId"]
    seen(id_, [primary], wiring=0)
    assert (await interface(ec2, nic))["Attachment"]["Status"] == "attaching"
    seen(id_, [primary, nic])
    drawn = (await instance(ec2, id_))["NetworkInterfaces"][1]
    assert (drawn["Attachment"]["Status"], drawn["Attachment"]["DeviceIndex"], drawn["Status"]) == (
        "attached",
        1,
        "in-use",
    )
    assert (drawn["MacAddress"], len(drawn["PrivateIpAddresses"])) == (mac, 2)
    assert await refused("DeleteNetworkInterface", NetworkInterfaceId=nic) == "InvalidParameterValue"
    await ec2("DetachNetworkInterface", AttachmentId=made["AttachmentId"])
    seen(id_, [primary], wiring=1)
    assert (await interface(ec2, nic))["Attachment"]["Status"] == "detaching"
    other = await run()
    move = partial(refused, "AttachNetworkInterface", InstanceId=other, NetworkInterfaceId=nic, DeviceIndex=1)
    assert await move() == "InvalidNetworkInterface.InUse"
    seen(id_, [primary, nic])
    assert await move() == "InvalidNetworkInterface.InUse"
    seen(id_, [primary])
    left = await interface(ec2, nic)
    assert (left["Status"], left["MacAddress"], "Attachment" in left) == ("available", mac, False)
    await ec2("AttachNetworkInterface", InstanceId=other, NetworkInterfaceId=nic, DeviceIndex=1)
    assert (await interface(ec2, nic))["Attachment"]["InstanceId"] == other


async def test_a_stopped_one_changes_at_once(cloud, ec2, create, run):
    id_, nic = await run(), await create()
    await ec2("StopInstances", InstanceIds=[id_])
    cloud.enter(id_, State.STOPPED)
    made = await ec2("AttachNetworkInterface", InstanceId=id_, NetworkInterfaceId=nic, DeviceIndex=2)
    cloud.store.transact(lambda tx: interfaces.settle_of(tx, id_))
    assert (await interface(ec2, nic))["Attachment"]["Status"] == "attached"
    await ec2("DetachNetworkInterface", AttachmentId=made["AttachmentId"])
    cloud.store.transact(lambda tx: interfaces.settle_of(tx, id_))
    assert (await interface(ec2, nic))["Status"] == "available"


async def test_force_is_passed_on(cloud, ec2, create, run, seen):
    id_, nic = await run(), await create()
    made = await ec2("AttachNetworkInterface", InstanceId=id_, NetworkInterfaceId=nic, DeviceIndex=1)
    await ec2("DetachNetworkInterface", AttachmentId=made["AttachmentId"])
    before = cloud.store.view().get(Instance, id_).wiring
    await ec2("DetachNetworkInterface", AttachmentId=made["AttachmentId"])
    assert cloud.store.view().get(Instance, id_).wiring == before
    await ec2("DetachNetworkInterface", AttachmentId=made["AttachmentId"], Force=True)
    assert cloud.store.view().get(Instance, id_).wiring == before + 1


async def test_where_none_can_be_attached(ec2, lab, refused, create, run, launch):
    id_, nic = await run(), await create(SecondaryPrivateIpAddressCount=4)
    attach = partial(refused, "AttachNetworkInterface", NetworkInterfaceId=nic, InstanceId=id_)
    assert await attach(DeviceIndex=0) == "InvalidParameterValue"
    assert await attach(DeviceIndex=1, NetworkCardIndex=1) == "InvalidParameterValue"
    elsewhere = await create(SubnetId=lab.other_subnet)
    assert await attach(DeviceIndex=1, NetworkInterfaceId=elsewhere) == "InvalidParameterCombination"
    pending = (await launch(SubnetId=lab.subnet))["InstanceId"]
    assert await attach(DeviceIndex=1, InstanceId=pending) == "IncorrectState"
    nano = await run(InstanceType="t3.nano")
    assert await attach(DeviceIndex=1, InstanceId=nano) == "PrivateIpAddressLimitExceeded"
    await ec2("AttachNetworkInterface", NetworkInterfaceId=await create(), InstanceId=nano, DeviceIndex=1)
    third = await create()
    assert await attach(DeviceIndex=2, InstanceId=nano, NetworkInterfaceId=third) == "AttachmentLimitExceeded"
    primary = (await instance(ec2, id_))["NetworkInterfaces"][0]["Attachment"]["AttachmentId"]
    assert await refused("DetachNetworkInterface", AttachmentId=primary) == "OperationNotPermitted"
    assert await refused("DetachNetworkInterface", AttachmentId="eni-attach-0123456789abcdef0") == (
        "InvalidAttachmentID.NotFound"
    )


async def test_what_is_kept_and_what_goes_with_the_instance(cloud, ec2, refused, create, run):
    id_, kept, gone = await run(), await create(), await create()
    for index, nic in ((1, kept), (2, gone)):
        await ec2("AttachNetworkInterface", InstanceId=id_, NetworkInterfaceId=nic, DeviceIndex=index)
    attachment = (await interface(ec2, gone))["Attachment"]["AttachmentId"]
    change = {"AttachmentId": attachment, "DeleteOnTermination": True}
    await ec2("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=gone, Attachment=change)
    cloud.enter(id_, State.SHUTTING_DOWN)

    def end(tx):
        tx.put(replace(tx.get(Instance, id_), host_id=None))
        instances.settle(tx, id_, cloud.placement, cloud.clock.now())

    cloud.store.transact(end)
    assert (await interface(ec2, kept))["Status"] == "available"
    assert (
        await refused("DescribeNetworkInterfaces", NetworkInterfaceIds=[gone]) == "InvalidNetworkInterfaceID.NotFound"
    )


async def test_secondary_addresses_come_go_and_move(ec2, refused, create, run):
    id_, one, other = await run(), await create(), await create()
    await ec2("AttachNetworkInterface", InstanceId=id_, NetworkInterfaceId=one, DeviceIndex=1)
    assign = partial(ec2, "AssignPrivateIpAddresses")
    given = await assign(NetworkInterfaceId=one, PrivateIpAddresses=["10.0.1.50"])
    assert given["AssignedPrivateIpAddresses"] == [{"PrivateIpAddress": "10.0.1.50"}]
    counted = await assign(NetworkInterfaceId=one, SecondaryPrivateIpAddressCount=2)
    assert len(counted["AssignedPrivateIpAddresses"]) == 2
    taken = {"NetworkInterfaceId": other, "PrivateIpAddresses": ["10.0.1.50"]}
    assert await refused("AssignPrivateIpAddresses", **taken) == "InvalidParameterValue"
    await assign(**taken, AllowReassignment=True)
    assert [a["PrivateIpAddress"] for a in (await interface(ec2, other))["PrivateIpAddresses"]][1:] == ["10.0.1.50"]
    assert len((await interface(ec2, one))["PrivateIpAddresses"]) == 3
    primary = (await interface(ec2, other))["PrivateIpAddress"]
    stolen = {"NetworkInterfaceId": one, "PrivateIpAddresses": [primary], "AllowReassignment": True}
    assert await refused("AssignPrivateIpAddresses", **stolen) == "InvalidParameterValue"
    prefix = (await assign(NetworkInterfaceId=one, Ipv4PrefixCount=1))["AssignedIpv4Prefixes"][0]["Ipv4Prefix"]
    too_many = await refused("AssignPrivateIpAddresses", NetworkInterfaceId=one, SecondaryPrivateIpAddressCount=7)
    assert too_many == "PrivateIpAddressLimitExceeded"
    unassign = partial(ec2, "UnassignPrivateIpAddresses", NetworkInterfaceId=one)
    await unassign(PrivateIpAddresses=[a["PrivateIpAddress"] for a in counted["AssignedPrivateIpAddresses"]])
    await unassign(Ipv4Prefixes=[prefix])
    assert len((await interface(ec2, one))["PrivateIpAddresses"]) == 1
    assert "Ipv4Prefixes" not in await interface(ec2, one)
    refuse = partial(refused, "UnassignPrivateIpAddresses", NetworkInterfaceId=one)
    assert await refuse(PrivateIpAddresses=["10.0.1.50"]) == "InvalidParameterValue"
    assert await refuse(PrivateIpAddresses=[(await interface(ec2, one))["PrivateIpAddress"]]) == "InvalidParameterValue"
    assert await refuse() == "MissingParameter"


async def test_ipv6_comes_and_goes(ec2, refused, create, run):
    nic = await create(Ipv6AddressCount=1, EnablePrimaryIpv6=True)
    given = await ec2("AssignIpv6Addresses", NetworkInterfaceId=nic, Ipv6AddressCount=2)
    assert len(given["AssignedIpv6Addresses"]) == 2
    prefix = (await ec2("AssignIpv6Addresses", NetworkInterfaceId=nic, Ipv6PrefixCount=1))["AssignedIpv6Prefixes"]
    first = (await interface(ec2, nic))["Ipv6Address"]
    refuse = partial(refused, "UnassignIpv6Addresses", NetworkInterfaceId=nic)
    assert await refuse(Ipv6Addresses=[first]) == "InvalidParameterValue"
    gone = await ec2("UnassignIpv6Addresses", NetworkInterfaceId=nic, Ipv6Addresses=given["AssignedIpv6Addresses"])
    assert gone["UnassignedIpv6Addresses"] == given["AssignedIpv6Addresses"]
    await ec2("UnassignIpv6Addresses", NetworkInterfaceId=nic, Ipv6Prefixes=prefix)
    assert [one["Ipv6Address"] for one in (await interface(ec2, nic))["Ipv6Addresses"]] == [first]
    assert await refuse(Ipv6Prefixes=prefix) == "InvalidParameterValue"


async def test_a_launch_with_several(ec2, lab, refused, create, run, image):
    nic = await create(SecondaryPrivateIpAddressCount=1)
    new = {"SubnetId": lab.subnet, "Ipv6AddressCount": 1, "Ipv4PrefixCount": 1, "DeleteOnTermination": False}
    id_ = await run(
        NetworkInterfaces=[
            {"DeviceIndex": 3, "NetworkInterfaceId": nic},
            {"DeviceIndex": 0, "Description": "first", **new},
        ]
    )
    drawn = await instance(ec2, id_)
    first, second = drawn["NetworkInterfaces"]
    assert (first["Attachment"]["DeviceIndex"], first["Description"]) == (0, "first")
    assert first["Attachment"]["DeleteOnTermination"] is False
    assert (len(first["Ipv6Addresses"]), len(first["Ipv4Prefixes"])) == (1, 1)
    assert drawn["Ipv6Address"] == first["Ipv6Addresses"][0]["Ipv6Address"]
    assert (second["NetworkInterfaceId"], second["Attachment"]["DeviceIndex"]) == (nic, 3)
    for name, value in (
        ("network-interface.addresses.private-ip-address", second["PrivateIpAddresses"][1]["PrivateIpAddress"]),
        ("network-interface.ipv4-prefixes.ipv4-prefix", first["Ipv4Prefixes"][0]["Ipv4Prefix"]),
        ("ipv6-address", drawn["Ipv6Address"]),
    ):
        found = await ec2("DescribeInstances", Filters=[{"Name": name, "Values": [value]}])
        assert [one["InstanceId"] for one in found["Reservations"][0]["Instances"]] == [id_]
    plain = {"ImageId": image.id, "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1}
    refuse = partial(refused, "RunInstances", **plain)
    subnet = {"SubnetId": lab.subnet}
    free = {"DeviceIndex": 1, "NetworkInterfaceId": await create()}
    for specifications, code in (
        ([{"DeviceIndex": 0, **subnet}, {"DeviceIndex": 0, **subnet}], "InvalidParameterValue"),
        ([{"DeviceIndex": 1, **subnet}], "InvalidParameterValue"),
        ([{"DeviceIndex": 0, **subnet}, free, free | {"DeviceIndex": 2}], "InvalidParameterValue"),
        ([{"DeviceIndex": 0, **subnet}, free | {"NetworkInterfaceId": nic}], "InvalidNetworkInterface.InUse"),
        ([{"DeviceIndex": 0, **subnet}, free | {"Ipv6AddressCount": 1}], "InvalidParameterCombination"),
        ([{"DeviceIndex": 0, **subnet, "SecondaryPrivateIpAddressCount": 10}], "PrivateIpAddressLimitExceeded"),
        ([{"DeviceIndex": 0, **subnet, "AssociateCarrierIpAddress": True}], "InvalidParameterCombination"),
        ([{"DeviceIndex": 0, **subnet, "InterfaceType": "efa"}], "Unsupported"),
        ([{"DeviceIndex": 0, "SubnetId": lab.other_subnet}, free], "InvalidParameterCombination"),
    ):
        assert await refuse(NetworkInterfaces=specifications) == code, specifications


async def test_ipv6_of_the_instance(ec2, lab, refused, run, image):
    drawn = await instance(ec2, await run(Ipv6AddressCount=2))
    assert len(drawn["NetworkInterfaces"][0]["Ipv6Addresses"]) == 2
    named = lab.ipv6.replace("/64", "77")
    id_ = await run(Ipv6Addresses=[{"Ipv6Address": named}])
    assert (await instance(ec2, id_))["Ipv6Address"] == named
    wish = {"ImageId": image.id, "InstanceType": "m5.large", "MinCount": 2, "MaxCount": 2, "SubnetId": lab.subnet}
    assert await refused("RunInstances", **wish, Ipv6Addresses=[{"Ipv6Address": f"{named}8"}]) == (
        "InvalidParameterCombination"
    )


async def test_names_are_options_of_the_instance(cloud, ec2, refused, run):
    options = {"HostnameType": "resource-name", "EnableResourceNameDnsAAAARecord": True}
    id_ = await run(Ipv6AddressCount=1, PrivateDnsNameOptions=options)
    drawn = await instance(ec2, id_)
    assert drawn["PrivateDnsName"] == f"{id_}.ec2.internal"
    assert drawn["PrivateDnsNameOptions"] == {**options, "EnableResourceNameDnsARecord": False}
    modify = {"InstanceId": id_, "PrivateDnsHostnameType": "ip-name"}
    assert await refused("ModifyPrivateDnsNameOptions", **modify) == "IncorrectInstanceState"
    await ec2("ModifyPrivateDnsNameOptions", InstanceId=id_, EnableResourceNameDnsARecord=True)
    cloud.enter(id_, State.STOPPING)
    cloud.enter(id_, State.STOPPED)
    await ec2("ModifyPrivateDnsNameOptions", **modify)
    drawn = await instance(ec2, id_)
    assert drawn["PrivateDnsName"].startswith("ip-10-0-1-")
    assert drawn["PrivateDnsNameOptions"]["EnableResourceNameDnsARecord"] is True
    plain = await run()
    assert await refused("ModifyPrivateDnsNameOptions", InstanceId=plain, EnableResourceNameDnsAAAARecord=True) == (
        "InvalidParameterValue"
    )


async def test_only_one_interface_alone_gets_a_public_address_anew(cloud, ec2, lab, create, run):
    await ec2("ModifySubnetAttribute", SubnetId=lab.subnet, MapPublicIpOnLaunch={"Value": True})
    alone, crowded = await run(), await run()
    await ec2("AttachNetworkInterface", InstanceId=crowded, NetworkInterfaceId=await create(), DeviceIndex=1)
    for id_ in (alone, crowded):
        before = (await instance(ec2, id_))["PublicIpAddress"]
        await ec2("StopInstances", InstanceIds=[id_])
        cloud.enter(id_, State.STOPPED)
        cloud.store.transact(lambda tx, id_=id_: interfaces.give_back_public_addresses(tx, id_))
        assert "PublicIpAddress" not in await instance(ec2, id_)
        await ec2("StartInstances", InstanceIds=[id_])
        assert before
    assert "PublicIpAddress" in await instance(ec2, alone)
    assert "PublicIpAddress" not in await instance(ec2, crowded)
