# SPDX-License-Identifier: Apache-2.0
"""
Fewer servers than min_copies: writes and reads wait, say for whom, and go on when one returns before their
deadline; after it a soft mount fails with EIO, a hard one waits on, and can always be interrupted.
"""
import errno
import os
import signal
import time

import stalls
from conftest import NO_TIER, Job, MiB, eventually, seeded_bytes
from netns import make_net_cluster  # noqa: F401 (a fixture)

def write_synced(path, data):
    fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o644)
    os.write(fd, data)
    os.fsync(fd)
    os.close(fd)


def write_twice_synced(path, data, errors):
    """The first fsync fails with one of `errors`; once `path`.go is there the second must not."""
    fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o644)
    os.write(fd, data)
    time.sleep(2)                                   # its puts have begun by now; the deadline is that of fsync
    began = time.monotonic()
    try:
        os.fsync(fd)
        os._exit(200)
    except OSError as e:
        if e.errno not in errors or not 3.5 < time.monotonic() - began < 15:
            os._exit(201)
    eventually(lambda: os.path.exists(f"{path}.go"), 60)
    os.fsync(fd)
    os.close(fd)


def log_of(cluster, name="client1"):
    return (cluster.dir / f"{name}.log").read_text()


def test_writes_and_reads_wait_for_a_server_that_returns(make_net_cluster):  # noqa: F811
    cluster = make_net_cluster(sets=[NO_TIER])
    old, new = seeded_bytes(MiB(3), 1), seeded_bytes(MiB(3), 2)
    write_synced(cluster.mnt / "old", old)
    cluster.remount()
    for name in ("cs1", "cs2", "cs3"):
        cluster.kill(name)
    writes = Job(write_synced, cluster.mnt / "new", new)
    reads = Job((cluster.mnt / "old").read_bytes)
    eventually(lambda: "waits for servers of group" in log_of(cluster), 20, "the log says who is missing")
    cluster.start("cs1")
    reads.join(30)
    assert reads.seconds is not None and reads.errno == 0, cluster.logs()
    assert writes.is_alive()                        # one is too few
    cluster.start("cs3")
    writes.join(30)
    assert writes.seconds is not None and writes.errno == 0, cluster.logs()
    assert "goes on in group" in log_of(cluster)
    cluster.remount()
    assert (cluster.mnt / "new").read_bytes() == new and (cluster.mnt / "old").read_bytes() == old


def test_a_soft_mount_fails_at_the_deadline_and_not_before(make_net_cluster):  # noqa: F811
    cluster = make_net_cluster(mount_options="timeo=4", sets=[NO_TIER])
    write_synced(cluster.mnt / "old", seeded_bytes(MiB(1), 1))
    cluster.remount()
    for name in ("cs1", "cs2", "cs3"):
        cluster.kill(name)
    write = Job(write_twice_synced, cluster.mnt / "new", seeded_bytes(300_000, 2), [errno.EIO])
    read = Job((cluster.mnt / "old").read_bytes)
    read.join(30)
    assert read.errno == errno.EIO and 3.5 < read.seconds < 15, (read.errno, read.seconds, cluster.logs())
    eventually(lambda: "gave up after its deadline" in log_of(cluster), 20, "the log tells it")
    assert write.is_alive()
    for name in ("cs1", "cs2", "cs3"):
        cluster.start(name)
    (cluster.mnt / "new.go").touch()                # the data was kept, and is tried again
    write.join(30)
    assert write.errno == 0, (write.errno, cluster.logs())
    cluster.remount()
    assert (cluster.mnt / "new").read_bytes() == seeded_bytes(300_000, 2)


def test_a_hard_mount_waits_on_and_can_be_interrupted(make_net_cluster):  # noqa: F811
    cluster = make_net_cluster(mount_options="hard,timeo=2", sets=[NO_TIER])
    for name in ("cs1", "cs2", "cs3"):
        cluster.kill(name)
    waits = Job(write_synced, cluster.mnt / "patient", seeded_bytes(300_000, 3))
    for sig in (signal.SIGINT, signal.SIGKILL):
        victim = Job(write_synced, cluster.mnt / f"victim{sig}", seeded_bytes(300_000, 5))
        victim.join(5)                              # more than two of its deadlines
        assert victim.is_alive(), victim.errno
        os.kill(victim.process.pid, sig)
        victim.join(10)
        assert not victim.is_alive()
    assert waits.is_alive()
    for name in ("cs1", "cs2"):
        cluster.start(name)
    waits.join(30)
    assert waits.seconds is not None and waits.errno == 0, cluster.logs()
    cluster.start("cs3")
    cluster.remount()
    assert (cluster.mnt / "patient").read_bytes() == seeded_bytes(300_000, 3)


def test_memory_full_of_writes_waits_too(make_net_cluster):  # noqa: F811
    cluster = make_net_cluster(mount_options="memory=16M", sets=[NO_TIER])
    for name in ("cs2", "cs3"):
        cluster.kill(name)
    pattern = stalls.Pattern(4)
    writes = Job(stalls.write, cluster.mnt / "large", pattern, 32)
    eventually(lambda: "waits for servers of group" in log_of(cluster), 20, "the log says who is missing")
    eventually(lambda: cluster.status()["writes_wait"], 20, "the status says so")
    assert not cluster.status()["healthy"] and writes.is_alive()
    cluster.start("cs2")
    writes.join(60)
    assert writes.seconds is not None and writes.errno == 0, cluster.logs()
    cluster.remount()
    stalls.read(cluster.mnt / "large", pattern, 32)
