"""libcloud: a second client, with its own idea of EC2's protocol."""

import asyncio
from urllib.parse import urlsplit

import pytest
from libcloud.compute.base import NodeImage, NodeSize
from libcloud.compute.drivers.ec2 import EC2NodeDriver
from libcloud.compute.types import NodeState


@pytest.mark.parametrize("signature", ["2", "4"])
async def test_a_node_from_creation_to_destruction(cloud, signature):
    url = urlsplit(cloud.endpoint)
    keys = cloud.credentials
    driver = EC2NodeDriver(
        keys.access_key,
        keys.secret_key,
        region="us-east-1",
        host=url.hostname,
        port=url.port,
        secure=False,
        signature_version=signature,
    )

    def life():
        size = NodeSize("t3.micro", "t3.micro", 1024, 0, 0, 0, driver)
        image = next(one for one in driver.list_images() if one.id == cloud.image("tiny"))
        assert isinstance(image, NodeImage)
        node = driver.create_node(name="one", size=size, image=image, ex_metadata={"role": "web"})
        ((node, addresses),) = driver.wait_until_running([node], wait_period=0.05, timeout=30)
        assert (node.name, node.state, node.public_ips) == ("one", NodeState.RUNNING, addresses)
        assert driver.ex_describe_tags(node) == {"Name": "one", "role": "web"}
        assert driver.reboot_node(node)
        assert driver.stop_node(node)
        until(driver, node, NodeState.STOPPED)
        assert driver.start_node(node)
        until(driver, node, NodeState.RUNNING)
        (volume,) = driver.list_volumes(node=node)
        assert volume.size == 1
        assert [zone.name for zone in driver.list_locations()] == ["us-east-1a", "us-east-1b", "us-east-1c"]
        assert driver.destroy_node(node)
        until(driver, node, NodeState.TERMINATED)

    await asyncio.to_thread(life)
    await cloud.settled()


def until(driver, node, state):
    for _ in range(2000):
        if next(one for one in driver.list_nodes() if one.id == node.id).state == state:
            return
    raise AssertionError(f"{node.id} did not become {state}")
