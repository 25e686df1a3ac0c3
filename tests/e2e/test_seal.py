# SPDX-License-Identifier: Apache-2.0
"""
Files cut by content behind their writers: relatives of a model share their blocks, bytes and times stay, readers and
warm nodes notice nothing, writers win, and a kill at any moment leaves garbage at most.
"""
import hashlib
import json
import mmap
import os
import pathlib
import random
import signal
import subprocess
import time

import pytest

from conftest import LONG, NO_TIER, ROOT, Job, MiB, eventually, seeded_bytes, write_on_grid

WEIGHTS = ROOT / "tests" / "data" / "weights"
MODEL_BYTES = MiB(12)
PAIRS = ("header", "renamed", "sharded", "sorted", "rows", "tuned", "onnx", "from-onnx")
AT_ONCE = "client.seal_ms=100"


def seal(cluster, *paths, status=0):
    done = cluster.cairn("seal", "--json", *paths, check=False, timeout=100)
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout)


def shown(cluster, path, *more):
    return json.loads(cluster.cairn("stat", "--json", *more, path, check=False).stdout)[0]


def servers(cluster, sig):
    for i in range(3):
        cluster.kill(f"cs{i + 1}", sig)


def is_cut(cluster, path):
    return shown(cluster, path)["cut"] == "content"


def blocks(cluster, paths):
    """Block id to bytes, of all blocks of these files."""
    found = [b for path in paths for b in shown(cluster, path, "--blocks")["list"] if not b["node"]]
    return {b["id"]: b["length"] for b in found}


def like_a_model(length, seed):
    """Bytes with a header as of safetensors, in front of tensors of odd sizes."""
    chosen, header, at = random.Random(seed), {}, 0
    while at < length:
        size = min(chosen.randrange(80_000, 900_000) // 4 * 4, length - at)
        header[f"t{at}"] = {"dtype": "F32", "shape": [size // 4], "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + chosen.randbytes(length)


@pytest.fixture(scope="module")
def relatives(tmp_path_factory):
    """A model from a seed, and its relatives; which share of each is to be found again."""
    folder = tmp_path_factory.mktemp("relatives") / "m"
    done = subprocess.run([WEIGHTS, "variants", "--dir", folder, "--synthetic", "--bytes", str(MODEL_BYTES)], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False)
    if done.returncode == 77:
        pytest.skip(done.stderr.strip().removeprefix("SKIP: "))
    assert done.returncode == 0, done.stderr
    return folder, json.loads((folder / "variants.json").read_text())["pairs"]


def test_relatives_of_a_model_share_their_blocks(make_cluster, relatives):
    folder, pairs = relatives
    pairs = [p for p in pairs if p["name"] in PAIRS]
    assert len(pairs) == len(PAIRS)
    cluster = make_cluster(servers=1, sets=[NO_TIER])
    names = sorted({name for p in pairs for name in p["first"] + p["second"]})
    for name in names:
        write_on_grid(cluster.mnt / name, (folder / name).read_bytes())
    seal(cluster, cluster.mnt)
    allowed = (folder / "base.safetensors").stat().st_size
    for p in pairs:
        first, second = ([cluster.mnt / name for name in p[which]] for which in ("first", "second"))
        known, size = blocks(cluster, first), sum(path.stat().st_size for path in second)
        new = sum(length for i, length in blocks(cluster, second).items() if i not in known)
        assert 1 - new / size >= p["target"], p
        allowed += (1 - p["target"]) * size if p["name"] != "from-onnx" else 0
    cluster.cairn("gc", "--now")                        # what they were made of before
    eventually(lambda: cluster.status()["bytes_unique"] < 1.02 * allowed, what="relatives stored once")
    for name in names:
        assert (cluster.mnt / name).read_bytes() == (folder / name).read_bytes()


def test_files_are_sealed_some_time_after_their_close(make_cluster):
    cluster = make_cluster(mounts=2, sets=[AT_ONCE])
    content, plain = like_a_model(MiB(5), 1), seeded_bytes(MiB(2), 2)
    write_on_grid(cluster.mnt / "model", content)
    write_on_grid(cluster.mnt / "plain", plain)
    with open(cluster.mnt / "sparse", "wb") as f:
        f.write(plain[:200_000])
        f.seek(MiB(7))
        f.write(plain[-300_000:])
    with open(cluster.mnt / "sparse", "rb") as f:
        hole = os.lseek(f.fileno(), 0, os.SEEK_HOLE)
    before = {name: (cluster.mnt / name).stat() for name in ("model", "plain", "sparse")}
    for name in before:
        eventually(lambda name=name: is_cut(cluster, cluster.mnt / name), what=f"{name} cut by content")
    for name, old in before.items():
        now = (cluster.mnt2 / name).stat()
        assert (now.st_mtime_ns, now.st_ctime_ns, now.st_size, now.st_blocks) == \
            (old.st_mtime_ns, old.st_ctime_ns, old.st_size, old.st_blocks)
    with open(cluster.mnt2 / "sparse", "rb") as f:
        assert os.lseek(f.fileno(), 0, os.SEEK_HOLE) == hole
    assert (cluster.mnt2 / "model").read_bytes() == content == (cluster.mnt / "model").read_bytes()
    # an edit of it is cut anew, too
    with open(cluster.mnt / "model", "r+b") as f:
        f.seek(MiB(1))
        f.write(b"tuned")
    content = content[:MiB(1)] + b"tuned" + content[MiB(1) + 5:]
    assert (cluster.mnt2 / "model").read_bytes() == content
    eventually(lambda: is_cut(cluster, cluster.mnt / "model"), what="the edit cut by content")
    assert (cluster.mnt2 / "model").read_bytes() == content
    cluster.cairn("clone", cluster.mnt / "model", cluster.mnt / "clone")
    assert is_cut(cluster, cluster.mnt / "clone")       # and needs no second look
    with open(cluster.mnt / "model", "rb") as f, open(cluster.mnt / "copy", "wb") as g:
        assert os.copy_file_range(f.fileno(), g.fileno(), len(content)) == len(content)
    assert is_cut(cluster, cluster.mnt / "copy")


def read_until(path, digest, stop):
    """For a Job: the file has this content whenever it is read, also by an old map of it."""
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as view:
        while True:
            is_last = stop.exists()
            if hashlib.sha256(path.read_bytes()).hexdigest() != digest or hashlib.sha256(view).hexdigest() != digest:
                raise OSError(5, "other content")
            if is_last:
                return


@pytest.mark.parametrize("tier", [NO_TIER, "client.tier=auto:64M:0"])
def test_readers_on_all_mounts_notice_nothing(make_cluster, tmp_path, tier):
    cluster = make_cluster(mounts=2, sets=[tier])
    content, stop = like_a_model(MiB(8), 3), tmp_path / "stop"
    write_on_grid(cluster.mnt / "model", content)
    digest = hashlib.sha256(content).hexdigest()
    readers = [Job(read_until, mnt / "model", digest, stop) for mnt in (cluster.mnt, cluster.mnt2)]
    try:
        done = seal(cluster, cluster.mnt / "model")
        assert done["files"] == 1 and is_cut(cluster, cluster.mnt / "model")
        if tier == NO_TIER or LONG:
            cluster.cairn("gc", "--now")                # nobody needs the old blocks any more
    finally:
        stop.touch()
    for reader in readers:
        reader.join(60)
        assert reader.errno == 0


def test_a_warm_node_stays_warm(make_cluster):
    cluster = make_cluster(mounts=2, sets=["client.tier=auto:64M:0", "client.predict=no"])
    content = like_a_model(MiB(6), 4)
    write_on_grid(cluster.mnt / "model", content)
    folder = cluster.dir / "cache2" / "tier" / "sealed"
    cluster.cairn("warm", "--wait", cluster.mnt2 / "model")
    old = os.listdir(folder)
    inode = (folder / old[0]).stat().st_ino
    with open(cluster.mnt2 / "model", "rb") as f:       # by passthrough, where the kernel can
        assert f.read(100) == content[:100]
        seal(cluster, cluster.mnt / "model")
        servers(cluster, signal.SIGSTOP)
        try:
            assert f.read() == content[100:]
            assert (cluster.mnt2 / "model").read_bytes() == content
            eventually(lambda: os.listdir(folder) != old, what="the cached file has its new name")
            assert [p.stat().st_ino for p in folder.iterdir()] == [inode]
        finally:
            servers(cluster, signal.SIGCONT)
    cluster.remount(2)
    servers(cluster, signal.SIGSTOP)
    try:
        assert (cluster.mnt2 / "model").read_bytes() == content
    finally:
        servers(cluster, signal.SIGCONT)


def test_writers_win(make_cluster):
    cluster = make_cluster(mounts=2, sets=[NO_TIER])
    content = like_a_model(MiB(4), 5)
    model = cluster.mnt / "model"
    write_on_grid(model, content)
    for mnt in (cluster.mnt, cluster.mnt2):
        with open(mnt / "model", "r+b") as writer:
            writer.write(b"first")
            refused = cluster.cairn("seal", model, check=False)
            assert refused.returncode == 1 and "it is being written" in refused.stderr
            writer.write(b"second")
    assert (cluster.mnt2 / "model").read_bytes() == b"firstsecond" + content[11:]
    assert not is_cut(cluster, model)
    seal(cluster, model)
    assert (cluster.mnt2 / "model").read_bytes() == b"firstsecond" + content[11:]


def write_while_sealed(path, stop):
    """For a Job: what was written is there when it was closed, whatever is sealed meanwhile."""
    turn = 0
    while not stop.exists():
        turn += 1
        with open(path, "r+b") as f:
            f.seek(turn * 65_521 % MiB(3))
            f.write(turn.to_bytes(8, "little"))
        with open(path, "rb") as f:
            f.seek(turn * 65_521 % MiB(3))
            if f.read(8) != turn.to_bytes(8, "little"):
                raise OSError(5, "a write is lost")


def test_no_write_is_lost_to_seals_all_the_time(make_cluster, tmp_path):
    cluster = make_cluster(mounts=2, sets=[NO_TIER])
    stop = tmp_path / "stop"
    write_on_grid(cluster.mnt / "model", like_a_model(MiB(3), 6))
    writer = Job(write_while_sealed, cluster.mnt / "model", stop)
    for turn in range(5):
        cluster.cairn("seal", "--quiet", (cluster.mnt, cluster.mnt2)[turn % 2] / "model", check=False)
    stop.touch()
    writer.join(60)
    assert writer.errno == 0
    assert (cluster.mnt / "model").read_bytes() == (cluster.mnt2 / "model").read_bytes()


@pytest.mark.parametrize("after_s", [0, 0.05, 0.2] if LONG else [0.05])
def test_a_mount_killed_in_the_middle_leaves_garbage_only(make_cluster, after_s):
    cluster = make_cluster(mounts=2, sets=[NO_TIER, "client.memory_bytes=16M"])
    content = like_a_model(MiB(12), 7)
    model = cluster.mnt / "model"
    write_on_grid(model, content)
    asked = subprocess.Popen([pathlib.Path(cluster.env["PATH"].split(":")[0]) / "cairn", "seal", str(model)],
                             env=cluster.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(after_s)                 # not a condition: wherever it is then
    servers(cluster, signal.SIGSTOP)    # it cannot end any more
    cluster.kill("client1")
    servers(cluster, signal.SIGCONT)
    asked.wait(60)
    cluster.start("client1")            # which ends the session that it had
    assert (cluster.mnt2 / "model").read_bytes() == content
    seal(cluster, model)
    assert model.read_bytes() == content == (cluster.mnt2 / "model").read_bytes()
    done = cluster.fsck("--live")
    assert done.returncode == 0, done.stdout


def test_what_is_no_file_of_a_mount_is_told(make_cluster, tmp_path):
    cluster = make_cluster(servers=1, sets=[NO_TIER])
    (cluster.mnt / "small").write_bytes(b"text")
    assert seal(cluster, cluster.mnt) == {"files": 0, "small": 1, "failed": 0, "bytes": 0, "new_bytes": 0,
                                          "shared_bytes": 0, "list": seal(cluster, cluster.mnt)["list"]}
    (tmp_path / "elsewhere").write_bytes(b"x")
    assert cluster.cairn("seal", tmp_path / "elsewhere", check=False).returncode == 3
    assert cluster.cairn("seal", cluster.mnt / "none", check=False).returncode == 1
    assert cluster.cairn("seal", check=False).returncode == 2
