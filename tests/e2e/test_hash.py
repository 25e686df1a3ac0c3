# SPDX-License-Identifier: Apache-2.0
"""A cluster whose blocks are named by SHA3-256, through everything that names or proves a block."""
import hashlib
import json
import subprocess

from conftest import BIN, NO_TIER, MiB, eventually, seeded_bytes
from test_gc import gc
from test_heal import start_joined
from test_recover import address, lose_metadata, recover, wait_for_mount
from test_scrub import is_whole, rot, scrub
from test_usage import stat


def made(cluster):
    files = {f"model{i}": seeded_bytes(MiB(2) + 12345 * i, i) for i in range(3)}
    for name, content in files.items():
        (cluster.mnt / name).write_bytes(content)
    return files


def read_back(cluster, files):
    return all((cluster.mnt / name).read_bytes() == content for name, content in files.items())


def test_blocks_are_named_by_sha3(make_cluster):
    cluster = make_cluster(hashed="sha3-256", sets=[NO_TIER, "client.seal_ms=0"])
    content = seeded_bytes(MiB(1), 1)
    (cluster.mnt / "model").write_bytes(content)
    assert cluster.status()["hash"] == "sha3-256"
    blocks = [b for b in stat(cluster, "--blocks", cluster.mnt / "model")["list"] if not b["node"]]
    assert [b["id"] for b in blocks] == [hashlib.sha3_256(content[b["offset"]:b["offset"] + b["length"]]).hexdigest()
                                         for b in blocks]
    assert "SHA3" in cluster.cairn("status").stdout
    again = subprocess.run([BIN / "cairn", "dev", "--dir", cluster.dir, "--hash", "sha256", "true"], text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
    assert again.returncode != 0


def test_healing_scrubs_and_collection_know_the_hash(make_cluster):
    cluster = make_cluster(hashed="sha3-256", sets=[NO_TIER, "cs.scrub_period=0", "cs.segment_bytes=1M", "client.seal_ms=0"])
    files = made(cluster)
    (cluster.mnt / "gone").write_bytes(seeded_bytes(MiB(1), 9))
    assert cluster.cairn("seal", cluster.mnt / "model0").returncode == 0
    eventually(lambda: is_whole(cluster), what="every copy")
    cluster.stop("cs2")
    assert rot(cluster.dir / "cs2", 9, sealed_only=True) >= 2
    cluster.start("cs2")
    assert sum(s["wrong"] for s in scrub(cluster, "--now", "--deep", "--wait")) >= 1
    eventually(lambda: is_whole(cluster), what="everything is fetched again")
    assert sum(s["wrong"] for s in scrub(cluster, "--now", "--deep", "--wait")) == 0
    (cluster.mnt / "gone").unlink()
    assert gc(cluster, "--now")["blocks"] >= 16
    assert read_back(cluster, files)
    cluster.restart_all()
    assert read_back(cluster, files)
    for name in ["client1", "cs1", "cs2", "cs3", "mds"]:
        cluster.stop(name)
    done = cluster.fsck("--dir", cluster.dir)
    assert done.returncode == 0, done.stdout


def test_a_server_joins_and_the_metadata_come_back(make_cluster, tmp_path):
    cluster = make_cluster(hashed="sha3-256", sets=[NO_TIER])
    files = made(cluster)
    joined = subprocess.run([BIN / "mkfs.cairn", "--join", cluster.dir / "mds", "--disk", tmp_path / "disk"], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
    assert joined.returncode == 0 and "SHA3-256" in joined.stdout, joined.stdout
    start_joined(cluster, "cs4")
    eventually(lambda: cluster.status()["healthy"] and len(cluster.status()["servers"]) == 4, 60, "the fourth has its share")
    assert min(s["blocks"] for s in cluster.reported()["servers"]) > 0
    eventually(lambda: cluster.status()["metadata_copies"] >= 2, what="copies of the metadata")
    eventually(lambda: all(list((cluster.dir / name / "meta").glob("*.snapshot")) for name in ["cs1", "cs2"]))
    lose_metadata(cluster)
    recover(cluster, address(cluster, "cs1"))
    cluster.start("mds")
    wait_for_mount(cluster)
    assert read_back(cluster, {name: content for name, content in files.items() if (cluster.mnt / name).exists()})
    assert cluster.status()["hash"] == "sha3-256"
    (cluster.mnt / "after").write_bytes(seeded_bytes(MiB(1), 7))
    eventually(lambda: is_whole(cluster), 60, "every copy")
    assert json.loads(cluster.cairn("df", cluster.mnt, "--json").stdout)["unreadable"] == 0
