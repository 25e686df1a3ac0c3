# SPDX-License-Identifier: Apache-2.0
"""
The metadata server's machine loses power with changes that were acknowledged and not synced. What is gone is the
end of what happened and nothing else; the client that was told more says so, drops what it had cached, and whoever
still holds a file learns it from fsync.
"""
import errno
import os

import pytest

from conftest import Job, eventually
from test_power_cut import cut_power, on_images  # noqa: F401 (a fixture)


def create_for_ever(folder, log, signs):
    """Names in order; each is logged once it is acknowledged."""
    number = 0
    with open(log, "w", buffering=1, encoding="ascii") as out:
        while not (signs / "end").exists():
            try:
                (folder / f"f{number}").touch()
            except OSError as e:        # between the cut and the kill the server lives, without its journal
                if e.errno not in (errno.EIO, errno.EROFS):
                    raise
                continue
            out.write(f"{number}\n")
            number += 1


def hold_and_sync(path, signs):
    """Exits with what the first fsync after the cut said; the second must succeed, and so must the next change."""
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"before")
    os.fsync(fd)
    (signs / "held").touch()
    eventually((signs / "end").exists, 120)
    first = 0
    try:
        os.fsync(fd)
    except OSError as e:
        first = e.errno
    os.pwrite(fd, b"after!", 0)
    os.fsync(fd)
    os._exit(first)


def test_what_a_power_cut_took_is_a_tail_and_told(on_images, tmp_path):  # noqa: F811
    cluster, disks = on_images
    for round_ in range(5):
        signs, folder = tmp_path / f"signs{round_}", cluster.mnt / f"round{round_}"
        signs.mkdir()
        folder.mkdir()
        log = signs / "log"
        holder = Job(hold_and_sync, folder / "held", signs)
        eventually((signs / "held").exists)
        creator = Job(create_for_ever, folder, log, signs)
        eventually(lambda: log.exists() and log.read_text().count("\n") > 50, 30, "fifty files")
        cut_power(cluster, disks, ["mds"])
        came = log.read_text().count("\n")
        eventually(lambda: log.read_text().count("\n") > came + 20, 60, "it goes on")
        (signs / "end").touch()
        for job in (creator, holder):
            job.join(60)
        names = set(os.listdir(folder)) - {"held"}
        count = log.read_text().count("\n")
        missing = [n for n in range(count) if f"f{n}" not in names]
        assert missing == list(range(missing[0], missing[-1] + 1)) if missing else True, missing
        assert (folder / "held").read_bytes() == b"after!"
        told = (cluster.dir / "client1.log").read_text().count("lost changes")
        assert creator.errno == 0, (creator.errno, cluster.logs())
        if missing:
            assert told and holder.errno == errno.EIO, (missing, holder.errno, cluster.logs())
        else:
            assert holder.errno in (0, errno.EIO)
        cluster.remount()               # nothing that it showed came from a cache
        assert set(os.listdir(folder)) - {"held"} == names
        if missing:
            return
    pytest.fail("no cut took anything in five rounds")
