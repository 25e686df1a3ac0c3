# SPDX-License-Identifier: Apache-2.0
"""Disks that are full or refuse writes: ENOSPC or another server, what was acknowledged stays, deleting works."""
import errno
import os
import shutil
import subprocess
import time

import pytest

from conftest import BIN, MiB, Cluster, eventually, seeded_bytes

SMALL_SEGMENTS = ["cs.segment_bytes=4M"]


@pytest.fixture
def on_small_disks(tmp_path):
    """on_small_disks({"cs1": "48M"}, servers=1) -> a Cluster whose named folders are tmpfs of that size."""
    clusters, mounts = [], []

    def make(sizes, **options):
        cluster = Cluster(tmp_path / f"c{len(clusters)}", **options)
        clusters.append(cluster)
        for name, size in sizes.items():
            (cluster.dir / name).mkdir(parents=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", cluster.dir / name], check=True)
            mounts.append(cluster.dir / name)
        return cluster.up()

    yield make
    for cluster in clusters:
        cluster.down()
        cluster.destroy()
    for mount in mounts:
        subprocess.run(["umount", "-l", mount], check=True)


def fill(folder, piece, count):
    """Write files until one does not fit: (those whose close returned, the error)."""
    written = {}
    for i in range(count):
        path = folder / f"file{i}"
        try:
            with path.open("wb", buffering=0) as f:
                data = seeded_bytes(piece, i)
                done = 0
                while done < piece:
                    done += f.write(data[done:])
            written[path] = data
        except OSError as e:
            return written, e
    return written, None


def test_a_full_cluster_says_so_and_deleting_works(on_small_disks):
    cluster = on_small_disks({"cs1": "64M", "cs2": "64M"}, servers=2, sets=SMALL_SEGMENTS)
    began = time.monotonic()
    written, error = fill(cluster.mnt, MiB(2), 50)
    assert error is not None and error.errno == errno.ENOSPC, error
    assert 5 <= len(written) < 32
    assert time.monotonic() - began < 60
    for path, data in written.items():
        assert path.read_bytes() == data
    (cluster.mnt / "small").write_text("inline content needs no chunk server")
    for path in list(written)[::2]:
        path.unlink()
        del written[path]
    cluster.restart_all()
    for path, data in written.items():
        assert path.read_bytes() == data
    assert os.statvfs(cluster.mnt).f_bavail * os.statvfs(cluster.mnt).f_frsize < MiB(64)


def test_a_full_metadata_disk_says_so_and_deleting_works(on_small_disks):
    cluster = on_small_disks({"mds": "40M"}, servers=1, sets=["journal.file_bytes=1M", "mds.snapshot_bytes=4M"])
    error, made = None, 0
    try:
        for made in range(20_000):
            (cluster.mnt / f"file{made}").write_bytes(bytes(4000))
    except OSError as e:
        error = e
    assert error is not None and error.errno == errno.ENOSPC, (made, error, cluster.logs())
    assert made > 500
    assert (cluster.mnt / "file77").read_bytes() == bytes(4000)
    for i in range(0, made, 2):
        (cluster.mnt / f"file{i}").unlink()
    assert len(os.listdir(cluster.mnt)) in (made // 2, made // 2 + 1)
    eventually(lambda: can_write(cluster.mnt / "again"), 30, "room for a new file")
    cluster.restart_all()
    assert (cluster.mnt / "file77").read_bytes() == bytes(4000)
    assert (cluster.mnt / "again").read_text() == "again"


def can_write(path):
    try:
        path.write_text("again")
        return True
    except OSError as e:
        assert e.errno == errno.ENOSPC
        return False


@pytest.fixture
def dying_disk(tmp_path):
    """(a folder on a disk image of its own, a function that kills that disk)."""
    folder, image = tmp_path / "dying/cs1", tmp_path / "image"
    folder.mkdir(parents=True)
    with image.open("wb") as f:
        f.truncate(MiB(320))
    for command in (["mkfs.xfs", "-q", image], ["mount", "-o", "loop", image, folder]):
        if not shutil.which(command[0]) or subprocess.run(command, check=False, stderr=subprocess.PIPE).returncode:
            pytest.skip(f"{command[0]} does not work here")
    yield folder, lambda: subprocess.run(["xfs_io", "-x", "-c", "shutdown", folder], check=True)
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_dies_is_done_without(dying_disk):
    folder, kill = dying_disk
    cluster = Cluster(folder.parent, sets=SMALL_SEGMENTS).up()
    try:
        data = seeded_bytes(MiB(4), 1)
        (cluster.mnt / "before").write_bytes(data)
        kill()
        (cluster.mnt / "after").write_bytes(data[::-1])
        cluster.remount()
        assert (cluster.mnt / "before").read_bytes() == data
        assert (cluster.mnt / "after").read_bytes() == data[::-1]
    finally:
        cluster.down()
        cluster.destroy()


@pytest.mark.parametrize("role", ["mds", "cs1"])
def test_a_read_only_folder_is_refused_at_the_start(on_small_disks, role):
    cluster = on_small_disks({role: "100M"}, servers=1, sets=SMALL_SEGMENTS)
    cluster.stop("client1")
    cluster.stop(role)
    subprocess.run(["mount", "-o", "remount,ro", cluster.dir / role], check=True)
    options = {"mds": ["cairn-mds", "--mds-dir"], "cs1": ["cairn-cs", "--cs-dirs"]}[role]
    done = subprocess.run([BIN / options[0], options[1], cluster.dir / role], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=30, check=False)
    assert done.returncode == 1 and str(cluster.dir / role) in done.stderr, done
    assert "ead-only" in done.stderr, done
    subprocess.run(["mount", "-o", "remount,rw", cluster.dir / role], check=True)
    cluster.start(role)
