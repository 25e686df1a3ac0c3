# SPDX-License-Identifier: Apache-2.0
"""Where checks run: ext4 on a loop device, which proves them; cairn on one mount; cairn on two."""
import contextlib
import errno
import os
import pathlib
import re
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
def cairn(mounts, *options):
    """A cluster on this machine, and its mounts."""
    with tempfile.TemporaryDirectory() as scratch:
        cluster, ready = os.path.join(scratch, "c"), os.path.join(scratch, "ready")
        command = [os.path.join(BIN, "cairn"), "dev", "--dir", cluster, "--mounts", str(mounts), *options]
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
        found = bugs(cluster)
        if found:
            raise RuntimeError("\n".join(["a process found a bug in itself", *found]))


def bugs(cluster):
    """What assertions and sanitizers said in the logs."""
    return [f"{log.name}: {line}" for log in sorted(pathlib.Path(cluster).glob("*.log"))
            for line in re.findall(r"^(?:panic: |.*Sanitizer: |.*: runtime error: ).*", log.read_text(errors="replace"),
                                   re.M)]


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


def has_acls(folder):
    try:
        os.getxattr(folder, "system.posix_acl_access")
    except OSError as e:
        return e.errno == errno.ENODATA
    return True


class Target:
    """Where, and which checks: those that two views can judge, and those about ACLs, are told from the rest."""

    def __init__(self, where, asks):
        self.where, self.asks = where, asks


TARGETS = {
    "ext4": Target(ext4, lambda check: True),
    "cairn": Target(lambda: cairn(1), lambda check: not check.is_about_acls),
    "cairn on two mounts": Target(lambda: cairn(2), lambda check: check.views == 2 and not check.is_about_acls),
    "cairn with ACLs on two mounts": Target(lambda: cairn(2, "--acl"), lambda check: check.is_about_acls),
}
