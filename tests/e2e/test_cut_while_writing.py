# SPDX-License-Identifier: Apache-2.0
"""What cp writes is cut by content at once: relatives of a model share its blocks before anything was sealed."""
import json
import pathlib
import shutil
import subprocess
import time

import pytest

WEIGHTS = pathlib.Path(__file__).parents[1] / "data" / "weights"
# Of a zip and of ONNX tensors are known too late: anchors alone cut them, and the seal does the rest.
KNOWN_AHEAD = ("header", "renamed", "sharded", "sorted", "rows", "tuned", "gguf")


@pytest.fixture(scope="module")
def variants(tmp_path_factory):
    folder = tmp_path_factory.mktemp("variants")
    subprocess.run([WEIGHTS, "variants", "--dir", folder, "--synthetic", "--bytes", "12000000"], check=True,
                   stdout=subprocess.DEVNULL)
    pairs = {pair["name"]: pair for pair in json.loads((folder / "variants.json").read_text())["pairs"]}
    return folder, pairs


def test_relatives_share_blocks(make_cluster, variants):
    folder, pairs = variants
    cluster = make_cluster(servers=1, copies=1, sets=["client.seal_ms=0"])
    shutil.copy(folder / "base.safetensors", cluster.mnt)
    before = cluster.settled("bytes_unique")
    shares = {}
    for name in KNOWN_AHEAD:
        second = [folder / file for file in pairs[name]["second"]]
        (cluster.mnt / name).mkdir()
        for file in second:
            shutil.copy(file, cluster.mnt / name)
        after = cluster.settled("bytes_unique")
        shares[name] = 1 - (after - before) / sum(file.stat().st_size for file in second)
        before = after
        assert all((cluster.mnt / name / file.name).read_bytes() == file.read_bytes() for file in second)
    assert all(shares[name] >= pairs[name]["target"] for name in KNOWN_AHEAD), shares


def test_what_is_written_in_two_halves_or_backwards_is_whole(make_cluster, variants):
    """Flushed in the middle of a block, gone on with; and not a stream at all."""
    folder, _ = variants
    content = (folder / "base.safetensors").read_bytes()
    cluster = make_cluster(servers=1, copies=1, sets=["client.flush_ms=20", "client.seal_ms=0"])
    with open(cluster.mnt / "slow", "wb", buffering=0) as f:
        for at in range(0, 3_000_000, 37_001):
            f.write(content[at:min(at + 37_001, 3_000_000)])
            if at % 5 == 0:
                time.sleep(0.03)
    with open(cluster.mnt / "gap", "wb", buffering=0) as f:
        f.write(content[:500_000])
        f.seek(700_000)
        f.write(content[700_000:900_000])
        f.seek(500_000)
        f.write(content[500_000:700_000])
        f.truncate(800_001)
        f.seek(800_001)
        f.write(content[800_001:1_200_000])
    cluster.remount()
    assert (cluster.mnt / "slow").read_bytes() == content[:3_000_000]
    assert (cluster.mnt / "gap").read_bytes() == content[:1_200_000]
    assert cluster.fsck("--live").returncode == 0
