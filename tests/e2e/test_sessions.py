# SPDX-License-Identifier: Apache-2.0
"""
A metadata server that is restarted, and sessions that end: who works on the mount waits, and does not notice.
"""
import concurrent.futures
import fcntl
import os
import signal

import pytest

from conftest import NO_TIER, Cluster, eventually, running

SETS = [NO_TIER, "lease.ms=3000"]


def locked(path):
    with open(path, "r+b") as f:
        fcntl.flock(f, fcntl.LOCK_EX)


CALLS = {
    "stat": lambda d: os.stat(d / "file"),
    "stat absent": lambda d: os.path.exists(d / "absent"),
    "listdir": lambda d: os.listdir(d / "sub"),
    "readlink": lambda d: os.readlink(d / "link"),
    "getxattr": lambda d: os.getxattr(d / "named", "user.x"),
    "statvfs": os.statvfs,
    "read": lambda d: (d / "read").read_bytes(),
    "create": lambda d: (d / "new").write_bytes(b"x"),
    "mkdir": lambda d: os.mkdir(d / "made"),
    "rename": lambda d: os.rename(d / "old", d / "renamed"),
    "unlink": lambda d: os.unlink(d / "gone"),
    "chmod": lambda d: os.chmod(d / "changed", 0o600),
    "setxattr": lambda d: os.setxattr(d / "set", "user.y", b"1"),
    "flock": lambda d: locked(d / "lock"),
}


@pytest.fixture
def pair(tmp_path):
    with running(Cluster(tmp_path / "cluster", mounts=2, sets=SETS)) as cluster:
        yield cluster


def prepare(folder):
    """Made through one mount; the other has never seen it."""
    folder.mkdir()
    (folder / "sub").mkdir()
    os.symlink("file", folder / "link")
    for name in ("file", "named", "read", "old", "gone", "changed", "set", "lock"):
        (folder / name).write_bytes(b"content")
    os.setxattr(folder / "named", "user.x", b"value")


def restart(cluster):
    cluster.stop("mds")
    cluster.start("mds")


def test_calls_in_hand_of_a_server_that_is_restarted_are_done_by_the_next(pair):
    """
    One client is asleep, so the server waits for it, with all calls of the other in hand, when it is restarted once
    more. The sleeper loses its session by it, and works on all the same.
    """
    prepare(pair.mnt / "d")
    pair.kill("client1", signal.SIGSTOP)
    restart(pair)
    with concurrent.futures.ThreadPoolExecutor(len(CALLS)) as pool:
        calls = {name: pool.submit(call, pair.mnt2 / "d") for name, call in CALLS.items()}
        done, waiting = concurrent.futures.wait(calls.values(), timeout=0.3)
        assert len(waiting) > len(CALLS) / 2, "the server did not wait for anybody"
        restart(pair)
        failed = {name: call.exception(60) for name, call in calls.items() if call.exception(60)}
    pair.kill("client1", signal.SIGCONT)
    assert not failed
    assert sorted(os.listdir(pair.mnt2 / "d")) == sorted(os.listdir(pair.mnt / "d"))
    assert not (pair.mnt / "d/gone").exists() and (pair.mnt / "d/renamed").read_bytes() == b"content"
    assert os.stat(pair.mnt / "d/changed").st_mode & 0o777 == 0o600
    eventually(lambda: "session was ended" in (pair.dir / "client1.log").read_text())
