"""What a start finds and leaves: what was deleted stays deleted, what an earlier version left out is made."""

import pytest
from msgspec.structs import replace

from pileus.base.config import Config, RegionConfig
from pileus.base.sealing import Sealer
from pileus.cmd.bootstrap import ensure_account
from pileus.records import KINDS, DhcpOptions, Subnet, Vpc
from pileus.store import open_store
from pileus.testing.clock import ManualClock

ONE = Config(regions=(RegionConfig(zones=("a", "b")),))
TWO = Config(regions=(*ONE.regions, RegionConfig(name="eu-west-1", zones=("a",), public_pool=("198.51.100.0/24",))))


@pytest.fixture
def store(tmp_path):
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}", KINDS, ManualClock(), durable=False)
    yield store
    store.close()


@pytest.fixture
def start(store, tmp_path):
    def run(config=ONE):
        ensure_account(store, Sealer(bytes(32)), config, tmp_path / f"{config.account}.json", ManualClock().now())
        return store.view()

    return run


def test_a_default_vpc_in_every_region(start):
    view = start(TWO)
    assert [(vpc.region, vpc.is_default) for vpc in view.list(Vpc)] == [("us-east-1", True), ("eu-west-1", True)]
    assert [subnet.zone for subnet in view.list(Subnet)] == ["us-east-1a", "us-east-1b", "eu-west-1a"]
    assert [one.region for one in view.list(DhcpOptions)] == ["us-east-1", "eu-west-1"]


def test_a_start_changes_nothing_that_is_there(start):
    before = start().revision
    assert start().revision == before


def test_a_region_that_is_added_gets_its_vpc(start):
    (vpc,) = start().list(Vpc)
    assert [one.id for one in start(TWO).list(Vpc, region="us-east-1")] == [vpc.id]
    assert len(start(TWO).list(Vpc)) == 2


def test_a_default_vpc_that_was_deleted_does_not_come_back(start, store):
    (vpc,) = start().list(Vpc)
    store.transact(lambda tx: tx.delete(vpc))
    assert start().list(Vpc) == []
    assert [one.region for one in start(TWO).list(Vpc)] == ["eu-west-1"]


def test_dhcp_options_that_an_earlier_version_only_named_are_made(start, store):
    (vpc,) = start().list(Vpc)
    store.transact(lambda tx: tx.put(replace(vpc, dhcp_options_id="dopt-0123456789abcdef0")))
    options = start().get(DhcpOptions, "dopt-0123456789abcdef0")
    assert options.options[1] == ("domain-name-servers", ("AmazonProvidedDNS",))
    store.transact(lambda tx: tx.put(replace(tx.get(Vpc, vpc.id), dhcp_options_id="default")))
    before = store.view().revision
    assert start().revision == before


def test_every_account_gets_its_own(start):
    start()
    view = start(replace(ONE, account="000000000002"))
    assert [vpc.account for vpc in view.list(Vpc)] == [ONE.account, "000000000002"]
