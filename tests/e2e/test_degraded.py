# SPDX-License-Identifier: Apache-2.0
"""
One of three chunk servers is killed, hangs, or is cut off without a reset, while a file is read and another
written: no error, no byte wrong, and no call that waits long. (How long exactly, on an idle machine, tells
tests/bench/degraded.)
"""
import pytest

import stalls
from conftest import LONG, NO_TIER, eventually
from netns import FAULTS, make_net_cluster  # noqa: F401 (a fixture)

MIB = 1024 if LONG else 64
CALL_S_MAX = 5          # more than the disk takes; without fail-over it is the deadline of a call or the lease


@pytest.mark.parametrize("fault", FAULTS)
def test_one_server_fails_and_nobody_notices(make_net_cluster, fault):  # noqa: F811
    cluster = make_net_cluster(mount_options="memory=64M", sets=[NO_TIER])
    old, new, path = stalls.Pattern(1), stalls.Pattern(2), cluster.mnt / "file"
    usual = stalls.write(path, old, MIB)
    cluster.remount()
    strike, mend = FAULTS[fault]

    read = stalls.read(path, old, MIB, lambda: strike(cluster, "cs2"))
    mend(cluster, "cs2")
    eventually(lambda: cluster.status()["servers"][1]["state"] == "up", 60, "cs2 is back")
    written = stalls.write(path, new, MIB, lambda: strike(cluster, "cs2"))
    print(f"read {read.longest:.3f} s, write {written.longest:.3f} s, fsync and close {written.end:.3f} s")
    longest_usual = max(usual.longest, usual.end)
    assert max(read.longest, written.longest, written.end) < CALL_S_MAX + 2 * longest_usual

    cluster.remount()
    stalls.read(path, new, MIB)             # from the two that are left
    mend(cluster, "cs2")
    eventually(lambda: cluster.status()["healthy"], 60, "health")
