# SPDX-License-Identifier: Apache-2.0
"""
How the samples are taken: each story is told at every place in turn, again in each repetition. A story may rely on
nothing an earlier one left: what it needs is made, untimed, when it is missing.
"""
import contextlib
import dataclasses
import json
import os
import subprocess
import time
import typing

from suite import places, processes, results, weights
from suite.rows import ON

SHARDS = 4
TIMEOUT_S = 900


@dataclasses.dataclass(frozen=True)
class Sizes:
    mib: int                # of a model, and of the large file
    files: int              # small ones

    @property
    def reads(self):        # at random, by one thread
        return max(64, 2 * self.mib)

    @property
    def swaps(self):
        return max(20, self.mib // 2)

    @property
    def dropped_swaps(self):
        return max(4, self.mib // 16)

    @property
    def rounds(self):       # of calls that wait for another node
        return max(20, self.files // 10)

    @property
    def tier_bytes(self):   # two models, the large file, and one of them anew
        return max(64, 6 * self.mib) << 20

    @property
    def room_bytes(self):   # three copies of the large file, a tier's copy, and as much again for comfort
        return 8 * self.mib << 20


class Teller:
    """Tells a story at one place: measures, and keeps what it measured."""

    def __init__(self, place, kept, tools, sizes, repetition):
        self.place, self.kept, self.tools = place, kept, tools
        self.sizes, self.repetition = sizes, repetition

    def untimed(self, *arguments):
        done = subprocess.run([self.tools.bench_files, *map(str, arguments)], check=True, text=True,
                              stdout=subprocess.PIPE, timeout=TIMEOUT_S)
        return done.stdout.split()

    def take(self, name, *arguments):
        """One bench_files, by the seconds that it says."""
        details, _ = self.measure(lambda: self.untimed(*arguments))
        self.rate(name, details)

    def take_command(self, name, count, *command):
        """Any other program, by the clock."""
        def run():
            began = time.monotonic()
            subprocess.run([str(c) for c in command], check=True, stdout=subprocess.DEVNULL, timeout=TIMEOUT_S,
                           env=dict(os.environ, LC_ALL="C"))
            return count, time.monotonic() - began
        details, _ = self.measure(run)
        self.rate(name, details)

    def measure(self, run):
        """(what it came to and cost, what else it says) of run(), which returns count, seconds, NAME=VALUE..."""
        watched = self.place.cluster
        if watched:
            processes.forget_peaks(watched)
        before, own = processes.read(watched), processes.of_children()
        count, seconds, *more = run()
        details = {"count": int(count), "seconds": float(seconds),
                   "processes": processes.used(before, processes.read(watched)),
                   "measuring": dict(zip(("user_s", "system_s"), processes.since(own)))}
        return details, {key: float(value) for key, value in (word.split("=") for word in more)}

    def rate(self, name, details):
        self.figure(name, results.value_of(results.UNITS[name], details["count"], details["seconds"]), **details)

    def figure(self, name, value, **details):
        self.kept.add(name, self.place.name, value, repetition=self.repetition, **details)

    def percentiles(self, name, what, details, us):
        for percent in ("p50", "p99"):
            self.figure(f"{name}_{percent}", us[f"{what}_{percent}_us"] / 1000, **details)

    # ---- what stories need --------------------------------------------------------------------------

    def own(self, name):
        """
        The folder of this repetition, and whether it is new. Nothing is removed in between: for seconds after a
        mass delete ext4 makes files several times slower.
        """
        folder = self.place.folder / f"{name}-{self.repetition}"
        is_new = not folder.exists()
        folder.mkdir(exist_ok=True)
        return folder, is_new

    @contextlib.contextmanager
    def two_nodes(self, folder):
        """The folder as each of two nodes shows it."""
        with self.place.second_node() as other:
            yield folder, other / folder.relative_to(self.place.folder)

    def _whole(self, path, mib):
        if not path.exists() or path.stat().st_size != mib << 20:
            self.untimed("write", path, mib, "fsync")
        return path

    def model(self, which):
        folder = self.place.folder / f"model-{which}"
        folder.mkdir(exist_ok=True)
        return [self._whole(folder / f"shard-{i + 1}-of-{SHARDS}.safetensors", max(1, self.sizes.mib // SHARDS))
                for i in range(SHARDS)]

    @property
    def large_path(self):
        return self.place.folder / "large"

    def large(self):
        return self._whole(self.large_path, self.sizes.mib)


# ---- models -----------------------------------------------------------------------------------------

def model_cold(t):
    model = t.model("a")
    t.place.cold()
    t.take("models.cold", "mmap", *model)


def model_tiered(t):
    model = t.model("a")
    t.place.fill(model)
    t.place.drop()
    t.take("models.tiered", "mmap", *model)
    t.place.restart()
    t.take("models.restarted", "mmap", *model)
    t.untimed("mmap", *model)
    t.take("models.warm", "mmap", *model)


def model_swap(t):
    models = [t.model("a"), t.model("b")]
    t.place.fill(models[0] + models[1])
    folders = [model[0].parent for model in models]
    t.untimed("swap", *folders, 2)
    swap_latencies(t, "", [*folders, t.sizes.swaps])
    swap_latencies(t, "_dropped", [*folders, t.sizes.dropped_swaps, "drop"])


def swap_latencies(t, kind, arguments):
    details, us = t.measure(lambda: t.untimed("swap", *arguments))
    t.percentiles(f"models.swap{kind}", "first", details, us)
    t.figure(f"models.swap{kind}_all_p99", us["all_p99_us"] / 1000, **details)


# ---- sequential -------------------------------------------------------------------------------------

def sequential(t):
    t.large_path.unlink(missing_ok=True)
    t.place.make_room(t.sizes.room_bytes)
    t.place.drop()
    t.take("sequential.write", "write", t.large_path, t.sizes.mib, "fsync")
    t.place.cold()
    t.take("sequential.cold", "read", t.large_path)
    t.place.fill([t.large_path])
    # Pages that a fill wrote are of other sizes than pages that were read: both sides are warm by one reading.
    t.place.drop()
    t.untimed("read", t.large_path)
    t.take("sequential.warm", "read", t.large_path)
    t.untimed("mmap", t.large_path)
    t.take("sequential.warm_mmap", "mmap", t.large_path)


def second_copy(t):
    seed = int.from_bytes(os.urandom(4), "big") | 1
    paths = [t.place.folder / f"copy-{i}" for i in (1, 2)]
    for path in paths:
        path.unlink(missing_ok=True)
    t.place.make_room(t.sizes.room_bytes)
    stored, copies = [t.place.stored_bytes()], []
    for path in paths:
        copies.append(t.measure(lambda: t.untimed("write", path, t.sizes.mib, "fsync", seed))[0])
        stored.append(t.place.stored_bytes())
    t.figure("sequential.copy", copies[0]["seconds"] / copies[1]["seconds"], **copies[1])
    t.figure("sequential.copy_bytes", 100 * (stored[2] - stored[1]) / (stored[1] - stored[0]))
    for path in paths:
        path.unlink()


# ---- a model of real weights -------------------------------------------------------------------------

def stored_by(codec):
    """Written by one codec, and read cold; each time other blocks, so that nothing is there before."""
    def tell(t):
        path = t.place.folder / f"real-{codec}.safetensors"
        path.unlink(missing_ok=True)
        t.place.make_room(t.sizes.room_bytes)
        with t.place.codec(codec):
            before = t.place.stored_bytes()
            t.take(f"stored.write_{codec}", "copy", weights.bf16(t.tools), path, t.sizes.mib, seed())
            stored = t.place.stored_bytes() - before
            t.place.cold()
            t.take(f"stored.cold_{codec}", "read", path)
        if t.place.tiers and codec != "raw":
            t.figure(f"stored.ratio_{codec}", places.COPIES * path.stat().st_size / stored)
        path.unlink()
    return tell


def seed():
    return int.from_bytes(os.urandom(2), "big")


def stored_reencoded(t):
    """Everything on the cluster is taken for cold."""
    path = t.place.folder / "real-reencoded.safetensors"
    path.unlink(missing_ok=True)
    t.place.make_room(t.sizes.room_bytes)
    t.untimed("copy", weights.bf16(t.tools), path, t.sizes.mib, seed())
    t.place.cairn("reencode", "--now", "--wait")
    if t.place.tiers:
        stat = json.loads(t.place.cairn("stat", "--json", path))[0]
        t.figure("stored.ratio_reencoded", stat["size"] / stat["bytes_stored"])
    t.place.cold()
    t.take("stored.cold_reencoded", "read", path)
    path.unlink()


# ---- random -----------------------------------------------------------------------------------------

def random_reads(t):
    t.place.fill([t.large()])
    make_cold = t.place.drop if t.place.tiers == ON else t.place.cold
    make_cold()
    t.take("random.read1", "random", t.large_path, t.sizes.reads)
    make_cold()
    t.take("random.read16", "random", t.large_path, 8 * t.sizes.reads, 16)


def random_writes(t):
    t.take("random.overwrite", "overwrite", t.large(), t.sizes.reads)
    log = t.place.folder / "log"
    log.unlink(missing_ok=True)
    t.take("random.append", "append", log, t.sizes.reads)


# ---- small files and metadata -----------------------------------------------------------------------

def small_files(t):
    count = t.sizes.files
    folder, _ = t.own("small")
    t.take("small.create1", "create", folder, count)
    t.place.cold()
    t.take_command("small.list_cold", count, "ls", "-l", folder)
    t.take_command("small.list_warm", count, "ls", "-l", folder)
    t.untimed("stat", folder, count)
    t.take("small.stat", "stat", folder, count)
    t.take("small.rename", "rename", folder, count)


def small_processes(t):
    folder, _ = t.own("processes")
    t.take("small.create8", "create", folder, t.sizes.files, 8)


def untar(t):
    folder, _ = t.own("untar")
    t.take_command("small.untar", t.sizes.files, "tar", "-xf", t.tools.archive(t.sizes.files), "-C", folder)


def folders(t):
    folder, _ = t.own("folders")
    t.take("small.mkdir", "mkdir", folder, t.sizes.files)


def removals(t):
    folder, is_new = t.own("small")
    if is_new:
        t.untimed("create", folder, t.sizes.files)
    t.untimed("stat", folder, t.sizes.files)
    t.take("small.unlink", "unlink", folder, t.sizes.files)


# ---- two nodes --------------------------------------------------------------------------------------

def node_locks(t):
    folder, _ = t.own("locks")
    for kind in ("flock", "fcntl"):
        t.take(f"nodes.{kind}", "lock", folder / kind, t.sizes.files, kind)
    with t.two_nodes(folder) as (one, other):
        t.take("nodes.fcntl_shared", "lock", one / "fcntl", t.sizes.files, "fcntl", other / "fcntl")
        t.take("nodes.ping_pong", "ping-pong", one / "ball", other / "ball", t.sizes.files)


def node_looks(t):
    folder, _ = t.own("looks")
    with t.two_nodes(folder) as (one, other):
        for how in ("stat", "read"):
            (one / how).mkdir()
            details, us = t.measure(lambda: t.untimed("look", one / how, other / how, t.sizes.rounds, how))
            t.percentiles(f"nodes.{how}", "look", details, us)
        details, us = t.measure(lambda: t.untimed("names", one, other, t.sizes.rounds))
        for what in ("create", "unlink"):
            t.percentiles(f"nodes.{what}", what, details, us)


def node_creates(t):
    folder, _ = t.own("both")
    for name in ("turn", "shared", "first", "second"):
        (folder / name).mkdir(exist_ok=True)
    with t.two_nodes(folder) as (one, other):
        t.take("nodes.create_in_turn", "create-in-turn", one / "turn", other / "turn", t.sizes.files)
        t.take("nodes.create_one", "create-both", one / "shared", other / "shared", t.sizes.files)
        t.take("nodes.create_two", "create-both", one / "first", other / "second", t.sizes.files)
        t.take_command("nodes.list", t.sizes.files // 2, "ls", "-l", other / "first")
        t.take("nodes.append", "append-both", one / "log", other / "log", 4 * t.sizes.files)


@dataclasses.dataclass(frozen=True)
class Story:
    tell: typing.Callable
    names: tuple            # of the rows it takes samples for


STORIES = [
    Story(model_cold, ("models.cold",)),
    Story(model_tiered, ("models.tiered", "models.restarted", "models.warm")),
    Story(model_swap, ("models.swap_p50", "models.swap_p99", "models.swap_all_p99", "models.swap_dropped_p50",
                       "models.swap_dropped_p99", "models.swap_dropped_all_p99")),
    Story(sequential, ("sequential.write", "sequential.cold", "sequential.warm", "sequential.warm_mmap")),
    Story(second_copy, ("sequential.copy", "sequential.copy_bytes")),
    Story(stored_by("auto"), ("stored.write_auto", "stored.cold_auto", "stored.ratio_auto")),
    Story(stored_by("raw"), ("stored.write_raw", "stored.cold_raw")),
    Story(stored_by("small"), ("stored.write_small", "stored.cold_small", "stored.ratio_small")),
    Story(stored_reencoded, ("stored.cold_reencoded", "stored.ratio_reencoded")),
    Story(random_reads, ("random.read1", "random.read16")),
    Story(random_writes, ("random.overwrite", "random.append")),
    Story(small_files, ("small.create1", "small.list_cold", "small.list_warm", "small.stat", "small.rename")),
    Story(small_processes, ("small.create8",)),
    Story(untar, ("small.untar",)),
    Story(folders, ("small.mkdir",)),
    Story(removals, ("small.unlink",)),
    Story(node_locks, ("nodes.flock", "nodes.fcntl", "nodes.fcntl_shared", "nodes.ping_pong")),
    Story(node_looks, ("nodes.stat_p50", "nodes.stat_p99", "nodes.read_p50", "nodes.read_p99", "nodes.create_p50",
                       "nodes.create_p99", "nodes.unlink_p50", "nodes.unlink_p99")),
    Story(node_creates, ("nodes.create_in_turn", "nodes.create_one", "nodes.create_two", "nodes.list",
                         "nodes.append")),
]
