# SPDX-License-Identifier: Apache-2.0
"""Real daemons, real mounts: a cluster fixture over `cairn dev`.

Every test gets scratch folders of its own; whatever happens, its cluster is taken down: first politely, then
by aborting the FUSE connection (a caller of a dead mount cannot be killed) and ending processes by their ids.
"""
import contextlib
import itertools
import json
import multiprocessing
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("CAIRN_BIN", ROOT / "build" / "bin")).resolve()
LONG = os.environ.get("CAIRN_LONG") == "1"
# Correctness is the same with every cache: CAIRN_TIER=none, tiny or large runs all of it with such tiers.
TIERS = {"none": "client.tier=none", "tiny": "client.tier=auto:2M:0", "large": "client.tier=auto"}
TIER = TIERS[os.environ.get("CAIRN_TIER", "large")]
# In `sets` of a test about chunk servers: what a node wrote or read (from 1 MiB on) lies in its tier, after a remount
# as well, so that its files would come back without one byte from a server.
NO_TIER = TIERS["none"]
# Files are cut by content seconds after their close: blocks would be counted that no test has written. Tests of that,
# and CAIRN_SEAL=1 for all of them, have it done at once.
SEAL = "client.seal_ms=" + ("50" if os.environ.get("CAIRN_SEAL") == "1" else "0")
LARGE_TIER = TIERS["large"]     # in those of a test about tiers
# What no process of ours may say, whether or not a test would notice: that it found a bug in itself.
BUG = re.compile(r"^(?:panic: |.*Sanitizer: |.*: runtime error: ).*", re.M)


def MiB(n):
    return n << 20


def warnings(cluster):
    return {w["code"] for w in cluster.status()["warnings"]}


def eventually(condition, seconds=30, what="condition"):
    """Wait until condition() is true; its last value is returned."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} is not true after {seconds} s")
        time.sleep(0.05)


def thread_states(pid):
    """Of each thread of a process: R, S, D, T ... of proc(5)."""
    with contextlib.suppress(OSError):          # the process ended while its threads were listed
        for stat in pathlib.Path(f"/proc/{pid}/task").glob("*/stat"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                yield stat.read_text().rpartition(")")[2].split()[0]


def stats_of(paths):
    """What stat(2) says of these files, of which some go while they are looked at."""
    for path in list(paths):
        with contextlib.suppress(FileNotFoundError):
            yield path.stat()


def seeded_bytes(length, seed):
    """Bytes that do not compress, the same for the same seed."""
    import random

    return random.Random(seed).randbytes(length)


def write_on_grid(path, content):
    """From its end to its begin: what is written from the begin on is cut by content, into how many blocks who knows."""
    with open(path, "wb") as f:
        for at in range((len(content) - 1) // 65536 * 65536, -1, -65536):
            os.pwrite(f.fileno(), content[at:at + 65536], at)


class Cluster:
    """One `cairn dev` with a command that waits for us."""

    def __init__(self, folder, servers=3, copies=None, mounts=1, sets=(), prepare=None, acl=False, hashed=None):
        self.dir = pathlib.Path(folder)
        self.args = ["--dir", str(self.dir), "--servers", str(servers), "--mounts", str(mounts)]
        if copies:
            self.args += ["--copies", str(copies)]
        if acl:
            self.args += ["--acl"]
        if hashed:
            self.args += ["--hash", hashed]
        for item in [TIER, SEAL, *sets]:
            self.args += ["--set", item]
        self.process = None

    @property
    def mnt(self):
        return self.dir / "mnt1"

    @property
    def mnt2(self):
        return self.dir / "mnt2"

    @property
    def env(self):
        return dict(os.environ, CAIRN_DIR=str(self.dir), CAIRN_MNT=str(self.mnt),
                    PATH=f"{BIN}:{os.environ['PATH']}")

    def up(self, timeout=90):
        ready = self.dir.parent / f"{self.dir.name}.ready"
        ready.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [BIN / "cairn", "dev", *self.args, "--", "sh", "-c", f"touch '{ready}'; read line || true"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True)
        end = time.monotonic() + timeout
        while not ready.exists():
            if self.process.poll() is not None:
                raise AssertionError("cairn dev failed: " + self.process.stdout.read() + self.logs())
            if time.monotonic() > end:
                raise AssertionError("cairn dev is not ready: " + self.logs())
            time.sleep(0.02)
        return self

    def down(self, timeout=90):
        """Leave the command; returns the exit status of `cairn dev`."""
        if self.process is None:
            return 0
        try:
            self.process.communicate("", timeout=timeout)
        except subprocess.TimeoutExpired:
            self.destroy()
            raise AssertionError("cairn dev does not end: " + self.logs())
        status, self.process = self.process.returncode, None
        return status

    def destroy(self):
        """By force."""
        for mount in self.dir.glob("mnt*"):
            abort_fuse(str(mount))
        for pid_file in self.dir.glob("*.pid"):
            end_process(pid_file)
        if self.process is not None:
            try:
                self.process.kill()
                self.process.wait(10)
            except (OSError, subprocess.TimeoutExpired):
                pass
            self.process = None
        for mount in self.dir.glob("mnt*"):
            subprocess.run(["umount", "-l", str(mount)], stderr=subprocess.DEVNULL, check=False)

    def cairn(self, *args, check=True, timeout=60):
        done = subprocess.run([BIN / "cairn", *map(str, args)], env=self.env, text=True, timeout=timeout,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        assert not check or done.returncode == 0, f"cairn {args}: {done.stdout}{done.stderr}{self.logs()}"
        return done

    def status(self):
        return json.loads(self.cairn("status", "--json", check=False).stdout)

    def reported(self):
        """The status, once every server that is up has told its counts after this call began: heartbeats do, each
        second."""
        began = time.monotonic()

        def told():
            ms = (time.monotonic() - began) * 1000
            status = self.status()
            return all(s["disks"] + s["disks_failed"] > 0 and s["heartbeat_age_ms"] < ms
                       for s in status["servers"] if s["state"] == "up") and status
        return eventually(told, what="a report of each server")

    def settled(self, key):
        """What the status says of `key`, once it stays."""
        last = None
        while True:
            now = self.reported()[key]
            if now == last:
                return now
            last = now

    def bytes_stored(self):
        return self.settled("bytes_stored")

    def start(self, name):
        self.cairn("dev", "start", name, timeout=90)

    def stop(self, name):
        self.cairn("dev", "stop", name)

    def pid(self, name):
        return int((self.dir / f"{name}.pid").read_text())

    def kill(self, name, sig=signal.SIGKILL):
        pid = self.pid(name)
        os.kill(pid, sig)
        if sig == signal.SIGSTOP:       # one thread is told, the others go on until it runs
            eventually(lambda: set(thread_states(pid)) == {"T"}, 10, f"{name} is stopped")
        if sig == signal.SIGKILL:       # what it has begun in the kernel ends first
            eventually(lambda: set(thread_states(pid)) <= {"Z", "X"}, 30, f"{name} is dead")

    def remount(self, number=1):
        self.stop(f"client{number}")
        self.start(f"client{number}")

    def restart_all(self):
        """Everything stopped cleanly and started again: nothing is answered from a cache."""
        names = ["mds"] + [f"cs{i + 1}" for i in range(len(list(self.dir.glob("cs*.pid"))))]
        clients = [p.stem for p in self.dir.glob("client*.pid")]
        for name in clients + names[::-1]:
            self.stop(name)
        for name in names + clients:
            self.start(name)

    def fsck(self, *args):
        """Offline: everything must be stopped, or --live."""
        return subprocess.run([BIN / "fsck.cairn", *args], env=self.env, text=True, timeout=300,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)

    def logs(self, tail=2000):
        text = ""
        for log in sorted(self.dir.glob("*.log")):
            content = log.read_text(errors="replace")
            if content:
                text += f"\n--- {log.name}\n{content[-tail:]}"
        return text

    def bugs(self):
        """What assertions and sanitizers said in the logs."""
        return [f"{log.name}: {line}" for log in sorted(self.dir.glob("*.log"))
                for line in BUG.findall(log.read_text(errors="replace"))]


class Job:
    """
    A call in a process of its own: a fork of this one that closed a copy of its file would flush it as well, and
    wait. errno is what it raised, 0 for nothing.
    """

    def __init__(self, call, *args):
        self.began, self.seconds, self.errno = time.monotonic(), None, None
        self.process = multiprocessing.get_context("fork").Process(target=self.run, args=(call, *args))
        self.process.start()

    @staticmethod
    def run(call, *args):
        try:
            call(*args)
        except OSError as e:
            os._exit(e.errno)
        os._exit(0)

    def is_alive(self):
        return self.process.is_alive()

    def join(self, seconds):
        self.process.join(seconds)
        if not self.is_alive():
            self.seconds, self.errno = time.monotonic() - self.began, self.process.exitcode


@contextlib.contextmanager
def on_loop_disk(tmp_path, name, megabytes, *options):
    """Folder small/NAME on a small ext4 of its own, whose image is the file `image`."""
    folder, image = tmp_path / "small" / name, tmp_path / "image"
    folder.mkdir(parents=True)
    with image.open("wb") as f:
        f.truncate(MiB(megabytes))
    for command in (["mkfs.ext4", "-q", "-m", "0", *options, image], ["mount", "-o", "loop", image, folder]):
        if not shutil.which(command[0]) or subprocess.run(command, check=False, stderr=subprocess.PIPE).returncode:
            pytest.skip(f"{command[0]} does not work here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def end_process(pid_file):
    try:
        pid = int(pid_file.read_text())
        exe = os.readlink(f"/proc/{pid}/exe")
        line = pathlib.Path(f"/proc/{pid}/cmdline").read_text()
    except (OSError, ValueError):
        return
    # Ids come again: it must be of this cluster.
    if pathlib.Path(exe.removesuffix(" (deleted)")).name in ("cairn-mds", "cairn-cs", "mount.cairn") and (
            not line or f"{pid_file.parent}/" in line):     # empty: in execve()
        os.kill(pid, signal.SIGKILL)


def abort_fuse(mount):
    """Free everyone who is stuck in this mount."""
    control = pathlib.Path("/sys/fs/fuse/connections")
    if not any(control.iterdir()):
        subprocess.run(["mount", "-t", "fusectl", "none", control], check=False, stderr=subprocess.DEVNULL)
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[4] == mount and " fuse.cairn " in line:
            minor = fields[2].split(":")[1]
            try:
                (control / minor / "abort").write_text("1")
            except OSError:
                pass


UP = []         # clusters between running() and its end: their logs are shown with a test that failed


@contextlib.contextmanager
def running(cluster):
    """Up for as long as the block lasts; its folder goes with it."""
    try:
        UP.append(cluster)
        yield cluster.up()
        cluster.down()
        assert not cluster.bugs(), cluster.bugs()
    except Exception:
        print(cluster.logs())           # its folder goes; pytest shows it with the failure
        raise
    finally:
        UP.remove(cluster)
        cluster.destroy()
        shutil.rmtree(cluster.dir, ignore_errors=True)


@pytest.fixture
def make_cluster(tmp_path):
    """make_cluster(servers=3, mounts=1, sets=["client.flush_ms=50"]) -> a running Cluster."""
    with contextlib.ExitStack() as made:
        numbers = itertools.count(1)
        yield lambda **options: made.enter_context(running(Cluster(tmp_path / f"cluster{next(numbers)}", **options)))


@pytest.fixture
def cluster(make_cluster):
    return make_cluster()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One cluster for all tests of a module that leave it as they found it."""
    with running(Cluster(tmp_path_factory.mktemp("shared") / "cluster", mounts=2)) as cluster:
        yield cluster


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse here")
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """What its servers said, with a test that failed."""
    report = (yield).get_result()
    if report.failed and report.when == "call":
        mine = [c for c in getattr(item, "funcargs", {}).values() if isinstance(c, Cluster)]
        for cluster in {id(c): c for c in UP + mine}.values():
            report.sections.append(("logs of " + cluster.dir.name, cluster.logs()))
