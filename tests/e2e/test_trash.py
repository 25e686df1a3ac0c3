# SPDX-License-Identifier: Apache-2.0
"""`cairn trash`: what is deleted or replaced below a folder is kept for a time, listed, restored, emptied."""
import json
import os
import signal
import subprocess

import pytest

from conftest import BIN, eventually


def trash(cluster, *args, check=True):
    return cluster.cairn("trash", *args, check=check)


def listed(cluster, folder):
    return json.loads(trash(cluster, "list", "--json", folder).stdout)


def paths(cluster, folder):
    return [e["path"] for e in listed(cluster, folder)["entries"]]


@pytest.fixture
def bin_(shared, request):
    """A folder with a trash, as both mounts see it."""
    name = request.node.name[:60]
    (shared.mnt / name).mkdir()
    trash(shared, "enable", "--keep", "1d", shared.mnt / name)
    return shared.mnt / name, shared.mnt2 / name


def test_deleted_and_replaced_files_come_back(shared, bin_):
    a, b = bin_
    (a / "sub").mkdir()
    (a / "sub/one").write_text("first")
    os.setxattr(a / "sub/one", "user.note", b"kept")
    before = os.stat(a / "sub/one")
    os.unlink(b / "sub/one")
    assert not (a / "sub/one").exists() and os.listdir(b / "sub") == []
    (a / "sub/one").write_text("second")
    (b / "new").write_text("third")
    os.rename(b / "new", b / "sub/one")
    assert paths(shared, a) == paths(shared, b / "sub") == ["sub/one", "sub/one"]
    told = listed(shared, a)
    assert told["files"] == 2 and told["bytes"] == 11 and told["keep_s"] == 86400 and told["on"]
    assert shared.status()["deleted"]["files"] >= 2

    refused = trash(shared, "restore", "sub/one", a, check=False)
    assert refused.returncode == 1 and f"{a}/sub/one' exists" in refused.stderr and "--force" in refused.stderr
    trash(shared, "restore", told["entries"][0]["id"], a, "--to", a / "old")
    after = os.stat(b / "old")
    assert (b / "old").read_text() == "first" and os.getxattr(b / "old", "user.note") == b"kept"
    assert (after.st_ino, after.st_mtime_ns, after.st_nlink) == (before.st_ino, before.st_mtime_ns, 1)
    trash(shared, "restore", "--force", "sub/one", b)
    assert (a / "sub/one").read_text() == "second"
    assert paths(shared, a) == ["sub/one"]      # what it replaced
    trash(shared, "empty", a)
    assert paths(shared, a) == [] and listed(shared, a)["bytes"] == 0


def test_a_folder_comes_back_with_what_was_deleted_below_it(shared, bin_):
    a, b = bin_
    (a / "d/deep/er").mkdir(parents=True)
    for i in range(40):
        (a / f"d/deep/f{i}").write_text(f"{i}")
    (a / "d/deep/er/x").write_text("x")
    os.symlink("f1", a / "d/link")
    os.chmod(a / "d/deep", 0o711)
    subprocess.run(["rm", "-r", b / "d"], check=True)
    assert os.listdir(a) == []
    assert len(paths(shared, a)) == 45
    trash(shared, "restore", "d", a)
    assert sorted(os.listdir(b / "d/deep")) == sorted([f"f{i}" for i in range(40)] + ["er"])
    assert (b / "d/deep/f39").read_text() == "39" and (b / "d/deep/er/x").read_text() == "x"
    assert os.readlink(b / "d/link") == "f1" and os.stat(b / "d/deep").st_mode & 0o777 == 0o711
    assert paths(shared, a) == []
    os.unlink(a / "d/deep/er/x")
    os.rmdir(a / "d/deep/er")
    missing = trash(shared, "restore", "d/deep/er/x", a, check=False)
    assert missing.returncode == 1 and "--parents" in missing.stderr
    trash(shared, "restore", "-p", "d/deep/er/x", a)
    assert (b / "d/deep/er/x").read_text() == "x"
    trash(shared, "empty", a)


def test_only_the_last_name_and_only_below_the_folder(shared, bin_):
    a, _ = bin_
    outside = shared.mnt / "outside"
    outside.mkdir()
    (a / "f").write_text("x")
    os.link(a / "f", a / "g")
    os.unlink(a / "f")
    assert paths(shared, a) == [] and os.stat(a / "g").st_nlink == 1
    (outside / "h").write_text("x")
    os.unlink(outside / "h")
    none = trash(shared, "list", outside, check=False)
    assert none.returncode == 1 and f"'{outside}' is in no tree with a trash" in none.stderr
    # A tree that moves in belongs to it, one that moves out does not.
    (outside / "t/u").mkdir(parents=True)
    (outside / "t/u/v").write_text("x")
    os.rename(outside / "t", a / "t")

    def is_told():
        (a / "t/u/w").write_text("x")
        os.unlink(a / "t/u/w")
        return "t/u/w" in paths(shared, a)

    eventually(is_told, what="what moved in has the trash")
    os.rename(a / "t", outside / "t")
    eventually(lambda: trash(shared, "list", outside / "t/u", check=False).returncode == 1, what="it moved out")
    os.truncate(a / "g", 0)                 # no deletion: nothing is kept of that
    os.unlink(a / "g")
    assert [e["bytes"] for e in listed(shared, a)["entries"] if e["path"] == "g"] == [0]
    trash(shared, "empty", a)


def test_it_is_told_of_what_was_there_before_and_forgotten_when_disabled(shared):
    top = shared.mnt / "there"
    for i in range(30):
        (top / f"d{i}/e").mkdir(parents=True)
        (top / f"d{i}/e/f").write_text("x")
        (top / f"d{i}/e/g").write_text("x")
    trash(shared, "enable", top)
    eventually(lambda: trash(shared, "list", top / "d29/e", check=False).returncode == 0, what="all are told")
    eventually(lambda: trash(shared, "list", top / "d3/e", check=False).returncode == 0, what="all are told")
    for i in range(30):
        os.unlink(top / f"d{i}/e/f")
    assert sorted(paths(shared, top)) == sorted(f"d{i}/e/f" for i in range(30))
    trash(shared, "disable", top)
    os.unlink(top / "d0/e/g")
    assert "has no trash of its own" in trash(shared, "disable", top, check=False).stderr


def test_wrong_words_are_refused_with_what_is_wanted(shared, bin_):
    a, _ = bin_
    for words, why in ((["bogus"], "wants enable"), ([], "wants enable"), (["restore"], "restore wants a name"),
                       (["enable"], "enable wants a folder"), (["list", a, a], "list takes one folder"),
                       (["enable", "--keep", "0", a], "disable"), (["enable", "--keep", "1x", a], "is no time")):
        refused = trash(shared, *words, check=False)
        assert refused.returncode == 2 and why in refused.stderr, refused
    assert "kept for 1d\n" in trash(shared, "list", a).stdout


def test_who_may_what(shared, bin_):
    a, _ = bin_
    os.chmod(a, 0o777)

    def as_user(uid, *args):
        return subprocess.run([BIN / "cairn", "trash", *args], env=shared.env, text=True, check=False, timeout=60,
                              cwd=shared.mnt, user=uid, group=uid, extra_groups=[], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)

    for uid in (1001, 1002):
        subprocess.run(["sh", "-c", f"echo {uid} > f{uid} && rm f{uid}"], cwd=a, user=uid, group=uid, check=True)
    assert sorted(paths(shared, a)) == ["f1001", "f1002"]
    assert "f1002" not in (told := as_user(1001, "list", a.name).stdout) and "f1001" in told
    assert as_user(1001, "enable", a.name).returncode == 1
    other = next(e for e in listed(shared, a)["entries"] if e["path"] == "f1002")
    assert as_user(1001, "restore", str(other["id"]), a.name).returncode == 1
    assert as_user(1001, "restore", "f1001", a.name).returncode == 0
    assert (a / "f1001").read_text() == "1001\n"
    assert as_user(1001, "empty", a.name).returncode == 0
    assert paths(shared, a) == ["f1002"]
    trash(shared, "empty", a)


def test_an_open_file_and_a_restart_and_the_end_of_its_time(make_cluster):
    cluster = make_cluster()
    top = cluster.mnt / "t"
    top.mkdir()
    trash(cluster, "enable", top, "--keep", "1d")
    f = open(top / "open", "w+b", buffering=0)
    f.write(b"before")
    for i in range(200):
        (top / f"f{i}").write_text("x" * 100)
    for i in range(200):
        os.unlink(top / f"f{i}")
    os.unlink(top / "open")
    f.write(b" and after")
    os.fsync(f.fileno())
    cluster.kill("mds", signal.SIGKILL)
    cluster.start("mds")
    f.close()
    assert len(paths(cluster, top)) == 201
    trash(cluster, "restore", "open", top)
    assert (top / "open").read_text() == "before and after"
    cluster.cairn("gc", "--now", timeout=120)
    trash(cluster, "restore", "f7", top)
    assert (top / "f7").read_text() == "x" * 100
    files = cluster.status()["files"]
    trash(cluster, "enable", top, "--keep", "1s")
    eventually(lambda: cluster.status()["files"] == files - 199, what="all of it is over its time")
    assert cluster.status()["deleted"] == {"files": 0, "bytes": 0}
    os.unlink(top / "f7")
    for name in ["client1", "cs1", "cs2", "cs3", "mds"]:
        cluster.stop(name)
    done = cluster.fsck()
    assert done.returncode == 0, done.stdout
