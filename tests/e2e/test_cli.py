# SPDX-License-Identifier: Apache-2.0
"""What the commands print and return, and the contract of `cairn dev`."""
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

from conftest import BIN, MiB, ROOT, abort_fuse, eventually, seeded_bytes

PROGRAMS = ["cairn", "cairn-mds", "cairn-cs", "mkfs.cairn", "fsck.cairn", "mount.cairn"]


def run(*args, timeout=60, **env):
    environ = {k: v for k, v in os.environ.items() if k != "CAIRN_DIR"} | env
    return subprocess.run([BIN / args[0], *map(str, args[1:])], env=environ, text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)


def subcommands():
    return re.findall(r"^  ([a-z]+) ", run("cairn", "--help").stdout, re.M)


def processes_of(folder):
    """Of ours, with the folder in their arguments."""
    found = []
    for cmdline in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = cmdline.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if os.path.basename(words[0]) in PROGRAMS and any(str(folder) in word for word in words[1:]):
            found.append(words)
    return found


def mounts_below(folder):
    lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if line.split()[4].startswith(str(folder) + "/")]


def nothing_is_left(folder):
    assert not mounts_below(folder)
    eventually(lambda: not processes_of(folder), 20, f"end of {processes_of(folder)}")


# ---- help and usage ------------------------------------------------------------------------------------

def test_help_is_for_people_on_stdout():
    commands = [[p] for p in PROGRAMS] + [["cairn", name] for name in subcommands()]
    assert len(commands) >= 12
    for command in commands:
        done = run(*command, "--help")
        assert done.returncode == 0 and done.stdout and not done.stderr, command
        wide = [line for line in done.stdout.splitlines() if len(line) > 80]
        assert not wide, (command, wide)
    for program in PROGRAMS:
        assert run(program, "--version").stdout.startswith(f"{program} "), program
        assert command[0] in done.stdout, command


def test_wrong_usage_is_told_on_stderr():
    cases = [["cairn"], ["cairn", "nonsense"]] + [["cairn", name, "--nonsense"] for name in subcommands()]
    cases += [["cairn-mds", "--nonsense"], ["cairn-cs", "--nonsense"], ["mkfs.cairn", "--nonsense"], ["mkfs.cairn"],
              ["cairn", "dev", "--servers", "0"], ["cairn", "dev", "--servers", "x"], ["cairn", "dev", "--set", "x"],
              ["cairn", "up", "--copies", "99"], ["cairn", "dev", "start", "cs1"]]
    for case in cases:
        done = run(*case)
        assert done.returncode == 2 and done.stderr and not done.stdout, (case, done)
    for case in (["mount.cairn"], ["mount.cairn", "a"], ["mount.cairn", "h:/", "/mnt", "-o", "nonsense"]):
        done = run(*case)
        assert done.returncode == 1 and done.stderr and not done.stdout, (case, done)
    done = run("fsck.cairn", "--nonsense")
    assert done.returncode == 16 and done.stderr, done


def test_a_bad_setting_is_named(tmp_path):
    for value, word in (("cs.workers=99999", "cs.workers"), ("cs.nonsense=1", "cs.nonsense"),
                        ("lease.ms=soon", "lease.ms"), ("nonsense", "nonsense")):
        for program in ("cairn-cs", "cairn-mds"):
            done = run(program, "--set", value)
            assert done.returncode in (1, 2) and word in done.stderr, done
    config = tmp_path / "cairn.conf"
    config.write_text("[cs]\nworkers = 4\nworkrs = 4\n")
    done = run("cairn-cs", "--config", config)
    assert done.returncode in (1, 2) and "workrs" in done.stderr and "cairn.conf" in done.stderr, done
    done = run("cairn-cs", "--config", tmp_path / "absent.conf")
    assert done.returncode in (1, 2) and "absent.conf" in done.stderr, done


def test_the_configuration_is_dumped_and_read_back(tmp_path):
    config = tmp_path / "cairn.conf"
    dump = run("cairn-cs", "--set", "cs.workers=7", "--dump-config")
    assert dump.returncode == 0 and re.search(r"^workers=7$", dump.stdout, re.M), dump
    config.write_text(dump.stdout)
    assert run("cairn-cs", "--config", config, "--dump-config").stdout == dump.stdout


# ---- status --------------------------------------------------------------------------------------------

def test_status_tells_health_by_its_exit_status(make_cluster):
    cluster = make_cluster(sets=["server.suspect_ms=500", "server.down_ms=1000", "server.heartbeat_ms=100"])
    # On a busy machine one is silent for half a second now and then.
    status = eventually(lambda: (s := cluster.status())["healthy"] and
                        [one["state"] for one in s["servers"]] == ["up"] * 3 and s, what="health")
    keys = {"healthy", "warnings", "metadata_copies", "servers", "pgs", "files", "bytes_logical", "bytes_unique",
            "bytes_stored", "ratio", "heal", "version"}
    assert keys <= set(status)
    assert {"total", "clean", "degraded", "lost"} <= set(status["pgs"])
    assert {"dedup", "codec", "total"} <= set(status["ratio"])
    assert {"pending_blocks", "bytes_per_s", "eta_s"} <= set(status["heal"])
    assert status["healthy"] is True and status["pgs"]["total"] == status["pgs"]["clean"] == 4096
    assert {"name", "state", "blocks", "bytes_stored", "bytes_free"} <= set(status["servers"][0])
    assert all({"code", "text"} <= set(w) for w in status["warnings"])
    said = eventually(lambda: (d := cluster.cairn("status", check=False)).returncode == 0 and d.stdout, what="health")
    assert "healthy" in said and "NOT" not in said
    assert "deleted files leave until it is collected" in cluster.cairn("df").stdout
    for command in ("df", "servers"):
        assert cluster.cairn(command).stdout
        json.loads(cluster.cairn(command, "--json").stdout)

    cluster.stop("cs2")
    eventually(lambda: cluster.cairn("status", check=False).returncode == 1, 30, "an unhealthy status")
    cluster.start("cs2")
    eventually(lambda: cluster.cairn("status", check=False).returncode == 0, 30, "a healthy status")
    cluster.stop("mds")
    done = cluster.cairn("status", check=False)
    assert done.returncode == 3 and done.stderr, done
    cluster.start("mds")


def test_a_server_that_is_away_is_what_status_and_heal_speak_of(make_cluster):
    """Who noted what it missed lacks nothing; what is free there is not free; nobody takes its share."""
    cluster = make_cluster(sets=["server.suspect_ms=500", "server.down_ms=1000", "server.heartbeat_ms=100",
                                 "server.out_ms=2500"])
    free = json.loads(cluster.cairn("df", "--json").stdout)["bytes_free"]
    cluster.kill("cs2")
    (cluster.mnt / "model").write_bytes(seeded_bytes(MiB(4), 3))
    status = eventually(lambda: (s := cluster.status())["heal"]["owed"] > 0 and s, 20, "a debt")
    assert status["heal"]["pending_blocks"] == 0 and status["heal"]["eta_s"] == 0, status["heal"]
    eventually(lambda: "server_out" in {w["code"] for w in cluster.status()["warnings"]}, 20, "a server being out")
    eventually(lambda: "2 of 3 servers up" in (said := cluster.cairn("status", check=False).stdout) and
               "no other server is there to take its share" in said, what="two that are up")
    assert "lacks" not in cluster.cairn("heal", check=False).stdout
    assert json.loads(cluster.cairn("df", "--json").stdout)["bytes_free"] < free * 0.8


def test_messages_name_what_was_meant(make_cluster):
    cluster = make_cluster(servers=1)
    done = cluster.cairn("scrub", "7", check=False)
    assert done.returncode == 1 and "no server '7'" in done.stderr and not done.stdout
    done = cluster.cairn("status", "--mds", "host1", check=False)
    assert "HOST:PORT" in done.stderr
    done = subprocess.run([BIN / "fsck.cairn", "--live", cluster.dir], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False, timeout=60)
    assert done.returncode == 0 and "clean" in done.stdout                # the folder names the server
    cluster.kill("mds")
    done = cluster.cairn("servers", check=False)
    assert done.returncode == 3 and "metadata server" in done.stderr and "cairn-mds" in done.stderr


def words_of(value):
    """Every key of a JSON value."""
    if isinstance(value, dict):
        return set(value).union(*map(words_of, value.values()))
    return set().union(*map(words_of, value)) if isinstance(value, list) else set()


def test_the_manual_names_every_key_of_status_and_every_warning(cluster):
    page = (ROOT / "man/cairn-status.1").read_text()
    tiers = (ROOT / "man/cairn-cache.1").read_text()        # which it refers to
    words = set(re.findall(r"[a-z_0-9]+", page))
    missing = words_of(cluster.status()) - words - set(re.findall(r"[a-z_]+", tiers))
    assert not missing
    source = (ROOT / "metadata-server/serve_warnings.c").read_text()
    codes = set(re.findall(r'warn\(w, "(\w+)"', source))
    assert len(codes) > 15 and not codes - words


def test_counts_of_status_are_those_of_the_files(cluster):
    (cluster.mnt / "a").write_bytes(seeded_bytes(MiB(2), 1))
    (cluster.mnt / "b").write_bytes(b"x" * 1000)
    (cluster.mnt / "dir").mkdir()
    cluster.remount()
    status = eventually(lambda: (s := cluster.reported())["healthy"] and s, what="every copy")
    assert status["files"] == 2
    assert status["bytes_logical"] == MiB(2) + 1000
    assert MiB(2) <= status["bytes_unique"] < MiB(2) + 200_000
    assert 3 * MiB(2) <= status["bytes_stored"] < 3 * MiB(2) + 200_000


# ---- up and down ---------------------------------------------------------------------------------------

def test_up_and_down_keep_data(tmp_path):
    folder, mount = tmp_path / "state", tmp_path / "models"
    options = ("--dir", folder, "--mount", mount)
    try:
        done = run("cairn", "up", *options, "--servers", "1", timeout=90)
        assert done.returncode == 0, done
        assert str(mount) in done.stdout
        data = seeded_bytes(MiB(5), 1)
        (mount / "model").write_bytes(data)
        assert "already" in run("cairn", "up", *options).stdout
        assert run("cairn", "status", CAIRN_DIR=str(folder)).returncode == 0
        assert run("cairn", "down", "--dir", folder, timeout=90).returncode == 0
        nothing_is_left(tmp_path)
        assert not os.listdir(mount)
        done = run("cairn", "up", *options, "--servers", "2")
        assert done.returncode == 1 and "1 server" in done.stderr, done
        assert run("cairn", "up", *options, timeout=90).returncode == 0
        assert (mount / "model").read_bytes() == data
    finally:
        run("cairn", "down", "--dir", folder, timeout=90)
    nothing_is_left(tmp_path)


def test_up_does_not_cover_the_mount_of_another_cluster(cluster, tmp_path):
    (cluster.mnt / "file").write_text("x")
    done = run("cairn", "up", "--dir", tmp_path / "state", "--mount", cluster.mnt, "--servers", "1")
    assert done.returncode == 1 and f"'{cluster.mnt}': '{source_of(cluster)}', another cluster" in done.stderr, done
    assert not os.listdir(tmp_path / "state")
    assert (cluster.mnt / "file").read_text() == "x"


def test_up_does_not_wait_for_the_mount_of_another_cluster(make_cluster, tmp_path):
    cluster = make_cluster(servers=1, copies=1, sets=["lease.ms=3s"])
    cluster.kill("mds", signal.SIGSTOP)
    try:
        time.sleep(5)                   # what the client knows of the root counts no longer
        done = run("cairn", "up", "--dir", tmp_path / "state", "--mount", cluster.mnt, "--servers", "1", timeout=30)
        assert done.returncode == 1 and "another cluster" in done.stderr, done
    finally:
        cluster.kill("mds", signal.SIGCONT)


def pid_in(folder, name):
    """As text; "" while there is none."""
    with contextlib.suppress(FileNotFoundError):
        return (folder / f"{name}.pid").read_text().strip()
    return ""


def test_up_restarts_what_dies(tmp_path):
    folder, mount = tmp_path / "state", tmp_path / "models"
    try:
        assert run("cairn", "up", "--dir", folder, "--mount", mount, "--servers", "1", timeout=90).returncode == 0
        (mount / "file").write_text("x")
        for name in ("mds", "cs1", "client1"):
            pid = pid_in(folder, name)
            os.kill(int(pid), signal.SIGKILL)
            eventually(lambda: pid_in(folder, name) not in ("", pid), 30, f"{name} again")
        eventually(lambda: run("cairn", "status", CAIRN_DIR=str(folder)).returncode == 0, 30, "health")
        eventually(lambda: os.path.ismount(mount), 30, "the mount")
        assert (mount / "file").read_text() == "x"
    finally:
        run("cairn", "down", "--dir", folder, timeout=90)
    nothing_is_left(tmp_path)


# ---- mounting ------------------------------------------------------------------------------------------

def source_of(cluster):
    return re.search(r"mds = (\S+)", (cluster.dir / "cairn.conf").read_text())[1] + ":/"


def mount_flags(mount):
    lines = [line.split() for line in open("/proc/self/mountinfo", encoding="utf-8")]
    return set([line[5] for line in lines if line[4] == str(mount)][-1].split(","))


def test_a_background_mount_and_its_options(cluster, tmp_path):
    mount, log = tmp_path / "mnt", tmp_path / "log"
    mount.mkdir()
    (cluster.mnt / "file").write_text("x")
    options = f"cache={tmp_path}/cache,log={log}"
    done = run("mount.cairn", source_of(cluster), mount, "-o", f"{options},ro")
    assert done.returncode == 0, done
    try:
        assert (mount / "file").read_text() == "x"
        with pytest.raises(OSError):
            (mount / "new").touch()
        done = run("mount.cairn", source_of(cluster), mount, "-o", f"{options},remount,rw")
        assert done.returncode == 0 and "stay as they are" in done.stderr, done    # of `options`
        (mount / "new").touch()
        # as mount(8) gives the helper what it finds in the table of mounts
        found = "user_id=0,group_id=0,default_permissions,allow_other"
        done = run("mount.cairn", source_of(cluster), mount, "-o", f"rw,remount,nosuid,nodev,noatime,{found}")
        assert done.returncode == 0 and not done.stderr and {"nosuid", "nodev", "noatime"} <= mount_flags(mount), done
        done = run("mount.cairn", source_of(cluster), mount, "-o", "remount,ro,dev")
        assert done.returncode == 0, done
        assert mount_flags(mount) == {"ro", "nosuid", "noatime"}
    finally:
        subprocess.run(["umount", mount], check=True, timeout=60)
    nothing_is_left(tmp_path / "mnt")
    eventually(lambda: not processes_of(mount), 20, "the end of the mount process")


def test_a_cache_folder_has_one_mount(cluster, tmp_path):
    """Two with one session would end each other; the one that ends is waited for."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    options = f"cache={tmp_path}/cache,log={tmp_path}/log"
    assert run("mount.cairn", source_of(cluster), first, "-o", options).returncode == 0
    try:
        done = run("mount.cairn", source_of(cluster), second, "-o", options)
        assert done.returncode == 32 and "another mount uses the cache folder" in done.stderr, done
        assert os.listdir(first) == os.listdir(cluster.mnt)
        subprocess.run(["umount", first], check=True, timeout=60)
        assert run("mount.cairn", source_of(cluster), first, "-o", options).returncode == 0
        tiers = json.loads(run("cairn", "cache", "--json", first).stdout)["tiers"]
        assert [t["problem"] for t in tiers] == [""]
    finally:
        subprocess.run(["umount", first], check=True, timeout=60)
    eventually(lambda: not processes_of(first), 20, "the end of the mount process")


def test_a_tier_that_cannot_be_used_is_told(cluster, tmp_path):
    mount, file = tmp_path / "mnt", tmp_path / "file"
    mount.mkdir()
    file.touch()
    (cluster.mnt / "model").write_bytes(os.urandom(MiB(3)))
    options = f"cache={tmp_path}/cache,log={tmp_path}/log,tier={file}/tier:64M"
    assert run("mount.cairn", source_of(cluster), mount, "-o", options).returncode == 0
    try:
        tier, = json.loads(run("cairn", "cache", "--json", mount).stdout)["tiers"]
        assert tier["broken"] and "not a directory" in tier["problem"], tier
        done = run("cairn", "warm", mount / "model")
        assert done.returncode == 1 and "no cache tier of this mount works" in done.stderr, done
        assert (mount / "model").read_bytes() == (cluster.mnt / "model").read_bytes()
    finally:
        subprocess.run(["umount", mount], check=True, timeout=60)
    eventually(lambda: not processes_of(mount), 20, "the end of the mount process")


def test_mount_of_type_cairn(cluster, tmp_path):
    """mount(8) calls /sbin/mount.cairn: given here in a mount namespace of its own."""
    mount = tmp_path / "mnt"
    mount.mkdir()
    (cluster.mnt / "file").write_text("through mount(8)\n")
    fstab = tmp_path / "fstab"
    fstab.write_text(f"{source_of(cluster)} {mount} cairn cache={tmp_path}/cache,log={tmp_path}/log,noauto 0 0\n")
    script = f"""
        mkdir {tmp_path}/sbin && cp -a /sbin/. {tmp_path}/sbin/ && cp {BIN}/mount.cairn {tmp_path}/sbin/mount.cairn
        mount --bind {tmp_path}/sbin $(realpath /sbin)
        mount -t cairn -o cache={tmp_path}/cache,log={tmp_path}/log {source_of(cluster)} {mount}
        cat {mount}/file; umount {mount}
        mount -T {fstab} {mount}
        cat {mount}/file; umount {mount}
    """
    if subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("no mount namespaces here")
    done = subprocess.run(["unshare", "--mount", "sh", "-ec", script], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=90, check=False)
    assert done.stdout == "through mount(8)\n" * 2 and done.returncode == 0, done.stdout
    eventually(lambda: not processes_of(mount), 20, "the end of the mount process")


@pytest.mark.parametrize("end", ["SIGTERM", "SIGINT", "umount", "abort"])
def test_a_mount_that_ends_under_its_users(cluster, tmp_path, end):
    """It publishes what they wrote, leaves, and they get an error instead of an endless wait."""
    mount, log = tmp_path / "mnt", tmp_path / "log"
    mount.mkdir()
    done = run("mount.cairn", source_of(cluster), mount, "-o", f"cache={tmp_path}/cache,log={log}",
               "--pid-file", tmp_path / "pid")
    assert done.returncode == 0, done
    process = int((tmp_path / "pid").read_text())
    # A reader that keeps asking, and a writer that has not closed its file yet.
    reader = subprocess.Popen(["sh", "-c", "while ls -l . >/dev/null 2>&1; do :; done"], cwd=mount)
    writer = os.open(mount / "file", os.O_WRONLY | os.O_CREAT)
    os.write(writer, b"x" * MiB(3))
    if end == "umount":
        subprocess.run(["umount", "-l", mount], check=True, timeout=60)
        reader.kill()
        os.close(writer)
    elif end == "abort":
        abort_fuse(str(mount))
    else:
        os.kill(process, getattr(signal, end))
    assert reader.wait(30) is not None
    eventually(lambda: not processes_of(mount), 20, "the end of the mount process")
    if end != "umount":
        with contextlib.suppress(OSError):
            os.close(writer)
        subprocess.run(["umount", "-l", mount], stderr=subprocess.DEVNULL, check=False)
    assert (cluster.mnt / "file").read_bytes() == b"x" * MiB(3)
