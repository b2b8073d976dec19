"""What becomes of the data on QEMU's disks, told by guests that write and read them while they are changed under them.

A disk's base begins with the program that the guest runs on it (``hypervisor_guest.program``).
"""

import asyncio
import hashlib
import os
import random
import re
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import hypervisor_guest
import msgspec
import pytest
from hypervisor_guest import program

from pileus.base import process
from pileus.drivers.errors import PermanentError, RetryableError
from pileus.drivers.hypervisor.interface import BootFiles, Disk, DiskLayer, passphrase
from pileus.drivers.hypervisor.qemu import QemuHypervisor

pytestmark = [pytest.mark.vm, pytest.mark.root]

MIB = 1 << 20
SIZE = 64 * MIB
RECORD = 4096
FIRST = 16  # the first record, behind the program

spec = hypervisor_guest.guest_spec

# Writes record after record, each on the disk before the next one: whatever is there later is a beginning of this.
WRITER = program(
    f"i={FIRST}",
    "while :; do",
    f'  printf "%08d" $i | dd of=/dev/$disk bs={RECORD} seek=$i conv=notrunc,sync,fsync 2> /dev/null || break',
    '  echo "WROTE $i"; i=$((i + 1))',
    "done",
)


@pytest.fixture
async def hypervisor(tmp_path: Path) -> AsyncIterator[QemuHypervisor]:
    hypervisor = QemuHypervisor(tmp_path)
    try:
        await hypervisor.open(lambda _: None)
        yield hypervisor
    finally:
        await hypervisor.close()
        hypervisor = QemuHypervisor(tmp_path)
        await hypervisor.open(lambda _: None)
        for guest in await hypervisor.observe():
            await hypervisor.remove(guest.instance_id)
        await hypervisor.close()


def qemu_img(*words: str) -> bytes:
    return process.run_sync("qemu-img", *words)


def overlay(path: Path, below: Path, kind: str = "qcow2", key: bytes | None = None) -> None:
    backing = ("-u", "-b", str(below), "-F", kind)
    if key is None:
        qemu_img("create", "-q", "-f", "qcow2", *backing, str(path), str(SIZE))
        return
    options = "encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=10"
    with_key(key, path, "create", "-q", "-f", "qcow2", "-o", options, *backing, str(path), str(SIZE))


def with_key(key: bytes, beside: Path, command: str, *words: str) -> None:
    """Runs ``qemu-img`` with the key as the secret ``k``."""
    secret = beside.with_name(f"{beside.name}.key")
    secret.write_text(passphrase(key))
    for attempt in range(10):  # "Unable to get accurate CPU usage" is QEMU's way to say that the machine is busy
        try:
            qemu_img(command, "--object", f"secret,id=k,file={secret}", *words)
            break
        except process.ProcessError:
            if attempt == 9:
                raise
    secret.unlink()


class Chain:
    """A volume's files, whose layers are those that the headers name."""

    def __init__(self, root: Path, volume_id: str = "vol-2", start: bytes = b"", key: bytes | None = None) -> None:
        self.volume_id = volume_id
        self.directory = root / "chains" / volume_id
        self.directory.mkdir(parents=True)
        self.base = self.directory / "base"
        self.base.write_bytes(start)
        os.truncate(self.base, SIZE)
        self.key = key
        self.top = self.directory / "layer0"
        overlay(self.top, self.base, "raw", key)

    @classmethod
    def found(cls, root: Path, volume_id: str = "vol-2") -> "Chain":
        """What another process left."""
        chain = cls.__new__(cls)
        chain.volume_id, chain.key = volume_id, None
        chain.directory = root / "chains" / volume_id
        chain.base = chain.directory / "base"
        chain.top = max(chain.directory.glob("layer*"), key=lambda path: int(path.name.removeprefix("layer")))
        return chain

    def disk(self, **facts: object) -> Disk:
        """As the volume driver would give it: by what the headers say."""
        layers: list[DiskLayer] = []
        path = self.top
        while path != self.base:
            top = path == self.top
            layers.append(DiskLayer(path=path, format="qcow2", writable=top, mergeable=True, key=self.key))
            path = self.below(path)
        layers.append(DiskLayer(path=self.base, format="raw", writable=False))
        disk = Disk(volume_id=self.volume_id, index=1, serial=self.volume_id.replace("-", ""), layers=tuple(layers))
        return msgspec.structs.replace(disk, **facts)

    def below(self, path: Path) -> Path:
        info = msgspec.json.decode(qemu_img("info", "-U", "--output=json", str(path)))
        return Path(info["backing-filename"])

    def fresh_top(self) -> DiskLayer:
        """One more layer, which is the top from now on."""
        path = self.directory / f"layer{int(self.top.name.removeprefix('layer')) + 1}"
        overlay(path, self.top, key=self.key)
        self.top = path
        return DiskLayer(path=path, format="qcow2", writable=True, mergeable=True, key=self.key)

    def content(self, path: Path) -> bytes:
        """What a layer and all below it make together."""
        target = self.directory / "content.raw"
        qemu_img("convert", "-U", "-f", "qcow2", "-O", "raw", str(path), str(target))
        return target.read_bytes()


def records(content: bytes) -> int:
    """How many records are there, none missing between."""
    texts = [content[start : start + 8] for start in range(FIRST * RECORD, len(content), RECORD)]
    count = next((place for place, text in enumerate(texts) if text == bytes(8)), len(texts))
    assert texts[:count] == [b"%08d" % (FIRST + place) for place in range(count)]
    assert not any(text != bytes(8) for text in texts[count:])
    return count


async def seen(hypervisor: QemuHypervisor, pattern: str, instance_id: str = "i-1", after: int = 0) -> re.Match[str]:
    """The first place behind ``after`` at which the console says ``pattern``, within a minute."""
    async with asyncio.timeout(90):
        while True:
            text = (await hypervisor.console_output(instance_id)).decode(errors="replace")
            if (found := re.compile(pattern).search(text, after)) is not None:
                return found
            await asyncio.sleep(0.05)


async def end_of_console(hypervisor: QemuHypervisor) -> int:
    return len((await hypervisor.console_output("i-1")).decode(errors="replace"))


async def written(hypervisor: QemuHypervisor, more: int = 5) -> int:
    """Waits until the guest has written ``more`` records; the number that it then said it had."""
    last = 0
    start: int | None = None
    async with asyncio.timeout(90):
        while start is None or last < start + more:
            said = re.findall(r"WROTE (\d+)\r", (await hypervisor.console_output("i-1")).decode(errors="replace"))
            last = int(said[-1]) - FIRST + 1 if said else 0
            start = last if start is None else start
            await asyncio.sleep(0.05)
    return last


async def gone(hypervisor: QemuHypervisor, volume_id: str, instance_id: str = "i-1") -> None:
    async with asyncio.timeout(60):
        while volume_id in await volumes(hypervisor, instance_id):
            await asyncio.sleep(0.05)


async def plug_again(hypervisor: QemuHypervisor, disk: Disk, instance_id: str = "i-1") -> None:
    """Plugs a disk once the guest has let go of it entirely, which is later than it says so. The agent does the same."""
    async with asyncio.timeout(60):
        while True:
            try:
                await hypervisor.plug(instance_id, disk)
            except RetryableError:
                await asyncio.sleep(0.1)
            else:
                return


async def volumes(hypervisor: QemuHypervisor, instance_id: str = "i-1") -> Sequence[str]:
    (state,) = [state for state in await hypervisor.observe() if state.instance_id == instance_id]
    return state.volumes


async def start(hypervisor: QemuHypervisor, root: Path, *disks: Disk, name: str = "i-1", boot: int = 1) -> None:
    """A guest that runs what it finds on disks. Its first one is empty."""
    path = root / f"root-{name}"
    if not path.exists():
        qemu_img("create", "-q", "-f", "qcow2", str(path), "1M")
    layer = DiskLayer(path=path, format="qcow2", writable=True)
    first = Disk(volume_id=f"vol-root-{name}", index=0, serial="root", layers=(layer,))
    guest = spec(name, boot=boot, do="disks")
    await hypervisor.ensure_running(guest, hypervisor_guest.boot_files(), [first, *disks], {})


async def another_agent(hypervisor: QemuHypervisor, root: Path) -> QemuHypervisor:
    await hypervisor.close()
    hypervisor = QemuHypervisor(root)
    await hypervisor.open(lambda _: None)
    return hypervisor


async def test_a_disk_is_known_by_its_serial_and_takes_its_data_along(
    hypervisor: QemuHypervisor, tmp_path: Path
) -> None:
    chain = Chain(
        tmp_path,
        start=program(
            f'if [ "$(dd if=/dev/$disk bs={RECORD} skip={FIRST} count=1 2> /dev/null | head -c 4)" = data ]; then',
            '  echo "FOUND data on $serial"',
            "else",
            f"  printf data | dd of=/dev/$disk bs={RECORD} seek={FIRST} conv=notrunc,fsync 2> /dev/null",
            '  echo "STORED on $serial"',
            "fi",
        ),
    )
    for name in ("i-1", "i-2"):
        await start(hypervisor, tmp_path, name=name)
    for name in ("i-1", "i-2"):
        await seen(hypervisor, "READY", name)
    await hypervisor.plug("i-1", chain.disk())
    await seen(hypervisor, f"SEES vol2 {SIZE}")
    await seen(hypervisor, "STORED on vol2")
    await hypervisor.unplug("i-1", "vol-2")
    await seen(hypervisor, f"LOST vol2 {SIZE}")
    await gone(hypervisor, "vol-2")
    await hypervisor.plug("i-2", chain.disk())
    await seen(hypervisor, "FOUND data on vol2", "i-2")


async def test_a_disk_grows_and_keeps_to_its_limits_as_they_change(hypervisor: QemuHypervisor, tmp_path: Path) -> None:
    chain = Chain(
        tmp_path,
        start=program(
            "(while :; do dd if=/dev/$disk of=/dev/null bs=4096 iflag=direct 2> /dev/null; done) &",
            'while :; do read a b c d < /sys/block/$disk/stat; read now _ < /proc/uptime; echo "OPS $now $a"; sleep 1; done',
        ),
    )
    await start(hypervisor, tmp_path)
    await seen(hypervisor, "READY")

    async def rate() -> float:
        """Reads a second, by the guest's own clock, over some seconds."""
        begin = await end_of_console(hypervisor)
        points: list[tuple[float, int]] = []
        for _ in range(6):
            found = await seen(hypervisor, r"OPS ([\d.]+) (\d+)\r", after=begin)
            begin = found.end()
            points.append((float(found[1]), int(found[2])))
        return (points[-1][1] - points[1][1]) / (points[-1][0] - points[1][0])

    await hypervisor.plug("i-1", chain.disk(iops=40))
    await seen(hypervisor, "OPS")
    assert 20 < await rate() < 60
    await hypervisor.plug("i-1", chain.disk(size=2 * SIZE))
    await seen(hypervisor, f"SEES vol2 {2 * SIZE}")
    assert await rate() > 120
    await hypervisor.plug("i-1", chain.disk(throughput=40 * 4096))
    assert 20 < await rate() < 60
    await hypervisor.cut_power("i-1")
    info = msgspec.json.decode(qemu_img("info", "--output=json", str(chain.top)))
    assert info["virtual-size"] == 2 * SIZE


async def test_a_disk_of_the_start_has_its_size_and_limits_too(hypervisor: QemuHypervisor, tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    await start(hypervisor, tmp_path, chain.disk(size=3 * SIZE, iops=100))
    await seen(hypervisor, f"SEES vol2 {3 * SIZE}")


async def test_frozen_layers_hold_one_instant_and_merging_them_loses_nothing(
    hypervisor: QemuHypervisor, tmp_path: Path
) -> None:
    chain, other = Chain(tmp_path, start=WRITER), Chain(tmp_path, "vol-3")
    await start(hypervisor, tmp_path, chain.disk(), other.disk())
    least = await written(hypervisor)
    for turn in range(4):
        frozen, below = chain.top, chain.below(chain.top)
        tops = {"vol-2": chain.fresh_top(), "vol-3": other.fresh_top()}
        await hypervisor.freeze("i-1", tops)
        await written(hypervisor)
        qemu_img("check", "-U", "-q", str(frozen))
        before = hashlib.sha256(frozen.read_bytes()).digest()
        assert records(chain.content(frozen)) >= least
        least = await written(hypervisor)
        assert hashlib.sha256(frozen.read_bytes()).digest() == before
        if turn == 1:
            hypervisor = await another_agent(hypervisor, tmp_path)
        if turn:
            await hypervisor.merge("i-1", "vol-2", frozen)
            assert chain.below(chain.top) == below
            assert not open_in(hypervisor, frozen)
            frozen.unlink()
    await hypervisor.cut_power("i-1")
    assert records(chain.content(chain.top)) >= least


def open_in(hypervisor: QemuHypervisor, path: Path) -> list[str]:
    pid = hypervisor.pid("i-1")
    assert pid is not None
    links = [link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    return [str(link) for link in links if link == path]


async def test_a_merge_goes_on_under_another_agent(hypervisor: QemuHypervisor, tmp_path: Path) -> None:
    chain = Chain(tmp_path, start=WRITER)
    await start(hypervisor, tmp_path, chain.disk())
    await written(hypervisor)
    await hypervisor.freeze("i-1", {"vol-2": chain.fresh_top()})
    middle = chain.top
    await written(hypervisor)
    await hypervisor.freeze("i-1", {"vol-2": chain.fresh_top()})
    merging = asyncio.create_task(hypervisor.merge("i-1", "vol-2", middle))
    await asyncio.sleep(0.01)
    merging.cancel()
    await asyncio.gather(merging, return_exceptions=True)
    hypervisor = await another_agent(hypervisor, tmp_path)
    await hypervisor.freeze("i-1", {"vol-2": chain.fresh_top()})
    await hypervisor.merge("i-1", "vol-2", middle)
    least = await written(hypervisor)
    await hypervisor.cut_power("i-1")
    assert middle not in [layer.path for layer in chain.disk().layers]
    assert records(chain.content(chain.top)) >= least


@pytest.mark.slow
async def test_a_killed_qemu_leaves_a_chain_that_starts_again(hypervisor: QemuHypervisor, tmp_path: Path) -> None:
    chain = Chain(tmp_path, start=WRITER)
    dice = random.Random(11)
    for boot in range(1, 6):
        await start(hypervisor, tmp_path, chain.disk(), boot=boot)
        least = await written(hypervisor, 2)
        pid = hypervisor.pid("i-1")
        assert pid is not None

        async def work() -> None:
            for _ in range(50):
                frozen = chain.top
                await hypervisor.freeze("i-1", {"vol-2": chain.fresh_top()})
                if len(chain.disk().layers) > 3:
                    await hypervisor.merge("i-1", "vol-2", frozen)

        working = asyncio.create_task(work())
        await asyncio.sleep(dice.uniform(0.05, 0.6))
        os.kill(pid, signal.SIGKILL)
        (outcome,) = await asyncio.gather(working, return_exceptions=True)
        assert outcome is None or isinstance(outcome, RetryableError)
        for layer in chain.disk().layers[:-1]:
            qemu_img("check", "-q", str(layer.path))
        assert records(chain.content(chain.top)) >= least
        for _ in range(100):  # the driver sees the end in its own time
            if hypervisor.pid("i-1") is None:
                break
            await asyncio.sleep(0.05)
    await start(hypervisor, tmp_path, chain.disk(), boot=99)
    await written(hypervisor)


async def test_an_encrypted_disk_shows_nothing_and_opens_with_its_key_alone(
    hypervisor: QemuHypervisor, tmp_path: Path
) -> None:
    key, mark = secrets.token_bytes(32), "plainlyreadable"
    text = program(
        f'found=$(dd if=/dev/$disk bs={RECORD} skip={FIRST} count=1 2> /dev/null | head -c {len(mark)}); echo "HAS $found."',
        f"printf {mark} | dd of=/dev/$disk bs={RECORD} seek={FIRST} conv=notrunc,fsync 2> /dev/null",
        'echo "MARKED $serial"',
    )
    chain, cold = Chain(tmp_path, start=text, key=key), Chain(tmp_path, "vol-3", start=text, key=key)
    await start(hypervisor, tmp_path, cold.disk())
    await seen(hypervisor, "MARKED vol3")
    wrong = tuple(msgspec.structs.replace(layer, key=secrets.token_bytes(32)) for layer in chain.disk().layers[:1])
    with pytest.raises(PermanentError, match="Invalid password"):
        await hypervisor.plug("i-1", chain.disk(layers=(*wrong, chain.disk().layers[-1])))
    assert "vol-2" not in await volumes(hypervisor)
    await hypervisor.plug("i-1", chain.disk())
    await seen(hypervisor, "MARKED vol2")
    frozen = chain.top
    await hypervisor.freeze("i-1", {"vol-2": chain.fresh_top()})
    await hypervisor.freeze("i-1", {"vol-2": chain.fresh_top()})
    middle = chain.below(chain.top)
    await hypervisor.merge("i-1", "vol-2", middle)
    pid = hypervisor.pid("i-1")
    words = Path(f"/proc/{pid}/cmdline").read_bytes()
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name not in {"base", "console"}]
    for secret in (key, passphrase(key).encode()):
        assert secret not in words
        assert not [path for path in files if secret in path.read_bytes()]
    for path in (frozen, middle, chain.top, cold.top):
        assert mark.encode() not in path.read_bytes()
    await hypervisor.cut_power("i-1")
    await start(hypervisor, tmp_path, chain.disk(), boot=2)
    await seen(hypervisor, f"HAS {mark}")
    with pytest.raises(PermanentError, match="Invalid password"):
        await start(hypervisor, tmp_path, chain.disk(layers=(*wrong, chain.disk().layers[-1])), boot=3)


async def test_a_base_may_be_encrypted_under_another_key(hypervisor: QemuHypervisor, tmp_path: Path) -> None:
    key, other = secrets.token_bytes(32), secrets.token_bytes(32)
    chain = Chain(tmp_path, start=WRITER, key=key)
    sealed = chain.directory / "sealed"
    options = "key-secret=k,iter-time=10"
    with_key(other, sealed, "convert", "-f", "raw", "-O", "luks", "-o", options, str(chain.base), str(sealed))
    base = DiskLayer(path=sealed, format="raw", writable=False, key=other)
    plain = chain.disk()
    disk = msgspec.structs.replace(plain, layers=(*plain.layers[:-1], base))
    await start(hypervisor, tmp_path, disk)
    await written(hypervisor)
    for layer in (plain.layers[-1], base):
        await hypervisor.swap_base("i-1", "vol-2", layer)
        await written(hypervisor)
    with pytest.raises(PermanentError, match="Invalid password"):
        sealed.rename(sealed.with_name("resealed"))
        wrong = msgspec.structs.replace(base, path=sealed.with_name("resealed"), key=key)
        await hypervisor.swap_base("i-1", "vol-2", wrong)
    await written(hypervisor)


class Server:
    """A server of a base, in a directory that others than root can't even look at from above."""

    def __init__(self, root: Path, base: Path) -> None:
        above = root / "servers"
        above.mkdir(mode=0o700)
        self._directory = above / "one"
        self._directory.mkdir()
        self._directory.chmod(0o711)
        self._socket = self._directory / "socket"
        self._base = base

    async def up(self) -> None:
        self._socket.unlink(missing_ok=True)
        words = ("qemu-nbd", "-r", "-t", "-e", "4", "-x", "base", "-f", "raw", "-k", str(self._socket), str(self._base))
        self._child = process.spawn(*words)
        async with asyncio.timeout(20):
            while not self._socket.exists():
                await asyncio.sleep(0.02)
        self._socket.chmod(0o666)

    def down(self) -> None:
        self._child.kill()
        self._child.wait()

    def layer(self) -> DiskLayer:
        return DiskLayer(path=self._socket, format="nbd", writable=False, export="base")


async def test_a_base_may_come_from_a_server_that_dies_and_is_exchanged_for_a_file(
    hypervisor: QemuHypervisor, tmp_path: Path
) -> None:
    count = 200
    text = program(
        "n=0",
        f"while [ $n -lt {count} ]; do",
        "  echo 3 > /proc/sys/vm/drop_caches",
        '  sum=$(dd if=/dev/$disk bs=65536 skip=$((n + 1)) count=1 2> /dev/null | md5sum | head -c 32); echo "SUM $n $sum"',
        "  n=$((n + 1)); sleep 0.1",
        "done",
    )
    chain = Chain(tmp_path, start=text.ljust(65536, b"\0") + random.Random(5).randbytes(65536 * count))
    whole = chain.base.read_bytes()
    server = Server(tmp_path, chain.base)
    await server.up()
    try:
        disk = chain.disk()
        served = msgspec.structs.replace(disk, layers=(*disk.layers[:-1], server.layer()))
        await start(hypervisor, tmp_path)
        await seen(hypervisor, "READY")
        await hypervisor.plug("i-1", served)
        await seen(hypervisor, "SUM 3 ")
        server.down()
        place = await end_of_console(hypervisor)
        await asyncio.sleep(2)
        hypervisor = await another_agent(hypervisor, tmp_path)
        await server.up()
        await seen(hypervisor, "SUM ", after=place)
        await hypervisor.freeze("i-1", {"vol-2": chain.fresh_top()})
        await hypervisor.swap_base("i-1", "vol-2", disk.layers[-1])
    finally:
        server.down()
    hypervisor = await another_agent(hypervisor, tmp_path)
    place = await end_of_console(hypervisor)
    await seen(hypervisor, r"SUM \d+ \w+\r[^$]*SUM \d+ \w+\r", after=place)
    assert "vol-2" in await volumes(hypervisor)
    sums = re.findall(r"SUM (\d+) (\w{32})\r", (await hypervisor.console_output("i-1")).decode())
    assert len(sums) > 5
    for number, digest in sums:
        start_of = 65536 * (int(number) + 1)
        assert hashlib.md5(whole[start_of : start_of + 65536]).hexdigest() == digest
    await hypervisor.unplug("i-1", "vol-2", force=True)
    assert "vol-2" not in await volumes(hypervisor)


async def test_a_volume_torn_out_is_not_written_any_more(hypervisor: QemuHypervisor, tmp_path: Path) -> None:
    chain = Chain(tmp_path, start=WRITER)
    await start(hypervisor, tmp_path)
    await seen(hypervisor, "READY")
    await hypervisor.plug("i-1", chain.disk())
    await written(hypervisor)
    await hypervisor.unplug("i-1", "vol-2", force=True)
    assert not [name for layer in chain.disk().layers for name in open_in(hypervisor, layer.path)]
    after = chain.content(chain.top)
    assert records(after) >= 5
    await seen(hypervisor, "LOST vol2")
    assert chain.content(chain.top) == after
    await plug_again(hypervisor, chain.disk())
    await written(hypervisor, 1)


# An agent in a process of its own, to be killed: it plugs, freezes, merges and tears out for as long as it lives.
_AGENT = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_hypervisor_qemu_disks as disks
from pileus.drivers.hypervisor.qemu import QemuHypervisor

async def main():
    root = Path(sys.argv[1])
    hypervisor = QemuHypervisor(root)
    await hypervisor.open(lambda _: None)
    chain = disks.Chain.found(root)
    print("opened", flush=True)
    while True:
        await hypervisor.plug("i-1", chain.disk())
        frozen = chain.top
        await hypervisor.freeze("i-1", {"vol-2": chain.fresh_top()})
        await hypervisor.freeze("i-1", {"vol-2": chain.fresh_top()})
        await hypervisor.merge("i-1", "vol-2", chain.below(chain.top))
        await hypervisor.unplug("i-1", "vol-2", force=True)
        await asyncio.sleep(0.2)

asyncio.run(main())
"""


@pytest.mark.slow
async def test_an_agent_killed_at_its_work_on_disks_leaves_what_the_next_one_repairs(tmp_path: Path) -> None:
    chain, dice = Chain(tmp_path, start=WRITER), random.Random(3)
    hypervisor = QemuHypervisor(tmp_path)
    await hypervisor.open(lambda _: None)
    try:
        await start(hypervisor, tmp_path)
        await seen(hypervisor, "READY")
        for _ in range(8):
            await hypervisor.close()
            here = str(Path(__file__).parent)
            child = process.spawn(sys.executable, "-c", _AGENT, str(tmp_path), here, stdout=-1)
            try:
                assert child.stdout is not None
                assert await asyncio.to_thread(child.stdout.readline) == b"opened\n"
                await asyncio.sleep(dice.uniform(0.1, 2.0))
            finally:
                child.kill()
                child.communicate()
            hypervisor = QemuHypervisor(tmp_path)
            await hypervisor.open(lambda _: None)
            chain = Chain.found(tmp_path)
            mine = [name for layer in chain.directory.glob("layer*") for name in open_in(hypervisor, layer)]
            assert ("vol-2" in await volumes(hypervisor)) == bool(mine)
            await hypervisor.unplug("i-1", "vol-2", force=True)
            assert "vol-2" not in await volumes(hypervisor)
            assert not [name for layer in chain.directory.glob("layer*") for name in open_in(hypervisor, layer)]
            for layer in chain.disk().layers[:-1]:
                qemu_img("check", "-q", str(layer.path))
            records(chain.content(chain.top))
        await plug_again(hypervisor, chain.disk())
        assert "vol-2" in await volumes(hypervisor)
    finally:
        for guest in await hypervisor.observe():
            await hypervisor.remove(guest.instance_id)
        await hypervisor.close()


async def test_all_slots_can_be_used_and_one_more_is_refused(hypervisor: QemuHypervisor, tmp_path: Path) -> None:
    path = tmp_path / "root"
    qemu_img("create", "-q", "-f", "qcow2", str(path), "1M")
    layer = DiskLayer(path=path, format="qcow2", writable=True)
    first = Disk(volume_id="vol-0", index=0, serial="root", layers=(layer,))
    await hypervisor.ensure_running(spec(), BootFiles(), [first], {})
    for number in range(1, 28):
        await hypervisor.plug("i-1", an_empty_disk(tmp_path, f"vol-{number}"))
    assert len(await volumes(hypervisor)) == 28
    with pytest.raises(RetryableError):
        await hypervisor.plug("i-1", an_empty_disk(tmp_path, "vol-28"))
    assert len(await volumes(hypervisor)) == 28
    assert not open_in(hypervisor, tmp_path / "vol-28")


def an_empty_disk(root: Path, volume_id: str) -> Disk:
    path = root / volume_id
    qemu_img("create", "-q", "-f", "qcow2", str(path), "1M")
    layer = DiskLayer(path=path, format="qcow2", writable=True)
    return Disk(volume_id=volume_id, index=1, serial=volume_id, layers=(layer,))
