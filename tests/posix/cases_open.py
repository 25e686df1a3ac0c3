# SPDX-License-Identifier: Apache-2.0
"""open(2): every pair of flags on every state of the name, beside a model of what POSIX says."""
import fcntl
import itertools
import mmap
import os
import struct
from errno import EACCES, EBADF, EEXIST, EINVAL, EISDIR, ELOOP, ENOENT, ENOTDIR, EPERM, EXDEV, ENXIO

import syscalls as sys_
from suite import (STRANGER, Other, acting_as, check, equal, exists, fails, in_child, mode_of, name_of, outcome,
    read_all, read_file, table,
                   true, umask, write_file, write_once)

MODES = {"O_RDONLY": os.O_RDONLY, "O_WRONLY": os.O_WRONLY, "O_RDWR": os.O_RDWR}
FLAGS = {"O_CREAT": os.O_CREAT, "O_EXCL": os.O_EXCL, "O_TRUNC": os.O_TRUNC, "O_NOFOLLOW": os.O_NOFOLLOW,
         "O_DIRECTORY": os.O_DIRECTORY, "O_APPEND": os.O_APPEND}
STATES = ("nothing", "a file", "a folder", "a link to a file", "a link to a folder", "a dangling link")
CONTENT = b"what was there"


def prepare(state, d):
    if state in ("a file", "a link to a file"):
        write_file(d / ("it" if state == "a file" else "target"), CONTENT)
    if state in ("a folder", "a link to a folder"):
        os.mkdir(d / ("it" if state == "a folder" else "target"))
    if "link" in state:
        os.symlink("target", d / "it")


def due(mode, flags, state):
    """(errno, what is at the end of the name afterwards): POSIX open(), and open(2) where POSIX leaves it open."""
    creates, is_link = "O_CREAT" in flags, "link" in state
    end = {"a link to a file": "a file", "a link to a folder": "a folder", "a dangling link": "nothing"}.get(state,
        state)
    if creates and "O_DIRECTORY" in flags:
        return EINVAL, end
    if creates and "O_EXCL" in flags and state != "nothing":
        return EEXIST, end
    if is_link and "O_NOFOLLOW" in flags:
        return (ENOTDIR if "O_DIRECTORY" in flags else ELOOP), end
    if end == "nothing":
        return (0, "a new file") if creates else (ENOENT, end)
    if end == "a folder":
        return (EISDIR if creates or mode != "O_RDONLY" or "O_TRUNC" in flags else 0), end
    if "O_DIRECTORY" in flags:
        return ENOTDIR, end
    return 0, "an empty file" if "O_TRUNC" in flags else "a file"


def what_is_at(path):
    if not exists(path) or outcome(os.stat, path) == ENOENT:
        return "nothing"
    if os.path.isdir(path):
        return "a folder"
    content = read_file(path)
    return "a file" if content == CONTENT else "an empty file" if not content else f"a file of {content}"


def opens(mode, flags, state, a, b):
    prepare(state, a)
    code, after = due(mode, flags, state)
    what_is_at(b / "it")
    fails(code, os.open, a / "it", MODES[mode] | sum(FLAGS[f] for f in flags), 0o600)
    equal(what_is_at(b / "it"), {"a new file": "an empty file"}.get(after, after), "afterwards there")


@table
def flags_on_states():
    for state, mode, count in itertools.product(STATES, MODES, (0, 1, 2)):
        for flags in itertools.combinations(FLAGS, count):
            if "O_EXCL" in flags and "O_CREAT" not in flags or flags == ("O_EXCL",):
                continue            # undefined
            code, _ = due(mode, flags, state)
            yield f"open(2) {'|'.join((mode, *flags))} {name_of(code)}: where {state} is", opens, mode, flags, state


# ---- what a descriptor may do, by how it was opened --------------------------------------------------

USES = (
    ("read(2)", lambda fd: os.read(fd, 1), "r", EBADF),
    ("pread(2)", lambda fd: os.pread(fd, 1, 0), "r", EBADF),
    ("readv(2)", lambda fd: os.readv(fd, [bytearray(1)]), "r", EBADF),
    ("write(2)", lambda fd: os.write(fd, b"x"), "w", EBADF),
    ("pwrite(2)", lambda fd: os.pwrite(fd, b"x", 0), "w", EBADF),
    ("writev(2)", lambda fd: os.writev(fd, [b"x"]), "w", EBADF),
    ("ftruncate(2)", lambda fd: os.ftruncate(fd, 1), "w", EINVAL),
    ("fallocate(2)", lambda fd: sys_.fallocate(fd, 0, 0, 100), "w", EBADF),
    ("posix_fallocate(3)", lambda fd: os.posix_fallocate(fd, 0, 100), "w", EBADF),
    ("copy_file_range(2) from it", lambda fd: os.copy_file_range(fd, new_file(os.O_WRONLY), 5), "r", EBADF),
    ("copy_file_range(2) to it", lambda fd: os.copy_file_range(new_file(os.O_RDONLY), fd, 5), "w", EBADF),
    ("sendfile(2) from it", lambda fd: os.sendfile(new_file(os.O_WRONLY), fd, 0, 5), "r", EBADF),
    ("sendfile(2) to it", lambda fd: os.sendfile(fd, new_file(os.O_RDONLY), 0, 5), "w", EBADF),
    ("splice(2) from it", lambda fd: os.splice(fd, os.pipe()[1], 5), "r", EBADF),
    ("mmap(2) PROT_READ", lambda fd: map_it(fd, 1, 1), "r", EACCES),
    ("mmap(2) MAP_SHARED, PROT_WRITE", lambda fd: map_it(fd, 1, 3), "rw", EACCES),
    ("mmap(2) MAP_PRIVATE, PROT_WRITE", lambda fd: map_it(fd, 2, 3), "r", EACCES),
    ("fsync(2)", os.fsync, "", 0),
    ("lseek(2)", lambda fd: os.lseek(fd, 3, 0), "", 0),
    ("fchmod(2)", lambda fd: os.fchmod(fd, 0o600), "", 0),
    ("fchown(2)", lambda fd: os.fchown(fd, 1, 1), "", 0),
    ("futimens(2)", lambda fd: sys_.futimens(fd, (1, 1), (1, 1)), "", 0),
    ("fsetxattr(2)", lambda fd: os.setxattr(fd, "user.n", b"v"), "", 0),
    ("fcntl(2) F_RDLCK", lambda fd: lock(fd, 0), "r", EBADF),
    ("fcntl(2) F_WRLCK", lambda fd: lock(fd, 1), "w", EBADF),
    ("flock(2) LOCK_SH", lambda fd: flock(fd, 1), "", 0),
    ("flock(2) LOCK_EX", lambda fd: flock(fd, 2), "", 0),
    ("sync_file_range(2)", lambda fd: sys_.sync_file_range(fd, 0, 0), "", 0),
    ("fdatasync(2)", os.fdatasync, "", 0),
    ("syncfs(2)", sys_.syncfs, "", 0),
)


def new_file(flags):
    write_file("beside", b"beside")
    return os.open("beside", flags)


def map_it(fd, flags, prot):
    mmap.mmap(fd, 10, flags, prot).close()


def lock(fd, kind):
    fcntl.fcntl(fd, fcntl.F_SETLK, struct.pack("hhqqi4x", kind, 0, 0, 0, 0))


def flock(fd, kind):
    fcntl.flock(fd, kind)


def used(use, code, flags, d):
    write_file(d / "it", CONTENT)
    os.chdir(d)
    fails(code, use, os.open("it", flags))


@table
def uses_of_descriptors():
    rights = {"O_RDONLY": "r", "O_WRONLY": "w", "O_RDWR": "rw"}
    for story, use, needs, code in USES:
        for mode, has in rights.items():
            result = 0 if set(needs) <= set(has) else code
            yield f"{story} {name_of(result)}: opened {mode}", used, use, result, MODES[mode]
        if story != "lseek(2)":
            yield f"{story} EBADF: opened O_PATH", used, use, EBADF, os.O_PATH


ALLOWED_BY_PATH = (
    ("fstat(2)", os.fstat), ("fstatfs(2)", os.fstatvfs), ("dup(2)", os.dup),
    ("/proc/self/fd opens it anew", lambda fd: os.open(f"/proc/self/fd/{fd}", os.O_RDWR)),
    ("linkat(2) AT_EMPTY_PATH", lambda fd: sys_.linkat("", "linked", sys_.AT_EMPTY_PATH, fd)),
    ("linkat(2) AT_SYMLINK_FOLLOW through /proc",
     lambda fd: sys_.linkat(f"/proc/self/fd/{fd}", "linked", sys_.AT_SYMLINK_FOLLOW)),
    ("name_to_handle_at(2) AT_EMPTY_PATH", lambda fd: sys_.name_to_handle("", sys_.AT_EMPTY_PATH, fd)),
    ("statx(2) AT_EMPTY_PATH", lambda fd: sys_.statx("", sys_.AT_EMPTY_PATH, fd=fd)),
    ("chmod(2) through /proc", lambda fd: os.chmod(f"/proc/self/fd/{fd}", 0o600)),
    ("setxattr(2) through /proc", lambda fd: os.setxattr(f"/proc/self/fd/{fd}", "user.n", b"v")),
    ("truncate(2) through /proc", lambda fd: os.truncate(f"/proc/self/fd/{fd}", 3)),
)


@table
def uses_of_path_descriptors():
    for story, use in ALLOWED_BY_PATH:
        yield f"open(2) O_PATH: {story}", used, use, 0, os.O_PATH


# ---- one by one --------------------------------------------------------------------------------------

@check("open(2) O_CREAT: a file of mode 0 may be written through the descriptor that made it")
def _(d):
    os.chmod(d, 0o777)
    with acting_as(STRANGER):
        fd = os.open(d / "it", os.O_RDWR | os.O_CREAT, 0)
        write_once(fd, b"x")
        equal(os.pread(fd, 9, 0), b"x")
        fails(EACCES, os.open, d / "it", os.O_RDONLY)


@check("open(2) O_CREAT|O_EXCL: one of eight processes makes the file")
def _(d):
    def script():
        yield "ready"
        yield outcome(os.open, d / "it", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    others = [Other(script) for _ in range(8)]
    for other in others:
        other.next()
    for other in others:
        other.start()
    equal(sorted(other.wait() for other in others), [0] + 7 * [EEXIST])


@check("open(2) O_CREAT|O_EXCL: one of two nodes makes each of forty files")
def _(a, b):
    def script(folder):
        yield "ready"
        yield [outcome(os.open, f"{folder}/{i}", os.O_CREAT | os.O_EXCL | os.O_WRONLY) for i in range(40)]
    others = [Other(script, a), Other(script, b)]
    for other in others:
        other.next()
    for other in others:
        other.start()
    equal([sorted(pair) for pair in zip(*[other.wait() for other in others])], 40 * [[0, EEXIST]])


@check("open(2) O_APPEND: each write goes to the end, wherever the offset is")
def _(a, b):
    fd = os.open(write_file(a / "it", b"12345"), os.O_RDWR | os.O_APPEND)
    os.lseek(fd, 1, os.SEEK_SET)
    write_once(fd, b"678")
    equal(os.lseek(fd, 0, os.SEEK_CUR), 8, "the offset")
    equal(os.fstat(fd).st_size, 8)
    os.close(fd)
    equal(read_file(b / "it"), b"12345678")


@check("open(2) O_APPEND: reading follows the offset")
def _(d):
    fd = os.open(write_file(d / "it", b"12345"), os.O_RDWR | os.O_APPEND)
    equal(os.read(fd, 2), b"12")


@check("pwrite(2) O_APPEND, BUGS: Linux appends whatever the offset says")
def _(d):
    fd = os.open(write_file(d / "it", b"12345"), os.O_RDWR | os.O_APPEND)
    write_once(fd, b"6", 0)
    equal(read_file(d / "it"), b"123456")


@check("open(2) O_APPEND: the end after another descriptor truncated the file")
def _(d):
    fd = os.open(write_file(d / "it", b"12345"), os.O_WRONLY | os.O_APPEND)
    write_once(fd, b"6")
    os.truncate(d / "it", 2)
    write_once(fd, b"x")
    equal(read_file(d / "it"), b"12x")


@check("open(2) O_APPEND: the end after another node truncated the file")
def _(a, b):
    fd = os.open(write_file(a / "it", b"12345"), os.O_WRONLY | os.O_APPEND)
    write_once(fd, b"6")
    os.truncate(b / "it", 2)
    write_once(fd, b"x")
    os.close(fd)
    equal(read_file(b / "it"), b"12x")


@check("open(2) O_APPEND: two nodes in turns, nothing is lost")
def _(a, b):
    write_file(a / "it")
    fds = [os.open(view / "it", os.O_WRONLY | os.O_APPEND) for view in (a, b)]
    for i in range(20):
        write_once(fds[i % 2], b"%02d" % i)
    for fd in fds:
        os.close(fd)
    equal(read_file(b / "it"), b"".join(b"%02d" % i for i in range(20)))


@check("open(2) O_APPEND: two descriptors in turns")
def _(a, b):
    write_file(a / "it")
    fds = [os.open(a / "it", os.O_WRONLY | os.O_APPEND) for _ in range(2)]
    for i in range(20):
        write_once(fds[i % 2], b"%02d" % i)
    equal(read_file(b / "it"), b"".join(b"%02d" % i for i in range(20)))


@check("fcntl(2) F_SETFL O_APPEND: from then on writes go to the end")
def _(d):
    fd = os.open(write_file(d / "it", b"12345"), os.O_WRONLY)
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
    write_once(fd, b"6")
    equal(read_file(d / "it"), b"123456")


@check("fcntl(2) F_SETFL: O_APPEND may be taken off again")
def _(d):
    fd = os.open(write_file(d / "it", b"12345"), os.O_WRONLY | os.O_APPEND)
    fcntl.fcntl(fd, fcntl.F_SETFL, 0)
    write_once(fd, b"x")
    equal(read_file(d / "it"), b"x2345")


@check("fcntl(2) F_GETFL: access mode and O_APPEND are told")
def _(d):
    fd = os.open(write_file(d / "it"), os.O_WRONLY | os.O_APPEND)
    equal(fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_ACCMODE | os.O_APPEND), os.O_WRONLY | os.O_APPEND)


@check("open(2) O_TRUNC: an open descriptor of another node sees the file empty")
def _(a, b):
    fd = os.open(write_file(b / "it", CONTENT), os.O_RDONLY)
    equal(os.pread(fd, 100, 0), CONTENT)
    os.close(os.open(a / "it", os.O_WRONLY | os.O_TRUNC))
    equal((os.pread(fd, 100, 0), os.fstat(fd).st_size), (b"", 0))


@check("open(2) O_TRUNC EACCES: without write permission the content stays")
def _(d):
    write_file(d / "it", CONTENT)
    os.chmod(d / "it", 0o444)
    with acting_as(STRANGER):
        fails(EACCES, os.open, d / "it", os.O_RDONLY | os.O_TRUNC)
    equal(read_file(d / "it"), CONTENT)


@check("open(2) O_CREAT: follows a dangling symbolic link and makes its target")
def _(a, b):
    os.symlink("target", a / "link")
    os.close(os.open(a / "link", os.O_WRONLY | os.O_CREAT, 0o640))
    equal(mode_of(b / "target"), 0o640)


@check("open(2) O_CREAT ENOENT: the target's folder does not exist")
def _(d):
    os.symlink("no/where", d / "link")
    fails(ENOENT, os.open, d / "link", os.O_WRONLY | os.O_CREAT)


@check("open(2) O_CREAT: an existing file keeps its mode")
def _(d):
    os.chmod(write_file(d / "it"), 0o604)
    os.close(os.open(d / "it", os.O_WRONLY | os.O_CREAT, 0o777))
    equal(mode_of(d / "it"), 0o604)


@check("open(2) O_NOATIME EPERM: of another user's file")
def _(d):
    write_file(d / "it")
    with acting_as(STRANGER):
        fails(EPERM, os.open, d / "it", os.O_RDONLY | os.O_NOATIME)


@check("open(2) O_NOATIME: the owner may")
def _(d):
    os.chown(write_file(d / "it"), STRANGER, STRANGER)
    with acting_as(STRANGER):
        os.open(d / "it", os.O_RDONLY | os.O_NOATIME)


@check("open(2) O_CLOEXEC: the descriptor is marked")
def _(d):
    equal(fcntl.fcntl(os.open(write_file(d / "it"), os.O_RDONLY | os.O_CLOEXEC), fcntl.F_GETFD), fcntl.FD_CLOEXEC)


@check("open(2): two opens have offsets of their own")
def _(d):
    write_file(d / "it", CONTENT)
    one, two = [os.open(d / "it", os.O_RDONLY) for _ in range(2)]
    os.lseek(one, 5, os.SEEK_SET)
    equal(os.read(two, 4), CONTENT[:4])


@check("dup(2): both descriptors share one offset")
def _(d):
    one = os.open(write_file(d / "it", CONTENT), os.O_RDONLY)
    two = os.dup(one)
    os.read(one, 5)
    equal(os.read(two, 4), CONTENT[5:9])


@check("fork(2): the child shares the offset")
def _(d):
    fd = os.open(write_file(d / "it", CONTENT), os.O_RDONLY)
    equal(in_child(os.read, fd, 5), CONTENT[:5])
    equal(os.read(fd, 4), CONTENT[5:9])


@check("openat2(2) EXDEV: RESOLVE_BENEATH, '..' leads out")
def _(d):
    os.mkdir(d / "in")
    fails(EXDEV, sys_.openat2, "../in", os.O_PATH, 0, sys_.RESOLVE_BENEATH, os.open(d / "in", os.O_PATH))


@check("openat2(2) RESOLVE_BENEATH: '..' may stay within")
def _(d):
    os.makedirs(d / "in/deep")
    sys_.openat2("deep/..", os.O_PATH, 0, sys_.RESOLVE_BENEATH, os.open(d / "in", os.O_PATH))


@check("openat2(2) RESOLVE_IN_ROOT: an absolute symbolic link starts at the folder")
def _(d):
    write_file(d / "it", b"inside")
    os.symlink("/it", d / "link")
    fd = sys_.openat2("link", os.O_RDONLY, 0, sys_.RESOLVE_IN_ROOT, os.open(d, os.O_PATH))
    equal(read_all(fd), b"inside")


@check("openat2(2) RESOLVE_NO_XDEV: within one file system")
def _(d):
    write_file(d / "it")
    sys_.openat2("it", os.O_PATH, 0, sys_.RESOLVE_NO_XDEV, os.open(d, os.O_PATH))


@check("openat2(2) ELOOP: RESOLVE_NO_SYMLINKS, a link on the way")
def _(d):
    os.mkdir(d / "folder")
    os.symlink("folder", d / "link")
    write_file(d / "folder/it")
    fails(ELOOP, sys_.openat2, d / "link/it", os.O_PATH, 0, sys_.RESOLVE_NO_SYMLINKS)


# ---- umask -------------------------------------------------------------------------------------------

MAKERS = (
    ("open(2) O_CREAT", 0o666, lambda p, m: os.close(os.open(p, os.O_CREAT | os.O_WRONLY, m))),
    ("mkdir(2)", 0o777, os.mkdir),
    ("mknod(2) S_IFREG", 0o666, lambda p, m: os.mknod(p, 0o100000 | m)),
    ("mkfifo(3)", 0o666, os.mkfifo),
    ("mknod(2) S_IFCHR", 0o666, lambda p, m: os.mknod(p, 0o020000 | m, os.makedev(1, 3))),
)


def masked(make, mode, mask, a, b):
    with umask(mask):
        make(a / "it", mode)
    equal(mode_of(b / "it"), mode & ~mask)


@table
def masks():
    for story, mode, make in MAKERS:
        for mask in (0, 0o022, 0o077, 0o111, 0o777):
            yield f"{story}, umask(2) {mask:03o}: of mode {mode:03o} is left {mode & ~mask:03o}", masked, make, mode, mask
        yield f"{story}: mode 0 is a mode", masked, make, 0, 0o022
        yield f"{story}: the sticky bit is kept", masked, make, 0o1755, 0o022


@check("umask(2): symbolic links are not masked")
def _(d):
    with umask(0o777):
        os.symlink("x", d / "link")
    equal(mode_of(d / "link"), 0o777)


@check("open(2) O_CREAT: set-user-ID and set-group-ID of the mode are taken")
def _(a, b):
    os.close(os.open(a / "it", os.O_CREAT | os.O_WRONLY, 0o6755))
    equal(mode_of(b / "it"), 0o6755)


# ---- O_DIRECT ----------------------------------------------------------------------------------------

def aligned(length):
    """Memory at a page boundary."""
    return mmap.mmap(-1, length)


def direct_write(offset, length, a, b):
    fd = os.open(a / "it", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    buf = aligned(length)
    buf[:] = os.urandom(length)
    equal(os.pwritev(fd, [buf], offset), length)
    equal(read_file(b / "it"), bytes(offset) + buf[:])


def direct_read(offset, length, a, b):
    content = os.urandom(300000)
    write_file(a / "it", content)
    buf = aligned(length)
    fd = os.open(b / "it", os.O_RDONLY | os.O_DIRECT)
    done = os.preadv(fd, [buf], offset)
    equal(bytes(buf[:done]), content[offset:offset + length])


@table
def direct_io():
    for story, offset, length in (("the first page", 0, 4096), ("past the end", 65536, 8192), ("a MiB", 0, 1 << 20),
                                  ("across a block's boundary", 61440, 8192)):
        yield f"open(2) O_DIRECT: write {story}", direct_write, offset, length
    for story, offset, length in (("a page", 4096, 4096), ("all", 0, 1 << 20), ("beyond the end", 1 << 20, 4096),
                                  ("the end, which is short", 299008, 4096)):
        yield f"open(2) O_DIRECT: read {story}", direct_read, offset, length


@check("open(2) O_DIRECT: sees what was written without it")
def _(d):
    write_file(d / "it", b"a" * 4096)
    plain = os.open(d / "it", os.O_WRONLY)
    write_once(plain, b"b" * 4096)
    buf = aligned(4096)
    os.preadv(os.open(d / "it", os.O_RDONLY | os.O_DIRECT), [buf], 0)
    equal(buf[:], b"b" * 4096)


@check("open(2) O_DIRECT: what it writes is seen without it, through a page that was cached")
def _(d):
    write_file(d / "it", b"a" * 8192)
    plain = os.open(d / "it", os.O_RDONLY)
    equal(os.pread(plain, 8192, 0), b"a" * 8192)
    buf = aligned(4096)
    buf[:] = b"b" * 4096
    os.pwritev(os.open(d / "it", os.O_WRONLY | os.O_DIRECT), [buf], 4096)
    equal(os.pread(plain, 8192, 0), b"a" * 4096 + b"b" * 4096)


@check("mmap(2) MAP_SHARED of a file opened O_DIRECT")
def _(d):
    write_file(d / "it", b"a" * 4096)
    fd = os.open(d / "it", os.O_RDWR | os.O_DIRECT)
    with mmap.mmap(fd, 4096) as area:
        area[0:1] = b"b"
        area.flush()
    equal(read_file(d / "it"), b"b" + b"a" * 4095)


def synced(flags, a, b):
    fd = os.open(a / "it", os.O_WRONLY | os.O_CREAT | flags)
    write_once(fd, CONTENT)
    equal(read_file(b / "it"), CONTENT)


@table
def synchronous_writes():
    for name in ("O_SYNC", "O_DSYNC"):
        yield f"open(2) {name}: what was written can be read", synced, getattr(os, name)


@check("open(2) ENXIO: O_WRONLY|O_NONBLOCK of a FIFO that nobody reads")
def _(d):
    os.mkfifo(d / "fifo")
    fails(ENXIO, os.open, d / "fifo", os.O_WRONLY | os.O_NONBLOCK)


@check("open(2): EISDIR does not make a file of a link to a folder")
def _(d):
    os.mkdir(d / "folder")
    os.symlink("folder", d / "link")
    fails(EISDIR, os.open, d / "link", os.O_WRONLY)
    true(os.path.isdir(d / "folder"), "the folder is gone")
