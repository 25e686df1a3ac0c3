# SPDX-License-Identifier: Apache-2.0
"""Locks of fcntl(2), of processes and of open files, and of flock(2), on two mounts."""
import errno
import fcntl
import json
import multiprocessing
import os
import signal
import struct
import time

import pytest

from conftest import LONG, eventually

F_OFD_SETLK, F_OFD_SETLKW = 37, 38
READ, WRITE, NONE = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK
FLOCK = {READ: fcntl.LOCK_SH, WRITE: fcntl.LOCK_EX, NONE: fcntl.LOCK_UN}


def range_lock(kind, start, length):
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0)


class Process:
    """A process that opens and locks as it is told, one call after the other; its answers are errno, or 0."""

    def __init__(self):
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=self.serve, args=(theirs,), daemon=True)
        self.process.start()
        self.pid = self.process.pid

    @staticmethod
    def serve(pipe):
        os.setpgid(0, 0)
        signal.signal(signal.SIGUSR1, lambda *_: (_ for _ in ()).throw(InterruptedError(errno.EINTR, "signal")))
        files = {}
        while True:
            call, args = pipe.recv()
            try:
                pipe.send(getattr(Process, "do_" + call)(files, *args) or 0)
            except OSError as e:
                pipe.send(-e.errno)

    @staticmethod
    def do_open(files, path, flags=os.O_RDWR, name="f"):
        files[name] = os.open(path, flags)

    @staticmethod
    def do_close(files, name="f"):
        os.close(files.pop(name))

    @staticmethod
    def do_posix(files, kind, start=0, length=0, wait=False, name="f"):
        fcntl.fcntl(files[name], fcntl.F_SETLKW if wait else fcntl.F_SETLK, range_lock(kind, start, length))

    @staticmethod
    def do_ofd(files, kind, start=0, length=0, wait=False, name="f"):
        fcntl.fcntl(files[name], F_OFD_SETLKW if wait else F_OFD_SETLK, range_lock(kind, start, length))

    @staticmethod
    def do_flock(files, kind, start=0, length=0, wait=False, name="f"):
        fcntl.flock(files[name], FLOCK[kind] | (0 if wait else fcntl.LOCK_NB))

    @staticmethod
    def do_test(files, kind, start=0, length=0, name="f"):
        answer = fcntl.fcntl(files[name], fcntl.F_GETLK, range_lock(kind, start, length))
        kind, _, start, length, pid = struct.unpack("hhqqi4x", answer)
        return (kind, start, length, pid) if kind != NONE else None

    @staticmethod
    def do_read(files, length, name="f"):
        return os.pread(files[name], length, 0)

    @staticmethod
    def do_write(files, content, name="f"):
        return os.pwrite(files[name], content, 0)

    def begin(self, call, *args):
        self.pipe.send((call, args))

    def end(self, seconds=20):
        assert self.pipe.poll(seconds), "still blocked"
        return self.pipe.recv()

    def is_blocked(self, seconds=0.3):
        return not self.pipe.poll(seconds)

    def __call__(self, call, *args):
        self.begin(call, *args)
        return self.end()

    def kill(self, sig=signal.SIGKILL):
        os.kill(self.pid, sig)

    def is_gone(self, seconds=10):
        self.process.join(seconds)
        return not self.process.is_alive()


@pytest.fixture
def processes():
    made = []

    def make(path=None, flags=os.O_RDWR):
        made.append(Process())
        if path is not None:
            assert made[-1]("open", path, flags) == 0
        return made[-1]
    yield make
    for one in made:
        one.process.kill()
        one.process.join(10)


@pytest.fixture
def ab(shared, request):
    """The same new file by both mounts."""
    name = request.node.name[:60]
    (shared.mnt / name).write_bytes(b"0" * 100)
    return shared.mnt / name, shared.mnt2 / name


def waiting(cluster):
    return cluster.status()["lock_waits"]


KINDS = pytest.mark.parametrize("kind", ["posix", "ofd", "flock"])


# ---- what holds and what does not ------------------------------------------------------------------

@KINDS
def test_writers_exclude_and_readers_share(ab, processes, kind):
    a, b = processes(ab[0]), processes(ab[1])
    assert a(kind, WRITE) == 0
    assert b(kind, WRITE) == b(kind, READ) == -errno.EAGAIN
    assert a(kind, READ) == 0               # less than before
    assert b(kind, READ) == 0
    assert a(kind, WRITE) == -errno.EAGAIN
    # flock(2) gives up what it has before it fails to get another.
    assert b(kind, WRITE) == (0 if kind == "flock" else -errno.EAGAIN)
    assert a(kind, NONE) == 0
    assert b(kind, WRITE) == 0


def test_ranges_are_split_and_merged(ab, processes):
    a, b = processes(ab[0]), processes(ab[1])
    assert a("posix", WRITE, 0, 100) == 0
    assert a("posix", NONE, 40, 20) == 0
    assert b("posix", WRITE, 40, 20) == 0
    assert b("posix", READ, 39, 1) == b("posix", READ, 60, 1) == -errno.EAGAIN
    assert b("test", READ, 0, 0) == (WRITE, 0, 40, 0)       # a process of another node has no number here
    assert a("posix", READ, 0, 40) == 0
    assert b("posix", READ, 30, 10) == 0
    assert a("test", WRITE, 0, 0)[:3] in ((READ, 30, 30), (WRITE, 40, 20), (READ, 30, 10))
    assert a("posix", WRITE, 1000, 0) == 0          # to the end, wherever that will be
    assert b("posix", READ, 1 << 40, 1) == -errno.EAGAIN


def test_the_two_kinds_do_not_meet_and_those_of_a_process_are_one(ab, processes):
    a, b, c = processes(ab[0]), processes(ab[1]), processes(ab[0])
    assert a("flock", WRITE) == 0
    assert b("posix", WRITE) == 0
    assert c("test", WRITE, 0, 0) == (WRITE, 0, 0, 0)
    assert b("posix", NONE) == 0
    assert a("posix", WRITE) == 0
    assert c("test", WRITE, 0, 0) == (WRITE, 0, 0, a.pid)   # of the same node
    assert b("ofd", WRITE) == -errno.EAGAIN                 # POSIX and OFD locks do meet
    assert a("open", ab[0], os.O_RDWR, "second") == 0
    assert a("posix", WRITE, 0, 0, False, "second") == 0    # one process, two descriptors
    assert a("ofd", WRITE, 0, 0, False, "second") == -errno.EAGAIN


# ---- waiting -----------------------------------------------------------------------------------------

@KINDS
def test_who_waits_gets_it_when_it_is_free(shared, ab, processes, kind):
    a, b = processes(ab[0]), processes(ab[1])
    assert a(kind, WRITE) == 0
    b.begin(kind, WRITE, 0, 0, True)
    eventually(lambda: waiting(shared) == 1)
    assert b.is_blocked()
    assert a(kind, NONE) == 0
    assert b.end() == 0
    assert a(kind, READ) == -errno.EAGAIN
    assert b(kind, NONE) == 0
    assert waiting(shared) == 0


def test_a_writer_is_not_overtaken_by_readers(shared, ab, processes):
    first, writer, late = processes(ab[0]), processes(ab[1]), processes(ab[0])
    assert first("posix", READ) == 0
    writer.begin("posix", WRITE, 0, 0, True)
    eventually(lambda: waiting(shared) == 1)
    late.begin("posix", READ, 0, 0, True)
    eventually(lambda: waiting(shared) == 2)
    listed = json.loads(shared.cairn("locks", "--json", ab[0]).stdout)
    assert [(one["mode"], one["pid"], one["waiting"]) for one in listed["locks"]] == [
        ("read", first.pid, False), ("write", writer.pid, True), ("read", late.pid, True)]
    assert (listed["held"], listed["waiting"], listed["more"]) == (1, 2, False)
    assert f"{writer.pid}" in shared.cairn("locks").stdout
    assert first("posix", NONE) == 0
    assert writer.end() == 0
    assert late.is_blocked()
    assert writer("posix", NONE) == 0
    assert late.end() == 0


@KINDS
def test_a_signal_ends_the_wait_and_the_lock_is_not_left_behind(shared, ab, processes, kind):
    a, b, c = processes(ab[0]), processes(ab[1]), processes(ab[1])
    assert a(kind, WRITE) == 0
    b.begin(kind, WRITE, 0, 0, True)
    eventually(lambda: waiting(shared) == 1)
    b.kill(signal.SIGUSR1)
    assert b.end() == -errno.EINTR
    eventually(lambda: waiting(shared) == 0)
    assert a(kind, NONE) == 0
    assert c(kind, WRITE) == 0


@KINDS
def test_a_waiter_can_be_killed(shared, ab, processes, kind):
    a, b = processes(ab[0]), processes(ab[1])
    assert a(kind, WRITE) == 0
    b.begin(kind, WRITE, 0, 0, True)
    eventually(lambda: waiting(shared) == 1)
    b.kill()
    assert b.is_gone()
    eventually(lambda: waiting(shared) == 0)


def test_a_deadlock_is_refused_to_who_would_close_it(shared, ab, processes):
    a, b = processes(ab[0]), processes(ab[1])
    assert a("posix", WRITE, 0, 1) == b("posix", WRITE, 1, 1) == 0
    a.begin("posix", WRITE, 1, 1, True)
    eventually(lambda: waiting(shared) == 1)
    assert b("posix", WRITE, 0, 1, True) == -errno.EDEADLK
    assert b("posix", NONE) == 0
    assert a.end() == 0


def test_open_files_find_no_deadlock_since_another_thread_may_unlock(shared, ab, processes):
    a, b = processes(ab[0]), processes(ab[1])
    assert a("ofd", WRITE, 0, 1) == b("ofd", WRITE, 1, 1) == 0
    a.begin("ofd", WRITE, 1, 1, True)
    eventually(lambda: waiting(shared) == 1)
    b.begin("ofd", WRITE, 0, 1, True)
    eventually(lambda: waiting(shared) == 2)
    assert b.is_blocked()
    b.kill(signal.SIGUSR1)
    assert b.end() == -errno.EINTR


# ---- alone on a file: nobody is asked until another comes --------------------------------------------------

def test_what_was_locked_alone_counts_when_another_mount_comes(shared, ab, processes):
    eventually(lambda: shared.status()["locks"] == 0, what="those of other tests are gone")
    a = processes(ab[0])
    for start in range(0, 2000, 2):         # more than one message tells
        assert a("posix", WRITE, start, 1) == 0
    assert a("flock", READ) == 0
    assert shared.status()["locks"] == 0
    b = processes(ab[1])
    assert shared.status()["locks"] == 1001
    assert b("posix", WRITE, 1998, 1) == -errno.EAGAIN
    assert b("posix", WRITE, 1999, 1) == 0
    assert b("flock", WRITE) == -errno.EAGAIN
    assert a("close") == 0
    eventually(lambda: b("flock", WRITE) == 0)
    assert b("posix", WRITE) == 0


@KINDS
def test_processes_of_one_mount_exclude_each_other(shared, ab, processes, kind):
    a, b, c = processes(ab[0]), processes(ab[0]), processes(ab[0])
    assert a(kind, READ) == b(kind, READ) == 0
    assert c(kind, WRITE) == -errno.EAGAIN
    c.begin(kind, WRITE, 0, 0, True)
    eventually(lambda: waiting(shared) == 1)
    assert a(kind, NONE) == 0
    assert c.is_blocked(0.1)
    b.kill()
    assert c.end() == 0


# ---- the end of a lock ---------------------------------------------------------------------------------

def test_closing_any_descriptor_ends_the_locks_of_a_process(ab, processes):
    a, b = processes(ab[0]), processes(ab[1])
    for flags in (os.O_RDWR, os.O_RDONLY):
        assert a("posix", WRITE) == 0
        assert a("open", ab[0], flags, "second") == 0
        assert b("posix", READ) == -errno.EAGAIN
        assert a("close", "second") == 0
        assert b("posix", WRITE) == 0
        assert b("posix", NONE) == 0


@KINDS
@pytest.mark.parametrize("flags, mode", [(os.O_RDWR, WRITE), (os.O_RDONLY, READ)])
def test_closing_the_file_ends_its_locks(ab, processes, kind, flags, mode):
    a, b = processes(ab[0], flags), processes(ab[1])
    assert a(kind, mode) == 0
    assert b(kind, WRITE) == -errno.EAGAIN
    assert a("close") == 0
    # The kernel tells of the end of an open file behind close().
    eventually(lambda: b(kind, WRITE) == 0)


@KINDS
def test_a_killed_holder_holds_nothing(ab, processes, kind):
    a, b = processes(ab[0]), processes(ab[1])
    assert a(kind, WRITE) == 0
    b.begin(kind, WRITE, 0, 0, True)
    assert b.is_blocked()
    a.kill()
    assert b.end() == 0


def test_a_file_without_names_is_locked_as_any(ab, processes):
    a, b = processes(ab[0]), processes(ab[1])
    os.unlink(ab[0])
    assert a("posix", WRITE) == 0
    assert b("posix", WRITE) == -errno.EAGAIN


# ---- with servers and mounts that die ---------------------------------------------------------------------

def test_locks_and_waits_outlive_the_metadata_server(make_cluster, processes):
    cluster = make_cluster(mounts=2)
    (cluster.mnt / "f").write_bytes(b"x")
    a, b, c = processes(cluster.mnt / "f"), processes(cluster.mnt2 / "f"), processes(cluster.mnt2 / "f")
    assert a("posix", WRITE, 0, 10) == 0 and a("flock", READ) == 0
    b.begin("posix", WRITE, 0, 1, True)
    eventually(lambda: waiting(cluster) == 1)
    cluster.kill("mds")
    time.sleep(0.5)
    cluster.start("mds")
    assert c("posix", WRITE, 9, 1) == -errno.EAGAIN
    assert c("flock", WRITE) == -errno.EAGAIN
    assert b.is_blocked(0.1)
    assert a("posix", NONE) == 0
    assert b.end() == 0
    # While it is away who waits can be killed, and who unlocks by ending ends.
    assert a("posix", WRITE, 50, 1) == 0
    c.begin("posix", WRITE, 50, 1, True)
    eventually(lambda: waiting(cluster) == 1)
    cluster.kill("mds")
    c.kill()
    assert c.is_gone()
    a.kill()
    assert a.is_gone()
    cluster.start("mds")
    assert b("posix", WRITE, 50, 1, True) == 0


def test_locks_that_no_server_was_told_of_outlive_it_as_well(make_cluster, processes):
    cluster = make_cluster(mounts=2)
    (cluster.mnt / "f").write_bytes(b"x")
    a = processes(cluster.mnt / "f")
    assert a("posix", WRITE, 3, 4) == 0
    cluster.kill("mds")
    cluster.start("mds")
    b = processes(cluster.mnt2 / "f")
    assert b("test", READ, 0, 0) == (WRITE, 3, 4, 0)
    assert a("posix", NONE) == 0
    assert b("posix", WRITE) == 0


def test_the_locks_of_a_mount_that_died_are_free_after_its_lease(make_cluster, processes):
    cluster = make_cluster(mounts=2, sets=["lease.ms=3s"])
    (cluster.mnt / "f").write_bytes(b"x")
    a, b = processes(cluster.mnt / "f"), processes(cluster.mnt2 / "f")
    assert a("posix", WRITE) == 0
    b.begin("posix", WRITE, 0, 0, True)
    assert b.is_blocked()
    cluster.kill("client1")
    assert b.end(30) == 0


def test_who_lost_his_lock_with_the_session_neither_reads_nor_writes(make_cluster, processes):
    """A mount that stood still longer than its lease: others have locked meanwhile."""
    cluster = make_cluster(mounts=2, sets=["lease.ms=3s"])
    (cluster.mnt / "f").write_bytes(b"1" * 10)
    a, b = processes(cluster.mnt / "f"), processes(cluster.mnt2 / "f")
    assert a("posix", WRITE) == 0
    b.begin("posix", WRITE, 0, 0, True)
    cluster.kill("client1", signal.SIGSTOP)
    assert b.end(30) == 0
    assert b("write", b"2" * 10) == 10
    cluster.kill("client1", signal.SIGCONT)
    assert a("write", b"3" * 10) == -errno.EIO
    assert a("posix", READ) == -errno.EIO
    assert b("read", 10) == b"2" * 10
    assert a("close") == a("open", cluster.mnt / "f") == 0
    assert a("read", 10) == b"2" * 10
    assert a("posix", READ) == -errno.EAGAIN


# ---- what is locked is seen ---------------------------------------------------------------------------------

def count(path, times):
    fd = os.open(path, os.O_RDWR)
    for _ in range(times):
        fcntl.lockf(fd, fcntl.LOCK_EX)
        value = int(os.pread(fd, 20, 0) or b"0")
        os.pwrite(fd, b"%020d" % (value + 1), 0)
        fcntl.lockf(fd, fcntl.LOCK_UN)
    os.close(fd)


def test_two_nodes_count_together(shared, ab):
    times = 10000 if LONG else 1000
    os.truncate(ab[0], 0)
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=count, args=(path, times)) for path in ab]
    for one in both:
        one.start()
    for one in both:
        one.join(600 if LONG else 120)
        assert one.exitcode == 0
    assert int(ab[1].read_bytes()) == int(ab[0].read_bytes()) == 2 * times


def test_locks_of_a_node_cost_no_request_and_stay_there(make_cluster, processes):
    cluster = make_cluster(servers=1, copies=1, sets=["client.locks=node"], mounts=2)
    (cluster.mnt / "f").write_bytes(b"1" * 10)
    a, same, other = (processes(mnt / "f") for mnt in (cluster.mnt, cluster.mnt, cluster.mnt2))
    for kind in ("posix", "flock"):
        assert a(kind, WRITE) == 0
        assert same(kind, WRITE) == -errno.EAGAIN
        assert other(kind, WRITE) == 0
    assert cluster.status()["locks"] == 0
