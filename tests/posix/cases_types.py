# SPDX-License-Identifier: Apache-2.0
"""Every type of file under every operation: what it does, and how it says that it is not for this type."""
import fcntl
import mmap
import os
import stat
from errno import (EACCES, EAGAIN, EBADF, EEXIST, EINVAL, EISDIR, ELOOP, ENODEV, ENOENT, ENOEXEC, ENOTDIR, ENXIO,
                   EOPNOTSUPP, EPERM, ESPIPE, ESTALE, ETXTBSY)

import syscalls as sys_
from suite import (OWNER, check, equal, exists, fails, mode_of, name_of, read_file, status_of_child, table, true,
                   write_file)
from types_of_files import NULL, TYPES, make, type_of

NONBLOCK = os.O_NONBLOCK
NOFOLLOW = dict(follow_symlinks=False)


def every(code, **special):
    """{type: errno}: the same for all, but for those that are named (with _ for spaces)."""
    return {kind: special.get(kind.split(" ", 1)[1].replace(" ", "_"), code) for kind in TYPES}


def opening(flags):
    return lambda path, d: os.close(os.open(path, flags | NONBLOCK, 0o644))


def execute(path, _d):
    os.chmod(path, 0o755)
    os.execv(path, [path])


# What an operation does to a name of each type: 0, or the errno. None: not asked (a device without a driver).
ANSWERS = (
    ("unlink(2)", lambda p, d: os.unlink(p), every(0, folder=EISDIR)),
    ("rmdir(2)", lambda p, d: os.rmdir(p), every(ENOTDIR, folder=0)),
    ("unlinkat(2) AT_REMOVEDIR", lambda p, d: sys_.unlinkat(-100, p, sys_.AT_REMOVEDIR), every(ENOTDIR, folder=0)),
    ("link(2)", lambda p, d: os.link(p, d / "new", follow_symlinks=False), every(0, folder=EPERM)),
    ("readlink(2)", lambda p, d: os.readlink(p), every(EINVAL, symbolic_link=0)),
    ("chdir(2)", lambda p, d: os.chdir(p), every(ENOTDIR, folder=0)),
    ("opendir(3)", lambda p, d: os.listdir(p), every(ENOTDIR, folder=0)),
    ("truncate(2)", lambda p, d: os.truncate(p, 3), every(EINVAL, file=0, symbolic_link=0, folder=EISDIR)),
    ("open(2) O_RDONLY", opening(os.O_RDONLY), every(0, socket=ENXIO, block_device=None)),
    ("open(2) O_WRONLY", opening(os.O_WRONLY), every(0, folder=EISDIR, FIFO=ENXIO, socket=ENXIO, block_device=None)),
    ("open(2) O_RDWR", opening(os.O_RDWR), every(0, folder=EISDIR, socket=ENXIO, block_device=None)),
    ("open(2) O_RDONLY|O_CREAT", opening(os.O_RDONLY | os.O_CREAT),
     every(0, folder=EISDIR, socket=ENXIO, block_device=None)),
    ("open(2) O_RDONLY|O_TRUNC", opening(os.O_TRUNC), every(0, folder=EISDIR, socket=ENXIO, block_device=None)),
    ("open(2) O_DIRECTORY", opening(os.O_DIRECTORY), every(ENOTDIR, folder=0)),
    ("open(2) O_NOFOLLOW", opening(os.O_NOFOLLOW), every(0, symbolic_link=ELOOP, socket=ENXIO, block_device=None)),
    ("open(2) O_PATH", opening(os.O_PATH), every(0)),
    ("open(2) O_PATH|O_NOFOLLOW", opening(os.O_PATH | os.O_NOFOLLOW), every(0)),
    ("open(2) O_PATH|O_DIRECTORY", opening(os.O_PATH | os.O_DIRECTORY), every(ENOTDIR, folder=0)),
    ("open(2) O_PATH|O_NOFOLLOW|O_DIRECTORY", opening(os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY),
     every(ENOTDIR, folder=0)),
    ("openat2(2) RESOLVE_NO_SYMLINKS", lambda p, d: os.close(sys_.openat2(p, os.O_PATH, 0, sys_.RESOLVE_NO_SYMLINKS)),
     every(0, symbolic_link=ELOOP)),
    ("stat(2)", lambda p, d: os.stat(p), every(0)),
    ("statfs(2)", lambda p, d: os.statvfs(p), every(0)),
    ("access(2) R_OK|W_OK", lambda p, d: sys_.faccessat(p, os.R_OK | os.W_OK), every(0)),
    ("access(2) X_OK of root", lambda p, d: sys_.faccessat(p, os.X_OK), every(EACCES, folder=0)),
    ("chmod(2)", lambda p, d: os.chmod(p, 0o611), every(0)),
    ("lchown(2)", lambda p, d: os.lchown(p, 7, 8), every(0)),
    ("setxattr(2) user.", lambda p, d: os.setxattr(p, "user.n", b"v", **NOFOLLOW),
     every(EPERM, file=0, folder=0)),
    ("setxattr(2) trusted.", lambda p, d: os.setxattr(p, "trusted.n", b"v", **NOFOLLOW), every(0)),
    ("setxattr(2) security.", lambda p, d: os.setxattr(p, "security.n", b"v", **NOFOLLOW), every(0)),
    ("listxattr(2)", lambda p, d: os.listxattr(p, **NOFOLLOW), every(0)),
    ("name_to_handle_at(2)", lambda p, d: sys_.name_to_handle(p), every(0)),
    ("mkdir(2)", lambda p, d: os.mkdir(p), every(EEXIST)),
    ("symlink(2)", lambda p, d: os.symlink("x", p), every(EEXIST)),
    ("mknod(2)", lambda p, d: os.mkfifo(p), every(EEXIST)),
    ("link(2) over it", lambda p, d: os.link(write_file(d / "other"), p), every(EEXIST)),
    ("open(2) O_CREAT|O_EXCL", opening(os.O_CREAT | os.O_EXCL | os.O_WRONLY), every(EEXIST)),
    ("renameat2(2) RENAME_NOREPLACE over it",
     lambda p, d: sys_.renameat2(write_file(d / "other"), p, sys_.RENAME_NOREPLACE), every(EEXIST)),
    ("renameat2(2) RENAME_NOREPLACE of it", lambda p, d: sys_.renameat2(p, d / "new", sys_.RENAME_NOREPLACE), every(0)),
    ("rename(2) to itself", lambda p, d: os.rename(p, p), every(0)),
    ("a name below it", lambda p, d: os.stat(p / "below"), every(ENOTDIR, folder=ENOENT)),
    ("a slash behind it", lambda p, d: os.stat(p + "/"), every(ENOTDIR, folder=0)),
)


def answers(operation, kind, code, d):
    fails(code, operation, make(kind, d / "it"), d)


@table
def operations_on_names():
    for operation, call, codes in ANSWERS:
        for kind, code in codes.items():
            if code is not None:
                yield f"{operation} {name_of(code)}: {kind}", answers, call, kind, code


# ---- what is said of each type -----------------------------------------------------------------------

def shows_type(kind, a, b):
    make(kind, a / "it")
    equal(stat.S_IFMT(os.lstat(b / "it").st_mode), TYPES[kind][1])


def lists_type(kind, a, b):
    make(kind, a / "it")
    st = os.lstat(b / "it")
    equal(sys_.entries(b)["it"], (st.st_ino, TYPES[kind][2]))


def statx_agrees(kind, a, b):
    make(kind, a / "it")
    x, st = sys_.statx(b / "it", sys_.AT_SYMLINK_NOFOLLOW), os.lstat(b / "it")
    equal((x.mode, x.ino, x.nlink, x.size, x.uid, x.gid, x.blocks, x.blksize),
          (st.st_mode, st.st_ino, st.st_nlink, st.st_size, st.st_uid, st.st_gid, st.st_blocks, st.st_blksize))
    equal([s * 10**9 + ns for s, ns in (x.atime, x.mtime, x.ctime)], [st.st_atime_ns, st.st_mtime_ns, st.st_ctime_ns])
    equal(x.rdev, (os.major(st.st_rdev), os.minor(st.st_rdev)))


def has_birth_time(kind, a, b):
    make(kind, a / "it")
    x = sys_.statx(b / "it", sys_.AT_SYMLINK_NOFOLLOW)
    true(x.mask & sys_.STATX_BTIME, "no birth time")
    true(x.btime <= x.ctime, f"born {x.btime} after its change {x.ctime}")


def birth_time_stays(kind, a, b):
    make(kind, a / "it")
    born = sys_.statx(a / "it", sys_.AT_SYMLINK_NOFOLLOW).btime
    os.lchown(a / "it", OWNER, OWNER)
    sys_.utimensat(a / "it", (1, 0), (1, 0), sys_.AT_SYMLINK_NOFOLLOW)
    os.rename(a / "it", a / "new")
    equal(sys_.statx(b / "new", sys_.AT_SYMLINK_NOFOLLOW).btime, born)


def first_link_count(kind, a, b):
    make(kind, a / "it")
    equal(os.lstat(b / "it").st_nlink, 2 if kind == "a folder" else 1)


def moves_whole(kind, a, b):
    make(kind, a / "it")
    os.mkdir(a / "away")
    before = os.lstat(b / "it")
    os.rename(a / "it", a / "away/new")
    after = os.lstat(b / "away/new")
    equal((after.st_ino, after.st_mode, after.st_size, after.st_rdev),
          (before.st_ino, before.st_mode, before.st_size, before.st_rdev))
    true(not exists(b / "it"), "the old name is still there")


def goes_away(kind, a, b):
    make(kind, a / "it")
    os.lstat(b / "it")
    (os.rmdir if kind == "a folder" else os.unlink)(a / "it")
    fails(ENOENT, os.lstat, b / "it")
    true("it" not in os.listdir(b), "it is still listed")


def handle_leads_back(kind, a, b):
    make(kind, a / "it")
    root = os.open(b, os.O_RDONLY)
    fd = sys_.open_by_handle(root, sys_.name_to_handle(b / "it"), os.O_PATH | os.O_NOFOLLOW)
    equal(os.fstat(fd).st_ino, os.lstat(a / "it").st_ino)


def handle_stays(kind, d):
    make(kind, d / "it")
    before = sys_.name_to_handle(d / "it")
    os.lchown(d / "it", OWNER, OWNER)
    os.rename(d / "it", d / "new")
    equal(sys_.name_to_handle(d / "new"), before)


def handle_goes_stale(kind, d):
    make(kind, d / "it")
    root, handle = os.open(d, os.O_RDONLY), sys_.name_to_handle(d / "it")
    (os.rmdir if kind == "a folder" else os.unlink)(d / "it")
    fails(ESTALE, sys_.open_by_handle, root, handle, os.O_PATH)


def owner_is_its_own(kind, a, b):
    make(kind, a / "it")
    os.lchown(a / "it", 4_000_000_001, 4_000_000_002)
    st = os.lstat(b / "it")
    equal((st.st_uid, st.st_gid), (4_000_000_001, 4_000_000_002))


def times_are_its_own(kind, a, b):
    make(kind, a / "it")
    sys_.utimensat(a / "it", (1_600_000_000, 123_456_789), (1_500_000_000, 987_654_321), sys_.AT_SYMLINK_NOFOLLOW)
    st = os.lstat(b / "it")
    equal((st.st_atime_ns, st.st_mtime_ns), (1_600_000_000_123_456_789, 1_500_000_000_987_654_321))


def attribute_is_its_own(kind, a, b):
    make(kind, a / "it")
    os.setxattr(a / "it", "trusted.note", b"of it", **NOFOLLOW)
    equal(os.getxattr(b / "it", "trusted.note", **NOFOLLOW), b"of it")


def linked_twice(kind, a, b):
    make(kind, a / "it")
    os.lstat(b / "it")
    os.link(a / "it", a / "too", follow_symlinks=False)
    one, two = os.lstat(b / "it"), os.lstat(b / "too")
    equal((one.st_ino, one.st_nlink, two.st_nlink), (two.st_ino, 2, 2))
    os.unlink(a / "it")
    equal(os.lstat(b / "too").st_nlink, 1)


def unlinked_is_still_held(kind, d):
    make(kind, d / "it")
    fd = os.open(d / "it", os.O_PATH | os.O_NOFOLLOW)
    (os.rmdir if kind == "a folder" else os.unlink)(d / "it")
    equal(os.fstat(fd).st_nlink, 0)


def in_own_group(kind, d):
    os.chown(d, 0, OWNER)
    os.chmod(d, 0o2775)
    make(kind, d / "it")
    equal(os.lstat(d / "it").st_gid, OWNER)


def modes_are_kept(kind, a, b):
    make(kind, a / "it")
    for mode in (0o000, 0o111, 0o222, 0o444, 0o777, 0o1753, 0o7777):
        os.chmod(a / "it", mode)
        equal(stat.S_IMODE(os.stat(b / "it").st_mode), mode)


@table
def facts_of_each_type():
    for kind in TYPES:
        yield f"stat(2) S_IFMT: {kind}", shows_type, kind
        yield f"readdir(3) d_type, d_ino: {kind}", lists_type, kind
        yield f"statx(2) agrees with lstat(2): {kind}", statx_agrees, kind
        yield f"statx(2) STATX_BTIME: {kind} has one", has_birth_time, kind
        yield f"statx(2) STATX_BTIME: nothing changes that of {kind}", birth_time_stays, kind
        yield f"stat(2) st_nlink: {kind} that is new", first_link_count, kind
        yield f"rename(2) to another folder: {kind} stays what it is", moves_whole, kind
        yield f"{'rmdir' if kind == 'a folder' else 'unlink'}(2): {kind} is gone at once", goes_away, kind
        yield f"open_by_handle_at(2): to {kind}", handle_leads_back, kind
        yield f"name_to_handle_at(2): the handle of {kind} outlives a rename", handle_stays, kind
        yield f"open_by_handle_at(2) ESTALE: {kind} was removed", handle_goes_stale, kind
        yield f"lchown(2): ids of 32 bits on {kind}", owner_is_its_own, kind
        yield f"utimensat(2): nanoseconds on {kind}", times_are_its_own, kind
        yield f"lsetxattr(2), lgetxattr(2) trusted.: {kind}", attribute_is_its_own, kind
        yield f"stat(2) st_nlink 0: {kind} that is held by O_PATH", unlinked_is_still_held, kind
        yield f"POSIX 4.5 S_ISGID folder: {kind} gets its group", in_own_group, kind
        yield f"chmod(2): all bits come back, {kind}", modes_are_kept, kind
        if kind != "a folder":
            yield f"link(2): {kind} has two names", linked_twice, kind


# ---- rename over and exchange ------------------------------------------------------------------------

def rename_over(old, new, code, a, b):
    make(old, a / "old")
    make(new, a / "new")
    numbers = os.lstat(b / "old").st_ino, os.lstat(b / "new").st_ino
    fails(code, os.rename, a / "old", a / "new")
    if code == 0:
        equal((os.lstat(b / "new").st_ino, type_of(b / "new"), exists(b / "old")), (numbers[0], old, False))
    else:
        equal((os.lstat(b / "old").st_ino, os.lstat(b / "new").st_ino), numbers, "inodes after the failure")


def exchange(old, new, a, b):
    make(old, a / "old")
    os.mkdir(a / "away")
    make(new, a / "away/new")
    numbers = os.lstat(b / "old").st_ino, os.lstat(b / "away/new").st_ino
    sys_.renameat2(a / "old", a / "away/new", sys_.RENAME_EXCHANGE)
    equal((os.lstat(b / "away/new").st_ino, os.lstat(b / "old").st_ino), numbers, "inodes")
    equal((type_of(b / "away/new"), type_of(b / "old")), (old, new))


@table
def pairs_of_types():
    for old in TYPES:
        for new in TYPES:
            code = 0 if (old == "a folder") == (new == "a folder") else ENOTDIR if old == "a folder" else EISDIR
            yield f"rename(2) {name_of(code)}: {old} over {new}", rename_over, old, new, code
            if list(TYPES).index(old) <= list(TYPES).index(new):
                yield f"renameat2(2) RENAME_EXCHANGE: {old} with {new}", exchange, old, new


# ---- what descriptors of each type do ----------------------------------------------------------------

DESCRIPTORS = {
    "a file": os.O_RDWR, "a folder": os.O_RDONLY, "a FIFO": os.O_RDWR | NONBLOCK, "a character device": os.O_RDWR,
}
BY_DESCRIPTOR = (
    ("read(2)", lambda fd: os.read(fd, 1), {"a folder": EISDIR, "a FIFO": EAGAIN}),
    ("pread(2)", lambda fd: os.pread(fd, 1, 0), {"a folder": EISDIR, "a FIFO": ESPIPE}),
    ("write(2)", lambda fd: os.write(fd, b"x"), {"a folder": EBADF}),
    ("pwrite(2)", lambda fd: os.pwrite(fd, b"x", 0), {"a folder": EBADF, "a FIFO": ESPIPE}),
    ("lseek(2) SEEK_SET", lambda fd: os.lseek(fd, 0, 0), {"a FIFO": ESPIPE}),
    ("lseek(2) SEEK_CUR", lambda fd: os.lseek(fd, 0, 1), {"a FIFO": ESPIPE}),
    ("ftruncate(2)", lambda fd: os.ftruncate(fd, 0), {"a folder": EINVAL, "a FIFO": EINVAL,
     "a character device": EINVAL}),
    ("fsync(2)", os.fsync, {"a FIFO": EINVAL, "a character device": EINVAL}),
    ("fdatasync(2)", os.fdatasync, {"a FIFO": EINVAL, "a character device": EINVAL}),
    ("syncfs(2)", sys_.syncfs, {}),
    ("fallocate(2)", lambda fd: sys_.fallocate(fd, 0, 0, 10),
     {"a folder": EBADF, "a FIFO": ESPIPE, "a character device": ENODEV}),
    ("mmap(2) PROT_READ", lambda fd: mmap.mmap(fd, 4, mmap.MAP_PRIVATE, mmap.PROT_READ),
     {"a folder": ENODEV, "a FIFO": ENODEV, "a character device": ENODEV}),
    ("fchmod(2)", lambda fd: os.fchmod(fd, 0o600), {}),
    ("fchown(2)", lambda fd: os.fchown(fd, 3, 4), {}),
    ("futimens(2)", lambda fd: sys_.futimens(fd, (1, 1), (2, 2)), {}),
    ("fstat(2)", os.fstat, {}),
    ("fstatfs(2)", os.fstatvfs, {}),
    ("fchdir(2)", os.fchdir, {"a file": ENOTDIR, "a FIFO": ENOTDIR, "a character device": ENOTDIR}),
    ("getdents(2)", os.listdir, {"a file": ENOTDIR, "a FIFO": ENOTDIR, "a character device": ENOTDIR}),
    ("flock(2)", lambda fd: fcntl.flock(fd, 6), {}),
    ("fsetxattr(2) trusted.", lambda fd: os.setxattr(fd, "trusted.n", b"v"), {}),
    ("flistxattr(2)", os.listxattr, {}),
    ("openat(2) below it", lambda fd: os.open("x", os.O_RDONLY, dir_fd=fd),
     {"a file": ENOTDIR, "a folder": ENOENT, "a FIFO": ENOTDIR, "a character device": ENOTDIR}),
    ("copy_file_range(2) from it", lambda fd: os.copy_file_range(fd, scratch_fd(), 10),
     {"a folder": EISDIR, "a FIFO": EINVAL, "a character device": EINVAL}),
    ("posix_fadvise(2)", lambda fd: os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL), {"a FIFO": ESPIPE}),
    ("readahead(2)", lambda fd: sys_.readahead(fd, 0, 4096), {"a folder": EINVAL, "a FIFO": EINVAL,
     "a character device": EINVAL}),
    ("linkat(2) AT_EMPTY_PATH", lambda fd: link_descriptor(fd), {"a folder": EPERM}),
)


def scratch_fd():
    return os.open("scratch", os.O_WRONLY | os.O_CREAT)


def link_descriptor(fd):
    sys_.linkat("", "linked", sys_.AT_EMPTY_PATH, fd)
    os.unlink("linked")


def does_by_descriptor(operation, kind, code, d):
    os.chdir(d)
    fd = os.open(make(kind, d / "it"), DESCRIPTORS[kind])
    fails(code, operation, fd)


@table
def operations_on_descriptors():
    for operation, call, codes in BY_DESCRIPTOR:
        for kind in DESCRIPTORS:
            code = codes.get(kind, 0)
            yield f"{operation} {name_of(code)}: a descriptor of {kind}", does_by_descriptor, call, kind, code


# ---- execve ------------------------------------------------------------------------------------------

def cannot_run(kind, d):
    make(kind, d / "it")
    os.chmod(d / "it", 0o755)
    if kind == "a symbolic link":
        os.unlink(d / "it.target")
        os.mkdir(d / "it.target")
    fails(EACCES, os.execv, d / "it", ["it"])


@table
def programs():
    for kind in TYPES:
        if kind != "a file":
            yield f"execve(2) EACCES: {kind}{' to a folder' if kind == 'a symbolic link' else ''}", cannot_run, kind


@check("execve(2): a script runs, by its first line")
def _(d):
    write_file(d / "script", b"#!/bin/sh\nexit 7\n")
    os.chmod(d / "script", 0o755)
    equal(os.waitstatus_to_exitcode(status_of_child(os.execv, d / "script", ["script"])), 7)


@check("execve(2): a program runs")
def _(d):
    write_file(d / "true", read_file("/bin/true"))
    os.chmod(d / "true", 0o755)
    equal(os.waitstatus_to_exitcode(status_of_child(os.execv, d / "true", ["true"])), 0)


@check("execve(2): a program runs through a symbolic link")
def _(d):
    write_file(d / "true", read_file("/bin/true"))
    os.chmod(d / "true", 0o755)
    os.symlink("true", d / "link")
    equal(os.waitstatus_to_exitcode(status_of_child(os.execv, d / "link", ["true"])), 0)


@check("execve(2) EACCES: a program without any execute bit, even for root")
def _(d):
    write_file(d / "true", read_file("/bin/true"))
    fails(EACCES, os.execv, d / "true", ["true"])


@check("execve(2) ENOEXEC: neither a program nor a script")
def _(d):
    write_file(d / "data", b"data")
    os.chmod(d / "data", 0o755)
    fails(ENOEXEC, os.execv, d / "data", ["data"])


@check("execve(2) ETXTBSY: the program is open for writing")
def _(d):
    write_file(d / "true", read_file("/bin/true"))
    os.chmod(d / "true", 0o755)
    os.open(d / "true", os.O_WRONLY)
    fails(ETXTBSY, os.execv, d / "true", ["true"])


@check("execve(2): a program that another node wrote")
def _(a, b):
    write_file(a / "true", read_file("/bin/true"))
    os.chmod(a / "true", 0o755)
    equal(os.waitstatus_to_exitcode(status_of_child(os.execv, b / "true", ["true"])), 0)


# ---- device numbers ----------------------------------------------------------------------------------

def device_number(kind, major, minor, a, b):
    os.mknod(a / "it", kind | 0o600, os.makedev(major, minor))
    equal(os.lstat(b / "it").st_rdev, os.makedev(major, minor))


@table
def device_numbers():
    for name, kind in (("S_IFCHR", stat.S_IFCHR), ("S_IFBLK", stat.S_IFBLK)):
        for story, major, minor in (("0, 0", 0, 0), ("8 bits each", 255, 255), ("12 bits of major", 4095, 3),
                                    ("20 bits of minor", 8, 0xFFFFF)):
            yield f"mknod(2) {name}: st_rdev of {story}", device_number, kind, major, minor


@check("mknod(2): the character device 1, 3 swallows what is written")
def _(d):
    os.mknod(d / "null", stat.S_IFCHR | 0o666, NULL)
    fd = os.open(d / "null", os.O_RDWR)
    equal((os.write(fd, b"x" * 100), os.read(fd, 1)), (100, b""))


@check("mknod(2) EINVAL, EPERM: S_IFDIR is not for mknod")
def _(d):
    fails((EINVAL, EPERM), os.mknod, d / "it", stat.S_IFDIR | 0o755)


@check("open(2) ENXIO: a block device without a driver")
def _(d):
    os.mknod(d / "it", stat.S_IFBLK | 0o600, os.makedev(4000, 7))
    fails(ENXIO, os.open, d / "it", os.O_RDONLY)


@check("fchmodat(2) AT_SYMLINK_NOFOLLOW EOPNOTSUPP: modes of symbolic links do not change")
def _(d):
    os.symlink("x", d / "link")
    fails(EOPNOTSUPP, sys_.fchmodat, -100, os.fsencode(d / "link"), 0o600, sys_.AT_SYMLINK_NOFOLLOW)


@check("symlink(2): the mode of a symbolic link is 0777")
def _(a, b):
    os.symlink("x", a / "link")
    equal(mode_of(b / "link"), 0o777)


@check("mknod(2) without a type makes a file")
def _(a, b):
    os.mknod(a / "it", 0o600)
    equal(os.lstat(b / "it").st_mode, stat.S_IFREG | 0o600)
