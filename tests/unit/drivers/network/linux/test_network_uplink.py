"""Which name servers guests are served with where they may leave the host, and what the host lets pass."""

from pathlib import Path

from pileus.drivers.network.linux.uplink import host_resolvers, table
from pileus.hostapi.network_spec import PoolSpec


def test_the_first_file_that_names_servers_counts(tmp_path: Path) -> None:
    stub, own = tmp_path / "stub", tmp_path / "own"
    stub.write_text("# a stub\nnameserver 127.0.0.53\noptions edns0\n")
    own.write_text("search example.com\nnameserver 192.0.2.1\nnameserver\t192.0.2.2 \nnameserver 2001:db8::1\n")
    assert host_resolvers((tmp_path / "missing", stub, own)) == ("192.0.2.1", "192.0.2.2")
    assert host_resolvers((stub,)) == ()


def test_addresses_that_are_announced_are_seen_and_others_hide() -> None:
    pools = (PoolSpec(cidr="192.0.2.0/24"), PoolSpec(cidr="203.0.113.0/24", announce="arp"))
    chains = table("a", "a-edge", "up0", pools, ("2001:db8::/36",), was_closed=False).chains
    assert chains["leave"].rules == (
        'oifname "up0" ip saddr { 192.0.2.0/24 } masquerade',
        'oifname "up0" ip6 saddr { 2001:db8::/36 } masquerade',
    )
    accept = 'iifname "up0" oifname "a-edge" ip daddr { 203.0.113.0/24 } accept'
    forward = chains["forward"].rules
    assert forward.index(accept) < forward.index('oifname "a-edge" drop')
    assert "kept_closed" not in chains


def test_ipv6_is_announced_with_bgp_only() -> None:
    pools = (PoolSpec(cidr="203.0.113.0/24", announce="bgp"),)
    chains = table("a", "a-edge", "up0", pools, ("2001:db8::/36",), was_closed=True).chains
    assert chains["leave"].rules == ()
    assert 'iifname "up0" oifname "a-edge" ip6 daddr { 2001:db8::/36 } accept' in chains["forward"].rules
    assert chains["kept_closed"].rules == ('iifname "up0" oifname != "a-edge" drop',)
