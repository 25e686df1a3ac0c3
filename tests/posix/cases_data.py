# SPDX-License-Identifier: Apache-2.0
"""Content: writes, truncates, holes and copies beside a model of plain bytes; judged on another node before close(2)."""
import itertools
import os
import resource
import signal
import socket
import subprocess
from errno import EBADF, EFBIG, EINVAL, EISDIR, ENXIO, EOPNOTSUPP, ETXTBSY

import syscalls as sys_
from suite import (check, equal, fails, in_child, outcome, pattern, read_all, read_file, status_of_child, table, true,
                   write_file, write_once)

BLOCK = 65536           # what cairn cuts files into; other file systems have borders of their own
PAGE = 4096
RW = os.O_RDWR | os.O_CREAT


# ---- states: (bytes, where they are holes) -----------------------------------------------------------

def solid(length):
    return [(0, pattern(length, 7))] if length else []


STATES = {
    "an empty file": (0, solid(0)),
    "100 bytes": (100, solid(100)),
    "a page": (PAGE, solid(PAGE)),
    "a block of 64 KiB": (BLOCK, solid(BLOCK)),
    "a block and a byte": (BLOCK + 1, solid(BLOCK + 1)),
    "200,000 bytes": (200_000, solid(200_000)),
    "a hole of 300,000 bytes": (300_000, []),
    "data, a hole and data": (400_000, [(0, pattern(50_000, 3)), (330_000, pattern(70_000, 4))]),
    "a hole, data and a hole": (400_000, [(150_000, pattern(100_000, 5))]),
}


def make_state(path, state):
    """(descriptor, model): the file as this state has it."""
    length, parts = STATES[state]
    fd = os.open(path, RW)
    os.ftruncate(fd, length)
    model = bytearray(length)
    for offset, data in parts:
        write_once(fd, data, offset)
        model[offset:offset + len(data)] = data
    os.close(fd)
    return os.open(path, os.O_RDWR), model


# ---- operations: each does the same to a descriptor and to the model ---------------------------------

def write(offset, data):
    def on(fd, model):
        at = offset(len(model))
        write_once(fd, data, at)
        model.extend(bytes(max(0, at + len(data) - len(model))))
        model[at:at + len(data)] = data
    return on


def resize(size):
    def on(fd, model):
        new = size(len(model))
        os.ftruncate(fd, new)
        model.extend(bytes(max(0, new - len(model))))
        del model[new:]
    return on


def zero(mode, begin, end):
    """Punch, or zero with or without growing."""
    def on(fd, model):
        first, last = begin(len(model)), end(len(model))
        sys_.fallocate(fd, mode, first, last - first)
        if not mode & sys_.FALLOC_KEEP:
            model.extend(bytes(max(0, last - len(model))))
        last = min(last, len(model))
        model[first:last] = bytes(max(0, last - first))
    return on


def allocate(mode, end):
    def on(fd, model):
        last = end(len(model))
        sys_.fallocate(fd, mode, 0, last)
        if not mode & sys_.FALLOC_KEEP:
            model.extend(bytes(max(0, last - len(model))))
    return on


def copy_within(begin, count, to):
    def on(fd, model):
        first, out = begin(len(model)), to(len(model))
        wanted = min(count, len(model) - first)
        done = 0
        while done < wanted:
            got = os.copy_file_range(fd, fd, wanted - done, first + done, out + done)
            true(got > 0, "nothing was copied")
            done += got
        data = bytes(model[first:first + wanted])
        model.extend(bytes(max(0, out + wanted - len(model))) if data else b"")
        model[out:out + wanted] = data
    return on


def several(*steps):
    def on(fd, model):
        for step in steps:
            step(fd, model)
    return on


def at(n):
    return lambda size: n


def end(n=0):
    return lambda size: max(size + n, 0)


def part(n, of):
    return lambda size: size * n // of


PUNCH, ZERO, KEEP = sys_.FALLOC_PUNCH | sys_.FALLOC_KEEP, sys_.FALLOC_ZERO, sys_.FALLOC_KEEP
OPERATIONS = {
    "write(2): a byte at the begin": write(at(0), b"!"),
    "write(2): a byte at the end": write(end(), b"!"),
    "write(2): over the last byte and on": write(end(-1), b"<>"),
    "write(2): in the middle": write(part(1, 2), b"middle"),
    "write(2): across the border of 64 KiB": write(at(BLOCK - 3), b"border"),
    "write(2): a hole behind the end, then data": write(end(5000), b"far"),
    "write(2): a hole of a MiB behind the end": write(end(1 << 20), b"very far"),
    "write(2): 300,000 bytes at 1,000": write(at(1000), pattern(300_000, 9)),
    "write(2): a page at the second page": write(at(PAGE), pattern(PAGE, 10)),
    "write(2): bytes one by one": several(*(write(at(3 * i), b"%d" % (i % 10)) for i in range(50))),
    "write(2): backwards": several(*(write(at(1000 * (9 - i)), pattern(1000, i)) for i in range(10))),
    "ftruncate(2): to nothing": resize(at(0)),
    "ftruncate(2): a byte less": resize(end(-1)),
    "ftruncate(2): to the half": resize(part(1, 2)),
    "ftruncate(2): to the same": resize(end()),
    "ftruncate(2): a byte more": resize(end(1)),
    "ftruncate(2): to 64 KiB": resize(at(BLOCK)),
    "ftruncate(2): a MiB more": resize(end(1 << 20)),
    "ftruncate(2): less, then more: zeros come back": several(resize(part(1, 3)), resize(end(5000))),
    "ftruncate(2): to nothing, then write behind": several(resize(at(0)), write(at(777), b"new")),
    "ftruncate(2): less in a page, then write behind the page": several(resize(part(1, 2)), write(end(PAGE), b"new")),
    "fallocate(2): more": allocate(0, end(10_000)),
    "fallocate(2): within": allocate(0, lambda n: max(n // 2, 1)),
    "fallocate(2) FALLOC_FL_KEEP_SIZE: more": allocate(KEEP, end(10_000)),
    "fallocate(2) FALLOC_FL_PUNCH_HOLE: the begin": zero(PUNCH, at(0), lambda n: n // 2 + 1),
    "fallocate(2) FALLOC_FL_PUNCH_HOLE: the end and on": zero(PUNCH, part(1, 2), end(9999)),
    "fallocate(2) FALLOC_FL_PUNCH_HOLE: the middle": zero(PUNCH, part(1, 4), lambda n: n * 3 // 4 + 1),
    "fallocate(2) FALLOC_FL_PUNCH_HOLE: a page": zero(PUNCH, at(PAGE), at(2 * PAGE)),
    "fallocate(2) FALLOC_FL_PUNCH_HOLE: all": zero(PUNCH, at(0), end(1)),
    "fallocate(2) FALLOC_FL_PUNCH_HOLE: behind the end": zero(PUNCH, end(100), end(200)),
    "fallocate(2) FALLOC_FL_PUNCH_HOLE: then write into it":
        several(zero(PUNCH, at(0), end(1)), write(at(40), b"again")),
    "fallocate(2) FALLOC_FL_ZERO_RANGE: the middle": zero(ZERO, part(1, 4), lambda n: n * 3 // 4 + 1),
    "fallocate(2) FALLOC_FL_ZERO_RANGE: the end and on": zero(ZERO, part(1, 2), end(5000)),
    "fallocate(2) FALLOC_FL_ZERO_RANGE|FALLOC_FL_KEEP_SIZE: the end and on": zero(ZERO | KEEP, part(1, 2), end(5000)),
    "copy_file_range(2): the begin to the end": copy_within(at(0), 1 << 20, end()),
    "copy_file_range(2): the begin far behind the end": copy_within(at(0), 5000, end(100_000)),
    "copy_file_range(2): the end to the begin": copy_within(end(-30), 30, at(0)),
}


def like_the_model(state, operation, a, b):
    fd, model = make_state(a / "it", state)
    equal(os.stat(b / "it").st_size, len(model), "size before")
    OPERATIONS[operation](fd, model)
    same(read_all(fd), bytes(model), "by the descriptor")
    equal(os.fstat(fd).st_size, len(model), "size")
    same(read_file(b / "it"), bytes(model), "by another open")
    os.close(fd)
    same(read_file(b / "it"), bytes(model), "after close")
    equal(os.stat(b / "it").st_size, len(model), "size after close")


def same(got, want, how):
    if got != want:
        first = next((i for i, (x, y) in enumerate(zip(got, want)) if x != y), min(len(got), len(want)))
        raise AssertionError(f"content {how} differs at byte {first} ({len(got)} bytes, not {len(want)})")


@table
def model_of_bytes():
    for operation, state in itertools.product(OPERATIONS, STATES):
        if operation.startswith("copy_file_range(2): the end to") and STATES[state][0] < 60:
            continue                # source and destination would overlap
        yield f"{operation}, of {state}", like_the_model, state, operation


# ---- fallocate's other modes: done as the manual says, or refused with nothing changed ---------------

def shift(mode, begin, length, a, b):
    data = pattern(20 * PAGE)
    fd = os.open(write_file(a / "it", data), os.O_RDWR)
    try:
        sys_.fallocate(fd, mode, begin, length)
    except OSError as e:
        equal(e.errno, EOPNOTSUPP)
        want = data
    else:
        want = data[:begin] + (data[begin + length:] if mode == sys_.FALLOC_COLLAPSE else bytes(length) + data[begin:])
    os.close(fd)
    same(read_file(b / "it"), want, "afterwards")


@table
def shifts():
    for name, mode in (("FALLOC_FL_COLLAPSE_RANGE", sys_.FALLOC_COLLAPSE),
        ("FALLOC_FL_INSERT_RANGE", sys_.FALLOC_INSERT)):
        yield f"fallocate(2) {name}: at the begin, or EOPNOTSUPP", shift, mode, 0, PAGE
        yield f"fallocate(2) {name}: in the middle, or EOPNOTSUPP", shift, mode, 8 * PAGE, 2 * PAGE


def bad_allocation(mode, offset, length, code, d):
    fd = os.open(write_file(d / "it", b"content"), os.O_RDWR)
    fails(code, sys_.fallocate, fd, mode, offset, length)
    equal(read_file(d / "it"), b"content")


@table
def bad_allocations():
    for story, *case in (("a length of 0", 0, 0, 0, EINVAL), ("a negative length", 0, 0, -1, EINVAL),
                         ("a negative offset", 0, -1, 10, EINVAL), ("beyond the largest size", 0, 2**63 - 10, 100,
                          EFBIG),
                         ("a hole without FALLOC_FL_KEEP_SIZE", sys_.FALLOC_PUNCH, 0, 10, EOPNOTSUPP),
                         ("an unknown mode", 0x800, 0, 10, EOPNOTSUPP),
                         ("punch and zero at once", sys_.FALLOC_PUNCH | ZERO | KEEP, 0, 10, EOPNOTSUPP)):
        # Linux 6.12 and later say EINVAL where modes contradict each other
        codes = (EOPNOTSUPP, EINVAL) if case[3] == EOPNOTSUPP else case[3]
        yield f"fallocate(2): {story} is refused", bad_allocation, *case[:3], codes


# ---- SEEK_DATA and SEEK_HOLE -------------------------------------------------------------------------

def map_of(fd):
    """[(begin, end)] of data."""
    found, place = [], 0
    while True:
        try:
            begin = os.lseek(fd, place, os.SEEK_DATA)
        except OSError as e:
            equal(e.errno, ENXIO)
            return found
        place = os.lseek(fd, begin, os.SEEK_HOLE)
        true(place > begin, "an empty piece of data")
        found.append((begin, place))


def holes_are_zeros(state, a, b):
    fd, model = make_state(a / "it", state)
    os.fsync(fd)
    view = os.open(b / "it", os.O_RDONLY)
    at_ = 0
    for begin, finish in map_of(view) + [(len(model), len(model))]:
        equal(model[at_:begin].count(0), begin - at_, "zeros in a hole")
        at_ = finish
    equal(os.lseek(view, 0, os.SEEK_END), len(model))


@table
def maps_of_holes():
    for state in STATES:
        yield f"lseek(2) SEEK_DATA, SEEK_HOLE: what they call a hole is zeros, {state}", holes_are_zeros, state


MiB = 1 << 20


def sparse(path):
    """Data in the second and the fourth MiB of five."""
    fd = os.open(path, RW)
    for i in (1, 3):
        write_once(fd, pattern(MiB, i), i * MiB)
    os.ftruncate(fd, 5 * MiB)
    os.fsync(fd)
    return fd


SEEKS = (
    ("SEEK_DATA from the begin finds the first data", os.SEEK_DATA, 0, MiB),
    ("SEEK_DATA within data stays", os.SEEK_DATA, MiB + 5, MiB + 5),
    ("SEEK_DATA from a hole finds the next data", os.SEEK_DATA, 2 * MiB + 1, 3 * MiB),
    ("SEEK_HOLE from a hole stays", os.SEEK_HOLE, 5, 5),
    ("SEEK_HOLE from data finds the hole behind it", os.SEEK_HOLE, MiB + 5, 2 * MiB),
    ("SEEK_HOLE from the last data finds the last hole", os.SEEK_HOLE, 3 * MiB + 9, 4 * MiB),
    ("SEEK_HOLE in the last hole stays", os.SEEK_HOLE, 5 * MiB - 1, 5 * MiB - 1),
)


def seeks(whence, start, want, a, b):
    fd = sparse(a / "it")
    equal(os.lseek(fd, start, whence), want)
    equal(os.lseek(fd, 0, os.SEEK_CUR), want, "the offset")
    equal(os.lseek(os.open(b / "it", os.O_RDONLY), start, whence), want, "there")


def cannot_seek(whence, state, start, code, d):
    fd, _ = make_state(d / "it", state)
    fails(code, os.lseek, fd, start, whence)
    equal(os.lseek(fd, 0, os.SEEK_CUR), 0, "the offset")


@table
def seeking():
    for story, whence, start, want in SEEKS:
        yield f"lseek(2) {story}", seeks, whence, start, want
    for name, whence in (("SEEK_DATA", os.SEEK_DATA), ("SEEK_HOLE", os.SEEK_HOLE)):
        for story, state, start in (("at the end", "200,000 bytes", 200_000),
            ("behind the end", "200,000 bytes", 200_001),
                                    ("of an empty file", "an empty file", 0)):
            yield f"lseek(2) {name} ENXIO: {story}", cannot_seek, whence, state, start, ENXIO
        yield f"lseek(2) {name} ENXIO: of a negative offset", cannot_seek, whence, "100 bytes", -1, ENXIO
    for name, whence in (("SEEK_SET", 0), ("SEEK_CUR", 1), ("SEEK_END", 2)):
        yield f"lseek(2) {name} EINVAL: before the begin", cannot_seek, whence, "100 bytes", -101, EINVAL
    yield "lseek(2) EINVAL: an unknown whence", cannot_seek, 77, "100 bytes", 0, EINVAL
    yield "lseek(2) SEEK_DATA ENXIO: in the last hole", cannot_seek, os.SEEK_DATA, "a hole of 300,000 bytes", 9, ENXIO


@check("lseek(2) SEEK_HOLE: data that was not synced yet is data")
def _(d):
    fd = os.open(d / "it", RW)
    write_once(fd, pattern(MiB), MiB)
    equal((os.lseek(fd, MiB, os.SEEK_DATA), os.lseek(fd, MiB, os.SEEK_HOLE)), (MiB, 2 * MiB))


@check("lseek(2) SEEK_END: the end that another node made")
def _(a, b):
    fd = os.open(write_file(a / "it", b"12345"), os.O_RDONLY)
    equal(os.lseek(fd, 0, os.SEEK_END), 5)
    write_file(b / "it", b"123456789")
    equal(os.lseek(fd, -1, os.SEEK_END), 8)


@check("lseek(2): an offset behind the end is allowed, and makes nothing")
def _(d):
    fd = os.open(write_file(d / "it", b"12345"), os.O_RDWR)
    equal(os.lseek(fd, 1000, os.SEEK_SET), 1000)
    equal((os.read(fd, 10), os.fstat(fd).st_size), (b"", 5))


@check("fallocate(2) FALLOC_FL_PUNCH_HOLE: SEEK_HOLE finds it")
def _(a, b):
    fd = os.open(write_file(a / "it", pattern(3 * MiB)), os.O_RDWR)
    sys_.fallocate(fd, PUNCH, MiB, MiB)
    os.fsync(fd)
    equal(map_of(os.open(b / "it", os.O_RDONLY)), [(0, MiB), (2 * MiB, 3 * MiB)])


# ---- what a file takes -------------------------------------------------------------------------------

def takes(change, least, most, a, b):
    """Blocks of 512 bytes, in MiB, once all is synced."""
    fd = os.open(a / "it", RW)
    change(fd)
    os.fsync(fd)
    os.close(fd)
    got = os.stat(b / "it").st_blocks * 512 / MiB
    true(least <= got <= most, f"st_blocks tell {got:.2f} MiB")


def written(*places):
    def change(fd):
        for i in places:
            write_once(fd, pattern(MiB, i), i * MiB)
    return change


def and_then(change, call):
    def both(fd):
        change(fd)
        os.fsync(fd)
        call(fd)
    return both


@table
def space():
    for story, change, least, most in (
            ("two MiB that were written", written(0, 1), 2, 2.2),
            ("a hole takes none", lambda fd: os.ftruncate(fd, 8 * MiB), 0, 0.1),
            ("a hole between data takes none", written(0, 7), 2, 2.2),
            ("written twice, it takes once", written(0, 1, 0, 1), 2, 2.2),
            ("truncated to nothing", and_then(written(0, 1), lambda fd: os.ftruncate(fd, 0)), 0, 0.1),
            ("truncated to the half", and_then(written(0, 1), lambda fd: os.ftruncate(fd, MiB)), 1, 1.1),
            ("a hole that was punched", and_then(written(0, 1, 2), lambda fd: sys_.fallocate(fd, PUNCH, MiB, MiB)), 2,
             2.2),
            ("a hole that was filled", and_then(lambda fd: os.ftruncate(fd, 4 * MiB), written(1)), 1, 1.1)):
        yield f"stat(2) st_blocks: {story}", takes, change, least, most


# ---- reads and writes in all forms -------------------------------------------------------------------

def reads(use, want, a, b):
    write_file(a / "it", b"0123456789")
    equal(use(os.open(b / "it", os.O_RDONLY)), want)


def vector(fd, call, *args):
    parts = [bytearray(3), bytearray(), bytearray(4)]
    return call(fd, parts, *args), bytes(parts[0]), bytes(parts[2])


@table
def forms_of_read():
    for story, use, want in (
            ("read(2): up to what is asked for", lambda fd: os.read(fd, 4), b"0123"),
            ("read(2): what is there, if that is less", lambda fd: os.read(fd, 100), b"0123456789"),
            ("read(2): nothing at the end", lambda fd: (os.read(fd, 10), os.read(fd, 10))[1], b""),
            ("read(2): no bytes", lambda fd: (os.read(fd, 0), os.lseek(fd, 0, 1)), (b"", 0)),
            ("read(2): moves the offset", lambda fd: (os.read(fd, 4), os.read(fd, 3))[1], b"456"),
            ("pread(2): leaves the offset", lambda fd: (os.pread(fd, 4, 3), os.lseek(fd, 0, 1)), (b"3456", 0)),
            ("pread(2): behind the end", lambda fd: os.pread(fd, 4, 100), b""),
            ("readv(2): fills one part after the other", lambda fd: vector(fd, os.readv), (7, b"012", b"3456")),
            ("preadv(2): from an offset", lambda fd: vector(fd, os.preadv, 5), (5, b"567", b"89\0\0")),
            ("preadv2(2) RWF_HIPRI", lambda fd: vector(fd, os.preadv, 0, os.RWF_HIPRI), (7, b"012", b"3456"))):
        yield story, reads, use, want


def writes(use, want, a, b):
    fd = os.open(write_file(a / "it", b"0123456789"), os.O_RDWR)
    use(fd)
    equal(read_file(b / "it"), want)


def splice_in(fd):
    source, sink = os.pipe()
    os.write(sink, b"piped")
    equal(os.splice(source, fd, 5, offset_dst=2), 5)


def send_in(fd):
    source = os.memfd_create("x")
    os.write(source, b"sent")
    equal(os.sendfile(fd, source, 0, 4), 4)


@table
def forms_of_write():
    for story, use, want in (
            ("write(2): moves the offset", lambda fd: (os.write(fd, b"ab"), os.write(fd, b"cd")), b"abcd456789"),
            ("write(2): no bytes change nothing", lambda fd: os.pwrite(fd, b"", 100), b"0123456789"),
            ("pwrite(2): leaves the offset", lambda fd: (os.pwrite(fd, b"ab", 4), os.write(fd, b"c")), b"c123ab6789"),
            ("writev(2): one part after the other", lambda fd: os.writev(fd, [b"ab", b"", b"cde"]), b"abcde56789"),
            ("pwritev(2): at an offset", lambda fd: os.pwritev(fd, [b"ab", b"c"], 8), b"01234567abc"),
            ("pwritev2(2) RWF_APPEND", lambda fd: os.pwritev(fd, [b"ab"], 0, os.RWF_APPEND), b"0123456789ab"),
            ("pwritev2(2) RWF_DSYNC", lambda fd: os.pwritev(fd, [b"ab"], 0, os.RWF_DSYNC), b"ab23456789"),
            ("pwritev2(2) RWF_SYNC", lambda fd: os.pwritev(fd, [b"ab"], 0, os.RWF_SYNC), b"ab23456789"),
            ("splice(2): from a pipe to an offset", splice_in, b"01piped789"),
            ("sendfile(2): into the file", send_in, b"sent456789")):
        yield story, writes, use, want


@check("splice(2): from the file to a pipe")
def _(d):
    fd = os.open(write_file(d / "it", pattern(30_000)), os.O_RDONLY)
    source, sink = os.pipe()
    equal(os.splice(fd, sink, 20_000, offset_src=100), 20_000)
    equal(os.read(source, 20_000), pattern(30_000)[100:20_100])


@check("sendfile(2): from the file to a socket")
def _(d):
    one, two = socket.socketpair()
    fd = os.open(write_file(d / "it", pattern(30_000)), os.O_RDONLY)
    equal(os.sendfile(one.fileno(), fd, 100, 20_000), 20_000)
    equal(two.recv(20_000, socket.MSG_WAITALL), pattern(30_000)[100:20_100])


@check("read(2): a MiB at odd offsets, in odd pieces")
def _(a, b):
    data = pattern(MiB + 12345)
    fd = os.open(write_file(a / "it", data), os.O_RDONLY)
    view = os.open(b / "it", os.O_RDONLY)
    for offset, length in ((1, 1), (4095, 2), (65535, 2), (65536, 65536), (100_001, 700_003), (MiB, 99_999)):
        equal(os.pread(fd, length, offset), data[offset:offset + length])
        equal(os.pread(view, length, offset), data[offset:offset + length])


# ---- limits ------------------------------------------------------------------------------------------

@check("setrlimit(2) RLIMIT_FSIZE, write(2) EFBIG and SIGXFSZ: behind the limit")
def _(d):
    fd = os.open(d / "it", RW)

    def beyond(ignore):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN if ignore else signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        os.pwrite(fd, b"x", 1000)
    equal(os.WTERMSIG(status_of_child(beyond, False)), signal.SIGXFSZ)
    fails(EFBIG, in_child, beyond, True)


@check("setrlimit(2) RLIMIT_FSIZE: a write up to the limit is short")
def _(d):
    fd = os.open(d / "it", RW)

    def across():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        return os.pwrite(fd, b"x" * 100, 950)
    equal(in_child(across), 50)
    equal(os.fstat(fd).st_size, 1000)


@check("setrlimit(2) RLIMIT_FSIZE, ftruncate(2) EFBIG")
def _(d):
    fd = os.open(d / "it", RW)

    def beyond():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        os.ftruncate(fd, 1001)
    fails(EFBIG, in_child, beyond)


@check("ftruncate(2) EINVAL: a negative length")
def _(d):
    fails(EINVAL, os.ftruncate, os.open(d / "it", RW), -1)


@check("truncate(2): the largest offset there is, or EFBIG and nothing")
def _(d):
    largest = 2**63 - 1
    code = outcome(os.truncate, write_file(d / "it"), largest)
    true(code in (0, EFBIG, EINVAL), f"errno {code}")
    equal(os.stat(d / "it").st_size, 0 if code else largest)


@check("pwrite(2) EINVAL: a negative offset")
def _(d):
    fails(EINVAL, os.pwrite, os.open(d / "it", RW), b"x", -1)


@check("pread(2) EINVAL: a negative offset")
def _(d):
    fails(EINVAL, os.pread, os.open(d / "it", RW), 1, -1)


@check("ftruncate(2): to a TiB and back")
def _(a, b):
    fd = os.open(write_file(a / "it", b"begin"), os.O_RDWR)
    os.ftruncate(fd, 1 << 40)
    equal(os.stat(b / "it").st_size, 1 << 40)
    equal(os.pread(os.open(b / "it", os.O_RDONLY), 10, (1 << 40) - 10), bytes(10))
    os.ftruncate(fd, 5)
    equal(read_file(b / "it"), b"begin")


@check("write(2): at the offset of a TiB")
def _(a, b):
    fd = os.open(a / "it", RW)
    write_once(fd, b"far", 1 << 40)
    os.close(fd)
    view = os.open(b / "it", os.O_RDONLY)
    equal((os.pread(view, 5, (1 << 40) - 2), os.fstat(view).st_size), (b"\0\0far"[:5], (1 << 40) + 3))


# ---- copy_file_range between files -------------------------------------------------------------------

def copies(state, a, b):
    fd, model = make_state(a / "from", state)
    out, done = os.open(a / "to", RW), 0
    while got := os.copy_file_range(fd, out, 1 << 30):
        done += got
    equal(done, len(model))
    os.close(out)
    same(read_file(b / "to"), bytes(model), "of the copy")


@table
def whole_copies():
    for state in STATES:
        yield f"copy_file_range(2): all of {state}", copies, state


COPIES = (
    ("a part, to an offset", 100, 1000, 50_000), ("from an odd offset", 12_345, 70_000, 0),
    ("to an odd offset", 0, 70_000, 12_345), ("behind the destination's end", 0, 100, 300_000),
    ("over the border of 64 KiB", BLOCK - 10, 20, BLOCK - 5), ("a whole block to a block", BLOCK, BLOCK, BLOCK),
)


def copies_part(start, length, to, a, b):
    data, old = pattern(200_000, 1), pattern(100_000, 2)
    source = os.open(write_file(a / "from", data), os.O_RDONLY)
    fd = os.open(write_file(a / "to", old), os.O_RDWR)
    equal(os.copy_file_range(source, fd, length, start, to), length)
    want = bytearray(old.ljust(max(len(old), to + length), b"\0"))
    want[to:to + length] = data[start:start + length]
    same(read_file(b / "to"), bytes(want), "of the destination")
    same(read_file(b / "from"), data, "of the source")


@table
def part_copies():
    for story, *numbers in COPIES:
        yield f"copy_file_range(2): {story}", copies_part, *numbers


@check("copy_file_range(2): moves both offsets if none is given")
def _(d):
    source = os.open(write_file(d / "from", b"0123456789"), os.O_RDONLY)
    out = os.open(d / "to", RW)
    os.copy_file_range(source, out, 4)
    os.copy_file_range(source, out, 4)
    equal(read_file(d / "to"), b"01234567")
    equal((os.lseek(source, 0, 1), os.lseek(out, 0, 1)), (8, 8))


@check("copy_file_range(2): nothing is left behind the end")
def _(d):
    source = os.open(write_file(d / "from", b"0123456789"), os.O_RDONLY)
    equal(os.copy_file_range(source, os.open(d / "to", RW), 5, 10), 0)
    equal(os.copy_file_range(source, os.open(d / "to", RW), 5, 8), 2)


@check("copy_file_range(2) EINVAL: ranges of one file that overlap")
def _(d):
    fd = os.open(write_file(d / "it", b"x" * 100), os.O_RDWR)
    fails(EINVAL, os.copy_file_range, fd, fd, 50, 0, 25)


@check("copy_file_range(2) EBADF: to a file that is opened O_APPEND")
def _(d):
    source = os.open(write_file(d / "from", b"0123456789"), os.O_RDONLY)
    fails(EBADF, os.copy_file_range, source, os.open(d / "to", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 5)


@check("copy_file_range(2) EISDIR: from a folder")
def _(d):
    fails(EISDIR, os.copy_file_range, os.open(d, os.O_RDONLY), os.open(d / "to", RW), 5)


@check("copy_file_range(2): what the source has unwritten is copied")
def _(d):
    source = os.open(d / "from", RW)
    write_once(source, b"just written")
    out = os.open(d / "to", RW)
    equal(os.copy_file_range(source, out, 100, 0), 12)
    equal(read_file(d / "to"), b"just written")


@check("copy_file_range(2): what another node just wrote is copied")
def _(a, b):
    source = os.open(a / "from", RW)
    write_once(source, b"just written")
    equal(os.copy_file_range(os.open(b / "from", os.O_RDONLY), os.open(b / "to", RW), 100), 12)
    equal(read_file(a / "to"), b"just written")


@check("copy_file_range(2): the copy and its source are two files")
def _(a, b):
    write_file(a / "from", pattern(200_000))
    source, out = os.open(a / "from", os.O_RDWR), os.open(a / "to", RW)
    equal(os.copy_file_range(source, out, 200_000), 200_000)
    write_once(source, b"changed", 70_000)
    write_once(out, b"CHANGED", 140_000)
    data = pattern(200_000)
    same(read_file(b / "from"), data[:70_000] + b"changed" + data[70_007:], "of the source")
    same(read_file(b / "to"), data[:140_000] + b"CHANGED" + data[140_007:], "of the copy")


@check("posix_fallocate(3): the size grows, the content is zeros")
def _(a, b):
    fd = os.open(write_file(a / "it", b"begin"), os.O_RDWR)
    os.posix_fallocate(fd, 3, 100_000)
    same(read_file(b / "it"), b"begin".ljust(100_003, b"\0"), "there")


@check("truncate(2) ETXTBSY: a program that runs")
def _(d):
    write_file(d / "sleep", read_file("/bin/sleep"))
    os.chmod(d / "sleep", 0o755)
    with subprocess.Popen([d / "sleep", "60"]) as process:
        fails(ETXTBSY, os.truncate, d / "sleep", 0)
        fails(ETXTBSY, os.open, d / "sleep", os.O_WRONLY)
        process.kill()


@check("unlink(2): a program that runs goes on running")
def _(d):
    write_file(d / "sleep", read_file("/bin/sleep"))
    os.chmod(d / "sleep", 0o755)
    with subprocess.Popen([d / "sleep", "60"]) as process:
        os.unlink(d / "sleep")
        equal(process.poll(), None)
        process.kill()
