"""Tap devices, through /dev/net/tun. The functions act in the namespace of the calling thread.

Source: the kernel's Documentation/networking/tuntap.rst and include/uapi/linux/if_tun.h.
"""

import errno
import fcntl
import os
import socket
import struct
from pathlib import Path

from pileus.drivers.errors import RetryableError
from pileus.drivers.network.linux.namespace import write_settings

_TUNSETIFF, _TUNSETPERSIST = 0x400454CA, 0x400454CB
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000


def attach(name: str) -> int:
    """Opens a tap that exists; the caller closes the descriptor.

    Offloads stay off until the guest's device asks for them, so a guest without them gets whole packets.

    Raises:
        RetryableError: it is not there, or somebody holds it open (it has a single queue).
        OSError: the kernel refuses.
    """
    # The kernel would make a missing one, which would live as long as the descriptor.
    try:
        socket.if_nametoindex(name)
    except OSError as error:
        raise RetryableError(f"there is no tap {name}") from error
    return _attach(name)


def create(name: str) -> None:
    """Makes a tap that stays."""
    descriptor = _attach(name)
    try:
        # Neighbours are answered for by proxy ARP, by default after a random delay of up to 0.8 s.
        write_settings([(f"ipv4/neigh/{name}/proxy_delay", "0")])
        fcntl.ioctl(descriptor, _TUNSETPERSIST, 1)  # last: whoever finds the tap finds it whole
    finally:
        os.close(descriptor)


def received(name: str) -> int:
    """How many packets came in by a link since it was made. Raises OSError when it is not there."""
    for line in Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]:
        link, numbers = line.split(":", 1)
        if link.strip() == name:
            return int(numbers.split()[1])
    raise FileNotFoundError(errno.ENOENT, "there is no link", name)


def _attach(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        request = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR)
        fcntl.ioctl(descriptor, _TUNSETIFF, request)
    except OSError as error:
        os.close(descriptor)
        if error.errno == errno.EBUSY:
            raise RetryableError(f"the tap {name} is in use") from error
        raise
    return descriptor
