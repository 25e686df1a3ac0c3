# SPDX-License-Identifier: Apache-2.0
"""
kill -9 of any process at random moments under load: nothing acknowledged is lost, nobody hangs for longer than
the restart and one lease, and fsck.cairn finds nothing.
"""
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

import kill_worker
from conftest import BIN, LONG

ROUNDS = 50 if LONG else 5
LEASE_S = 3
SLACK_S = 5         # of a busy machine; the restart itself is measured


class Prober(threading.Thread):
    """Creates and reads a small file again and again; remembers the longest wait."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.path, self.ends, self.longest = folder / "probe", False, 0

    def run(self):
        while not self.ends:
            began = time.monotonic()
            try:
                self.path.write_text("probe")
                self.path.read_text()
            except OSError:
                pass                # a dead mount answers at once
            self.longest = max(self.longest, time.monotonic() - began)
            time.sleep(0.01)


def verify(folder, log):
    """Compare the folder with what the log says; the number of files whose content is certain."""
    names = set(os.listdir(folder)) - {"probe"}
    certain = 0
    expected = kill_worker.expected(log)
    for name, versions in expected.items():
        if name not in names:
            assert None in versions, f"{name} is lost: {versions}"
            continue
        if "any" in versions:
            (folder / name).read_bytes()            # whatever it is, it can be read
            continue
        data = (folder / name).read_bytes()
        assert any(data == kill_worker.content(v) for v in versions if v is not None), \
            f"{name}: {len(data)} bytes are none of {versions}"
        certain += len(versions) == 1
    assert names <= set(expected), f"nobody made {names - set(expected)}"
    return certain


def start_worker(folder, log, seed):
    return subprocess.Popen([sys.executable, kill_worker.__file__, folder, log, str(seed)])


def end_worker(worker):
    """It stops between two operations of the kernel; its log shows which one is in doubt."""
    worker.send_signal(signal.SIGKILL)
    worker.wait(60)


def kill_and_restart(cluster, victim, rng):
    time.sleep(rng.uniform(0.2, 1.5))
    cluster.kill(victim)
    time.sleep(rng.uniform(0, 0.5))
    began = time.monotonic()
    cluster.start(victim)
    return time.monotonic() - began


@pytest.mark.parametrize("victim", ["mds", "cs2", "client1"])
def test_nothing_acknowledged_is_lost(make_cluster, tmp_path, victim):
    rng = random.Random(victim)
    cluster = make_cluster(mounts=2, sets=[f"lease.ms={LEASE_S * 1000}"])
    certain = 0
    for round_ in range(ROUNDS):
        folder, log = cluster.mnt / f"round{round_}", tmp_path / f"log{round_}"
        folder.mkdir()
        worker, prober = start_worker(folder, log, round_ + 1), Prober(cluster.mnt2)
        prober.start()
        restart_s = kill_and_restart(cluster, victim, rng)
        time.sleep(rng.uniform(0.3, 1))
        end_worker(worker)
        prober.ends = True
        prober.join(60)
        assert not prober.is_alive(), cluster.logs()
        assert prober.longest < restart_s + LEASE_S + SLACK_S, f"{prober.longest:.1f} s; {cluster.logs()}"
        print(f"round {round_}: restart {restart_s:.2f} s, longest wait {prober.longest:.2f} s")
        assert victim == "client1" or not kill_worker.failures(log), kill_worker.failures(log)
        certain += verify(cluster.mnt2 / folder.name, log)
    assert certain > ROUNDS         # ten times as many unless the machine is slow
    for round_ in range(ROUNDS):
        verify(cluster.mnt / f"round{round_}", tmp_path / f"log{round_}")
    is_sound_when_stopped(cluster)


def is_sound_when_stopped(cluster):
    if not (BIN / "fsck.cairn").exists():
        return
    for name in ("client1", "client2", "cs1", "cs2", "cs3", "mds"):
        cluster.stop(name)
    done = cluster.fsck()
    assert done.returncode == 0, done.stdout
