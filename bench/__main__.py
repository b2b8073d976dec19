"""``python -m bench``: measures and prints. Needs root; everything runs in namespaces of its own.

The bench starts itself anew in a network namespace that has nothing but a loopback interface, so that neither it nor any
peer can reach anything outside, and in a process namespace, so that nothing outlives it.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import boot, describe, disks, launch, network, objects, report, start
from bench.measure import Row
from bench.servers import ROOT, install_peers

_INSIDE = "PILEUS_BENCH_INSIDE"
_SIZES = (1, 100, 1000, 5000)


def main() -> None:
    """Parses the command line and measures."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures Pileus against its peers.")
    parser.add_argument(
        "items",
        nargs="*",
        metavar="ITEM",
        help="start, describe, launch, boot, disks, objects, network (default: all), debian",
    )
    parser.add_argument("--sizes", default=",".join(map(str, _SIZES)), help="numbers of instances, growing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result here")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    items: dict[str, Callable[[], Iterator[Row]]] = {
        "start": start.measure,
        "describe": lambda: describe.measure(sizes),
        "launch": lambda: launch.measure(sizes),
        "boot": lambda: boot.measure("tiny"),
        "disks": disks.measure,
        "objects": objects.measure,
        "network": network.measure,
        "debian": lambda: boot.measure("debian-12"),
    }
    usual = [name for name in items if name != "debian"]
    wanted = arguments.items or usual
    unknown = set(wanted) - set(items)
    if unknown or sizes != sorted(set(sizes)):
        parser.error(f"unknown: {', '.join(sorted(unknown))}" if unknown else "sizes must grow")
    if _INSIDE not in os.environ:
        _enter()
    _run([items[name] for name in wanted], arguments.json)


def _enter() -> None:
    """Prepares what needs the outside, and becomes the bench inside its namespaces."""
    if os.geteuid() != 0:
        sys.exit("The bench needs root: it makes namespaces.")
    install_peers()
    # What the installation has compiled may be older than the code. The control plane's user can't keep what it compiles.
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(ROOT / "src")], check=True)
    os.environ[_INSIDE] = "1"
    namespaces = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    os.execvp("unshare", [*namespaces, sys.executable, "-m", "bench", *sys.argv[1:]])


def _run(items: list[Callable[[], Iterator[Row]]], file: Path | None) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    begin = time.monotonic()
    rows: list[Row] = []
    print(report.HEAD, flush=True)
    try:
        for item in items:
            for row in item():
                rows.append(row)
                print(report.line(row), flush=True)
    finally:
        if file is not None:
            file.write_bytes(report.as_json(rows))
    print(f"\nMeasured in {time.monotonic() - begin:.0f} s on {os.cpu_count()} processors.")


if __name__ == "__main__":
    main()
