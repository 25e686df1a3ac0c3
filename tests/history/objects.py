# SPDX-License-Identifier: Apache-2.0
"""
What is done to a file system, and what it should answer: each class is one kind of object, with its operations as
system calls and as a sequential model.

An object lives in a folder of its own. `plan(random)` gives the next call of a worker, `do(worker, call)` makes it, by
the worker's own mount, and returns what was seen. `step(state, call, result)` is the
model: the state after it, or None if no file system in `state` could have answered so. Errors are results, too, as
negative numbers.
"""
import ctypes
import errno
import fcntl
import os
import struct

import linearizable

RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
LIBC = ctypes.CDLL(None, use_errno=True)


def renameat2(old, new, flags):
    if LIBC.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), old)


def expect(fits, state, result, wanted):
    """The state, if the result is unknown or what is wanted."""
    return state if fits and (result is None or result == wanted) else None


class Object:
    """
    A folder for one history; paths[w] is what worker w calls it. Where nodes may fail, what was written and not closed
    may be lost with them: no file is kept open then.
    """
    initial = ()                # state

    def __init__(self, paths, random, may_fail=False):
        self.paths, self.fds, self.may_fail = paths, {}, may_fail
        self.last = None        # the operation last_call(), as it was done
        self.token = 0
        self.random = random

    def path(self, worker, name):
        return os.path.join(self.paths[worker], name)

    def next_token(self):
        self.token += 1
        return self.token

    def prepare(self):
        """Make what the history begins with, by worker 0."""

    def open(self, worker):
        """What worker keeps open through the history."""

    def turn(self, _worker, call):
        """The planned call as it is made."""
        return call

    def finish(self, _worker):
        """The last call of a worker, or None."""

    def last_call(self):
        """What is called when all workers have ended, until it succeeds; or None."""

    @staticmethod
    def changes(op):
        """False if it surely changed nothing: it only looked, or failed."""
        if op.call[0] in ("stat", "list", "read", "size"):
            return False
        failed = isinstance(op.result, int) and op.result < 0
        return not failed and not (op.call[0] == "open" and op.result not in (None, op.call[2]))

    def judge(self, history):
        """Raises linearizable.NotLinearizable."""
        linearizable.check(history, self.initial, self.step)

    def close(self):
        while self.fds:
            try:
                os.close(self.fds.popitem()[1])
            except OSError:
                pass            # its mount was killed


class Names(Object):
    """
    Two folders with a few names, in which files are made, linked, renamed and removed. A file is known by its
    permission bits: they are set by the call that makes it.

    A system looks up the names of a call before it makes it, each on its node. So links are of a file that stays; and
    files move between two names on one node only: where another moved the file from the one to the other name between
    the two look-ups, both would be the same file, and nothing is what rename(2) does then.
    """
    initial = ()                # sorted (name, token)
    names = ("x/a", "x/b", "y/a")
    moves = (("x/a", "x/b"), ("x/b", "y/a"))    # of the first node, the second ...
    base = 0o777                # token of the file that is linked

    def prepare(self):
        for folder in ("x", "y"):
            os.mkdir(self.path(0, folder))
        os.close(os.open(self.path(0, "base"), os.O_CREAT | os.O_EXCL, self.base))

    def plan(self, random):
        what = random.choice(["create", "open", "unlink", "rename", "noreplace", "exchange", "link", "stat", "stat",
                              "list"])
        if what in ("create", "open"):
            return what, random.choice(self.names), self.next_token() % (self.base - 1) + 1
        if what in ("rename", "noreplace", "exchange"):
            return what, random.random() < 0.5
        return what, random.choice("xy" if what == "list" else self.names)

    def judge(self, history):
        """A listing beside a change may show a name before and after it moved (POSIX readdir())."""
        changes = [op for op in history if self.changes(op)]
        super().judge([op for op in history if op.call[0] != "list" or not any(
            c.begin < op.end and op.begin < c.end for c in changes)])

    def turn(self, worker, call):
        if call[0] not in ("rename", "noreplace", "exchange"):
            return call
        nodes = sorted({os.path.dirname(p) for p in self.paths})
        pair = self.moves[nodes.index(os.path.dirname(self.paths[worker])) % len(self.moves)]
        return call[0], *(pair[::-1] if call[1] else pair)

    def do(self, worker, call):
        what, name, *rest = call
        path = self.path(worker, name)
        if what in ("create", "open"):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | (os.O_EXCL if what == "create" else 0), rest[0])
            try:
                return os.fstat(fd).st_mode & 0o777
            finally:
                os.close(fd)
        if what == "unlink":
            return os.unlink(path) or "ok"
        if what == "rename":
            return os.rename(path, self.path(worker, rest[0])) or "ok"
        if what == "noreplace":
            return renameat2(path, self.path(worker, rest[0]), RENAME_NOREPLACE) or "ok"
        if what == "exchange":
            return renameat2(path, self.path(worker, rest[0]), RENAME_EXCHANGE) or "ok"
        if what == "link":
            return os.link(self.path(worker, "base"), path) or "ok"
        if what == "stat":
            return os.stat(path).st_mode & 0o777
        return tuple(sorted(os.listdir(path)))

    @classmethod
    def step(cls, state, call, result):
        what, name, *rest = call
        held = dict(state)

        def now():
            return tuple(sorted(held.items()))

        if what == "list":
            inside = tuple(n[2:] for n, _ in state if n.startswith(name + "/"))
            return expect(True, state, result, inside)
        if what == "create":
            if name in held:
                return expect(True, state, result, -errno.EEXIST)
            held[name] = rest[0]
            return expect(True, now(), result, rest[0])
        if what == "link":
            if name in held:
                return expect(True, state, result, -errno.EEXIST)
            held[name] = cls.base
            return expect(True, now(), result, "ok")
        if what == "open":
            held.setdefault(name, rest[0])
            return expect(True, now(), result, held[name])
        if name not in held:
            return expect(True, state, result, -errno.ENOENT)
        if what == "stat":
            return expect(True, state, result, held[name])
        if what == "unlink":
            del held[name]
            return expect(True, now(), result, "ok")
        other = rest[0]
        if what == "exchange":
            if other not in held:
                return expect(True, state, result, -errno.ENOENT)
            held[name], held[other] = held[other], held[name]
        elif what == "noreplace" and other in held:
            return expect(True, state, result, -errno.EEXIST)
        elif held.get(other) == held[name]:
            return expect(True, state, result, "ok")        # rename(2): two links to one file, nothing happens
        else:
            held[other] = held.pop(name)
        return expect(True, now(), result, "ok")


class Appends(Object):
    """
    One file to which all append records of eight bytes, and which all read and measure. The order in which they
    were appended is what it holds in the end.
    """
    initial = 0                 # how many

    def __init__(self, paths, random, may_fail=False):
        super().__init__(paths, random, may_fail)
        self.is_kept_open = random.random() < 0.5 and not may_fail
        self.kind = "kept open" if self.is_kept_open else "opened each time"

    def prepare(self):
        open(self.path(0, "log"), "xb").close()

    def open(self, worker):
        if self.is_kept_open:
            self.fds[worker] = os.open(self.path(worker, "log"), os.O_RDWR | os.O_APPEND)

    def plan(self, random):
        what = random.choice(["append", "append", "append", "read", "size"])
        return (what, self.next_token()) if what == "append" else (what,)

    def do(self, worker, call):
        path = self.path(worker, "log")
        if call[0] == "size":
            return os.stat(path).st_size // 8
        fd = self.fds.get(worker)
        is_own = fd is None
        if is_own:
            fd = os.open(path, os.O_RDWR | os.O_APPEND)
        try:
            if call[0] == "append":
                os.write(fd, struct.pack("<Q", call[1]))
                return "ok"
            content = os.pread(fd, 1 << 16, 0)
            return tuple(struct.unpack(f"<{len(content) // 8}Q", content)) if len(content) % 8 == 0 else "torn"
        finally:
            if is_own:
                os.close(fd)

    def last_call(self):
        return ("read",)

    def judge(self, history):
        order = self.last.result
        known = [op for op in history if op.result is not None or op.call[1] in order]
        linearizable.check([*known, self.last], self.initial, lambda *args: self.step(order, *args))

    @staticmethod
    def step(order, state, call, result):
        if call[0] == "append":
            return expect(order[state:state + 1] == (call[1],), state + 1, result, "ok")
        return expect(True, state, result, order[:state] if call[0] == "read" else state)


class Register(Object):
    """
    One value: what a file holds (small or in blocks, written between open and close or by who keeps it open), its
    permission bits, an extended attribute, or its modification time. Large content is a value a page: no file system promises that a write shows all
    of its pages at once.
    """
    initial = 0
    kinds = ("inline", "blocks", "mode", "xattr", "mtime")      # and the first two through files that are kept open
    page_bytes = 4096
    judged_pages = (0, 9, 23)

    def __init__(self, paths, random, may_fail=False):
        super().__init__(paths, random, may_fail)
        self.kind = random.choice(self.kinds)
        self.pages = {"inline": (0,), "blocks": self.judged_pages}.get(self.kind, ())
        self.bytes = (max(self.pages) + 1) * self.page_bytes if self.pages else 0
        self.is_kept_open = self.bytes > 0 and random.random() < 0.5 and not may_fail

    def prepare(self):
        with open(self.path(0, "value"), "xb") as f:
            f.write(bytes(self.bytes))
        self.do(0, ("write", 0))

    def open(self, worker):
        if self.is_kept_open:
            self.fds[worker] = os.open(self.path(worker, "value"), os.O_RDWR)

    def plan(self, random):
        return ("write", self.next_token()) if random.random() < 0.5 else ("read", random.choice(self.pages or (0,)))

    def judge(self, history):
        """
        A page each. A read beside a write may see half of it, as on a local disk. Files that are kept open are in the
        pages of a node's kernel, which shows a write to that node before the file system has it; so of them a read
        must have what the last write left, or one that runs beside it ("regular": Lamport, "On Interprocess
        Communication", 1986).
        """
        writes = [op for op in history if op.call[0] == "write"]
        reads = [op for op in history if op.call[0] == "read" and not (op.result == "torn" and any(
            w.begin < op.end and op.begin < w.end for w in writes))]
        if self.is_kept_open:
            linearizable.check_regular(writes, reads, self.initial)
            return
        for page in self.pages or (0,):
            linearizable.check(writes + [op for op in reads if op.call[1] == page], self.initial, self.step)

    def do(self, worker, call):
        path, value = self.path(worker, "value"), call[1] if call[0] == "write" else None
        if self.bytes:
            fd = self.fds.get(worker)
            is_own = fd is None
            if is_own:
                fd = os.open(path, os.O_RDONLY if value is None else os.O_WRONLY)
            try:
                return self.read_page(fd, call[1]) if value is None else self.write_bytes(fd, value)
            finally:
                if is_own:
                    os.close(fd)
        if self.kind == "mode":
            return os.chmod(path, value) or "ok" if value is not None else os.stat(path).st_mode & 0o777
        if self.kind == "xattr":
            if value is not None:
                return os.setxattr(path, "user.value", str(value).encode()) or "ok"
            return int(os.getxattr(path, "user.value"))
        if value is not None:
            return os.utime(path, ns=(value, value)) or "ok"
        return os.stat(path).st_mtime_ns

    def write_bytes(self, fd, value):
        os.pwrite(fd, struct.pack("<Q", value) * (self.bytes // 8), 0)
        return "ok"

    def read_page(self, fd, page):
        content = os.pread(fd, self.bytes, 0)[page * self.page_bytes:][:self.page_bytes]
        if content != content[:8] * (self.page_bytes // 8) or not content:
            return "torn"
        return struct.unpack("<Q", content[:8])[0]

    @staticmethod
    def step(state, call, result):
        if call[0] == "write":
            return expect(True, call[1], result, "ok")
        return expect(True, state, result, state)


class Locks(Object):
    """One file that all lock, shared or exclusive, by flock() or by locks of open file descriptions; some wait."""
    initial = ()                # sorted (worker, is exclusive)

    def __init__(self, paths, random, may_fail=False):
        super().__init__(paths, random, may_fail)
        self.is_flock = random.random() < 0.5
        self.kind = "flock" if self.is_flock else "OFD"
        self.holds = set()

    def prepare(self):
        open(self.path(0, "lock"), "xb").close()

    def open(self, worker):
        self.fds[worker] = os.open(self.path(worker, "lock"), os.O_RDWR)

    def plan(self, random):
        # Whose turn it is, do() knows: who holds it gives it back.
        return random.choice(["lock", "lock", "wait"]), random.choice(["shared", "exclusive"])

    def turn(self, worker, call):
        """With its worker, since locks have owners."""
        if worker in self.holds:
            return "unlock", worker
        return call[0], worker, call[1] == "exclusive"

    def finish(self, worker):
        return ("unlock", worker) if worker in self.holds else None     # others may wait for it

    def do(self, worker, call):
        fd, what = self.fds[worker], call[0]
        if what == "unlock":
            self.control(fd, fcntl.LOCK_UN, fcntl.F_UNLCK, False)
            self.holds.discard(worker)
            return "ok"
        is_exclusive, waits = call[2], what == "wait"
        self.control(fd, fcntl.LOCK_EX if is_exclusive else fcntl.LOCK_SH,
                     fcntl.F_WRLCK if is_exclusive else fcntl.F_RDLCK, waits)
        self.holds.add(worker)
        return "ok"

    def control(self, fd, flock_kind, range_kind, waits):
        if self.is_flock:
            fcntl.flock(fd, flock_kind | (0 if waits else fcntl.LOCK_NB))
        else:
            lock = struct.pack("hhqqi4x", range_kind, os.SEEK_SET, 0, 0, 0)
            fcntl.fcntl(fd, fcntl.F_OFD_SETLKW if waits else fcntl.F_OFD_SETLK, lock)

    @staticmethod
    def step(state, call, result):
        what, worker, *rest = call
        if what == "unlock":
            return expect(True, tuple(h for h in state if h[0] != worker), result, "ok")
        is_exclusive = rest[0]
        is_free = not any(w != worker and (is_exclusive or e) for w, e in state)
        if not is_free:
            return expect(what == "lock", state, result, -errno.EAGAIN)
        return expect(True, tuple(sorted((*state, (worker, is_exclusive)))), result, "ok")


ALL = (Names, Appends, Register, Locks)
