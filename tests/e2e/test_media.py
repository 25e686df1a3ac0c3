# SPDX-License-Identifier: Apache-2.0
"""One server with a fast and a slow disk: what is new is fast, what is cold goes to the slow one, what is read often
comes back; killed and without power in between, everything is there and once."""
import json
import signal
import subprocess

import pytest

from conftest import BIN, NO_TIER, MiB, eventually, seeded_bytes, thread_states
from xfs_disk import XfsDisk, skip_without_xfs

SIZE = MiB(6)
BLOCK = 65536


class Mixed:
    """A server on two disks, told to be of two kinds, which has the only copy of all."""

    def __init__(self, cluster, fast, slow):
        self.cluster, self.fast, self.slow = cluster, fast, slow
        self.dirs = f"{fast.folder},{slow.folder}"
        self.log = cluster.dir / "mixed.log"
        self.process = None
        subprocess.run([BIN / "mkfs.cairn", "--join", cluster.dir / "mds", "--disk", self.dirs], check=True)

    def start(self, *sets):
        command = [BIN / "cairn-cs", "--config", self.cluster.dir / "cairn.conf", "--set", "cs.listen=127.0.0.1:0"]
        for item in (f"cs.dirs={self.dirs}", f"cs.media={self.fast.folder}=nvme,{self.slow.folder}=rotating",
                     "cs.tier_low_percent=0", "cs.tier_bytes_per_s=0", *sets):
            command += ["--set", item]
        joined = self.joins()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        eventually(lambda: self.joins() > joined, 30, "it has joined")

    def joins(self):
        return self.log.read_text().count("joined as server") if self.log.exists() else 0

    def end(self, sig=signal.SIGTERM):
        self.process.send_signal(sig)
        self.process.wait(30)

    def cut_power(self):
        self.process.send_signal(signal.SIGSTOP)
        eventually(lambda: set(thread_states(self.process.pid)) == {"T"}, 10, "it is stopped")
        for disk in (self.fast, self.slow):
            disk.cut()
        self.end(signal.SIGKILL)
        for disk in (self.fast, self.slow):
            disk.unmount()
            disk.mount()

    def status(self):
        return self.cluster.status()["servers"][1]["media"]

    def stored(self):
        """Bytes on the fast and on the slow disk."""
        disks = self.status()["disks"]
        return [disk["bytes_stored"] for disk in disks] if len(disks) == 2 else [0, 0]

    def await_slow(self, bytes_there):
        eventually(lambda: self.stored()[0] == 0 and self.stored()[1] >= bytes_there, 60, "all is on the slow disk")


@pytest.fixture
def mixed(make_cluster, tmp_path):
    skip_without_xfs()
    disks = []
    mixed = None
    try:
        for name in ("fast", "slow"):
            disks.append(XfsDisk(tmp_path / f"{name}.img", tmp_path / name, 300))
        cluster = make_cluster(servers=1, copies=1,
                               sets=[NO_TIER, "cs.segment_bytes=4M", "server.out_ms=1h", "client.codec=raw"])
        mixed = Mixed(cluster, *disks)
        yield mixed
    except subprocess.CalledProcessError as e:
        pytest.skip(f"no loop device with XFS here: {e}")
    finally:
        if mixed is not None and mixed.process is not None and mixed.process.poll() is None:
            mixed.end(signal.SIGKILL)
        for disk in disks:
            subprocess.run(["umount", "-l", disk.folder], check=False)


def test_blocks_go_where_they_belong(mixed):
    cluster = mixed.cluster
    mixed.start("cs.cold_after=1h")
    cluster.cairn("drain", 1)
    eventually(lambda: cluster.status()["servers"][0]["pgs_former"] == 0 and cluster.status()["healthy"], 60, "drained")
    cluster.stop("cs1")
    content = {f"file{i}": seeded_bytes(SIZE, i) for i in range(3)}
    for name, data in content.items():
        (cluster.mnt / name).write_bytes(data)
    eventually(lambda: mixed.stored()[0] >= 3 * SIZE, what="new blocks are told")
    assert mixed.stored()[1] == 0               # and all of them are on the fast disk

    # killed, and without power, while they move
    for end in (lambda: mixed.end(signal.SIGKILL), mixed.cut_power):
        mixed.end()
        mixed.start("cs.cold_after=1s", "cs.tier_bytes_per_s=2M")
        eventually(lambda: mixed.status()["moved"]["blocks_down"] > 20, what="some have moved")
        end()
        mixed.start("cs.cold_after=1h")
        mixed.end()
        mixed.start("cs.cold_after=1h")
    mixed.end()
    mixed.start("cs.cold_after=2s")
    mixed.await_slow(3 * SIZE)
    status = mixed.status()
    assert status["tiers"] and [d["kind"] for d in status["disks"]] == ["nvme", "rotating"]
    assert "tiers" in cluster.cairn("status", check=False).stdout
    assert "rotating" in cluster.cairn("servers").stdout

    mixed.end()
    mixed.start("cs.cold_after=1min")

    def came_back():
        cluster.remount()                       # nothing that the client keeps answers
        assert (cluster.mnt / "file1").read_bytes() == content["file1"]
        return mixed.status()["moved"]["blocks_up"] >= SIZE / BLOCK

    eventually(came_back, 60, "what is read often is fast")
    assert mixed.stored()[0] < 3 * SIZE / 2
    for name, data in content.items():
        assert (cluster.mnt / name).read_bytes() == data
    cluster.stop("client1")
    mixed.end()
    cluster.stop("mds")
    dirs = [cluster.dir / "cs1", mixed.fast.folder, mixed.slow.folder]
    done = cluster.fsck("--metadata", cluster.dir / "mds", "--disk", ",".join(map(str, dirs)))
    assert done.returncode == 0, done.stdout


def test_what_is_measured_is_kept(make_cluster):
    cluster = make_cluster(servers=1, copies=1, sets=[NO_TIER])

    def disk():
        disks = cluster.status()["servers"][0]["media"]["disks"]
        return disks[0] if disks and disks[0]["read_bytes_per_s"] else None

    first = eventually(disk, what="the disk is measured")
    assert first["write_bytes_per_s"] and first["cold_codec"] in ("auto", "small")
    codecs = cluster.status()["servers"][0]["media"]["codecs"]
    assert {"raw", "lz4", "zstd"} <= {c["name"] for c in codecs}
    assert not (cluster.dir / "cs1" / "calibration.data").exists()
    cluster.stop("cs1")
    cluster.start("cs1")
    again = eventually(disk, what="it is told again")
    assert again["read_bytes_per_s"] == first["read_bytes_per_s"]
    assert json.dumps(again)


def test_a_wrong_kind_is_refused(tmp_path):
    for setting, word in ((f"cs.media={tmp_path}=floppy", "floppy"), ("cs.media=/elsewhere=ssd", "/elsewhere"),
                          (f"cs.tiers={tmp_path}=x", "cs.tiers")):
        done = subprocess.run([BIN / "cairn-cs", "--cs-dirs", tmp_path, "--set", setting], check=False, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
        assert done.returncode == 1 and word in done.stderr, done
