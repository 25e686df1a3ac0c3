# SPDX-License-Identifier: Apache-2.0
"""Two clients of one cluster: what a call on A has done, every later call on B sees."""
import errno
import multiprocessing
import os
import signal
import subprocess
import threading
import time

import pytest

from conftest import LONG, MiB, seeded_bytes


@pytest.fixture
def ab(shared, request):
    """The same new folder on both mounts."""
    name = request.node.name[:60]
    (shared.mnt / name).mkdir()
    return shared.mnt / name, shared.mnt2 / name


def raises(code, call, *args):
    with pytest.raises(OSError) as caught:
        call(*args)
    assert caught.value.errno == code, caught.value


# ---- names ---------------------------------------------------------------------------------------------

def test_names_made_on_one_appear_on_the_other(ab):
    a, b = ab
    for i in range(100):
        one, two = (a, b) if i % 2 else (b, a)
        name = f"name{i}"
        assert not (two / name).exists()        # now cached there as absent
        (one / name).touch()
        assert (two / name).exists()
        assert name in os.listdir(two)
        os.rename(one / name, one / f"new{i}")
        assert not (two / name).exists() and (two / f"new{i}").exists()
        os.unlink(two / f"new{i}")
        assert not (one / f"new{i}").exists()
    assert os.listdir(a) == os.listdir(b) == []


def test_listings_and_absent_names_kept_here_are_asked_again(ab):
    """A folder that one mount knows whole: made there, or listed, with pages of the listing in the kernel."""
    a, b = ab
    (a / "dir").mkdir()
    for i in range(30):
        (a / f"dir/n{i}").touch()
    for i in range(20):
        assert not (a / f"dir/m{i}").exists()
        assert len(os.listdir(a / "dir")) == len([e for e in os.scandir(a / "dir") if e.stat()]) == 30 + i % 2
        assert not (b / f"dir/m{i}").exists()
        assert len(os.listdir(b / "dir")) == 30 + i % 2
        if i % 2:
            os.unlink(b / f"dir/m{i - 1}")
            assert not (a / f"dir/m{i - 1}").exists()
        else:
            (b / f"dir/m{i}").touch()
            assert (a / f"dir/m{i}").exists() and f"m{i}" in os.listdir(a / "dir")
    os.rename(b / "dir/n0", b / "n0")
    os.rename(b / "dir/n1", b / "dir/n2")
    assert sorted(os.listdir(a / "dir")) == sorted(f"n{i}" for i in range(2, 30))
    assert not (a / "dir/n0").exists() and not (a / "dir/n1").exists()


def test_a_listing_kept_here_is_asked_again_though_the_time_of_the_folder_was_set_back(ab):
    a, b = ab
    (a / "old").touch()
    os.utime(a, ns=(10**18, 10**18))
    for i in range(3):
        assert len(os.listdir(b)) == 1 + i and len(os.listdir(b)) == 1 + i      # the second from the kernel's pages
        (a / f"new{i}").touch()
        os.utime(a, ns=(10**18, 10**18))
        assert os.stat(b).st_mtime_ns == 10**18


def test_a_listing_shows_once_what_was_there_all_the_time(ab):
    """Names before, behind and between what was listed come and go on both mounts; seeks go back."""
    a, b = ab
    stays = {f"stays{i}" for i in range(700)}
    for i in range(700):
        (a / f"stays{i}").touch()
        (a / f"goes{i}").touch()
    for round in range(3):
        seen = []
        with os.scandir(b) as listing:
            for i, entry in enumerate(listing):
                seen.append(entry.name)
                if i % 4 == 0:
                    (a, b)[i % 8 == 0].joinpath(f"goes{round * 200 + i // 8}").unlink(missing_ok=True)
                    (b, a)[i % 8 == 0].joinpath(f"comes{round}-{i}").touch()
        assert len(seen) == len(set(seen)) and stays <= set(seen)
        assert set(os.listdir(a)) == set(os.listdir(b)) == set(os.listdir(b))
    for folder in ab:
        assert not any((folder / name).exists() for name in ("absent", "goes0", "comes"))


def install_as(folder, uid, size):
    """As cp -p does it: the content, then the mode with its set-user-id bit, then close."""
    os.chdir(folder)
    os.setgid(uid)
    os.setuid(uid)
    fd = os.open(f"program{size}", os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(fd, bytes(size))
    os.fchmod(fd, 0o4755)
    assert os.fstat(fd).st_mode & 0o7777 == 0o4755
    os.close(fd)


def test_a_set_user_id_bit_outlives_the_content_written_before_it(ab):
    a, b = ab
    os.chmod(a, 0o777)
    for size in (100, 200000):
        child = multiprocessing.Process(target=install_as, args=(a, 1000, size))
        child.start()
        child.join(60)
        assert child.exitcode == 0
        for folder in ab:
            assert os.stat(folder / f"program{size}").st_mode & 0o7777 == 0o4755
        with open(b / f"program{size}", "r+b") as f:    # root's writes take nothing
            f.write(b"x")
        assert os.stat(a / f"program{size}").st_mode & 0o7777 == 0o4755


def test_folders_and_links(ab):
    a, b = ab
    assert not (b / "dir").exists()
    (a / "dir").mkdir()
    (b / "dir/file").write_text("x")
    assert (a / "dir/file").read_text() == "x"
    raises(errno.ENOTEMPTY, os.rmdir, a / "dir")
    os.link(b / "dir/file", b / "second")
    assert (a / "dir/file").stat().st_nlink == 2
    os.symlink("dir/file", a / "link")
    assert (b / "link").read_text() == "x"
    os.unlink(a / "dir/file")
    assert (b / "second").stat().st_nlink == 1
    os.rmdir(a / "dir")
    assert not (b / "dir").exists()


def test_modes_owners_and_attributes_are_seen_at_once(ab):
    a, b = ab
    (a / "file").touch()
    for mode in (0o600, 0o644, 0o755):
        assert (b / "file").stat().st_mode & 0o777 != mode or mode == 0o644
        (a / "file").chmod(mode)
        assert (b / "file").stat().st_mode & 0o777 == mode
    os.chown(b / "file", 12, 34)
    st = (a / "file").stat()
    assert (st.st_uid, st.st_gid) == (12, 34)
    os.setxattr(a / "file", "user.x", b"1")
    assert os.getxattr(b / "file", "user.x") == b"1"
    os.setxattr(b / "file", "user.x", b"2")
    assert os.getxattr(a / "file", "user.x") == b"2"


# ---- content -------------------------------------------------------------------------------------------

def test_close_to_open(ab):
    a, b = ab
    for i, size in enumerate((10, 5_000, 100_000, MiB(3), 7, 0, 70_000)):
        data = seeded_bytes(size, i)
        one, two = (a, b) if i % 2 else (b, a)
        (one / "file").write_bytes(data)
        assert (two / "file").stat().st_size == size
        assert (two / "file").read_bytes() == data, size


def test_the_size_of_a_file_being_written_is_seen(ab):
    a, b = ab
    with (a / "log").open("wb", buffering=0) as f:
        for i in range(1, 30):
            before = (b / "log").stat().st_mtime_ns
            f.write(b"x" * 10_000)
            st = (b / "log").stat()
            assert st.st_size == i * 10_000
            assert st.st_mtime_ns >= before


def test_writes_are_coherent_while_both_have_it_open(ab):
    a, b = ab
    (a / "file").write_bytes(bytes(200_000))
    with (a / "file").open("r+b", buffering=0) as fa, (b / "file").open("r+b", buffering=0) as fb:
        for i in range(60):
            one, two = (fa, fb) if i % 2 else (fb, fa)
            data = seeded_bytes(1000, i)
            at = (i * 6007) % 199_000
            os.pwrite(one.fileno(), data, at)
            assert os.pread(two.fileno(), 1000, at) == data, i


def test_appends_of_both_are_all_there(ab):
    a, b = ab
    (a / "log").touch()

    def append(folder, tag):
        with (folder / "log").open("ab", buffering=0) as f:
            for i in range(100):
                f.write(f"{tag} {i:05}\n".encode())

    threads = [threading.Thread(target=append, args=args) for args in ((a, "a"), (b, "b"), (b, "c"))]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
        assert not t.is_alive()
    lines = (a / "log").read_text().splitlines()
    for tag in "abc":
        assert [line for line in lines if line[0] == tag] == [f"{tag} {i:05}" for i in range(100)]
    assert len(lines) == 300
    assert (b / "log").read_text().splitlines() == lines


APPENDER = """
import os, sys
path, tag, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
fd = os.open(path, os.O_RDWR | os.O_APPEND)
for i in range(count):
    record = f"{tag} {i:07} ".ljust(30 + i % 60, "x") + "\\n"
    assert os.write(fd, record.encode()) == len(record)
    if i % 500 == 99:                               # what this node reads back has the others' records
        text = os.pread(fd, os.fstat(fd).st_size, 0).decode()
        assert text.count(f"\\n{tag} ") + text.startswith(tag) == i + 1 and text.endswith("\\n"), i
"""


def test_appends_of_two_nodes_are_all_there_and_none_is_torn(ab):
    count = 50_000 if LONG else 2_500
    (ab[0] / "log").touch()
    writers = [subprocess.Popen(["/usr/bin/python3", "-c", APPENDER, folder / "log", tag, str(count)])
               for folder, tag in zip(ab, "ab")]
    assert [w.wait(300) for w in writers] == [0, 0]
    expected = {tag: [f"{tag} {i:07} ".ljust(30 + i % 60, "x") for i in range(count)] for tag in "ab"}
    for folder in ab:
        lines = (folder / "log").read_text().splitlines()
        assert len(lines) == 2 * count
        for tag in "ab":
            assert [line for line in lines if line[0] == tag] == expected[tag]


def test_an_exclusive_create_has_one_winner(ab):
    for i in range(20):
        wins, barrier = [], threading.Barrier(4)

        def create(folder, tag):
            barrier.wait()
            try:
                fd = os.open(folder / f"lock{i}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
                os.write(fd, tag)
                os.close(fd)
                wins.append(tag)
            except FileExistsError:
                pass

        threads = [threading.Thread(target=create, args=(ab[n % 2], b"%d" % n)) for n in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
            assert not t.is_alive()
        assert len(wins) == 1
        assert (ab[0] / f"lock{i}").read_bytes() == (ab[1] / f"lock{i}").read_bytes() == wins[0]


def create_as(folder, name, uid, text, done):
    os.chdir(folder)
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    try:
        fd = os.open(name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    except OSError as e:
        done.put((uid, e.errno))
        return
    os.write(fd, text)
    os.close(fd)
    done.put((uid, 0))


def test_who_makes_a_name_that_another_has_made_meanwhile_needs_his_permission(shared, ab):
    """
    Both kernels believe the name absent and check nothing, for there is no file. One client stands still until both
    have asked: the other's create then finds a file.
    """
    a, b = ab
    os.chmod(a, 0o777)
    fork = multiprocessing.get_context("fork")
    for i in range(3):
        path, done = f"f{i}", fork.SimpleQueue()
        assert not (a / path).exists() and not (b / path).exists()
        shared.kill("client1", signal.SIGSTOP)
        makers = [
            fork.Process(target=create_as, args=(a, path, 1001, b"long, and his own", done)),
            fork.Process(target=create_as, args=(b, path, 1002, b"short", done)),
        ]
        for maker in makers:
            maker.start()
        time.sleep(0.3)
        shared.kill("client1", signal.SIGCONT)
        told = dict(done.get() for _ in makers)
        for maker in makers:
            maker.join()
        owner = (a / path).stat().st_uid
        assert told == {owner: 0, 2003 - owner: errno.EACCES}
        assert (b / path).read_bytes() == {1001: b"long, and his own", 1002: b"short"}[owner]


def test_a_model_is_switched_by_rename_while_the_other_reads(ab):
    a, b = ab
    versions = [seeded_bytes(MiB(2), i) for i in range(4)]
    (a / "model").write_bytes(versions[0])
    for old, new in zip(versions, versions[1:]):
        with (b / "model").open("rb") as reader:
            assert reader.read(MiB(1)) == old[:MiB(1)]
            (a / "model.new").write_bytes(new)
            os.rename(a / "model.new", a / "model")
            assert reader.read() == old[MiB(1):]
        assert (b / "model").read_bytes() == new


def test_a_file_unlinked_on_one_stays_readable_on_the_other(ab):
    a, b = ab
    data = seeded_bytes(MiB(1), 9)
    (a / "file").write_bytes(data)
    with (b / "file").open("rb") as reader:
        (a / "file").unlink()
        assert not (b / "file").exists()
        assert reader.read() == data
        assert os.fstat(reader.fileno()).st_nlink == 0


def test_a_map_of_the_other_sees_what_was_written_before_it(ab):
    import mmap

    a, b = ab
    (a / "file").write_bytes(b"1" * 100_000)
    with (b / "file").open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as m:
        assert m[99_999] == ord("1")
    (a / "file").write_bytes(b"2" * 100_000)
    with (b / "file").open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as m:
        assert m[0] == m[99_999] == ord("2")


# ---- a client that hangs --------------------------------------------------------------------------------

def in_time(seconds, call, *args):
    """call() must return in time; a hang shall not hang us. Its value."""
    result = []
    thread = threading.Thread(target=lambda: result.append(call(*args)), daemon=True)
    began = time.monotonic()
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"{call} hangs"
    assert result, f"{call} failed"
    return result[0], time.monotonic() - began


def test_a_stopped_client_delays_others_by_one_lease_and_is_fenced(make_cluster):
    cluster = make_cluster(mounts=2, sets=["lease.ms=3000", "client.flush_ms=60000"])
    a, b = cluster.mnt, cluster.mnt2
    (a / "file").write_text("published")
    writer = subprocess.Popen(
        ["python3", "-c", "import os,sys\nf=os.open('file',os.O_RDWR)\nos.pwrite(f,b'unpublished',0)\n"
         "print('written',flush=True)\nsys.stdin.readline()\n"
         "try: os.fsync(f); print('0')\nexcept OSError as e: print(e.errno)\nsys.stdout.flush()\n"
         "try: os.close(f); print('0')\nexcept OSError as e: print(e.errno)"],
        cwd=a, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "written\n"
    cluster.kill("client1", signal.SIGSTOP)
    try:
        content, seconds = in_time(20, (b / "file").read_text)
        assert content == "published" and seconds < 3 * 2 + 2
        in_time(20, (b / "file").write_text, "from b")
    finally:
        cluster.kill("client1", signal.SIGCONT)
    out, _ = writer.communicate("\n", timeout=60)
    assert str(errno.EIO) in out.split(), out
    assert in_time(30, (a / "file").read_text)[0] == "from b"
    in_time(30, (a / "again").write_text, "usable")
    assert (b / "again").read_text() == "usable"


# ---- a client that dies ---------------------------------------------------------------------------------

SYNCED = """
import mmap, os
def put(name, flags, *how):
    f = os.open(name, flags | os.O_CREAT, 0o644)
    for at, size in ((0, 8192), (8192, 131072)):
        data = mmap.mmap(-1, size)      # aligned, for O_DIRECT
        data.write(bytes([65 + at % 7]) * size)
        assert os.pwritev(f, [data], at, *how) == size
put("sync", os.O_WRONLY | os.O_SYNC)
put("dsync", os.O_WRONLY | os.O_DSYNC)
put("both", os.O_RDWR | os.O_DSYNC)
put("direct", os.O_RDWR | os.O_DIRECT | os.O_SYNC)
put("once", os.O_WRONLY, os.RWF_DSYNC)
put("never", os.O_WRONLY)
print("written", flush=True)
os.read(0, 1)
"""


def test_what_o_sync_wrote_survives_the_death_of_its_mount(make_cluster):
    """D2 without fsync and close: each write is durable when it returns, past the kernel's pages too."""
    cluster = make_cluster(mounts=2, sets=["lease.ms=3000", "client.flush_ms=60000"])
    writer = subprocess.Popen(["python3", "-c", SYNCED], cwd=cluster.mnt, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "written\n"
    cluster.kill("client1")
    writer.communicate("\n", timeout=60)
    for name in ("sync", "dsync", "both", "direct", "once"):
        data = in_time(20, (cluster.mnt2 / name).read_bytes)[0]
        assert data == bytes([65]) * 8192 + bytes([65 + 8192 % 7]) * 131072, name
    assert (cluster.mnt2 / "never").stat().st_size == 0     # so the others are no accident
