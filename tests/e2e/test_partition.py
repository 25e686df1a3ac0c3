# SPDX-License-Identifier: Apache-2.0
"""
Cables cut without a reset: a client that loses the metadata server for less and for more than its lease, and a
chunk server that only the metadata server has lost.
"""
import errno
import os
import time

import pytest

import stalls
from conftest import NO_TIER, Job, MiB, eventually, seeded_bytes
from netns import make_net_cluster  # noqa: F401 (a fixture)

LEASE_S = 3


def log_of(cluster, name):
    return (cluster.dir / f"{name}.log").read_text()


def write_synced(path, data):
    with open(path, "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


@pytest.mark.parametrize("ways", [["in", "out"], ["in"], ["out"]], ids="-".join)
def test_a_client_cut_off_for_less_than_its_lease_loses_nothing(make_net_cluster, ways):  # noqa: F811
    cluster = make_net_cluster(mounts=2, sets=[f"lease.ms={2 * LEASE_S * 1000}"])
    host, mds = cluster.hosts["client1"], cluster.hosts["mds"]
    path, data = cluster.mnt / "file", seeded_bytes(MiB(1), 1)
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    os.write(fd, data)
    host.cut(mds, ways=ways)
    time.sleep(1)
    host.heal()
    os.fsync(fd)                                # waits for the connection, and no longer
    os.close(fd)
    assert (cluster.mnt2 / "file").read_bytes() == data
    assert "session was ended" not in log_of(cluster, "client1")


def write_while_cut_off(path, data, signs):
    """Tells `open`, writes after `cut`, syncs after `healed`."""
    fd = os.open(path, os.O_WRONLY)
    (signs / "open").touch()
    eventually((signs / "cut").exists)
    os.write(fd, data)
    (signs / "written").touch()
    eventually((signs / "healed").exists)
    os.fsync(fd)


def test_a_client_cut_off_for_longer_is_fenced_and_begins_anew(make_net_cluster, tmp_path):  # noqa: F811
    cluster = make_net_cluster(mounts=2, sets=[f"lease.ms={LEASE_S * 1000}"])
    host, path = cluster.hosts["client1"], cluster.mnt / "file"
    write_synced(path, b"before" * 20_000)
    job = Job(write_while_cut_off, path, b"never!" * 20_000, tmp_path)
    eventually((tmp_path / "open").exists)
    host.cut(cluster.hosts["mds"])
    (tmp_path / "cut").touch()
    eventually((tmp_path / "written").exists)   # under a lease that still holds
    began = time.monotonic()
    write_synced(cluster.mnt2 / "file", b"others" * 20_000)     # as soon as the lease has expired
    assert time.monotonic() - began < 3 * LEASE_S + 5, cluster.logs()
    host.heal()
    (tmp_path / "healed").touch()
    job.join(30)
    assert job.errno == errno.EIO, (job.errno, cluster.logs())  # I6: what it had not published is lost
    assert "is lost" in log_of(cluster, "client1")
    eventually(lambda: path.read_bytes() == b"others" * 20_000, 20, "the newest content")
    write_synced(path, b"again!" * 20_000)
    assert (cluster.mnt2 / "file").read_bytes() == b"again!" * 20_000


def test_a_chunk_server_that_only_the_metadata_server_lost(make_net_cluster):  # noqa: F811
    cluster = make_net_cluster(sets=[NO_TIER])
    old, new = stalls.Pattern(1), stalls.Pattern(2)
    stalls.write(cluster.mnt / "file", old, 16)
    cluster.remount()
    cluster.hosts["cs2"].cut(cluster.hosts["mds"])
    eventually(lambda: cluster.status()["servers"][1]["state"] != "up", 20, "the status tells it")
    assert not cluster.status()["healthy"]
    stalls.read(cluster.mnt / "file", old, 16)
    stalls.write(cluster.mnt / "file", new, 16)
    cluster.hosts["cs2"].heal()
    eventually(lambda: cluster.status()["healthy"], 60, "health")
    for other in ("cs1", "cs3"):                # what it missed was repaid: it serves all of it alone
        cluster.kill(other)
    cluster.remount()
    stalls.read(cluster.mnt / "file", new, 16)
    for other in ("cs1", "cs3"):
        cluster.start(other)
