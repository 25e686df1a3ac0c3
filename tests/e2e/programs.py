# SPDX-License-Identifier: Apache-2.0
"""Running programs on a mount: commands, packages that are fetched when a test needs them, trees to copy."""
import contextlib
import os
import pathlib
import shutil
import subprocess

import pytest

from conftest import MiB, seeded_bytes


def sh(command, cwd, timeout=120, **options):
    """Run a shell command; its output. It must succeed."""
    done = subprocess.run(["sh", "-ec", command], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=timeout, check=False, **options)
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stdout[-4000:]}"
    return done.stdout


def needs(*programs):
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"no {program} here")


def package_folder(name):
    """
    The files of a Debian package that is too large, or drags too much along, to be installed for one test. It
    is fetched into a cache folder outside the repository; nothing of the system changes.
    """
    needs("apt-get", "dpkg-deb")
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "cairn-packages"
    folder = cache / name
    if not folder.is_dir():
        part = cache / f"{name}.{os.getpid()}"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            fetch = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=1", "download", name]
            if subprocess.run(fetch, cwd=part, timeout=300, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              check=False).returncode:
                pytest.skip(f"no registry has the package {name} now")
            archive = next(part.glob("*.deb"))
            subprocess.run(["dpkg-deb", "-x", archive, part / "files"], check=True, timeout=300)
            with contextlib.suppress(FileExistsError):      # another run was faster
                (part / "files").rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder


def make_tree(folder):
    """A tree with all that rsync -aHAX, cp -a and tar keep."""
    (folder / "sub/deep").mkdir(parents=True)
    for i, size in enumerate((0, 1, 4096, 65_536, 70_000, MiB(1) + 1)):
        (folder / f"sub/file{i}").write_bytes(seeded_bytes(size, i))
        (folder / f"sub/file{i}").chmod(0o600 + i)
    os.link(folder / "sub/file1", folder / "sub/deep/hard")
    os.symlink("../sub/file2", folder / "link")
    os.mkfifo(folder / "fifo")
    os.chown(folder / "sub/file3", 1000, 1001)
    os.setxattr(folder / "sub/file4", "user.origin", b"here")
    with (folder / "sparse").open("wb") as f:
        f.truncate(MiB(50))
        f.seek(MiB(20))
        f.write(b"island")
    for i, path in enumerate(sorted(folder.rglob("*"), reverse=True)):
        os.utime(path, ns=(10**18 + i, 10**18 + i * 10**9 + 123), follow_symlinks=False)
