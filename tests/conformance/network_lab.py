"""A place to try a network driver with real packets: a namespace that plays the host, and namespaces that play guests.

A guest's namespace has a tap of its own, and a thread copies frames between it and the tap that the driver hands out,
with the offloads that QEMU's virtio-net asks for: at both ends is a Linux network stack, and no machine needs to boot.
"""

import ctypes
import fcntl
import os
import secrets
import select
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Self, TypeVar

import network_specs
from network_specs import group, interface, network, route_table, subnet, subnet_cidr, tcp

from pileus.drivers.network.linux.names import GATEWAY6, gateway
from pileus.drivers.network.linux.namespace import write_settings
from pileus.drivers.network.linux.network import LinuxNetwork
from pileus.hostapi.network_spec import GroupSpec, InterfaceSpec, NetworkSpec, RuleSpec, VpcSpec

__all__ = ["group", "interface", "network", "route_table", "subnet", "tcp"]

Result = TypeVar("Result")

CLONE_NEWNET = 0x40000000
TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
TAP_NO_PI_VNET_HDR = 0x0002 | 0x1000 | 0x4000
CHECKSUM_AND_SEGMENTS = 0x01 | 0x02 | 0x04
LONGEST_FRAME = 1 << 17
LISTEN = "0A"
"""As /proc/net/tcp has it."""

HOST = "203.0.113.1"
ANY = "0.0.0.0/0"
EVERYTHING = group(
    "sg-open",
    *(RuleSpec(protocol="-1", cidr=cidr) for cidr in (ANY, "::/0")),
    egress=tuple(RuleSpec(protocol="-1", cidr=cidr) for cidr in (ANY, "::/0")),
)


def vpc(name: str, groups: tuple[GroupSpec, ...], *interfaces: InterfaceSpec, **other: object) -> VpcSpec:
    """As ``network_specs.vpc``."""
    return network_specs.vpc(groups, *interfaces, name=name, **other)


def inside(namespace: str, work: Callable[[], Result]) -> Result:
    """Performs ``work`` in a thread inside the namespace."""

    def enter() -> Result:
        set_namespace(Path("/run/netns", namespace))
        return work()

    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(enter).result()


def set_namespace(path: Path) -> None:
    """Moves the calling thread into a network namespace."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"can't enter {path}")
    finally:
        os.close(descriptor)


class Guest:
    """A network stack behind an interface of the driver's. Every method may be called from the host's namespace."""

    def __init__(self, namespace: str, host_tap: int, spec: InterfaceSpec) -> None:
        self.namespace = namespace
        self.spec = spec
        self.address = spec.private_address
        self._closing, self._close = os.pipe()
        self._servers: list[socket.socket] = []
        subprocess.run(["ip", "netns", "add", namespace], check=True)
        self._host_tap = host_tap
        self._guest_tap = inside(namespace, self._make_tap)
        for descriptor in (self._host_tap, self._guest_tap):
            fcntl.ioctl(descriptor, TUNSETOFFLOAD, CHECKSUM_AND_SEGMENTS)
            os.set_blocking(descriptor, False)
        self._pump = threading.Thread(target=self._copy_frames, daemon=True)
        self._pump.start()
        quiet = (("accept_dad", "0"), ("accept_ra", "0"), ("router_solicitations", "0"))
        inside(namespace, lambda: write_settings((f"ipv6/conf/eth0/{key}", value) for key, value in quiet))
        self.ip(f"link set eth0 address {spec.mac} up", "link set lo up")

    def configure(self) -> Self:
        """Gives eth0 its addresses and default routes by hand."""
        cidr = subnet_cidr(self.spec.subnet)
        length = cidr.split("/")[1]
        commands = [f"address add {one.address}/{length} dev eth0" for one in self.spec.addresses]
        commands.append(f"route add default via {gateway(subnet(cidr))}")
        commands += [f"address add {address}/128 dev eth0 nodad" for address in self.spec.ipv6]
        if self.spec.ipv6:
            commands.append(f"route add ::/0 via {GATEWAY6} dev eth0")
        self.ip(*commands)
        return self

    def forward(self) -> Self:
        """Makes it a router."""
        settings = [("ipv4/ip_forward", "1"), ("ipv4/conf/eth0/rp_filter", "0"), ("ipv4/conf/all/rp_filter", "0")]
        settings += [("ipv4/conf/all/send_redirects", "0"), ("ipv4/conf/eth0/send_redirects", "0")]
        inside(self.namespace, lambda: write_settings([*settings, ("ipv6/conf/all/forwarding", "1")]))
        return self

    def ip(self, *commands: str) -> None:
        """Performs ``ip`` commands in the guest."""
        subprocess.run(
            ["ip", "-netns", self.namespace, "-batch", "-"],
            input="\n".join(commands).encode(),
            check=True,
            capture_output=True,
        )

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Runs a program in the guest; it may fail."""
        return subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.namespace}", *argv],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Starts a program in the guest; its output is piped."""
        enter = ["nsenter", f"--net=/run/netns/{self.namespace}"]
        return subprocess.Popen([*enter, *argv], stdout=subprocess.PIPE, text=True)

    def pings(self, address: str) -> bool:
        """Whether an echo request is answered."""
        return self.run("busybox", "ping", "-c", "1", "-W", "1", address).returncode == 0

    def serve(self, port: int) -> Self:
        """Answers every connection on the port with the address that it came from, and sends back what comes in."""
        server = inside(self.namespace, lambda: _server(port))
        self._servers.append(server)
        threading.Thread(target=_answer, args=(server,), daemon=True).start()
        return self

    def connect(
        self, address: str, port: int, *, source: str = "", source_port: int = 0, timeout: float = 0.7
    ) -> str | None:
        """The address as which the server at the other end sees us; None when it does not answer."""
        return inside(
            self.namespace, lambda: reach(address, port, source=source, source_port=source_port, timeout=timeout)
        )

    def open(self, address: str, port: int) -> socket.socket:
        """A connection from the guest that stays open; the server's greeting is read."""
        connection = inside(self.namespace, lambda: socket.create_connection((address, port), timeout=5))
        connection.recv(100)
        return connection

    def wait_closed(self) -> None:
        """Until the last packet of every connection to the guest's servers has come in."""
        end = time.monotonic() + 10
        while any(line.split()[3] != LISTEN for line in inside(self.namespace, _sockets)):
            assert time.monotonic() < end, "a connection stays open"
            time.sleep(0.01)

    def send_frame(self, frame: bytes) -> None:
        """Puts an Ethernet frame on eth0 as it is."""

        def send() -> None:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
                raw.bind(("eth0", 0))
                raw.send(frame)

        inside(self.namespace, send)

    def sniffer(self) -> socket.socket:
        """A socket that receives every frame on eth0 from now on; reading gives up after 0.5 s."""

        def listen() -> socket.socket:
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
            raw.bind(("eth0", 0))
            raw.settimeout(0.5)
            return raw

        return inside(self.namespace, listen)

    def close(self) -> None:
        """Removes the guest."""
        for server in self._servers:
            server.close()
        os.write(self._close, b"x")
        self._pump.join()
        for descriptor in (self._host_tap, self._guest_tap, self._closing, self._close):
            os.close(descriptor)
        subprocess.run(["ip", "netns", "delete", self.namespace], check=True)

    def _make_tap(self) -> int:
        descriptor = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", b"eth0", TAP_NO_PI_VNET_HDR))
        return descriptor

    def _copy_frames(self) -> None:
        other = {self._host_tap: self._guest_tap, self._guest_tap: self._host_tap}
        poll = select.poll()
        for descriptor in (*other, self._closing):
            poll.register(descriptor, select.POLLIN)
        while True:
            for descriptor, event in poll.poll():
                if descriptor == self._closing:
                    return
                if event & (select.POLLERR | select.POLLNVAL):  # the tap was removed under its guest
                    poll.unregister(descriptor)
                    continue
                with suppress(OSError):
                    os.write(other[descriptor], os.read(descriptor, LONGEST_FRAME))


class World:
    """A machine on the host's uplink."""

    def __init__(self, namespace: str, host: str) -> None:
        self.namespace = namespace
        subprocess.run(["ip", "netns", "add", namespace], check=True)
        subprocess.run(
            ["ip", "-netns", host, "link", "add", "up0", "type", "veth", "peer", "name", "eth0", "netns", namespace],
            check=True,
        )
        for name, link, address in ((host, "up0", "198.51.100.1/24"), (namespace, "eth0", "198.51.100.2/24")):
            subprocess.run(["ip", "-netns", name, "address", "add", address, "dev", link], check=True)
            subprocess.run(["ip", "-netns", name, "link", "set", link, "up"], check=True)
        subprocess.run(["ip", "-netns", namespace, "route", "add", "203.0.113.0/24", "via", "198.51.100.1"], check=True)
        self._server = inside(namespace, lambda: _server(80))
        threading.Thread(target=_answer, args=(self._server,), daemon=True).start()

    def connect(self, address: str, port: int) -> str | None:
        """The same as ``Guest.connect``."""
        return inside(self.namespace, lambda: reach(address, port))

    def run(self, *argv: str) -> str:
        """Runs a program there."""
        enter = ["nsenter", f"--net=/run/netns/{self.namespace}"]
        return subprocess.run([*enter, *argv], check=True, capture_output=True, text=True, timeout=60).stdout

    def answer_dns(self, address: str) -> None:
        """Answers every question on port 53 with the address."""
        asked = inside(self.namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        asked.bind(("198.51.100.2", 53))
        threading.Thread(target=self._resolve, args=(asked, socket.inet_aton(address)), daemon=True).start()

    def _resolve(self, asked: socket.socket, address: bytes) -> None:
        while True:
            question, peer = asked.recvfrom(600)
            name = question[12 : question.index(b"\0", 12) + 5]
            answer = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + address
            asked.sendto(question[:2] + struct.pack(">5H", 0x8180, 1, 1, 0, 0) + name + answer, peer)

    def close(self) -> None:
        """Removes it."""
        self._server.close()
        subprocess.run(["ip", "netns", "delete", self.namespace], check=True)


class Lab:
    """The host's namespace, entered by the thread that made the lab, and everything in it until ``close``."""

    def __init__(self) -> None:
        self.name = f"t{secrets.token_hex(3)}"
        self.host = f"{self.name}h"
        self.root = Path("/run", self.host)
        self.drivers: list[LinuxNetwork] = []
        self.guests: dict[str, Guest] = {}
        """Those of ``up``."""
        self._guests: list[Guest] = []
        self._worlds: list[World] = []
        subprocess.run(["ip", "netns", "add", self.host], check=True)
        subprocess.run(["ip", "-netns", self.host, "link", "set", "lo", "up"], check=True)
        self._before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        set_namespace(Path("/run/netns", self.host))

    def driver(self, suffix: str = "", **options: object) -> LinuxNetwork:
        """A driver in this host; the same suffix is the same cloud."""
        made = LinuxNetwork(self.root / f"net{suffix}", f"{self.name}{suffix}", **options)
        self.drivers.append(made)
        return made

    async def guest(self, driver: LinuxNetwork, spec: InterfaceSpec) -> Guest:
        """A guest behind the interface, without an address yet."""
        tap = await driver.open_tap(spec.interface_id)
        guest = Guest(f"{self.name}g{len(self._guests)}", tap, spec)
        self._guests.append(guest)
        return guest

    async def up(self, driver: LinuxNetwork, spec: NetworkSpec) -> dict[str, Guest]:
        """Applies the spec; by interface, all of its guests so far, with addresses and port 80 served."""
        await driver.apply(spec)
        for nic in (nic for part in spec.vpcs for nic in part.interfaces):
            if nic.kind == "guest" and nic.interface_id not in self.guests:
                self.guests[nic.interface_id] = (await self.guest(driver, nic)).configure().serve(80)
        return self.guests

    def world(self) -> "World":
        """What lies beyond the host's link up0: 198.51.100.2, while the host is 198.51.100.1."""
        made = World(f"{self.name}w", self.host)
        self._worlds.append(made)
        return made

    def connect(self, address: str, port: int, *, timeout: float = 0.8) -> str | None:
        """The same as ``Guest.connect``, from the host."""
        return reach(address, port, timeout=timeout)

    def rules(self) -> str:
        """The host's own nftables rules."""
        return subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True, text=True).stdout

    def links(self) -> set[str]:
        """The host's links."""
        return {name for _, name in socket.if_nameindex()}

    def links_of(self, namespace: str) -> set[str]:
        """The links of a namespace."""
        return {name for _, name in inside(namespace, socket.if_nameindex)}

    def remove_link(self, namespace: str, name: str) -> None:
        """Takes a link away behind the driver's back."""
        subprocess.run(["ip", "-netns", namespace, "link", "delete", name], check=True)

    def routes(self) -> str:
        """The host's routes."""
        return subprocess.run(["ip", "route"], check=True, capture_output=True, text=True).stdout

    def forwarding(self, link: str) -> str:
        """The host's setting for packets that come in by a link."""
        return Path(f"/proc/sys/net/ipv4/conf/{link}/forwarding").read_text().strip()

    def namespaces(self) -> set[str]:
        """The namespaces that belong to clouds of this lab."""
        return {path.name for path in Path("/run/netns").iterdir() if path.name.startswith(self.name)} - {
            self.host,
            *(guest.namespace for guest in self._guests),
        }

    def processes(self) -> list[int]:
        """The processes that were started for clouds of this lab."""
        return [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdecimal() and str(self.root) in _command_line(entry)
        ]

    async def close(self) -> None:
        """Removes it all."""
        for guest in self._guests:
            guest.close()
        self._guests.clear()
        for driver in self.drivers:
            await driver.destroy()
        for world in self._worlds:
            world.close()
        set_namespace(Path(f"/proc/self/fd/{self._before}"))
        os.close(self._before)
        subprocess.run(["ip", "netns", "delete", self.host], check=True)
        shutil.rmtree(self.root, ignore_errors=True)


def reach(address: str, port: int, *, source: str = "", source_port: int = 0, timeout: float = 0.8) -> str | None:
    """What a server of ``Guest.serve`` says, as seen from the calling thread's namespace. One lost packet is forgiven."""
    for share in (0.4, 0.6):
        with (
            suppress(OSError),
            socket.create_connection((address, port), timeout * share, (source, source_port)) as made,
        ):
            return made.recv(100).decode()
    return None


def _sockets() -> list[str]:
    return Path("/proc/thread-self/net/tcp6").read_text().splitlines()[1:]


def _server(port: int) -> socket.socket:
    return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, reuse_port=True)


def _answer(server: socket.socket) -> None:
    while True:
        try:
            connection, peer = server.accept()
        except OSError:
            return
        greeting = f"{peer[0].removeprefix('::ffff:')}:{peer[1]}"
        threading.Thread(target=_echo, args=(connection, greeting), daemon=True).start()


def _echo(connection: socket.socket, greeting: str) -> None:
    with connection, suppress(OSError):
        connection.sendall(greeting.encode())
        while data := connection.recv(65536):
            connection.sendall(data)


def _command_line(entry: Path) -> str:
    try:
        return entry.joinpath("cmdline").read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
