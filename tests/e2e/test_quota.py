# SPDX-License-Identifier: Apache-2.0
"""Quotas of directory trees: limits hold on two mounts, at the call that does not fit."""

import errno
import json
import os
import shutil
import subprocess

import pytest

from conftest import LONG, Cluster, MiB, eventually, seeded_bytes

BLOCK = 64 * 1024


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    c = Cluster(tmp_path_factory.mktemp("quota") / "c", mounts=2)
    try:
        yield c.up()
        assert c.down() == 0
    finally:
        c.destroy()


@pytest.fixture
def here(cluster, request):
    folder = cluster.mnt / request.node.name
    folder.mkdir()
    return folder


def refused(call, *args, code=errno.EDQUOT):
    with pytest.raises(OSError) as caught:
        call(*args)
    assert caught.value.errno == code, caught.value


def listed(cluster):
    return json.loads(cluster.cairn("quota", "list", "--json").stdout)


def quota(cluster, path):
    """What the nearest quota of a path says."""
    return json.loads(cluster.cairn("quota", "get", path, "--json").stdout)["quotas"][0]


def counted(cluster):
    eventually(lambda: not listed(cluster)["counting"], what="trees to be counted")


def set_quota(cluster, path, **limits):
    cluster.cairn("quota", "set", path, *[f"--{name}={value}" for name, value in limits.items()])


def other(cluster, path):
    """The same path on the second mount."""
    return cluster.mnt2 / path.relative_to(cluster.mnt)


def write(path, data):
    with open(path, "wb", buffering=0) as f:
        view = memoryview(data)
        while view:
            view = view[f.write(view):]


def test_files_are_limited_at_the_create(cluster, here):
    set_quota(cluster, here, files=4)          # the directory itself is one
    there = other(cluster, here)
    (here / "a").touch()
    (there / "b").mkdir()
    os.symlink("a", here / "c")
    for make in (lambda: (there / "d").touch(), lambda: (here / "d").mkdir(),
                 lambda: os.symlink("a", there / "d"), lambda: os.mkfifo(here / "d")):
        refused(make)
    (there / "a").unlink()
    (here / "d").touch()
    assert quota(cluster, here)["files"] == 4
    st = os.statvfs(there)
    assert (st.f_files, st.f_ffree) == (4, 0)


def test_bytes_are_limited_at_the_write(cluster, here):
    set_quota(cluster, here, bytes=4 * 1024 * 1024)
    write(here / "fits", seeded_bytes(MiB(3), 1))
    with open(other(cluster, here) / "too-much", "wb", buffering=0) as f:
        written = 0
        with pytest.raises(OSError) as caught:
            while written < MiB(2):
                written += f.write(seeded_bytes(BLOCK, 2))
        assert caught.value.errno == errno.EDQUOT
        assert MiB(1) - 2 * BLOCK <= written <= MiB(1)
    assert (here / "too-much").stat().st_size == written
    (here / "fits").unlink()                   # deleting always works, and gives room
    write(here / "more", seeded_bytes(MiB(2), 3))
    assert quota(cluster, here)["bytes"] == MiB(2) + written



def test_what_leaves_while_more_is_asked_for_is_taken_once(make_cluster):
    """Near the limit every write asks, and what was written before is published meanwhile."""
    quick = make_cluster(sets=["client.flush_ms=10"])
    here = quick.mnt / "d"
    here.mkdir()
    set_quota(quick, here, bytes=MiB(4))
    for turn in range(200 if LONG else 30):
        with open(here / "f", "wb", buffering=0) as f:
            def fill():
                for n in range(MiB(8) // BLOCK):
                    f.write(seeded_bytes(BLOCK, f"{turn}.{n}"))
            refused(fill)
            assert f.tell() <= MiB(4)
        assert (here / "f").stat().st_size == quota(quick, here)["bytes"] <= MiB(4)
        (here / "f").unlink()


def test_small_files_are_limited_at_the_write(cluster, here):
    set_quota(cluster, here, bytes=10000)
    write(here / "a", b"x" * 9000)
    with open(other(cluster, here) / "b", "wb", buffering=0) as f:
        refused(f.write, b"y" * 2000)
        assert f.write(b"y" * 1000) == 1000
    assert quota(cluster, here)["bytes"] == 10000


def test_df_shows_the_tree(cluster, here):
    (here / "below").mkdir()
    set_quota(cluster, here, bytes=MiB(64))
    write(here / "f", seeded_bytes(MiB(16), 4))
    counted(cluster)
    for path in (here, here / "below", other(cluster, here)):
        text = subprocess.run(["df", "-B1", "--output=size,used,avail", path], check=True,
                              stdout=subprocess.PIPE, text=True).stdout
        assert [int(n) for n in text.splitlines()[1].split()] == [MiB(64), MiB(16), MiB(48)]


def test_a_quota_on_a_tree_with_content_counts_it(cluster, here):
    for i in range(3):
        (here / f"d{i}").mkdir()
        for k in range(40):
            (here / f"d{i}" / f"f{k}").write_bytes(b"z" * 100)
    set_quota(cluster, here, bytes=MiB(1), files=1000)
    counted(cluster)
    q = quota(cluster, here / "d1")
    assert (q["inode"], q["files"], q["bytes"]) == (here.stat().st_ino, 1 + 3 + 120, 12000)
    cluster.cairn("quota", "clear", here)
    counted(cluster)
    assert json.loads(cluster.cairn("quota", "get", here, "--json").stdout)["quotas"] == []
    write(here / "large", seeded_bytes(MiB(2), 5))


def test_nested_quotas(cluster, here):
    inner = here / "inner"
    inner.mkdir()
    set_quota(cluster, here, bytes=MiB(4), files=10)
    set_quota(cluster, inner, bytes=MiB(8), files=4)
    counted(cluster)
    (inner / "a").touch()
    (inner / "b").touch()
    (inner / "c").touch()
    refused((inner / "d").touch)
    (here / "d").touch()
    write(inner / "a", seeded_bytes(MiB(3), 6))
    with open(inner / "b", "wb", buffering=0) as f:
        with pytest.raises(OSError) as caught:
            for _ in range(32):
                f.write(seeded_bytes(BLOCK, 7))
        assert caught.value.errno == errno.EDQUOT       # of the outer one
    chain = json.loads(cluster.cairn("quota", "get", inner, "--json").stdout)["quotas"]
    assert [q["files"] for q in chain] == [4, 6]
    assert chain[0]["bytes"] == chain[1]["bytes"] <= MiB(4)
    shutil.rmtree(inner)
    assert quota(cluster, here)["bytes"] == 0
    assert inner.name not in [os.path.basename(q["path"]) for q in listed(cluster)["quotas"]]


def test_names_do_not_cross_trees(cluster, here):
    (here / "in").mkdir()
    set_quota(cluster, here / "in", files=100)
    counted(cluster)
    (here / "out").write_bytes(b"x" * 1000)
    refused(os.rename, here / "out", here / "in" / "out", code=errno.EXDEV)
    refused(os.link, here / "out", here / "in" / "out", code=errno.EXDEV)
    subprocess.run(["mv", here / "out", here / "in" / "out"], check=True)
    assert quota(cluster, here / "in")["bytes"] == 1000
    os.rename(here / "in", here / "moved")              # the whole tree may go elsewhere
    os.rename(here / "moved" / "out", here / "moved" / "again")
    assert quota(cluster, here / "moved")["files"] == 2


def test_a_lower_limit_refuses_growth_only(cluster, here):
    set_quota(cluster, here, bytes=MiB(4))
    path = here / "f"
    write(path, seeded_bytes(MiB(3), 8))
    # What was set aside for this node before it knew goes back once it is not used.
    eventually(lambda: quota(cluster, here)["bytes_reserved"] == 0, what="nothing is set aside")
    set_quota(cluster, here, bytes=MiB(1))
    with open(path, "r+b", buffering=0) as f:
        f.write(seeded_bytes(BLOCK, 9))                 # in place
        f.seek(0, os.SEEK_END)
        refused(f.write, b"x" * BLOCK)
    path.rename(here / "g")
    os.truncate(here / "g", MiB(1) - BLOCK)
    write(here / "more", b"x" * 1000)
    assert quota(cluster, here)["bytes"] <= MiB(1)


def test_two_mounts_fill_a_tree_to_the_brim(cluster, here):
    limit = MiB(8)
    set_quota(cluster, here, bytes=limit)
    there = other(cluster, here)
    total = 0
    with open(here / "a", "wb", buffering=0) as a, open(there / "b", "wb", buffering=0) as b:
        files = [a, b]
        while files:
            for f in list(files):
                try:
                    total += f.write(seeded_bytes(2 * BLOCK, 10))
                except OSError as e:
                    assert e.errno == errno.EDQUOT
                    files.remove(f)
    assert limit - 4 * BLOCK <= total <= limit
    assert quota(cluster, here)["bytes"] == total


def test_status_warns_of_a_full_quota(cluster, here):
    set_quota(cluster, here, files=2)
    (here / "a").touch()
    warnings = cluster.status()["warnings"]
    assert [w for w in warnings if w["code"] == "quota_full" and here.name in w["text"]]
    (here / "a").unlink()
    here.rmdir()
    assert not [w for w in cluster.status()["warnings"] if here.name in w["text"]]


def test_commands_say_what_is_wrong(cluster, here, tmp_path):
    elsewhere = cluster.cairn("quota", "get", tmp_path, check=False)
    assert elsewhere.returncode == 3 and "not on a cairn file system" in elsewhere.stderr
    (here / "f").touch()
    assert "no directory" in cluster.cairn("quota", "set", here / "f", "--files=1", check=False).stderr
    assert "no quota" in cluster.cairn("quota", "clear", here, check=False).stderr
    for words, why in ((["set", here], "wants --bytes, --files"), (["get"], "get wants a path"), (["bogus"], "wants set"),
                       (["list", here], "takes no path"), (["clear", here, "--files", "1"], "only set"),
                       (["set", here, "--bytes", "1Z"], "such as 500G")):
        wrong = cluster.cairn("quota", *words, check=False)
        assert wrong.returncode == 2 and why in wrong.stderr, wrong
    assert "no quota limits" in cluster.cairn("quota", "get", here).stdout


def test_usage_outlives_kills_and_proves(cluster, here):
    """The last: the cluster goes down and comes back."""
    (here / "t").mkdir()
    set_quota(cluster, here / "t", bytes=MiB(64), files=1000)
    for i in range(20):
        (here / "t" / f"f{i}").write_bytes(b"x" * 5000)
    cluster.kill("mds")
    cluster.start("mds")
    for i in range(10):
        (here / "t" / f"f{i}").unlink()
    q = quota(cluster, here / "t")
    assert (q["bytes"], q["files"]) == (50000, 11)
    cluster.down()
    done = cluster.fsck()
    assert done.returncode == 0, done.stdout + done.stderr
    cluster.up()
