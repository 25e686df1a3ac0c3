# SPDX-License-Identifier: Apache-2.0
"""Programs that load a file system from many sides at once, and look at what they get: stress-ng, dbench, fio."""
import pytest

from conftest import LONG
from programs import needs, sh

# Those of stress-ng that are about files; SOME of them: each looks at what no other does, and cleans up soon.
STRESSORS = ["access", "aiol", "chdir", "chmod", "chown", "copy-file", "dentry", "dir", "dirdeep", "dirmany", "fallocate",
             "fcntl", "filename", "flock", "fpunch", "fstat", "getdent", "handle", "hdd", "inotify", "iomix", "link",
             "locka", "lockf", "lockofd", "mknod", "msync", "open", "readahead", "rename", "revio", "seek",
             "sendfile", "splice", "symlink", "sync-file", "touch", "utime", "xattr"]
SOME = ["aiol", "dirmany", "fallocate", "fpunch", "getdent", "iomix", "link", "lockofd", "msync", "rename", "revio",
        "splice", "touch", "xattr"]


@pytest.fixture
def here(shared, request):
    folder = shared.mnt / request.node.name[:60]
    folder.mkdir()
    return folder


def stress(here, seconds, workers, *stressors):
    which = " ".join(f"--{name} {workers}" for name in stressors)
    output = sh(f"stress-ng --temp-path {here} {which} -t {seconds} --verify --hdd-bytes 8m --iomix-bytes 16m "
                "--fallocate-bytes 16m --readahead-bytes 16m --oomable 2>&1", here, timeout=300)
    assert "fail:" not in output, output
    assert not list(here.iterdir()), list(here.rglob("*"))


def test_stressors_of_all_kinds_see_nothing_wrong(here):
    needs("stress-ng")
    stress(here, 2, 1, *(STRESSORS if LONG else SOME))
    for stressor in STRESSORS if LONG else ():
        stress(here, 6, 3, stressor)


def test_dbench_plays_an_office(here):
    needs("dbench")
    output = sh(f"dbench -D {here} -t {30 if LONG else 2} {16 if LONG else 4}", here)
    assert "Throughput" in output and "ERROR" not in output and "failed" not in output.lower(), output[-4000:]


@pytest.mark.parametrize("engine", ["psync", "mmap", "libaio --direct=1", "io_uring", "io_uring --direct=1"])
def test_fio_verifies_what_it_wrote(here, engine):
    needs("fio")
    sh(f"fio --name=v --filename=file --rw=randrw --bsrange=512-128k --blockalign=512 --iodepth=16 "
       f"--size={'256M' if LONG else '8M'} --ioengine={engine} --verify=crc32c --verify_fatal=1 --randseed=1 "
       "--fallocate=none --output-format=terse", here)


def test_fio_verifies_what_it_appended(here):
    needs("fio")
    size = 256 if LONG else 8
    sh(f"fio --name=a --filename=file --rw=write --file_append=1 --bsrange=512-70k --bs_unaligned --size={size}M "
       "--ioengine=psync --verify=crc32c --verify_fatal=1 --randseed=1 --fallocate=none --output-format=terse", here)
    assert (here / "file").stat().st_size >= (size << 20) - 70_000
