# SPDX-License-Identifier: Apache-2.0
"""
Real weights through the codecs on one core, and relatives of a model through the cutter: no mount, no network. What
codecs were tuned on and what was held out are rows apart. Beside the judged figures a table: each package and class
with each aim.
"""
import json
import subprocess

from suite.places import Unavailable

PLACE = "alone"
SKIP = 77
AIMS = ("lz4", "zstd", "nibble", "planes", "auto", "small")
CLASSES = ("bf16", "fp32", "fp16", "fp16-rounded", "int8", "text")
OTHER_ARCHITECTURES = {"tesseract"}     # int8, but no transformer: in the table, not in the judged rows
STREAM_MIB = 64                         # in memory for one figure: more than the caches hold
PASSES = {"nibble": 7}                  # of what is compared with memcpy; one of the others
NOISE = "random"
BF16_PACKAGE = DEDUP_PACKAGE = "use"    # whose model clusters store, and has the relatives


def tool(tools, *arguments):
    """tests/data/weights; its output."""
    done = subprocess.run([tools.weights, *map(str, arguments)], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    if done.returncode == SKIP:
        raise Unavailable(done.stderr.strip().removeprefix("SKIP: "))
    if done.returncode:
        raise OSError(f"tests/data/weights ended with {done.returncode}: {done.stderr[-200:]}")
    return done.stdout


def bf16(tools):
    """The file of a bf16 model."""
    return tool(tools, "list", "bf16", "--package", BF16_PACKAGE).strip()


class Figures:
    """What one aim makes of some files: bytes and seconds, which add up."""

    def __init__(self, plain=0, stored=0, blocks=0, detect_s=0.0, encode_s=0.0, decode_s=0.0,
                 copy_s=0.0):
        self.plain, self.stored, self.blocks = plain, stored, blocks
        self.detect_s, self.encode_s, self.decode_s, self.copy_s = detect_s, encode_s, decode_s, copy_s
        self.counts = {}

    @classmethod
    def parse(cls, line):
        words = line.split(" ")
        one = cls(*map(int, words[:3]), *map(float, words[3:7]))
        one.counts = {name: int(count) for name, _, count in (w.partition("=") for w in words[7:-1])}
        return one

    @classmethod
    def sum(cls, many):
        many = list(many)
        return cls(*(sum(getattr(one, name) for one in many)
                     for name in ("plain", "stored", "blocks", "detect_s", "encode_s", "decode_s", "copy_s")))

    @property
    def ratio(self):
        return self.plain / self.stored

    @property
    def encode(self):
        return self.plain / self.encode_s / 1e9

    @property
    def decode(self):
        return self.plain / self.decode_s / 1e9

    @property
    def memcpy(self):
        """How fast it is decoded; copying the same bytes to the same place is 1."""
        return self.copy_s / self.decode_s


class Codecs:
    """bench_codec over everything, a process for each package, class and aim; what was asked once is kept."""

    def __init__(self, tools, sizes):
        self.tools, self.kept = tools, {}
        self.mib = min(STREAM_MIB, sizes.mib)
        self.groups = {}                # (class, set, package) -> paths
        for entry in json.loads(tool(tools, "list", "--json", *CLASSES)):
            key = entry["class"], entry["set"], entry["package"]
            self.groups.setdefault(key, []).append(entry["path"])

    def of(self, aim, paths):
        key = (aim, *paths)
        if key not in self.kept:
            line = run(self.tools, "bench_codec", aim, "-j", "-n", PASSES.get(aim, 1), "-m", self.mib, *paths)
            self.kept[key] = Figures.parse(line.strip())
        return self.kept[key]

    def judged(self, kind, held):
        """The packages whose figures make up a row."""
        return [paths for (k, s, package), paths in self.groups.items()
                if (k, s) == (kind, held) and package not in OTHER_ARCHITECTURES]

    def figures(self, aim, kind, held):
        """What a row is called: its value."""
        many = [self.of(aim, paths) for paths in self.judged(kind, held)]
        if not many:
            return {}
        total = Figures.sum(many)
        return {"ratio": sum(one.ratio for one in many) / len(many), "least": min(one.ratio for one in many),
                "encode": total.encode, "decode": total.decode, "memcpy": total.memcpy}

    def noise(self):
        noise = self.of("auto", [NOISE])
        return {"more": (noise.stored - noise.plain) / noise.blocks, "memcpy": noise.memcpy,
                "detect": 1e6 * noise.detect_s / noise.blocks}

    def matrix(self):
        """For the table of packages: what each aim makes of each."""
        out = []
        in_order = sorted(self.groups, key=lambda key: (CLASSES.index(key[0]), key[1] != "tuned", key[2]))
        for kind, held, package in in_order:
            paths = self.groups[kind, held, package]
            aims = {}
            for aim in AIMS:
                one = self.of(aim, paths)
                aims[aim] = {"ratio": one.ratio, "encode": one.encode, "decode": one.decode, "codecs": one.counts}
            out.append({"class": kind, "set": held, "package": package, "aims": aims,
                        "bytes": self.of(AIMS[0], paths).plain})
        return out


def tell_codecs(kept, tools, sizes, wanted, repetition):
    names = {name for name in wanted if name.startswith("weights.")}
    if not names:
        return
    try:
        codecs = Codecs(tools, sizes)
        values = {f"weights.noise.{what}": value for what, value in codecs.noise().items()}
        for name in names:
            _, aim, kind, held, *_ = [*name.split("."), "", "", ""]
            if aim in AIMS and f"weights.{aim}.{kind}.{held}.ratio" not in values:
                for what, value in codecs.figures(aim, kind, held).items():
                    values[f"weights.{aim}.{kind}.{held}.{what}"] = value
        for name in sorted(names):
            if name in values:
                kept.add(name, PLACE, values[name], repetition=repetition)
            else:
                kept.fail([name], PLACE, "no weights of that kind", is_error=False)
        kept.matrix = best_of(kept.matrix, codecs.matrix())
    except Unavailable as why:
        kept.fail(sorted(names), PLACE, str(why), is_error=False)
    except OSError as why:
        kept.fail(sorted(names), PLACE, str(why))


def best_of(old, new):
    """Of several repetitions the fastest: what disturbs only slows down."""
    for before, now in zip(old, new):
        for aim, one in now["aims"].items():
            for speed in ("encode", "decode"):
                one[speed] = max(one[speed], before["aims"][aim][speed])
    return new


def tell_dedup(kept, tools, scratch, wanted, repetition):
    """Relatives of a model: what the blocks of the second files share with those of the first."""
    names = {name for name in wanted if name.startswith("dedup.")}
    if not names:
        return
    folder = scratch / "relatives"
    try:
        if not (folder / "variants.json").exists():
            tool(tools, "variants", "--dir", folder, "--package", DEDUP_PACKAGE)
        for pair in json.loads((folder / "variants.json").read_text())["pairs"]:
            if f"dedup.{pair['name']}" in names and repetition == 0:        # it has no spread
                files = [[str(folder / name) for name in pair[which]] for which in ("first", "second")]
                share, grid = (float(run(tools, "bench_share", *how, *files[0], "--", *files[1]))
                               for how in ([], ["-g"]))
                kept.add(f"dedup.{pair['name']}", PLACE, share, by_the_grid=grid)
    except Unavailable as why:
        kept.fail(sorted(names), PLACE, str(why), is_error=False)
    except OSError as why:
        kept.fail(sorted(names), PLACE, str(why))


def run(tools, program, *arguments):
    done = subprocess.run([str(a) for a in [tools.folder / program, *arguments]], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise OSError(f"{program} ended with {done.returncode}: {done.stdout[-200:]}")
    return done.stdout


def tell(kept, tools, sizes, scratch, wanted, repetition):
    tell_codecs(kept, tools, sizes, wanted, repetition)
    tell_dedup(kept, tools, scratch, wanted, repetition)


# ---- the table of packages --------------------------------------------------------------------------

HEADS = ["class", "package", "MB", *AIMS]


def cells(line):
    def of(aim):
        one = line["aims"][aim]
        return f"{one['ratio']:.2f} ({one['encode']:.2f}, {one['decode']:.1f})"
    held = " (held out)" if line["set"] != "tuned" else ""
    return [line["class"], line["package"] + held, f"{line['bytes'] / 1e6:.2f}", *map(of, AIMS)]


def text(matrix):
    """For the terminal."""
    lines = [HEADS, *map(cells, matrix)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join(["", "Ratio (GB/s encoded, decoded) of each package, one core:",
                      *("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)])


def markdown(matrix):
    out = ["Ratio (GB/s encoded, decoded) of each package on one core, fastest of the repetitions:", "",
           "| " + " | ".join(HEADS) + " |", "|" + "---|" * len(HEADS)]
    return "\n".join([*out, *("| " + " | ".join(cells(line)) + " |" for line in matrix), ""])
