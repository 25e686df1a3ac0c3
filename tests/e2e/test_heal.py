# SPDX-License-Identifier: Apache-2.0
"""
Redundancy comes back by itself: after a server was away, lost its disk, lost one of several disks, or joined. Each
time the proof is to take the others away, and to read everything from what is left.
"""
import hashlib
import os
import re
import shutil
import signal
import subprocess

import pytest

from conftest import BIN, LONG, NO_TIER, MiB, eventually, on_loop_disk, seeded_bytes, write_on_grid

FILE_BYTES = MiB(4)
FILES = 256 if LONG else 12         # 1 GiB, or 48 MiB
FILE_BLOCKS = FILE_BYTES // 65536 + 1   # and a manifest node


@pytest.fixture
def cluster(make_cluster):
    return make_cluster(sets=[NO_TIER])


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Tree:
    """Files with known content."""

    def __init__(self, folder):
        self.folder, self.known = folder, {}

    def write(self, name, seed, length=FILE_BYTES):
        data = seeded_bytes(length, seed)
        write_on_grid(self.folder / name, data)
        with open(self.folder / name, "r+b") as file:
            os.fsync(file.fileno())
        self.known[name] = hashlib.sha256(data).hexdigest()

    def fill(self, count=FILES, seed=0):
        for i in range(count):
            self.write(f"file{seed}-{i}", seed * 100000 + i)

    def change(self):
        """Half is written anew, some is removed, and there is more."""
        names = sorted(self.known)
        for i, name in enumerate(names[::2]):
            self.write(name, 900000 + i)
        for name in names[1::4]:
            os.unlink(self.folder / name)
            del self.known[name]
        self.fill(FILES // 2, seed=5)

    def check(self):
        for name, expected in self.known.items():
            assert digest(self.folder / name) == expected, name


def status_is_healthy(cluster):
    status = cluster.status()
    return status["healthy"] and all(s["state"] == "up" for s in status["servers"]) and status


def await_healthy(cluster, seconds=60):
    return eventually(lambda: status_is_healthy(cluster), seconds, "healthy")


def blocks_of(cluster, index):
    return cluster.status()["servers"][index]["blocks"]


def await_blocks(cluster, index, count):
    eventually(lambda: blocks_of(cluster, index) >= count, 60, f"server {index + 1} has {count} blocks")


def start_joined(cluster, name, start=None):
    """Start it, and wait until the metadata server knows: what it lost is then no secret any more."""
    log = cluster.dir / f"{name}.log"

    def joins():
        return log.read_text().count("joined as server") if log.exists() else 0

    before = joins()
    started = start() if start else cluster.start(name)
    eventually(lambda: joins() > before, 30, f"{name} has joined")
    return started


def readable_without(cluster, tree, names):
    """Nothing that the client kept answers: it is started anew."""
    for name in names:
        cluster.kill(name)
    cluster.remount()
    tree.check()
    for name in names:
        start_joined(cluster, name)
    await_healthy(cluster)


@pytest.fixture(name="tree")
def tree_with_all_copies(cluster):
    tree = Tree(cluster.mnt)
    tree.fill()
    await_healthy(cluster)
    return tree


def test_a_server_that_was_away_catches_up(cluster, tree):
    cluster.kill("cs2")
    tree.change()
    start_joined(cluster, "cs2")
    await_healthy(cluster, 30)
    for name in ("cs1", "cs3"):
        readable_without(cluster, tree, [name])
    readable_without(cluster, tree, ["cs1", "cs3"])


def test_a_lost_disk_is_filled_again(cluster, tree):
    cluster.kill("cs3")
    shutil.rmtree(cluster.dir / "cs3")
    start_joined(cluster, "cs3")
    await_blocks(cluster, 2, FILES * FILE_BLOCKS)
    await_healthy(cluster)
    readable_without(cluster, tree, ["cs1", "cs2"])


def test_clients_go_on_while_a_disk_is_filled_again(cluster, tree):
    cluster.kill("cs1")
    shutil.rmtree(cluster.dir / "cs1")
    start_joined(cluster, "cs1")
    tree.change()                   # puts under changing epochs
    cluster.remount()
    tree.check()
    await_healthy(cluster)
    readable_without(cluster, tree, ["cs2", "cs3"])


def test_a_new_server_gets_its_share_and_no_more(cluster, tree):
    start_joined(cluster, "cs4")
    # Three of four have each block: three quarters, more or less by the luck of 4,096 groups.
    await_blocks(cluster, 3, 0.68 * FILES * FILE_BLOCKS)
    await_healthy(cluster)
    assert blocks_of(cluster, 3) < 0.82 * FILES * FILE_BLOCKS
    for name in ("cs1", "cs2", "cs3"):
        readable_without(cluster, tree, [name])


@pytest.fixture
def start_many(cluster, tmp_path):
    """A fourth server on these directories, also if some of them cannot be used."""
    started = []

    def start(dirs):
        port_file = tmp_path / f"port{len(started)}"
        with open(cluster.dir / "many.log", "ab") as log:
            started.append(subprocess.Popen(
                [BIN / "cairn-cs", "--config", cluster.dir / "cairn.conf", "--set", "cs.listen=127.0.0.1:0",
                 "--set", "cs.dirs=" + ",".join(dirs), "--port-file", port_file], stdout=log, stderr=log))
        eventually(port_file.exists, 30, "it serves")
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait(10)


def format_disks(cluster, dirs, check=True):
    command = [BIN / "mkfs.cairn", "--join", cluster.dir / "mds", "--disk", ",".join(dirs)]
    return subprocess.run(command, check=check, stderr=None if check else subprocess.DEVNULL).returncode


def failed_disks(cluster):
    warnings = [w["text"] for w in cluster.status()["warnings"] if w["code"] == "disk_failed"]
    return [re.search(r"\d+ of \d+ disks failed", text)[0] for text in warnings]


def test_one_disk_of_several_is_made_up_for(cluster, tree, start_many, tmp_path):
    dirs = [str(tmp_path / "disk1"), str(tmp_path / "disk2")]
    format_disks(cluster, dirs)
    process = start_joined(cluster, "many", lambda: start_many(dirs))
    await_blocks(cluster, 3, 0.68 * FILES * FILE_BLOCKS)
    await_healthy(cluster)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    shutil.rmtree(dirs[0])          # with the log of what is owed
    process = start_joined(cluster, "many", lambda: start_many(dirs))
    assert "starting without a disk: cannot open" in (cluster.dir / "many.log").read_text()
    await_blocks(cluster, 3, 0.68 * FILES * FILE_BLOCKS)
    await_healthy(cluster)
    assert failed_disks(cluster) == ["1 of 2 disks failed"]
    readable_without(cluster, tree, ["cs1"])
    # A new one in its place belongs to the same server.
    process.send_signal(signal.SIGTERM)
    process.wait(20)
    format_disks(cluster, dirs)
    assert format_disks(cluster, dirs, check=False) == 1
    start_joined(cluster, "many", lambda: start_many(dirs))
    await_healthy(cluster)
    assert not failed_disks(cluster)
    assert len(cluster.status()["servers"]) == 4
    readable_without(cluster, tree, ["cs2", "cs3"])


@pytest.mark.skipif(not shutil.which("xfs_io"), reason="no xfsprogs here")
def test_a_disk_that_gives_errors_is_left_out(cluster, start_many, tmp_path):
    with on_loop_disk(tmp_path, "disk1", 256) as folder:
        dirs = [str(folder / "cs"), str(tmp_path / "disk2")]
        format_disks(cluster, dirs)
        tree = Tree(cluster.mnt)
        tree.fill()
        process = start_joined(cluster, "many", lambda: start_many(dirs))
        await_blocks(cluster, 3, 0.68 * FILES * FILE_BLOCKS)
        await_healthy(cluster)
        # From now on it gives what is in memory, else EIO.
        if subprocess.run(["xfs_io", "-x", "-c", "shutdown", folder], check=False).returncode:
            pytest.skip("this kernel does not shut an ext4 down on request")
        tree.fill(2, seed=1)
        await_healthy(cluster)
        assert failed_disks(cluster) == ["1 of 2 disks failed"]
        assert process.poll() is None
        process.kill()
        process.wait(10)
        process = start_joined(cluster, "many", lambda: start_many(dirs))
        assert "starting without a disk: cannot" in (cluster.dir / "many.log").read_text()
        await_blocks(cluster, 3, 0.68 * FILES * FILE_BLOCKS)
        await_healthy(cluster)
        assert failed_disks(cluster) == ["1 of 2 disks failed"]
        readable_without(cluster, tree, ["cs1"])
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
