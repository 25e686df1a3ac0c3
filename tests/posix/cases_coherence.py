# SPDX-License-Identifier: Apache-2.0
"""
POSIX 2.9.7, write(): what one process changed, every later call of any other sees. Each change on one view, each way to see
it on the other, by who has seen the file before and so may have it cached in every way that there is.
"""
import mmap
import os
from collections import namedtuple
from errno import ENOENT

import syscalls as sys_
from suite import Other, check, equal, fails, pattern, read_all, read_file, table, true, write_file, write_once

SIZES = {"100 bytes": 100, "200,000 bytes": 200_000, "3 MiB": 3 << 20}
# in_place: who has the file open keeps on seeing it. change(path, model) makes the change and returns the new content.
Change = namedtuple("Change", "name in_place change")


def edit(call):
    """A change by a descriptor that stays open: nothing waits for close(2)."""
    def change(path, model):
        fd = os.open(path, os.O_RDWR)
        call(fd, model)
        return bytes(model)
    return change


def put(offset, data):
    def call(fd, model):
        at = offset(len(model))
        write_once(fd, data, at)
        model[at:at + len(data)] = data
    return call


def cut(size):
    def call(fd, model):
        new = size(len(model))
        os.ftruncate(fd, new)
        model.extend(bytes(max(0, new - len(model))))
        del model[new:]
    return call


def punch(fd, model):
    sys_.fallocate(fd, sys_.FALLOC_PUNCH | sys_.FALLOC_KEEP, 10, 50)
    model[10:60] = bytes(50)


def zero(fd, model):
    sys_.fallocate(fd, sys_.FALLOC_ZERO, 10, 50)
    model[10:60] = bytes(50)


def allocate(fd, model):
    sys_.fallocate(fd, 0, len(model), 5000)
    model.extend(bytes(5000))


def through_map(fd, model):
    with mmap.mmap(fd, len(model)) as area:
        area[20:27] = model[20:27] = b"through"
        area.flush()
    os.fsync(fd)


def copied(fd, model):
    source = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    equal(os.copy_file_range(source, fd, 30, 60, 0), 30)
    model[0:30] = model[60:90]


def append(path, model):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    write_once(fd, b"appended")
    return bytes(model) + b"appended"


def rewrite(path, _model):
    return read_file(write_file(path, b"written anew"))


def replace(path, _model):
    write_file(path + ".new", b"another file")
    os.rename(path + ".new", path)
    return b"another file"


def make_again(path, _model):
    os.unlink(path)
    write_file(path, b"made again")
    return b"made again"


def synced(path, model):
    fd = os.open(path, os.O_WRONLY)
    write_once(fd, b"synced", 5)
    os.fsync(fd)
    model[5:11] = b"synced"
    return bytes(model)


CHANGES = [Change(*row) for row in (
    ("write(2) at the begin", True, edit(put(lambda n: 0, b"changed"))),
    ("write(2) at the end", True, edit(put(lambda n: n, b"grown"))),
    ("write(2) in the middle", True, edit(put(lambda n: n // 2, b"middle"))),
    ("write(2) and fsync(2)", True, synced),
    ("write(2) O_APPEND", True, append),
    ("ftruncate(2) to less", True, edit(cut(lambda n: n // 2))),
    ("ftruncate(2) to more", True, edit(cut(lambda n: n + 777))),
    ("ftruncate(2) to nothing", True, edit(cut(lambda n: 0))),
    ("fallocate(2) FALLOC_FL_PUNCH_HOLE", True, edit(punch)),
    ("fallocate(2) FALLOC_FL_ZERO_RANGE", True, edit(zero)),
    ("fallocate(2)", True, edit(allocate)),
    ("mmap(2) and msync(2)", True, edit(through_map)),
    ("copy_file_range(2)", True, edit(copied)),
    ("open(2) O_TRUNC, write(2), close(2)", True, rewrite),
    ("rename(2) of another file over it", False, replace),
    ("unlink(2) and open(2) O_CREAT", False, make_again),
)]


def new_open(path):
    return lambda: read_file(path)


def old_descriptor(path):
    fd = os.open(path, os.O_RDONLY)
    read_all(fd)
    return lambda: read_all(fd)


def old_writable(path):
    fd = os.open(path, os.O_RDWR)
    read_all(fd)
    return lambda: read_all(fd)


def new_map(path):
    def see():
        fd = os.open(path, os.O_RDONLY)
        size = os.fstat(fd).st_size
        if not size:
            return b""
        with mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ) as area:
            return area[:]
    see()
    return see


def other_name(path):
    return lambda: read_file(path + ".link")


def by_stat(path):
    os.stat(path)
    return lambda: os.stat(path).st_size


def by_seek(path):
    fd = os.open(path, os.O_RDONLY)
    os.lseek(fd, 0, os.SEEK_END)
    return lambda: os.lseek(fd, 0, os.SEEK_END)


# name: (prepare, works on what was opened before, also for large files)
WITNESSES = {
    "a new open": (new_open, False, True),
    "a descriptor that has read it": (old_descriptor, True, False),
    "a writable descriptor": (old_writable, True, True),
    "a new map": (new_map, False, True),
    "a symbolic link": (other_name, False, True),
    "stat(2)": (by_stat, False, True),
    "lseek(2) SEEK_END": (by_seek, True, False),
}


def seen(change, witness, size, a, b):
    model = bytearray(pattern(size))
    write_file(a / "it", model)
    os.symlink("it", a / "it.link")
    see = WITNESSES[witness][0](b / "it")
    equal(os.stat(b / "it").st_size, size)
    equal(read_file(b / "it"), bytes(model), "before")
    want = change.change(a / "it", model)
    got = see()
    if isinstance(got, int):
        equal(got, len(want), "size")
    else:
        true(got == want, f"content of {len(got)} bytes is not the new one of {len(want)}")


@table
def changes_and_witnesses():
    for change in CHANGES:
        for witness, (_, is_old, is_for_large) in WITNESSES.items():
            for story, size in SIZES.items():
                if (change.in_place or not is_old) and (is_for_large or size < 1 << 20):
                    yield f"{change.name}: seen by {witness}, of {story}", seen, change, witness, size


# ---- attributes, by who has them cached --------------------------------------------------------------

ATTRIBUTES = (
    ("chmod(2)", lambda p: os.chmod(p, 0o604), lambda p: os.stat(p).st_mode & 0o7777, 0o604),
    ("chown(2)", lambda p: os.chown(p, 12, 34), lambda p: (os.stat(p).st_uid, os.stat(p).st_gid), (12, 34)),
    ("utimensat(2)", lambda p: os.utime(p, ns=(5, 7)), lambda p: os.stat(p).st_mtime_ns, 7),
    ("truncate(2)", lambda p: os.truncate(p, 3), lambda p: os.stat(p).st_size, 3),
    ("link(2)", lambda p: os.link(p, p + "2"), lambda p: os.stat(p).st_nlink, 2),
    ("setxattr(2)", lambda p: os.setxattr(p, "user.n", b"v"), lambda p: os.listxattr(p), ["user.n"]),
)
WAYS = {
    "by its path": lambda p: p,
    "by a descriptor": lambda p: f"/proc/self/fd/{os.open(p, os.O_RDONLY)}",
    "by a hard link": lambda p: p + ".too",
    "by a symbolic link": lambda p: p + ".link",
}


def attribute_seen(change, look, want, way, a, b):
    write_file(a / "it", b"content")
    os.symlink("it", a / "it.link")
    if way == "by a hard link":
        os.link(a / "it", a / "it.too")
        want = want + 1 if look is ATTRIBUTES[4][2] else want
    path = WAYS[way](b / "it")
    look(path)
    change(a / "it")
    equal(look(path), want)


@table
def attributes_seen():
    for story, change, look, want in ATTRIBUTES:
        for way in WAYS:
            yield f"{story}: the new attribute is seen {way}", attribute_seen, change, look, want, way


# ---- both nodes in turns -----------------------------------------------------------------------------

@check("write(2): two nodes write one file in turns, each sees the other's bytes")
def _(a, b):
    write_file(a / "it", bytes(100))
    fds = [os.open(view / "it", os.O_RDWR) for view in (a, b)]
    model = bytearray(100)
    for i in range(30):
        mine, yours = fds[i % 2], fds[1 - i % 2]
        write_once(mine, b"%02d" % i, 3 * i)
        model[3 * i:3 * i + 2] = b"%02d" % i
        equal(os.pread(yours, 100, 0), bytes(model))


@check("write(2): two nodes write halves of one block, both stay")
def _(a, b):
    write_file(a / "it", bytes(60_000))
    one, two = [os.open(view / "it", os.O_RDWR) for view in (a, b)]
    write_once(one, b"a" * 30_000, 0)
    write_once(two, b"b" * 30_000, 30_000)
    os.close(one)
    os.close(two)
    true(read_file(a / "it") == b"a" * 30_000 + b"b" * 30_000, "a half is missing")


@check("write(2): two nodes write other blocks of one file, both stay after close(2)")
def _(a, b):
    size = 1 << 18
    write_file(a / "it", bytes(4 * size))
    fds = [os.open(view / "it", os.O_RDWR) for view in (a, b)]
    for i in range(4):
        write_once(fds[i % 2], bytes([65 + i]) * size, i * size)
    for fd in fds:
        os.close(fd)
    true(read_file(b / "it") == b"".join(bytes([65 + i]) * size for i in range(4)), "a part is missing")


@check("ftruncate(2) beside a writer on another node: neither is lost")
def _(a, b):
    fd = os.open(write_file(a / "it"), os.O_RDWR)
    write_once(fd, b"x" * 1000)
    os.truncate(b / "it", 500)
    write_once(fd, b"y" * 10, 1000)
    os.close(fd)
    equal(read_file(b / "it"), b"x" * 500 + bytes(500) + b"y" * 10)


@check("open(2) O_TRUNC beside a writer on another node: it goes on behind a hole")
def _(a, b):
    fd = os.open(write_file(a / "it"), os.O_RDWR)
    write_once(fd, b"x" * 10)
    os.close(os.open(b / "it", os.O_WRONLY | os.O_TRUNC))
    write_once(fd, b"y" * 10)
    os.close(fd)
    equal(read_file(b / "it"), bytes(10) + b"y" * 10)


@check("rename(2): one node renames, the other renames back, twenty times")
def _(a, b):
    write_file(a / "0", b"content")
    for i in range(20):
        view = (a, b)[i % 2]
        os.rename(view / str(i), view / str(i + 1))
        equal(os.listdir((b, a)[i % 2]), [str(i + 1)])
    equal(read_file(a / "20"), b"content")


@check("mkdir(2), rmdir(2): in turns on two nodes, counts of links are right")
def _(a, b):
    for i in range(10):
        os.mkdir((a, b)[i % 2] / str(i))
        equal(os.stat((b, a)[i % 2]).st_nlink, 3 + i)
    for i in range(10):
        os.rmdir((b, a)[i % 2] / str(i))
        equal(os.stat((a, b)[i % 2]).st_nlink, 11 - i)


@check("open(2) O_EXCL as a lock file: two nodes count under it")
def _(a, b):
    write_file(a / "count", b"0")

    def script(folder):
        yield "ready"
        for _ in range(8):
            while True:
                try:
                    os.close(os.open(folder / "lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                    break
                except FileExistsError:
                    pass
            count = int(read_file(folder / "count"))
            write_file(folder / "count", b"%d" % (count + 1))
            os.unlink(folder / "lock")
        yield "done"
    others = [Other(script, a), Other(script, b)]
    for other in others:
        other.next()
    for other in others:
        other.start()
    for other in others:
        other.wait()
    equal(read_file(b / "count"), b"16")


@check("link(2) as a lock, open(2) man page: the count of links says who has it")
def _(a, b):
    for view, name in ((a, "one"), (b, "two")):
        write_file(view / name)
    os.link(a / "one", a / "lock")
    fails(17, os.link, b / "two", b / "lock")
    equal((os.stat(b / "one").st_nlink, os.stat(a / "two").st_nlink), (2, 1))


@check("unlink(2): a file that one node has open for writing is gone for the other")
def _(a, b):
    fd = os.open(a / "it", os.O_RDWR | os.O_CREAT)
    write_once(fd, b"content")
    os.unlink(b / "it")
    fails(ENOENT, os.stat, a / "it")
    equal(os.fstat(fd).st_nlink, 0)
    equal(read_all(fd), b"content")


@check("readdir(3): each of forty names is listed there as soon as it is made")
def _(a, b):
    for i in range(40):
        os.mknod(a / str(i))
        equal(len(os.listdir(b)), i + 1)


@check("read(2): a log that grows is read to its end each time")
def _(a, b):
    log = os.open(a / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    tail, seen_ = os.open(b / "log", os.O_RDONLY), b""
    for i in range(40):
        write_once(log, b"line %d\n" % i)
        seen_ += os.read(tail, 100)
        equal(seen_.count(b"\n"), i + 1)
