# SPDX-License-Identifier: Apache-2.0
"""
What a check is, and the words in which checks are written.

A check is a name that cites its source, and a function of one folder `d`, or of two views `a` and `b` of one folder:
it operates on `a` and judges on `b`. With one mount both views are the same; with two they are two nodes. A table is a
generator of (name, function) pairs, from cases that it combines.

What a check leaves behind (descriptors, identity, umask, current folder, children) the worker clears away.
"""
import contextlib
import errno
import functools
import glob
import importlib
import inspect
import os
import random
import select
import stat
import sys
import time
import traceback

CHECKS = {}
HERE = os.path.dirname(os.path.abspath(__file__))
CLOCK_REALTIME_COARSE = 5
LONG_AGO = 1_000_000_000


class Skip(Exception):
    """This file system or machine cannot say anything about the check; the reason is shown."""


class Check:
    def __init__(self, name, function):
        self.name, self.function = name, function
        self.is_about_acls = getattr(function, "func", function).__module__ == "cases_acl"
        self.views = len([p for p in inspect.signature(function).parameters.values() if p.default is p.empty])

    def run(self, a, b):
        self.function(*(a, b)[:self.views])


def add(name, function):
    if name in CHECKS:
        raise ValueError(f"two checks are called {name!r}")
    CHECKS[name] = Check(name, function)


def check(name):
    """Decorator: the function is the check of that name."""
    def register(function):
        add(name, function)
        return function
    return register


def table(generator):
    """Decorator: the generator yields (name, function, arguments...); what is left of the parameters are the views."""
    for name, function, *arguments in generator():
        add(name, functools.partial(function, *arguments))
    return generator


def load():
    for path in sorted(glob.glob(os.path.join(HERE, "cases_*.py"))):
        importlib.import_module(os.path.basename(path)[:-len(".py")])
    return CHECKS


class Folder(str):
    """A path to which a name is added by `/`."""

    def __truediv__(self, name):
        return Folder(f"{self}/{name}")


# ---- judging -----------------------------------------------------------------------------------------

def name_of(code):
    return "success" if code == 0 else errno.errorcode.get(code, str(code))


def outcome(call, *args, **options):
    """0, or the errno that the call raised."""
    try:
        call(*args, **options)
    except OSError as e:
        return e.errno
    return 0


def fails(code, call, *args, **options):
    """The call fails with this errno, or one of these; 0 is success."""
    codes = code if isinstance(code, (tuple, list, set)) else (code,)
    got = outcome(call, *args, **options)
    if got not in codes:
        raise AssertionError(f"{name_of(got)} where {' or '.join(map(name_of, codes))} is due")


def equal(got, want, what=""):
    if got != want:
        raise AssertionError(f"{what or 'result'} is {short(got)}, not {short(want)}")


def true(condition, what):
    if not condition:
        raise AssertionError(what)


def short(value):
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:60]}...{text[-40:]} ({len(value)} long)"


def eventually(condition, what, seconds=5):
    """For what is promised soon, not at once."""
    end = time.monotonic() + seconds
    while not condition():
        true(time.monotonic() < end, f"{what}: not within {seconds} s")
        time.sleep(0.005)


def where(error):
    """The line of the cases that failed, and why, in one line."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "cases_" in f.filename] or \
        traceback.extract_tb(error.__traceback__)
    kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
    return f"{kind}{error} ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})"


# ---- making ------------------------------------------------------------------------------------------

def write_file(path, content=b"", mode=0o644):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view):]
    finally:
        os.close(fd)
    return path


def read_file(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        return read_all(fd)
    finally:
        os.close(fd)


def read_all(fd, offset=0):
    parts = []
    while part := os.pread(fd, 1 << 20, offset):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)


def write_once(fd, content, offset=None):
    """One write that must be whole."""
    done = os.write(fd, content) if offset is None else os.pwrite(fd, content, offset)
    equal(done, len(content), "bytes written")


@functools.lru_cache(64)
def pattern(length, seed=1):
    """Bytes that tell their place, the same for the same seed."""
    return random.Random(seed).randbytes(length)


def exists(path):
    return os.path.lexists(path)


def mode_of(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def open_folder(path, mode=0o777):
    """A folder that anybody may use."""
    os.mkdir(path)
    os.chmod(path, mode)
    return Folder(path)


# ---- acting ------------------------------------------------------------------------------------------

OWNER, GROUP, EXTRA, STRANGER = 20001, 20002, 20003, 20004     # ids that no system uses


@contextlib.contextmanager
def acting_as(uid, gid=None, groups=()):
    """As this user, without capabilities; the saved user id stays 0, so that we come back."""
    gid = uid if gid is None else gid
    if os.getuid() != 0:
        raise Skip("needs root, to act as other users")
    old_groups = os.getgroups()
    os.setgroups(groups)
    os.setresgid(gid, gid, 0)
    os.setresuid(uid, uid, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(old_groups)


@contextlib.contextmanager
def umask(mask):
    old = os.umask(mask)
    try:
        yield
    finally:
        os.umask(old)


class Other:
    """
    A second process. `script` is a generator function: each `yield` ends a step, whose value next() returns here; what
    a step raises, next() raises as well. The process lives until its script ends, or end() kills it.
    """

    def __init__(self, script, *args):
        ask, self.ask = os.pipe()
        self.answer, answer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.ask)
            os.close(self.answer)
            self._serve(script(*args), ask, answer)
        os.close(ask)
        os.close(answer)

    @staticmethod
    def _serve(steps, ask, answer):
        try:
            while os.read(ask, 1):
                try:
                    said = repr((0, next(steps)))
                except StopIteration as end:
                    os.write(answer, repr((0, end.value)).encode())
                    break
                except OSError as e:
                    said = repr((e.errno, None))
                except BaseException as e:       # the check that asked shall see it
                    said = repr((-1, where(e)))
                os.write(answer, said.encode())
        finally:
            os._exit(0)

    def start(self):
        """Begin the next step, without waiting for it."""
        os.write(self.ask, b".")
        return self

    def wait(self):
        """The result of the step that was started."""
        said = os.read(self.answer, 65536)
        if not said:
            raise AssertionError("the other process is gone")
        code, value = eval(said)                 # our own repr
        if code == -1:
            raise AssertionError(f"other process: {value}")
        if code:
            raise OSError(code, os.strerror(code))
        return value

    def is_waiting(self):
        """Nothing was said yet."""
        return not select.select([self.answer], [], [], 0)[0]

    def is_blocked(self):
        """It sleeps in the kernel, and goes on doing so."""
        deadline = time.monotonic() + 5
        quiet = 0
        while quiet < 3 and time.monotonic() < deadline:
            if not self.is_waiting():
                return False
            with open(f"/proc/{self.pid}/stat", encoding="ascii", errors="replace") as f:
                quiet = quiet + 1 if f.read().rpartition(")")[2].split()[0] in "SD" else 0
            time.sleep(0.005)
        return quiet == 3

    def next(self):
        return self.start().wait()

    def end(self, signo=9):
        os.kill(self.pid, signo)
        return os.waitpid(self.pid, 0)[1]


def in_child(call, *args):
    """The call's result, from a process of its own that has ended; it must be a plain value."""
    def script():
        yield call(*args)
    other = Other(script)
    try:
        return other.next()
    finally:
        other.end()


def status_of_child(call, *args):
    """How a process of its own that only makes this call ends: its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            sys.stderr = None
            call(*args)
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def tick():
    """Let the clock of time stamps move: Linux takes the coarse one for most, the exact one for some."""
    began = time.time_ns()
    while time.clock_gettime_ns(CLOCK_REALTIME_COARSE) <= began:
        time.sleep(0.001)
