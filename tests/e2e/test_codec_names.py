# SPDX-License-Identifier: Apache-2.0
"""A codec asked for by name: what is written by it is as small as it says, and comes back."""
import random
import struct

import pytest

from conftest import NO_TIER, MiB

LENGTH = MiB(1)
# Ratio at least, of bf16 weights: exponents in half a byte, or by their entropy.
RATIO = {"nibble": 1.31, "planes": 1.4}


@pytest.fixture(scope="module")
def weights():
    draw = random.Random(11)
    return b"".join(struct.pack("<f", draw.gauss(0, 0.04))[2:] for _ in range(LENGTH // 2))


@pytest.mark.parametrize("name", RATIO)
def test_weights_by_a_codec_of_this_name(name, weights, make_cluster):
    cluster = make_cluster(servers=1, sets=[f"client.codec={name}", NO_TIER])
    (cluster.mnt / "weights").write_bytes(weights)
    cluster.restart_all()
    assert (cluster.mnt / "weights").read_bytes() == weights
    assert cluster.bytes_stored() * RATIO[name] < LENGTH * 1.005
