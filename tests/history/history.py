# SPDX-License-Identifier: Apache-2.0
"""
Records histories: workers on several mounts do random operations on one object at a time, all at once, and write down
when each was called, when it returned, and what it said. linearizable.py judges.

A history is of one object and ends after some dozens of operations, or when a worker meets a fault: then nobody knows
what became of its last call.
"""
import errno
import os
import random
import shutil
import threading
import time

import linearizable
import objects

# What a call says when its mount or its servers went away: it may have happened.
UNKNOWN = {errno.EIO, errno.ETIMEDOUT, errno.ENOTCONN, errno.ECONNABORTED, errno.EINTR, errno.ESTALE, errno.EBADF,
           errno.ESHUTDOWN}
WORKER_S = 120                                  # longer than any deadline of a mount


class Stuck(AssertionError):
    """A call that does not return."""


def open_root(mount, must_be_mounted):
    fd = os.open(mount, os.O_PATH)
    if must_be_mounted and os.fstat(fd).st_dev == os.stat(os.path.dirname(mount)).st_dev:
        os.close(fd)
        raise OSError(errno.ENOTCONN, "not mounted", mount)
    return fd


class Round:
    """One history of one object."""

    def __init__(self, target, seed, may_fail, kinds):
        self.random = random.Random(seed)
        self.may_fail, self.history, self.lock = may_fail, [], threading.Lock()
        self.workers = self.random.randint(2, 6)
        mounts = list(target)
        self.random.shuffle(mounts)
        self.mounts = [mounts[w % len(mounts)] for w in range(self.workers)]
        self.name = f"history-{seed}"
        self.kind = self.random.choice(kinds)
        # By descriptor: where a mount is killed and another one comes, the path between them is a plain folder.
        self.roots = {m: open_root(m, may_fail) for m in mounts}
        paths = [os.path.join(f"/proc/self/fd/{self.roots[m]}", self.name) for m in self.mounts]
        self.object = self.kind(paths, self.random, may_fail)
        self.failure = None

    def prepare(self):
        os.mkdir(os.path.join(self.mounts[0], self.name))
        self.object.prepare()
        for worker in range(self.workers):
            self.object.open(worker)

    def make(self, worker, call):
        """False: a fault ended this worker."""
        op = linearizable.Op(worker, call, time.monotonic())
        try:
            result = self.object.do(worker, call)
        except OSError as error:
            if self.may_fail and error.errno in UNKNOWN:
                if self.object.changes(op):     # else it says nothing
                    with self.lock:
                        self.history.append(op)
                return False
            result = -error.errno
        op.end, op.result = time.monotonic(), result
        with self.lock:
            self.history.append(op)
        return True

    def work(self, worker, seed, barrier):
        own, obj = random.Random(seed), self.object
        try:
            barrier.wait(WORKER_S)
            for _ in range(own.randint(5, 14)):
                if not self.make(worker, obj.turn(worker, obj.plan(own))):
                    return
                if own.random() < 0.3:
                    time.sleep(own.random() * 0.003)
            last = obj.finish(worker)
            if last:
                self.make(worker, last)
        except Exception as error:      # a defect of this program, or an errno that no model knows
            self.failure = error

    def look_back(self):
        """What is left in the end, by the mount that is there then."""
        call, ends = self.object.last_call(), time.monotonic() + WORKER_S
        while call and not self.object.last:
            if not self.may_fail or is_there(self.mounts[:1], f"probe-{self.name}"):
                self.object.paths[0] = os.path.join(self.mounts[0], self.name)
                op = linearizable.Op(0, call, time.monotonic())
                try:
                    op.result, op.end = self.object.do(0, call), time.monotonic()
                    self.object.last = op
                    return
                except OSError:
                    if not self.may_fail:
                        raise
            if time.monotonic() > ends:
                raise Stuck(f"{self.title()}: {call[0]} fails for {WORKER_S} s")
            time.sleep(0.1)

    def run(self):
        """Do it and judge it; the number of operations."""
        self.prepare()
        barrier = threading.Barrier(self.workers)
        threads = [threading.Thread(target=self.work, args=(w, self.random.random(), barrier), daemon=True)
                   for w in range(self.workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WORKER_S)
            if thread.is_alive():
                raise Stuck(f"{self.title()}: a call has not returned after {WORKER_S} s; so far:\n" +
                            "\n".join(map(str, self.history)))
        self.object.close()
        if self.failure:
            raise self.failure
        self.look_back()
        try:
            self.object.judge(self.judged())
        except linearizable.NotLinearizable as found:
            raise linearizable.NotLinearizable(f"{self.title()}: {found}") from None
        return len(self.history)

    def judged(self):
        """
        Without what looked at a node beside a change by that node: the change shows there when it returns, and
        elsewhere perhaps a moment earlier. (To show it here as early, each change would have to be preceded by what a
        recall costs.)
        """
        changes = [op for op in self.history if self.object.changes(op)]

        def is_beside(op):
            return any(c is not op and self.mounts[c.worker] == self.mounts[op.worker] and
                       c.begin < op.end and op.begin < c.end for c in changes)

        return [op for op in self.history if self.object.changes(op) or not is_beside(op)]

    def title(self):
        what = getattr(self.object, "kind", "")
        return f"{self.name}, {self.kind.__name__} {what}, workers on {[os.path.basename(m) for m in self.mounts]}"

    def remove(self):
        shutil.rmtree(os.path.join(self.mounts[0], self.name), ignore_errors=True)
        for fd in self.roots.values():
            os.close(fd)


def is_there(mounts, name):
    """Do all mounts work?"""
    try:
        for mount in mounts:
            probe = os.path.join(mount, f"{name}-{os.path.basename(mount)}")
            os.close(open_root(mount, True))
            os.close(os.open(probe, os.O_CREAT | os.O_WRONLY))
            os.unlink(probe)
        return True
    except OSError:
        return False


def record(mounts, seconds, seed, may_fail=lambda: False, kinds=objects.ALL):
    """
    Histories for so long. While may_fail() is true, or was when a history began, faults are about: calls may fail,
    and a history that cannot even begin is left out. Returns (histories, operations).
    """
    os.umask(0)                         # permission bits are what files are known by
    mounts = [str(m) for m in mounts]
    ends, histories, operations = time.monotonic() + seconds, 0, 0
    while time.monotonic() < ends:
        seed += 1
        faulty = may_fail()
        try:
            one = Round(mounts, seed, faulty, kinds)
            try:
                operations += one.run()
                histories += 1
            finally:
                one.remove()
        except OSError:
            if not faulty:
                raise
            while not is_there(mounts, f"probe-{seed}"):
                if time.monotonic() > ends + WORKER_S:
                    raise Stuck(f"the mounts {mounts} do not come back") from None
                time.sleep(0.05)
    return histories, operations
