# SPDX-License-Identifier: Apache-2.0
"""
Where to measure: a mount of a cluster of its own, the local file system, any other mounted folder. A place knows
how to become cold, how to restart what serves it, and how to have its tier full.
"""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

from suite import machine
from suite.rows import ON

COPIES = 3                  # of a cluster
TIER_FILL_S = 5             # and a second more for every 16 MiB
ROOM_S = 60                 # until what was collected is free


class Unavailable(Exception):
    """This place cannot show that; the text says why."""


class Local:
    """A folder of a file system that is mounted already: the page cache is all there is to make cold."""
    tiers = None            # it is there to compare with
    cluster = None          # the folder with the pid files, where there is one

    def __init__(self, name, folder):
        self.name, self.folder = name, pathlib.Path(folder)

    def open(self):
        self.folder.mkdir()

    def drop(self):
        machine.drop_caches()

    def cold(self):
        machine.drop_caches()

    def restart(self):
        machine.drop_caches()

    def fill(self, files):
        """Nothing to fill."""

    def make_room(self, wanted):
        """Removed files are gone."""

    @contextlib.contextmanager
    def second_node(self):
        """The folder as another node shows it; here another process is all that there is."""
        yield self.folder

    @contextlib.contextmanager
    def codec(self, name):
        """It stores what it is given, as it is."""
        yield

    def cairn(self, *arguments):
        """Nothing to ask of it."""

    def stored_bytes(self):
        os.sync()
        state = os.statvfs(self.folder)
        return (state.f_blocks - state.f_bfree) * state.f_frsize

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


class Cluster:
    """
    `cairn dev` around a shell that waits for the end of its input: it goes when we close it, and also when we are
    killed. It has a session of its own, so that Ctrl-C reaches us alone and we take it down in order.
    """

    def __init__(self, tiers, folder, binaries, tier_bytes):
        self.name, self.tiers = f"cairn-{tiers}", tiers
        self.cluster, self.binaries = pathlib.Path(folder), binaries
        self.tier = self.cluster.with_name(self.cluster.name + "-tier") if tiers == ON else None
        setting = f"client.tier={self.tier}:{tier_bytes}" if self.tier else "client.tier=none"
        self.settings = ["--set", setting] if can_have_tiers(binaries) else []
        if "seal=" in mount_help(binaries):
            self.settings += ["--set", "client.seal_ms=0"]          # what one row wrote is not cut while the next runs
        if not self.tier:           # a tier is of one node
            self.settings += ["--mounts", "2"]
        if self.tier and not can_have_tiers(binaries):
            raise Unavailable("mount.cairn --help names no option `tier`")
        if self.tier:
            self.tier.mkdir()
        self.process = self.cannot_fill = None

    def open(self):
        self.process = subprocess.Popen(
            [self.binaries / "cairn", "dev", "--dir", self.cluster, *self.settings, "--", "sh", "-c",
             "echo ready; cat >/dev/null"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            start_new_session=True)
        if "ready\n" not in self.process.stdout:
            raise Unavailable(f"cairn dev did not start: exit status {self.process.wait()}")
        if not self.tier:
            self.cairn("dev", "stop", "client2")
        self.folder = self.mount_point / "bench"
        self.folder.mkdir()

    @property
    def mount_point(self):
        return self.cluster / "mnt1"

    @contextlib.contextmanager
    def second_node(self):
        """Mounted for those who want it: figures of one node are those of one node."""
        self.cairn("dev", "start", "client2")
        try:
            yield self.cluster / "mnt2" / self.folder.name
        finally:
            self.cairn("dev", "stop", "client2")

    @contextlib.contextmanager
    def codec(self, name):
        """The mount encodes what it writes by this codec."""
        config = self.cluster / "cairn.conf"
        before = config.read_text()
        config.write_text(f"{before}\n[client]\ncodec = {name}\n")
        try:
            self.restart()
            yield
        finally:
            config.write_text(before)
            self.restart()

    def cairn(self, *arguments):
        return subprocess.run([self.binaries / "cairn", *arguments], text=True, stdout=subprocess.PIPE, check=False,
                              stderr=subprocess.STDOUT, env=dict(os.environ, CAIRN_DIR=str(self.cluster))).stdout

    def status(self):
        try:
            return json.loads(self.cairn("status", "--json"))
        except ValueError:
            return {}

    def drop(self):
        machine.drop_caches()

    def settle(self):
        """Every copy is where it belongs: what is measured next does not share the disk with that."""
        deadline = time.monotonic() + 30
        while not self.status().get("healthy") and time.monotonic() < deadline:
            time.sleep(0.2)

    def cold(self):
        """The servers' and the client's memory as well: nothing is left but their disks."""
        self.settle()
        self.cairn("dev", "stop", "client1")
        if self.tier:
            shutil.rmtree(self.tier)
            self.tier.mkdir()
        self.cairn("dev", "start", "client1")
        machine.drop_caches()

    def restart(self):
        self.cairn("dev", "stop", "client1")
        self.cairn("dev", "start", "client1")
        machine.drop_caches()

    def sealed_bytes(self):
        return sum(f.stat().st_size for f in self.tier.glob("sealed/*"))

    def fill(self, files):
        """The tier holds these files whole; without a tier there is nothing to do."""
        if not self.tier:
            return
        if self.cannot_fill:
            raise Unavailable(self.cannot_fill)
        wanted = sum(f.stat().st_size for f in files)
        seconds = TIER_FILL_S + (wanted >> 24)
        deadline = time.monotonic() + seconds
        while self.sealed_bytes() < wanted:
            for path in files:
                with open(path, "rb", buffering=0) as f:
                    while f.read(1 << 20):
                        pass
            if time.monotonic() > deadline:
                self.cannot_fill = f"its tier holds {self.sealed_bytes()} of {wanted} bytes after {seconds} s"
                raise Unavailable(self.cannot_fill)
            time.sleep(0.1)

    def make_room(self, wanted):
        """What was removed stays for the collector, an hour or more; copies of noise fill a disk sooner."""
        if self.room() >= wanted:
            return
        self.cairn("gc", "--now")
        end = time.monotonic() + ROOM_S
        while self.room() < wanted and time.monotonic() < end:
            time.sleep(0.5)

    def room(self):
        """Servers are full before their disk is: both count."""
        state = os.statvfs(self.mount_point)
        return min(shutil.disk_usage(self.cluster).free, COPIES * state.f_bavail * state.f_frsize)

    def stored_bytes(self):
        """Once it has settled: servers tell it with their heartbeats, a second apart."""
        last = None
        while True:
            now = self.status().get("bytes_stored")
            if now is not None and now == last:
                return now
            last = now
            time.sleep(1.2)

    def close(self):
        if self.process:
            self.process.stdin.close()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGTERM)
                self.process.wait(60)
        if self.tier:
            shutil.rmtree(self.tier, ignore_errors=True)


def mount_help(binaries):
    return subprocess.run([binaries / "mount.cairn", "--help"], check=False, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT).stdout


def can_have_tiers(binaries):
    return "tier=" in mount_help(binaries)
