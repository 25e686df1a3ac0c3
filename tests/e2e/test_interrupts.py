# SPDX-License-Identifier: Apache-2.0
"""
A cluster that is gone keeps nobody for ever: each blocked call ends at once by Ctrl-C and by kill -9, and leaves no
damage; umount -f and a killed mount free everybody; what is waited for is said.
"""
import contextlib
import ctypes
import errno
import mmap
import multiprocessing
import os
import pathlib
import re
import signal
import stat
import subprocess
import time

import pytest

from conftest import BIN, NO_TIER, Cluster, eventually, running, seeded_bytes

SETS = [NO_TIER, "lease.ms=3000", "client.flush_ms=60000"]
DATA = 200_000
ABANDONED_S = 2     # CL_ABANDONED_MS
PROMPT_S = 5        # for all calls of a round together, on a machine that is three times slower
LIBC = ctypes.CDLL(None, use_errno=True)


def open_file(path):
    return os.open(path, os.O_RDWR)


def written(path, size):
    """A descriptor with something to publish."""
    fd = os.open(path, os.O_RDWR)
    os.pwrite(fd, b"x" * size, 0)
    return fd


def mapped(path):
    fd = os.open(path, os.O_RDWR)
    return mmap.mmap(fd, DATA)


def mapped_dirty(path):
    m = mapped(path)
    m[:DATA] = b"y" * DATA
    return m


def same(path):
    return path


def split(path):
    return os.path.dirname(path)


# What a call needs is made while all is well: name -> (prepare(path), call(what that gave)). path is a file of DATA
# bytes made through the other mount, in a folder of its own, with `sub` (a folder) and `link` beside it.
ASKS = {     # the metadata server
    "stat": (same, os.stat),
    "open": (same, lambda p: os.open(p, os.O_RDONLY)),
    "open for writing": (same, open_file),
    "open absent": (same, lambda p: os.open(p + "absent", os.O_RDONLY)),
    "create": (same, lambda p: os.open(p + "new", os.O_CREAT | os.O_EXCL | os.O_RDWR)),
    "mkdir": (same, lambda p: os.mkdir(p + "new")),
    "mknod": (same, lambda p: os.mknod(p + "new", stat.S_IFIFO | 0o600)),
    "symlink": (same, lambda p: os.symlink("x", p + "new")),
    "link": (same, lambda p: os.link(p, p + "new")),
    "unlink": (same, os.unlink),
    "rmdir": (split, lambda d: os.rmdir(d + "/sub")),
    "rename": (same, lambda p: os.rename(p, p + "new")),
    "readdir": (split, os.listdir),
    "readlink": (split, lambda d: os.readlink(d + "/link")),
    "truncate": (same, lambda p: os.truncate(p, 5)),
    "ftruncate and close": (open_file, lambda fd: (os.ftruncate(fd, 5), os.close(fd))),
    "chmod": (same, lambda p: os.chmod(p, 0o600)),
    "chown": (same, lambda p: os.chown(p, 1, 1)),
    "utime": (same, lambda p: os.utime(p, ns=(1, 1))),
    "access": (same, lambda p: os.access(p, os.R_OK)),
    "getxattr": (same, lambda p: os.getxattr(p, "user.x")),
    "setxattr": (same, lambda p: os.setxattr(p, "user.y", b"1")),
    "listxattr": (same, os.listxattr),
    "removexattr": (same, lambda p: os.removexattr(p, "user.x")),
    "statfs": (split, os.statvfs),
    "fsync of a folder": (lambda p: os.open(split(p), os.O_RDONLY), os.fsync),
    "fsync": (lambda p: written(p, 100), os.fsync),
    "close": (lambda p: written(p, 100), os.close),
    "exit": (lambda p: written(p, 100), lambda fd: os._exit(0)),
}
STORES = {   # chunk servers
    "read": (open_file, lambda fd: os.pread(fd, 1000, 0)),
    "direct read": (lambda p: os.open(p, os.O_RDONLY | os.O_DIRECT),
                    lambda fd: os.preadv(fd, [mmap.mmap(-1, 4096)], 0)),
    "page fault": (mapped, lambda m: m[0]),
    "write into a block": (open_file, lambda fd: os.pwrite(fd, b"x", 1000)),
    "punch": (open_file, lambda fd: LIBC.fallocate(fd, 3, ctypes.c_long(10), ctypes.c_long(100))),
    "fsync": (lambda p: written(p, DATA), os.fsync),
    "close": (lambda p: written(p, DATA), os.close),
    "write with O_SYNC": (lambda p: os.open(p, os.O_WRONLY | os.O_SYNC), lambda fd: os.pwrite(fd, b"x" * DATA, 0)),
    "chmod after a write": (lambda p: written(p, DATA), lambda fd: os.utime(fd, ns=(1, 1))),
    "msync": (mapped_dirty, lambda m: m.flush()),
    "copy_file_range": (lambda p: (written(p, DATA), open_file(p)),
                        lambda fds: os.copy_file_range(fds[0], fds[1], 4000, 10, 70_001)),
    "exit": (lambda p: written(p, DATA), lambda fd: os._exit(0)),
}


class Blocked:
    """One call in a process of its own, which the test can signal."""
    all = []

    def __init__(self, name, path, prepare, call):
        self.name = name
        context = multiprocessing.get_context("fork")
        self.ready, self.go = context.Event(), context.Event()
        self.process = context.Process(target=self.main, args=(path, prepare, call), daemon=True)
        self.process.start()
        self.all.append(self)

    def main(self, path, prepare, call):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        what = prepare(path)
        self.ready.set()
        self.go.wait()
        try:
            call(what)
        except OSError as e:
            os._exit(100 + e.errno if e.errno < 150 else 255)
        os._exit(0)

    def ends_by(self, deadline):
        self.process.join(max(0, deadline - time.monotonic()))
        return not self.process.is_alive()


def mount(cluster, path, options):
    path.mkdir(exist_ok=True)
    source = cluster_source(cluster)
    return subprocess.run([BIN / "mount.cairn", source, path, "--config", cluster.dir / "cairn.conf", "-o",
                           f"cache={path}.cache,log={path}.log,{options}"], timeout=60, check=False, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def cluster_source(cluster):
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        if line.split()[1] == str(cluster.mnt):
            return line.split()[0]
    raise AssertionError("not mounted")


class Round:
    """All calls of a table, each on a file of its own that this mount has never seen."""

    def __init__(self, cluster, table, tag, there=None):
        self.here, self.there = cluster.mnt / tag, (there or cluster.mnt2) / tag
        self.here.mkdir()
        self.blocked = []
        for number, (name, (prepare, call)) in enumerate(table.items()):
            folder = self.here / str(number)
            (folder / "sub").mkdir(parents=True)
            (folder / "file").write_bytes(seeded_bytes(DATA, f"{tag}{number}"))    # no block is there already
            os.setxattr(folder / "file", "user.x", b"value")
            os.symlink("file", folder / "link")
            self.blocked.append(Blocked(name, str(self.there / str(number) / "file"), prepare, call))
        for b in self.blocked:
            assert b.ready.wait(60), f"{b.name} cannot even begin"

    def block(self):
        """All of them wait now: the codes of those that do not. An exit is let go after CL_ABANDONED_MS."""
        began = time.monotonic()
        for b in self.blocked:
            b.go.set()
        time.sleep(1)       # that they go on waiting is what is shown: there is nothing to be awaited
        done = {b.name: b.process.exitcode for b in self.blocked if not b.process.is_alive()}
        if time.monotonic() - began > ABANDONED_S:
            done.pop("exit", None)
        return done

    def end_by(self, sig):
        """Names of those that do not end, and how long it took."""
        began = time.monotonic()
        for b in self.blocked:
            if sig and b.process.is_alive():
                os.kill(b.process.pid, sig)
        stuck = [b.name for b in self.blocked if not b.ends_by(began + PROMPT_S)]
        for b in self.blocked:
            b.process.kill()
        return stuck, time.monotonic() - began

    def judge(self):
        """Nothing is half done: each file is as it was, or as the call would have made it."""
        for number, b in enumerate(self.blocked):
            folder = self.here / str(number)
            assert stat.S_ISLNK(os.lstat(folder / "link").st_mode)
            assert os.listdir(folder) == os.listdir(self.there / str(number)), b.name
            for path in folder.glob("file*"):
                there = self.there / str(number) / path.name
                assert os.lstat(path).st_mtime_ns == os.lstat(there).st_mtime_ns, b.name
                if path.is_file():
                    data = path.read_bytes()
                    assert len(data) in (0, 5, DATA) and data == there.read_bytes(), (b.name, len(data))


@pytest.fixture(autouse=True)
def nobody_stays():
    """Who is left of a test that failed has the files of this process, and keeps the cluster from its end."""
    yield
    for b in Blocked.all:
        b.process.kill()
    Blocked.all.clear()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    with running(Cluster(tmp_path_factory.mktemp("interrupts") / "cluster", mounts=2, sets=SETS)) as cluster:
        yield cluster


@contextlib.contextmanager
def stopped(cluster, *names):
    for name in names:
        cluster.kill(name, signal.SIGSTOP)
    try:
        yield
    finally:
        for name in names:
            cluster.kill(name, signal.SIGCONT)


@contextlib.contextmanager
def dead(cluster, *names):
    for name in names:
        cluster.kill(name)
    try:
        yield
    finally:
        for name in names:
            cluster.start(name)


def works_again(cluster):
    def works():
        try:
            (cluster.mnt2 / "works").write_bytes(b"w" * DATA)
            return (cluster.mnt / "works").read_bytes() == b"w" * DATA
        except OSError:
            return False
    eventually(works)


CHUNK_SERVERS = ("cs1", "cs2", "cs3")


@pytest.mark.parametrize("table, names, how, sig", [
    (ASKS, ("mds",), stopped, signal.SIGINT), (ASKS, ("mds",), dead, signal.SIGKILL),
    (STORES, CHUNK_SERVERS, stopped, signal.SIGKILL), (STORES, CHUNK_SERVERS, dead, signal.SIGINT)],
    ids=["metadata-stopped", "metadata-dead", "chunks-stopped", "chunks-dead"])
def test_every_blocked_call_ends_by_a_signal(pair, table, names, how, sig):
    round = Round(pair, table, f"{names[0]}{sig}")
    with how(pair, *names):
        done = round.block()
        stuck, seconds = round.end_by(sig)
    assert not done, f"did not wait, with these codes: {done}"
    assert not stuck, f"not ended by signal {sig}: {stuck}"
    works_again(pair)
    round.judge()


def test_a_hard_mount_waits_on_and_ends_by_umount_or_a_signal(pair, tmp_path):
    """umount -f frees everybody without a signal; and a mount is there again at once."""
    there = tmp_path / "hard"
    assert mount(pair, there, "hard,timeo=1").returncode == 0
    try:
        round = Round(pair, ASKS, "hard", there)
        with dead(pair, "mds"):
            time.sleep(2)       # two of its deadlines
            assert not round.block()
            began = time.monotonic()
            subprocess.run(["umount", "-f", there], check=False, timeout=20, stderr=subprocess.DEVNULL)
            stuck, _ = round.end_by(None)
            assert not stuck and time.monotonic() - began < PROMPT_S + 1
            subprocess.run(["umount", "-l", there], check=False, timeout=20, stderr=subprocess.DEVNULL)
        assert mount(pair, there, "hard,timeo=1").returncode == 0
        assert os.listdir(there) == os.listdir(pair.mnt)
    finally:
        subprocess.run(["umount", "-l", there], check=False, timeout=20)
    works_again(pair)


def test_a_killed_mount_frees_its_callers_and_a_new_one_takes_its_place(pair, tmp_path):
    there, pid_file = tmp_path / "mnt", tmp_path / "pid"
    there.mkdir()
    command = [BIN / "mount.cairn", cluster_source(pair), there, "--config", pair.dir / "cairn.conf", "--pid-file", pid_file,
               "-o", f"cache={tmp_path}/cache,log={tmp_path}/log"]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0
    try:
        round = Round(pair, ASKS, "killed", there)
        with stopped(pair, "mds"):
            assert not round.block()
            os.kill(int(pid_file.read_text()), signal.SIGKILL)
            stuck, seconds = round.end_by(None)
            assert not stuck and seconds < PROMPT_S
        with pytest.raises(OSError) as caught:
            os.listdir(there)
        assert caught.value.errno == errno.ENOTCONN
        done = subprocess.run(command, timeout=60, check=False, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 0, done.stderr
        assert os.listdir(there) == os.listdir(pair.mnt)
        lines = [l for l in pathlib.Path("/proc/self/mounts").read_text().splitlines() if f" {there} " in l]
        assert len(lines) == 1, "the dead one lies below"
    finally:
        subprocess.run(["umount", "-l", there], check=False, timeout=20)


def test_a_mount_that_dies_while_a_new_one_looks_at_it_is_replaced(pair, tmp_path):
    """The look that was under way ends otherwise (ECONNABORTED) than one behind the end (ENOTCONN)."""
    there, old = tmp_path / "mnt", tmp_path / "old.pid"
    there.mkdir()

    def command(name):
        return [BIN / "mount.cairn", cluster_source(pair), there, "--config", pair.dir / "cairn.conf", "--pid-file",
                tmp_path / f"{name}.pid", "-o", f"cache={tmp_path}/{name},log={tmp_path}/{name}.log"]
    assert subprocess.run(command("old"), timeout=60, check=False).returncode == 0
    waiting = pathlib.Path(f"/sys/fs/fuse/connections/{os.minor(os.stat(there).st_dev)}/waiting")
    try:
        os.kill(int(old.read_text()), signal.SIGSTOP)
        with subprocess.Popen(command("new"), stderr=subprocess.PIPE, text=True) as new:
            try:
                eventually(lambda: int(waiting.read_text()) > 0, what="the new one looks at the old one")
            finally:
                os.kill(int(old.read_text()), signal.SIGKILL)
            _, stderr = new.communicate(timeout=60)
            assert new.returncode == 0, stderr
        assert os.listdir(there) == os.listdir(pair.mnt)
    finally:
        subprocess.run(["umount", "-l", there], check=False, timeout=20)


def test_the_status_says_what_is_lost_and_who_waits(pair):
    round = Round(pair, {"stat": ASKS["stat"], "create": ASKS["create"]}, "status")
    for how in (stopped, dead):
        with how(pair, "mds"):
            if how is stopped:
                assert not round.block()
            began = time.monotonic()
            done = pair.cairn("status", check=False)
            assert done.returncode == 3 and time.monotonic() - began < 8
            assert "does not answer" in done.stderr, done
            assert f"mount {pair.mnt2}: " in done.stdout and "umount -f" in done.stdout, done
            if how is stopped:
                # at least: somebody else on this host may ask this mount something just now
                counted = re.search(f"mount {pair.mnt2}: (\\d+) calls wait", done.stdout)
                assert counted and int(counted[1]) >= 2, done
                round.end_by(signal.SIGKILL)
    works_again(pair)
