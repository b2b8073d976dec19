"""Which name servers guests are served with where they may leave the host."""

from pathlib import Path

from pileus.drivers.network.linux.uplink import host_resolvers


def test_the_first_file_that_names_servers_counts(tmp_path: Path) -> None:
    stub, own = tmp_path / "stub", tmp_path / "own"
    stub.write_text("# a stub\nnameserver 127.0.0.53\noptions edns0\n")
    own.write_text("search example.com\nnameserver 192.0.2.1\nnameserver\t192.0.2.2 \nnameserver 2001:db8::1\n")
    assert host_resolvers((tmp_path / "missing", stub, own)) == ("192.0.2.1", "192.0.2.2")
    assert host_resolvers((stub,)) == ()
