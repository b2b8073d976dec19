import pytest

from pileus.base.config import Config, RegionConfig

EDGE = RegionConfig(
    name="us-west-2",
    zones=("a", "b"),
    local_zones=("us-west-2-lax-1a",),
    wavelength_zones=("us-west-2-wl1-las-wlz-1",),
    carrier_pool=("198.51.100.0/28",),
)


def test_the_zones_of_a_region():
    assert EDGE.zone_names == ("us-west-2a", "us-west-2b", "us-west-2-lax-1a", "us-west-2-wl1-las-wlz-1")


def test_wavelength_zones_need_carrier_addresses():
    with pytest.raises(ValueError, match="carrier pool"):
        RegionConfig(name="us-west-2", wavelength_zones=("us-west-2-wl1-las-wlz-1",))


def test_a_host_serves_zones_that_there_are():
    served = ("us-west-2b", "us-west-2-lax-1a")
    assert Config(regions=(EDGE,), host_zones=served).host_zones == served
    with pytest.raises(ValueError, match="no region has the zone us-west-2c"):
        Config(regions=(EDGE,), host_zones=("us-west-2c",))


def test_regions_have_pools_of_their_own():
    other = RegionConfig(name="us-east-1", public_pool=("192.0.2.0/24",))
    pools = [region.ipv6_pool for region in Config(regions=(EDGE, other)).regions]
    assert pools == ["2001:db8::/36", "2001:db8:1000::/36"]
    for clash in (
        RegionConfig(name="us-east-1", public_pool=("198.51.100.0/24",)),
        RegionConfig(name="us-east-1", public_pool=("192.0.2.0/24",), ipv6_pool="2001:db8::/40"),
    ):
        with pytest.raises(ValueError, match="overlap"):
            Config(regions=(EDGE, clash))
