"""Images of each format through the real qemu-img in its jail; hostile ones find nothing there."""

import asyncio
import hashlib
import json
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from pileus.drivers.errors import PermanentError
from pileus.drivers.image import conversion, jail
from pileus.drivers.image.conversion import CONVERSION_UID, QemuConversions
from pileus.engines.blocks.encoding import BlockKey
from pileus.engines.blocks.fake import memory_blocks
from pileus.engines.blocks.interface import BLOCK
from pileus.engines.blocks.manifest import Manifest
from pileus.engines.blocks.reader import Reader
from pileus.engines.blocks.upload import upload
from pileus.hostapi.spec import ConversionSpec

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")]
MIB = 1 << 20
KEYS = {"dk-source": b"s" * 32, "dk-target": b"t" * 32}


def qemu_img(*words):
    subprocess.run(["qemu-img", *map(str, words)], check=True, capture_output=True)


@pytest.fixture
def blocks():
    return memory_blocks(lambda: 0.0)


@pytest.fixture
def conversions(tmp_path, blocks):
    return QemuConversions(tmp_path / "scratch", blocks)


@pytest.fixture
def disk(tmp_path):
    """A raw disk of 6 MiB with holes."""
    path, drawn = tmp_path / "disk.raw", random.Random(7)
    with path.open("wb") as file:
        file.truncate(6 * MIB)
        for offset in (0, 2 * MIB + 4096, 6 * MIB - 512):
            file.seek(offset)
            file.write(drawn.randbytes(512 if offset > 5 * MIB else 300_000))
    return path


async def keys(key_id):
    return KEYS[key_id]


async def stored(blocks, path, key_id=None):
    """A file as the control plane puts it into the block store."""
    data = path.read_bytes()

    async def pieces():
        for start in range(0, len(data), BLOCK):
            yield start // BLOCK, data[start : start + BLOCK]

    key = BlockKey(KEYS[key_id]) if key_id else None
    done = await upload(blocks.session(), pieces(), size=len(data), key=key)
    return ConversionSpec(task_id="import-snap-1", source=done.root.hex(), size=len(data), target_format="raw",
                          source_key_id=key_id)  # fmt: skip


async def read(blocks, converted, key_id=None):
    session = blocks.session()
    manifest = await Manifest.open(session, bytes.fromhex(converted.root))
    assert manifest.size == converted.size
    key = BlockKey(KEYS[key_id]) if key_id else None
    return await Reader(session, manifest, key).read(0, min(converted.size, 8 * MIB))


def make(disk, path, format_, *options):
    qemu_img("convert", "-f", "raw", "-O", format_, *options, disk, path)
    return path


def told(_step, _percent):
    pass


@pytest.mark.parametrize(("format_", "options"), [
    ("raw", ()),
    ("qcow2", ()), ("qcow2", ("-c",)), ("qcow2", ("-o", "extended_l2=on,cluster_size=128k")),
    ("vmdk", ()), ("vmdk", ("-o", "subformat=streamOptimized")),
    ("vpc", ("-o", "subformat=dynamic,force_size=on")), ("vpc", ("-o", "subformat=fixed,force_size=on")),
    ("vhdx", ()),
])  # fmt: skip
@pytest.mark.parametrize("said", [True, False])
async def test_an_image_becomes_a_disk(tmp_path, blocks, conversions, disk, format_, options, said):
    spec = await stored(blocks, make(disk, tmp_path / "image", format_, *options))
    steps = []
    converted = await conversions.convert(
        replace(spec, source_format=format_ if said else None),
        keys,
        lambda step, percent: steps.append((step, percent)),
    )
    assert converted.size == 1 << 30
    data = await read(blocks, converted)
    assert hashlib.sha256(data[: 6 * MIB]).digest() == hashlib.sha256(disk.read_bytes()).digest()
    assert not data[6 * MIB :].strip(b"\0")
    percents = [percent for _, percent in steps]
    assert percents == sorted(percents)
    assert {step for step, _ in steps} == {"fetching", "converting", "storing"}
    assert list((tmp_path / "scratch").iterdir()) == []


async def test_source_and_result_are_sealed(tmp_path, blocks, conversions, disk):
    spec = await stored(blocks, make(disk, tmp_path / "image", "qcow2"), "dk-source")
    converted = await conversions.convert(replace(spec, key_id="dk-target"), keys, told)
    assert (await read(blocks, converted, "dk-target"))[: 6 * MIB] == disk.read_bytes()


@pytest.mark.parametrize("format_", ["raw", "vmdk", "vpc"])
async def test_a_disk_becomes_an_image(tmp_path, blocks, conversions, disk, format_):
    spec = await stored(blocks, disk)
    converted = await conversions.convert(replace(spec, source_format="raw", target_format=format_), keys, told)
    if format_ == "raw":
        assert converted.size == 1 << 30
        return
    image = tmp_path / "image"
    image.write_bytes((await read(blocks, converted))[: converted.size])
    assert conversion.detect(image) == format_
    qemu_img("convert", "-f", format_, "-O", "raw", image, tmp_path / "back")
    assert (tmp_path / "back").read_bytes()[: 6 * MIB] == disk.read_bytes()


async def test_the_result_is_protected_until_it_is_forgotten(tmp_path, blocks, conversions, disk):
    converted = await conversions.convert(await stored(blocks, disk), keys, told)

    async def no_roots():
        return set()

    await blocks.collect(no_roots)
    assert await read(blocks, converted)
    await conversions.forget("import-snap-1")
    await conversions.forget("import-snap-1")


# What hostile images may name: a file that everybody can read, outside of the jail.


def overlay(path, secret, disk):
    qemu_img("create", "-f", "qcow2", "-b", secret, "-F", "raw", path, "6M")


def overlay_json(path, secret, disk):
    named = "json:" + json.dumps({"driver": "raw", "file": {"driver": "file", "filename": str(secret)}})
    qemu_img("create", "-f", "qcow2", "-u", "-b", named, "-F", "raw", path, "6M")


def outside_data(path, secret, disk):
    other = path.with_name("other")
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={other},data_file_raw=on", path, "6M")
    # The name is longer than that of the secret: it is put in its place.
    raw = path.read_bytes()
    assert raw.count(str(other).encode())
    path.write_bytes(raw)


def flat_extent(path, secret, disk):
    path.write_text(
        "# Disk DescriptorFile\nversion=1\nCID=11111111\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n"
        f'RW 8 FLAT "{secret}" 0\n'
    )  # fmt: skip


def sparse_parent(path, secret, disk):
    text = (
        "# Disk DescriptorFile\nversion=1\nCID=11111111\nparentCID=22222222\ncreateType=\"monolithicFlat\"\n"
        f'parentFileNameHint="{secret}"\nRW 8 FLAT "{secret}" 0\n'
    )  # fmt: skip
    path.write_text(text)


HOSTILE = [overlay, overlay_json, outside_data, flat_extent, sparse_parent]


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("checked", [True, False])
async def test_an_image_that_names_other_files_gets_none(
    tmp_path, blocks, conversions, disk, hostile, checked, monkeypatch
):
    """Refused by what it says of itself; and if that were overlooked, the files are not there."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"SECRET" * 1000)
    for each in (secret, *tmp_path.parents):
        if each.is_relative_to("/tmp"):
            each.chmod(0o755)
    image = tmp_path / "image"
    hostile(image, secret, disk)
    if not checked:
        monkeypatch.setattr(conversion, "_others", lambda _info: False)
    with pytest.raises(PermanentError, match="ClientError: Disk validation failed") as error:
        await conversions.convert(await stored(blocks, image), keys, told)
    assert "SECRET" not in str(error.value)
    for data, _ in blocks._shelf.blocks.values():
        assert b"SECRET" not in data


@pytest.mark.parametrize("content", [
    b"QFI\xfb" + bytes(100),
    b"KDMV" + bytes(2000),
    b"QFI\xfb" + struct.pack(">IQIIQ", 3, 0, 0, 16, 1 << 60) + bytes(1000),
    b"vhdxfile" + bytes(4096),
    b"conectix" + bytes(1000),
])  # fmt: skip
async def test_what_is_broken_is_refused(tmp_path, blocks, conversions, content):
    image = tmp_path / "image"
    image.write_bytes(content)
    with pytest.raises(PermanentError, match="ClientError"):
        await conversions.convert(await stored(blocks, image), keys, told)


async def test_a_disk_that_is_too_large_is_refused(tmp_path, blocks, conversions):
    qemu_img("create", "-f", "qcow2", tmp_path / "image", "17T")
    with pytest.raises(PermanentError, match="not supported"):
        await conversions.convert(await stored(blocks, tmp_path / "image"), keys, told)


def jailed(*words, memory=2 << 30, size=MIB, seconds=60):
    argv = [sys.executable, "-I", "-S", jail.__file__, str(CONVERSION_UID), str(memory), str(size), str(seconds)]
    return subprocess.run([*argv, *words], capture_output=True, text=True, check=False)


PYTHON = next((path for path in ("/usr/bin/python3",) if Path(path).exists()), None)


@pytest.mark.parametrize(("code", "said"), [
    ("import os; print(os.getuid(), os.geteuid(), os.getgroups())", f"{CONVERSION_UID} {CONVERSION_UID} []"),
    ("print(open('/proc/self/status').read())", "CapEff:\t0000000000000000"),
    ("print(open('/proc/self/status').read())", "NoNewPrivs:\t1"),
    ("print(open('/proc/self/status').read())", "Seccomp:\t2"),
    ("import os; print(sorted(os.listdir('/')))", "'usr']"),
    ("import os; print([p for p in os.listdir('/proc') if p.isdigit()])", "['1']"),
    ("open('/etc/passwd')", "FileNotFoundError"),
    ("open('/usr/x', 'w')", "Read-only file system"),
    ("open('/dev/x', 'w')", "Read-only file system"),
    ("import socket; socket.socket()", "PermissionError"),
    ("import os; os.fork()", "PermissionError"),
    ("import ctypes; l = ctypes.CDLL(None, use_errno=True); print(l.unshare(0x10000000), ctypes.get_errno())", "-1 1"),
    ("import ctypes; l = ctypes.CDLL(None, use_errno=True); print(l.ptrace(0, 0, 0, 0), ctypes.get_errno())", "-1 1"),
    ("import os; os.setuid(0)", "PermissionError"),
    ("bytearray(1 << 40)", "MemoryError"),
    ("import os; print(dict(os.environ))", "{'LC_ALL': 'C', 'MALLOC_ARENA_MAX': '2'}"),
])  # fmt: skip
@pytest.mark.skipif(PYTHON is None, reason="the system has no Python of its own")
def test_what_the_jail_leaves(code, said):
    done = jailed(PYTHON, "-I", "-S", "-c", code)
    assert said in done.stdout + done.stderr


def test_a_program_that_writes_too_much_is_ended(tmp_path):
    target = tmp_path / "target"
    target.touch()
    os.chown(target, CONVERSION_UID, CONVERSION_UID)
    with target.open("r+b") as file, Path("/dev/zero").open("rb") as zeros:
        argv = [sys.executable, "-I", "-S", jail.__file__, str(CONVERSION_UID), str(2 << 30), str(MIB), "60"]
        done = subprocess.run([*argv, "/usr/bin/dd", "if=/dev/fd/0", f"of=/dev/fd/{file.fileno()}", "bs=1M"],
                              stdin=zeros, pass_fds=(file.fileno(),), capture_output=True,
                              check=False)  # fmt: skip
    assert done.returncode != 0
    assert target.stat().st_size <= MIB


async def test_it_ends_with_its_starter():
    starter = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", jail.__file__, str(CONVERSION_UID), str(2 << 30), str(MIB), "60",
        "/usr/bin/sleep", "1000", start_new_session=True,
    )  # fmt: skip

    def sleeping():
        found = []
        for path in Path("/proc").iterdir():
            if path.name.isdigit():
                try:
                    if path.stat().st_uid == CONVERSION_UID and b"1000" in (path / "cmdline").read_bytes():
                        found.append(path.name)
                except (FileNotFoundError, ProcessLookupError):
                    continue
        return found

    while not sleeping():
        await asyncio.sleep(0.01)
    starter.kill()
    await starter.wait()
    for _ in range(500):
        if not sleeping():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it is still there")


async def test_one_that_is_broken_off_leaves_nothing_and_can_be_begun_again(tmp_path, blocks, conversions, disk):
    spec = await stored(blocks, make(disk, tmp_path / "image", "qcow2"))
    for moment in ("fetching", "converting", "storing"):
        reached = asyncio.Event()

        def noted(step, _percent, moment=moment, reached=reached):
            if step == moment:
                reached.set()

        task = asyncio.create_task(conversions.convert(spec, keys, noted))
        await reached.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert list((tmp_path / "scratch").iterdir()) == []
    assert (await read(blocks, await conversions.convert(spec, keys, told)))[: 6 * MIB] == disk.read_bytes()
