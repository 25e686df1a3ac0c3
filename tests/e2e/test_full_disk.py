# SPDX-License-Identifier: Apache-2.0
"""Disks that are full or refuse writes: ENOSPC or another server, what was acknowledged stays, deleting works."""
import errno
import os
import shutil
import subprocess
import time

import pytest

from conftest import BIN, NO_TIER, MiB, Cluster, eventually, running, seeded_bytes, warnings

SERVED = ["cs.segment_bytes=4M", NO_TIER]


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
    cluster = on_small_disks({"cs1": "64M", "cs2": "64M"}, servers=2, sets=SERVED)
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
    for path in list(written)[1:]:      # all but one
        path.unlink()
        del written[path]
    cluster.cairn("gc", "--now", timeout=120)
    (cluster.mnt / "again").mkdir()
    again, error = fill(cluster.mnt / "again", MiB(2), 5)
    assert error is None and len(again) == 5, (error, cluster.logs())
    cluster.remount()
    for path, data in (written | again).items():
        assert path.read_bytes() == data


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
    try:
        eventually(lambda: can_write(cluster.mnt / "again"), 90, "room for a new file")
    except AssertionError as error:
        raise AssertionError(f"{error}: {cluster.logs(6000)}") from None
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
def mds_on_image(tmp_path):
    """A cluster whose metadata server has a small ext4 disk of its own, with few inodes."""
    image, folder = tmp_path / "mds.img", tmp_path / "cluster/mds"
    folder.mkdir(parents=True)
    with image.open("wb") as f:
        f.truncate(MiB(64))
    for command in (["mkfs.ext4", "-q", "-m", "0", "-N", "200", image], ["mount", "-o", "loop", image, folder]):
        if not shutil.which(command[0]) or subprocess.run(command, check=False, stderr=subprocess.PIPE).returncode:
            pytest.skip(f"{command[0]} does not work here")
    cluster = Cluster(folder.parent, servers=1, sets=["journal.file_bytes=1M", "mds.snapshot_bytes=2M"])
    yield cluster.up()
    try:
        cluster.down()
    finally:
        cluster.destroy()
        subprocess.run(["umount", "-l", folder], check=True)


def take_all_blocks(path):
    """To the last one, as anybody else on that disk might."""
    with path.open("wb", buffering=0) as f:
        for piece in (MiB(1), 4096):
            try:
                while f.write(bytes(piece)) == piece:
                    pass
            except OSError as e:
                assert e.errno == errno.ENOSPC
        os.fsync(f.fileno())


def test_others_fill_the_metadata_disk_to_its_last_block(mds_on_image):
    cluster = mds_on_image
    for i in range(300):
        (cluster.mnt / f"file{i}").write_text(str(i))
    take_all_blocks(cluster.dir / "mds/filler")
    eventually(lambda: "metadata_full" in warnings(cluster), 10, "a warning")
    with pytest.raises(OSError) as caught:
        (cluster.mnt / "new").write_text("does not fit")
    assert caught.value.errno == errno.ENOSPC
    assert [(cluster.mnt / f"file{i}").read_text() for i in range(300)] == [str(i) for i in range(300)]
    for i in range(0, 200, 2):		# from what was set aside
        (cluster.mnt / f"file{i}").unlink()
    subprocess.run(["sync", cluster.mnt / "file1"], check=True)
    assert "metadata_failed" not in warnings(cluster)
    cluster.kill("mds")
    (cluster.dir / "mds/filler").unlink()
    cluster.start("mds")
    eventually(lambda: can_write(cluster.mnt / "again"), 30, "room for a new file")
    cluster.restart_all()
    assert sorted(os.listdir(cluster.mnt)) == sorted(
        ["again"] + [f"file{i}" for i in range(300) if i % 2 or i >= 200])
    assert (cluster.mnt / "file77").read_text() == "77"


def test_room_that_returns_is_enough_without_a_restart(mds_on_image):
    cluster = mds_on_image
    (cluster.mnt / "before").write_text("before")
    take_all_blocks(cluster.dir / "mds/filler")
    eventually(lambda: "metadata_full" in warnings(cluster), 10, "a warning")
    (cluster.mnt / "before").unlink()
    (cluster.dir / "mds/filler").unlink()
    eventually(lambda: can_write(cluster.mnt / "again"), 30, "room for a new file")
    assert "metadata_failed" not in warnings(cluster) and "metadata_full" not in warnings(cluster)


def test_a_metadata_disk_without_inodes_goes_on_in_the_files_it_has(mds_on_image):
    cluster = mds_on_image
    inodes = []
    try:
        for i in range(1000):
            inodes.append(cluster.dir / f"mds/inode{i}")
            inodes[-1].touch()
    except OSError as e:
        assert e.errno == errno.ENOSPC
    for i in range(600):		# more than a journal file; no new one can be begun
        (cluster.mnt / f"file{i}").write_bytes(bytes(4000))
    assert "metadata_failed" not in warnings(cluster)
    for path in inodes:
        path.unlink(missing_ok=True)
    eventually(lambda: can_write(cluster.mnt / "again") and
               len(list((cluster.dir / "mds/snapshots").iterdir())) > 1, 30, "a snapshot")
    cluster.kill("mds")
    cluster.start("mds")
    cluster.restart_all()
    assert len(os.listdir(cluster.mnt)) == 601
    assert (cluster.mnt / "file599").read_bytes() == bytes(4000)


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
    with running(Cluster(folder.parent, sets=SERVED)) as cluster:
        data = seeded_bytes(MiB(4), 1)
        (cluster.mnt / "before").write_bytes(data)
        kill()
        (cluster.mnt / "after").write_bytes(data[::-1])
        cluster.remount()
        assert (cluster.mnt / "before").read_bytes() == data
        assert (cluster.mnt / "after").read_bytes() == data[::-1]


@pytest.mark.parametrize("role", ["mds", "cs1"])
def test_a_read_only_folder_is_refused_at_the_start(on_small_disks, role):
    cluster = on_small_disks({role: "100M"}, servers=1, sets=SERVED)
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
