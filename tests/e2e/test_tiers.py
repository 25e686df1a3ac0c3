# SPDX-License-Identifier: Apache-2.0
"""
Cache tiers that are too small, vanish, or die with the power: that costs speed, never a wrong byte and never an error.
"""
import json
import shutil
import subprocess
import threading

import pytest

from conftest import MiB, eventually, seeded_bytes, stats_of
from xfs_disk import XfsDisk, skip_without_xfs


def tier_of(cluster):
    return json.loads(cluster.cairn("cache", "--json").stdout)["tiers"][0]


def content(number):
    return seeded_bytes(MiB(3) + number, number)


def make_models(cluster, count):
    models = [cluster.mnt / f"model{i}" for i in range(count)]
    for i, model in enumerate(models):
        model.write_bytes(content(i))
    return models


def read_all(models, wrong, laps=1):
    for _ in range(laps):
        for i, model in enumerate(models):
            try:
                if model.read_bytes() != content(i):
                    wrong.append(f"{model} is wrong")
            except OSError as e:
                wrong.append(f"{model}: {e}")


def disk_bytes(folder):
    """At one moment: counted while no file comes or goes."""
    while True:
        before = set(folder.glob("*/*"))
        sizes = [st.st_size for st in stats_of(before)]
        if len(sizes) == len(before) and set(folder.glob("*/*")) == before:
            return sum(sizes)


def test_a_tier_far_too_small_gives_right_bytes_and_keeps_its_limit(make_cluster, tmp_path):
    tier = tmp_path / "tier"
    cluster = make_cluster(sets=[f"client.tier={tier}:8M:1M", "client.tier_min_bytes=1M"])
    models, wrong = make_models(cluster, 8), []
    readers = [threading.Thread(target=read_all, args=(models, wrong, laps)) for laps in (1, 1, 3)]
    for reader in readers:
        reader.start()
    most = 0
    while any(reader.is_alive() for reader in readers):
        most = max(most, disk_bytes(tier))
        readers[-1].join(0.05)
    assert not wrong
    assert 0 < most <= MiB(8) + 65536
    eventually(lambda: tier_of(cluster)["files"] > 0, what="something is in the tier")


def test_a_tier_deleted_under_a_running_client_is_noticed_and_bypassed(make_cluster, tmp_path):
    tier = tmp_path / "tier"
    cluster = make_cluster(sets=[f"client.tier={tier}:64M:1M", "client.tier_min_bytes=1M"])
    models, wrong = make_models(cluster, 4), []
    cluster.cairn("warm", "--wait", cluster.mnt)
    with open(models[0], "rb") as held:
        held.read(MiB(1))
        shutil.rmtree(tier)
        read_all(models, wrong, 2)
        eventually(lambda: tier_of(cluster)["problem"], what="the loss is told")
        read_all(models, wrong)
        held.seek(0)
        assert held.read() == content(0)
    assert not wrong
    (cluster.mnt / "new").write_bytes(content(9))
    assert (cluster.mnt / "new").read_bytes() == content(9)


def test_a_client_killed_while_it_fills_leaves_nothing_half(make_cluster, tmp_path):
    tier = tmp_path / "tier"
    cluster = make_cluster(sets=[f"client.tier={tier}:256M:1M", "client.tier_min_bytes=1M"])
    models, wrong = make_models(cluster, 6), []
    cluster.cairn("evict", cluster.mnt, check=False)
    cluster.cairn("warm", cluster.mnt)
    eventually(lambda: any(tier.glob("*ing/*")) or any(tier.glob("sealed/*")), what="filling")
    cluster.kill("client1")
    cluster.start("client1")
    read_all(models, wrong, 2)
    assert not wrong
    cluster.stop("client1")
    assert not list(tier.glob("filling/*"))
    assert len(list(tier.glob("sealed/*"))) == len(list(tier.glob("sums/*"))) > 0
    cluster.start("client1")
    read_all(models, wrong)
    assert not wrong


@pytest.fixture
def disk(tmp_path):
    skip_without_xfs()
    try:
        disk = XfsDisk(tmp_path / "tier.img", tmp_path / "disk", 1024)
    except subprocess.CalledProcessError as e:
        pytest.skip(f"no loop device with XFS here: {e}")
    yield disk
    subprocess.run(["umount", "-l", disk.folder], check=True)


def test_a_tier_whose_disk_loses_its_power(disk, make_cluster):
    tier = disk.folder / "tier"
    cluster = make_cluster(sets=[f"client.tier={tier}:128M:1M", "client.tier_min_bytes=1M"])
    models, wrong = make_models(cluster, 6), []
    cluster.cairn("warm", cluster.mnt)
    eventually(lambda: any(tier.glob("*ing/*")) or any(tier.glob("sealed/*")), what="filling")
    disk.cut()
    read_all(models, wrong, 2)
    assert not wrong
    cluster.kill("client1")
    disk.unmount()
    disk.mount()
    cluster.start("client1")
    read_all(models, wrong, 2)
    assert not wrong
    assert not tier_of(cluster)["broken"]
    cluster.stop("client1")
