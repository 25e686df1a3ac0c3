# SPDX-License-Identifier: Apache-2.0
"""The table: every figure, where it is taken, and what it must reach. Stories (stories.py) take the samples."""
import dataclasses

ON, OFF, ALONE = "on", "off", "alone"       # the mount with a tier, the one without, no mount at all
LESS_IS_BETTER = {"s", "ms", "us", "%", "B", "B/file"}

GROUPS = {
    "models": "Models: opening them and swapping them",
    "sequential": "Sequential reads and writes",
    "random": "Random reads and writes of 4 KiB",
    "small": "Small files and metadata",
    "nodes": "Two nodes at once",
    "weights": "Codecs on real weights, one core, from and to cold memory",
    "stored": "A bf16 model on a cluster: what codecs cost and save",
    "dedup": "Cutting by content: how much of a second file a first one holds",
    "alone": "Parts alone: no FUSE, no network",
}


@dataclasses.dataclass(frozen=True)
class Target:
    """A bound on the figure itself, or on its ratio to the local file system's in the same run."""
    bound: float
    of_local: bool = False
    stretch: float = None

    def limit(self, local):
        """In the figure's own unit; None where the local one is missing."""
        if not self.of_local:
            return self.bound
        return self.bound * local if local is not None else None

    def text(self, unit, local_name):
        sign = "<=" if unit in LESS_IS_BETTER else ">="
        stretch = f" ({self.stretch:,g})" if self.stretch else ""
        return f"{sign} {self.bound:,g}{stretch}" + (f" x {local_name}" if self.of_local else "")

    def is_met(self, value, local, unit):
        limit = self.limit(local)
        if value is None or limit is None:
            return None
        return value <= limit if unit in LESS_IS_BETTER else value >= limit


@dataclasses.dataclass(frozen=True)
class Row:
    name: str               # what the stories call it; its group is before the dot
    tiers: str              # ON, OFF or ALONE
    title: str
    unit: str
    target: Target = None

    @property
    def group(self):
        return self.name.split(".")[0]

    @property
    def key(self):
        return f"{self.name}/{self.tiers}"

    def is_wanted(self, words):
        text = f"{self.group} {self.key} {self.title}"
        return not words or any(word in text for word in words)


def least(bound, stretch=None):
    return Target(bound, stretch=stretch)


def most(bound):
    return Target(bound)


def local(bound, stretch=None):
    return Target(bound, of_local=True, stretch=stretch)


# aim of the codec, class of weights: ratio (mean of the packages, the worst), encode GB/s, decode GB/s or x memcpy
WEIGHTS = {
    ("small", "bf16"): {"ratio": 1.50, "least": 1.46, "encode": 0.8, "decode": 3.0},
    ("small", "fp32"): {"ratio": 1.20, "least": 1.15, "encode": 0.85, "decode": 3.4},
    ("small", "fp16"): {"ratio": 1.15, "least": 1.11, "encode": 0.6, "decode": 1.7},
    ("small", "fp16-rounded"): {"ratio": 1.15, "least": 1.11, "encode": 0.6, "decode": 1.7},
    ("small", "int8"): {"ratio": 1.32, "encode": 0.25, "decode": 1.1},
    ("small", "text"): {"ratio": 2.4, "least": None, "encode": 0.15, "decode": 0.9},
    ("nibble", "bf16"): {"ratio": 1.33, "encode": 0.8, "memcpy": 0.9},
    ("nibble", "fp32"): {"ratio": 1.14, "encode": 0.8, "memcpy": 0.9},
    ("auto", "bf16"): {"ratio": None, "encode": None, "decode": None},
    ("auto", "fp32"): {"ratio": None, "encode": None, "decode": None},
}
WHAT = {"ratio": ("ratio", "x"), "least": ("ratio, the worst package", "x"), "encode": ("encode", "GB/s"),
        "decode": ("decode", "GB/s"), "memcpy": ("decode, memcpy = 1", "x")}
HELD_OUT = {"bf16", "fp32", "fp16-rounded", "int8", "text"}


def weight_rows():
    """Each figure twice: on what codecs were tuned on, and on what was held out."""
    for (aim, kind), bounds in WEIGHTS.items():
        for held in ("tuned", "held-out"):
            if held == "held-out" and kind not in HELD_OUT:
                continue
            for what, bound in bounds.items():
                title, unit = WHAT[what]
                yield Row(f"weights.{aim}.{kind}.{held}.{what}", ALONE, f"{aim}: {kind}, {held}: {title}", unit,
                          least(bound) if bound else None)


ROWS = [
    Row("models.cold", ON, "4 shards by mmap, nothing cached", "s", local(2.0, 1.5)),
    Row("models.cold", OFF, "nothing cached, without tiers", "s"),
    Row("models.tiered", ON, "page cache dropped, tier full", "s", local(1.1)),
    Row("models.restarted", ON, "client restarted, tier full", "s", local(1.1)),
    Row("models.warm", ON, "everything warm", "s", local(1.1)),
    Row("models.swap_p50", ON, "swap: open to first byte, p50", "ms", most(1)),
    Row("models.swap_p99", ON, "swap: open to first byte, p99", "ms", most(5)),
    Row("models.swap_all_p99", ON, "swap: all shards, p99", "ms"),
    Row("models.swap_dropped_p50", ON, "swap, caches dropped each time, p50", "ms", most(1)),
    Row("models.swap_dropped_p99", ON, "swap, caches dropped each time, p99", "ms", most(5)),
    Row("models.swap_dropped_all_p99", ON, "swap, caches dropped, all shards, p99", "ms"),

    Row("sequential.write", OFF, "write + fsync, 3 copies", "MB/s", least(300)),
    Row("sequential.write", ON, "write + fsync, into the tier as well", "MB/s"),
    Row("sequential.cold", OFF, "cold read, 1 MiB calls", "MB/s", least(900)),
    Row("sequential.cold", ON, "cold read, the tier fills", "MB/s", least(900)),
    Row("sequential.warm", OFF, "warm read, without tiers", "MB/s"),
    Row("sequential.warm", ON, "warm read", "MB/s", local(0.95)),
    Row("sequential.warm_mmap", OFF, "warm mmap, without tiers", "MB/s"),
    Row("sequential.warm_mmap", ON, "warm mmap", "MB/s", local(0.95)),
    Row("sequential.copy", OFF, "second copy, speed of the first = 1", "x", least(1.5)),
    Row("sequential.copy_bytes", OFF, "second copy, more bytes stored", "%", most(1)),

    Row("random.read1", ON, "read, tiered, 1 thread", "/s", local(0.95)),
    Row("random.read16", ON, "read, tiered, 16 threads", "/s", local(0.95)),
    Row("random.read1", OFF, "read, not tiered, 1 thread", "/s", least(4000)),
    Row("random.read16", OFF, "read, not tiered, 16 threads", "/s", least(15000)),
    Row("random.overwrite", OFF, "overwrite, fsync at the end", "/s"),
    Row("random.append", OFF, "append, fsync at the end", "/s"),

    Row("small.create1", OFF, "create + write 4 KiB + close, 1 process", "/s", least(2500, 4000)),
    Row("small.create8", OFF, "create + write 4 KiB + close, 8 processes", "/s", least(6000, 7000)),
    Row("small.untar", OFF, "untar of small files", "/s", least(2000)),
    Row("small.list_cold", OFF, "ls -l, cold", "/s", local(1.0)),
    Row("small.list_warm", OFF, "ls -l, warm", "/s", local(1.0)),
    Row("small.stat", OFF, "stat of cached names", "/s", local(0.8)),
    Row("small.rename", OFF, "rename", "/s", least(3000)),
    Row("small.mkdir", OFF, "mkdir", "/s", least(3000)),
    Row("small.unlink", OFF, "unlink", "/s", least(4000)),

    Row("nodes.flock", OFF, "flock + unlock, open on one node", "/s"),
    Row("nodes.fcntl", OFF, "fcntl lock + unlock, open on one node", "/s"),
    Row("nodes.fcntl_shared", OFF, "fcntl lock + unlock, open on both", "/s"),
    Row("nodes.ping_pong", OFF, "ping_pong: a lock goes to and fro", "/s"),
    Row("nodes.stat_p50", OFF, "stat of what the other writes, p50", "ms"),
    Row("nodes.stat_p99", OFF, "stat of what the other writes, p99", "ms"),
    Row("nodes.read_p50", OFF, "open + read of what the other writes, p50", "ms"),
    Row("nodes.read_p99", OFF, "open + read of what the other writes, p99", "ms"),
    Row("nodes.create_p50", OFF, "create of a name the other missed, p50", "ms"),
    Row("nodes.create_p99", OFF, "create of a name the other missed, p99", "ms"),
    Row("nodes.unlink_p50", OFF, "unlink of a name the other saw, p50", "ms"),
    Row("nodes.unlink_p99", OFF, "unlink of a name the other saw, p99", "ms"),
    Row("nodes.create_in_turn", OFF, "create + write 4 KiB + close, in turn", "/s"),
    Row("nodes.create_one", OFF, "the same, both at once, one folder", "/s"),
    Row("nodes.create_two", OFF, "the same, both at once, a folder each", "/s"),
    Row("nodes.list", OFF, "ls -l of what the other made", "/s"),
    Row("nodes.append", OFF, "O_APPEND of 128 bytes, both at once", "/s"),

    Row("alone.sha256", ALONE, "SHA-256 of blocks, one core", "GB/s", least(3.3)),
    Row("alone.creates", ALONE, "metadata core: durable creates", "/s", least(40000)),
    Row("alone.publishes", ALONE, "metadata core: durable publishes", "/s"),
    Row("alone.lookups", ALONE, "metadata core: lookups", "/s"),
    Row("alone.file_bytes", ALONE, "metadata core: LMDB file", "B/file", most(300)),
    Row("alone.scrub", ALONE, "scrub by checksum, one core", "GB/s", least(1)),
    Row("alone.scrub_digest", ALONE, "scrub by digest, one core", "GB/s"),

    Row("stored.write_auto", OFF, "write + fsync, 3 copies, codec auto", "MB/s", least(300)),
    Row("stored.write_raw", OFF, "the same, codec raw", "MB/s"),
    Row("stored.write_small", OFF, "the same, codec small", "MB/s"),
    Row("stored.cold_auto", OFF, "cold read, codec auto", "MB/s", least(900)),
    Row("stored.cold_raw", OFF, "the same, codec raw", "MB/s"),
    Row("stored.cold_small", OFF, "the same, codec small", "MB/s"),
    Row("stored.cold_reencoded", OFF, "the same, written by auto, encoded anew", "MB/s"),
    Row("stored.ratio_auto", OFF, "plain bytes of a stored one, codec auto", "x", least(1.3)),
    Row("stored.ratio_small", OFF, "the same, codec small", "x", least(1.46)),
    Row("stored.ratio_reencoded", OFF, "the same, written by auto, encoded anew", "x", least(1.46)),

    *weight_rows(),
    Row("weights.noise.more", ALONE, "noise: bytes more a block than raw", "B", most(64)),
    Row("weights.noise.memcpy", ALONE, "noise: decode, memcpy = 1", "x"),
    Row("weights.noise.detect", ALONE, "noise: the detector, a block", "us", most(20)),

    Row("dedup.header", ALONE, "a metadata key more", "share", least(0.97)),
    Row("dedup.renamed", ALONE, "names with a prefix", "share", least(0.97)),
    Row("dedup.sharded", ALONE, "one file as three", "share", least(0.97)),
    Row("dedup.joined", ALONE, "three files as one", "share", least(0.97)),
    Row("dedup.sorted", ALONE, "tensors in another order", "share", least(0.95)),
    Row("dedup.rows", ALONE, "48 rows inserted into a tensor", "share", least(0.978)),
    Row("dedup.tuned", ALONE, "the last tenth trained further", "share", least(0.88)),
    Row("dedup.from-onnx", ALONE, "ONNX, then safetensors", "share", least(0.95)),
    Row("dedup.onnx", ALONE, "safetensors, then ONNX", "share", least(0.95)),
    Row("dedup.gguf", ALONE, "safetensors, then GGUF", "share", least(0.95)),
    Row("dedup.npz", ALONE, "safetensors, then npz", "share", least(0.95)),
    Row("dedup.pt", ALONE, "safetensors, then a PyTorch archive", "share", least(0.95)),
    Row("dedup.speed", ALONE, "cutting, one core", "GB/s", least(2)),
]
