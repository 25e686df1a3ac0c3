# SPDX-License-Identifier: Apache-2.0
"""
The parts of Python's own test suite that are about files (libpython3.11-testsuite), on the mount. What fails there
and passes on the local disk is a defect of ours.
"""
import re
import subprocess

import pytest

from conftest import LONG

PYTHON = "/usr/bin/python3.11"
PARTS = ["os", "posix", "shutil", "tempfile", "mmap", "fcntl", "zipfile", "tarfile", "genericpath", "dbm", "dbm_dumb",
         "fileinput", "shelve", "glob"]
LONG_PARTS = ["io", "fileio", "largefile", "pathlib", "mailbox", "posixpath", "dbm_ndbm", "stat", "zipapp", "bz2", "gzip",
              "lzma", "filecmp", "import", "py_compile", "compileall", "subprocess", "venv", "pkg", "pkgutil", "runpy",
              "zipimport", "logging"]


def suite(folder, parts):
    """(the names of tests that failed, the output) of a run with all its files in folder."""
    folder.mkdir()
    done = subprocess.run([PYTHON, "-m", "test", "-v", "--tempdir", folder, *(f"test_{part}" for part in parts)],
                          cwd=folder, env={"TMPDIR": str(folder), "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin:/sbin"},
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=1500 if LONG else 240, check=False)
    failed = set(re.findall(r"^(?:FAIL|ERROR): .*\((.*)\)", done.stdout, re.M))
    assert done.returncode == 0 or failed, f"exit status {done.returncode}: {done.stdout[-4000:]}"
    return failed, done.stdout


def test_the_suite_of_python_finds_nothing_that_the_local_disk_does_not_show(shared, tmp_path):
    if subprocess.run([PYTHON, "-c", "import test.test_os"], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("no libpython3.11-testsuite here")
    failed, output = suite(shared.mnt / "suite", PARTS + LONG_PARTS if LONG else PARTS)
    parts = sorted({name.split(".")[1].removeprefix("test_") for name in failed})
    excused = suite(tmp_path / "suite", parts)[0] if parts else set()
    places = [output.index(f"({name})\n-----") for name in failed - excused]
    assert not places, "\n".join(output[at:at + 1500] for at in places)
