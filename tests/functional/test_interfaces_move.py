"""An interface goes through running guests of a whole simulated cloud, by the public API alone."""

import pytest

from pileus.records import NetworkInterface


@pytest.fixture
def until(cloud, ec2):
    """``await until(nic, "attached")``: the interface, once its attachment has this status (None: once it has none)."""

    async def wait(nic, status):
        async def drawn():
            return (await ec2.describe_network_interfaces(NetworkInterfaceIds=[nic]))["NetworkInterfaces"][0]

        await cloud.until(lambda view: _status(view, nic) == status)
        return await drawn()

    return wait


def _status(view, nic):
    attachment = view.get(NetworkInterface, nic).attachment
    return attachment.status if attachment else None


async def test_from_one_running_guest_to_another(cloud, ec2, launch, until):
    ids = await launch(2)
    await ec2.wait("instance_running", *ids)
    subnet = (await ec2.describe_instances(InstanceIds=ids))["Reservations"][0]["Instances"][0]["SubnetId"]
    made = await ec2.create_network_interface(SubnetId=subnet, SecondaryPrivateIpAddressCount=1)
    nic = made["NetworkInterface"]["NetworkInterfaceId"]
    kept = {"MacAddress", "PrivateIpAddresses", "Groups"}
    before = {name: made["NetworkInterface"][name] for name in kept}
    for id_ in ids:
        attached = await ec2.attach_network_interface(NetworkInterfaceId=nic, InstanceId=id_, DeviceIndex=1)
        drawn = await until(nic, "attached")
        assert drawn["Attachment"]["InstanceId"] == id_
        assert nic in cloud.hosts[0].hypervisor.host.nics[id_]
        assert {name: drawn[name] for name in kept} == before
        await ec2.detach_network_interface(AttachmentId=attached["AttachmentId"])
        assert (await until(nic, None))["Status"] == "available"
        assert nic not in cloud.hosts[0].hypervisor.host.nics[id_]
    await ec2.delete_network_interface(NetworkInterfaceId=nic)
    await cloud.settled()


async def test_a_stop_lets_it_go_and_a_start_has_it_again(cloud, ec2, launch, until):
    (id_,) = await launch(InstanceType="t3.small")
    await ec2.wait("instance_running", id_)
    subnet = (await ec2.describe_instances(InstanceIds=[id_]))["Reservations"][0]["Instances"][0]["SubnetId"]
    nics = [
        (await ec2.create_network_interface(SubnetId=subnet))["NetworkInterface"]["NetworkInterfaceId"] for _ in "ab"
    ]
    for index, nic in enumerate(nics, 1):
        await ec2.attach_network_interface(NetworkInterfaceId=nic, InstanceId=id_, DeviceIndex=index)
        await until(nic, "attached")
    await ec2.stop_instances(InstanceIds=[id_])
    await ec2.wait("instance_stopped", id_)
    attachment = (await until(nics[0], "attached"))["Attachment"]["AttachmentId"]
    await ec2.detach_network_interface(AttachmentId=attachment)
    await until(nics[0], None)
    await ec2.start_instances(InstanceIds=[id_])
    await ec2.wait("instance_running", id_)
    assert set(cloud.hosts[0].hypervisor.host.nics[id_]) >= {nics[1]}
    assert nics[0] not in cloud.hosts[0].hypervisor.host.nics[id_]
    await ec2.terminate_instances(InstanceIds=[id_])
    await ec2.wait("instance_terminated", id_)
    assert (await until(nics[1], None))["Status"] == "available"
