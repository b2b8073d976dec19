"""Runs one program on data that nobody trusts, so that whoever takes it over has nothing. Started by ``conversion`` as a
script of its own (Linux, root), with nothing but the standard library:

    python -I -S jail.py UID MEMORY FILE_SIZE SECONDS PROGRAM ARGUMENT…

What the program is left with: its own user id without any capability or a way to gain one; the file descriptors that it was
handed; ``/usr`` read-only, ``/proc`` of its own process namespace, ``/dev/null`` and ``/dev/fd``, and no other file; a
network namespace with nothing in it; limits on memory, processor time and the size of files; and no system call that it
has no use for. It ends when its starter does.
"""

import ctypes
import os
import platform
import resource
import signal
import struct
import sys

_NEW_NAMESPACES = (
    0x00020000 | 0x40000000 | 0x08000000 | 0x04000000 | 0x20000000
)  # mount, network, IPC, UTS, process ids
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = (
    1, 2, 4, 8, 32, 4096, 16384, 1 << 18,
)  # fmt: skip
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_STAGES = ("/mnt", "/media", "/srv")

# seccomp(2), linux/filter.h
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _REFUSE, _NO_SUCH_CALL = 0x7FFF0000, 0x80000000, 0x00050000 | 1, 0x00050000 | 38
_CLONE3, _NEW_ANY, _THREAD = 435, 0x7E020080, 0x00010000
_REFUSED_EVERYWHERE = (*range(424, 435), 438, 442)  # pidfd, io_uring, the new mount calls

# Each architecture: its audit number, clone, and in this order socket, socketpair, bind, listen, accept, connect, ptrace,
# mount, umount2, pivot_root, chroot, setns, unshare, kexec_load, init_module, delete_module, finit_module, bpf,
# perf_event_open, userfaultfd, process_vm_readv, process_vm_writev, keyctl, add_key, request_key, name_to_handle_at,
# open_by_handle_at, personality, syslog, swapon, reboot, quotactl, acct, mknodat, execveat; then fork, vfork, mknod.
_CALLS = {
    "x86_64": (
        0xC000003E, 56,
        (41, 53, 49, 50, 43, 42, 101, 165, 166, 155, 161, 308, 272, 246, 175, 176, 313, 321, 298, 323, 310, 311, 250, 248,
         249, 303, 304, 135, 103, 167, 169, 179, 163, 259, 322, 57, 58, 133),
    ),
    "aarch64": (
        0xC00000B7, 220,
        (198, 199, 200, 201, 202, 203, 117, 40, 39, 41, 51, 268, 97, 104, 105, 106, 273, 280, 241, 282, 270, 271, 219, 217,
         218, 264, 265, 92, 116, 224, 142, 60, 89, 33, 281),
    ),
}  # fmt: skip

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    _check(
        _libc.mount(
            source.encode(),
            target.encode(),
            kind.encode() if kind else None,
            ctypes.c_ulong(flags),
            data.encode() if data else None,
        )
    )


def _filter() -> bytes:
    """The system call filter, as a program for the kernel."""
    audit, clone, refused = _CALLS[platform.machine()]
    steps = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, audit), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    if platform.machine() == "x86_64":
        steps += [(_AT_LEAST, 0, 1, 0x40000000), (_RETURN, 0, 0, _KILL)]  # x32
    steps += [(_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _NO_SUCH_CALL)]  # the C library uses clone then
    for number in (*refused, *_REFUSED_EVERYWHERE):
        steps += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    steps += [
        (_EQUAL, 0, 4, clone),  # threads, and nothing else
        (_LOAD, 0, 0, 16),
        (_ANY_BIT, 1, 0, _NEW_ANY),
        (_ANY_BIT, 1, 0, _THREAD),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _enter_root() -> None:
    """Makes a root directory with next to nothing in it, and enters it."""
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    root = next(stage for stage in _STAGES if os.path.isdir(stage))  # noqa: PTH112 - no imports that are not needed
    _mount("tmpfs", root, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755,size=64k")
    for name in ("usr", "proc", "dev"):
        os.mkdir(f"{root}/{name}", 0o755)  # noqa: PTH102
    _mount("/usr", f"{root}/usr", None, _MS_BIND)
    _mount("none", f"{root}/usr", None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)
    for name in ("lib", "lib64", "lib32", "bin"):
        if os.path.islink(f"/{name}"):  # noqa: PTH114
            os.symlink(os.readlink(f"/{name}"), f"{root}/{name}")  # noqa: PTH115, PTH211
        elif os.path.isdir(f"/{name}"):  # noqa: PTH112
            os.mkdir(f"{root}/{name}", 0o755)  # noqa: PTH102
            _mount(f"/{name}", f"{root}/{name}", None, _MS_BIND)
            _mount("none", f"{root}/{name}", None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)
    _mount("proc", f"{root}/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    os.close(os.open(f"{root}/dev/null", os.O_CREAT, 0o666))
    _mount("/dev/null", f"{root}/dev/null", None, _MS_BIND)
    os.symlink("/proc/self/fd", f"{root}/dev/fd")  # noqa: PTH211
    _mount("none", root, None, _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID, "size=64k")
    os.chroot(root)
    os.chdir("/")


def _become(uid: int, memory: int, file_size: int, seconds: int) -> None:
    """Gives up everything else."""
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, file_size),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_NPROC, 64),
    ):
        resource.setrlimit(limit, (value, value))
    program = _filter()
    buffer = ctypes.create_string_buffer(program)
    head = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _check(_libc.prctl(_PR_SET_SECCOMP, 2, head, 0, 0))


def main() -> None:
    """Never returns."""
    uid, memory, file_size, seconds = (int(word) for word in sys.argv[1:5])
    argv = sys.argv[5:]
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    _check(_libc.unshare(_NEW_NAMESPACES))
    child = os.fork()
    if child == 0:
        try:
            _enter_root()
            _become(uid, memory, file_size, seconds)
            os.execve(argv[0], argv, {"LC_ALL": "C", "MALLOC_ARENA_MAX": "2"})  # noqa: S606 - after a filter, no shell
        except OSError as error:
            os.write(2, f"jail: {error}\n".encode())
            os._exit(126)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
