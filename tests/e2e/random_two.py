# SPDX-License-Identifier: Apache-2.0
"""Random operations on two mounts of one file system, against a model; each change is checked on the other at once.

As a program: random_two.py FOLDER_A FOLDER_B SEED STEPS [SECONDS]. Both are the same folder; on ext4 give it twice,
which proves the model. Each step changes names, content, attributes or extended attributes through one mount, by path,
by a descriptor or a shared map that was kept open, and must end as the model says: done, or with its errno. Then the
other mount, and now and then the first, must show the model: attributes (those of both mounts are compared whole),
listings, content through paths, descriptors and maps, extended attributes, names that are absent.

Some writes are left unchecked. What a mount that dies may lose of them is what no close, fsync or look of the other
mount has covered: the content is then what it was after some of these writes in order (Random.lose).

Prints a line of JSON: steps, seconds, what was done how often. Ends with status 1 and the last steps at a difference.
"""
import collections
import ctypes
import errno
import json
import mmap
import os
import random
import stat
import sys
import time

LIBC = ctypes.CDLL(None, use_errno=True)
NOREPLACE, EXCHANGE = 1, 2
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
NAMES = [b"n%d" % i for i in range(9)] + [b"\xff\xfe \t\n", b"long" * 63 + b"255", b"-.x"]
XATTRS = [f"user.x{i}" for i in range(4)] + ["trusted.t", "user." + "n" * 200]
DIRS_MAX, FDS_MAX, MAPS_MAX, BYTES_MAX = 16, 10, 5, 200_000
SIZES = (0, 1, 100, 4095, 4096, 5000, 65_536, 70_000, 140_000)


def call(result):
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def renameat2(old, new, flags):
    call(LIBC.renameat2(-100, old, -100, new, flags))


def fallocate(fd, mode, at, length):
    call(LIBC.fallocate(fd, mode, ctypes.c_long(at), ctypes.c_long(length)))


class Inode:
    """kind: f, d, l, p as stat(2) knows them. history: contents that may be all that others have been told."""

    def __init__(self, kind, mode):
        self.kind, self.mode, self.nlink = kind, mode, 2 if kind == "d" else 1
        self.data, self.target, self.xattrs, self.history = b"", b"", {}, []
        self.entries, self.parent, self.name = {}, None, b""
        self.uid = self.gid = 0
        self.mtime = None               # None: whatever the file system says

    def path(self):
        """Of a folder."""
        return self.parent.path() + b"/" + self.name if self.parent else b""

    def touch(self):
        self.mtime = None

    def set_data(self, data):
        self.data = data
        self.touch()


class Kept:
    def __init__(self, mount, inode, fd, writable, append):
        self.mount, self.inode, self.fd, self.writable, self.append = mount, inode, fd, writable, append
        self.map = None


class Difference(AssertionError):
    pass


class Random:
    def __init__(self, roots, seed):
        self.roots = [os.fsencode(r) for r in roots]
        self.random = random.Random(seed)
        self.root = Inode("d", 0o755)
        self.root.mode = stat.S_IMODE(os.stat(self.roots[0]).st_mode)
        self.dirs = [self.root]
        self.kept = []
        self.seen_dirs, self.seen_names, self.seen_data, self.seen_xattrs = [], [], [], []
        self.log = collections.deque(maxlen=25)
        self.counts = collections.Counter()
        pool = random.Random(1).randbytes(BYTES_MAX * 2)
        self.bytes_of = lambda n: pool[(at := self.random.randrange(BYTES_MAX)):at + n]
        self.ops = [(getattr(self, "do_" + name), name) for name, weight in self.WEIGHTS for _ in range(weight)]

    WEIGHTS = (("create", 8), ("replace", 4), ("mkdir", 4), ("unlink", 6), ("rmdir", 4), ("rename", 10), ("link", 4),
               ("symlink", 2), ("mknod", 1), ("write", 8), ("append", 5), ("truncate", 4), ("keep", 5), ("leave", 4),
               ("kept_write", 12), ("kept_truncate", 3), ("kept_fallocate", 4), ("kept_sync", 2), ("map", 2),
               ("map_write", 3), ("chmod", 3), ("chown", 2), ("utime", 3), ("setxattr", 4), ("removexattr", 2),
               ("look", 6))

    # --- choosing ---------------------------------------------------------------------------------------

    def place(self):
        folder = self.random.choice(self.dirs)
        return folder, self.random.choice(NAMES)

    def named(self, kinds="fdlp"):
        """A folder and a name in it that is there, rarely one that is not."""
        for _ in range(8):
            folder = self.random.choice(self.dirs)
            names = [n for n, i in folder.entries.items() if i.kind in kinds]
            if names:
                return folder, self.random.choice(names)
        return self.place()

    def path(self, mount, folder, name):
        return self.roots[mount] + folder.path() + b"/" + name

    def sees(self, folder, name):
        self.seen_names.append((folder, name))
        self.seen_dirs.append(folder)

    def expect(self, code, what, run, *args):
        """Run it: it must end with this errno, 0 for success. What it returned."""
        self.log.append(what + (f" -> {errno.errorcode[code]}" if code else ""))
        got, value = 0, None
        try:
            value = run(*args)
        except OSError as e:
            got = e.errno
        if got != code:
            raise Difference(f"{what}: {errno.errorcode.get(got, got)}, the model says {errno.errorcode.get(code, code)}")
        return value

    @staticmethod
    def short(folder):
        return "/".join(part[:9].decode("ascii", "replace") for part in folder.path().split(b"/")) + "/"

    def tell(self, op, mount, folder, name):
        return f"{op} {'AB'[mount]} {self.short(folder)}{name[:9]!r}"

    # --- names ------------------------------------------------------------------------------------------

    def add(self, folder, name, inode):
        folder.entries[name] = inode
        folder.touch()
        if inode.kind == "d":
            inode.parent, inode.name = folder, name
            folder.nlink += 1

    def remove(self, folder, name):
        inode = folder.entries.pop(name)
        folder.touch()
        if inode.kind == "d":
            folder.nlink -= 1
        return inode

    def do_create(self, mount):
        folder, name = self.place()
        there = folder.entries.get(name)
        mode = self.random.choice((0o600, 0o644, 0o4755))
        data = self.bytes_of(self.random.choice(SIZES)) if self.random.random() < 0.6 else b""
        fd = self.expect(errno.EEXIST if there else 0, self.tell(f"create {len(data)}", mount, folder, name), os.open,
                         self.path(mount, folder, name), os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)
        self.sees(folder, name)
        if there:
            return
        os.fchmod(fd, mode)     # past the umask
        inode = Inode("f", mode)
        self.add(folder, name, inode)
        if data:
            os.write(fd, data)
            inode.set_data(data)
            self.seen_data.append(inode)
        os.close(fd)

    def do_replace(self, mount):
        folder, name = self.named("f")
        inode = folder.entries.get(name)
        code = {"d": errno.EISDIR, "l": -1, "p": -1}.get(inode.kind, 0) if inode else errno.ENOENT
        if code == -1:
            return
        data = self.bytes_of(self.random.choice(SIZES))
        fd = self.expect(code, self.tell(f"replace {len(data)}", mount, folder, name), os.open,
                         self.path(mount, folder, name), os.O_TRUNC | os.O_WRONLY)
        if code:
            return
        os.write(fd, data)
        os.close(fd)
        inode.set_data(data)
        inode.history.clear()
        self.changed(folder, name, inode)

    def do_mkdir(self, mount):
        folder, name = self.place()
        there = folder.entries.get(name)
        if not there and len(self.dirs) >= DIRS_MAX:
            return
        self.expect(errno.EEXIST if there else 0, self.tell("mkdir", mount, folder, name), os.mkdir,
                    self.path(mount, folder, name), 0o755)
        if not there:
            inode = Inode("d", 0o755)
            self.add(folder, name, inode)
            self.dirs.append(inode)
        self.sees(folder, name)

    def do_symlink(self, mount):
        folder, name = self.place()
        target = b"../" + self.random.choice(NAMES)
        there = folder.entries.get(name)
        self.expect(errno.EEXIST if there else 0, self.tell("symlink", mount, folder, name), os.symlink, target,
                    self.path(mount, folder, name))
        if not there:
            inode = Inode("l", 0o777)
            inode.target = target
            self.add(folder, name, inode)
        self.sees(folder, name)

    def do_mknod(self, mount):
        folder, name = self.place()
        there = folder.entries.get(name)
        self.expect(errno.EEXIST if there else 0, self.tell("mknod", mount, folder, name), os.mknod,
                    self.path(mount, folder, name), stat.S_IFIFO | 0o600)
        if not there:
            self.add(folder, name, Inode("p", 0o600))
        self.sees(folder, name)

    def do_link(self, mount):
        folder, name = self.named("flp")
        inode = folder.entries.get(name)
        to, new = self.place()
        code = 0
        if not inode:
            code = errno.ENOENT
        elif new in to.entries:
            code = errno.EEXIST
        elif inode.kind == "d":
            code = errno.EPERM
        self.expect(code, self.tell(f"link {self.short(folder)}{name[:9]!r} to", mount, to, new), lambda: os.link(
            self.path(mount, folder, name), self.path(mount, to, new), follow_symlinks=False))
        if code == 0:
            self.add(to, new, inode)
            inode.nlink += 1
            self.sees(folder, name)
        self.sees(to, new)

    def drop(self, folder, name):
        inode = self.remove(folder, name)
        inode.nlink -= 1
        if inode.kind == "d":
            inode.nlink = 0
            self.dirs.remove(inode)
        self.seen_data += [k.inode for k in self.kept if k.inode is inode]

    def do_unlink(self, mount):
        folder, name = self.named("flpd" if self.random.random() < 0.1 else "flp")
        inode = folder.entries.get(name)
        code = errno.ENOENT if not inode else errno.EISDIR if inode.kind == "d" else 0
        self.expect(code, self.tell("unlink", mount, folder, name), os.unlink, self.path(mount, folder, name))
        if code == 0:
            self.drop(folder, name)
        self.sees(folder, name)

    def do_rmdir(self, mount):
        folder, name = self.named("d" if self.random.random() < 0.9 else "fdl")
        inode = folder.entries.get(name)
        code = 0
        if not inode:
            code = errno.ENOENT
        elif inode.kind != "d":
            code = errno.ENOTDIR
        elif inode.entries:
            code = errno.ENOTEMPTY
        self.expect(code, self.tell("rmdir", mount, folder, name), os.rmdir, self.path(mount, folder, name))
        if code == 0:
            self.drop(folder, name)
        self.sees(folder, name)

    @staticmethod
    def is_inside(folder, inode):
        while folder:
            if folder is inode:
                return True
            folder = folder.parent
        return False

    def rename_code(self, folder, name, to, new, flags):
        inode, there = folder.entries.get(name), to.entries.get(new)
        if not inode or (flags == EXCHANGE and not there):
            return errno.ENOENT
        if there and flags == NOREPLACE:
            return errno.EEXIST
        if inode.kind == "d" and self.is_inside(to, inode):
            return errno.EINVAL
        if there and there.kind == "d" and self.is_inside(folder, there):
            return errno.EINVAL if flags == EXCHANGE else errno.ENOTEMPTY
        if inode is there or flags == EXCHANGE or not there:
            return 0
        if inode.kind == "d" and there.kind != "d":
            return errno.ENOTDIR
        if inode.kind != "d" and there.kind == "d":
            return errno.EISDIR
        return errno.ENOTEMPTY if there.kind == "d" and there.entries else 0

    def do_rename(self, mount):
        folder, name = self.named()
        to, new = self.named() if self.random.random() < 0.5 else self.place()
        flags = self.random.choice((0, 0, 0, NOREPLACE, EXCHANGE))
        code = self.rename_code(folder, name, to, new, flags)
        self.expect(code, self.tell(f"rename {flags} {self.short(folder)}{name[:9]!r} to", mount, to, new),
                    renameat2, self.path(mount, folder, name), self.path(mount, to, new), flags)
        self.sees(folder, name)
        self.sees(to, new)
        if code or folder.entries[name] is to.entries.get(new):
            return
        inode, there = self.remove(folder, name), None
        if new in to.entries and flags == EXCHANGE:
            there = self.remove(to, new)
        elif new in to.entries:
            self.drop(to, new)
        self.add(to, new, inode)
        if there:
            self.add(folder, name, there)

    # --- content ----------------------------------------------------------------------------------------

    def changed(self, folder, name, inode):
        self.seen_names.append((folder, name))
        self.seen_data.append(inode)

    def spot(self, inode):
        at = self.random.choice((0, len(inode.data), self.random.randrange(len(inode.data) + 1000)))
        return min(at, BYTES_MAX - 1), self.random.choice((1, 10, 1000, 4096, 20_000))

    def write_into(self, inode, at, data):
        old = inode.data
        inode.set_data(old[:at] + bytes(max(0, at - len(old))) + data + old[at + len(data):])

    def open_named(self, mount, what, flags):
        folder, name = self.named("f")
        inode = folder.entries.get(name)
        if inode and inode.kind != "f":
            return None, None, None, None
        fd = self.expect(0 if inode else errno.ENOENT, self.tell(what, mount, folder, name), os.open,
                         self.path(mount, folder, name), flags)
        return folder, name, inode, fd

    def do_write(self, mount):
        folder, name, inode, fd = self.open_named(mount, "write", os.O_WRONLY)
        if fd is None:
            return
        at, length = self.spot(inode)
        data = self.bytes_of(length)
        os.pwrite(fd, data, at)
        os.close(fd)
        self.write_into(inode, at, data)
        self.changed(folder, name, inode)

    def do_append(self, mount):
        folder, name, inode, fd = self.open_named(mount, "append", os.O_WRONLY | os.O_APPEND)
        if fd is None:
            return
        data = self.bytes_of(self.random.choice((1, 100, 5000)))
        os.write(fd, data)
        os.close(fd)
        self.write_into(inode, len(inode.data), data)
        if len(inode.data) > BYTES_MAX:
            os.truncate(self.path(mount, folder, name), 0)
            inode.set_data(b"")
        self.changed(folder, name, inode)

    def do_truncate(self, mount):
        folder, name = self.named("f")
        inode = folder.entries.get(name)
        if inode and inode.kind != "f":
            return
        size = self.random.randrange(len(inode.data) + 5000) if inode else 0
        self.expect(0 if inode else errno.ENOENT, self.tell(f"truncate {size}", mount, folder, name), os.truncate,
                    self.path(mount, folder, name), size)
        if inode:
            self.cut(inode, size)
            self.changed(folder, name, inode)

    def cut(self, inode, size):
        inode.set_data(inode.data[:size] + bytes(max(0, size - len(inode.data))))

    # --- descriptors that stay open ------------------------------------------------------------------------

    def do_keep(self, mount):
        if len(self.kept) >= FDS_MAX:
            return
        writable, append = self.random.random() < 0.7, self.random.random() < 0.2
        flags = (os.O_RDWR if writable else os.O_RDONLY) | (os.O_APPEND if append else 0)
        _, _, inode, fd = self.open_named(mount, "keep", flags)
        if fd is not None:
            self.kept.append(Kept(mount, inode, fd, writable, append))

    def do_leave(self, mount):
        if self.kept:
            self.leave(self.random.choice(self.kept))

    def leave(self, kept):
        self.log.append(f"leave {'AB'[kept.mount]} {kept.fd}")
        self.kept.remove(kept)
        if kept.map:
            kept.map.close()
        os.close(kept.fd)
        if kept.writable:
            kept.inode.history.clear()
        self.seen_data.append(kept.inode)

    def one_kept(self, mount, wants_map=False):
        kept = [k for k in self.kept if k.writable and k.mount == mount and (not wants_map or k.map)]
        return self.random.choice(kept) if kept else None

    def do_kept_write(self, mount):
        kept = self.one_kept(mount)
        if not kept:
            return
        at, length = self.spot(kept.inode)
        data = self.bytes_of(length)
        if kept.append:
            at = len(kept.inode.data)
        self.log.append(f"kept_write {'AB'[mount]} {kept.fd} {at} {length}")
        kept.inode.history.append(kept.inode.data)
        os.pwrite(kept.fd, data, at)
        self.write_into(kept.inode, at, data)
        if len(kept.inode.data) > BYTES_MAX:
            os.ftruncate(kept.fd, 100)
            self.cut(kept.inode, 100)
        self.seen_data.append(kept.inode)

    def do_kept_truncate(self, mount):
        kept = self.one_kept(mount)
        if not kept:
            return
        size = self.random.randrange(len(kept.inode.data) + 5000)
        self.log.append(f"kept_truncate {'AB'[mount]} {kept.fd} {size}")
        kept.inode.history.append(kept.inode.data)
        os.ftruncate(kept.fd, size)
        self.cut(kept.inode, size)
        self.seen_data.append(kept.inode)

    def do_kept_fallocate(self, mount):
        kept = self.one_kept(mount)
        if not kept:
            return
        inode = kept.inode
        at, length = self.spot(inode)
        mode = self.random.choice((0, KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE))
        self.log.append(f"fallocate {'AB'[mount]} {kept.fd} {mode} {at} {length}")
        inode.history.append(inode.data)
        fallocate(kept.fd, mode, at, length)
        inode.touch()
        size = len(inode.data)
        if not mode & KEEP_SIZE:
            self.cut(inode, max(size, at + length))
        if mode & (PUNCH_HOLE | ZERO_RANGE) and at < len(inode.data):
            self.write_into(inode, at, bytes(min(length, len(inode.data) - at)))
        self.seen_data.append(inode)

    def do_kept_sync(self, mount):
        kept = self.one_kept(mount)
        if kept:
            self.log.append(f"fsync {'AB'[mount]} {kept.fd}")
            os.fsync(kept.fd)
            kept.inode.history.clear()

    def do_map(self, mount):
        if sum(k.map is not None for k in self.kept) >= MAPS_MAX:
            return
        for kept in self.kept:
            if not kept.map and kept.mount == mount and kept.inode.data:
                access = mmap.ACCESS_WRITE if kept.writable else mmap.ACCESS_READ
                kept.map = mmap.mmap(kept.fd, len(kept.inode.data), access=access)
                self.log.append(f"map {'AB'[mount]} {kept.fd} {len(kept.inode.data)}")
                self.seen_data.append(kept.inode)
                return

    def do_map_write(self, mount):
        kept = self.one_kept(mount, wants_map=True)
        if not kept:
            return
        size = min(len(kept.inode.data), len(kept.map))
        if size == 0:
            return
        at = self.random.randrange(size)
        data = self.bytes_of(min(self.random.choice((1, 100, 5000)), size - at))
        self.log.append(f"map_write {'AB'[mount]} {kept.fd} {at} {len(data)}")
        kept.map[at:at + len(data)] = data
        kept.map.flush()
        self.write_into(kept.inode, at, data)
        kept.inode.history.clear()
        self.seen_data.append(kept.inode)

    # --- attributes -----------------------------------------------------------------------------------------

    def on_named(self, mount, what, run, *args, kinds="fdp"):
        folder, name = self.named(kinds)
        inode = folder.entries.get(name)
        if inode and inode.kind not in kinds:
            return None
        self.expect(0 if inode else errno.ENOENT, self.tell(what, mount, folder, name), run,
                    self.path(mount, folder, name), *args)
        if inode:
            self.seen_names.append((folder, name))
        return inode

    def do_chmod(self, mount):
        mode = self.random.choice((0o600, 0o644, 0o755, 0o1777, 0o4711))
        inode = self.on_named(mount, f"chmod {mode:o}", os.chmod, mode)
        if inode:
            inode.mode = mode

    def do_chown(self, mount):
        uid, gid = self.random.randrange(3), self.random.randrange(3)
        inode = self.on_named(mount, f"chown {uid} {gid}", os.lchown, uid, gid, kinds="dlp")
        if inode:
            inode.uid, inode.gid = uid, gid
            if inode.kind != "d":
                inode.mode &= ~stat.S_ISUID

    def do_utime(self, mount):
        ns = self.random.randrange(10**18, 2 * 10**18)
        inode = self.on_named(mount, f"utime {ns}", lambda path: os.utime(path, ns=(ns, ns), follow_symlinks=False),
                              kinds="fdlp")
        if inode:
            inode.mtime = ns

    def do_setxattr(self, mount):
        folder, name = self.named("fd")
        inode = folder.entries.get(name)
        if inode and inode.kind not in "fd":
            return
        key, value = self.random.choice(XATTRS), self.bytes_of(self.random.choice((0, 1, 50, 3000)))
        flags = self.random.choice((0, 0, os.XATTR_CREATE, os.XATTR_REPLACE))
        code = errno.ENOENT if not inode else 0
        if inode and flags == os.XATTR_CREATE and key in inode.xattrs:
            code = errno.EEXIST
        if inode and flags == os.XATTR_REPLACE and key not in inode.xattrs:
            code = errno.ENODATA
        if inode and sum(len(k) + len(v) + 20 for k, v in (inode.xattrs | {key: value}).items()) > 3700:
            return                      # ext4 has one block for them
        self.expect(code, self.tell(f"setxattr {key[:12]} {len(value)} {flags}", mount, folder, name), os.setxattr,
                    self.path(mount, folder, name), key, value, flags)
        if code == 0:
            inode.xattrs[key] = value
            self.seen_names.append((folder, name))
            self.seen_xattrs.append((folder, name))

    def do_removexattr(self, mount):
        folder, name = self.named("fd")
        inode = folder.entries.get(name)
        if inode and inode.kind not in "fd":
            return
        key = self.random.choice(sorted(inode.xattrs) or XATTRS) if inode else XATTRS[0]
        code = errno.ENOENT if not inode else 0 if key in inode.xattrs else errno.ENODATA
        self.expect(code, self.tell(f"removexattr {key[:12]}", mount, folder, name), os.removexattr,
                    self.path(mount, folder, name), key)
        if code == 0:
            del inode.xattrs[key]
            self.seen_names.append((folder, name))
            self.seen_xattrs.append((folder, name))

    def do_look(self, mount):
        """At something that did not change: what is cached must have stayed right."""
        folder, name = self.named() if self.random.random() < 0.7 else self.place()
        inode = folder.entries.get(name)
        self.sees(folder, name)
        if inode:
            self.seen_xattrs.append((folder, name))
            self.seen_data.append(inode)

    # --- checks -----------------------------------------------------------------------------------------------

    def same(self, what, got, wanted):
        if got != wanted:
            raise Difference(f"{what}: {str(got)[:300]}, the model says {str(wanted)[:300]}")

    @staticmethod
    def whole(st):
        return (st.st_ino, st.st_mode, st.st_nlink, st.st_uid, st.st_gid, st.st_size, st.st_blocks, st.st_mtime_ns,
                st.st_ctime_ns)

    def check_stat(self, what, inode, st):
        kind = {"f": stat.S_IFREG, "d": stat.S_IFDIR, "l": stat.S_IFLNK, "p": stat.S_IFIFO}[inode.kind]
        size = len(inode.data) if inode.kind == "f" else len(inode.target) if inode.kind == "l" else st.st_size
        mtime = st.st_mtime_ns if inode.mtime is None else inode.mtime
        self.same(what, (oct(st.st_mode), st.st_nlink, st.st_uid, st.st_gid, st.st_size, st.st_mtime_ns),
                  (oct(kind | inode.mode), inode.nlink, inode.uid, inode.gid, size, mtime))

    def stat_of(self, path):
        try:
            return os.lstat(path)
        except FileNotFoundError:
            return None

    def check_name(self, mount, folder, name):
        inode = folder.entries.get(name)
        what = self.tell("stat", mount, folder, name)
        st = self.stat_of(self.path(mount, folder, name))
        if (st is None) != (inode is None):
            raise Difference(f"{what}: is {'absent' if inode else 'there'}")
        if not inode:
            return
        self.check_stat(what, inode, st)
        other = self.stat_of(self.path(1 - mount, folder, name))
        if not other or self.whole(other) != self.whole(st):
            raise Difference(f"{what}: {self.whole(st)}, on the other mount {other and self.whole(other)}")
        if inode.kind == "l":
            self.same(what, os.readlink(self.path(mount, folder, name)), inode.target)

    def check_dir(self, mount, folder):
        if folder is not self.root and folder.nlink == 0:
            return
        path = self.roots[mount] + folder.path()
        self.same(f"listing {'AB'[mount]} {self.short(folder)}", sorted(os.listdir(path)), sorted(folder.entries))
        if folder is not self.root:
            self.check_stat(f"stat {'AB'[mount]} {self.short(folder)}", folder, os.stat(path))

    def content_is(self, what, got, inode, at=0, end=None):
        wanted = inode.data[at:end]
        if got != wanted:
            first = next((i for i, (x, y) in enumerate(zip(got, wanted)) if x != y), min(len(got), len(wanted)))
            raise Difference(f"{what}: {len(got)} bytes, not {len(wanted)}, other from {at + first} on")

    def check_data(self, mount, inode):
        """Through all that is open on this mount, else by a name."""
        is_read = False
        for kept in self.kept:
            if kept.inode is not inode or kept.mount != mount:
                continue
            if not is_read:
                is_read = True
                self.check_stat(f"fstat {'AB'[mount]} {kept.fd}", inode, os.fstat(kept.fd))
                self.content_is(f"read {'AB'[mount]} {kept.fd}", os.pread(kept.fd, BYTES_MAX * 2, 0), inode)
            if kept.map:
                end = min(len(kept.map), len(inode.data))
                at = self.random.randrange(end) if end else 0
                end = min(end, at + 8192)
                self.content_is(f"map {'AB'[mount]} {kept.fd}", kept.map[at:end], inode, at, end)

    def check_path(self, mount, folder, name):
        inode = folder.entries.get(name)
        if inode and inode.kind == "f":
            fd = os.open(self.path(mount, folder, name), os.O_RDONLY)
            got = os.pread(fd, BYTES_MAX * 2, 0)
            os.close(fd)
            self.content_is(self.tell("read", mount, folder, name), got, inode)

    def check_xattrs(self, mount, folder, name):
        inode = folder.entries.get(name)
        if not inode or inode.kind not in "fd":
            return
        path = self.path(mount, folder, name)
        what = self.tell("listxattr", mount, folder, name)
        got = [n for n in os.listxattr(path) if not n.startswith(("security.", "system."))]
        self.same(what, sorted(got), sorted(inode.xattrs))
        for key, value in inode.xattrs.items():
            self.same(f"{what} {key[:12]}", os.getxattr(path, key), value)

    def name_of(self, inode):
        """A place where it can be looked at."""
        for folder in self.dirs:
            for name, there in folder.entries.items():
                if there is inode:
                    return folder, name
        return None

    def check(self, mount):
        changed = dict.fromkeys(self.seen_data)
        by_name = {folder.entries.get(name): (folder, name) for folder, name in self.seen_names}
        for inode in changed:
            place = inode not in by_name and self.name_of(inode)
            if place:
                self.seen_names.append(place)
                by_name[inode] = place
        for folder, name in self.seen_names:
            self.check_name(mount, folder, name)
        for folder in dict.fromkeys(self.seen_dirs):
            self.check_dir(mount, folder)
        for inode in changed:
            self.check_data(mount, inode)
            if inode in by_name:
                self.check_path(mount, *by_name[inode])
        for folder, name in self.seen_xattrs:
            self.check_xattrs(mount, folder, name)

    def forget(self):
        for folder, name in self.seen_names:
            if name in folder.entries:
                folder.entries[name].history.clear()    # the other has seen it
        self.seen_dirs, self.seen_names, self.seen_data, self.seen_xattrs = [], [], [], []

    # --- the run ----------------------------------------------------------------------------------------------

    def step(self):
        mount = self.random.randrange(2)
        run, name = self.random.choice(self.ops)
        self.counts[name] += 1
        run(mount)
        if name.startswith("kept_") and self.random.random() < 0.3:
            return                      # what is to be checked adds up
        self.check(1 - mount)
        if self.random.random() < 0.3:
            self.check(mount)
        self.forget()

    def check_all(self):
        for mount in (0, 1):
            for folder in self.dirs:
                self.seen_dirs.append(folder)
                for name in NAMES:
                    self.seen_names.append((folder, name))
                    self.seen_xattrs.append((folder, name))
            self.seen_data = [i for folder in self.dirs for i in folder.entries.values() if i.kind == "f"]
            self.check(mount)
            self.forget()

    def lose(self, mount):
        """This mount died, and another is in its place: what nobody was promised may be gone."""
        for kept in [k for k in self.kept if k.mount == mount]:
            self.kept.remove(kept)
            if kept.map:
                kept.map.close()
            try:
                os.close(kept.fd)
            except OSError:
                pass
        for folder in self.dirs:
            for name, inode in folder.entries.items():
                if inode.history:
                    self.adopt(1 - mount, folder, name, inode)

    def adopt(self, mount, folder, name, inode):
        with open(self.path(mount, folder, name), "rb") as f:
            got = f.read()
        if got not in [inode.data, *inode.history]:
            raise Difference(self.tell("after the kill", mount, folder, name) + f": {len(got)} bytes never were")
        inode.data = got
        inode.mtime = None
        inode.history.clear()

    def end(self):
        for kept in list(self.kept):
            self.leave(kept)
        self.check_all()


def run(roots, seed, steps, seconds):
    os.umask(0o022)
    test, began, done = Random(roots, seed), time.monotonic(), 0
    try:
        while done < steps and time.monotonic() < began + seconds:
            test.step()
            done += 1
        test.end()
    except Exception as e:
        print(f"step {done} of seed {seed}: {type(e).__name__}: {e}", *test.log, sep="\n    ", file=sys.stderr)
        if not isinstance(e, (Difference, OSError)):
            raise
        return 1
    print(json.dumps({"steps": done, "seconds": round(time.monotonic() - began, 2), "counts": test.counts}))
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:3], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]) if len(sys.argv) > 5 else 1e9))
