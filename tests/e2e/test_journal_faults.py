# SPDX-License-Identifier: Apache-2.0
"""A journal whose sync or write fails: the caller hears it, reads go on, a restart believes only what is on the disk."""
import errno
import os
import shutil
import subprocess
import time

import pytest

from conftest import Cluster, eventually, warnings


@pytest.fixture
def inject(tmp_path):
    """inject(cluster, path, fault): from now on that system call of the metadata server on that file fails."""
    if not shutil.which("strace"):
        pytest.skip("no strace here")
    tracers = []

    def begin(cluster, path, fault):
        out = tmp_path / f"trace{len(tracers)}"
        call = fault.split(":")[0]
        tracer = subprocess.Popen(["strace", "-f", "-p", str(cluster.pid("mds")), "-P", path, "-o", out,
                                   "-e", f"trace={call}", "-e", f"inject={fault}"],
                                  stderr=subprocess.PIPE, text=True)
        tracers.append(tracer)
        line = tracer.stderr.readline()
        if "attached" not in line:
            pytest.skip(f"strace does not work here: {line}")
        return out

    yield begin
    for tracer in tracers:
        tracer.terminate()
        tracer.wait(20)


def end(inject_out):
    """The fault fired."""
    assert "INJECTED" in inject_out.read_text(), "the fault did not fire"


def newest_journal(folder):
    return sorted((folder / "journal").glob("J-*"))[-1]


def write_synced(path, text):
    with path.open("w") as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())


@pytest.mark.parametrize("fault", ["fdatasync:error=EIO", "pwrite64:error=EIO", "pwritev:error=EIO"])
def test_the_only_journal_fails(make_cluster, inject, fault):
    cluster = make_cluster(servers=1, sets=["mds.metadata_copies=0"])
    write_synced(cluster.mnt / "before", "before")
    trace = inject(cluster, newest_journal(cluster.dir / "mds"), fault)
    call = fault.split(":")[0]
    try:
        write_synced(cluster.mnt / "lost", "lost")
    except OSError as e:
        assert e.errno in (errno.EIO, errno.EROFS)
    else:
        assert call != "fdatasync"	# writes go by one of the two calls only
        return
    eventually(lambda: "metadata_failed" in warnings(cluster), 10, "a warning")
    assert (cluster.mnt / "before").read_text() == "before"
    with pytest.raises(OSError):
        write_synced(cluster.mnt / "after", "after")
    cluster.kill("mds")
    end(trace)
    cluster.start("mds")
    eventually(lambda: can_write(cluster.mnt / "again"), 30, "changes again")
    assert (cluster.mnt / "before").read_text() == "before"
    cluster.kill("mds")
    cluster.start("mds")
    assert (cluster.mnt / "again").read_text() == "again"


def can_write(path):
    try:
        write_synced(path, "again")
        return True
    except OSError:
        return False


def test_one_of_two_journals_fails_and_is_made_whole_at_the_next_start(tmp_path, inject):
    second = tmp_path / "second"
    second.mkdir()
    cluster = Cluster(tmp_path / "cluster", servers=1,
                      sets=["mds.metadata_copies=0", f"journal.dirs={second}"]).up()
    try:
        write_synced(cluster.mnt / "one", "one")
        assert cluster.status()["metadata_copies"] == 2
        trace = inject(cluster, newest_journal(second), "fdatasync:error=EIO")
        write_synced(cluster.mnt / "two", "two")	# the other one has it
        assert cluster.status()["metadata_copies"] == 1
        assert "journal_directory_lost" in warnings(cluster)
        eventually((second / "dropped").exists, 10, "a mark")
        for i in range(50):
            write_synced(cluster.mnt / f"file{i}", str(i))
        cluster.kill("mds")
        end(trace)
        time.sleep(0.1)
        shutil.move(cluster.dir / "mds", tmp_path / "away")
        refused = cluster.cairn("dev", "start", "mds", check=False, timeout=90)
        assert refused.returncode != 0 and "was out of service" in refused.stderr + cluster.logs()
        shutil.rmtree(cluster.dir / "mds", ignore_errors=True)
        shutil.move(tmp_path / "away", cluster.dir / "mds")
        cluster.start("mds")
        assert cluster.status()["metadata_copies"] == 2 and not (second / "dropped").exists()
        cluster.kill("mds")
        shutil.move(cluster.dir / "mds", tmp_path / "away")
        cluster.start("mds")		# and now it is enough
        assert (cluster.mnt / "two").read_text() == "two"
        assert (cluster.mnt / "file49").read_text() == "49"
    finally:
        cluster.down()
        cluster.destroy()
