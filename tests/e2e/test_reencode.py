# SPDX-License-Identifier: Apache-2.0
"""Blocks are encoded anew in the background: fewer bytes, the same files, whatever interrupts it."""
import json
import random

import pytest

from conftest import NO_TIER, MiB, seeded_bytes

QUIET = ["cs.reencode=no", "cs.scrub_period=0", NO_TIER]


def reencode(cluster, *args, check=True):
    done = cluster.cairn("reencode", "--json", *args, timeout=120, check=check)
    return json.loads(done.stdout)["servers"]


def text(size, seed):
    """What zstd makes much smaller, and lz4 little: words of a small vocabulary, in no order."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 9))) for _ in range(4000)]
    part = " ".join(rng.choices(words, k=size // 6 + 1)).encode()
    return part[:size]


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
    assert status["codecs"]["zstd"] > 0
    assert status["codecs"]["raw"] >= 3 * MiB(3)
    cluster.remount()
    assert (cluster.mnt / "words").read_bytes() == words
    assert (cluster.mnt / "noise").read_bytes() == noise
    assert "stored as:" in cluster.cairn("status").stdout
    again = reencode(cluster, "--now", "--wait")
    assert all(s["blocks"] == 0 for s in again)
    assert cluster.fsck("--live").returncode == 0
