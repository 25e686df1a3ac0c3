# SPDX-License-Identifier: Apache-2.0
"""
Random operations on two mounts, each change checked on the other at once against a model (random_two.py): without
faults, while the metadata server is killed again and again, and with deaths of a client. 200,000 steps with CAIRN_LONG.
"""
import multiprocessing
import os
import random
import signal
import sys
import time

import random_two
from conftest import LONG

SETS = ["lease.ms=3000", "client.flush_ms=100"]
SEED = int(os.environ.get("CAIRN_SEED", "1"))


class Worker:
    """run(*args) in a process of its own: what hangs or meets SIGBUS there fails the test and does not end it."""

    def __init__(self, run, *args):
        self.process = multiprocessing.get_context("fork").Process(target=self.main, args=(run, *args), daemon=True)
        self.process.start()

    @staticmethod
    def main(run, *args):
        sys.stdout = sys.stderr
        os._exit(run(*args) or 0)

    def end(self, seconds):
        self.process.join(seconds)
        if self.process.is_alive():
            self.process.kill()
            return "it hangs"
        return self.process.exitcode


def start_load(mounts, steps):
    """
    A worker for every two mounts. On one mount they would meet: the kernel answers ESTALE to who finds a folder that
    another node has moved, while any rename between two folders of the mount is under way (cairn(7)).
    """
    workers, pairs = [], list(zip(mounts[::2], mounts[1::2]))
    for seed, pair in enumerate(pairs, SEED):
        os.mkdir(pair[0] / f"seed{seed}")
        workers.append(Worker(random_two.run, [m / f"seed{seed}" for m in pair], seed, steps // len(pairs), 1e9))
    return workers


def end_load(workers, seconds):
    assert [w.end(seconds) for w in workers] == [0] * len(workers), "see stderr"


def test_the_model_is_right(tmp_path):
    """The same on a local file system, which shows what every mount must."""
    end_load(start_load([tmp_path] * 4, 20_000), 120)


def mounts_of(cluster):
    return [cluster.dir / f"mnt{n}" for n in range(1, 5)]


def test_what_one_mount_does_the_other_shows_at_once(make_cluster):
    cluster = make_cluster(mounts=4)
    end_load(start_load(mounts_of(cluster), 200_000 if LONG else 4_000), 3000 if LONG else 200)


def test_deaths_of_the_metadata_server_change_nothing(make_cluster):
    """Nothing is forgotten: leases, opens and locks come back with their sessions, requests are sent again."""
    cluster = make_cluster(mounts=4, sets=SETS)
    workers = start_load(mounts_of(cluster), 50_000 if LONG else 1_500)
    rng, kills = random.Random(SEED), 0
    while any(w.process.is_alive() for w in workers):
        time.sleep(rng.uniform(0.3, 1.0))
        cluster.kill("mds")
        time.sleep(rng.uniform(0, 0.3))
        cluster.start("mds")
        kills += 1
    end_load(workers, 1)
    assert kills >= 2, "the load ended too soon to show anything"


def between_deaths(roots, seed, steps, turns, turn):
    """Steps between deaths of the first mount, told by turns and turn; then what is there is what may be."""
    test = random_two.Random(roots, seed)
    try:
        while True:
            for _ in range(steps):
                test.step()
            turns.send("kill it now")
            if not turn.recv():
                break
            test.lose(0)
            test.check_all()
        test.end()
    except Exception as e:
        print(f"seed {seed}: {e}", *test.log, sep="\n    ", file=sys.stderr)
        turns.send("failed")
        return 1
    return 0


def test_deaths_of_a_client_lose_only_what_nobody_was_promised(make_cluster):
    pair = make_cluster(mounts=2, sets=SETS)
    roots = [pair.mnt / "seed", pair.mnt2 / "seed"]
    os.mkdir(roots[0])
    turns, to_us = multiprocessing.Pipe(False), multiprocessing.Pipe(False)
    worker = Worker(between_deaths, roots, SEED, 300, to_us[1], turns[0])
    for left in reversed(range(100 if LONG else 4)):
        assert to_us[0].poll(120), "the worker hangs"
        assert to_us[0].recv() == "kill it now", "see stderr"
        if left:
            pair.kill("client1", signal.SIGKILL)
            pair.start("client1")
        turns[1].send(left > 0)
    end_load([worker], 60)
