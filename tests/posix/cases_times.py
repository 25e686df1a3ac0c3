# SPDX-License-Identifier: Apache-2.0
"""
Which call moves which time (POSIX: "shall mark for update", inode(7), stat(2)), and utimensat(2).

Before each call the times of its subjects are of long ago; afterwards those that are named by their letters (a, m, c)
have moved, and no other.
"""
import itertools
import os
import time
from errno import EEXIST, EINVAL, ENOENT, ENOTEMPTY

import calls
import syscalls as sys_
from suite import (CLOCK_REALTIME_COARSE, LONG_AGO, STRANGER, acting_as, check, equal, eventually, fails, open_folder,
                   outcome, pattern, table, tick, true, write_file, write_once)

OLD_NS = LONG_AGO * 10**9
LETTERS = "amc"


def times(path):
    st = os.lstat(path)
    return st.st_atime_ns, st.st_mtime_ns, st.st_ctime_ns


def age(path):
    sys_.utimensat(path, (LONG_AGO, 5), (LONG_AGO, 5), sys_.AT_SYMLINK_NOFOLLOW)


def moved(prepare, call, subject, letters, a, b):
    """subject: before[:after], its name before the call and, if that changes, after it."""
    prepare(a)
    before, _, after = subject.partition(":")
    age(a / before)
    old = times(b / before)
    tick()
    call(a)

    def what_moved():
        new = times(b / (after or before))
        true(all(y >= x for x, y in zip(old, new)), "a time went back")
        return "".join(letter for letter, x, y in zip(LETTERS, old, new) if x != y)
    if letters == "a" and a != b:       # which another node may hear of a little later
        eventually(lambda: what_moved() == "a", "atime alone moves")
    equal(what_moved() or "nothing", letters or "nothing", "what moved")


def with_file(d):
    os.mkdir(d / "folder")
    write_file(d / "folder/it", b"content")
    os.setxattr(d / "folder/it", "user.n", b"v")


def with_link(d):
    os.mkdir(d / "folder")
    os.symlink("target", d / "folder/it")


def with_two(d):
    with_file(d)
    os.mkdir(d / "second")
    write_file(d / "second/other", b"other")


def with_two_names(d):
    with_two(d)
    os.link(d / "folder/it", d / "second/name")


def with_folder(d):
    with_two(d)
    os.mkdir(d / "folder/sub")


def on_descriptor(flags, use):
    def call(d):
        fd = os.open(d / "folder/it", flags)
        use(fd)
        os.close(fd)
    return call


RD, WR = os.O_RDONLY, os.O_WRONLY
NOW, OMIT, GIVEN = (0, sys_.UTIME_NOW), (0, sys_.UTIME_OMIT), (1_234_567_890, 123_456_789)
IT, FOLDER, SECOND, OTHER = "folder/it", "folder", "second", "second/other"
TRUNC = os.O_WRONLY | os.O_TRUNC
# (call's name, prepare, call, {subject: letters that move})
MOVES = (
    ("open(2) and close(2)", with_file, on_descriptor(RD, lambda fd: None), {IT: "", FOLDER: ""}),
    ("open(2) O_RDWR and close(2)", with_file, on_descriptor(os.O_RDWR, lambda fd: None), {IT: ""}),
    ("open(2) O_CREAT of what is there", with_file, on_descriptor(WR | os.O_CREAT, lambda fd: None),
     {IT: "", FOLDER: ""}),
    ("open(2) O_NOATIME, read(2)", with_file, on_descriptor(RD | os.O_NOATIME, lambda fd: os.read(fd, 3)), {IT: ""}),
    ("stat(2)", with_file, lambda d: os.stat(d / IT), {IT: "", FOLDER: ""}),
    ("access(2)", with_file, lambda d: os.access(d / IT, os.R_OK), {IT: ""}),
    ("getxattr(2)", with_file, lambda d: os.getxattr(d / IT, "user.n"), {IT: ""}),
    ("lseek(2)", with_file, on_descriptor(RD, lambda fd: os.lseek(fd, 3, 0)), {IT: ""}),
    ("fsync(2)", with_file, on_descriptor(os.O_RDWR, os.fsync), {IT: ""}),
    ("write(2)", with_file, on_descriptor(WR, lambda fd: os.write(fd, b"x")), {IT: "mc", FOLDER: ""}),
    ("pwrite(2)", with_file, on_descriptor(WR, lambda fd: os.pwrite(fd, b"x", 100)), {IT: "mc"}),
    ("write(2) O_APPEND", with_file, on_descriptor(WR | os.O_APPEND, lambda fd: os.write(fd, b"x")), {IT: "mc"}),
    ("write(2) of no bytes", with_file, on_descriptor(WR, lambda fd: os.write(fd, b"")), {IT: ""}),
    ("truncate(2) to less", with_file, lambda d: os.truncate(d / IT, 3), {IT: "mc", FOLDER: ""}),
    ("truncate(2) to more", with_file, lambda d: os.truncate(d / IT, 30), {IT: "mc"}),
    ("ftruncate(2)", with_file, on_descriptor(WR, lambda fd: os.ftruncate(fd, 3)), {IT: "mc"}),
    ("open(2) O_TRUNC", with_file, on_descriptor(TRUNC, lambda fd: None), {IT: "mc", FOLDER: ""}),
    ("open(2) O_TRUNC of an empty file", lambda d: (with_file(d), os.truncate(d / IT, 0)),
     on_descriptor(TRUNC, lambda fd: None), {IT: "mc"}),
    ("fallocate(2)", with_file, on_descriptor(WR, lambda fd: sys_.fallocate(fd, 0, 0, 9000)), {IT: "mc"}),
    ("fallocate(2) FALLOC_FL_PUNCH_HOLE", with_file,
     on_descriptor(WR, lambda fd: sys_.fallocate(fd, sys_.FALLOC_PUNCH | sys_.FALLOC_KEEP, 0, 3)), {IT: "mc"}),
    ("fallocate(2) FALLOC_FL_ZERO_RANGE", with_file,
     on_descriptor(WR, lambda fd: sys_.fallocate(fd, sys_.FALLOC_ZERO, 0, 3)), {IT: "mc"}),
    ("chmod(2)", with_file, lambda d: os.chmod(d / IT, 0o600), {IT: "c", FOLDER: ""}),
    ("chmod(2) to the same mode", with_file, lambda d: os.chmod(d / IT, 0o644), {IT: "c"}),
    ("fchmod(2)", with_file, on_descriptor(RD, lambda fd: os.fchmod(fd, 0o600)), {IT: "c"}),
    ("chown(2)", with_file, lambda d: os.chown(d / IT, 7, 7), {IT: "c", FOLDER: ""}),
    ("chown(2) to the same owner", with_file, lambda d: os.chown(d / IT, 0, 0), {IT: "c"}),
    ("lchown(2) of a symbolic link", with_link, lambda d: os.lchown(d / IT, 7, 7), {IT: "c"}),
    ("setxattr(2)", with_file, lambda d: os.setxattr(d / IT, "user.n", b"w"), {IT: "c", FOLDER: ""}),
    ("removexattr(2)", with_file, lambda d: os.removexattr(d / IT, "user.n"), {IT: "c"}),
    ("link(2)", with_two, lambda d: os.link(d / IT, d / "second/new"), {IT: "c", FOLDER: "", SECOND: "mc"}),
    ("unlink(2)", with_two_names, lambda d: os.unlink(d / IT), {"second/name": "c", FOLDER: "mc", SECOND: ""}),
    ("rename(2)", with_two, lambda d: os.rename(d / IT, d / "folder/new"), {f"{IT}:folder/new": "c", FOLDER: "mc"}),
    ("rename(2) to another folder", with_two, lambda d: os.rename(d / IT, d / "second/new"),
     {f"{IT}:second/new": "c", FOLDER: "mc", SECOND: "mc"}),
    ("rename(2) over a name", with_two_names, lambda d: os.rename(d / OTHER, d / IT),
     {f"{OTHER}:folder/it": "c", "second/name": "c", FOLDER: "mc", SECOND: "mc"}),
    ("rename(2) of one file's names", with_two_names, lambda d: os.rename(d / IT, d / "second/name"),
     {IT: "", FOLDER: "", SECOND: ""}),
    ("renameat2(2) RENAME_EXCHANGE", with_two, lambda d: sys_.renameat2(d / IT, d / OTHER, sys_.RENAME_EXCHANGE),
     {f"{IT}:second/other": "c", f"{OTHER}:folder/it": "c", FOLDER: "mc", SECOND: "mc"}),
    ("rename(2) of a folder", with_folder, lambda d: os.rename(d / "folder/sub", d / "second/sub"),
     {"folder/sub:second/sub": "c", FOLDER: "mc", SECOND: "mc"}),
    ("open(2) O_CREAT", with_file, lambda d: write_file(d / "folder/new"), {FOLDER: "mc", IT: ""}),
    ("mkdir(2)", with_file, lambda d: os.mkdir(d / "folder/new"), {FOLDER: "mc", IT: ""}),
    ("mkdir(2) two levels below", with_folder, lambda d: os.mkdir(d / "folder/sub/new"),
     {FOLDER: "", "folder/sub": "mc"}),
    ("mkfifo(3)", with_file, lambda d: os.mkfifo(d / "folder/new"), {FOLDER: "mc"}),
    ("symlink(2)", with_file, lambda d: os.symlink("it", d / "folder/new"), {FOLDER: "mc", IT: ""}),
    ("bind(2)", with_file, lambda d: calls.bind(d / "folder/new", d), {FOLDER: "mc"}),
    ("rmdir(2)", with_folder, lambda d: os.rmdir(d / "folder/sub"), {FOLDER: "mc"}),
    ("unlink(2) that fails", with_file, lambda d: fails(ENOENT, os.unlink, d / "folder/no"), {FOLDER: ""}),
    ("mkdir(2) that fails", with_file, lambda d: fails(EEXIST, os.mkdir, d / IT), {FOLDER: "", IT: ""}),
    ("rmdir(2) that fails", with_folder, lambda d: fails(ENOTEMPTY, os.rmdir, d / FOLDER), {FOLDER: ""}),
    ("rename(2) that fails", with_two,
     lambda d: fails(EEXIST, sys_.renameat2, d / IT, d / OTHER, sys_.RENAME_NOREPLACE), {IT: "", FOLDER: "",
         SECOND: ""}),
    ("utimensat(2) with times", with_file, lambda d: sys_.utimensat(d / IT, GIVEN, GIVEN), {IT: "amc", FOLDER: ""}),
    ("utimensat(2) with the same times", with_file, lambda d: age(d / IT), {IT: "c"}),
    ("utimensat(2) UTIME_NOW twice", with_file, lambda d: sys_.utimensat(d / IT, NOW, NOW), {IT: "amc"}),
    ("utimensat(2) UTIME_OMIT twice", with_file, lambda d: sys_.utimensat(d / IT, OMIT, OMIT), {IT: ""}),
    ("utimensat(2) without times", with_file, lambda d: sys_.utimensat_null(d / IT), {IT: "amc"}),
    ("utimensat(2) through a symbolic link", lambda d: (with_link(d), write_file(d / "folder/target")),
     lambda d: sys_.utimensat(d / IT, GIVEN, GIVEN), {"folder/target": "amc"}),
    ("utimensat(2) AT_SYMLINK_NOFOLLOW", lambda d: (with_link(d), write_file(d / "folder/target")),
     lambda d: sys_.utimensat(d / IT, GIVEN, GIVEN, sys_.AT_SYMLINK_NOFOLLOW), {"folder/target": "", IT: "amc"}),
)
WORDS = {"a": "atime", "m": "mtime", "c": "ctime"}


def rows_of(moves):
    for story, prepare, call, subjects in moves:
        for subject, letters in subjects.items():
            what = " and ".join(WORDS[letter] for letter in letters) or "no time"
            yield f"{story} moves {what} of {subject.partition(':')[0]}", moved, prepare, call, subject, letters


@table
def what_moves_what():
    return rows_of(MOVES)


# ---- new files ---------------------------------------------------------------------------------------

def newborn(make, a, b):
    low = time.clock_gettime_ns(CLOCK_REALTIME_COARSE)
    make(a / "it")
    tick()
    high = time.time_ns()
    found = times(b / "it")
    true(low - 10**7 <= min(found) <= max(found) <= high + 10**7, f"{found} are not between {low} and {high}")
    equal(found[1], found[2], "ctime beside mtime")


@table
def newborns():
    for story, make in (("a file", lambda p: os.close(os.open(p, os.O_CREAT | WR))), ("a folder", os.mkdir),
                        ("a FIFO", os.mkfifo), ("a symbolic link", lambda p: os.symlink("x", p)), ("a node", os.mknod)):
        yield f"stat(2): all times of {story} that is new are now", newborn, make


# ---- utimensat ---------------------------------------------------------------------------------------

KINDS = {"given": GIVEN, "UTIME_NOW": NOW, "UTIME_OMIT": OMIT}


def set_times(how, atime, mtime, a, b):
    if how == "a symbolic link":
        os.symlink("x", a / "it")
    else:
        write_file(a / "it")
    age(a / "it")
    old, low = times(b / "it"), time.time_ns() - 10**8
    if how == "a descriptor":
        sys_.futimens(os.open(a / "it", os.O_RDONLY), KINDS[atime], KINDS[mtime])
    else:
        sys_.utimensat(a / "it", KINDS[atime], KINDS[mtime],
            sys_.AT_SYMLINK_NOFOLLOW if how == "a symbolic link" else 0)
    for word, before, now in zip((atime, mtime), old, times(b / "it")):
        if word == "UTIME_NOW":
            true(now > low, f"{word} made it {now}")
        else:
            equal(now, before if word == "UTIME_OMIT" else GIVEN[0] * 10**9 + GIVEN[1], word)


@table
def pairs_of_times():
    for how, atime, mtime in itertools.product(("a path", "a descriptor", "a symbolic link"), KINDS, KINDS):
        yield f"utimensat(2): atime {atime}, mtime {mtime}, by {how}", set_times, how, atime, mtime


MOMENTS = (
    ("the epoch", (0, 0)), ("a nanosecond after the epoch", (0, 1)), ("the last nanosecond of a second",
     (0, 999_999_999)),
    ("a second before the epoch", (-1, 0)), ("half a second before the epoch", (-1, 500_000_000)),
    ("1901", (-2**31, 0)), ("January 2038, the last second of 31 bits", (2**31 - 1, 999_999_999)),
    ("January 2038, the first second of 32 bits", (2**31, 1)), ("2106, beyond 32 bits", (2**32, 3)),
    ("the year 2200", (7_258_118_400, 5)),
)


def moment(when, a, b):
    write_file(a / "it")
    os.stat(b / "it")
    sys_.utimensat(a / "it", when, when)
    want = when[0] * 10**9 + when[1]
    equal(times(b / "it")[:2], (want, want))


@table
def moments():
    for story, when in MOMENTS:
        yield f"utimensat(2), stat(2): {story}", moment, when


def refused(when, d):
    write_file(d / "it")
    age(d / "it")
    before = times(d / "it")
    fails(EINVAL, sys_.utimensat, d / "it", when, when)
    equal(times(d / "it"), before)


@table
def no_moments():
    for story, ns in (("a billion nanoseconds", 10**9), ("negative nanoseconds", -1), ("nearly UTIME_NOW", 2**30 - 3)):
        yield f"utimensat(2) EINVAL: {story}", refused, (1, ns)


# ---- times and open files ----------------------------------------------------------------------------

@check("close(2): mtime is that of the write, not of the close")
def _(a, b):
    fd = os.open(write_file(a / "it"), WR)
    write_once(fd, b"x" * 100_000)
    written = os.fstat(fd).st_mtime_ns
    tick()
    os.close(fd)
    equal(os.stat(b / "it").st_mtime_ns, written)


@check("fsync(2): mtime stays that of the write")
def _(a, b):
    fd = os.open(write_file(a / "it"), WR)
    write_once(fd, b"x" * 100_000)
    written = os.fstat(fd).st_mtime_ns
    tick()
    os.fsync(fd)
    equal((os.fstat(fd).st_mtime_ns, os.stat(b / "it").st_mtime_ns), (written, written))


@check("futimens(2) after write(2): what was given outlives close(2)")
def _(a, b):
    fd = os.open(a / "it", WR | os.O_CREAT)
    write_once(fd, b"x" * 100_000)
    sys_.futimens(fd, GIVEN, GIVEN)
    os.close(fd)
    equal(times(b / "it")[1], GIVEN[0] * 10**9 + GIVEN[1])


@check("utimensat(2) while a descriptor has unwritten data: what was given stays")
def _(a, b):
    fd = os.open(a / "it", WR | os.O_CREAT)
    write_once(fd, b"x")
    sys_.utimensat(a / "it", GIVEN, GIVEN)
    os.fsync(fd)
    os.close(fd)
    equal(times(b / "it")[1], GIVEN[0] * 10**9 + GIVEN[1])


@check("utimensat(2) on one node while another writes: the later call counts")
def _(a, b):
    fd = os.open(write_file(a / "it"), WR)
    write_once(fd, b"x")
    sys_.utimensat(b / "it", GIVEN, GIVEN)
    equal(times(a / "it")[1], GIVEN[0] * 10**9 + GIVEN[1])
    os.close(fd)
    equal(times(b / "it")[1], GIVEN[0] * 10**9 + GIVEN[1])


@check("write(2) after utimensat(2): mtime moves again")
def _(a, b):
    fd = os.open(write_file(a / "it"), WR)
    sys_.utimensat(a / "it", GIVEN, GIVEN)
    write_once(fd, b"x")
    true(os.stat(b / "it").st_mtime_ns > GIVEN[0] * 10**9 + GIVEN[1], "mtime stayed")


@check("stat(2): the mtime that the writer sees is the one that others see")
def _(a, b):
    fd = os.open(a / "it", WR | os.O_CREAT)
    write_once(fd, b"x")
    equal(os.stat(b / "it").st_mtime_ns, os.fstat(fd).st_mtime_ns)


@check("stat(2): mtime and size of a file that another node writes, write by write")
def _(a, b):
    fd = os.open(a / "it", WR | os.O_CREAT)
    last = 0
    for i in range(1, 6):
        write_once(fd, b"x")
        st = os.stat(b / "it")
        equal(st.st_size, i)
        true(st.st_mtime_ns > last, "mtime stayed")
        last = st.st_mtime_ns
        tick()


@check("stat(2): times do not depend on who asks")
def _(a, b):
    write_file(a / "it", pattern(100_000))
    with acting_as(STRANGER):
        seen = times(b / "it")
    equal(seen, times(a / "it"))


@check("rename(2), open file: the times of unwritten data go with it")
def _(a, b):
    fd = os.open(a / "old", WR | os.O_CREAT)
    write_once(fd, b"x")
    written = os.fstat(fd).st_mtime_ns
    os.rename(a / "old", a / "new")
    os.close(fd)
    equal(os.stat(b / "new").st_mtime_ns, written)


@check("open(2) O_TRUNC EACCES: no time moves")
def _(d):
    write_file(d / "it", b"content", 0o644)
    open_folder(d / "folder")
    before = times(d / "it")
    tick()
    with acting_as(STRANGER):
        true(outcome(os.open, d / "it", os.O_WRONLY | os.O_TRUNC) != 0, "it was opened")
    equal(times(d / "it"), before)
