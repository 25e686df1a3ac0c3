# SPDX-License-Identifier: Apache-2.0
"""This machine: what kind it is, its page cache, its first use of memory and disk."""
import os
import pathlib
import platform
import shutil
import subprocess

GIB = 1 << 30
WARM_UP_GIB = 16


def kind():
    """What figures depend on most; recorded ones of another kind are not compared."""
    cpu = next((line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_gib": round(memory / GIB),
            "kernel": ".".join(platform.release().split(".")[:2])}


def file_system(folder):
    """ext4, xfs, ..."""
    return subprocess.run(["findmnt", "-no", "FSTYPE", "-T", str(folder)], check=True, text=True,
                          stdout=subprocess.PIPE).stdout.strip()


def drop_caches():
    os.sync()
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")


def warm_up(folder):
    """The first use of memory and disk of a fresh machine is several times slower than any later one."""
    room = shutil.disk_usage(folder).free // GIB - 8
    count = max(1, min(WARM_UP_GIB, room))
    print(f"warming the machine up: writing and deleting {count} GiB ...", flush=True)
    files = [pathlib.Path(folder) / f"warm-{i}" for i in range(count)]
    try:
        for path in files:
            subprocess.run(["dd", "if=/dev/zero", f"of={path}", "bs=1M", "count=1024", "conv=fdatasync",
                            "status=none"], check=True)
    finally:
        for path in files:
            path.unlink(missing_ok=True)
    drop_caches()
