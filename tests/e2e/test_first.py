# SPDX-License-Identifier: Apache-2.0
"""The first things anybody does."""
import filecmp
import json
import os
import shutil
import subprocess

from conftest import MiB, eventually, seeded_bytes


def test_a_small_file_comes_back(cluster):
    path = cluster.mnt / "hello.txt"
    path.write_text("hello\n")
    assert path.read_text() == "hello\n"
    cluster.remount()
    assert path.read_text() == "hello\n"


def test_a_large_file_comes_back_after_a_full_restart(cluster):
    data = seeded_bytes(MiB(24) + 12345, seed=1)
    path = cluster.mnt / "model.safetensors"
    path.write_bytes(data)
    assert path.stat().st_size == len(data)
    cluster.restart_all()
    assert path.read_bytes() == data


def test_a_tree_copied_in_is_the_same(cluster):
    shutil.copytree("/usr/include/linux", cluster.mnt / "linux", symlinks=True)
    cluster.remount()
    done = subprocess.run(["diff", "-r", "/usr/include/linux", cluster.mnt / "linux"], check=False)
    assert done.returncode == 0


def bytes_in_of_servers(cluster):
    counters = json.loads(cluster.cairn("metrics", "--json").stdout)
    return sum(server["bytes_in"] for server in counters.values())


def test_a_second_copy_costs_next_to_nothing(cluster):
    data = seeded_bytes(MiB(48), seed=2)
    begin = bytes_in_of_servers(cluster)
    (cluster.mnt / "one").write_bytes(data)
    eventually(lambda: cluster.reported()["healthy"], what="every copy")
    before, first = cluster.bytes_stored(), bytes_in_of_servers(cluster) - begin
    assert first > 3 * len(data)
    (cluster.mnt / "two").write_bytes(data)
    after, second = cluster.bytes_stored(), bytes_in_of_servers(cluster) - begin - first
    assert after - before < len(data) * 3 * 0.01
    # What was in flight when the first answer came is sent, up to 64 blocks of 768.
    assert second < first * 0.1
    assert filecmp.cmp(cluster.mnt / "one", cluster.mnt / "two", shallow=False)


def test_the_command_of_dev_gives_the_exit_status(tmp_path):
    from conftest import BIN

    done = subprocess.run([BIN / "cairn", "dev", "--servers", "1", "--", "sh", "-c",
                           'test -d "$CAIRN_MNT" && cairn status >/dev/null; echo x >"$CAIRN_MNT/f" && exit 7'],
                          env=dict(os.environ, TMPDIR=str(tmp_path)), timeout=90, check=False)
    assert done.returncode == 7
    assert not list(tmp_path.iterdir())


def test_every_server_tells_its_counters(cluster):
    (cluster.mnt / "f").write_bytes(seeded_bytes(MiB(1), seed=3))
    cluster.remount()
    counters = json.loads(cluster.cairn("metrics", "--json").stdout)
    assert len(counters) == 4
    assert sum(server["block_puts"] for server in counters.values()) >= 16 * 3
    assert sum(server["journal_records"] for server in counters.values()) > 0
    assert all(server["block_read_corrupt"] == 0 for server in counters.values())


def test_the_kernel_reads_ahead_by_a_mebibyte(cluster):
    """The answer to INIT can only lower it, so it is raised behind that."""
    device = os.stat(cluster.mnt).st_dev
    bdi = f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb"
    with open(bdi, encoding="ascii") as f:
        assert f.read().strip() == "1024"
