# SPDX-License-Identifier: Apache-2.0
"""`cairn clone`: a tree by reference, complete and consistent or not there at all."""
import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

from conftest import BIN, LONG, MiB, eventually, seeded_bytes


def clone(cluster, source, target, **options):
    return json.loads(cluster.cairn("clone", "--json", source, target, **options).stdout)


def facts(top):
    """Of every name below: all that a copy keeps, hard links by the first name of each inode."""
    seen, found = {}, {}
    for folder, folders, files in os.walk(top):
        for name in [".", *sorted(folders), *sorted(files)]:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            key = os.path.normpath(os.path.relpath(path, top))
            content = None
            if stat.S_ISREG(st.st_mode):
                with open(path, "rb") as f:
                    content = f.read()
            elif stat.S_ISLNK(st.st_mode):
                content = os.readlink(path)
            attributes = {} if stat.S_ISLNK(st.st_mode) else {a: os.getxattr(path, a) for a in os.listxattr(path)}
            found[key] = (st.st_mode, st.st_uid, st.st_gid, st.st_nlink, st.st_rdev, st.st_mtime_ns, content,
                          attributes, seen.setdefault(st.st_ino, key))
    return found


def make_tree(top):
    (top / "sub/deep").mkdir(parents=True)
    (top / "small").write_text("weights")
    (top / "large").write_bytes(seeded_bytes(MiB(3) + 17, 1))
    os.link(top / "small", top / "sub/again")
    (top / "link").symlink_to("small")
    os.mkfifo(top / "pipe")
    os.mknod(top / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.setxattr(top / "small", "user.note", b"kept")
    os.setxattr(top / "sub", "trusted.of", b"root")
    with open(top / "sparse", "wb") as f:
        f.truncate(MiB(100))
    os.chown(top / "large", 1000, 100)
    os.chmod(top / "large", 0o4750)
    os.chmod(top / "sub", 0o1777)
    os.utime(top / "sub/deep", ns=(10**18 + 7, 10**18 + 9))
    os.utime(top, ns=(10**18, 10**18 + 123456789))


def test_a_tree_is_cloned_whole_and_then_goes_its_own_way(shared):
    top = shared.mnt / "whole"
    make_tree(top)
    stored = shared.status()["bytes_unique"]
    before = facts(top)
    made = clone(shared, top, shared.mnt / "whole.copy")
    assert made["names"] == len(before)
    assert facts(shared.mnt2 / "whole.copy") == before == facts(top)
    (shared.mnt / "whole.copy/small").write_text("changed")
    (shared.mnt2 / "whole.copy/sub/new").write_text("x")
    with open(shared.mnt / "whole.copy/large", "r+b") as f:
        f.write(b"begin")
    assert facts(top) == before
    assert shared.status()["bytes_unique"] <= stored + MiB(4)   # not another 3 MiB for each


def test_what_other_mounts_have_written_and_not_closed_comes_along(shared):
    top = shared.mnt / "open"
    top.mkdir()
    with contextlib.ExitStack() as files:
        for i in range(40):
            mount = shared.mnt if i % 2 else shared.mnt2
            f = files.enter_context(open(mount / "open" / f"f{i}", "wb", buffering=0))
            f.write(f"written {i}".encode())
        clone(shared, top, shared.mnt / "open.copy")
        for i in range(40):
            assert (shared.mnt2 / "open.copy" / f"f{i}").read_bytes() == f"written {i}".encode()


def test_what_is_in_the_way_is_told_and_nothing_is_left(shared):
    top = shared.mnt / "way"
    top.mkdir()
    os.chmod(top, 0o755)
    (top / "open").write_text("x")
    (top / "secret").write_text("x")
    os.chmod(top / "secret", 0o600)
    (shared.mnt / "free").mkdir()
    os.chmod(shared.mnt / "free", 0o777)
    files = shared.status()["files"]

    def fails(source, target, *texts, **options):
        done = subprocess.run([BIN / "cairn", "clone", source, target], env=shared.env, text=True, check=False,
                              stderr=subprocess.PIPE, timeout=60, cwd=shared.mnt, **options)
        assert done.returncode in (1, 3)
        for text in texts:
            assert text in done.stderr, done.stderr

    fails(top, shared.mnt / "free", "exists")
    fails(top, "/tmp/nowhere-to-be", "not on a cairn")
    fails(shared.mnt / "nothing", shared.mnt / "x", "no such file")
    fails(top, shared.mnt2 / "x", "not on the same")
    fails("way", "free/x", "secret", "permission denied", user=1000, group=1000, extra_groups=[7])
    os.chmod(top / "secret", 0o640)
    os.chown(top / "secret", 0, 7)
    done = subprocess.run([BIN / "cairn", "clone", "way", "free/x"], env=shared.env, check=False, cwd=shared.mnt,
                          user=1000, group=1000, extra_groups=[7], timeout=60)
    assert done.returncode == 0
    st = os.stat(shared.mnt / "free/x/secret")
    assert (st.st_uid, st.st_gid, st.st_mode & 0o7777) == (1000, 7, 0o640)
    os.chmod(top / "secret", 0o644)
    fails("way", "way/x", "permission denied", user=1000, group=1000, extra_groups=[])
    subprocess.run(["rm", "-r", shared.mnt / "free"], check=True)
    eventually(lambda: shared.status()["files"] == files, what="all of the failed clones is gone")


def test_a_clone_while_others_write_has_each_file_in_one_version(shared):
    """Each file holds one number, again and again; writers replace, rewrite, append, rename and link all the while."""
    top = shared.mnt / "busy"
    top.mkdir()
    names = [f"f{i}" for i in range(60)]
    for name in names:
        (top / name).write_bytes(b"0000000\n" * 512)
    (top / "here").mkdir()
    done = threading.Event()

    def write(folder, seed):
        for n in range(1, 10**7):
            if done.is_set():
                return
            name = names[(n * seed) % len(names)]
            content = b"%07d\n" % n * 512
            if n % 3 == 0:      # replaced: the name is there at every moment
                (folder / f".{name}.{seed}").write_bytes(content)
                os.rename(folder / f".{name}.{seed}", folder / name)
            elif n % 3 == 1:
                with open(folder / name, "r+b", buffering=0) as f:
                    f.write(content)
            else:
                os.mkdir(folder / f"d{seed}")
                os.rename(folder / f"d{seed}", folder / "here" / f"d{seed}")
                os.rmdir(folder / "here" / f"d{seed}")

    writers = [threading.Thread(target=write, args=(m / "busy", seed))
               for m, seed in ((shared.mnt, 7), (shared.mnt2, 11))]
    for writer in writers:
        writer.start()
    try:
        for i in range(20 if LONG else 5):
            clone(shared, top, shared.mnt / f"busy.{i}")
    finally:
        done.set()
        for writer in writers:
            writer.join()
    for i in range(20 if LONG else 5):
        copy = shared.mnt2 / f"busy.{i}"
        assert set(names) <= set(os.listdir(copy))
        for name in names:
            records = (copy / name).read_bytes().splitlines()
            assert len(records) == 512 and len(set(records)) == 1, f"{name} of clone {i} is torn"


def test_ten_thousand_names_in_one_go(shared, record_property):
    top = shared.mnt / "many"
    count = 10000 if LONG else 3000
    for i in range(count // 100):
        (top / f"d{i}").mkdir(parents=True)
        for k in range(99):
            (top / f"d{i}" / f"f{k}").touch()
    made = clone(shared, top, shared.mnt / "many.copy")
    record_property("clone_ms", made["ms"])
    assert made["names"] == count + 1
    assert sorted(os.listdir(shared.mnt2 / "many.copy/d7")) == sorted(os.listdir(top / "d7"))


def big_tree(cluster, count):
    top = cluster.mnt / "tree"
    (top / "t").mkdir(parents=True)
    for i in range(count):
        (top / "t" / f"f{i}").write_text(f"{i}")
    return top


@contextlib.contextmanager
def written_by_a_stopped_mount(cluster, name):
    """In a process of its own: whoever closed a copy of the descriptor would wait for that mount."""
    code = f"import sys; f = open({str(cluster.mnt2 / name)!r}, 'r+b', buffering=0); f.write(b'dirty'); print(); " \
           "sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        cluster.kill("client2", signal.SIGSTOP)
        try:
            yield
        finally:
            cluster.kill("client2", signal.SIGCONT)
            writer.stdin.close()


def is_building(cluster, top, files):
    """A clone that waits for that writer, with something of it built."""
    job = subprocess.Popen([BIN / "cairn", "clone", top, cluster.mnt / "copy"], env=cluster.env,
                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    eventually(lambda: cluster.status()["files"] > files, what="something is built")
    assert job.poll() is None
    return job


def test_interrupted_or_with_a_server_killed_it_is_whole_or_not_there(make_cluster):
    cluster = make_cluster(mounts=2)
    top = big_tree(cluster, 600)
    files = cluster.status()["files"]
    with written_by_a_stopped_mount(cluster, "tree/t/f77"):
        job = is_building(cluster, top, files)
        job.send_signal(signal.SIGINT)
        assert job.wait(30) == 1 and "interrupted" in job.stderr.read()
    assert not (cluster.mnt / "copy").exists()
    eventually(lambda: cluster.status()["files"] == files, what="all of it is gone")

    with written_by_a_stopped_mount(cluster, "tree/t/f78"):
        job = is_building(cluster, top, files)
        cluster.kill("mds")
        cluster.kill("client2", signal.SIGCONT)
        cluster.start("mds")
    assert job.wait(60) == 0, job.stderr.read()
    assert len(os.listdir(cluster.mnt2 / "copy/t")) == 600
    assert (cluster.mnt / "copy/t/f5").read_text() == "5"
    assert (cluster.mnt / "copy/t/f78").read_text() == "dirty"

    for name in ["client1", "client2", "cs1", "cs2", "cs3", "mds"]:
        cluster.stop(name)
    done = cluster.fsck()
    assert done.returncode == 0, done.stdout


def test_one_ctrl_c_ends_it_while_the_metadata_server_is_away(make_cluster):
    cluster = make_cluster()
    (cluster.mnt / "top").mkdir()
    waiting = Path(f"/sys/fs/fuse/connections/{os.minor(os.stat(cluster.mnt).st_dev)}/waiting")
    cluster.kill("mds", signal.SIGSTOP)
    try:
        job = subprocess.Popen([BIN / "cairn", "clone", "top", "new"], env=cluster.env, cwd=cluster.mnt,
                               stderr=subprocess.PIPE)
        eventually(lambda: waiting.read_text() != "0\n", what="it waits, in whichever call")
        job.send_signal(signal.SIGINT)
        assert job.wait(20) != 0
    finally:
        cluster.kill("mds", signal.SIGCONT)
    assert os.listdir(cluster.mnt) == ["top"]
