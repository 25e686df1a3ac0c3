# SPDX-License-Identifier: Apache-2.0
"""Disks of real chunk servers that fail in every way: system calls by strace, small loop disks filled to the last
block and inode, file systems that turn read-only. Nothing wrong is read, nothing acknowledged is lost, and the
server says what happened."""
import contextlib
import errno
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

from conftest import LONG, NO_TIER, Cluster, MiB, eventually, on_loop_disk, running, seeded_bytes

SERVED = ["cs.segment_bytes=4M", NO_TIER]


class Strace:
    """strace -f on a running server; injects into calls on files of `folder`, those to come included."""

    def __init__(self, pid, folder, *injections, segments=12):
        self.pid = pid
        self.out = folder.parent / f"strace.{time.monotonic_ns()}"
        paths = [folder / f"segments/seg-{i:016x}" for i in range(1, segments + 1)]
        calls = ",".join(i.split(":")[0] for i in injections)
        self.args = ["strace", "-f", "-p", str(pid), "-o", str(self.out), "-e", f"trace={calls}"]
        for path in paths:
            self.args += ["-P", str(path)]
        for injection in injections:
            self.args += ["-e", f"inject={injection}"]

    def __enter__(self):
        self.process = subprocess.Popen(self.args, stderr=subprocess.PIPE, text=True)
        eventually(self.is_attached, 20, "strace is attached")
        return self

    def is_attached(self):
        if self.process.poll() is not None:
            pytest.skip(f"strace does not work here: {self.process.stderr.read()[-200:]}")
        status = [p / "status" for p in pathlib.Path(f"/proc/{self.pid}/task").iterdir()]
        return all("TracerPid:\t0\n" not in s.read_text() for s in status)

    def fired(self):
        return self.out.read_text().count("INJECTED")

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=20)


@pytest.fixture(autouse=True)
def needs_strace():
    if not shutil.which("strace"):
        pytest.skip("strace is missing: make deps installs it")


@pytest.fixture
def three(make_cluster):
    return make_cluster(sets=SERVED)


def write(path, data):
    with path.open("wb", buffering=0) as f:
        at = 0
        while at < len(data):
            at += f.write(data[at:])
        os.fsync(f.fileno())


def expect(cluster, files):
    cluster.remount()
    for name, data in files.items():
        assert (cluster.mnt / name).read_bytes() == data, name


def until_fired(strace, cluster, files):
    """It counts the calls of each thread: how much has to be written is up to who gets the work."""
    def has_fired():
        if strace.fired():
            return True
        name = f"more{len(files)}"
        files[name] = seeded_bytes(MiB(1), 100 + len(files))
        write(cluster.mnt / name, files[name])
        return False

    eventually(has_fired, what="the fault has fired")


def is_healthy(cluster):
    return cluster.status()["healthy"]


def log_of(cluster, name):
    return (cluster.dir / f"{name}.log").read_text(errors="replace")


# --- system calls that fail ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["fdatasync", "pwritev"])
def test_a_sync_or_write_that_fails_costs_one_disk(three, call):
    files = {"before": seeded_bytes(MiB(3), 1), "during": seeded_bytes(MiB(6), 2), "after": seeded_bytes(MiB(1), 3)}
    write(three.mnt / "before", files["before"])
    with Strace(three.pid("cs1"), three.dir / "cs1", f"{call}:error=EIO:when=2") as s:
        write(three.mnt / "during", files["during"])
        until_fired(s, three, files)
        # I4: once is enough, nobody asks that disk again.
        eventually(lambda: "disk is given up until a restart" in log_of(three, "cs1"), 10, "the log says so")
    write(three.mnt / "after", files["after"])
    eventually(lambda: not is_healthy(three), 10, "the status says so")
    expect(three, files)
    three.stop("cs1")
    three.start("cs1")
    eventually(lambda: is_healthy(three), 60, "healthy again")
    expect(three, files)


def test_a_disk_without_room_is_done_without(three):
    files = {"before": seeded_bytes(MiB(1), 1), "during": seeded_bytes(MiB(6), 2)}
    write(three.mnt / "before", files["before"])
    with Strace(three.pid("cs1"), three.dir / "cs1", "pwritev:error=ENOSPC:when=2+", "fallocate:error=ENOSPC") as s:
        write(three.mnt / "during", files["during"])
        eventually(s.fired, 10, "a write was refused")
        assert "given up" not in log_of(three, "cs1")
        expect(three, files)
    eventually(lambda: is_healthy(three), 60, "what it lacks is brought when there is room")
    expect(three, files)


def test_a_write_that_lies_is_found_out(three):
    """4 KiB that the disk says it took, and did not: no reader gets them, the scrub finds and mends them."""
    data = seeded_bytes(MiB(6), 2)
    # Each of them: the first of a thread may be the head of a segment, and batches are few on a busy machine.
    with Strace(three.pid("cs1"), three.dir / "cs1", "pwritev:retval=4096") as s:
        write(three.mnt / "file", data)
        eventually(s.fired, 10, "a write was a lie")
    expect(three, {"file": data})
    eventually(lambda: is_healthy(three), 60, "healthy")
    done = json.loads(three.cairn("scrub", "--json", "--now", "--wait", timeout=120).stdout)["servers"]
    assert "is wrong" in log_of(three, "cs1"), done
    eventually(lambda: three.fsck("--live").returncode == 0, 60, "all is mended")
    three.kill("cs2")
    three.kill("cs3")
    three.start("cs2")
    expect(three, {"file": data})


@pytest.mark.parametrize("lie", [False, True])
def test_reads_that_fail_or_lie_are_answered_by_others(three, lie):
    files = {f"f{i}": seeded_bytes(MiB(1), i) for i in range(4)}
    for name, data in files.items():
        write(three.mnt / name, data)
    # What memory holds is read by other calls: as if it held nothing. A lie: so much was read, but nothing was.
    inject = ["pread64:retval=4096"] if lie else ["pread64:error=EIO", "preadv:error=EIO"]
    for segment in (three.dir / "cs1" / "segments").iterdir():
        with segment.open("rb") as f:
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with Strace(three.pid("cs1"), three.dir / "cs1", "preadv2:error=EAGAIN", *inject) as s:
        expect(three, files)
        eventually(lambda: "pread64" in s.out.read_text() and s.fired(), 10, "a read met the fault")
    eventually(lambda: is_healthy(three), 60, "healthy again")
    expect(three, files)


# --- disks that fill ------------------------------------------------------------------------------------------------


def eat_blocks(path):
    """Down to the last block."""
    with path.open("wb", buffering=0) as f:
        for size in (MiB(1), 4096, 512):
            with contextlib.suppress(OSError):
                while True:
                    f.write(bytes(size))
        with contextlib.suppress(OSError):
            os.fsync(f.fileno())


def eat_inodes(folder):
    folder.mkdir()
    for i in range(100_000):
        try:
            (folder / str(i)).touch()
        except OSError as e:
            assert e.errno == errno.ENOSPC
            return
    raise AssertionError("inodes do not end")


def write_until_full(folder, piece):
    """The files whose fsync returned; the last one did not fit."""
    files = {}
    for i in range(100):
        data = seeded_bytes(piece, 1000 + i)
        try:
            write(folder / f"more{i}", data)
        except OSError as e:
            assert e.errno == errno.ENOSPC, e
            return files
        files[f"more{i}"] = data
    raise AssertionError("the disk does not fill")


@pytest.mark.parametrize("what", ["blocks", "inodes"])
def test_a_disk_filled_to_the_last_block_or_inode(tmp_path, what):
    options = ("-N", "64") if what == "inodes" else ()
    with on_loop_disk(tmp_path, "cs1", 96, *options) as folder:
        with running(Cluster(folder.parent, servers=1, sets=SERVED)) as cluster:
            files = {"before": seeded_bytes(MiB(2), 1)}
            write(cluster.mnt / "before", files["before"])
            hog = folder / "hog"
            (eat_blocks if what == "blocks" else eat_inodes)(hog)
            files.update(write_until_full(cluster.mnt, MiB(1)))
            # Reads go on, names go, and the server is the one that was there.
            expect(cluster, files)
            (cluster.mnt / "before").unlink()
            del files["before"]
            assert "given up" not in log_of(cluster, "cs1")
            shutil.rmtree(hog) if what == "inodes" else hog.unlink()
            eventually(lambda: takes(cluster.mnt / "again", seeded_bytes(MiB(3), 7)), 30, "room again")
            files["again"] = seeded_bytes(MiB(3), 7)
            cluster.restart_all()
            expect(cluster, files)


def takes(path, data):
    try:
        write(path, data)
        return True
    except OSError as e:
        assert e.errno == errno.ENOSPC
        return False


def test_a_disk_that_turns_read_only_fails_alone(tmp_path):
    with on_loop_disk(tmp_path, "cs1", 128) as folder:
        with running(Cluster(folder.parent, sets=SERVED)) as cluster:
            files = {"before": seeded_bytes(MiB(3), 1), "after": seeded_bytes(MiB(6), 2)}
            write(cluster.mnt / "before", files["before"])
            # As ext4 does by itself when it meets damage.
            if subprocess.run(["mount", "-o", "remount,abort", folder], check=False, stderr=subprocess.PIPE).returncode:
                pytest.skip("this kernel does not abort an ext4 on request")
            write(cluster.mnt / "after", files["after"])
            eventually(lambda: "disk is given up until a restart" in log_of(cluster, "cs1"), 20, "the log says so")
            expect(cluster, files)
            eventually(lambda: not is_healthy(cluster), 10, "the status says so")


def test_a_full_disk_takes_again_what_was_deleted(tmp_path):
    """Deleting gives space back within a minute when asked, also where there is none left to work with."""
    with on_loop_disk(tmp_path, "cs1", 128) as folder:
        with running(Cluster(folder.parent, servers=1, sets=SERVED)) as cluster:
            files = write_until_full(cluster.mnt, MiB(2))
            for number in range(2 if LONG else 1):
                gone = sorted(files)[number % 2::2]
                for name in gone:
                    (cluster.mnt / name).unlink()
                    del files[name]
                began = time.monotonic()
                cluster.cairn("gc", "--now", timeout=90)
                again = {f"again{number}-{i}": seeded_bytes(MiB(2), 5000 + 100 * number + i) for i in range(len(gone) - 3)}
                for name, data in again.items():
                    eventually(lambda: takes(cluster.mnt / name, data), 60, "room again")
                files.update(again)
                assert time.monotonic() - began < 60
                expect(cluster, files)
            cluster.restart_all()
            expect(cluster, files)
