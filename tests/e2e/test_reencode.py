# SPDX-License-Identifier: Apache-2.0
"""Blocks are encoded anew in the background: fewer bytes, the same files, whatever interrupts it."""
import json
import random
import time

import pytest

from conftest import NO_TIER, MiB, eventually, seeded_bytes
from test_power_cut import cut_power, on_images  # noqa: F401 (a fixture)
from test_scrub import flip, is_whole, records, segments
from test_weights import copy_flat, is_sound, of_classes, same_flat, settled_status

# What stays of weights at most when they are cold, record headers included.
COLD_SHARE = {"bf16": 0.69, "fp32": 0.86, "fp16": 0.89, "int8": 0.95}
QUIET = ["server.heartbeat_ms=200", "cs.reencode=no", "cs.scrub_period=0", NO_TIER]


def reencode(cluster, *args, check=True):
    done = cluster.cairn("reencode", "--json", *args, timeout=120, check=check)
    return json.loads(done.stdout)["servers"]


def text(size, seed):
    """What zstd makes much smaller, and lz4 little: words of a small vocabulary, in no order."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 9))) for _ in range(4000)]
    part = " ".join(rng.choices(words, k=size // 6 + 1)).encode()
    return part[:size]


def small_share(status):
    """How much of what is stored is as small as it can be."""
    codecs = status["codecs"]
    return (codecs["zstd"] + codecs["planes"]) / sum(codecs.values())


def test_all_blocks_are_made_smaller_now(make_cluster):
    cluster = make_cluster(sets=["cs.segment_bytes=4M", *QUIET])
    words, noise = text(MiB(6), 1), seeded_bytes(MiB(3), 2)
    (cluster.mnt / "words").write_bytes(words)
    (cluster.mnt / "noise").write_bytes(noise)
    before = cluster.bytes_stored()
    servers = reencode(cluster, "--now", "--wait")
    assert all(s["blocks"] >= 96 and not s["wrong"] for s in servers)
    assert all(s["bytes_after"] < 0.8 * s["bytes_before"] for s in servers)
    saved = sum(s["bytes_before"] - s["bytes_after"] for s in servers)
    assert cluster.bytes_stored() == pytest.approx(before - saved, rel=0.001)
    status = cluster.status()
    assert small_share(status) > 0.3
    assert status["codecs"]["raw"] >= 3 * MiB(3)
    cluster.remount()
    assert (cluster.mnt / "words").read_bytes() == words
    assert (cluster.mnt / "noise").read_bytes() == noise
    assert "stored as:" in cluster.cairn("status").stdout
    again = reencode(cluster, "--now", "--wait")
    assert all(s["blocks"] == 0 for s in again)
    assert cluster.fsck("--live").returncode == 0


def test_real_weights_become_smaller_still(make_cluster):
    files = of_classes("bf16", "fp32", "fp16", "int8", package="vad")
    cluster = make_cluster(sets=["cs.segment_bytes=4M", *QUIET])
    copy_flat(files, cluster.mnt / "models")
    written = settled_status(cluster)["bytes_stored"]
    assert all(not s["wrong"] for s in reencode(cluster, "--now", "--wait"))
    status = settled_status(cluster)
    assert status["bytes_stored"] < 3 * sum(COLD_SHARE[f.parent.name] * f.stat().st_size for f in files)
    assert status["bytes_stored"] < 0.96 * written
    assert status["codecs"]["planes"] > 0.5 * status["bytes_stored"]
    cluster.remount()
    same_flat(files, cluster.mnt / "models")
    is_sound(cluster)


def workers(cluster):
    """Who encodes anew; at no moment more than one. Who are asked one after the other may pass it on in between."""
    now = [s for s in reencode(cluster) if s["turn"]]
    while len(now) > 1:
        still = [s for s in reencode(cluster) if s["turn"]]
        assert len({s["server"] for s in still} & {s["server"] for s in now}) <= 1
        now = still
    return now


def test_a_killed_server_goes_on_and_nothing_is_lost(make_cluster):
    cluster = make_cluster(sets=["cs.segment_bytes=2M", "cs.reencode_bytes_per_s=4M", *QUIET])
    words = text(MiB(8), 3)
    (cluster.mnt / "words").write_bytes(words)
    reencode(cluster, "--now")
    for _ in range(2):
        [at] = eventually(lambda: [s for s in workers(cluster) if s["blocks"] > 8], what="one is at work")
        cluster.kill(f"cs{at['server']}")
        cluster.start(f"cs{at['server']}")
        after = eventually(lambda: next(s for s in reencode(cluster) if s["server"] == at["server"]))
        assert after["pass"] == at["pass"]
    done = reencode(cluster, "--wait")
    assert all(not s["running"] and not s["wrong"] for s in done)
    eventually(lambda: small_share(cluster.status()) > 0.9, what="it is told what there is")
    cluster.remount()
    assert (cluster.mnt / "words").read_bytes() == words
    is_sound(cluster)


def test_a_damaged_record_is_mended_and_not_encoded(make_cluster):
    cluster = make_cluster(sets=["cs.segment_bytes=2M", *QUIET])
    words = text(MiB(4), 4)
    (cluster.mnt / "words").write_bytes(words)
    eventually(lambda: is_whole(cluster), what="every copy")    # a close waits for two of a block
    folder = cluster.dir / "cs2"
    cluster.stop("cs2")
    rotten = [(path, at) for path in segments(folder)[:1] for at, _, _ in records(path)][3::8]
    for path, at in rotten:
        flip(path, at + 200)
    cluster.start("cs2")
    eventually(lambda: cluster.status()["pgs"]["clean"] == 4096, what="all copies are there")
    done = reencode(cluster, "--now", "--wait")
    assert all(not s["wrong"] for s in done)
    damaged = {s["server"]: s["damaged"] for s in cluster.status()["servers"]}
    assert damaged[2] >= len(rotten) - 1 and damaged[1] == damaged[3] == 0
    eventually(lambda: is_whole(cluster), what="it came from another replica")
    cluster.remount()
    assert (cluster.mnt / "words").read_bytes() == words


def test_it_is_paused_and_no_faster_than_it_may_be(make_cluster):
    cluster = make_cluster(servers=1, copies=1,
                           sets=["cs.segment_bytes=2M", "cs.reencode_bytes_per_s=1M", *QUIET])
    (cluster.mnt / "words").write_bytes(text(MiB(12), 5))
    assert reencode(cluster, "--now")[0]["running"]

    def at_work():
        began = time.monotonic()
        return [(began, s["blocks"]) for s in workers(cluster)]

    [(begun, at)] = eventually(at_work, what="it works")
    [later] = eventually(lambda: (s := reencode(cluster))[0]["blocks"] >= at + 16 and s)
    # What a round holds, up to a second's, is counted when it ends: 16 blocks a second, and those.
    assert later["blocks"] - at <= 16 * (time.monotonic() - begun) + 32
    assert reencode(cluster, "--stop")[0]["paused"]
    [paused] = eventually(lambda: not (s := reencode(cluster))[0]["turn"] and s)
    assert 0 < paused["blocks"] < 150
    assert cluster.cairn("reencode", "9", check=False).returncode == 1
    assert "paused" in cluster.cairn("reencode", "1").stdout
    assert not reencode(cluster, "--now")[0]["paused"]


def test_power_is_cut_while_it_works(on_images):  # noqa: F811
    cluster, disks = on_images
    words = text(MiB(24), 6)
    (cluster.mnt / "words").write_bytes(words)
    reencode(cluster, "--now")
    [at] = eventually(lambda: [s for s in workers(cluster) if s["blocks"] > 0], what="one is at work")
    cut_power(cluster, disks, [f"cs{at['server']}"])
    assert all(not s["wrong"] for s in reencode(cluster, "--wait"))
    cluster.remount()
    assert (cluster.mnt / "words").read_bytes() == words
    eventually(lambda: is_whole(cluster), 60, "all copies are there")
