# SPDX-License-Identifier: Apache-2.0
"""Programs that measure one part alone, without a mount: what they print becomes samples like any other."""
import re
import subprocess

PLACE = "alone"

# program, its arguments, {row: the number in its output}
PROGRAMS = [
    ("bench_digest", lambda sizes, scratch: [], {"alone.sha256": r"SHA-256 of blocks\s+([\d.]+) GB/s"}),
    ("bench_metadata_core", lambda sizes, scratch: [20 * sizes.files, 64, scratch], {
        "alone.creates": r"durable creates\s+([\d.]+) /s",
        "alone.publishes": r"durable publishes\s+([\d.]+) /s",
        "alone.lookups": r"lookups\s+([\d.]+) /s",
        "alone.file_bytes": r"([\d.]+) bytes a file in LMDB"}),
    ("bench_integrity", lambda sizes, scratch: [max(8, min(sizes.mib, 512)), 10 * sizes.files, scratch], {
        "alone.scrub": r"by checksum.*?([\d.]+) GB/s a core",
        "alone.scrub_digest": r"by digest.*?([\d.]+) GB/s a core"}),
]


def tell(kept, tools, sizes, scratch, wanted, repetition):
    for program, arguments, figures in PROGRAMS:
        if not wanted.intersection(figures):
            continue
        done = subprocess.run([str(a) for a in [tools.folder / program, *arguments(sizes, scratch)]], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        for name, pattern in figures.items():
            found = re.search(pattern, done.stdout)
            if found and done.returncode == 0:
                kept.add(name, PLACE, float(found[1]), repetition=repetition)
            else:
                kept.fail([name], PLACE, f"{program} ended with {done.returncode} and does not say it")
