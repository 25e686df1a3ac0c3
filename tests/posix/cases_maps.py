# SPDX-License-Identifier: Apache-2.0
"""mmap(2), msync(2), and what maps and calls see of each other."""
import mmap
import os
import signal
from errno import EINVAL, ENODEV

from suite import (Other, check, equal, eventually, fails, pattern, read_file, status_of_child, table, tick, true,
                   write_file, write_once)
from syscalls import map_anything

PAGE = mmap.PAGESIZE
SHARED, PRIVATE = mmap.MAP_SHARED, mmap.MAP_PRIVATE
READ = mmap.PROT_READ


def opened(path, content=b"", flags=os.O_RDWR):
    return os.open(write_file(path, content), flags)


SIZES = (("a byte", 1), ("a page", PAGE), ("a page and a byte", PAGE + 1), ("64 KiB", 65536),
    ("64 KiB and a byte", 65537),
         ("1 MiB", 1 << 20), ("3 MiB and a bit", (3 << 20) + 77))


def map_reads(flags, size, a, b):
    content = pattern(size)
    write_file(a / "it", content)
    with mmap.mmap(os.open(b / "it", os.O_RDONLY), size, flags, READ) as area:
        equal(area[:], content)


def map_writes(size, a, b):
    fd = opened(a / "it", bytes(size))
    with mmap.mmap(fd, size, SHARED) as area:
        area[:] = pattern(size)
        area.flush()
    os.close(fd)
    equal(read_file(b / "it"), pattern(size))


def private_stays(size, d):
    fd = opened(d / "it", pattern(size))
    with mmap.mmap(fd, size, PRIVATE) as area:
        area[:] = bytes(size)
        equal(area[:], bytes(size))
    equal(read_file(d / "it"), pattern(size))


@table
def maps_by_size():
    for story, size in SIZES:
        yield f"mmap(2) MAP_SHARED: read {story}", map_reads, SHARED, size
        yield f"mmap(2) MAP_PRIVATE: read {story}", map_reads, PRIVATE, size
        yield f"mmap(2) MAP_SHARED, msync(2): write {story}", map_writes, size
        yield f"mmap(2) MAP_PRIVATE: what is written to {story} stays private", private_stays, size


@check("mmap(2): zeros behind the end, up to the page's end")
def _(d):
    with mmap.mmap(opened(d / "it", b"x"), 1, SHARED, READ) as area:
        equal(area[0:1], b"x")
    fd = opened(d / "it", b"y" * (PAGE + 10))
    with mmap.mmap(fd, 0, SHARED, READ) as area:
        equal(area[:], b"y" * (PAGE + 10))


def page_behind(d):
    fd = opened(d / "it", b"x" * 2 * PAGE)
    area = mmap.mmap(fd, 2 * PAGE)
    os.ftruncate(fd, 10)
    return area


@check("mmap(2) SIGBUS: a page that truncate(2) took away, read")
def _(d):
    area = page_behind(d)
    equal(os.WTERMSIG(status_of_child(lambda: area[PAGE])), signal.SIGBUS)


@check("mmap(2) SIGBUS: a page that truncate(2) took away, written")
def _(d):
    area = page_behind(d)

    def write():
        area[PAGE] = 1
    equal(os.WTERMSIG(status_of_child(write)), signal.SIGBUS)


@check("mmap(2): the page of the end stays, with zeros behind it")
def _(d):
    equal(page_behind(d)[:20], b"x" * 10 + bytes(10))


@check("mmap(2) SIGBUS: a page that another node took away")
def _(a, b):
    area = mmap.mmap(opened(b / "it", b"x" * 2 * PAGE, os.O_RDONLY), 2 * PAGE, SHARED, READ)
    equal(area[PAGE], ord("x"))
    os.truncate(a / "it", 10)
    eventually(lambda: os.WIFSIGNALED(status_of_child(lambda: area[PAGE])), "SIGBUS")


@check("mmap(2): what lies behind the end is not kept when the file grows")
def _(d):
    fd = opened(d / "it", b"x" * 10)
    with mmap.mmap(fd, 10) as area:
        os.ftruncate(fd, 5)
        os.ftruncate(fd, 10)
        equal(area[:], b"x" * 5 + bytes(5))


@check("mmap(2): pages that appear when the file grows can be used")
def _(d):
    fd = opened(d / "it", b"x" * PAGE)
    area = mmap.mmap(fd, PAGE)
    os.ftruncate(fd, 2 * PAGE)
    area.resize(2 * PAGE)
    area[PAGE:] = b"y" * PAGE
    area.flush()
    equal(read_file(d / "it"), b"x" * PAGE + b"y" * PAGE)


@check("mmap(2) MAP_SHARED: read(2) sees at once what the map wrote")
def _(d):
    fd = opened(d / "it", bytes(PAGE))
    with mmap.mmap(fd, PAGE) as area:
        area[100:104] = b"here"
        equal(os.pread(fd, 4, 100), b"here")


@check("mmap(2) MAP_SHARED: the map sees at once what write(2) wrote")
def _(d):
    fd = opened(d / "it", bytes(PAGE))
    with mmap.mmap(fd, PAGE) as area:
        equal(area[100:104], bytes(4))
        write_once(fd, b"here", 100)
        equal(area[100:104], b"here")


@check("mmap(2) MAP_SHARED: two maps of one file are one memory")
def _(d):
    fd = opened(d / "it", bytes(PAGE))
    one, two = mmap.mmap(fd, PAGE), mmap.mmap(fd, PAGE)
    one[7:11] = b"both"
    equal(two[7:11], b"both")


@check("mmap(2) MAP_SHARED: two processes see each other's writes")
def _(d):
    area = mmap.mmap(opened(d / "it", bytes(PAGE)), PAGE)

    def script():
        area[0:5] = b"child"
        yield bytes(area[5:11])
    area[5:11] = b"parent"
    equal(Other(script).next(), b"parent")
    equal(area[0:5], b"child")


@check("mmap(2): the map outlives close(2)")
def _(d):
    fd = opened(d / "it", pattern(PAGE))
    area = mmap.mmap(fd, PAGE)
    os.close(fd)
    equal(area[:], pattern(PAGE))


@check("mmap(2): what is written after close(2) arrives")
def _(a, b):
    fd = opened(a / "it", bytes(PAGE))
    area = mmap.mmap(fd, PAGE)
    os.close(fd)
    area[:4] = b"late"
    area.flush()
    area.close()
    equal(read_file(b / "it")[:4], b"late")


@check("mmap(2): the map outlives unlink(2)")
def _(d):
    area = mmap.mmap(opened(d / "it", pattern(PAGE)), PAGE)
    os.unlink(d / "it")
    area[:4] = b"gone"
    area.flush()
    equal(area[:], b"gone" + pattern(PAGE)[4:])


@check("mmap(2): the map keeps the file that was renamed over")
def _(d):
    area = mmap.mmap(opened(d / "it", b"old!" * 1024), PAGE, SHARED, READ)
    write_file(d / "new", b"new!" * 1024)
    os.rename(d / "new", d / "it")
    equal(area[:4], b"old!")


@check("msync(2): another node sees what was synced")
def _(a, b):
    fd = opened(a / "it", bytes(2 * PAGE))
    area = mmap.mmap(fd, 2 * PAGE)
    equal(read_file(b / "it"), bytes(2 * PAGE))
    area[PAGE:PAGE + 4] = b"here"
    area.flush()
    os.fsync(fd)
    equal(read_file(b / "it")[PAGE:PAGE + 4], b"here")


@check("mmap(2): a new map sees what another node wrote and closed")
def _(a, b):
    write_file(a / "it", b"old!")
    with mmap.mmap(os.open(b / "it", os.O_RDONLY), 4, SHARED, READ) as area:
        equal(area[:], b"old!")
    write_file(a / "it", b"new!")
    with mmap.mmap(os.open(b / "it", os.O_RDONLY), 4, SHARED, READ) as area:
        equal(area[:], b"new!")


@check("mmap(2) MAP_SHARED of a file opened O_APPEND: pages go where they are mapped")
def _(a, b):
    fd = opened(a / "it", bytes(PAGE), os.O_RDWR | os.O_APPEND)
    with mmap.mmap(fd, PAGE) as area:
        area[100:104] = b"here"
        area.flush()
    os.close(fd)
    equal(read_file(b / "it"), bytes(100) + b"here" + bytes(PAGE - 104))


@check("mmap(2): writing to a hole fills it")
def _(a, b):
    fd = opened(a / "it")
    os.ftruncate(fd, 8 * PAGE)
    with mmap.mmap(fd, 8 * PAGE) as area:
        area[5 * PAGE] = 7
        area.flush()
    os.close(fd)
    equal(read_file(b / "it"), bytes(5 * PAGE) + b"\7" + bytes(3 * PAGE - 1))


@check("mmap(2): reading a hole gives zeros")
def _(d):
    fd = opened(d / "it")
    os.ftruncate(fd, 3 * PAGE)
    with mmap.mmap(fd, 3 * PAGE, SHARED, READ) as area:
        equal(area[:], bytes(3 * PAGE))


@check("mmap(2) offset: a map of the second page only")
def _(d):
    fd = opened(d / "it", pattern(3 * PAGE))
    with mmap.mmap(fd, PAGE, SHARED, READ, offset=PAGE) as area:
        equal(area[:], pattern(3 * PAGE)[PAGE:2 * PAGE])


@check("mmap(2): a write through a map moves mtime by msync(2)")
def _(d):
    fd = opened(d / "it", bytes(PAGE))
    os.utime(fd, ns=(10**18, 10**18))
    with mmap.mmap(fd, PAGE) as area:
        tick()
        area[0] = 1
        area.flush()
    true(os.fstat(fd).st_mtime_ns > 10**18, "mtime did not move")


@check("mmap(2) POSIX: a write through a map moves ctime by msync(2)")
def _(d):
    fd = opened(d / "it", bytes(PAGE))
    before = os.fstat(fd).st_ctime_ns
    with mmap.mmap(fd, PAGE) as area:
        tick()
        area[0] = 1
        area.flush()
    true(os.fstat(fd).st_ctime_ns > before, "ctime did not move")


@check("read(2) into a map of the same file")
def _(d):
    fd = opened(d / "it", pattern(2 * PAGE))
    with mmap.mmap(fd, 2 * PAGE) as area:
        equal(os.preadv(fd, [memoryview(area)[:PAGE]], PAGE), PAGE)
        equal(area[:PAGE], pattern(2 * PAGE)[PAGE:])


@check("write(2) from a map of the same file")
def _(d):
    fd = opened(d / "it", pattern(2 * PAGE))
    with mmap.mmap(fd, 2 * PAGE) as area:
        equal(os.pwritev(fd, [memoryview(area)[:PAGE]], PAGE), PAGE)
        equal(area[:], pattern(2 * PAGE)[:PAGE] * 2)


@check("write(2) from a map of another file that is not in memory yet")
def _(d):
    fd = opened(d / "from", pattern(1 << 18))
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    with mmap.mmap(fd, 1 << 18, SHARED, READ) as area:
        out = opened(d / "to")
        equal(os.write(out, area), 1 << 18)
    equal(read_file(d / "to"), pattern(1 << 18))


def advice(name, d):
    fd = opened(d / "it", pattern(1 << 18))
    with mmap.mmap(fd, 1 << 18) as area:
        area.madvise(getattr(mmap, name))
        equal(area[:], pattern(1 << 18))


@table
def advices():
    for name in ("MADV_SEQUENTIAL", "MADV_RANDOM", "MADV_WILLNEED", "MADV_DONTNEED"):
        yield f"madvise(2) {name}: the content is the same", advice, name


@check("madvise(2) MADV_DONTNEED: a private page comes back as it is in the file")
def _(d):
    with mmap.mmap(opened(d / "it", b"f" * PAGE), PAGE, PRIVATE) as area:
        area[0:1] = b"p"
        area.madvise(mmap.MADV_DONTNEED)
        equal(area[0:1], b"f")


@check("fork(2): a private map of the child is the child's")
def _(d):
    area = mmap.mmap(opened(d / "it", b"f" * PAGE), PAGE, PRIVATE)

    def script():
        area[0:1] = b"c"
        yield True
    Other(script).next()
    equal(area[0:1], b"f")


@check("mmap(2) EINVAL: an offset that is no multiple of the page size")
def _(d):
    fd = opened(d / "it", bytes(2 * PAGE))
    fails(EINVAL, map_anything, fd, PAGE, 512)


@check("mmap(2) EINVAL: of no length")
def _(d):
    fd = opened(d / "it", bytes(PAGE))
    fails(EINVAL, map_anything, fd, 0, 0)


@check("mmap(2) ENODEV: of a folder")
def _(d):
    fails(ENODEV, map_anything, os.open(d, os.O_RDONLY), PAGE, 0)
