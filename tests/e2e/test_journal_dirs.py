# SPDX-License-Identifier: Apache-2.0
"""Two metadata directories: losing either costs nothing, the status says so, a new disk is brought up again."""
import os
import shutil

from conftest import eventually, warnings


def write_some(mnt, first, count):
    for i in range(first, first + count):
        with open(mnt / f"file{i}", "w") as f:
            f.write(str(i) * 100)
            f.flush()
            os.fsync(f.fileno())


def all_there(mnt, count):
    return all((mnt / f"file{i}").read_text() == str(i) * 100 for i in range(count))


def test_either_directory_may_be_lost_in_turn(make_cluster, tmp_path):
    second = tmp_path / "second"
    cluster = make_cluster(servers=1, sets=["mds.snapshot_bytes=1M", "journal.file_bytes=1M",
                                            "mds.metadata_copies=0"])
    write_some(cluster.mnt, 0, 20)
    second.mkdir()
    conf = cluster.dir / "cairn.conf"
    conf.write_text(conf.read_text() + f"\n[journal]\ndirs = {second}\n")
    cluster.stop("mds")
    cluster.start("mds")		# an empty directory gets all
    assert cluster.status()["metadata_copies"] == 2
    for i in range(300):		# enough journal for a snapshot and a trim
        (cluster.mnt / f"filler{i}").write_bytes(os.urandom(4000))
    write_some(cluster.mnt, 20, 20)
    eventually(lambda: any(s.name != "S-0000000000000000" for s in (second / "snapshots").iterdir()), 20, "snapshot")

    cluster.kill("mds")
    shutil.move(cluster.dir / "mds", tmp_path / "gone")
    cluster.start("mds")		# on the second alone, without its view
    assert all_there(cluster.mnt, 40)
    assert "journal_directory_lost" in warnings(cluster)
    write_some(cluster.mnt, 40, 10)

    cluster.stop("mds")
    (cluster.dir / "mds").mkdir()	# a new disk
    cluster.start("mds")
    assert cluster.status()["metadata_copies"] == 2
    assert "journal_directory_lost" not in warnings(cluster)
    write_some(cluster.mnt, 50, 10)
    cluster.kill("mds")
    shutil.rmtree(second)
    cluster.start("mds")
    assert all_there(cluster.mnt, 60)
    assert len(os.listdir(cluster.mnt)) == 360
