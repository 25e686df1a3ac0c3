# SPDX-License-Identifier: Apache-2.0
"""Power cuts of servers' disks under a mixed load: what was synced is there and exact, nothing is torn, fsck is clean.

Each server's folder is a disk image of its own. A cut stops the server, then that disk as it is, kills the server, and
mounts the disk again: what the kernel had in memory is gone. The log of what was acknowledged lies outside.
"""
import random
import signal
import subprocess
import sys

import pytest

from conftest import LONG, ROOT, Cluster, eventually
from fsync_load import Log, judge
from xfs_disk import XfsDisk, skip_without_xfs

CUTS = 100 if LONG else 10
NAMES = ["mds", "cs1", "cs2", "cs3"]


@pytest.fixture
def on_images(tmp_path):
    """A cluster whose servers have a disk each: (cluster, disks by name)."""
    skip_without_xfs()
    cluster = Cluster(tmp_path / "cluster", sets=["cs.segment_bytes=16M", "journal.file_bytes=1M",
                                                  "mds.snapshot_bytes=2M", "server.out_ms=1h"])
    disks = {}
    try:
        for name in NAMES:
            disks[name] = XfsDisk(tmp_path / f"{name}.img", cluster.dir / name, 1024)
    except subprocess.CalledProcessError as e:
        for disk in disks.values():
            disk.unmount()
        pytest.skip(f"no loop device with XFS here: {e}")
    yield cluster.up(), disks
    try:
        cluster.down()
    finally:
        cluster.destroy()
        for disk in disks.values():
            subprocess.run(["umount", "-l", disk.folder], check=True)


class Load:
    def __init__(self, folder, log, seed):
        self.process = subprocess.Popen([sys.executable, ROOT / "tests/e2e/fsync_load.py", folder, log, str(seed)])
        self.log = log

    def steps(self):
        return self.log.read_text().count("ok") if self.log.exists() else 0

    def await_steps(self, count):
        goal = self.steps() + count
        eventually(lambda: self.steps() >= goal, 60, f"{count} more steps of the load")

    def end(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)


def cut_power(cluster, disks, names):
    for name in names:
        cluster.kill(name, signal.SIGSTOP)
    for name in names:
        disks[name].cut()
        cluster.kill(name)
    for name in names:
        disks[name].unmount()
        disks[name].mount()
    for name in names:
        cluster.start(name)


def test_what_was_synced_survives_power_cuts(on_images, tmp_path):
    cluster, disks = on_images
    chance = random.Random(5)
    log = tmp_path / "acknowledged"
    for cut in range(CUTS):
        load = Load(cluster.mnt, log, cut)
        load.await_steps(chance.randrange(5, 40))
        # each server in turn, and all at once; of chunk servers not more than one alone
        names = NAMES if cut % 5 == 4 else [NAMES[cut % 5]]
        cut_power(cluster, disks, names)
        load.await_steps(3)	# it goes on
        load.end()
        expected = Log(log)
        wrong = judge(cluster.mnt, expected)
        assert wrong == [], f"after cut {cut} of {names}: {wrong}{cluster.logs()}"
    cluster.remount()
    expected = Log(log)
    assert judge(cluster.mnt, expected) == []
    assert expected.steps > 8 * CUTS and len(expected.certain()) > 10
    # what is moved or owed at this very moment is no fault that stays
    eventually(lambda: cluster.status()["healthy"] and cluster.fsck("--live").returncode == 0, 120,
               "a healed cluster that fsck calls clean")
    for name in ["client1", "mds", "cs1", "cs2", "cs3"]:
        cluster.stop(name)
    done = cluster.fsck(cluster.dir)
    assert done.returncode == 0, done.stdout
    for name in NAMES + ["client1"]:
        cluster.start(name)
