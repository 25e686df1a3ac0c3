# SPDX-License-Identifier: Apache-2.0
"""Bits rot: no reader sees it, the scrub finds all of it, other replicas mend it; what is gone everywhere is named."""
import errno
import json
import struct
import subprocess

import pytest

from conftest import BIN, LONG, NO_TIER, MiB, eventually, seeded_bytes, write_on_grid

HEADER = 64


def records(segment):
    """(offset, id, stored bytes) of each record of a segment file."""
    data = segment.read_bytes()
    at = 64
    while data[at:at + 4] == b"CRNR":
        stored, = struct.unpack_from("<I", data, at + 4)
        yield at, data[at + 8:at + 40].hex(), stored
        at += (HEADER + stored + 7) // 8 * 8


def segments(folder):
    return sorted((folder / "segments").iterdir())


def flip(path, offset):
    with open(path, "r+b") as f:
        f.seek(offset)
        byte = f.read(1)
        f.seek(offset)
        f.write(bytes([byte[0] ^ 0x10]))


def rot(folder, every, sealed_only=False):
    """Flip a bit in the stored bytes of every n-th record of a server; how many."""
    count = number = 0
    for segment in segments(folder)[:-1 if sealed_only else None]:
        for at, _, stored in records(segment):
            number += 1
            if number % every == 0:
                flip(segment, at + HEADER + number % stored)
                count += 1
    return count


def scrub(cluster, *args):
    return json.loads(cluster.cairn("scrub", "--json", *args, timeout=120).stdout)["servers"]


def is_whole(cluster):
    """Every block is there, and right, in as many copies as it should."""
    return cluster.fsck("--live").returncode == 0


def test_a_bit_in_every_hundredth_record_is_found_and_mended(make_cluster):
    """Issue: no reader ever sees it, scrub finds all, after repair fsck is clean."""
    cluster = make_cluster(sets=["cs.segment_bytes=8M", NO_TIER])
    files = {f"model{i}": seeded_bytes(MiB(40 if LONG else 8), i) for i in range(4)}
    for name, content in files.items():
        (cluster.mnt / name).write_bytes(content)
    eventually(lambda: is_whole(cluster), what="every copy")
    cluster.stop("client1")
    cluster.stop("cs2")
    bad = rot(cluster.dir / "cs2", 100 if LONG else 25)
    assert bad >= 5
    cluster.start("cs2")
    cluster.start("client1")
    for name, content in files.items():
        assert (cluster.mnt / name).read_bytes() == content
    found = scrub(cluster, "--now", "--wait")
    assert {s["server"] for s in found} == {1, 2, 3}
    assert sum(s["wrong"] for s in found) <= bad  # readers found the others first
    eventually(lambda: is_whole(cluster), what="everything is fetched again")
    assert sum(s["wrong"] for s in scrub(cluster, "--now", "--deep", "--wait")) == 0
    for name in ["client1", "cs1", "cs2", "cs3", "mds"]:
        cluster.stop(name)
    done = cluster.fsck("--dir", str(cluster.dir))
    assert done.returncode == 0, done.stdout


def test_a_scrub_alone_finds_every_one(make_cluster):
    cluster = make_cluster(sets=["cs.segment_bytes=4M", "cs.scrub_period=0"])
    write_on_grid(cluster.mnt / "model", seeded_bytes(MiB(20), 1))
    # A close waits for two copies of a block, not for the third.
    eventually(lambda: min(s["blocks"] for s in cluster.status()["servers"]) >= MiB(20) // 65536, what="every copy")
    cluster.stop("cs3")
    bad = rot(cluster.dir / "cs3", 10)
    cluster.start("cs3")
    [done] = scrub(cluster, "--now", "--wait", "3")
    assert done["wrong"] == bad
    assert done["records"] >= MiB(20) // 65536
    assert not done["running"] and done["finished"] >= done["started"] > 0
    eventually(lambda: is_whole(cluster), what="everything is fetched again")
    [done] = scrub(cluster, "--now", "--wait", "3")
    assert done["wrong"] == 0 and done["wrong_last"] == 0


def test_a_pass_goes_on_where_a_restart_found_it(make_cluster):
    """20 MiB at 4 MiB/s: stopped in the middle, the pass goes on and does not begin anew."""
    cluster = make_cluster(servers=1, copies=1, sets=["cs.segment_bytes=2M", "cs.scrub_bytes_per_s=4M"])
    (cluster.mnt / "model").write_bytes(seeded_bytes(MiB(20), 1))
    [before] = scrub(cluster, "--now")
    eventually(lambda: scrub(cluster)[0]["bytes_done"] > MiB(6), what="a third is done")
    cluster.stop("cs1")
    cluster.start("cs1")
    [after] = eventually(lambda: (s := scrub(cluster))[0]["bytes_total"] > 0 and s, what="it runs again")
    assert after["pass"] == before["pass"]
    assert after["bytes_done"] >= MiB(4)
    [done] = scrub(cluster, "--wait")
    assert done["pass"] == before["pass"]
    assert done["records"] >= 320


def test_it_can_be_paused(make_cluster):
    cluster = make_cluster(servers=1, copies=1, sets=["cs.scrub_bytes_per_s=1M"])
    (cluster.mnt / "model").write_bytes(seeded_bytes(MiB(4), 1))
    assert scrub(cluster, "--now")[0]["running"]
    assert scrub(cluster, "--stop")[0]["paused"]
    assert scrub(cluster, "--status", "1")[0]["paused"]
    assert not scrub(cluster, "--now")[0]["paused"]
    assert cluster.cairn("scrub", "9", check=False).returncode == 1
    assert cluster.cairn("scrub", "--deep", check=False).returncode == 2
    assert "LAST WHOLE PASS" in cluster.cairn("scrub").stdout


def test_a_server_that_was_not_told_to_begin_is_no_success(make_cluster):
    """It is back when the others are through, and tells that no pass is running: nobody asked it for one."""
    cluster = make_cluster(servers=2, copies=2, sets=["cs.scrub_bytes_per_s=1M"])
    (cluster.mnt / "model").write_bytes(seeded_bytes(MiB(2), 1))
    cluster.stop("cs2")
    with subprocess.Popen([BIN / "cairn", "scrub", "--now", "--wait"], env=cluster.env, text=True,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as asked:
        eventually(lambda: scrub(cluster, "1")[0]["running"], what="the other one has begun")
        cluster.start("cs2")
        _, stderr = asked.communicate(timeout=60)
    assert asked.returncode == 1
    assert "cairn scrub: " in stderr


def test_a_block_that_is_gone_everywhere_fails_exactly_its_files(make_cluster):
    """Issue: all copies of one block destroyed: exactly the files that contain it give EIO, and fsck names them."""
    cluster = make_cluster(sets=["client.timeout_ms=3s", NO_TIER])
    common = seeded_bytes(65536, 99)
    write_on_grid(cluster.mnt / "a", seeded_bytes(MiB(1), 1) + common)
    (cluster.mnt / "dir").mkdir()
    write_on_grid(cluster.mnt / "dir" / "b", common + seeded_bytes(MiB(1), 2))
    (cluster.mnt / "whole").write_bytes(seeded_bytes(MiB(1), 3))
    eventually(lambda: is_whole(cluster), what="every copy")    # a close waits for two of a block
    cluster.stop("client1")
    for i in (1, 2, 3):
        cluster.stop(f"cs{i}")
        hits = 0
        for segment in segments(cluster.dir / f"cs{i}"):
            data = segment.read_bytes()
            for at, _, stored in records(segment):
                if data[at + HEADER:at + HEADER + stored] == common:
                    flip(segment, at + HEADER + 1000)
                    hits += 1
        assert hits == 1
        cluster.start(f"cs{i}")
    cluster.start("client1")
    for name in ["a", "dir/b"]:
        with pytest.raises(OSError) as refused:
            (cluster.mnt / name).read_bytes()
        assert refused.value.errno == errno.EIO
    assert (cluster.mnt / "whole").read_bytes() == seeded_bytes(MiB(1), 3)
    live = cluster.fsck("--live")
    assert live.returncode == 4
    for name in ["client1", "cs1", "cs2", "cs3", "mds"]:
        cluster.stop(name)
    offline = cluster.fsck("--dir", str(cluster.dir))
    assert offline.returncode == 4
    for report in [live.stdout, offline.stdout]:
        assert "/a" in report and "/dir/b" in report and "/whole" not in report


def test_a_live_check_has_the_cluster_mend_itself(make_cluster):
    """A wrong record and a missing block: named by --live, fetched again by --live --repair, then clean."""
    cluster = make_cluster(sets=["cs.scrub_period=0", "cs.segment_bytes=1M", NO_TIER])
    content = seeded_bytes(MiB(3), 5)
    (cluster.mnt / "model").write_bytes(content)
    eventually(lambda: is_whole(cluster), what="every copy")
    cluster.stop("cs2")
    # Sealed segments only: what is wrong in the last one is found at the start, and healed by whole groups.
    assert rot(cluster.dir / "cs2", 9, sealed_only=True) >= 2
    cluster.start("cs2")
    done = cluster.fsck("--live", "--repair")
    assert done.returncode == 1, done.stdout
    assert "fetched block" in done.stdout
    assert cluster.fsck("--live").returncode == 0
    assert (cluster.mnt / "model").read_bytes() == content


def test_a_live_check_of_a_changing_tree_finds_no_fault(make_cluster):
    """Names come, move and go at every moment between its listing, its question and its count."""
    cluster = make_cluster()
    top = cluster.mnt / "top"
    top.mkdir()
    for i in range(50):
        (top / f"f{i}").write_bytes(seeded_bytes(100_000, i))
    (top / "go").touch()
    churn = subprocess.Popen(["sh", "-c", """cd "$0"; i=0; while [ -e go ]; do i=$((i + 1))
        mkdir d$i; head -c 90000 /dev/urandom >d$i/x; sleep 0.1; ln d$i/x y$i; sleep 0.1; mv d$i e$i
        rm -r e$i y$i; done""", top])
    try:
        for look in range(8):
            live = cluster.fsck("--live")
            assert live.returncode == 0, f"look {look}: {live.stdout}"
    finally:
        (top / "go").unlink()
        churn.wait(30)
