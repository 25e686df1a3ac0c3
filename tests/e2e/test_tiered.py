# SPDX-License-Identifier: Apache-2.0
"""Models that come into a tier by being read and written, and are then read without any server."""
import hashlib
import signal

import pytest

from conftest import Job, MiB, eventually, seeded_bytes

MODEL = MiB(12) + 345


def sealed(cluster, number=1):
    folder = cluster.dir / f"cache{number}" / "tier" / "sealed"
    return sorted(p.stat().st_size for p in folder.iterdir()) if folder.exists() else []


def await_sealed(cluster, sizes, number=1):
    eventually(lambda: sealed(cluster, number) == sorted(sizes), what=f"{sizes} sealed")


def servers(cluster, sig):
    for i in range(3):
        cluster.kill(f"cs{i + 1}", sig)


def read_all(path):
    return path.read_bytes()


def check(path, content):
    """For a Job: exit 0 if the file has this content."""
    with open(path, "rb") as f:
        if hashlib.sha256(f.read()).digest() != hashlib.sha256(content).digest():
            raise OSError(5, "other content")


@pytest.fixture
def tiered(make_cluster):
    return make_cluster(mounts=2, sets=["client.tier=auto:64M:0", "client.predict=no"])


def reads_without_servers(cluster, content):
    """The model is right on the first mount while no server answers."""
    servers(cluster, signal.SIGSTOP)
    try:
        reader = Job(check, cluster.mnt / "model", content)
        reader.join(20)
        assert reader.errno == 0
    finally:
        servers(cluster, signal.SIGCONT)


def test_a_model_that_was_read_needs_no_server_again(tiered):
    content = seeded_bytes(MODEL, 1)
    (tiered.mnt2 / "model").write_bytes(content)
    assert sealed(tiered) == []
    assert read_all(tiered.mnt / "model") == content
    await_sealed(tiered, [MODEL])
    tiered.remount()                                    # tiers outlive it, pages do not
    assert sealed(tiered) == [MODEL]
    reads_without_servers(tiered, content)


def test_what_is_written_is_warm(tiered):
    content = seeded_bytes(MODEL, 2)
    (tiered.mnt / "model").write_bytes(content)
    await_sealed(tiered, [MODEL])
    tiered.remount()
    reads_without_servers(tiered, content)


def test_readers_see_each_version_after_its_close(tiered):
    content = bytearray(seeded_bytes(MODEL, 3))
    for version in range(4):
        content[version * MiB(3):version * MiB(3) + 4] = bytes([version] * 4)
        writer, reader = (tiered.mnt, tiered.mnt2) if version % 2 else (tiered.mnt2, tiered.mnt)
        with open(writer / "model", "r+b" if version else "wb") as f:
            f.write(content)
        assert read_all(reader / "model") == content
        assert read_all(writer / "model") == content


def test_siblings_come_along(tiered):
    shards = [f"model-{i + 1:05}-of-00003.safetensors" for i in range(3)]
    for i, name in enumerate(shards):
        (tiered.mnt2 / name).write_bytes(seeded_bytes(MiB(4), 10 + i))
    assert read_all(tiered.mnt / shards[1]) == seeded_bytes(MiB(4), 11)
    await_sealed(tiered, [MiB(4)] * 3)


def test_a_model_that_does_not_fit_is_read_all_the_same(make_cluster):
    cluster = make_cluster(sets=["client.tier=auto:2M:0", "client.predict=no"])
    content = seeded_bytes(MODEL, 4)
    (cluster.mnt / "model").write_bytes(content)
    cluster.remount()
    assert read_all(cluster.mnt / "model") == content
    assert sealed(cluster) == []
