# SPDX-License-Identifier: Apache-2.0
"""
Passthrough: the kernel reads a cached model by itself. Whoever opens anything in whatever order sees what he would
see without it, and nobody meets ESTALE or EIO for it. Whether the kernel does is proved by stopping the client.
"""
import contextlib
import ctypes
import errno
import mmap
import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import threading

import pytest

from conftest import LARGE_TIER, LONG, Cluster, MiB, eventually, running, seeded_bytes

SIZE = MiB(4) + 123
libc = ctypes.CDLL(None, use_errno=True)


# --- what the stories are told with ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with running(Cluster(tmp_path_factory.mktemp("shared") / "cluster", mounts=2, sets=[LARGE_TIER])) as cluster:
        yield cluster


@pytest.fixture
def here(shared, request):
    folder = shared.mnt / request.node.name[:60]
    folder.mkdir()
    return folder


class opened:
    """A descriptor that closes itself."""

    def __init__(self, path, flags=os.O_RDONLY):
        self.fd = os.open(path, flags)

    def __enter__(self):
        return self.fd

    def __exit__(self, *_):
        os.close(self.fd)


@contextlib.contextmanager
def stopped(cluster, name="client1"):
    """The client does nothing, not for long: who asks it for anything would wait for ever."""
    cluster.kill(name, signal.SIGSTOP)
    timer = threading.Timer(20, cluster.kill, (name, signal.SIGCONT))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        cluster.kill(name, signal.SIGCONT)


def read_and_tell(fd, pipe):
    pipe.send("ready")
    pipe.recv()
    os.pread(fd, 4096, 0)
    pipe.send("read")


def is_passed(cluster, fd, name="client1"):
    """Does a read succeed while the client is stopped?"""
    waiting = pathlib.Path(f"/sys/fs/fuse/connections/{os.minor(os.fstat(fd).st_dev)}/waiting")
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    ours, theirs = multiprocessing.Pipe()
    reader = multiprocessing.get_context("fork").Process(target=read_and_tell, args=(fd, theirs))
    reader.start()
    assert ours.recv() == "ready"
    with stopped(cluster, name):
        ours.send("go")
        is_done = ours.poll(1)  # not its end: that closes all it has open
        if not is_done and int(waiting.read_text()) == 0:
            is_done = ours.poll(10)     # nobody waits for the client: the disk is slow
    reader.join()
    return is_done


def opens_passed(cluster, path, name="client1"):
    with opened(path) as fd:
        return is_passed(cluster, fd, name)


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def warm(cluster, path, name="client1"):
    """Until the file lies in the tier, sealed."""
    path.read_bytes()
    eventually(lambda: opens_passed(cluster, path, name), what=f"{path} is in the tier")


@pytest.fixture
def model(shared, here):
    """A file in the tier, and what is in it."""
    data = seeded_bytes(SIZE, seed=1)
    data = bytes(here.name, "ascii") + data
    write(here / "model", data)
    warm(shared, here / "model")
    return here / "model", data


# --- reading ---------------------------------------------------------------------------------------------------


def test_a_cached_model_is_read_past_the_client(shared, model):
    path, data = model
    with opened(path) as fd, mmap.mmap(fd, 0, prot=mmap.PROT_READ) as view, opened("/dev/null", os.O_WRONLY) as null:
        assert os.fstat(fd).st_ino == path.stat().st_ino
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        with stopped(shared):
            assert os.pread(fd, len(data), 0) == view[:] == data
            assert os.sendfile(null, fd, 0, len(data)) == len(data)


def test_what_was_opened_before_goes_on_and_new_opens_are_passed(shared, here):
    path, data = here / "model", b"before" + seeded_bytes(SIZE, seed=2)
    writer = open(path, "wb")
    writer.write(data)
    writer.flush()
    with opened(path) as early, open(path, "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as early_map:
        writer.close()  # who has it open for writing keeps others from the tier
        warm(shared, path)
        with opened(path) as late:
            assert is_passed(shared, late) and not is_passed(shared, early)
            assert os.pread(late, SIZE * 2, 0) == os.pread(early, SIZE * 2, 0) == early_map[:] == data
            assert os.fstat(late).st_ino == os.fstat(early).st_ino
            os.fchmod(early, 0o600)
            assert os.fstat(late).st_mode & 0o777 == 0o600 == path.stat().st_mode & 0o777


def test_all_that_is_done_with_a_descriptor_works(shared, model, here):
    path, data = model
    with opened(path) as fd:
        os.fsync(fd)
        os.setxattr(path, "user.note", b"yes")
        assert os.getxattr(fd, "user.note") == b"yes"
        assert os.lseek(fd, 0, os.SEEK_DATA) == 0
        assert os.lseek(fd, 0, os.SEEK_HOLE) == os.lseek(fd, 0, os.SEEK_END) == len(data)
        with open(here / "copy", "wb") as copy:
            assert os.copy_file_range(fd, copy.fileno(), len(data), 0, 0) == len(data)
        assert (here / "copy").read_bytes() == data
        with pytest.raises(OSError, match="Bad file"):
            os.pwrite(fd, b"x", 0)


def test_unaligned_direct_reads_work(model):
    path, data = model
    with opened(path), opened(path, os.O_RDONLY | os.O_DIRECT) as fd:
        buffer = bytearray(1001)
        assert os.preadv(fd, [buffer], 77) == 1001
        assert buffer == data[77:1078]


def test_a_program_runs_from_the_tier(shared, here):
    program = here / "program"
    shutil.copy("/usr/bin/openssl", program)
    if program.stat().st_size < MiB(1):
        with open(program, "ab") as f:
            f.write(bytes(MiB(1)))
    warm(shared, program)
    for _ in range(3):
        assert b"OpenSSL" in subprocess.run([program, "version"], check=True, stdout=subprocess.PIPE).stdout


def test_unlinked_or_replaced_it_stays_readable(shared, model, here):
    path, data = model
    other = b"other" + data[5:]
    write(here / "new", other)
    with opened(path) as fd:
        os.rename(here / "new", path)
        assert os.pread(fd, len(data), 0) == data
        assert path.read_bytes() == other
        os.unlink(path)
        assert os.pread(fd, len(data), 0) == data
        assert os.fstat(fd).st_nlink == 0


# --- changes ---------------------------------------------------------------------------------------------------


def test_a_reading_of_the_file_raises_no_doubt_about_it(shared, model, here):
    """Its access time is dropped from the kernel's cache, which says nothing of its content."""
    path, data = model
    with opened(path) as reader, opened(path, os.O_RDWR) as writer, open(here / "copy", "wb") as copy:
        assert is_passed(shared, reader)
        for byte in (b"x", b"y"):   # a write makes the next reading one that moves the access time
            os.pwrite(writer, byte, 0)
            assert os.copy_file_range(reader, copy.fileno(), MiB(1), MiB(1)) == MiB(1)
        os.pwrite(writer, b"z", 0)
        assert os.pread(reader, len(data), 0) == b"z" + data[1:]


def test_readers_see_what_this_mount_writes(shared, model):
    path, data = model
    want = bytearray(data)

    def check():
        assert os.pread(reader, len(want) + 1, 0) == want
        n = min(len(want), len(view))
        assert view[:n] == want[:n]
        assert path.read_bytes() == want
        assert os.fstat(reader).st_size == len(want) == path.stat().st_size

    with opened(path) as reader, mmap.mmap(reader, 0, prot=mmap.PROT_READ) as view:
        with opened(path, os.O_RDWR) as writer:
            assert is_passed(shared, reader)
            os.pwrite(writer, b"changed", MiB(1))
            want[MiB(1) : MiB(1) + 7] = b"changed"
            check()
            os.pwrite(writer, b"longer", len(data))
            want += b"longer"
            check()
            subprocess.run(["fallocate", "-p", "-o", "1000", "-l", "70000", path], check=True)
            want[1000:71000] = bytes(70000)
            check()
            assert os.copy_file_range(writer, writer, MiB(1), MiB(2), 5) == MiB(1)
            want[5 : 5 + MiB(1)] = want[MiB(2) : MiB(3)]
            check()
            os.ftruncate(writer, MiB(3))
            del want[MiB(3) :]
            assert os.pread(reader, MiB(8), 0) == want
            os.truncate(path, len(data))
            want += bytes(len(data) - MiB(3))
            check()
            assert is_passed(shared, reader)
        check()
    warm(shared, path)
    assert path.read_bytes() == want


def test_a_change_of_one_does_not_show_in_an_equal_one(shared, model, here):
    path, data = model
    shutil.copyfile(path, here / "equal")
    (here / "equal").read_bytes()
    with opened(path) as one, opened(here / "equal") as two, opened(path, os.O_WRONLY) as writer:
        os.pwrite(writer, b"changed", 10)
        assert os.pread(one, 7, 10) == b"changed"
        assert os.pread(two, len(data), 0) == data
        assert (here / "equal").read_bytes() == data


def test_changes_by_another_node_show_at_the_next_open(shared, model):
    path, data = model
    with opened(path) as fd, mmap.mmap(fd, 0, prot=mmap.PROT_READ) as view:
        with opened(shared.mnt2 / path.parent.name / path.name, os.O_WRONLY) as remote:
            os.pwrite(remote, b"remote", 100)
        assert path.read_bytes() == data[:100] + b"remote" + data[106:]
        assert os.pread(fd, len(data), 0) == view[:] == data
        with open(path, "rb") as late, mmap.mmap(late.fileno(), 0, prot=mmap.PROT_READ) as late_view:
            assert late_view[100:106] == b"remote"
        with opened(path, os.O_RDWR) as writer:
            os.pwrite(writer, b"local", 200)
            assert os.pread(writer, 106, 100)[:6] == b"remote"
        assert os.pread(fd, len(data), 0) == data


def test_a_descriptor_is_opened_again_without_its_name(model):
    path, data = model
    with opened(path) as fd:
        with opened(f"/proc/self/fd/{fd}") as again:
            assert os.pread(again, len(data), 0) == data
        # its file in the tier cannot be opened for writing: said as of a program that runs
        with pytest.raises(OSError) as refused:
            os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
        assert refused.value.errno == errno.ETXTBSY
        with opened(path, os.O_WRONLY) as writer, opened(f"/proc/self/fd/{fd}") as again:
            os.pwrite(writer, b"changed", 0)
            assert os.pread(again, 7, 0) == os.pread(fd, 7, 0) == b"changed"
    with opened(path, os.O_PATH) as fd, opened(f"/proc/self/fd/{fd}", os.O_RDWR) as writer:
        os.pwrite(writer, b"twice", 0)
    assert path.read_bytes()[:7] == b"twiceed"


def open_cached(path, flags):
    """openat2() with RESOLVE_CACHED: told to look up again, it gives up instead, as io_uring does at first."""
    how = struct.pack("=QQQ", flags, 0, 0x20)
    fd = libc.syscall(437, -100, os.fsencode(path), how, len(how))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "openat2")
    return fd


def test_who_does_not_come_back_for_his_file_is_forgotten(shared, model, here):
    path, data = model
    write(here / "other", data[1:])
    warm(shared, here / "other")
    with opened(path), opened(here / "other") as other:
        for flags in (os.O_CREAT | os.O_EXCL | os.O_RDWR, os.O_CREAT | os.O_RDWR):
            path.stat()
            with pytest.raises(OSError) as refused:
                os.close(open_cached(path, os.O_RDWR))
            assert refused.value.errno == errno.EAGAIN
            with opened(here / f"new{flags}", flags) as new:
                os.pwrite(new, b"new", 0)
        path.stat()
        with pytest.raises(OSError):
            os.close(open_cached(path, os.O_RDWR))
        with opened(here / "other", os.O_RDWR) as writer:  # with a second try of its own
            os.pwrite(writer, b"changed", 0)
        assert os.pread(other, 7, 0) == b"changed"


# --- without names ---------------------------------------------------------------------------------------------

class Handle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_ubyte * 128)]


def handle_of(fd):
    handle, mount_id = Handle(bytes=128), ctypes.c_int()
    if libc.name_to_handle_at(fd, b"", ctypes.byref(handle), ctypes.byref(mount_id), 0x1000) != 0:
        raise OSError(ctypes.get_errno(), "name_to_handle_at")
    return handle


def open_handle(mount, handle, flags=os.O_RDONLY):
    with opened(mount) as where:
        fd = libc.open_by_handle_at(where, ctypes.byref(handle), flags)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "open_by_handle_at")
    return fd


def test_handles_of_all_nodes_name_the_file_also_after_a_remount(make_cluster):
    cluster = make_cluster(sets=[LARGE_TIER])
    path, data = cluster.mnt / "model", seeded_bytes(SIZE, seed=7)
    write(path, data)
    warm(cluster, path)
    with opened(path) as home, opened(path, os.O_RDWR) as aside:
        handles = [handle_of(home), handle_of(aside)]
        assert bytes(handles[0].data) != bytes(handles[1].data)
    for _ in range(2):
        for handle in handles:
            for flags in (os.O_RDONLY, os.O_RDWR):
                fd = open_handle(cluster.mnt, handle, flags)
                assert os.pread(fd, len(data), 0) == data and os.fstat(fd).st_ino == path.stat().st_ino
                os.close(fd)
        cluster.remount()


def test_overlayfs_lies_on_the_mount(shared, model, tmp_path):
    path, data = model
    for name in ("upper", "work", "merged"):
        (tmp_path / name).mkdir()
    layers = f"lowerdir={path.parent},upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, tmp_path / "merged"], check=True)
    try:
        inside = tmp_path / "merged" / "model"
        with opened(inside) as fd:
            assert os.pread(fd, len(data), 0) == data
            with opened(path, os.O_RDWR) as writer, opened(path):
                assert os.pread(writer, 10, 0) == data[:10]
                assert inside.read_bytes() == data
            assert inside.read_bytes() == data == path.read_bytes()
        with opened(inside, os.O_RDWR) as fd:
            os.pwrite(fd, b"upper", 0)
        assert inside.read_bytes()[:5] == b"upper" and path.read_bytes() == data
    finally:
        subprocess.run(["umount", "-l", tmp_path / "merged"], check=True)


def test_without_it_all_is_the_same_and_it_is_said(make_cluster):
    cluster = make_cluster(sets=[LARGE_TIER, "client.passthrough=no"])
    path, data = cluster.mnt / "model", seeded_bytes(SIZE, seed=8)
    write(path, data)
    assert path.read_bytes() == path.read_bytes() == data
    with opened(path) as fd, mmap.mmap(fd, 0, prot=mmap.PROT_READ) as view:
        assert not is_passed(cluster, fd)
        with opened(path, os.O_WRONLY) as writer:
            os.pwrite(writer, b"changed", 5)
        assert view[5:12] == os.pread(fd, 7, 5) == b"changed"
    assert "passthrough=no" in (cluster.dir / "client1.log").read_text()


# --- stress ----------------------------------------------------------------------------------------------------


def stress(path, other, seed, opens, failed):
    rng = random.Random(seed)
    try:
        for i in range(opens):
            kind = rng.randrange(20)
            if kind < 10:
                with opened(path) as fd:
                    assert len(set(os.pread(fd, 64, rng.randrange(SIZE // 64) * 64))) == 1
            elif kind < 14:
                with open(path, "rb") as f, mmap.mmap(f.fileno(), MiB(1), prot=mmap.PROT_READ) as m:
                    f.close()
                    assert len(set(m[4096 : 4096 + 64])) == 1
            elif kind < 16:
                with opened(path) as fd, opened(f"/proc/self/fd/{fd}") as again:
                    os.pread(again, 64, 0)
            elif kind < 18:
                fd = os.open(path, os.O_RDWR)
                try:
                    os.pwrite(fd, bytes([rng.randrange(256)]) * 64, rng.randrange(SIZE // 64) * 64)
                    os.close(fd)
                except OSError as e:
                    if e.errno != errno.ESTALE:  # of a file that was replaced meanwhile
                        raise
            elif kind == 18:
                os.stat(path)
                with opened(path, os.O_RDONLY | os.O_DIRECT) as fd:
                    os.pread(fd, 4096, 0)
            else:
                mine = f"{other}.{seed}"
                write(mine, bytes([i % 256]) * SIZE)
                os.rename(mine, path)
    except BaseException as e:
        failed.put(f"{type(e).__name__}: {e} at {i} kind {kind}")


def test_no_open_ever_fails_for_it(shared, here):
    path, fork, opens = here / "model", multiprocessing.get_context("fork"), 20000 if LONG else 500
    failed = fork.SimpleQueue()
    write(path, bytes(SIZE))
    workers = [fork.Process(target=stress, args=(path, here / "new", seed, opens, failed)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        while worker.is_alive():
            shared.cairn("evict", path, check=False)
            worker.join(0.2)
    assert failed.empty(), failed.get()
