# SPDX-License-Identifier: Apache-2.0
"""A mixed load that writes down, outside of the file system, what was acknowledged.

As a program: fsync_load.py FOLDER LOG SEED [SECONDS]. It creates, overwrites, renames and deletes files, each step made
durable by fsync, and some small files that nobody syncs. A line before each step says what is tried, one after it that
it was acknowledged, and when. As a module: Log reads that and says what must be there, judge() compares.

A step that failed leaves its names in doubt until the next one that is acknowledged. A file in doubt is old or new,
or, if it was overwritten in place, a part of the new; one that is not is exact. Unsynced files are whole or absent.

A name in doubt is not overwritten in place: if the rename that made it was lost while open() was on its way, that would
write to the same inode under its old name, and rightly so.
"""
import os
import pathlib
import random
import sys
import time

NAMES = 4000	# no name comes round again within a test, at a thousand steps a second
WINDOW = 30	# names in use at a time; the window moves on, so that what it leaves stays as it is
LOOSE = 20


def content(name, version, size):
    return random.Random(f"{name}:{version}").randbytes(size)


# --- the program ----------------------------------------------------------------------------------------


class Load:
    def __init__(self, folder, log, seed):
        self.folder = pathlib.Path(folder)
        self.log = open(log, "a", buffering=1, encoding="ascii")
        self.random = random.Random(seed)
        self.steps = self.random.randrange(8 * NAMES)	# where the window begins
        self.doubtful = set()
        self.version = int(time.time() * 1000) % 1_000_000_000 * 1000	# never the same again in one log

    def tell(self, *words):
        self.log.write(" ".join(map(str, words)) + "\n")

    def sync_folder(self):
        fd = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def write(self, name, version, size, sync=True, flags=os.O_TRUNC):
        fd = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | flags, 0o644)
        try:
            data, done = content(name.removesuffix(".new"), version, size), 0
            while done < size:
                done += os.write(fd, data[done:done + 70_000])
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)

    def name(self):
        return f"f{(self.steps // 8 + self.random.randrange(WINDOW)) % NAMES}"

    def size(self):
        return self.random.choice([0, 10, 500, 4000, 20_000, 65_536, 70_000, 200_000])

    def step(self):
        kind = self.random.choice("wwwppprdl")
        name = self.name()
        self.steps += 1
        self.version += 1
        size = self.size()
        names = [name]
        if kind == "w" and name in self.doubtful:
            kind = "p"
        if kind == "w":			# in place
            self.doubtful.add(name)
            self.tell("w", name, self.version, size)
            self.write(name, self.version, size)
            self.sync_folder()
        elif kind == "p":		# a new version moved over the old one
            self.tell("p", name, self.version, size)
            self.doubtful.add(name)
            self.write(name + ".new", self.version, size)
            os.rename(self.folder / (name + ".new"), self.folder / name)
            self.sync_folder()
        elif kind == "r":
            other = self.name()
            if other == name or not (self.folder / name).exists():
                return
            self.tell("r", name, other)
            names = [name, other] if name not in self.doubtful else []
            self.doubtful |= {name, other}
            os.rename(self.folder / name, self.folder / other)
            self.sync_folder()
        elif kind == "d":
            if not (self.folder / name).exists():
                return
            self.tell("d", name)
            self.doubtful.add(name)
            os.unlink(self.folder / name)
            self.sync_folder()
        else:				# nobody syncs these; a new name each time
            name = f"loose{self.random.randrange(LOOSE)}-{self.version}"
            size = self.random.choice([1, 3000, 40_000])
            self.tell("l", name, self.version, size)
            self.write(name, self.version, size, sync=False)
        self.tell("ok", f"{time.time():.3f}")
        self.doubtful -= set(names)

    def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                self.step()
            except OSError as e:
                self.tell("failed", e.errno)
                time.sleep(0.05)


# --- the judge ------------------------------------------------------------------------------------------


class Log:
    """What must be there: names[name] is the set of states that are allowed, None in it: absent.

    A state is (name it was written under, version, size, may be a part).
    """

    def __init__(self, path, until=None):
        self.names = {f"f{i}": {None} for i in range(NAMES)}
        self.loose = {}
        self.steps = self.failures = 0
        tried = None
        for line in pathlib.Path(path).read_text(encoding="ascii").splitlines():
            words = line.split()
            if words[0] == "ok":
                self.acknowledged(tried, until is None or float(words[1]) <= until)
                tried = None
            elif words[0] == "failed":
                self.in_doubt(tried)
                self.failures += 1
                tried = None
            else:
                if tried:
                    self.in_doubt(tried)	# the program was ended in its midst
                tried = words
        if tried:
            self.in_doubt(tried)

    def acknowledged(self, words, is_certain):
        self.steps += 1
        if not is_certain:
            self.in_doubt(words)
        elif words[0] in "wp":
            self.names[words[1]] = {(words[1], int(words[2]), int(words[3]), False)}
        elif words[0] == "r":
            self.names[words[2]] = self.names[words[1]] - {None}
            self.names[words[1]] = {None}
        elif words[0] == "d":
            self.names[words[1]] = {None}
        else:
            self.loose[words[1]] = (words[1], int(words[2]), int(words[3]), False)

    def in_doubt(self, words):
        if words is None:
            return
        if words[0] in "wp":
            state = (words[1], int(words[2]), int(words[3]), words[0] == "w")
            self.names[words[1]] = self.names[words[1]] | {state}
            if words[0] == "w" and None in self.names[words[1]]:
                self.names[words[1]] |= {(words[1], int(words[2]), 0, False)}
        elif words[0] == "r":
            self.names[words[2]] = self.names[words[2]] | self.names[words[1]]
            self.names[words[1]] = self.names[words[1]] | {None}
        elif words[0] == "d":
            self.names[words[1]] = self.names[words[1]] | {None}
        else:
            self.loose[words[1]] = (words[1], int(words[2]), int(words[3]), True)

    def certain(self):
        """Files of which exactly one state is allowed, and that is there."""
        return [n for n, states in self.names.items() if len(states) == 1 and None not in states]


def matches(data, state):
    name, version, size, is_part = state
    whole = content(name, version, size)
    return data == whole or (is_part and len(data) <= size and data == whole[:len(data)])


def judge(folder, log):
    """Sentences about what is wrong; none: all is well."""
    wrong = []
    for name, states in log.names.items():
        path = pathlib.Path(folder) / name
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            if None not in states:
                wrong.append(f"{name} is gone; allowed: {states}")
            continue
        if not any(matches(data, s) for s in states if s):
            wrong.append(f"{name} has {len(data)} bytes of none of {states}")
    for name, state in log.loose.items():
        path = pathlib.Path(folder) / name
        if path.exists() and not any(matches(path.read_bytes(), s) for s in (state, state[:2] + (0, False))):
            wrong.append(f"{name} is torn")
    return wrong


if __name__ == "__main__":
    Load(sys.argv[1], sys.argv[2], sys.argv[3]).run(float(sys.argv[4]) if len(sys.argv) > 4 else 1e9)
