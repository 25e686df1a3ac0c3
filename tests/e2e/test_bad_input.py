# SPDX-License-Identifier: Apache-2.0
"""
Damaged files, wrong folders, taken ports, garbage on the wire: a clear message that names what is wrong, an exit
status, and nothing that crashes or hangs.
"""
import ctypes
import json
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import time

import pytest

from conftest import BIN, NO_TIER, MiB, Cluster, eventually, running, seeded_bytes

DATA = seeded_bytes(MiB(2), 1)


@pytest.fixture
def cluster(make_cluster):
    return make_cluster(sets=[NO_TIER])


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A cluster that was filled, killed (so that its journal is needed) and is copied by each test."""
    cluster = Cluster(tmp_path_factory.mktemp("stopped") / "c", servers=1,
                      sets=["cs.segment_bytes=4M", NO_TIER]).up()
    (cluster.mnt / "model").write_bytes(DATA)
    for i in range(200):
        (cluster.mnt / f"small{i}").write_text(str(i))
    # Damage counts as bad in the middle where a later record tells that it was durable: else it is a torn tail.
    with open(cluster.mnt / "synced", "w") as f:
        os.fsync(f.fileno())
    (cluster.mnt / "last").write_text("last")
    cluster.stop("client1")
    cluster.kill("mds")
    assert cluster.down() == 0
    yield cluster.dir
    cluster.destroy()


@pytest.fixture
def copy(stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "c")
    layout = tmp_path / "c/cluster.json"
    layout.write_text(layout.read_text().replace(str(stopped), str(tmp_path / "c")))
    return tmp_path / "c"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def mds(folder, *options):
    return [BIN / "cairn-mds", "--mds-dir", folder, "--mds-listen", f"127.0.0.1:{free_port()}", *options]


def cs(folder, *options):
    return [BIN / "cairn-cs", "--cs-dirs", folder, "--cs-listen", f"127.0.0.1:{free_port()}", *options]


def refuses(command, *words, status=1, seconds=20):
    """It ends by itself with that status, and says why."""
    try:
        done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as e:
        raise AssertionError(f"{command} did not refuse: {e.stderr}") from e
    assert done.returncode == status, (done.returncode, done.stderr)
    assert "panic" not in done.stderr
    for word in words:
        assert str(word) in done.stderr, (word, done.stderr)
    why = done.stderr.splitlines()[-1].partition(": ")[2]
    assert not why or done.stderr.count(why) == 1, done.stderr


def serves(command):
    """It starts; it is ended again."""
    process = subprocess.Popen([str(c) for c in command], stderr=subprocess.PIPE, text=True)
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if " serving " in line:
                return "".join(lines)
        raise AssertionError("".join(lines))
    finally:
        process.terminate()
        process.communicate(timeout=30)


def flip(path, at, count=1):
    with open(path, "r+b") as f:
        f.seek(at)
        old = f.read(count)
        f.seek(at)
        f.write(bytes(b ^ 0x55 for b in old))


# ---- superblocks ---------------------------------------------------------------------------------------

def seal_super(path, offset, value):
    """Change bytes of a superblock and make its checksum right again: a version or feature of the future."""
    try:
        xxh3 = ctypes.CDLL("libxxhash.so.0").XXH3_64bits
    except OSError:
        pytest.skip("no libxxhash to be loaded here")
    xxh3.restype, xxh3.argtypes = ctypes.c_uint64, [ctypes.c_char_p, ctypes.c_size_t]
    data = bytearray(path.read_bytes())
    data[offset:offset + len(value)] = value
    data[4088:] = struct.pack("<Q", xxh3(bytes(data[:4088]), 4088))
    path.write_bytes(data)


@pytest.mark.parametrize("role", ["mds", "cs1"])
def test_a_damaged_superblock(copy, role):
    folder, sup = copy / role, copy / role / "super"
    command, good = (mds if role == "mds" else cs)(folder), sup.read_bytes()
    for damaged in (good[:100], b"", bytes(4096), b"X" + good[1:], good[:60] + b"\xff" + good[61:]):
        sup.write_bytes(damaged)
        refuses(command, folder)
    sup.write_bytes(good)
    seal_super(sup, 8, struct.pack("<H", 2))
    refuses(command, folder, "version")
    sup.write_bytes(good)
    seal_super(sup, 64, struct.pack("<Q", 1 << 40))
    refuses(command, folder, "feature")
    sup.unlink()
    refuses(command, folder)
    assert sorted(os.listdir(folder)) == sorted(n for n in os.listdir(folder) if n != "super")



def test_a_folder_of_another_version_says_what_to_do(copy):
    layout = copy / "cluster.json"
    layout.write_text(json.dumps({k: v for k, v in json.loads(layout.read_text()).items() if k != "hash"}))
    for command in ("up", "down"):
        refuses([BIN / "cairn", command, "--dir", copy], str(layout), "another version", "another folder")

def test_folders_of_the_wrong_kind(copy, tmp_path):
    refuses(mds(tmp_path / "nothing"), tmp_path / "nothing")
    refuses(cs(tmp_path / "nothing"), tmp_path / "nothing", "mkfs.cairn")
    (tmp_path / "file").touch()
    refuses(mds(tmp_path / "file"), tmp_path / "file")
    refuses(cs(tmp_path / "file"), tmp_path / "file")
    refuses(mds(copy / "cs1"), copy / "cs1")
    refuses(cs(copy / "mds"), copy / "mds")
    (tmp_path / "empty").mkdir()
    refuses(mds(tmp_path / "empty"), tmp_path / "empty")
    assert not list((tmp_path / "empty").iterdir())
    refuses([BIN / "mkfs.cairn", "--metadata", copy / "mds"], copy / "mds")
    refuses([BIN / "mkfs.cairn", "--metadata", "/proc/cairn"], "/proc/cairn")


def test_a_folder_of_other_files_is_not_formatted(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "letter").write_text("dear")
    refuses([BIN / "mkfs.cairn", "--metadata", folder], folder, "letter", "empty")
    refuses([BIN / "mkfs.cairn", "--metadata", tmp_path / "meta", "--disk", folder], folder, "letter")
    assert os.listdir(folder) == ["letter"]
    (folder / "letter").unlink()
    (folder / "lost+found").mkdir()                                     # as of a new file system
    subprocess.run([BIN / "mkfs.cairn", "--metadata", folder], check=True, timeout=30)


# ---- journal and snapshot ------------------------------------------------------------------------------

def only_file(folder):
    (path,) = [p for p in folder.iterdir() if p.name != "reserve"]
    return path


def test_a_journal_that_is_bad_in_the_middle_stops_the_server(copy):
    journal = only_file(copy / "mds/journal")
    shutil.rmtree(copy / "mds/rows")
    good, rng = journal.read_bytes(), random.Random(3)
    assert len(good) > 10_000
    for _ in range(5):
        flip(journal, rng.randrange(200, len(good) - 5000))
        refuses(mds(copy / "mds"), journal.name)
        journal.write_bytes(good)
    journal.write_bytes(good[:3000] + good[4000:])
    refuses(mds(copy / "mds"), journal.name)
    journal.write_bytes(good)
    serves(mds(copy / "mds"))


def test_a_torn_end_of_the_journal_is_cut(copy):
    journal = only_file(copy / "mds/journal")
    journal.write_bytes(journal.read_bytes()[:-7])
    shutil.rmtree(copy / "mds/rows")
    assert "recovered" in serves(mds(copy / "mds"))


def test_a_damaged_snapshot_is_not_believed(copy):
    snapshot = only_file(copy / "mds/snapshots")
    shutil.rmtree(copy / "mds/rows")
    good = snapshot.read_bytes()
    for damaged in (good[:50], b"", good[:100] + b"\xff\xfe" + good[102:], b"X" * len(good)):
        snapshot.write_bytes(damaged)
        refuses(mds(copy / "mds"), copy / "mds")
    snapshot.unlink()
    refuses(mds(copy / "mds"), copy / "mds")


def test_a_view_is_thrown_away_and_built_again(copy):
    for view in ("mds/rows", "cs1/index", "cs1/owed-index"):
        (copy / view / "data.mdb").write_bytes(seeded_bytes(20_000, 1))
        (copy / view / "view").unlink()
    with running(Cluster(copy, servers=1)) as cluster:
        assert (cluster.mnt / "model").read_bytes() == DATA
        assert (cluster.mnt / "small7").read_text() == "7"


def test_every_block_of_one_server_rots(make_cluster):
    cluster = make_cluster(sets=["cs.segment_bytes=4M", NO_TIER])
    (cluster.mnt / "model").write_bytes(DATA)
    cluster.stop("client1")
    eventually(lambda: cluster.cairn("status", check=False).returncode == 0, 30, "health")
    cluster.stop("cs1")
    rng = random.Random(1)
    for segment in (cluster.dir / "cs1/segments").iterdir():
        for _ in range(300):
            flip(segment, rng.randrange(4096, MiB(2)), 8)
    cluster.start("cs1")
    cluster.start("client1")
    assert (cluster.mnt / "model").read_bytes() == DATA
    for name in ("client1", "cs1", "cs2", "cs3", "mds"):
        cluster.stop(name)
    done = cluster.fsck()
    assert done.returncode == 4 and done.stdout, done


# ---- ports and locks -----------------------------------------------------------------------------------

def test_a_port_in_use(copy):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = f"127.0.0.1:{s.getsockname()[1]}"
        refuses([*mds(copy / "mds"), "--mds-listen", port], f"cannot listen on '{port}': port is in use")
        refuses([*cs(copy / "cs1"), "--cs-listen", port], f"cannot listen on '{port}': port is in use")
    refuses([*mds(copy / "mds"), "--mds-listen", "192.0.2.1:7800"],
            "cannot listen on '192.0.2.1:7800': address is not of this host")
    refuses([*mds(copy / "mds"), "--mds-listen", "nonsense"], "nonsense", status=2)


def test_two_daemons_on_one_folder(cluster):
    refuses(mds(cluster.dir / "mds"), cluster.dir / "mds")
    refuses(cs(cluster.dir / "cs1"), cluster.dir / "cs1")
    (cluster.mnt / "f").write_text("still here")
    cluster.remount()
    assert (cluster.mnt / "f").read_text() == "still here"


def test_a_chunk_server_of_another_cluster_is_not_taken(make_cluster):
    """It keeps asking, for addresses change; it says why, serves nobody and ends when told."""
    one, two = make_cluster(servers=1), make_cluster(servers=1)
    two.stop("cs1")
    address = re.search(r"mds = (\S+)", (one.dir / "cairn.conf").read_text())[1]
    process = subprocess.Popen(cs(two.dir / "cs1", "--cluster-mds", address), stderr=subprocess.PIPE, text=True)
    assert any("another cluster" in line for line in process.stderr)
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert len(one.status()["servers"]) == 1


# ---- mounting what is not there ------------------------------------------------------------------------

def test_a_mount_of_nothing(tmp_path):
    mnt = tmp_path / "mnt"
    mnt.mkdir()
    options, quick = f"cache={tmp_path}/cache,log={tmp_path}/log", ",timeo=1"
    absent, unknown = f"127.0.0.1:{free_port()}:/", "no-such-host.invalid:/"
    refuses([BIN / "mount.cairn", absent, mnt, "-o", options], absent, status=32, seconds=20)
    refuses([BIN / "mount.cairn", absent, mnt, "-o", options + quick, "--foreground"], absent, status=32)
    refuses([BIN / "mount.cairn", unknown, mnt, "-o", options + quick], unknown, status=32)
    with socket.socket() as silent:                 # accepts, and says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        source = f"127.0.0.1:{silent.getsockname()[1]}:/"
        refuses([BIN / "mount.cairn", source, mnt, "-o", options + quick], source, status=32)
    assert not os.path.ismount(mnt)


def test_a_mount_on_nothing(cluster, tmp_path):
    source = re.search(r"mds = (\S+)", (cluster.dir / "cairn.conf").read_text())[1] + ":/"
    refuses([BIN / "mount.cairn", source, tmp_path / "no", "-o", f"cache={tmp_path}/cache"], tmp_path / "no",
            status=32)
    (tmp_path / "file").touch()
    refuses([BIN / "mount.cairn", source, tmp_path / "file", "-o", f"cache={tmp_path}/cache"], "not a directory", status=32)
    for address in (source, source.replace("127.0.0.1", "localhost")):      # of this cluster, or of any other
        refuses([BIN / "mount.cairn", address, cluster.mnt, "-o", f"cache={tmp_path}/cache,log={tmp_path}/log"],
                "already", status=32)


# ---- garbage on the wire -------------------------------------------------------------------------------

def garbage(rng):
    """What may arrive at a port: noise, text, frames with wrong numbers."""
    header = struct.pack("<4sBBHQIIIIQQQQQ", b"CRNF", 1, 0, 1, 1, 2**32 - 1, 2**32 - 1, 1000, 0, 0, 0, 0, 0, 0)
    kinds = [lambda: rng.randbytes(rng.randrange(1, 100_000)), lambda: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
             lambda: b"CRNF" + rng.randbytes(rng.randrange(200)), lambda: header + rng.randbytes(8),
             lambda: header[:rng.randrange(1, 72)], lambda: b"", lambda: b"CRNF\x02" + bytes(75)]
    return rng.choice(kinds)()


def test_garbage_on_the_ports_disturbs_nobody(cluster):
    rng = random.Random(5)
    pids = {name: cluster.pid(name) for name in ("mds", "cs1", "cs2", "cs3", "client1")}
    addresses = [re.search(r"mds = (\S+)", (cluster.dir / "cairn.conf").read_text())[1]]
    addresses += [s["address"] for s in cluster.status()["servers"]]
    open_ones = []
    for i in range(300):
        host, port = addresses[i % len(addresses)].split(":")
        s = socket.create_connection((host, int(port)), timeout=10)
        try:
            s.sendall(garbage(rng))
            if i % 3 == 0:
                s.shutdown(socket.SHUT_WR)
        except OSError:
            pass                # it hung up on us: right
        if i % 5 == 0 and len(open_ones) < 40:
            open_ones.append(s)
        else:
            s.close()
        if i % 50 == 0:
            (cluster.mnt / f"file{i}").write_bytes(DATA)
            assert (cluster.mnt / f"file{i}").read_bytes() == DATA
    for s in open_ones:
        s.close()
    cluster.remount()
    assert (cluster.mnt / "file250").read_bytes() == DATA
    del pids["client1"]
    assert {name: cluster.pid(name) for name in pids} == pids
    eventually(lambda: cluster.cairn("status", check=False).returncode == 0, what="health")


def test_a_wrong_address_is_told_at_once():
    began = time.monotonic()
    for command in ("status", "df", "servers"):
        refuses([BIN / "cairn", command, "--mds", f"127.0.0.1:{free_port()}"], "127.0.0.1", status=3)
    assert time.monotonic() - began < 20
