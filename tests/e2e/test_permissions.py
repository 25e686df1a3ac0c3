# SPDX-License-Identifier: Apache-2.0
"""
Who may do what, and what it does to set-id bits and capabilities: each table runs on an ext4 of its own first, then on
a mount, judged there and on a second mount. No expectation is written down twice: what ext4 does is right.
"""
import ctypes
import errno
import fcntl
import os
import stat
import struct

import pytest

from conftest import Job, MiB, on_loop_disk

LIBC = ctypes.CDLL(None, use_errno=True)
CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)      # cap_net_bind_service=ep
OWNER, OTHER, GROUP, SECOND = 1000, 1001, 2000, 2001
# name: (uid, gid, supplementary groups)
PEOPLE = {
    "root": (0, 0, []),
    "owner": (OWNER, OWNER, [GROUP]),
    "owner outside": (OWNER, OWNER, [SECOND]),
    "owner inside": (OWNER, GROUP, []),
    "other": (OTHER, OTHER, [GROUP]),
    "other outside": (OTHER, OTHER, []),
}


def become(person):
    uid, gid, groups = PEOPLE[person]
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def fallocate(path, mode):
    fd = os.open(path, os.O_WRONLY)
    try:
        if LIBC.fallocate(fd, mode, ctypes.c_long(0), ctypes.c_long(3)) != 0:
            raise OSError(ctypes.get_errno(), "fallocate")
    finally:
        os.close(fd)


def on_file(path, flags, call):
    fd = os.open(path, flags)
    try:
        call(fd)
    finally:
        os.close(fd)


def copy_into(path):
    source = os.open("source", os.O_RDONLY)
    try:
        on_file(path, os.O_WRONLY, lambda fd: os.copy_file_range(source, fd, 3))
    finally:
        os.close(source)


# What is done to a file of six bytes.
CHANGES = {
    "write": lambda p: on_file(p, os.O_WRONLY, lambda fd: os.write(fd, b"x")),
    "append": lambda p: on_file(p, os.O_WRONLY | os.O_APPEND, lambda fd: os.write(fd, b"x")),
    "write nothing": lambda p: on_file(p, os.O_WRONLY, lambda fd: os.write(fd, b"")),
    "rewrite": lambda p: on_file(p, os.O_RDWR, lambda fd: os.write(fd, b"x")),
    "open": lambda p: on_file(p, os.O_WRONLY, lambda fd: None),
    "read": lambda p: on_file(p, os.O_RDONLY, lambda fd: os.read(fd, 1)),
    "cut on opening": lambda p: on_file(p, os.O_WRONLY | os.O_TRUNC, lambda fd: None),
    "truncate": lambda p: os.truncate(p, 2),
    "lengthen": lambda p: os.truncate(p, 9),
    "ftruncate": lambda p: on_file(p, os.O_WRONLY, lambda fd: os.ftruncate(fd, 1)),
    "fallocate": lambda p: fallocate(p, 0),
    "punch a hole": lambda p: fallocate(p, 3),
    "copy into": copy_into,
    "chown to nobody": lambda p: os.chown(p, -1, -1),
    "chown to itself": lambda p: os.chown(p, OWNER, -1),
    "chown away": lambda p: os.chown(p, OTHER, -1),
    "chgrp to itself": lambda p: os.chown(p, -1, GROUP),
    "chgrp": lambda p: os.chown(p, -1, SECOND),
    "chown and chgrp": lambda p: os.chown(p, OWNER, GROUP),
    "chmod all": lambda p: os.chmod(p, 0o6777),
    "chmod without x": lambda p: os.chmod(p, 0o6666),
    "fchmod": lambda p: on_file(p, os.O_RDONLY, lambda fd: os.fchmod(fd, 0o2775)),
    "touch": lambda p: os.utime(p),
    "set times": lambda p: os.utime(p, ns=(1, 2)),
    "set attribute": lambda p: os.setxattr(p, "user.a", b"1"),
    "rename": lambda p: os.rename(p, p + "'") or os.rename(p + "'", p),
    "link": lambda p: os.link(p, p + "+") or os.unlink(p + "+"),
}
MODES = [0o6777, 0o6767, 0o4766, 0o2776, 0o2766, 0o2674]


def errno_of(call, *args):
    try:
        call(*args)
        return 0
    except OSError as e:
        return e.errno


def as_each(there, tasks):
    """tasks: (person, name, call) -> {(person, name): result}; one process a person, in the folder `there`."""
    results = {}
    for person in PEOPLE:
        mine = [(name, call) for who, name, call in tasks if who == person]
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1 << 20)

        def run(mine=mine, person=person, writer=writer):
            os.chdir(there)         # the way to it is root's alone
            os.umask(0)
            become(person)
            os.write(writer, b"".join(struct.pack("i", errno_of(call)) for _, call in mine))

        job = Job(run)
        os.close(writer)
        job.join(120)
        assert job.errno == 0, f"{person}: {job.errno}"
        with open(reader, "rb") as f:
            codes = struct.iter_unpack("i", f.read())
        results.update({(person, name): errno.errorcode.get(code, "done")
                        for (name, _), (code,) in zip(mine, codes, strict=True)})
    return results


def capability(path):
    return errno_of(os.getxattr, path, "security.capability") == 0


def look(path, before):
    st = os.lstat(path)
    return (oct(stat.S_IMODE(st.st_mode)), st.st_uid, st.st_gid, st.st_size, st.st_ctime_ns > before,
            capability(path))


def change_files(there, judge, modes, people=PEOPLE):
    """Every change of every mode by everybody; what became of each file, as `judge` sees it."""
    there.mkdir()
    there.chmod(0o777)
    (there / "source").write_bytes(b"source")
    tasks, paths, before = [], {}, {}
    for person in people:
        for mode in modes:
            for change, call in CHANGES.items():
                name = f"{mode:o} {change}"
                path = f"{person} {name}"
                with open(there / path, "wb") as f:
                    f.write(b"sixsix")
                os.chown(there / path, OWNER, GROUP)
                if mode & 0o4000:
                    os.setxattr(there / path, "security.capability", CAPABILITY)
                os.chmod(there / path, mode)
                tasks.append((person, name, lambda call=call, path=path: call(path)))
                paths[person, name] = path
                before[person, name] = os.stat(there / path).st_ctime_ns
    results = as_each(there, tasks)
    return {key: (results[key], *look(judge / path, before[key])) for key, path in paths.items()}


def compare(expected, found):
    differing = {key: (expected[key], found[key]) for key in expected if expected[key] != found[key]}
    assert not differing, "\n".join(f"{key}: ext4 {a}, cairn {b}" for key, (a, b) in differing.items())


@pytest.fixture(scope="module")
def ext4(tmp_path_factory):
    with on_loop_disk(tmp_path_factory.mktemp("ext4"), "disk", 64) as folder:
        yield folder


def test_set_id_bits_and_capabilities_go_as_on_ext4(ext4, shared):
    expected = change_files(ext4 / "files", ext4 / "files", MODES)
    found = change_files(shared.mnt / "files", shared.mnt2 / "files", MODES)
    compare(expected, found)
