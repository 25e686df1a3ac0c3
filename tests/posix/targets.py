# SPDX-License-Identifier: Apache-2.0
"""Where checks run: ext4 on a loop device, which proves them; cairn on one mount; cairn on two."""
import contextlib
import os
import subprocess
import tempfile
import time

import suite

BIN = os.path.realpath(os.environ.get("CAIRN_BIN", os.path.join(suite.HERE, "..", "..", "build", "bin")))
IMAGE_BYTES = 512 << 20


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout.strip()}")


@contextlib.contextmanager
def ext4():
    """One file system of its own, seen twice."""
    with tempfile.TemporaryDirectory() as scratch:
        image, views = os.path.join(scratch, "image"), [os.path.join(scratch, name) for name in "ab"]
        with open(image, "wb") as f:
            f.truncate(IMAGE_BYTES)
        run("mkfs.ext4", "-q", "-E", "lazy_itable_init=1,lazy_journal_init=1", "-I", "256", "-O", "ea_inode", image)
        for view in views:
            os.mkdir(view)
        run("mount", "-o", "loop", image, views[0])
        try:
            run("mount", "--bind", *views)
            yield views
        finally:
            for view in reversed(views):
                subprocess.run(["umount", "-l", view], stderr=subprocess.DEVNULL, check=False)


@contextlib.contextmanager
def cairn(mounts, sets=()):
    """A cluster on this machine, and its mounts."""
    with tempfile.TemporaryDirectory() as scratch:
        cluster, ready = os.path.join(scratch, "c"), os.path.join(scratch, "ready")
        command = [os.path.join(BIN, "cairn"), "dev", "--dir", cluster, "--mounts", str(mounts)]
        for item in sets:
            command += ["--set", item]
        log = open(os.path.join(scratch, "log"), "w+", encoding="utf-8")
        process = subprocess.Popen([*command, "--", "sh", "-c", f"touch '{ready}'; read line || true"],
                                   stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
        try:
            end = time.monotonic() + 90
            while not os.path.exists(ready):
                if process.poll() is not None or time.monotonic() > end:
                    log.seek(0)
                    raise RuntimeError("cairn dev does not come up: " + log.read())
                time.sleep(0.02)
            yield [os.path.join(cluster, f"mnt{number + 1}") for number in range(mounts)]
        finally:
            end_cluster(process, cluster)
            log.close()


def end_cluster(process, cluster):
    try:
        process.communicate(b"", timeout=60)
    except subprocess.TimeoutExpired:
        abort_mounts(cluster)           # frees whoever is stuck in one
        process.kill()
        process.wait()


def abort_mounts(folder):
    control = "/sys/fs/fuse/connections"
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        minors = [line.split()[2].split(":")[1] for line in f if line.split()[4].startswith(folder + "/")]
    for minor in minors:
        with contextlib.suppress(OSError):
            with open(f"{control}/{minor}/abort", "w", encoding="ascii") as f:
                f.write("1")


TARGETS = {
    "ext4": ext4,
    "cairn": lambda: cairn(1),
    "cairn on two mounts": lambda: cairn(2),
}
LAST = "cairn on two mounts"        # judges what needs two views; the rest was judged on one
