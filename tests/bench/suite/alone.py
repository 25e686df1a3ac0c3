# SPDX-License-Identifier: Apache-2.0
"""Programs that measure one part alone, without a mount: what they print becomes samples like any other."""
import re
import subprocess

PLACE = "alone"


def number(pattern):
    """What `pattern` finds in the output; None: it is not there."""
    def find(output):
        found = re.search(pattern, output)
        return float(found[1]) if found else None
    return find


def gigabytes_per_s(output):
    """Of "BYTES SECONDS"."""
    count, seconds = output.split()
    return float(count) / float(seconds) / 1e9


# program, its arguments, {row: how to find it in the output}
PROGRAMS = [
    ("bench_hash", lambda sizes, scratch: ["sha256", 4 * sizes.mib, 16], {"alone.sha256": gigabytes_per_s}),
    ("bench_cut", lambda sizes, scratch: [2 * sizes.mib], {"dedup.speed": gigabytes_per_s}),
    ("bench_metadata_core", lambda sizes, scratch: [20 * sizes.files, 64, scratch], {
        "alone.creates": number(r"durable creates\s+([\d.]+) /s"),
        "alone.publishes": number(r"durable publishes\s+([\d.]+) /s"),
        "alone.lookups": number(r"lookups\s+([\d.]+) /s"),
        "alone.file_bytes": number(r"([\d.]+) bytes a file in LMDB")}),
    ("bench_integrity", lambda sizes, scratch: [max(8, sizes.mib // 4), sizes.files, scratch], {
        "alone.scrub": number(r"by checksum.*?([\d.]+) GB/s a core"),
        "alone.scrub_digest": number(r"by digest.*?([\d.]+) GB/s a core")}),
]


def tell(kept, tools, sizes, scratch, wanted, repetition):
    for program, arguments, figures in PROGRAMS:
        names = sorted(wanted.intersection(figures))
        if not names:
            continue
        try:
            done = subprocess.run([str(a) for a in [tools.folder / program, *arguments(sizes, scratch)]], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        except OSError as why:
            kept.fail(names, PLACE, str(why))
            continue
        if done.returncode:
            kept.fail(names, PLACE, f"{program} ended with {done.returncode}: {done.stdout[-200:]}")
            continue
        for name in names:
            kept.add(name, PLACE, figures[name](done.stdout), repetition=repetition)
