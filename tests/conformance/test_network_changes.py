"""What happens to packets while rules change: connections that EC2 tracks and those that it does not, and atomicity."""

import socket
import threading
import time
from collections.abc import AsyncIterator, Callable

import pytest
from network_lab import ANY, EVERYTHING, Guest, Lab, group, inside, interface, network, route_table, subnet, tcp, vpc

from pileus.drivers.network.linux.network import LinuxNetwork
from pileus.hostapi.network_spec import AclEntrySpec, AclSpec, GroupSpec, RuleSpec, VpcSpec

pytestmark = [pytest.mark.root, pytest.mark.slow]

OUT = group("sg-out")
"""Lets everything out and nothing in, so that its side of a connection is tracked."""


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    made = Lab()
    try:
        yield made
    finally:
        await made.close()


async def start(lab: Lab, part: VpcSpec) -> tuple[LinuxNetwork, list[Guest]]:
    driver = lab.driver()
    await driver.open()
    await driver.apply(network(part))
    guests = [(await lab.guest(driver, nic)).configure().serve(80).serve(81) for nic in part.interfaces]
    return driver, guests


def pair(*groups: GroupSpec, **other: object) -> VpcSpec:
    """A client in ``sg-out``, a server in ``sg-web``."""
    return vpc("vpc-1", (OUT, *groups), interface(5, "sg-out"), interface(6, "sg-web"), **other)


def talks(connection: socket.socket) -> bool:
    """Whether what is sent comes back."""
    connection.settimeout(0.7)
    try:
        connection.sendall(b"still there?")
        return connection.recv(100) == b"still there?"
    except OSError:
        return False


NARROW, WIDE = tcp(80, cidr="10.0.0.0/8"), tcp(80, cidr=ANY)
NO_EGRESS: dict[str, object] = {"egress": ()}


@pytest.mark.parametrize(
    ("before", "after", "survives"),
    [
        (group("sg-web", NARROW), group("sg-web"), True),
        (group("sg-web", WIDE), group("sg-web"), False),
        (group("sg-web", WIDE), group("sg-web", NARROW), True),
        (group("sg-web", WIDE), group("sg-web", tcp(80, cidr="192.0.2.0/24")), False),
        (group("sg-web", WIDE), group("sg-web", WIDE, **NO_EGRESS), False),
        (group("sg-web", WIDE, **NO_EGRESS), group("sg-web", **NO_EGRESS), True),
        (group("sg-web", WIDE, egress=(tcp(0, cidr=ANY),)), group("sg-web"), True),
        (group("sg-web", NARROW), group("sg-web", **NO_EGRESS), True),
    ],
    ids=(
        "tracked",
        "untracked",
        "untracked, another rule allows it",
        "untracked, no other rule allows it",
        "untracked, answers are no longer allowed",
        "tracked, for not all answers were allowed",
        "tracked, for only some ports were allowed back",
        "tracked, both directions go",
    ),
)
async def test_connections_outlive_their_rule_where_ec2_tracks_them(
    lab: Lab, before: GroupSpec, after: GroupSpec, survives: bool
) -> None:
    driver, (client, server) = await start(lab, pair(before))
    with client.open(server.address, 80) as connection:
        assert talks(connection)
        await driver.apply(network(pair(after)))
        assert talks(connection) is survives


async def test_an_untracked_connection_goes_on_when_its_rule_comes_back(lab: Lab) -> None:
    web = group("sg-web", WIDE)
    driver, (client, server) = await start(lab, pair(web))
    with client.open(server.address, 80) as connection:
        await driver.apply(network(pair(group("sg-web"))))
        assert not talks(connection)
        await driver.apply(network(pair(web)))
        connection.settimeout(5)
        assert connection.recv(100), "sent again after the timeout"


async def test_pings_are_always_tracked(lab: Lab) -> None:
    everything = RuleSpec(protocol="-1", cidr=ANY)
    driver, (client, server) = await start(lab, pair(group("sg-web", everything)))

    def ping(number: int) -> bool:
        return client.run("busybox", "ping", "-c", "1", "-W", "1", server.address).returncode == 0

    assert ping(1)
    echo = inside(client.namespace, _ping_socket)
    with echo:
        assert _echoed(echo, server.address)
        await driver.apply(network(pair(group("sg-web"))))
        assert _echoed(echo, server.address)
        assert not ping(2)


async def test_an_acl_interrupts_at_once_what_groups_track(lab: Lab) -> None:
    allow = tuple(AclEntrySpec(allow=True, protocol="-1", cidr=cidr) for cidr in (ANY, "::/0"))
    nics = interface(5, "sg-open"), interface(6, "sg-open", subnet="10.0.16.0/20")

    def part(*entries: AclEntrySpec) -> VpcSpec:
        return vpc("vpc-1", (EVERYTHING,), *nics, acls=(AclSpec(acl_id="acl-1", ingress=entries, egress=allow),))

    driver, (client, server) = await start(lab, part(*allow))
    with client.open(server.address, 80) as connection:
        await driver.apply(network(part(AclEntrySpec(allow=False, protocol="6", cidr="10.0.16.0/20"), *allow)))
        assert not talks(connection), "the answers do not come in"
        assert client.pings(server.address)


UDP = RuleSpec(protocol="udp", from_port=7000, to_port=7000, cidr="10.0.0.0/8")
MANY = tuple(tcp(port, cidr="10.0.0.0/8") for port in range(1000, 1100))


def by_rules(*, sends: bool, receives: bool) -> VpcSpec:
    client = group("sg-client", egress=(UDP, *MANY) if sends else MANY)
    server = group("sg-web", *((UDP, *MANY) if receives else MANY))
    return vpc("vpc-1", (client, server), interface(5, "sg-client"), interface(6, "sg-web"))


def by_members(*, sends: bool, receives: bool) -> VpcSpec:
    to = RuleSpec(protocol="udp", group="sg-web")
    origin = RuleSpec(protocol="udp", group="sg-client")
    client = group("sg-client", egress=(to,), members=("10.0.0.5",) if receives else ())
    server = group("sg-web", origin, members=("10.0.0.6",) if sends else ())
    return vpc("vpc-1", (client, server), interface(5, "sg-client"), interface(6, "sg-web"))


def by_groups(*, sends: bool, receives: bool) -> VpcSpec:
    groups = group("sg-client", egress=(UDP,)), group("sg-web", UDP), group("sg-none", egress=())
    nics = interface(5, "sg-client" if sends else "sg-none"), interface(6, "sg-web" if receives else "sg-none")
    return vpc("vpc-1", groups, *nics)


@pytest.mark.parametrize("part", [by_rules, by_members, by_groups])
async def test_no_packet_passes_that_neither_rules_allow(lab: Lab, part: Callable[..., VpcSpec]) -> None:
    """Two states in which the same is forbidden for different reasons, exchanged for each other during a storm."""
    driver, (client, server) = await start(lab, part(sends=True, receives=False))
    heard = inside(server.namespace, lambda: _receiver(7000))
    storm = Storm(lambda: inside(client.namespace, _sender), (server.address, 7000))
    with heard:
        storm.start()
        for turn in range(60):
            await driver.apply(network(part(sends=bool(turn % 2), receives=not turn % 2)))
        storm.stop()
        assert storm.sent > 5000
        assert _drain(heard) == []
        await driver.apply(network(part(sends=True, receives=True)))
        storm.once()
        assert _drain(heard), "with both it does arrive"


async def test_no_packet_is_lost_that_both_rules_allow(lab: Lab) -> None:
    udp = RuleSpec(protocol="udp", from_port=7000, to_port=7000, cidr="10.0.0.0/8")

    def part(turn: int) -> VpcSpec:
        others = [tcp(1000 + (turn + port) % 100, cidr="10.0.0.0/8") for port in range(50)]
        return vpc("vpc-1", (group("sg-a", udp, *others),), interface(5, "sg-a"), interface(6, "sg-a"))

    driver, (client, server) = await start(lab, part(0))
    heard = inside(server.namespace, lambda: _receiver(7000))
    sender = inside(client.namespace, _sender)
    with heard, sender:
        sender.sendto(b"first", (server.address, 7000))
        assert _drain(heard) == [b"first"]
        for turn in range(1, 30):
            sender.sendto(b"%d" % turn, (server.address, 7000))
            await driver.apply(network(part(turn)))
            sender.sendto(b"after %d" % turn, (server.address, 7000))
        assert len(_drain(heard)) == 58


async def test_a_rule_among_a_thousand_is_applied_to_two_hundred_interfaces_in_time(lab: Lab) -> None:
    rules = [tcp(1000 + port, cidr=f"10.{port % 200}.0.0/16") for port in range(1000)]
    nics = [interface(number, "sg-a") for number in range(10, 210)]
    driver = lab.driver()
    await driver.open()
    await driver.apply(network(vpc("vpc-1", (group("sg-a", *rules),), *nics)))
    took: list[float] = []
    for more in range(1, 8):
        wanted = network(vpc("vpc-1", (group("sg-a", *rules, tcp(80 + more, cidr=ANY)),), *nics))
        before = time.perf_counter()
        await driver.apply(wanted)
        took.append(time.perf_counter() - before)
    print("one rule more:", *(f"{1000 * seconds:.0f} ms" for seconds in took))
    assert min(took) < 0.1


FIREWALL_SUBNETS = (
    subnet(table="rtb-there"),
    subnet("10.0.16.0/20", "rtb-back"),
    subnet("10.0.32.0/20", "rtb-middle"),
)


def behind_a_firewall(firewall: GroupSpec, server: GroupSpec) -> VpcSpec:
    """A client and a server whose packets go through eni-7 both ways."""
    return vpc(
        "vpc-1",
        (EVERYTHING, firewall, server),
        interface(5, "sg-open"),
        interface(6, server.group_id, subnet="10.0.16.0/20"),
        interface(7, firewall.group_id, subnet="10.0.32.0/20", source_dest_check=False),
        subnets=FIREWALL_SUBNETS,
        route_tables=(
            route_table(("10.0.16.0/20", "interface", "eni-7"), name="rtb-there"),
            route_table(("10.0.0.0/20", "interface", "eni-7"), name="rtb-back"),
            route_table(name="rtb-middle"),
        ),
    )


@pytest.mark.parametrize(
    ("firewall", "server", "passes"),
    [
        (group("sg-fw", tcp(80, cidr="10.0.0.0/20")), group("sg-web", tcp(80, cidr="10.0.0.0/20")), True),
        (group("sg-fw", tcp(80, cidr="10.0.0.0/20")), group("sg-web"), False),
        (group("sg-fw"), group("sg-web", tcp(80, cidr="10.0.0.0/20")), False),
        (group("sg-fw", tcp(80, cidr="10.0.0.0/20"), **NO_EGRESS), group("sg-web", tcp(80, cidr=ANY)), False),
    ],
    ids=("both allow", "the server does not", "the firewall does not", "the firewall may not send"),
)
async def test_each_pass_through_a_firewall_is_judged_by_itself(
    lab: Lab, firewall: GroupSpec, server: GroupSpec, passes: bool
) -> None:
    _, (client, web, middle) = await start(lab, behind_a_firewall(firewall, server))
    middle.forward()
    assert (client.connect(web.address, 80) is not None) is passes
    assert client.connect(web.address, 81) is None


async def test_connections_through_a_firewall_outlive_their_rules(lab: Lab) -> None:
    allowed = tcp(80, cidr="10.0.0.0/20")
    driver, (client, web, middle) = await start(
        lab, behind_a_firewall(group("sg-fw", allowed), group("sg-web", allowed))
    )
    middle.forward()
    with client.open(web.address, 80) as connection:
        closed = behind_a_firewall(group("sg-fw", **NO_EGRESS), group("sg-web"))
        await driver.apply(network(closed))
        assert client.connect(web.address, 80) is None
        assert talks(connection)


async def test_a_nat_instance_hides_those_behind_it(lab: Lab) -> None:
    nics = (
        interface(5, "sg-out"),
        interface(7, "sg-nat", subnet="10.0.32.0/20", source_dest_check=False, public="203.0.113.7"),
    )
    part = vpc(
        "vpc-1",
        (OUT, group("sg-nat", tcp(80, cidr="10.0.0.0/20"))),
        *nics,
        subnets=(subnet(table="rtb-there"), subnet("10.0.32.0/20", "rtb-out")),
        route_tables=(
            route_table((ANY, "interface", "eni-7"), name="rtb-there"),
            route_table((ANY, "internet", "igw-1"), name="rtb-out"),
        ),
    )
    other = vpc("vpc-2", (EVERYTHING,), interface(5, "sg-open", interface_id="eni-25", public="203.0.113.25"))
    driver = lab.driver()
    await driver.open()
    await driver.apply(network(part, other))
    client, middle, server = [
        (await lab.guest(driver, nic)).configure() for nic in (*part.interfaces, *other.interfaces)
    ]
    server.serve(80).serve(81)
    middle.forward()
    middle.run("nft", "add table ip hide; add chain ip hide out { type nat hook postrouting priority 100; }")
    middle.run("nft", "add rule ip hide out ip saddr 10.0.0.0/20 masquerade")
    assert (client.connect("203.0.113.25", 80) or "").startswith("203.0.113.7:")
    assert client.connect("203.0.113.25", 81) is None, "its group lets in port 80 only"


async def test_with_the_check_on_an_interface_gets_nothing_for_others(lab: Lab) -> None:
    part = behind_a_firewall(EVERYTHING, EVERYTHING)
    checked = [
        nic if nic.source_dest_check else interface(7, "sg-open", subnet="10.0.32.0/20") for nic in part.interfaces
    ]
    part = vpc("vpc-1", (EVERYTHING,), *checked, subnets=FIREWALL_SUBNETS, route_tables=part.route_tables)
    _, (client, web, middle) = await start(lab, part)
    middle.forward()
    with middle.sniffer() as sniffer:
        assert client.connect(web.address, 80) is None
        assert client.connect(middle.address, 80) is not None
        sniffer.settimeout(0.2)
        assert all(frame[30:34] != socket.inet_aton(web.address) for frame in _frames(sniffer))


def _frames(sniffer: socket.socket) -> list[bytes]:
    found: list[bytes] = []
    try:
        while True:
            found.append(sniffer.recv(2048))
    except TimeoutError:
        return found


class Storm:
    """Sends as fast as it can, from a thread, until it is stopped."""

    def __init__(self, opened: Callable[[], socket.socket], where: tuple[str, int]) -> None:
        self._socket, self._where = opened(), where
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self.sent = 0

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it."""
        self._stopping.set()
        self._thread.join()

    def once(self) -> None:
        """Sends one."""
        self._socket.sendto(b"once", self._where)

    def _send(self) -> None:
        while not self._stopping.is_set():
            try:
                self._socket.sendto(b"storm", self._where)
                self.sent += 1
            except OSError:  # the queue is full
                time.sleep(0.0005)


def _sender() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def _receiver(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("0.0.0.0", port))
    return made


def _drain(receiver: socket.socket) -> list[bytes]:
    receiver.settimeout(0.4)
    return _frames(receiver)


def _ping_socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


def _echoed(echo: socket.socket, address: str) -> bool:
    """Whether an echo request is answered; all from one socket are one flow."""
    echo.settimeout(0.7)
    echo.sendto(bytes.fromhex("0800f7fd00010001"), (address, 0))
    try:
        while (packet := echo.recv(1000))[20] != 0:
            continue
    except TimeoutError:
        return False
    return packet[20] == 0
