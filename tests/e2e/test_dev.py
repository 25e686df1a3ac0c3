# SPDX-License-Identifier: Apache-2.0
"""The contract of `cairn dev`, on which tests, benchmarks and outside harnesses build."""
import os
import shutil
import signal
import subprocess

import pytest

from conftest import BIN, NO_TIER, MiB, eventually, seeded_bytes
from test_cli import nothing_is_left, run


@pytest.fixture
def cluster(make_cluster):
    return make_cluster(sets=[NO_TIER])


def dev(*args, tmp, timeout=90):
    return run("cairn", "dev", *args, timeout=timeout, TMPDIR=str(tmp))


def test_the_command_sees_the_cluster(tmp_path):
    script = ('echo "$CAIRN_DIR"; test "$CAIRN_MNT" = "$CAIRN_DIR/mnt1"; test "$CAIRN_MNT2" = "$CAIRN_DIR/mnt2"; '
              'cd "$CAIRN_DIR"; for p in mds cs1 cs2 client1 client2; do kill -0 $(cat $p.pid); test -f $p.log; done; '
              'test -d mds; test -d cs2; test -d cache2; mountpoint -q mnt1; mountpoint -q mnt2; '
              f'test "$(command -v cairn-cs)" = "{BIN}/cairn-cs"; cairn status >/dev/null; exit 9')
    done = dev("--servers", "2", "--mounts", "2", "--", "sh", "-ec", script, tmp=tmp_path)
    assert done.returncode == 9, done
    assert done.stdout.startswith(str(tmp_path))
    assert not list(tmp_path.iterdir())
    nothing_is_left(tmp_path)


def test_the_exit_status_of_the_command_is_its_own(tmp_path):
    assert dev("--servers", "1", "--", "true", tmp=tmp_path).returncode == 0
    assert dev("--servers", "1", "--", "sh", "-c", "kill -9 $$", tmp=tmp_path).returncode == 128 + 9
    assert dev("--servers", "1", "--", "no-such-command", tmp=tmp_path).returncode == 127
    assert not list(tmp_path.iterdir())


def test_a_folder_is_kept_and_used_again(tmp_path):
    folder = tmp_path / "cluster"
    assert dev("--dir", folder, "--servers", "2", "--", "sh", "-c", "echo data >$CAIRN_MNT/f",
               tmp=tmp_path).returncode == 0
    nothing_is_left(tmp_path)
    assert folder.is_dir()
    done = dev("--dir", folder, "--", "sh", "-c", "cat $CAIRN_MNT/f; ls -d $CAIRN_DIR/cs*/ | wc -l", tmp=tmp_path)
    assert done.stdout.split() == ["data", "2"], done
    for option, value in (("--servers", "3"), ("--copies", "1")):
        done = dev("--dir", folder, option, value, "--", "true", tmp=tmp_path)
        assert done.returncode == 1 and "conflict" in done.stderr and option in done.stderr, done
    # A disk that is not mounted looks like this: no new names are made beside old content.
    (folder / "mds").rename(tmp_path / "away")
    done = dev("--dir", folder, "--", "true", tmp=tmp_path)
    assert done.returncode != 0 and "is its disk mounted" in done.stderr, done
    (folder / "mds").rmdir()
    (tmp_path / "away").rename(folder / "mds")
    assert dev("--dir", folder, "--", "sh", "-c", "cat $CAIRN_MNT/f", tmp=tmp_path).stdout == "data\n"
    done = dev("--keep", "--servers", "1", "--", "sh", "-c", "echo $CAIRN_DIR", tmp=tmp_path)
    assert os.path.isdir(done.stdout.strip())


def test_processes_are_stopped_killed_and_started_again(cluster):
    data = seeded_bytes(MiB(2), 1)
    (cluster.mnt / "f").write_bytes(data)
    for name in ("cs2", "mds", "client1"):
        pid = cluster.pid(name)
        cluster.stop(name)
        assert not os.path.exists(f"/proc/{pid}")
        cluster.start(name)
        assert cluster.pid(name) != pid
        cluster.kill(name)
        cluster.start(name)
        cluster.start(name)                         # it runs: nothing to do
    assert (cluster.mnt / "f").read_bytes() == data
    for verb in ("start", "stop"):
        done = cluster.cairn("dev", verb, "nonsense", check=False)
        assert done.returncode == 1 and "nonsense" in done.stderr, done
    assert cluster.cairn("dev", "start", "cs9", check=False).returncode == 1
    assert cluster.down() == 0
    nothing_is_left(cluster.dir)


def test_an_emptied_folder_is_a_new_disk_of_its_server(cluster):
    data = seeded_bytes(MiB(4), 1)
    (cluster.mnt / "f").write_bytes(data)
    cluster.stop("cs3")
    shutil.rmtree(cluster.dir / "cs3")
    cluster.start("cs3")
    servers = cluster.status()["servers"]
    assert (cluster.mnt / "f").read_bytes() == data
    assert [s["state"] for s in servers].count("up") == 3, servers


def test_a_new_server_joins(make_cluster):
    cluster = make_cluster(servers=2, sets=[NO_TIER])
    (cluster.mnt / "f").write_bytes(seeded_bytes(MiB(4), 1))
    cluster.start("cs3")
    assert [s["state"] for s in cluster.status()["servers"]] == ["up"] * 3
    assert (cluster.dir / "cs3").is_dir()
    assert (cluster.mnt / "f").read_bytes() == seeded_bytes(MiB(4), 1)
    assert cluster.down() == 0
    nothing_is_left(cluster.dir)
    cluster.args = ["--dir", str(cluster.dir), "--servers", "3", "--set", NO_TIER]
    cluster.up()
    assert (cluster.mnt / "f").read_bytes() == seeded_bytes(MiB(4), 1)


def test_an_interrupt_takes_all_down(tmp_path):
    for sig, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        process = subprocess.Popen([BIN / "cairn", "dev", "--servers", "1", "--", "sh", "-c",
                                    f"touch {tmp_path}/ready; exec sleep 1000"],
                                   env=dict(os.environ, TMPDIR=str(tmp_path)), start_new_session=True)
        eventually((tmp_path / "ready").exists, 60, "ready")
        process.send_signal(sig)
        assert process.wait(60) == status
        (tmp_path / "ready").unlink()
        nothing_is_left(tmp_path)
        assert not list(tmp_path.iterdir())


def test_two_clusters_at_once(tmp_path):
    command = [BIN / "cairn", "dev", "--servers", "1", "--", "sh", "-c", "echo $CAIRN_DIR >$CAIRN_MNT/f; sleep 1; "
               "test $(cat $CAIRN_MNT/f) = $CAIRN_DIR && cairn status >/dev/null"]
    processes = [subprocess.Popen(command, env=dict(os.environ, TMPDIR=str(tmp_path))) for _ in range(3)]
    assert [p.wait(90) for p in processes] == [0, 0, 0]
    nothing_is_left(tmp_path)
