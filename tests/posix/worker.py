# SPDX-License-Identifier: Apache-2.0
"""
A few long-lived processes that run checks, and who watches over them: a check that does not end in time is named, and
its process replaced.
"""
import collections
import contextlib
import ctypes
import gc
import multiprocessing.connection
import os
import shutil
import signal
import sys
import time
import traceback

import suite
from syscalls import libc

CLONE_NEWNS, MS_BIND, MS_REC_PRIVATE, MS_REC = 0x20000, 0x1000, 0x44000, 0x4000
STAGE = "/mnt"                  # covered in a mount namespace of our own: short paths that every user may walk
Outcome = collections.namedtuple("Outcome", "name status detail seconds")


def mount(source, point, kind, flags):
    if libc.mount(source and source.encode(), point.encode(), kind and kind.encode(), flags, None) != 0:
        raise OSError(ctypes.get_errno(), "mount", point)


def stage(views):
    """
    The views under short names. Parents of a scratch folder are often closed to other users, as whom many checks act;
    nothing is left behind, since the mounts end with the process. Without the rights for it: the folders as they are.
    """
    if os.geteuid() != 0 or libc.unshare(CLONE_NEWNS) != 0:
        return views
    mount(None, "/", None, MS_REC_PRIVATE)
    fds = [os.open(view, os.O_PATH) for view in views]      # one may lie below the stage
    mount("none", STAGE, "tmpfs", 0)
    os.chmod(STAGE, 0o755)
    for number, fd in enumerate(fds):
        os.mkdir(f"{STAGE}/{'ab'[number]}")
        mount(f"/proc/self/fd/{fd}", f"{STAGE}/{'ab'[number]}", None, MS_BIND)
        os.close(fd)
    return [f"{STAGE}/{'ab'[number]}" for number in range(len(views))]


def clear_up_identity():
    if os.getresuid()[2] == 0:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups([])


def clear_up(first_fd):
    """What a check may have left: identity first, else the rest would not be allowed."""
    clear_up_identity()
    os.umask(0o022)
    os.chdir("/")
    gc.collect(0)
    os.closerange(first_fd, 1024)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def run_one(check, folders):
    try:
        check.run(*folders)
    except suite.Skip as why:
        return "skip", str(why)
    except BaseException as e:          # whatever it is, it is the check's result
        clear_up_identity()
        return "fail", suite.where(e)
    return "pass", ""


def work(pipe, checks, views):
    """The body of a worker: numbers come in, outcomes go out."""
    libc.prctl(1, signal.SIGKILL, 0, 0, 0)      # not outlive the runner
    keep = pipe.fileno()
    os.closerange(3, keep)                      # pipes of other workers
    os.closerange(keep + 1, 1024)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    views = stage(views)
    first_fd = max(map(int, os.listdir("/proc/self/fd"))) + 1
    pipe.send("ready")
    while (number := pipe.recv()) is not None:
        folders = [suite.Folder(f"{view}/{number:05}") for view in views]
        os.mkdir(folders[0])
        status, detail = run_one(checks[number], [folders[0], folders[-1]])
        clear_up(first_fd)
        pipe.send((status, detail))
    os._exit(0)


class Worker:
    def __init__(self, checks, views):
        self.pipe, child = multiprocessing.connection.Pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.setpgid(0, 0)
            try:
                work(child, checks, views)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        child.close()
        self.number, self.began = None, 0
        self.pipe.recv()            # ready, or EOFError

    def give(self, number):
        self.number, self.began = number, time.monotonic()
        self.pipe.send(number)

    def end(self, seconds=5):
        """Its children, too. False if it is stuck in the kernel, where no signal reaches it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
            os.killpg(self.pid, signal.SIGKILL)
        deadline = time.monotonic() + seconds
        while os.waitpid(self.pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True


def run_all(checks, views, jobs, limit_s, told):
    """Run the checks in folders of their own below the views; told(Outcome) hears of each."""
    waiting = collections.deque(range(len(checks)))
    workers = [Worker(checks, views) for _ in range(min(jobs, len(checks)))]

    def finish(worker, status, detail):
        told(Outcome(checks[worker.number].name, status, detail, time.monotonic() - worker.began))
        worker.number = None

    def replace(worker, why):
        freed = worker.end()
        finish(worker, "fail", why + ("" if freed else ", and its process is stuck in the kernel"))
        workers[workers.index(worker)] = Worker(checks, views)

    while waiting or any(w.number is not None for w in workers):
        for worker in workers:
            if worker.number is None and waiting:
                worker.give(waiting.popleft())
        ready = multiprocessing.connection.wait([w.pipe for w in workers if w.number is not None], 0.5)
        for worker in list(workers):
            if worker.pipe in ready:
                try:
                    finish(worker, *worker.pipe.recv())
                except (EOFError, ConnectionResetError):
                    replace(worker, "its process died")
            elif worker.number is not None and time.monotonic() - worker.began > limit_s:
                replace(worker, f"not done within {limit_s} s")
    for worker in workers:
        worker.pipe.send(None)
        worker.end()


def remove(folder):
    shutil.rmtree(folder, ignore_errors=True)
