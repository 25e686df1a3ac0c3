# SPDX-License-Identifier: Apache-2.0
"""Histories of several mounts at once, judged by tests/history: without faults, and while they come and go."""
import errno
import itertools
import pathlib
import random
import signal
import sys
import threading

import pytest

from conftest import LONG, eventually
from netns import FAULTS, make_net_cluster  # noqa: F401 (a fixture)

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "history"))
import history  # noqa: E402
import linearizable  # noqa: E402
import objects  # noqa: E402

SECONDS = 600 if LONG else 10
SEED = random.randrange(10**9) if LONG else 1
LEASE_S = 3


class Faults:
    """Strikes one thing after the other, each with a pause behind it, for as long as the block lasts."""

    def __init__(self, cluster, plan, seed):
        self.cluster, self.plan, self.random = cluster, plan, random.Random(seed)
        self.is_ending, self.count, self.failure = threading.Event(), 0, None
        self.thread = threading.Thread(target=self.run)

    def run(self):
        try:
            for kind, name in itertools.cycle(self.plan):
                strike, mend = FAULTS[kind]
                strike(self.cluster, name)
                self.count += 1
                self.is_ending.wait(self.random.uniform(0.2, 2 * LEASE_S))
                mend(self.cluster, name)
                if self.is_ending.wait(self.random.uniform(0.5, 1.5)):
                    return
        except Exception as error:
            self.failure = error

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_ending.set()
        self.thread.join(120)
        assert self.failure is None, self.failure


def test_operations_of_two_mounts_are_linearizable(shared):
    histories, operations = history.record([shared.mnt, shared.mnt2], 2 * SECONDS, SEED)
    assert histories > 20 and operations > 500


@pytest.mark.parametrize("plan", [
    [("kill", "mds"), ("kill", "client2")],
    [("cut", "client1"), ("stop", "client2"), ("cut-in", "client1"), ("cut", "mds"), ("cut-out", "client2")],
], ids=["kills", "partitions"])
def test_operations_are_linearizable_while(plan, make_net_cluster):  # noqa: F811
    """
    What fails may or may not have happened. Locks are left out: whose mount was cut off has lost his, and no call of
    his said so yet.
    """
    cluster = make_net_cluster(mounts=2, sets=[f"lease.ms={LEASE_S}s"], mount_options="timeo=6")
    kinds = [kind for kind in objects.ALL if kind is not objects.Locks]
    with Faults(cluster, plan, SEED) as faults:
        histories, _ = history.record([cluster.mnt, cluster.mnt2], SECONDS, SEED, lambda: True, kinds)
    assert faults.count >= len(plan) / 2 and histories > 5
    eventually(lambda: history.is_there([cluster.mnt, cluster.mnt2], "after"), 60, "both mounts")
    history.record([cluster.mnt, cluster.mnt2], 2, SEED + 10**9, kinds=kinds)     # names of before may be left


# ---- the judge ---------------------------------------------------------------------------------------

def ops(*rows):
    return [linearizable.Op(worker, call, begin, end, result) for worker, call, begin, end, result in rows]


STALE = ops((0, ("write", 1), 0, 1, "ok"), (1, ("read", 0), 2, 3, 0))
EITHER = ops((0, ("write", 1), 0, 3, "ok"), (1, ("read", 0), 1, 2, 0), (1, ("read", 0), 2.1, 2.5, 1))
BACK = ops((0, ("write", 1), 0, 4, "ok"), (1, ("read", 0), 1, 2, 1), (1, ("read", 0), 2.1, 2.5, 0))
LATE = ops((0, ("write", 1), 0, linearizable.FOREVER, None), (1, ("read", 0), 5, 6, 0), (1, ("read", 0), 7, 8, 1))


@pytest.mark.parametrize("rows, is_right", [(STALE, False), (EITHER, True), (BACK, False), (LATE, True)],
                         ids=["stale", "either", "back", "unknown"])
def test_the_judge_knows_registers(rows, is_right):
    if is_right:
        linearizable.check(rows, 0, objects.Register.step)
        return
    with pytest.raises(linearizable.NotLinearizable):
        linearizable.check(rows, 0, objects.Register.step)


def test_the_judge_knows_names_and_locks():
    lost = ops((0, ("create", "x/a", 1), 0, 1, 1), (1, ("rename", "x/a", "x/b"), 2, 3, "ok"),
               (0, ("stat", "x/b"), 4, 5, -errno.ENOENT))
    both = ops((0, ("lock", 0, True), 0, 1, "ok"), (1, ("lock", 1, False), 2, 3, "ok"))
    for rows, model in ((lost, objects.Names.step), (both, objects.Locks.step)):
        linearizable.check(rows[:-1], (), model)
        with pytest.raises(linearizable.NotLinearizable):
            linearizable.check(rows, (), model)


def test_the_judge_knows_regular_registers():
    writes = [op for op in BACK if op.call[0] == "write"]
    linearizable.check_regular(writes, [op for op in BACK if op.call[0] == "read"], 0)
    with pytest.raises(linearizable.NotLinearizable):
        linearizable.check_regular(STALE[:1], STALE[1:], 0)
