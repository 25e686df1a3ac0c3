# SPDX-License-Identifier: Apache-2.0
"""warm, pin, unpin, evict, swap, cache: what an operator asks of a node's cache tiers."""
import errno
import fcntl
import json
import os
import struct
import subprocess

import pytest

from conftest import BIN, Cluster, Job, MiB, eventually, seeded_bytes


CONTROL = 3 << 30 | 16008 << 16 | ord("c") << 8 | 0xca       # _IOWR('c', 0xca, 16,008 bytes)


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """One mount with one tier of 64 MiB."""
    folder = tmp_path_factory.mktemp("cache")
    cluster = Cluster(folder / "c", sets=[f"client.tier={folder}/tier:64M:1M", "client.predict=no"])
    try:
        yield cluster.up()
    finally:
        cluster.destroy()


@pytest.fixture
def models(node, request):
    """Three models of 4 MiB in a folder of this test, not cached on the node."""
    folder = node.mnt / request.node.name[:60]
    folder.mkdir()
    for i in range(3):
        (folder / f"m{i}").write_bytes(seeded_bytes(MiB(4), hash_of(request.node.name) + i))
    node.cairn("unpin", folder)
    eventually(lambda: node.cairn("evict", folder, check=False).returncode == 0, what="evicted")
    return folder


def hash_of(text):
    return sum(ord(c) << (i % 8) for i, c in enumerate(text))


def report(node):
    return json.loads(node.cairn("cache", "--json").stdout)


def states(node, folder):
    """The state of each file below `folder`, by name."""
    prefix = f"/{folder.name}/"
    return {f["path"][len(prefix):]: f["state"] for f in report(node)["files"] if f["path"].startswith(prefix)}


def is_pinned(node, path):
    return path.stat().st_ino in [p["ino"] for p in report(node)["pins"]]


def test_warm_brings_a_folder_and_evict_takes_it_out(node, models):
    assert states(node, models) == {}
    done = node.cairn("warm", "--wait", models)
    assert "3 files" in done.stdout and "cached" in done.stdout
    assert states(node, models) == {"m0": "cached", "m1": "cached", "m2": "cached"}
    node.cairn("evict", models / "m1")
    assert states(node, models) == {"m0": "cached", "m2": "cached"}
    assert (models / "m1").stat().st_size == MiB(4)


def test_warm_without_wait_returns_and_goes_on(node, models):
    assert "on the way" in node.cairn("warm", models / "m0").stdout
    eventually(lambda: states(node, models).get("m0") == "cached", what="m0 is cached")


def test_warm_takes_a_list(node, models):
    lines = "".join(f"{models}/m{i}\n" for i in (0, 2))
    done = subprocess.run([BIN / "cairn", "warm", "--wait", "--json", "--from-list", "-"], env=node.env,
                          input=lines, text=True, stdout=subprocess.PIPE, timeout=60, check=True)
    assert json.loads(done.stdout)["files"] == 2
    assert states(node, models) == {"m0": "cached", "m2": "cached"}


def test_small_files_are_said_to_be_small(node, models):
    (models / "config.json").write_text("{}")
    done = node.cairn("warm", "--wait", models / "config.json")
    assert "too small" in done.stdout


def test_open_and_pinned_files_are_not_evicted(node, models):
    node.cairn("warm", "--wait", models)
    with open(models / "m0", "rb") as f:
        f.read(1)
        done = node.cairn("evict", models / "m0", check=False)
        assert done.returncode == 1 and "busy" in done.stderr.lower(), done.stderr
    node.cairn("pin", models / "m1")
    assert node.cairn("evict", models / "m1", check=False).returncode == 1
    node.cairn("cache", "--evict-all")
    assert states(node, models).get("m1") == "cached"
    node.cairn("unpin", models / "m1")
    eventually(lambda: node.cairn("evict", models, check=False).returncode == 0, what="evicted")
    assert states(node, models) == {}


def test_a_pin_follows_new_content_and_restarts(node, models):
    path = models / "m0"
    node.cairn("pin", "--wait", path)
    assert is_pinned(node, path)
    node.remount()
    assert is_pinned(node, path)
    assert path.read_bytes()[:10] == seeded_bytes(MiB(4), hash_of(models.name))[:10]
    fresh = seeded_bytes(MiB(5), 77)
    path.write_bytes(fresh)
    eventually(lambda: states(node, models).get("m0") == "cached", what="the new version is cached")
    eventually(lambda: MiB(5) in [f["bytes"] for f in report(node)["files"] if f["pinned"]],
               what="the new version is pinned")
    assert path.read_bytes() == fresh
    path.unlink()
    node.cairn("warm", models / "m1")
    eventually(lambda: not report(node)["pins"], what="the pin is gone with the file")


def test_swap_moves_the_pin(node, models):
    node.cairn("pin", "--wait", models / "m0")
    done = node.cairn("swap", models / "m0", models / "m1")
    assert "pinned" in done.stdout
    assert not is_pinned(node, models / "m0") and is_pinned(node, models / "m1")
    assert states(node, models)["m1"] == "cached"
    node.cairn("unpin", models / "m1")


def test_a_swap_that_cannot_be_keeps_the_old_model(node, models):
    node.cairn("pin", "--wait", models / "m0")
    (models / "large").write_bytes(seeded_bytes(MiB(80), 5))
    done = node.cairn("swap", models / "m0", models / "large", check=False)
    assert done.returncode == 1 and "stays as it was" in done.stderr
    assert "no tier has room" in done.stderr
    assert is_pinned(node, models / "m0") and not is_pinned(node, models / "large")
    node.cairn("unpin", models / "m0")
    (models / "large").unlink()


def test_a_swap_keeps_what_both_models_share(node, models):
    for name in ("old", "new"):
        (models / name).mkdir()
        os.link(models / "m0", models / name / "vae")
    os.rename(models / "m1", models / "old" / "unet")
    os.rename(models / "m2", models / "new" / "unet")
    node.cairn("pin", "--wait", models / "old")
    node.cairn("swap", models / "old", models / "new")
    assert is_pinned(node, models / "new" / "vae") and is_pinned(node, models / "new" / "unet")
    assert not is_pinned(node, models / "old" / "unet")
    node.cairn("unpin", models / "new")


def test_a_pin_of_more_than_the_tiers_hold_is_refused(node, models):
    (models / "large").write_bytes(seeded_bytes(MiB(80), 6))
    done = node.cairn("pin", models / "large", check=False)
    assert done.returncode == 1 and "no tier has room" in done.stderr
    assert not is_pinned(node, models / "large")
    (models / "large").unlink()


def test_odd_names_do_no_harm(node, models):
    odd = [b"latin \xe9", b"line\nbreak", b"\x1b[31mred", b"c1 \xc2\x9b31m", "Größe".encode()]
    for i, name in enumerate(odd):
        with open(os.path.join(os.fsencode(models), name), "wb") as f:
            f.write(seeded_bytes(MiB(1), 40 + i))
    done = node.cairn("warm", "--wait", models)
    assert "8 files" in done.stdout
    shown = subprocess.run([BIN / "cairn", "cache"], env=node.env, stdout=subprocess.PIPE, timeout=60,
                           check=True).stdout
    assert b"\x1b" not in shown and b"\xc2\x9b" not in shown and "Größe".encode() in shown
    names = states(node, models)
    assert {"latin ?", "line\nbreak", "\x1b[31mred", "Größe"} < names.keys()
    with open(os.path.join(os.fsencode(models), odd[2]), "rb") as f:
        f.read(1)
        done = node.cairn("evict", models, check=False)
    assert done.returncode == 1 and "\x1b" not in done.stderr and "?[31mred" in done.stderr


def test_links_to_files_are_followed_and_other_file_systems_are_not(node, models, tmp_path):
    """A cache of a model hub is a folder of links."""
    hub = models / "snapshot"
    hub.mkdir()
    (hub / "model").symlink_to("../m0")
    (hub / "all").symlink_to("..")
    (hub / "away").symlink_to(tmp_path)
    assert "1 file," in node.cairn("warm", "--wait", hub).stdout
    assert states(node, models) == {"m0": "cached"}
    done = node.cairn("warm", tmp_path, check=False)
    assert done.returncode == 3 and f"'{tmp_path}' is not on a cairn file system" in done.stderr


def test_what_was_only_listed_has_a_name(node, models):
    """Loaders list a folder and open what they find: no lookup ever names these files."""
    for i in range(3):
        os.rename(models / f"m{i}", models / f"model-0000{i + 1}-of-00003.safetensors")
    node.remount()
    names = sorted(os.listdir(models))
    assert (models / names[0]).read_bytes() == seeded_bytes(MiB(4), hash_of(models.name))
    eventually(lambda: states(node, models) == {name: "cached" for name in names}, what="all shards are cached")


def control(fd, uid, **request):
    """One request of cairn-protocol(5), as another user: 0, or errno."""
    message = struct.pack("II", 1, len(json.dumps(request))) + json.dumps(request).encode()

    def call():
        os.setresuid(uid, uid, uid)
        fcntl.ioctl(fd, CONTROL, bytearray(message.ljust(16008, b"\0")))

    job = Job(call)
    job.join(30)
    return job.errno


def test_only_root_and_the_owner_may_pin(node, models):
    fd, ino = os.open(models, os.O_RDONLY), (models / "m0").stat().st_ino
    try:
        assert control(fd, 12345, do="pin", ino=ino) == errno.EPERM
        assert control(fd, 12345, do="evict-all") == errno.EPERM
        assert control(fd, 12345, do="warm", ino=ino) == 0
        os.chown(models / "m0", 12345, 12345)
        assert control(fd, 12345, do="pin", ino=ino) == 0
        assert is_pinned(node, models / "m0")
        assert control(fd, 12345, do="unpin", ino=ino) == 0
    finally:
        os.close(fd)


def test_bad_requests_are_refused(node):
    fd = os.open(node.mnt, os.O_RDONLY)
    try:
        for request in ({}, {"do": "nonsense"}, {"do": 7}, {"do": "warm"}, {"do": "warm", "ino": -3},
                        {"do": "files", "after": "zz"}, {"do": "files", "after": "00" * 47}):
            assert control(fd, 0, **request) in (errno.EINVAL, errno.ENOENT, errno.ESTALE), request
        assert control(fd, 0, do="info") == 0
        with pytest.raises(OSError):
            fcntl.ioctl(fd, CONTROL, bytearray(struct.pack("II", 9, 0).ljust(16008, b"\0")))
        with pytest.raises(OSError):
            fcntl.ioctl(fd, CONTROL, bytearray(struct.pack("II", 1, 99999).ljust(16008, b"\0")))
    finally:
        os.close(fd)


def test_folders_decide(node, models):
    for policy in ("never", "pin"):
        folder = models / policy
        folder.mkdir()
        os.setxattr(folder, "user.cairn.cache", policy.encode())
        (folder / "deep").mkdir()
        (folder / "deep" / "m").write_bytes(seeded_bytes(MiB(4), hash_of(policy)))
    node.remount()
    for policy in ("never", "pin"):
        (models / policy / "deep" / "m").read_bytes()
    eventually(lambda: is_pinned(node, models / "pin" / "deep" / "m"), what="pinned by its folder")
    assert states(node, models).get("never/deep/m") is None
    node.cairn("unpin", models / "pin" / "deep" / "m")
    with pytest.raises(OSError) as error:
        os.setxattr(models, "user.cairn.cache", b"pinned")
    assert error.value.errno == errno.EINVAL


def test_what_is_no_mount_is_said(node, tmp_path):
    (tmp_path / "f").write_bytes(b"x")
    done = node.cairn("warm", tmp_path / "f", check=False)
    assert done.returncode == 3 and "not on a cairn file system" in done.stderr
    done = node.cairn("warm", node.mnt / "absent", check=False)
    assert done.returncode == 1 and "absent" in done.stderr
    assert node.cairn("warm", check=False).returncode == 2


def test_status_tells_of_the_mount(node):
    # A mount is given a second to answer.
    mounts = eventually(lambda: (m := node.status()["mounts"]) and m[0]["answers"] and m, what="an answer of the mount")
    assert [m["directory"] for m in mounts] == [str(node.mnt)]
    assert len(mounts[0]["tiers"]) == 1
    eventually(lambda: "cached files" in node.cairn("status", check=False).stdout, what="an answer of the mount")


def test_the_next_model_is_here_before_it_is_asked_for(tmp_path):
    """Two models are used in turns; the one that is next comes back while the node is idle."""
    node = Cluster(tmp_path / "c", sets=[f"client.tier={tmp_path}/tier:64M:1M", "client.predict_idle_ms=200ms"])
    try:
        node.up()
        models = [node.mnt / name for name in ("sun", "moon")]
        for i, path in enumerate(models):
            path.write_bytes(seeded_bytes(MiB(4), 90 + i))
        for i in range(4):
            assert len(models[i % 2].read_bytes()) == MiB(4)
        # Before the last use of the other one: a guess that is cached is not looked at again until the next use.
        eventually(lambda: node.cairn("evict", models[1], check=False).returncode == 0, what="evicted")
        assert len(models[0].read_bytes()) == MiB(4)
        eventually(lambda: report(node)["predictor"]["warmed"] == 1, what="a guess")
        assert {f["path"]: f["state"] for f in report(node)["files"]}["/moon"] == "cached"
        with open(models[1], "rb") as f:
            f.read(1)
        told = report(node)["predictor"]
        assert told["on"] and told["hits"] == 1 and told["misses"] == 0 and told["bytes"] == MiB(4)
        assert "right 1 of 1 times" in node.cairn("cache").stdout
    finally:
        node.destroy()
