# SPDX-License-Identifier: Apache-2.0
"""
The load of test_kill.py: `kill_worker.py FOLDER LOG SEED`. Creates, overwrites, appends, renames, deletes,
fsyncs for ever. Before each operation it logs what it intends, after it what was acknowledged: whoever reads the
log knows each file's last acknowledged content, and what one unfinished operation may have left.

Line: JSON [kind, name, argument, "begin" | "done" | "failed"]. A version v of a file is content(name, v).
"""
import hashlib
import json
import os
import random
import sys


def content(version):
    """A few bytes to 300 KiB, told by the version alone."""
    size = (10, 3_000, 60_000, 66_000, 300_000)[version % 5] + version % 17
    seed = hashlib.sha256(str(version).encode()).digest()
    return (seed * (size // 32 + 1))[:size]


class Worker:
    def __init__(self, folder, log, seed):
        self.folder, self.rng, self.version = folder, random.Random(seed), seed * 1_000_000
        self.log = open(log, "a", buffering=1, encoding="ascii")
        self.names = sorted(os.listdir(folder))

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, flags):
        self.version += 1
        yield self.version
        fd = os.open(self.path(name), flags | os.O_WRONLY, 0o644)
        try:
            data = memoryview(content(self.version))
            while data:
                data = data[os.write(fd, data):]
            if self.rng.random() < 0.3:
                os.fsync(fd)
        finally:
            os.close(fd)

    def create(self, name):
        yield from self.write(name, os.O_CREAT | os.O_EXCL)

    def overwrite(self, name):
        yield from self.write(name, os.O_TRUNC)

    def rename(self, name):
        new = f"r{self.rng.randrange(10**9)}"
        yield new
        os.rename(self.path(name), self.path(new))

    def delete(self, name):
        yield None
        os.unlink(self.path(name))

    def step(self):
        kinds = ["create"] * 3 + (["overwrite", "rename", "delete"] if len(self.names) > 5 else [])
        kind = self.rng.choice(kinds)
        name = f"f{self.rng.randrange(10**9)}" if kind == "create" else self.rng.choice(self.names)
        operation = getattr(self, kind)(name)
        argument = next(operation)
        self.say(kind, name, argument, "begin")
        try:
            next(operation, None)
        except OSError as e:
            # Whether it happened is not known: the name is left alone from now on.
            self.say(kind, name, argument, "failed")
            self.names = [n for n in self.names if n not in (name, argument)]
            return e.errno
        self.say(kind, name, argument, "done")
        if kind in ("rename", "delete"):
            self.names.remove(name)
        if kind in ("rename", "create"):
            self.names.append(argument if kind == "rename" else name)
        return 0

    def say(self, *words):
        self.log.write(json.dumps(words) + "\n")


def expected(log):
    """From a log: {name: {contents that it may have}}, None standing for absence."""
    state, doubt = {}, {}
    with open(log, encoding="ascii") as f:
        lines = [json.loads(line) for line in f if line.endswith("\n")]
    began = {}
    for kind, name, argument, phase in lines:
        if phase == "begin":
            began = {"op": (kind, name, argument)}
            continue
        if phase == "failed":
            unsure(state, doubt, kind, name, argument)
        elif kind in ("create", "overwrite"):
            state[name] = argument
        elif kind == "rename":
            state[argument] = state.pop(name)
        else:
            del state[name]
        began = {}
    if began:
        unsure(state, doubt, *began["op"])
    return {name: {version} for name, version in state.items()} | doubt


def unsure(state, doubt, kind, name, argument):
    """One operation that may have happened, not at all, or, if it writes, in part."""
    old = state.pop(name, None)
    if kind == "create":
        doubt[name] = {"any", None}
    elif kind == "overwrite":
        doubt[name] = {"any"}
    elif kind == "rename":
        doubt[name] = doubt[argument] = {old, None}
    else:
        doubt[name] = {old, None}


def failures(log):
    """The operations that returned an error."""
    with open(log, encoding="ascii") as f:
        return [line for line in f if line.endswith('"failed"]\n')]


def main():
    folder, log, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
    worker = Worker(folder, log, seed)
    failures = 0
    while True:
        code = worker.step()
        failures = failures + 1 if code else 0
        if failures > 20:
            sys.exit(1)             # the mount is gone


if __name__ == "__main__":
    main()
