# SPDX-License-Identifier: Apache-2.0
"""POSIX access control lists: acl(5), POSIX 1003.1e draft 17. Asked where the mount has them."""
import os
import stat
import struct
from errno import EACCES, EINVAL, ENODATA, EOPNOTSUPP, EPERM

import syscalls as sys_
from suite import (EXTRA, GROUP, OWNER, STRANGER, acting_as, check, equal, fails, mode_of, name_of, table, true, umask,
                   write_file)

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
TAGS = {"u:": 1, "u": 2, "g:": 4, "g": 8, "m": 16, "o": 32}
NOBODY = 0xFFFFFFFF
THIRD = 20005
R, W, X = 4, 2, 1


def acl(*entries):
    """(tag, rights) or (tag, id, rights); "u:" and "g:" are the owner's own."""
    packed = struct.pack("<I", 2)
    for tag, *who, rights in entries:
        packed += struct.pack("<HHI", TAGS[tag], rights, who[0] if who else NOBODY)
    return packed


def entries_of(value):
    names = {number: tag for tag, number in TAGS.items()}
    found = []
    for tag, rights, who in struct.iter_unpack("<HHI", value[4:]):
        found.append((names[tag], rights) if who == NOBODY else (names[tag], who, rights))
    return found


BASE = (("u:", 6), ("g:", 4), ("o", 0))
NAMED = (("u:", 6), ("u", STRANGER, 6), ("g:", 4), ("g", EXTRA, 2), ("m", 6), ("o", 0))


def set_acl(path, *entries, kind=ACCESS):
    os.setxattr(path, kind, acl(*entries))


def get_acl(path, kind=ACCESS):
    return entries_of(os.getxattr(path, kind))


# ---- the access check algorithm of acl(5) ------------------------------------------------------------

def judged(entries, uid, gid, groups, rights, code, a, b):
    write_file(a / "it", b"content")
    os.chown(a / "it", OWNER, GROUP)
    os.stat(b / "it")
    set_acl(a / "it", *entries)
    flags = {R: os.O_RDONLY, W: os.O_WRONLY, R | W: os.O_RDWR}[rights]
    with acting_as(uid, gid, groups):
        fails(code, os.open, b / "it", flags)


ALGORITHM = (
    ("the owner's entry counts for the owner", (("u:", R), ("g:", 0), ("o", 0)), OWNER, STRANGER, [], R, 0),
    ("the owner's entry counts alone", (("u:", 0), ("u", OWNER, 7), ("g:", 7), ("m", 7), ("o", 7)), OWNER, GROUP, [],
     R, EACCES),
    ("the mask is not for the owner", (("u:", R), ("g:", R), ("m", 0), ("o", 0)), OWNER, STRANGER, [], R, 0),
    ("a named user's entry counts", (("u:", 0), ("u", STRANGER, R), ("g:", 0), ("m", 7), ("o", 0)), STRANGER, STRANGER,
     [], R, 0),
    ("a named user has what both allow", (("u:", 0), ("u", STRANGER, R | W), ("g:", 0), ("m", R), ("o", 0)),
     STRANGER, STRANGER, [], W, EACCES),
    ("a named user keeps what the mask leaves", (("u:", 0), ("u", STRANGER, R | W), ("g:", 0), ("m", R), ("o", 0)),
     STRANGER, STRANGER, [], R, 0),
    ("a named user's entry goes before the groups", (("u:", 7), ("u", STRANGER, 0), ("g:", 7), ("m", 7), ("o", 7)),
     STRANGER, GROUP, [], R, EACCES),
    ("another user's entry does not count", (("u:", 7), ("u", THIRD, 7), ("g:", 0), ("m", 7), ("o", 0)),
     STRANGER, STRANGER, [], R, EACCES),
    ("the owning group's entry counts", (("u:", 0), ("g:", R), ("m", 7), ("o", 0)), STRANGER, GROUP, [], R, 0),
    ("the mask is for the owning group", (("u:", 7), ("g:", R), ("m", W), ("o", 7)), STRANGER, GROUP, [], R, EACCES),
    ("a named group's entry counts", (("u:", 0), ("g:", 0), ("g", EXTRA, R), ("m", 7), ("o", 0)), STRANGER, EXTRA, [],
     R, 0),
    ("a named group's entry counts for a supplementary group",
     (("u:", 0), ("g:", 0), ("g", EXTRA, R), ("m", 7), ("o", 0)),
     STRANGER, STRANGER, [EXTRA], R, 0),
    ("the mask is for named groups", (("u:", 7), ("g:", 0), ("g", EXTRA, R), ("m", W), ("o", 7)),
     STRANGER, EXTRA, [], R, EACCES),
    ("one of the caller's groups that allows is enough", (("u:", 0), ("g:", 0), ("g", EXTRA, R), ("m", 7), ("o", 0)),
     STRANGER, GROUP, [EXTRA], R, 0),
    ("rights of two groups do not add up", (("u:", 0), ("g:", W), ("g", EXTRA, R), ("m", 7), ("o", 0)),
     STRANGER, GROUP, [EXTRA], R | W, EACCES),
    ("who is in a group that is named is not others", (("u:", 7), ("g:", 7), ("g", EXTRA, 0), ("m", 7), ("o", 7)),
     STRANGER, EXTRA, [], R, EACCES),
    ("others' entry counts for others", (("u:", 0), ("u", THIRD, 0), ("g:", 0), ("m", 0), ("o", R)), STRANGER,
     STRANGER, [], R, 0),
    ("the mask is not for others", (("u:", 7), ("g:", 7), ("m", 0), ("o", R)), STRANGER, STRANGER, [], R, 0),
    ("others' entry refuses others", (("u:", 7), ("u", THIRD, 7), ("g:", 7), ("m", 7), ("o", 0)), STRANGER, STRANGER,
     [], R, EACCES),
    ("root is asked by no entry", (("u:", 0), ("g:", 0), ("m", 0), ("o", 0)), 0, 0, [], R | W, 0),
    ("all rights of a named user", (("u:", 0), ("u", STRANGER, 7), ("g:", 0), ("m", 7), ("o", 0)),
     STRANGER, STRANGER, [], R | W, 0),
)


@table
def algorithm():
    for story, entries, uid, gid, groups, rights, code in ALGORITHM:
        yield f"acl(5) ACCESS CHECK {name_of(code)}: {story}", judged, entries, uid, gid, groups, rights, code


def on_folder(rights, call, code, a, b):
    os.mkdir(a / "folder", 0o755)
    write_file(a / "folder/it")
    os.chmod(a, 0o755)
    set_acl(a / "folder", ("u:", 7), ("u", STRANGER, rights), ("g:", 7), ("m", 7), ("o", 7))
    with acting_as(STRANGER):
        fails(code, call, b / "folder")


@table
def folders():
    for story, needs, call in (("opendir(3)", R, lambda p: os.close(os.open(p, os.O_RDONLY))),
                               ("stat(2) below", X, lambda p: os.stat(p / "it")),
                               ("chdir(2)", X, os.chdir),
                               ("open(2) O_CREAT", W | X, lambda p: os.open(p / "new", os.O_CREAT | os.O_WRONLY)),
                               ("unlink(2)", W | X, lambda p: os.unlink(p / "it")),
                               ("mkdir(2)", W | X, lambda p: os.mkdir(p / "new"))):
        yield f"acl(5): {story} by a named user's entry", on_folder, needs, call, 0
        yield f"acl(5) EACCES: {story} against a named user's entry", on_folder, 7 & ~needs, call, EACCES


# ---- ACL and mode are one ----------------------------------------------------------------------------

@check("acl(5): a minimal ACL is the mode, and is not stored")
def _(a, b):
    write_file(a / "it")
    set_acl(a / "it", ("u:", 7), ("g:", 5), ("o", 1))
    equal(mode_of(b / "it"), 0o751)
    fails(ENODATA, os.getxattr, b / "it", ACCESS)
    equal(os.listxattr(b / "it"), [])


@check("acl(5): an extended ACL comes back as it was set")
def _(a, b):
    write_file(a / "it")
    set_acl(a / "it", *NAMED)
    equal(get_acl(b / "it"), list(NAMED))
    equal(os.listxattr(b / "it"), [ACCESS])


@check("acl(5): the group bits of the mode show the mask")
def _(a, b):
    write_file(a / "it")
    set_acl(a / "it", *NAMED)
    equal(mode_of(b / "it"), 0o660)


@check("acl(5): chmod(2) sets owner, mask and others, the group's entry stays")
def _(a, b):
    write_file(a / "it")
    set_acl(a / "it", *NAMED)
    os.chmod(a / "it", 0o751)
    equal(get_acl(b / "it"), [("u:", 7), ("u", STRANGER, 6), ("g:", 4), ("g", EXTRA, 2), ("m", 5), ("o", 1)])


@check("acl(5): chmod(2) of a file without a mask sets the group's entry")
def _(a, b):
    write_file(a / "it")
    set_acl(a / "it", *BASE)
    os.chmod(a / "it", 0o751)
    equal(mode_of(b / "it"), 0o751)


@check("acl(5): the other bits of the mode stay when an ACL is set")
def _(a, b):
    write_file(a / "it")
    os.chmod(a / "it", 0o5755)
    set_acl(a / "it", *NAMED)
    equal(mode_of(b / "it"), 0o5660)


@check("acl(5): a chmod(2) that takes the mask's rights takes them from named users at once")
def _(a, b):
    write_file(a / "it")
    os.chmod(a, 0o755)
    set_acl(a / "it", *NAMED)
    with acting_as(STRANGER):
        os.close(os.open(b / "it", os.O_RDWR))
    os.chmod(a / "it", 0o600)
    with acting_as(STRANGER):
        fails(EACCES, os.open, b / "it", os.O_RDONLY)


@check("removexattr(2): the ACL is gone, the mode stays")
def _(a, b):
    write_file(a / "it")
    set_acl(a / "it", *NAMED)
    equal(get_acl(b / "it"), list(NAMED))
    os.removexattr(a / "it", ACCESS)
    fails(ENODATA, os.getxattr, b / "it", ACCESS)
    equal(mode_of(b / "it"), 0o660)


@check("getxattr(2) ENODATA: no ACL was ever set")
def _(d):
    write_file(d / "it")
    os.mkdir(d / "folder")
    fails(ENODATA, os.getxattr, d / "it", ACCESS)
    fails(ENODATA, os.getxattr, d / "folder", DEFAULT)


def stays(change, a, b):
    write_file(a / "it")
    set_acl(a / "it", *NAMED)
    change(a)
    equal(get_acl(b / ("new" if os.path.exists(a / "new") else "it")), list(NAMED))


@table
def survival():
    for story, change in (("rename(2)", lambda d: os.rename(d / "it", d / "new")),
        ("link(2)", lambda d: os.link(d / "it", d / "new")),
                          ("chown(2)", lambda d: os.chown(d / "it", 7, 8)), ("truncate(2)",
                           lambda d: os.truncate(d / "it", 0)),
                          ("write(2)", lambda d: write_file(d / "it", b"content")), ("utimensat(2)",
                           lambda d: os.utime(d / "it"))):
        yield f"acl(5): outlives {story}", stays, change


# ---- who may, and what is no ACL ---------------------------------------------------------------------

@check("setxattr(2): the owner sets an ACL")
def _(a, b):
    os.chown(write_file(a / "it"), STRANGER, STRANGER)
    os.chmod(a, 0o755)
    with acting_as(STRANGER):
        set_acl(a / "it", *NAMED)
    equal(get_acl(b / "it"), list(NAMED))


@check("setxattr(2) EPERM: who is not the owner sets no ACL")
def _(d):
    os.chmod(write_file(d / "it"), 0o666)
    with acting_as(STRANGER):
        fails(EPERM, set_acl, d / "it", *NAMED)


@check("removexattr(2) EPERM: who is not the owner removes no ACL")
def _(d):
    set_acl(write_file(d / "it"), *NAMED)
    with acting_as(STRANGER):
        fails(EPERM, os.removexattr, d / "it", ACCESS)


@check("getxattr(2): everybody may read an ACL")
def _(d):
    set_acl(write_file(d / "it"), *NAMED)
    with acting_as(THIRD):
        equal(get_acl(d / "it"), list(NAMED))


@check("setxattr(2): set-group-ID goes when the owner is not in the group")
def _(a, b):
    os.chown(write_file(a / "it"), STRANGER, GROUP)
    os.chmod(a / "it", 0o2755)
    with acting_as(STRANGER):
        set_acl(a / "it", ("u:", 7), ("g:", 5), ("o", 5))
    equal(mode_of(b / "it"), 0o755)


def no_acl(value, code, kind, name, d):
    (write_file if kind == "file" else os.mkdir)(d / "it")
    before = mode_of(d / "it")
    fails(code, os.setxattr, d / "it", name, value)
    equal(mode_of(d / "it"), before)


@table
def malformed():
    for story, value in (
            ("no owner's entry", acl(("g:", 4), ("o", 0))), ("no group's entry", acl(("u:", 6), ("o", 0))),
            ("no others' entry", acl(("u:", 6), ("g:", 4))), ("a named user without a mask",
             acl(("u:", 6), ("u", 5, 4), ("g:", 4), ("o", 0))),
            ("two owner's entries", acl(("u:", 6), ("u:", 6), ("g:", 4), ("o", 0))),
            ("two masks", acl(("u:", 6), ("g:", 4), ("m", 4), ("m", 4), ("o", 0))),
            ("entries in another order", acl(("o", 0), ("g:", 4), ("u:", 6))),
            ("rights beyond 7", acl(("u:", 8), ("g:", 4), ("o", 0))),
            ("an unknown tag", struct.pack("<IHHI", 2, 64, 4, NOBODY)),
            ("half an entry", acl(*BASE)[:-3])):
        yield f"setxattr(2) EINVAL: an ACL with {story}", no_acl, value, EINVAL, "file", ACCESS
    yield ("setxattr(2) EOPNOTSUPP: an ACL of another version", no_acl, b"\3\0\0\0" + acl(*BASE)[4:], EOPNOTSUPP,
        "file", ACCESS)
    yield "setxattr(2) EACCES: a default ACL of a file", no_acl, acl(*BASE), EACCES, "file", DEFAULT


@check("setxattr(2) EOPNOTSUPP: an ACL of a symbolic link")
def _(d):
    os.symlink("x", d / "link")
    fails(EOPNOTSUPP, os.setxattr, d / "link", ACCESS, acl(*BASE), follow_symlinks=False)


# ---- default ACLs ------------------------------------------------------------------------------------

DEFAULTS = (("u:", 7), ("u", STRANGER, 7), ("g:", 5), ("m", 7), ("o", 1))


def with_default(a):
    os.mkdir(a / "folder")
    set_acl(a / "folder", *DEFAULTS, kind=DEFAULT)


MAKERS = (
    ("open(2) O_CREAT of mode 0666", lambda p: os.close(os.open(p, os.O_CREAT | os.O_WRONLY, 0o666)), 6, 6, 0),
    ("open(2) O_CREAT of mode 0640", lambda p: os.close(os.open(p, os.O_CREAT | os.O_WRONLY, 0o640)), 6, 4, 0),
    ("open(2) O_CREAT of mode 0777", lambda p: os.close(os.open(p, os.O_CREAT | os.O_WRONLY, 0o777)), 7, 7, 1),
    ("mkdir(2) of mode 0777", lambda p: os.mkdir(p, 0o777), 7, 7, 1),
    ("mkdir(2) of mode 0700", lambda p: os.mkdir(p, 0o700), 7, 0, 0),
    ("mkfifo(3) of mode 0666", lambda p: os.mkfifo(p, 0o666), 6, 6, 0),
    ("mknod(2) of mode 0666", lambda p: os.mknod(p, stat.S_IFREG | 0o666), 6, 6, 0),
)


def inherits(make, owner, mask, others, a, b):
    with_default(a)
    with umask(0o077):              # has no part in it
        make(a / "folder/it")
    equal(get_acl(b / "folder/it"), [("u:", owner), ("u", STRANGER, 7), ("g:", 5), ("m", mask), ("o", others)])
    equal(mode_of(b / "folder/it"), owner << 6 | mask << 3 | others)


@table
def inheritance():
    for story, make, *rights in MAKERS:
        yield f"acl(5) default ACL: {story} gets it, cut to the mode, whatever umask says", inherits, make, *rights


@check("acl(5) default ACL: a new folder gets it as its own default")
def _(a, b):
    with_default(a)
    os.mkdir(a / "folder/sub", 0o700)
    equal(get_acl(b / "folder/sub", DEFAULT), list(DEFAULTS))


@check("acl(5) default ACL: a new file has none")
def _(a, b):
    with_default(a)
    write_file(a / "folder/it")
    true(DEFAULT not in os.listxattr(b / "folder/it"), "it has one")


@check("acl(5) default ACL: a symbolic link gets none")
def _(a, b):
    with_default(a)
    os.symlink("x", a / "folder/link")
    equal(os.listxattr(b / "folder/link", follow_symlinks=False), [])


@check("acl(5) default ACL: it grants nothing on the folder itself")
def _(a, b):
    with_default(a)
    os.chmod(a / "folder", 0o700)
    os.chmod(a, 0o755)
    with acting_as(STRANGER):
        fails(EACCES, os.listdir, b / "folder")


@check("acl(5) default ACL: a minimal one takes umask's place")
def _(a, b):
    os.mkdir(a / "folder")
    set_acl(a / "folder", ("u:", 7), ("g:", 5), ("o", 0), kind=DEFAULT)
    with umask(0o077):
        write_file(a / "folder/it", b"", 0o666)
    equal(mode_of(b / "folder/it"), 0o640)


@check("acl(5) default ACL: removed, umask counts again")
def _(a, b):
    with_default(a)
    os.removexattr(a / "folder", DEFAULT)
    with umask(0o027):
        write_file(a / "folder/it", b"", 0o666)
    equal(mode_of(b / "folder/it"), 0o640)
    equal(os.listxattr(b / "folder"), [])


@check("acl(5) default ACL: set on one node, inherited on the other at once")
def _(a, b):
    os.mkdir(a / "folder")
    write_file(b / "folder/before")
    set_acl(a / "folder", *DEFAULTS, kind=DEFAULT)
    write_file(b / "folder/it", b"", 0o666)
    equal(get_acl(a / "folder/it")[1], ("u", STRANGER, 7))


@check("acl(5) default ACL: of a folder that is moved there, its own stays")
def _(a, b):
    with_default(a)
    os.mkdir(a / "sub")
    os.rename(a / "sub", a / "folder/sub")
    equal(os.listxattr(b / "folder/sub"), [])


@check("acl(5) default ACL: O_TMPFILE gets it")
def _(a, b):
    with_default(a)
    fd = os.open(a / "folder", os.O_TMPFILE | os.O_RDWR, 0o660)
    sys_.linkat("", a / "folder/it", sys_.AT_EMPTY_PATH, fd)
    equal(get_acl(b / "folder/it"), [("u:", 6), ("u", STRANGER, 7), ("g:", 5), ("m", 6), ("o", 0)])


@check("access(2): asks the ACL")
def _(a, b):
    write_file(a / "it")
    os.chmod(a, 0o755)
    set_acl(a / "it", ("u:", 6), ("u", STRANGER, R), ("g:", 0), ("m", 6), ("o", 0))
    with acting_as(STRANGER):
        sys_.faccessat(b / "it", os.R_OK)
        fails(EACCES, sys_.faccessat, b / "it", os.W_OK)
