# SPDX-License-Identifier: Apache-2.0
"""Extended attributes: xattr(7), setxattr(2), getxattr(2), listxattr(2), removexattr(2)."""
import os
from errno import E2BIG, EACCES, EEXIST, EINVAL, ENODATA, ENOENT, EOPNOTSUPP, EPERM, ERANGE

import syscalls as sys_
from suite import (STRANGER, acting_as, check, equal, fails, pattern, table, true, write_file)

CREATE, REPLACE = os.XATTR_CREATE, os.XATTR_REPLACE
SPACES = ("user.", "trusted.", "security.")
KINDS = {"a file": write_file, "a folder": os.mkdir}


def it(d, kind="a file"):
    KINDS[kind](d / "it")
    return d / "it"


# ---- values ------------------------------------------------------------------------------------------

VALUES = (
    ("of no bytes", b""), ("of one byte", b"x"), ("with NUL bytes", b"a\0b\0"), ("of 4096 bytes", pattern(4096)),
    ("of 65536 bytes", pattern(65536)), ("that is no UTF-8", b"\xff\xfe"),
)


def value_comes_back(space, kind, value, a, b):
    os.setxattr(it(a, kind), f"{space}name", value)
    equal(os.getxattr(b / "it", f"{space}name"), value)
    equal(os.listxattr(b / "it"), [f"{space}name"])


def value_changes(space, kind, a, b):
    path = it(a, kind)
    for value in (b"first", b"", b"a longer second", pattern(5000), b"short"):
        os.setxattr(path, f"{space}name", value)
        equal(os.getxattr(b / "it", f"{space}name"), value)


def value_goes(space, kind, a, b):
    path = it(a, kind)
    os.setxattr(path, f"{space}name", b"v")
    equal(os.getxattr(b / "it", f"{space}name"), b"v")
    os.removexattr(path, f"{space}name")
    fails(ENODATA, os.getxattr, b / "it", f"{space}name")
    equal(os.listxattr(b / "it"), [])


def flags(space, kind, a, b):
    path, name = it(a, kind), f"{space}name"
    fails(ENODATA, os.setxattr, path, name, b"no", REPLACE)
    os.setxattr(path, name, b"one", CREATE)
    fails(EEXIST, os.setxattr, path, name, b"no", CREATE)
    equal(os.getxattr(b / "it", name), b"one")
    os.setxattr(path, name, b"two", REPLACE)
    equal(os.getxattr(b / "it", name), b"two")


def absent(space, kind, a, b):
    it(a, kind)
    fails(ENODATA, os.getxattr, b / "it", f"{space}name")
    fails(ENODATA, os.removexattr, b / "it", f"{space}name")


@table
def attributes():
    for kind in KINDS:
        for space in SPACES:
            for story, value in VALUES:
                yield f"setxattr(2) {space}: a value {story}, of {kind}", value_comes_back, space, kind, value
            yield f"setxattr(2) {space}: values change, of {kind}", value_changes, space, kind
            yield f"removexattr(2) {space}: the attribute is gone, of {kind}", value_goes, space, kind
            yield f"setxattr(2) {space} XATTR_CREATE EEXIST, XATTR_REPLACE ENODATA: of {kind}", flags, space, kind
            yield f"getxattr(2), removexattr(2) {space} ENODATA: there is none, of {kind}", absent, space, kind


def refused(name, value, code, flag, d):
    fails(code, os.setxattr, it(d), name, value, flag)
    equal(os.listxattr(d / "it"), [])


@table
def refusals():
    for story, name, value, code, flag in (
            ("EOPNOTSUPP: an unknown namespace", "other.name", b"v", EOPNOTSUPP, 0),
            ("EOPNOTSUPP: no namespace", "name", b"v", EOPNOTSUPP, 0),
            ("EINVAL: a namespace without a name", "user.", b"v", EINVAL, 0),
            ("EINVAL: trusted. without a name", "trusted.", b"v", EINVAL, 0),
            ("ERANGE: an empty name", "", b"v", ERANGE, 0),
            ("ERANGE: a name of 256 bytes", "user." + "n" * 251, b"v", ERANGE, 0),
            ("E2BIG: a value of 65537 bytes", "user.name", bytes(65537), E2BIG, 0),
            ("EINVAL: unknown flags", "user.name", b"v", EINVAL, 8),
            ("XATTR_CREATE|XATTR_REPLACE: neither can be", "user.name", b"v", (ENODATA, EINVAL), CREATE | REPLACE)):
        yield f"setxattr(2) {story}", refused, name, value, code, flag


@check("xattr(7): an attribute whose name has 255 bytes")
def _(a, b):
    name = "user." + "n" * 250
    os.setxattr(it(a), name, b"v")
    equal((os.listxattr(b / "it"), os.getxattr(b / "it", name)), ([name], b"v"))


@check("setxattr(2): names differ in case")
def _(a, b):
    os.setxattr(it(a), "user.name", b"1")
    os.setxattr(a / "it", "user.NAME", b"2")
    equal((os.getxattr(b / "it", "user.name"), os.getxattr(b / "it", "user.NAME")), (b"1", b"2"))


@check("setxattr(2): any bytes in a name")
def _(a, b):
    name = b"user.\xff\x01 \n/name"
    os.setxattr(it(a), name, b"v")
    equal([os.fsencode(n) for n in os.listxattr(b / "it")], [name])


@check("listxattr(2): a hundred attributes, each once")
def _(a, b):
    path = it(a)
    for i in range(100):
        os.setxattr(path, f"user.name{i}", b"%d" % i)
    equal(sorted(os.listxattr(b / "it")), sorted(f"user.name{i}" for i in range(100)))
    for i in range(100):
        equal(os.getxattr(b / "it", f"user.name{i}"), b"%d" % i)


@check("listxattr(2): every second of fifty is removed")
def _(a, b):
    path = it(a)
    for i in range(50):
        os.setxattr(path, f"user.name{i:02}", b"v")
    for i in range(0, 50, 2):
        os.removexattr(path, f"user.name{i:02}")
    equal(sorted(os.listxattr(b / "it")), [f"user.name{i:02}" for i in range(1, 50, 2)])


@check("listxattr(2): namespaces side by side")
def _(a, b):
    for space in SPACES:
        os.setxattr(a / "it" if space != "user." else it(a), f"{space}n", space.encode())
    equal(sorted(os.listxattr(b / "it")), sorted(f"{space}n" for space in SPACES))


# ---- room of the caller ------------------------------------------------------------------------------

def room(call, size, want, d):
    os.setxattr(it(d), "user.name", b"0123456789")
    if isinstance(want, tuple):
        fails(want, call, d / "it", size)
    else:
        equal(call(d / "it", size), want)


@table
def rooms():
    def get(path, size):
        return sys_.getxattr_room(path, "user.name", size)
    for story, call, size, want in (
            ("getxattr(2): no room asks for the length", get, 0, 10), ("getxattr(2): just enough room", get, 10, 10),
            ("getxattr(2): more room than is needed", get, 1000, 10), ("getxattr(2) ERANGE: too little room", get, 9,
             (ERANGE,)),
            ("listxattr(2): no room asks for the length", sys_.listxattr_room, 0, 10),
            ("listxattr(2): just enough room", sys_.listxattr_room, 10, 10),
            ("listxattr(2) ERANGE: too little room", sys_.listxattr_room, 9, (ERANGE,))):
        yield story, room, call, size, want


# ---- what they live and die with ---------------------------------------------------------------------

def stays(change, a, b):
    os.setxattr(it(a), "user.name", b"value")
    change(a)
    name = "new" if os.path.lexists(a / "new") else "it"
    equal(os.getxattr(b / name, "user.name"), b"value")


@table
def survival():
    for story, change in (
            ("rename(2)", lambda d: os.rename(d / "it", d / "new")), ("link(2)",
             lambda d: os.link(d / "it", d / "new")),
            ("truncate(2)", lambda d: os.truncate(d / "it", 0)), ("chmod(2)", lambda d: os.chmod(d / "it", 0o600)),
            ("chown(2)", lambda d: os.chown(d / "it", 7, 7)), ("write(2)",
             lambda d: write_file(d / "it", pattern(100_000))),
            ("utimensat(2)", lambda d: os.utime(d / "it")),
            ("unlink(2) of another name", lambda d: (os.link(d / "it", d / "x"), os.unlink(d / "x")))):
        yield f"xattr(7): outlives {story}", stays, change


@check("xattr(7): both names of a file show them")
def _(a, b):
    os.link(it(a), a / "too")
    os.setxattr(a / "too", "user.name", b"v")
    equal(os.getxattr(b / "it", "user.name"), b"v")


@check("xattr(7): a name that comes again has none")
def _(a, b):
    os.setxattr(it(a), "user.name", b"v")
    equal(os.listxattr(b / "it"), ["user.name"])
    os.unlink(a / "it")
    write_file(a / "it")
    equal(os.listxattr(b / "it"), [])


@check("xattr(7): a file that is renamed over takes its attributes along")
def _(a, b):
    os.setxattr(it(a), "user.old", b"v")
    os.setxattr(write_file(a / "new"), "user.new", b"w")
    equal(os.listxattr(b / "it"), ["user.old"])
    os.rename(a / "new", a / "it")
    equal(os.listxattr(b / "it"), ["user.new"])


@check("xattr(7): follow to the target, lsetxattr(2) of the link itself")
def _(a, b):
    os.symlink("it", a / "link")
    os.setxattr(it(a), "trusted.name", b"file")
    os.setxattr(a / "link", "trusted.name", b"link", follow_symlinks=False)
    equal(os.getxattr(b / "link", "trusted.name"), b"file")
    equal(os.getxattr(b / "link", "trusted.name", follow_symlinks=False), b"link")


@check("fsetxattr(2), fgetxattr(2): by a descriptor, seen by the path")
def _(a, b):
    fd = os.open(it(a), os.O_RDONLY)
    os.setxattr(fd, "user.name", b"v")
    equal((os.getxattr(b / "it", "user.name"), os.getxattr(fd, "user.name")), (b"v", b"v"))


@check("fremovexattr(2): by a descriptor")
def _(a, b):
    fd = os.open(it(a), os.O_RDONLY)
    os.setxattr(fd, "user.name", b"v")
    os.removexattr(fd, "user.name")
    equal(os.listxattr(b / "it"), [])


@check("setxattr(2): content, size, mtime and atime stay")
def _(a, b):
    write_file(a / "it", b"content")
    before = os.stat(b / "it")
    os.setxattr(a / "it", "user.name", pattern(5000))
    after = os.stat(b / "it")
    equal((after.st_size, after.st_mtime_ns, after.st_atime_ns),
        (before.st_size, before.st_mtime_ns, before.st_atime_ns))


@check("setxattr(2): user. on a sticky folder, by its owner")
def _(d):
    os.mkdir(d / "sticky")
    os.chown(d / "sticky", STRANGER, STRANGER)
    os.chmod(d / "sticky", 0o1777)
    with acting_as(STRANGER):
        os.setxattr(d / "sticky", "user.name", b"v")


@check("getxattr(2) ENODATA: trusted. of a user, who may not know of it")
def _(d):
    os.setxattr(it(d), "trusted.name", b"v")
    with acting_as(STRANGER):
        fails((ENODATA, EPERM), os.getxattr, d / "it", "trusted.name")


@check("getxattr(2) EACCES: user. without read permission")
def _(d):
    os.setxattr(it(d), "user.name", b"v")
    os.chmod(d / "it", 0o600)
    with acting_as(STRANGER):
        fails(EACCES, os.getxattr, d / "it", "user.name")


@check("getxattr(2): security. needs no permission but the path's")
def _(d):
    os.setxattr(it(d), "security.name", b"v")
    os.chmod(d / "it", 0)
    with acting_as(STRANGER):
        equal(os.getxattr(d / "it", "security.name"), b"v")


@check("write(2): takes security.capability away")
def _(a, b):
    os.setxattr(it(a), "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    true("security.capability" in os.listxattr(b / "it"), "it was not set")
    os.chmod(a / "it", 0o666)
    with acting_as(STRANGER):
        fd = os.open(a / "it", os.O_WRONLY)
        os.write(fd, b"x")
        os.close(fd)
    equal(os.listxattr(b / "it"), [])


@check("chown(2): takes security.capability away")
def _(a, b):
    os.setxattr(it(a), "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    os.chown(a / "it", STRANGER, STRANGER)
    equal(os.listxattr(b / "it"), [])


@check("getxattr(2) ENOENT: the file is gone on the other node")
def _(a, b):
    os.setxattr(it(a), "user.name", b"v")
    os.getxattr(b / "it", "user.name")
    os.unlink(a / "it")
    fails(ENOENT, os.getxattr, b / "it", "user.name")


@check("listxattr(2): trusted. is not shown to users")
def _(d):
    os.chown(write_file(d / "it"), STRANGER, STRANGER)
    os.setxattr(d / "it", "trusted.n", b"v")
    os.setxattr(d / "it", "user.n", b"v")
    with acting_as(STRANGER):
        equal(os.listxattr(d / "it"), ["user.n"])
