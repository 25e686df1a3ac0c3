# SPDX-License-Identifier: Apache-2.0
"""Folders on disks of their own, which can lose their power."""
import shutil
import subprocess

import pytest

from conftest import MiB, eventually


class XfsDisk:
    """A folder on an XFS image, mounted by a loop device. CalledProcessError: not on this machine."""

    def __init__(self, image, folder, megabytes):
        self.image, self.folder = image, folder
        folder.mkdir(parents=True)
        with open(image, "wb") as f:
            f.truncate(MiB(megabytes))
        subprocess.run(["mkfs.xfs", "-q", image], check=True)
        self.mount()

    def mount(self):
        """By a new device, though somebody's mount namespace may still hold what was mounted before."""
        device = subprocess.run(["losetup", "--find", "--show", self.image], text=True, stdout=subprocess.PIPE,
                                check=True).stdout.strip()
        try:
            subprocess.run(["mount", "-o", "nouuid", device, self.folder], check=True)
        finally:
            subprocess.run(["losetup", "--detach", device], check=True)     # when it is unmounted

    def unmount(self):
        eventually(lambda: subprocess.run(["umount", self.folder], stderr=subprocess.DEVNULL,
                                          check=False).returncode == 0, 20, f"{self.folder} unmounted")

    def cut(self):
        """It stops as it is: what only the kernel has is gone at the next mount.

        Whoever writes to it has to stand still: an fsync that is under way when XFS is shut down may succeed, though
        the log that it waited for is thrown away. No power failure lets anybody tell of that.
        """
        subprocess.run(["xfs_io", "-x", "-c", "shutdown", self.folder], check=True)


def skip_without_xfs():
    if not shutil.which("mkfs.xfs") or not shutil.which("xfs_io"):
        pytest.skip("no xfsprogs here")
