"""``python -m bench.probe ADDRESS PORT``: tries to connect every millisecond, and says when a connection came to be.

Prints a line once it tries, and then the time (of the monotonic clock) at which the first connection was there.
"""

import selectors
import socket
import sys
import time

_LIMIT = 30.0
_AT_ONCE = 100
"""Tries that wait for an answer. A try that is a second old would send its first packet again, and is given up before."""


def main() -> None:
    """Tries until it works, for half a minute at most."""
    address, port = sys.argv[1], int(sys.argv[2])
    selector = selectors.DefaultSelector()
    tries: list[socket.socket] = []
    deadline = time.monotonic() + _LIMIT
    told = False
    while time.monotonic() < deadline:
        attempt = socket.socket()
        attempt.setblocking(False)
        attempt.connect_ex((address, port))
        selector.register(attempt, selectors.EVENT_WRITE)
        tries.append(attempt)
        for key, _ in selector.select(0.001):
            if key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:  # type: ignore[union-attr]
                print(time.monotonic(), flush=True)
                return
            selector.unregister(key.fileobj)
        if len(tries) > _AT_ONCE:
            oldest = tries.pop(0)
            if oldest in selector.get_map():
                selector.unregister(oldest)
            oldest.close()
        if not told:
            print("trying", flush=True)
            told = True
    sys.exit("nobody answered")


if __name__ == "__main__":
    main()
