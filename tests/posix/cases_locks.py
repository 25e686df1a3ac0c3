# SPDX-License-Identifier: Apache-2.0
"""
Locks: fcntl(2) (POSIX and open file description locks) and flock(2), of two processes on one node and on two.

The holder is another process, on view `a`; who asks is this one, on view `b`.
"""
import fcntl
import itertools
import os
import signal
import struct
from collections import namedtuple
from errno import EAGAIN, EBADF, EDEADLK, EINTR, EINVAL, EOVERFLOW

from suite import Other, check, equal, eventually, fails, outcome, table, true, write_file, write_once

R, W, U = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK
WORDS = {R: "read", W: "write"}
Kind = namedtuple("Kind", "get set wait")
POSIX = Kind(fcntl.F_GETLK, fcntl.F_SETLK, fcntl.F_SETLKW)
OFD = Kind(fcntl.F_OFD_GETLK, fcntl.F_OFD_SETLK, fcntl.F_OFD_SETLKW)
KINDS = {"fcntl(2) F_SETLK": POSIX, "fcntl(2) F_OFD_SETLK": OFD}
FLOCK = "hhqqi4x"
Held = namedtuple("Held", "type whence start len pid")
SH, EX, UN, NB = fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_UN, fcntl.LOCK_NB


def lock(fd, kind, start=0, length=0, how=POSIX, whence=0, wait=False):
    fcntl.fcntl(fd, how.wait if wait else how.set, struct.pack(FLOCK, kind, whence, start, length, 0))


def who(fd, kind, start=0, length=0, how=POSIX):
    return Held(*struct.unpack(FLOCK, fcntl.fcntl(fd, how.get, struct.pack(FLOCK, kind, 0, start, length, 0))))


def opened(path, flags=os.O_RDWR):
    return os.open(path, flags | os.O_CREAT)


def holder(folder, *locks, how=POSIX):
    """Another process that holds these locks of `it`, until it is told to go on; then it has none."""
    def script():
        fd = opened(folder / "it")
        for one in locks:
            lock(fd, *one, how=how)
        yield True
        lock(fd, U, how=how)
        yield True
        yield True
    other = Other(script)
    other.next()
    return other


# ---- which ranges meet -------------------------------------------------------------------------------

# the holder has [100, 200); (story, start, length, do they meet?)
RANGES = (
    ("the same bytes", 100, 100, True), ("its first byte", 100, 1, True), ("its last byte", 199, 1, True),
    ("bytes within", 120, 30, True), ("bytes around", 50, 200, True), ("its begin and before", 50, 60, True),
    ("its end and behind", 190, 60, True), ("bytes up to it", 0, 100, False), ("bytes from its end", 200, 50, False),
    ("everything", 0, 0, True), ("everything from its last byte", 199, 0, True), ("everything behind", 200, 0, False),
)


def meets(how, held, wanted, start, length, conflict, a, b):
    holder(a, (held, 100, 100), how=how)
    fd = opened(b / "it")
    fails((EAGAIN,) if conflict else 0, lock, fd, wanted, start, length, how)


def told(how, held, wanted, start, length, conflict, a, b):
    holder(a, (held, 100, 100), how=how)
    found = who(opened(b / "it"), wanted, start, length, how)
    equal(found[0:1] + found[2:4] if conflict else found.type, (held, 100, 100) if conflict else U)


@table
def ranges():
    for (name, how), held, wanted in itertools.product(KINDS.items(), WORDS, WORDS):
        for story, start, length, meet in RANGES:
            conflict = meet and W in (held, wanted)
            said = "EAGAIN" if conflict else "success"
            yield (f"{name} {said}: {WORDS[wanted]} lock of {story}, beside a {WORDS[held]} lock", meets, how, held,
                wanted,
                   start, length, conflict)
            if story in ("the same bytes", "everything", "bytes up to it"):
                yield (f"{name.replace('SETLK', 'GETLK')}: {WORDS[wanted]} lock of {story}, beside a {WORDS[held]} lock",
                       told, how, held, wanted, start, length, conflict)


def across(first, second, held, wanted, a, b):
    holder(a, (held, 0, 0), how=first)
    fails(EAGAIN if W in (held, wanted) else 0, lock, opened(b / "it"), wanted, 0, 0, second)


@table
def kinds_meet():
    for (one, first), (two, second) in itertools.permutations(KINDS.items()):
        for held, wanted in itertools.product(WORDS, WORDS):
            yield f"{two}: a {WORDS[wanted]} lock beside a {WORDS[held]} lock of {one}", across, first, second, held, wanted


def flocker(folder, operation):
    def script():
        fd = opened(folder / "it")
        fcntl.flock(fd, operation)
        yield True
        fcntl.flock(fd, UN)
        yield True
        yield True
    other = Other(script)
    other.next()
    return other


def flocks_meet(held, wanted, a, b):
    other = flocker(a, held)
    fd = opened(b / "it")
    fails(EAGAIN if EX in (held, wanted) else 0, fcntl.flock, fd, wanted | NB)
    other.next()
    fcntl.flock(fd, wanted | NB)


@table
def flocks():
    names = {SH: "LOCK_SH", EX: "LOCK_EX"}
    for held, wanted in itertools.product(names, names):
        yield f"flock(2) {names[wanted]}: beside {names[held]}, then without", flocks_meet, held, wanted


@check("flock(2) and fcntl(2): locks of both kinds do not meet")
def _(a, b):
    flocker(a, EX)
    lock(opened(b / "it"), W)


# ---- one process: what it has, grows, shrinks, changes -----------------------------------------------

def map_of_locks(fd, how=POSIX, end=300):
    """What others see, byte by byte, in steps of ten: '-', 'r', 'w'."""
    seen = ""
    for start in range(0, end, 10):
        if outcome(lock, fd, W, start, 10, how) == 0:
            seen += "-"
            lock(fd, U, start, 10, how)
        elif outcome(lock, fd, R, start, 10, how) == 0:
            seen += "r"
            lock(fd, U, start, 10, how)
        else:
            seen += "w"
    return seen


EDITS = (
    ("one range", [(W, 50, 20)], "-----ww---"),
    ("a hole is unlocked", [(W, 20, 50), (U, 40, 10)], "--ww-ww---"),
    ("the begin is unlocked", [(W, 20, 50), (U, 0, 40)], "----www---"),
    ("the end is unlocked", [(W, 20, 50), (U, 50, 0)], "--www-----"),
    ("ranges that touch become one", [(W, 20, 20), (W, 40, 20), (U, 30, 20)], "--w--w----"),
    ("a range in the middle becomes a read lock", [(W, 20, 50), (R, 40, 10)], "--wwrww---"),
    ("a read lock becomes a write lock", [(R, 20, 50), (W, 20, 50)], "--wwwww---"),
    ("a range over two others", [(W, 10, 10), (R, 50, 10), (W, 0, 80)], "wwwwwwww--"),
    ("unlocking what is not locked", [(W, 20, 10), (U, 50, 10)], "--w-------"),
    ("to the end of all bytes", [(W, 60, 0)], "------wwww"),
    ("all, then a hole", [(R, 0, 0), (U, 30, 20)], "rrr--rrrrr"),
    ("unlocking all", [(W, 10, 10), (R, 50, 10), (U, 0, 0)], "----------"),
)


def edited(how, edits, want, a, b):
    holder(a, *edits, how=how)
    equal(map_of_locks(opened(b / "it"), how, 100), want)


@table
def edits_of_ranges():
    for name, how in KINDS.items():
        for story, edits, want in EDITS:
            yield f"{name}: {story}", edited, how, edits, want


def negative(how, a, b):
    def script():
        fd = opened(a / "it")
        lock(fd, W, 50, -20, how)
        yield True
        yield True
    Other(script).next()
    equal(map_of_locks(opened(b / "it"), how, 100), "---ww-----")


def by_offset(how, a, b):
    write_file(a / "it", b"x" * 50)

    def script():
        fd = opened(a / "it")
        os.lseek(fd, 20, 0)
        lock(fd, W, 0, 10, how, os.SEEK_CUR)
        lock(fd, W, 10, 10, how, os.SEEK_END)
        yield True
        yield True
    Other(script).next()
    equal(map_of_locks(opened(b / "it"), how, 100), "--w---w---")


def refused(how, args, code, d):
    fails(code, lock, opened(d / "it"), *args, how)


@table
def arguments():
    for name, how in KINDS.items():
        yield f"{name}: a negative length lies before the start", negative, how
        yield f"{name}: SEEK_CUR and SEEK_END", by_offset, how
        yield f"{name} EINVAL: a start before the file", refused, how, (W, -1, 10), EINVAL
        yield f"{name} EINVAL: a negative length that begins before the file", refused, how, (W, 5, -10), EINVAL
        yield f"{name} EINVAL: an unknown type", refused, how, (77, 0, 10), EINVAL
        yield f"{name} EOVERFLOW: an end behind the largest offset", refused, how, (W, 2**63 - 5, 10), (EOVERFLOW,
            EINVAL)


@check("fcntl(2) F_OFD_SETLK EINVAL: l_pid is not 0")
def _(d):
    fails(EINVAL, fcntl.fcntl, opened(d / "it"), fcntl.F_OFD_SETLK, struct.pack(FLOCK, W, 0, 0, 0, 5))


@check("flock(2) EINVAL: an unknown operation")
def _(d):
    fails(EINVAL, fcntl.flock, opened(d / "it"), 0x1000)


@check("fcntl(2) F_GETLK: tells the holder's process")
def _(d):
    other = holder(d, (W, 10, 20))
    equal(who(opened(d / "it"), R, 0, 0), Held(W, 0, 10, 20, other.pid))


@check("fcntl(2) F_OFD_GETLK: l_pid is -1 for a lock of a description")
def _(d):
    holder(d, (W, 10, 20), how=OFD)
    equal(who(opened(d / "it"), R, 0, 0, OFD), Held(W, 0, 10, 20, -1))


@check("fcntl(2) F_GETLK: own locks are not told")
def _(d):
    fd = opened(d / "it")
    lock(fd, W)
    equal(who(fd, W).type, U)


# ---- whose they are ----------------------------------------------------------------------------------

@check("fcntl(2) F_SETLK: two descriptors of one process do not conflict")
def _(d):
    lock(opened(d / "it"), W)
    lock(opened(d / "it"), W)


@check("fcntl(2) F_OFD_SETLK EAGAIN: two opens of one process conflict")
def _(d):
    lock(opened(d / "it"), W, how=OFD)
    fails(EAGAIN, lock, opened(d / "it"), W, how=OFD)


@check("flock(2) EWOULDBLOCK: two opens of one process conflict")
def _(d):
    fcntl.flock(opened(d / "it"), EX)
    fails(EAGAIN, fcntl.flock, opened(d / "it"), EX | NB)


def shared_by_dup(use, d):
    one = opened(d / "it")
    use(one)
    use(os.dup(one))


def is_free(path, how):
    """Another process can have it now."""
    def script():
        fd = opened(path)
        if how is None:
            yield outcome(fcntl.flock, fd, EX | NB) == 0
        else:
            yield outcome(lock, fd, W, how=how) == 0
    other = Other(script)
    free = other.next()
    other.end()
    return free


def becomes_free(path, how, what):
    """At once by close(2) of a process; the last close of a description is told to a FUSE file system a little later."""
    if how is POSIX:
        true(is_free(path, how), what)
    eventually(lambda: is_free(path, how), what)


def take(fd, how):
    if how is None:
        fcntl.flock(fd, EX | NB)
    else:
        lock(fd, W, how=how)


def closed(how, opens, frees, a, b):
    one = opened(a / "it")
    two = os.dup(one) if opens == "dup" else opened(a / "it")
    take(one, how)
    true(not is_free(b / "it", how), "it was not locked")
    os.close(two)
    equal(is_free(b / "it", how), frees, "free after close(2) of the other")
    os.close(one)
    becomes_free(b / "it", how, "free after the last close(2)")


def ended(how, signo, a, b):
    def script():
        take(opened(a / "it"), how)
        yield True
        yield True
    other = Other(script)
    other.next()
    true(not is_free(b / "it", how), "it was not locked")
    if signo:
        other.end(signo)
    else:
        other.next()
        os.write(other.ask, b".")
        os.waitpid(other.pid, 0)
    eventually(lambda: is_free(b / "it", how), "free after its holder's end")


def in_fork(how, child_may, d):
    fd = opened(d / "it")
    take(fd, how)

    def script():
        yield outcome(take, fd, how)
    equal(Other(script).next() == 0, child_may)


def fork_keeps(how, kept, a, b):
    """The child has the descriptor still when the parent closes its own."""
    fd = opened(a / "it")
    take(fd, how)

    def script():
        yield True
        os.close(fd)
        yield True
        yield True
    other = Other(script)
    other.next()
    os.close(fd)
    equal(is_free(b / "it", how), not kept, "free after the parent's close(2)")
    other.next()
    becomes_free(b / "it", how, "free after the child's close(2)")


@table
def owners():
    every = {**KINDS, "flock(2)": None}
    for name, how in every.items():
        by_process = how is POSIX
        yield f"{name}: dup(2) shares the lock", shared_by_dup, lambda fd, how=how: take(fd, how)
        yield (f"{name}: close(2) of a duplicate {'frees' if by_process else 'keeps'} the lock", closed, how, "dup",
            by_process)
        yield (f"{name}: close(2) of another open {'frees' if by_process else 'keeps'} the lock", closed, how, "open",
            by_process)
        yield f"{name}: exit(3) frees the lock", ended, how, 0
        yield f"{name}: SIGKILL frees the lock", ended, how, signal.SIGKILL
        yield f"{name}: a child of fork(2) {'has no' if by_process else 'has the'} lock", in_fork, how, not by_process
        yield (f"{name}: the parent's close(2) {'frees' if by_process else 'keeps'} the lock beside a child",
            fork_keeps, how,
               not by_process)


@check("fcntl(2) F_SETLK EBADF: a write lock by O_RDONLY")
def _(d):
    write_file(d / "it")
    fails(EBADF, lock, os.open(d / "it", os.O_RDONLY), W)


@check("fcntl(2) F_SETLK EBADF: a read lock by O_WRONLY")
def _(d):
    fails(EBADF, lock, opened(d / "it", os.O_WRONLY), R)


@check("flock(2): LOCK_EX by O_RDONLY")
def _(d):
    write_file(d / "it")
    fcntl.flock(os.open(d / "it", os.O_RDONLY), EX | NB)


@check("flock(2): of a folder, on one node")
def _(d):
    fcntl.flock(os.open(d, os.O_RDONLY), EX)
    fails(EAGAIN, fcntl.flock, os.open(d, os.O_RDONLY), EX | NB)


@check("fcntl(2) F_SETLK: through two hard links it is one file")
def _(a, b):
    holder(a, (W, 0, 0))
    os.link(a / "it", a / "too")
    fails(EAGAIN, lock, opened(b / "too"), W)


@check("fcntl(2) F_SETLK: two files do not meet")
def _(a, b):
    holder(a, (W, 0, 0))
    lock(opened(b / "other"), W)


@check("fcntl(2) F_SETLK: outlives rename(2)")
def _(a, b):
    holder(a, (W, 0, 0))
    os.rename(a / "it", a / "new")
    fails(EAGAIN, lock, opened(b / "new"), W)
    lock(opened(b / "it"), W)


@check("fcntl(2) F_SETLK: a name that comes again is not locked")
def _(a, b):
    holder(a, (W, 0, 0))
    os.unlink(a / "it")
    lock(opened(b / "it"), W)


@check("fcntl(2) F_SETLK: locks are advisory, others may write and truncate")
def _(a, b):
    holder(a, (W, 0, 0))
    fd = opened(b / "it")
    write_once(fd, b"content")
    os.ftruncate(fd, 3)
    equal(os.stat(a / "it").st_size, 3)


@check("fcntl(2) F_SETLK: bytes behind the end can be locked")
def _(a, b):
    holder(a, (W, 1 << 40, 10))
    fails(EAGAIN, lock, opened(b / "it"), W, (1 << 40) + 9, 1)


@check("flock(2): LOCK_EX becomes LOCK_SH, others may share")
def _(a, b):
    one, two = opened(a / "it"), opened(b / "it")
    fcntl.flock(one, EX)
    fcntl.flock(one, SH)
    fcntl.flock(two, SH | NB)


@check("flock(2): LOCK_SH becomes LOCK_EX if nobody shares")
def _(a, b):
    one, two = opened(a / "it"), opened(b / "it")
    fcntl.flock(one, SH)
    fcntl.flock(one, EX | NB)
    fails(EAGAIN, fcntl.flock, two, SH | NB)


@check("flock(2) EWOULDBLOCK: LOCK_SH does not become LOCK_EX beside another")
def _(a, b):
    one, two = opened(a / "it"), opened(b / "it")
    fcntl.flock(one, SH)
    fcntl.flock(two, SH)
    fails(EAGAIN, fcntl.flock, one, EX | NB)


@check("lockf(3) F_TEST and F_TLOCK")
def _(a, b):
    fd = opened(b / "it")
    fcntl.lockf(fd, fcntl.LOCK_EX | NB)
    fcntl.lockf(fd, fcntl.LOCK_UN)
    holder(a, (W, 0, 0))
    fails(EAGAIN, fcntl.lockf, fd, fcntl.LOCK_EX | NB)


# ---- waiting -----------------------------------------------------------------------------------------

def grab(fd, how, kind=W):
    if how is None:
        fcntl.flock(fd, EX if kind == W else SH)
    else:
        lock(fd, kind, how=how, wait=True)


def waiter(folder, how, kind=W):
    """Another process that will wait for the lock once it is started: it was forked before anybody here had one."""
    def script():
        fd = opened(folder / "it")
        yield True
        grab(fd, how, kind)
        yield True
        yield True
    other = Other(script)
    other.next()
    return other


def released_by(how, release, a, b):
    def script():
        fd = opened(a / "it")
        take(fd, how)
        yield True
        if release == "unlock":
            fcntl.flock(fd, UN) if how is None else lock(fd, U, how=how)
        elif release == "close(2)":
            os.close(fd)
        elif release == "a smaller lock":
            fcntl.flock(fd, SH) if how is None else lock(fd, R, how=how)
        yield True
        yield True
    keeper = Other(script)
    keeper.next()
    other = waiter(b, how, R if release == "a smaller lock" else W).start()
    true(other.is_blocked(), "it did not wait")
    if release == "SIGKILL":
        keeper.end()
    else:
        keeper.next()
    true(other.wait(), "the lock")


def interrupted(how, a, b):
    def script():
        def stop(_signo, _frame):
            raise InterruptedError(EINTR, "stopped")
        signal.signal(signal.SIGUSR1, stop)
        mine = opened(b / "it")
        yield True
        yield outcome(grab, mine, how)
        yield True
    other = Other(script)
    other.next()
    fd = opened(a / "it")
    take(fd, how)
    other.start()
    true(other.is_blocked(), "it did not wait")
    os.kill(other.pid, signal.SIGUSR1)
    equal(other.wait(), EINTR)
    os.close(fd)
    becomes_free(a / "it", how, "free of who gave up")


def killed(how, a, b):
    other = waiter(b, how)
    fd = opened(a / "it")
    take(fd, how)
    other.start()
    true(other.is_blocked(), "it did not wait")
    other.end()
    os.close(fd)
    becomes_free(a / "it", how, "free of who was killed")


def readers_together(how, a, b):
    others = [waiter(view, how, R) for view in (a, b, b)]
    fd = opened(a / "it")
    take(fd, how)
    for other in others:
        other.start()
    true(all(other.is_blocked() for other in others), "one did not wait")
    os.close(fd)
    for other in others:
        true(other.wait(), "the lock")


def in_turns(how, a, b):
    """Each adds one to a counter ten times, under the lock."""
    write_file(a / "it", b"0")

    def script(folder):
        fd = os.open(folder / "it", os.O_RDWR)
        yield True
        for _ in range(10):
            grab(fd, how)
            count = int(os.pread(fd, 20, 0)) + 1
            os.pwrite(fd, b"%d" % count, 0)
            fcntl.flock(fd, UN) if how is None else lock(fd, U, how=how)
        yield True
    others = [Other(script, folder) for folder in (a, b, a)]
    for other in others:
        other.next()
    for other in others:
        other.start()
    for other in others:
        other.wait()
    with open(b / "it", "rb") as f:
        equal(f.read(), b"30")


@table
def waiting():
    every = {"fcntl(2) F_SETLKW": POSIX, "fcntl(2) F_OFD_SETLKW": OFD, "flock(2)": None}
    for name, how in every.items():
        for release in ("unlock", "close(2)", "a smaller lock", "SIGKILL"):
            yield f"{name}: waits, and gets the lock by the holder's {release}", released_by, how, release
        yield f"{name} EINTR: a signal ends the wait", interrupted, how
        yield f"{name}: who is killed while it waits gets nothing", killed, how
        yield f"{name}: three who read wait, and get the lock together", readers_together, how
        yield f"{name}: three processes count under the lock", in_turns, how


@check("fcntl(2) F_SETLKW EDEADLK: two processes wait for each other")
def _(a, b):
    def script():
        fd = opened(a / "it")
        lock(fd, W, 0, 1)
        yield True
        lock(fd, W, 1, 1, wait=True)
        yield True
    fd = opened(b / "it")
    lock(fd, W, 1, 1)
    other = Other(script)
    other.next()
    other.start()
    true(other.is_blocked(), "it did not wait")
    fails(EDEADLK, lock, fd, W, 0, 1, wait=True)
    lock(fd, U, 1, 1)
    true(other.wait(), "the lock")


@check("fcntl(2) F_SETLKW EDEADLK: a circle of three processes")
def _(a, b):
    def script(folder, first):
        fd = opened(folder / "it")
        lock(fd, W, first, 1)
        yield True
        yield outcome(lock, fd, W, (first + 1) % 3, 1, wait=True)
    others = [Other(script, folder, i) for i, folder in enumerate((a, b, a))]
    for other in others:
        other.next()
    for other in others[:2]:
        other.start()
        true(other.is_blocked(), "it did not wait")
    equal(others[2].next(), EDEADLK)
    others[2].end()             # each end lets the next one go on
    equal(others[1].wait(), 0)
    others[1].end()
    equal(others[0].wait(), 0)


@check("fcntl(2) F_SETLKW: waits for part of what it wants")
def _(a, b):
    keeper = holder(a, (W, 50, 10))

    def script():
        lock(opened(b / "it"), W, 0, 100, wait=True)
        yield True
    other = Other(script)
    other.start()
    true(other.is_blocked(), "it did not wait")
    keeper.next()
    true(other.wait(), "the lock")
