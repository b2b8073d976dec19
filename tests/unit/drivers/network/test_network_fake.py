"""What the fake network adds to what every driver promises."""

import pytest
from network_specs import group, interface, tcp, vpc

from pileus.drivers.errors import RetryableError
from pileus.drivers.network.fake import FakeNetwork
from pileus.hostapi.network_spec import NetworkSpec


async def test_it_answers_what_the_applied_spec_lets_pass() -> None:
    driver = FakeNetwork()
    assert not driver.allows("192.0.2.1", "203.0.113.5", "tcp", 80)
    groups = (group("sg-a", tcp(80, cidr="0.0.0.0/0")),)
    await driver.apply(NetworkSpec(vpcs=(vpc(groups, interface(5, "sg-a", public="203.0.113.5")),)))
    assert driver.allows("192.0.2.1", "203.0.113.5", "tcp", 80)


async def test_it_fails_once_when_told_to() -> None:
    driver = FakeNetwork()
    driver.fail_next = RetryableError("the weather")
    spec = NetworkSpec(vpcs=(vpc(()),))
    with pytest.raises(RetryableError):
        await driver.apply(spec)
    assert driver.spec == NetworkSpec()
    await driver.apply(spec)
    assert driver.spec == spec
