# SPDX-License-Identifier: Apache-2.0
"""fsck.cairn, cairn stat and cairn dump on real clusters: clean is clean, damage is named, repair mends."""
import json
import os
import subprocess

import pytest

from conftest import BIN, eventually, seeded_bytes


def fsck(folder, *args):
    return subprocess.run([BIN / "fsck.cairn", "--dir", folder, *args], text=True, timeout=120, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def flip(path, offset):
    with open(path, "r+b") as f:
        f.seek(offset)
        byte = f.read(1)
        f.seek(offset)
        f.write(bytes([byte[0] ^ 0x20]))


def place_of(path, needle):
    return path.read_bytes().index(needle)


def fill(mnt):
    (mnt / "models").mkdir()
    (mnt / "models" / "weights").write_bytes(seeded_bytes(700_000, 1))
    (mnt / "models" / "copy").write_bytes(seeded_bytes(700_000, 1))
    (mnt / "note").write_text("hello")
    os.symlink("note", mnt / "link")
    os.sync()


@pytest.fixture
def stopped(make_cluster):
    """A filled cluster whose processes have all ended; its folder stays until the test's end."""
    cluster = make_cluster()
    fill(cluster.mnt)
    for name in ["client1", "cs1", "cs2", "cs3", "mds"]:
        cluster.stop(name)
    return cluster


def test_a_stopped_cluster_is_clean(stopped):
    done = fsck(stopped.dir)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(fsck(stopped.dir, "--json").stdout)
    assert report["clean"] and not report["faults"]
    assert report["checked"]["files"] == 4


def test_a_killed_cluster_is_clean(make_cluster):
    cluster = make_cluster()
    fill(cluster.mnt)
    for name in ["cs2", "mds", "cs1", "client1", "cs3"]:
        cluster.kill(name)
    done = eventually(lambda: (d := fsck(cluster.dir)).returncode != 8 and d, what="locks are free")
    assert done.returncode == 0, done.stdout


def test_a_running_cluster_is_refused_offline_and_checked_live(cluster):
    fill(cluster.mnt)
    done = fsck(cluster.dir)
    assert done.returncode == 8
    assert "in use" in done.stderr
    live = cluster.fsck("--live")
    assert live.returncode == 0, live.stdout
    cluster.stop("cs3")
    eventually(lambda: any(s["state"] in ("down", "out") for s in cluster.status()["servers"]), what="cs3 is down")
    live = cluster.fsck("--live")
    assert live.returncode == 4
    assert "server" in live.stdout


def test_a_flipped_byte_of_a_block_is_named_and_repaired(stopped):
    segment = sorted((stopped.dir / "cs2" / "segments").iterdir())[0]
    flip(segment, place_of(segment, seeded_bytes(700_000, 1)[:64]) + 7)
    done = fsck(stopped.dir)
    assert done.returncode == 4
    assert "/models/" in done.stdout
    assert fsck(stopped.dir, "--repair").returncode == 1
    assert fsck(stopped.dir).returncode == 0
    for name in ["mds", "cs1", "cs2", "cs3", "client1"]:
        stopped.start(name)
    assert (stopped.mnt / "models" / "weights").read_bytes() == seeded_bytes(700_000, 1)
    assert stopped.fsck("--live").returncode == 0


@pytest.mark.parametrize("pattern, offset", [
    ("mds/super", 20), ("cs1/super", 40), ("mds/journal/J-*", 30), ("mds/journal/J-*", 100),
    ("mds/snapshots/S-*", 70), ("cs3/segments/seg-*", 20), ("cs3/segments/seg-*", 100),
])
def test_a_flipped_byte_anywhere_is_never_clean(stopped, pattern, offset):
    victim = sorted(stopped.dir.glob(pattern))[0]
    flip(victim, offset)
    done = fsck(stopped.dir)
    assert done.returncode == 4, done.stdout
    assert victim.name in done.stdout or "/models/" in done.stdout


def test_a_lost_folder_is_restored(stopped):
    for segment in (stopped.dir / "cs1" / "segments").iterdir():
        segment.unlink()
    assert fsck(stopped.dir).returncode == 4
    assert fsck(stopped.dir, "-y").returncode == 1
    assert fsck(stopped.dir).returncode == 0


def test_usage_and_absence_have_their_status(tmp_path):
    env = {k: v for k, v in os.environ.items() if k != "CAIRN_DIR"}
    run = lambda *args: subprocess.run([BIN / "fsck.cairn", *args], env=env, capture_output=True, check=False)
    assert run().returncode == 16
    assert run("--nonsense").returncode == 16
    assert run("--metadata", tmp_path / "absent").returncode == 8
    assert run("--help").returncode == 0


def test_stat_shows_where_blocks_are(cluster):
    fill(cluster.mnt)
    weights = cluster.mnt / "models" / "weights"
    # A close waits for two copies of three.
    eventually(lambda: cluster.cairn("stat", weights, check=False).returncode == 0, what="every copy is there")
    [shown] = json.loads(cluster.cairn("stat", weights, "--json").stdout)
    assert shown["kind"] == "manifest" and shown["complete"]
    assert shown["blocks"] >= 11 and shown["bytes_plain"] == 700_000     # some are shorter: cut by content
    assert shown["copies"] == {"3": shown["blocks"] + 1}
    assert cluster.cairn("stat", cluster.mnt / "note").stdout.count("inline") == 1
    assert cluster.cairn("stat", "/", check=False).returncode == 3


def test_dump_shows_every_structure(stopped):
    done = stopped.cairn("dump", stopped.dir / "mds", stopped.dir / "cs1")
    for word in ["superblock", "journal", "snapshot", "segment", "record"]:
        assert word in done.stdout
    assert "DAMAGED" not in done.stdout
    flip(stopped.dir / "mds" / "super", 30)
    assert stopped.cairn("dump", stopped.dir / "mds" / "super", check=False).returncode == 1
