import re

import botocore.session
import pytest

from pileus import catalogue
from pileus.catalogue import ZoneInfo


def zone(name: str) -> ZoneInfo:
    return next(zone for region in catalogue.regions() for zone in catalogue.zones(region.name) if zone.name == name)


def test_the_regions_are_those_of_the_commercial_partition() -> None:
    regions = catalogue.regions()
    assert [region.name for region in regions] == sorted(botocore.session.get_session().get_available_regions("ec2"))
    frankfurt = next(region for region in regions if region.name == "eu-central-1")
    assert frankfurt.endpoint == "ec2.eu-central-1.amazonaws.com"
    assert (frankfurt.description, frankfurt.geography) == ("Europe (Frankfurt)", "Germany")
    assert frankfurt.opt_in_status == "opt-in-not-required"
    assert {region.name for region in regions if region.opt_in_status == "not-opted-in"} >= {"af-south-1", "eu-south-1"}
    assert sum(region.opt_in_status == "opt-in-not-required" for region in regions) == 17


def test_every_region_has_availability_zones_and_every_zone_is_named_once() -> None:
    every = [zone for region in catalogue.regions() for zone in catalogue.zones(region.name)]
    assert len({zone.name for zone in every}) == len({zone.id for zone in every}) == len(every)
    for region in catalogue.regions():
        proper = [zone for zone in catalogue.zones(region.name) if zone.type == "availability-zone"]
        assert len(proper) >= 2
        assert tuple(catalogue.zones(region.name)[: len(proper)]) == tuple(proper)
        for zone in proper:
            assert re.fullmatch(re.escape(region.name) + "[a-f]", zone.name)
            assert zone.parent_id is None


def test_a_zones_id_belongs_to_its_region() -> None:
    for region in catalogue.regions():
        area, direction, number = region.name.split("-")
        prefix = area + "".join(part[0] for part in re.findall("north|south|east|west|central", direction)) + number
        assert {zone.id.partition("-")[0] for zone in catalogue.zones(region.name)} == {prefix}


def test_edge_zones() -> None:
    second = zone("us-west-2-lax-1b")
    assert (second.id, second.type, second.opt_in_status) == ("usw2-lax1-az2", "local-zone", "not-opted-in")
    assert (second.group, second.network_border_group) == ("us-west-2-lax-1", "us-west-2-lax-1")
    assert second.group_long_name == "US West (Los Angeles)"
    assert second.parent_name is not None
    assert zone(second.parent_name).id == second.parent_id

    boston = zone("us-east-1-wl1-bos-wlz-1")
    assert (boston.id, boston.type) == ("use1-wl1-bos-wlz1", "wavelength-zone")
    assert (boston.group, boston.network_border_group) == ("us-east-1-wl1", "us-east-1-wl1-bos-wlz-1")

    casablanca = zone("eu-west-3-cmn-wlz-1a")
    assert (casablanca.id, casablanca.network_border_group) == ("euw3-cmn1-wlz1", "eu-west-3-cmn-wlz-1")


def test_the_group_of_availability_zones() -> None:
    oregon = zone("us-west-2a")
    assert (oregon.group, oregon.group_long_name) == ("us-west-2-zg-1", "US West (Oregon) 1")
    assert (oregon.network_border_group, oregon.opt_in_status) == ("us-west-2", "opt-in-not-required")


def test_a_region_offers_what_its_zones_offer() -> None:
    for region in catalogue.regions():
        offered = set(catalogue.offerings(region.name))
        assert len(offered) > 250
        in_zones = [set(catalogue.offerings(zone.name)) for zone in catalogue.zones(region.name)]
        assert offered == set.union(*in_zones)


def test_offerings_differ_by_zone() -> None:
    assert catalogue.is_offered("t3.nano", "us-east-1a")
    assert catalogue.is_offered("p2.xlarge", "us-east-1a")
    assert not catalogue.is_offered("p2.xlarge", "us-east-1f")
    assert not catalogue.is_offered("p2.xlarge", "us-west-1")
    assert len(catalogue.offerings("us-east-1e")) < len(catalogue.offerings("us-east-1a")) / 2
    assert list(catalogue.offerings("us-east-1")) == sorted(catalogue.offerings("us-east-1"))


@pytest.mark.parametrize("location", ["home-1", "home-1a"])
def test_where_aws_is_not_everything_is_offered(location: str) -> None:
    assert catalogue.zones(location) == ()
    assert catalogue.offerings(location) == catalogue.instance_types()


def test_edge_zones_offer_what_their_parent_offers() -> None:
    second = zone("us-west-2-lax-1b")
    assert catalogue.offerings(second.name) == catalogue.offerings(second.parent_name or "")
