# SPDX-License-Identifier: Apache-2.0
"""The metadata directory is lost: the chunk servers' copies bring back all but the last seconds."""
import os
import re
import shutil
import subprocess
import sys
import time

import pytest

from conftest import BIN, LONG, ROOT, eventually
from fsync_load import Log, judge

HELD_S = 5	# what was synced earlier than this before the loss is there again


@pytest.fixture
def load(tmp_path):
    """load(folder, seed) -> (process, its log): a mixed load until it is killed."""
    running = []

    def start(folder, seed):
        log = tmp_path / f"acknowledged{len(running)}"
        running.append(subprocess.Popen([sys.executable, ROOT / "tests/e2e/fsync_load.py", folder, log, str(seed)]))
        return running[-1], log

    yield start
    for process in running:
        process.kill()
        process.wait(10)


@pytest.fixture
def starts():
    """Commands that nobody waits for."""
    running = []
    yield running
    for process in running:
        process.kill()
        process.wait(10)


def address(cluster, name):
    return re.findall(r"serving address=(\S+)", (cluster.dir / f"{name}.log").read_text())[-1]


def recover(cluster, *sources, check=True):
    done = subprocess.run([BIN / "mkfs.cairn", "--recover", "--metadata", cluster.dir / "mds", "--from",
                           ",".join(map(str, sources))], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=60, check=False)
    assert not check or done.returncode == 0, done.stdout
    return done


def lose_metadata(cluster):
    cluster.kill("mds")
    shutil.rmtree(cluster.dir / "mds")


def wait_for_mount(cluster):
    def answers():
        try:
            return (cluster.mnt / ".").stat() and list(cluster.mnt.iterdir()) is not None
        except OSError:
            return False

    eventually(answers, 30, "a mount that answers")


def await_copies(cluster, count):
    """What is in the journal now is in all copies: they are files of the same bytes."""
    eventually(lambda: cluster.status()["metadata_copies"] == 1 + count, 20, f"{count} copies")
    newest = sorted((cluster.dir / "mds/journal").glob("J-*"))[-1].read_bytes().rstrip(b"\0")

    def holders():
        return sum(any(copy.read_bytes().startswith(newest) for copy in folder.glob("meta/*.journal"))
                   for folder in cluster.dir.glob("cs?"))

    eventually(lambda: holders() == count, 20, "copies of all")


def test_all_that_was_synced_five_seconds_before_is_back(make_cluster, load):
    cluster = make_cluster(sets=["mds.snapshot_bytes=1M", "journal.file_bytes=1M"])
    process, log = load(cluster.mnt, 7)
    time.sleep(20 if LONG else 0)
    eventually(lambda: log.exists() and (now := Log(log)).steps > 30 and len(now.certain()) > 5, 60, "a load")
    eventually(lambda: cluster.status()["metadata_copies"] == 4, 20, "three copies")
    time.sleep(HELD_S + 1)
    lost_at = time.time()
    lose_metadata(cluster)
    process.kill()
    said = recover(cluster, address(cluster, "cs2")).stdout	# it names the others
    assert "recovered from" in said and said.count("has a copy") == 3, said
    cluster.start("mds")
    wait_for_mount(cluster)
    expected = Log(log, until=lost_at - HELD_S)
    assert expected.steps > 20 and len(expected.certain()) > 3, (expected.steps, expected.certain())
    assert judge(cluster.mnt, expected) == []
    (cluster.mnt / "after").write_text("the recovered server takes changes")
    cluster.remount()
    assert judge(cluster.mnt, expected) == []
    assert (cluster.mnt / "after").read_text() == "the recovered server takes changes"
    done = cluster.fsck("--live")
    assert done.returncode == 0, done.stdout


def test_offline_from_the_directories_of_chunk_servers(make_cluster):
    cluster = make_cluster(servers=2)
    (cluster.mnt / "file").write_bytes(b"x" * 200_000)
    (cluster.mnt / "dir").mkdir()
    subprocess.run(["sync", cluster.mnt / "file"], check=True)
    await_copies(cluster, 2)
    for name in ("client1", "mds", "cs1", "cs2"):
        cluster.stop(name)
    shutil.rmtree(cluster.dir / "mds")
    assert recover(cluster, cluster.dir / "mnt1", check=False).returncode == 1
    recover(cluster, cluster.dir / "cs1", cluster.dir / "cs2")
    again = recover(cluster, cluster.dir / "cs1", check=False)
    assert again.returncode == 1 and "formatted already" in again.stdout
    for name in ("mds", "cs1", "cs2", "client1"):
        cluster.start(name)
    assert (cluster.mnt / "file").read_bytes() == b"x" * 200_000
    assert (cluster.mnt / "dir").is_dir()


def test_who_was_told_more_than_is_left_hears_of_it(make_cluster, tmp_path):
    cluster = make_cluster(servers=2)
    (cluster.mnt / "early").write_text("early")
    subprocess.run(["sync", cluster.mnt / "early"], check=True)
    await_copies(cluster, 2)
    old = tmp_path / "old"		# all that will be left
    old.mkdir()
    shutil.copy(cluster.dir / "cs1/super", old)
    shutil.copytree(cluster.dir / "cs1/meta", old / "meta")
    with (cluster.mnt / "early").open("r+") as f:
        f.write("later")
        f.flush()
        os.fsync(f.fileno())
        f.seek(0)
        f.write("LATER")
        f.flush()
        time.sleep(2)			# published by itself, acknowledged, not synced
        lose_metadata(cluster)
        recover(cluster, old)
        cluster.start("mds")
        wait_for_mount(cluster)
        with pytest.raises(OSError):
            os.fsync(f.fileno())
    assert (cluster.mnt / "early").read_text() == "early"
    cluster.remount()
    assert (cluster.mnt / "early").read_text() == "early"


def test_a_second_loss_is_recovered_from_the_second_history(make_cluster):
    cluster = make_cluster()
    for turn in range(2):
        (cluster.mnt / f"file{turn}").write_text(str(turn))
        subprocess.run(["sync", cluster.mnt / f"file{turn}"], check=True)
        await_copies(cluster, 3)
        lose_metadata(cluster)
        recover(cluster, address(cluster, "cs1"))
        cluster.start("mds")
        wait_for_mount(cluster)
    assert (cluster.mnt / "file0").read_text() == "0"
    assert (cluster.mnt / "file1").read_text() == "1"


def test_a_metadata_server_that_is_alive_is_not_recovered(make_cluster, tmp_path):
    """Two of one cluster would give out the same names."""
    cluster = make_cluster()
    eventually(lambda: cluster.status()["metadata_copies"] == 4, 20, "three copies")
    command = [BIN / "mkfs.cairn", "--recover", "--metadata", tmp_path / "new", "--from", address(cluster, "cs1")]
    done = subprocess.run(command, env=cluster.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=60, check=False)
    assert done.returncode == 1 and "is alive" in done.stdout, done.stdout
    assert not (tmp_path / "new" / "super").exists()
    cluster.kill("mds")
    subprocess.run(command, env=cluster.env, check=True, timeout=60)
    assert (tmp_path / "new" / "super").exists()


def test_a_damaged_copy_gives_way_to_a_good_one(make_cluster):
    cluster = make_cluster()
    for i in range(30):
        (cluster.mnt / f"file{i}").write_text(str(i))
    subprocess.run(["sync", cluster.mnt / "file0"], check=True)
    await_copies(cluster, 3)
    lose_metadata(cluster)
    for journal in (cluster.dir / "cs1/meta").glob("*.journal"):
        data = bytearray(journal.read_bytes())
        data[len(data) // 2] ^= 1
        journal.write_bytes(data)
    for snapshot in (cluster.dir / "cs2/meta").glob("*.snapshot"):
        snapshot.write_bytes(snapshot.read_bytes()[:-1])
    said = recover(cluster, *(address(cluster, f"cs{i}") for i in (1, 2, 3))).stdout
    assert f"recovered from {address(cluster, 'cs3')}" in said and "is damaged at byte" in said, said
    cluster.start("mds")
    wait_for_mount(cluster)
    for i in range(30):
        assert (cluster.mnt / f"file{i}").read_text() == str(i)


def test_the_old_server_that_comes_back_is_not_served(make_cluster, tmp_path, starts):
    cluster = make_cluster()
    (cluster.mnt / "early").write_text("early")
    subprocess.run(["sync", cluster.mnt / "early"], check=True)
    await_copies(cluster, 3)
    cluster.kill("mds")
    shutil.move(cluster.dir / "mds", tmp_path / "old")	# its machine is given up, but not lost
    recover(cluster, address(cluster, "cs1"))
    cluster.start("mds")
    wait_for_mount(cluster)
    data = os.urandom(300_000)
    (cluster.mnt / "later").write_bytes(data)
    subprocess.run(["sync", cluster.mnt / "later"], check=True)
    for name in ("mds", "cs1", "cs2", "cs3"):
        cluster.kill(name)
    shutil.move(cluster.dir / "mds", tmp_path / "new")
    shutil.move(tmp_path / "old", cluster.dir / "mds")
    # Nobody joins it, so some of these wait in vain for a server that serves: nobody waits for them.
    for name in ("mds", "cs1", "cs2", "cs3"):
        starts.append(subprocess.Popen([BIN / "cairn", "dev", "start", name], env=cluster.env,
                                       stderr=subprocess.DEVNULL))
    eventually(lambda: "recovered elsewhere" in (cluster.dir / "mds.log").read_text(), 60,
               "the old server heard that it was replaced")
    eventually(lambda: "not used" in (cluster.dir / "client1.log").read_text(), 60,
               "the client does not use it")
    cluster.kill("mds")
    shutil.rmtree(cluster.dir / "mds")
    shutil.move(tmp_path / "new", cluster.dir / "mds")
    for name in ("mds", "cs1", "cs2", "cs3"):
        cluster.start(name)
    wait_for_mount(cluster)
    assert (cluster.mnt / "later").read_bytes() == data
    done = cluster.fsck("--live")
    assert done.returncode == 0, done.stdout
