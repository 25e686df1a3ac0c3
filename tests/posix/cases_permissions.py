# SPDX-License-Identifier: Apache-2.0
"""
Who may do what: POSIX 4.5 file access permissions, chmod(2), chown(2), sticky and set-ID bits, of every class of user.

The owner of things is OWNER, their group is GROUP. A mode is set on one view, and judged on the other by whom it keeps out.
"""
import collections
import os
import stat
import subprocess
from errno import EACCES, EPERM

import calls
import syscalls as sys_
from suite import (EXTRA, GROUP, OWNER, STRANGER, Skip, acting_as, check, equal, fails, in_child, mode_of, name_of,
                   open_folder, outcome, read_file, table, umask, write_file, write_once)

R, W, X = 4, 2, 1
BITS = {R: "read", W: "write", X: "execute"}
# class: (shift of its bits, uid, gid, supplementary groups)
CLASSES = {
    "the owner": (6, OWNER, STRANGER, []),
    "the group": (3, STRANGER, GROUP, []),
    "a supplementary group": (3, STRANGER, STRANGER, [EXTRA, GROUP]),
    "others": (0, STRANGER, STRANGER, [EXTRA]),
}


def run(path):
    """execve in a child; raises what it raised."""
    pid = os.fork()
    if pid == 0:
        os._exit(outcome(os.execv, path, [path]) or 99)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise OSError(code, "execve")


# subject: what the mode is set on, "file", "folder" or "program". needs: the bits that the call needs there.
Deed = collections.namedtuple("Deed", "name subject needs call")
DEEDS = [Deed(*row) for row in (
    ("open(2) O_RDONLY", "file", R, lambda d: os.open(d / "file", os.O_RDONLY)),
    ("open(2) O_WRONLY", "file", W, lambda d: os.open(d / "file", os.O_WRONLY)),
    ("open(2) O_RDWR", "file", R | W, lambda d: os.open(d / "file", os.O_RDWR)),
    ("open(2) O_WRONLY|O_TRUNC", "file", W, lambda d: os.open(d / "file", os.O_WRONLY | os.O_TRUNC)),
    ("open(2) O_RDONLY|O_TRUNC", "file", R | W, lambda d: os.open(d / "file", os.O_RDONLY | os.O_TRUNC)),
    ("open(2) O_APPEND", "file", W, lambda d: os.open(d / "file", os.O_WRONLY | os.O_APPEND)),
    ("access(2) R_OK", "file", R, lambda d: sys_.faccessat(d / "file", os.R_OK)),
    ("access(2) W_OK", "file", W, lambda d: sys_.faccessat(d / "file", os.W_OK)),
    ("access(2) X_OK", "file", X, lambda d: sys_.faccessat(d / "file", os.X_OK)),
    ("access(2) R_OK|W_OK|X_OK", "file", R | W | X, lambda d: sys_.faccessat(d / "file", 7)),
    ("faccessat(2) AT_EACCESS W_OK", "file", W, lambda d: sys_.faccessat(d / "file", os.W_OK, sys_.AT_EACCESS)),
    ("truncate(2)", "file", W, lambda d: os.truncate(d / "file", 1)),
    ("execve(2)", "program", X, lambda d: run(d / "program")),
    ("getxattr(2) user.", "file", R, lambda d: os.getxattr(d / "file", "user.n")),
    ("setxattr(2) user.", "file", W, lambda d: os.setxattr(d / "file", "user.n", b"w")),
    ("removexattr(2) user.", "file", W, lambda d: os.removexattr(d / "file", "user.n")),
    ("opendir(3)", "folder", R, lambda d: os.close(os.open(d / "folder", os.O_RDONLY | os.O_DIRECTORY))),
    ("chdir(2)", "folder", X, lambda d: os.chdir(d / "folder")),
    ("access(2) X_OK of a folder", "folder", X, lambda d: sys_.faccessat(d / "folder", os.X_OK)),
    ("access(2) W_OK of a folder", "folder", W, lambda d: sys_.faccessat(d / "folder", os.W_OK)),
    ("stat(2) below", "folder", X, lambda d: os.stat(d / "folder/file")),
    ("lstat(2) of what is not there", "folder", X, lambda d: absent(d / "folder/absent")),
    ("open(2) below", "folder", X, lambda d: os.open(d / "folder/file", os.O_RDONLY)),
    ("readlink(2)", "folder", X, lambda d: os.readlink(d / "folder/link")),
    ("open(2) O_CREAT", "folder", W | X, lambda d: os.open(d / "folder/new", os.O_CREAT | os.O_WRONLY)),
    ("mkdir(2)", "folder", W | X, lambda d: os.mkdir(d / "folder/new")),
    ("mkfifo(3)", "folder", W | X, lambda d: os.mkfifo(d / "folder/new")),
    ("symlink(2)", "folder", W | X, lambda d: os.symlink("x", d / "folder/new")),
    ("link(2) new name", "folder", W | X, lambda d: os.link(d / "other", d / "folder/new")),
    ("bind(2)", "folder", W | X, lambda d: calls.bind(d / "folder/new", d)),
    ("unlink(2)", "folder", W | X, lambda d: os.unlink(d / "folder/file")),
    ("rmdir(2)", "folder", W | X, lambda d: os.rmdir(d / "folder/sub")),
    ("rename(2) old name", "folder", W | X, lambda d: os.rename(d / "folder/file", d / "new")),
    ("rename(2) new name", "folder", W | X, lambda d: os.rename(d / "other", d / "folder/new")),
    ("rename(2) over a name", "folder", W | X, lambda d: os.rename(d / "other", d / "folder/file")),
    ("rename(2) within", "folder", W | X, lambda d: os.rename(d / "folder/file", d / "folder/new")),
    ("renameat2(2) RENAME_EXCHANGE", "folder", W | X,
     lambda d: sys_.renameat2(d / "other", d / "folder/file", sys_.RENAME_EXCHANGE)),
)]


def absent(path):
    fails(2, os.lstat, path) if outcome(os.lstat, path) == 2 else os.lstat(path)


def prepare(d, owner=OWNER, group=GROUP):
    """A file, and a folder with a file, a sub-folder and a link in it; `other` belongs to everybody."""
    os.chmod(d, 0o777)
    write_file(d / "file", b"content")
    os.setxattr(d / "file", "user.n", b"v")
    folder = open_folder(d / "folder")
    write_file(folder / "file")
    os.mkdir(folder / "sub")
    os.symlink("file", folder / "link")
    os.chmod(write_file(d / "other"), 0o666)
    for path in (d / "file", folder):
        os.chown(path, owner, group)


def subject_of(deed, d):
    """What its mode is set on; a program is made only where it is needed."""
    if deed.subject == "program":
        os.chown(write_file(d / "program", read_file("/bin/true")), OWNER, GROUP)
    return d / deed.subject


def permitted(deed, mode, code, uid, gid, groups, a, b):
    prepare(a)
    subject = subject_of(deed, a)
    os.chmod(subject, 0o777)
    os.stat(b / deed.subject)
    os.chmod(subject, mode)
    with acting_as(uid, gid, groups):
        fails(code, deed.call, b)


@table
def bits_by_class():
    for deed in DEEDS:
        for who, (shift, *ids) in CLASSES.items():
            need = "+".join(word for bit, word in BITS.items() if bit & deed.needs)
            yield (f"{deed.name}: {need} of {who} is enough, nobody else needs any", permitted, deed,
                   deed.needs << shift, 0, *ids)
            for bit, word in BITS.items():
                if bit & deed.needs:
                    yield (f"{deed.name} EACCES: {who} lack {word}, all else is there" if who == "others" else
                           f"{deed.name} EACCES: {who} lacks {word}, all else is there", permitted, deed,
                           0o777 & ~(bit << shift), EACCES, *ids)


def root_may(deed, a, b):
    prepare(a)
    os.chmod(subject_of(deed, a), 0)
    fails(EACCES if deed.needs & X and deed.subject != "folder" else 0, deed.call, b)


@table
def root():
    for deed in DEEDS:
        code = "EACCES" if deed.needs & X and deed.subject != "folder" else "success"
        yield f"{deed.name} {code}: root, of mode 0", root_may, deed


# ---- what needs the owner ----------------------------------------------------------------------------

OWNERS_DEEDS = (
    ("chmod(2)", lambda p: os.chmod(p, 0o600)),
    ("chmod(2) to the same mode", lambda p: os.chmod(p, 0o666)),
    ("chown(2) to the same owner", lambda p: os.chown(p, OWNER, -1)),
    ("chown(2) to a group of the caller's", lambda p: os.chown(p, -1, EXTRA)),
    ("utimensat(2) with times", lambda p: sys_.utimensat(p, (1, 1), (2, 2))),
    ("utimensat(2) with one time, the other is UTIME_OMIT", lambda p: sys_.utimensat(p, (1, 1), (0, sys_.UTIME_OMIT))),
    ("utimensat(2) with one time, the other is UTIME_NOW", lambda p: sys_.utimensat(p, (1, 1), (0, sys_.UTIME_NOW))),
)


def owner_only(call, uid, code, kind, a, b):
    os.chmod(a, 0o777)
    path = write_file(a / "it") if kind == "a file" else open_folder(a / "it")
    os.chmod(path, 0o666 if kind == "a file" else 0o777)
    os.chown(path, OWNER, GROUP)
    with acting_as(uid, GROUP, [EXTRA]):
        fails(code, call, b / "it")


@table
def owners_rights():
    for story, call in OWNERS_DEEDS:
        for kind in ("a file", "a folder"):
            yield f"{story}: the owner of {kind} may", owner_only, call, OWNER, 0, kind
            yield f"{story} EPERM: who may write {kind} may not", owner_only, call, STRANGER, EPERM, kind


NOW, OMIT = (0, sys_.UTIME_NOW), (0, sys_.UTIME_OMIT)
TOUCHES = (
    ("both UTIME_NOW", lambda p: sys_.utimensat(p, NOW, NOW), 0, EACCES),
    ("no times at all", sys_.utimensat_null, 0, EACCES),
    ("both UTIME_OMIT", lambda p: sys_.utimensat(p, OMIT, OMIT), 0, 0),
    ("UTIME_NOW and UTIME_OMIT", lambda p: sys_.utimensat(p, NOW, OMIT), EPERM, EPERM),
    ("UTIME_OMIT and UTIME_NOW", lambda p: sys_.utimensat(p, OMIT, NOW), EPERM, EPERM),
)


def touched(call, mode, code, a, b):
    os.chown(write_file(a / "it"), OWNER, GROUP)
    os.chmod(a / "it", mode)
    with acting_as(STRANGER):
        fails(code, call, b / "it")


@table
def touches():
    for story, call, writer, reader in TOUCHES:
        yield f"utimensat(2) {name_of(writer)}: {story}, by who may write", touched, call, 0o666, writer
        yield f"utimensat(2) {name_of(reader)}: {story}, by who may only read", touched, call, 0o644, reader


CHOWNS = (
    ("to another owner", OWNER, (STRANGER, -1), EPERM), ("to root", OWNER, (0, -1), EPERM),
    ("to its own group", OWNER, (-1, GROUP), 0), ("to a supplementary group", OWNER, (-1, EXTRA), 0),
    ("to a foreign group", OWNER, (-1, 29999), EPERM), ("owner and group, both its own", OWNER, (OWNER, GROUP), 0),
    ("a foreign group with its own owner", OWNER, (OWNER, 29999), EPERM),
    ("to its own group", STRANGER, (-1, EXTRA), EPERM), ("to itself", STRANGER, (STRANGER, -1), EPERM),
    ("to anybody", 0, (29998, 29999), 0), ("nothing at all", OWNER, (-1, -1), 0),
    ("nothing at all", STRANGER, (-1, -1), 0), ("the owner only", 0, (29998, -1), 0), ("the group only", 0,
     (-1, 29999), 0),
)


def chowned(uid, ids, code, a, b):
    os.chmod(a, 0o777)
    os.chown(write_file(a / "it"), OWNER, GROUP)
    with acting_as(uid, GROUP if uid else 0, [EXTRA]):
        fails(code, os.chown, a / "it", *ids)
    st, want = os.stat(b / "it"), [OWNER, GROUP]
    if code == 0:
        want = [old if new == -1 else new for old, new in zip(want, ids)]
    equal([st.st_uid, st.st_gid], want)


@table
def chowns():
    names = {OWNER: "the owner", STRANGER: "a stranger", 0: "root"}
    for story, uid, ids, code in CHOWNS:
        yield f"chown(2) {name_of(code)}: {names[uid]}, {story}", chowned, uid, ids, code


# ---- sticky folders ----------------------------------------------------------------------------------

STICKY_DEEDS = {
    "unlink(2)": ("file", lambda f: os.unlink(f / "it")),
    "rmdir(2)": ("folder", lambda f: os.rmdir(f / "it")),
    "rename(2) away": ("file", lambda f: os.rename(f / "it", f / "../away")),
    "rename(2) of a folder": ("folder", lambda f: os.rename(f / "it", f / "new")),
    "rename(2) over it": ("file", lambda f: os.rename(f / "../mine", f / "it")),
    "rename(2) within": ("file", lambda f: os.rename(f / "it", f / "new")),
    "renameat2(2) RENAME_EXCHANGE": ("file", lambda f: sys_.renameat2(f / "../mine", f / "it", sys_.RENAME_EXCHANGE)),
}


def sticky(kind, call, folder_owner, owner, code, a, b):
    os.chmod(a, 0o777)
    folder = open_folder(a / "sticky", 0o1777)
    (write_file if kind == "file" else os.mkdir)(folder / "it")
    os.chown(write_file(a / "mine"), OWNER, OWNER)
    os.chown(folder / "it", owner, GROUP)
    os.chmod(folder / "it", 0o777)
    os.chown(folder, folder_owner, GROUP)
    with acting_as(OWNER, GROUP):
        fails(code, call, b / "sticky")


@table
def sticky_folders():
    for story, (kind, call) in STICKY_DEEDS.items():
        yield f"S_ISVTX {story}: its owner may", sticky, kind, call, 0, OWNER, 0
        yield f"S_ISVTX {story}: the folder's owner may", sticky, kind, call, OWNER, STRANGER, 0
        yield f"S_ISVTX {story} EPERM: nobody else may", sticky, kind, call, STRANGER, STRANGER, EPERM
        yield f"S_ISVTX {story} EPERM: of root's, in root's", sticky, kind, call, 0, 0, EPERM


@check("S_ISVTX: links may be made, and names that are new")
def _(d):
    os.chmod(d, 0o1777)
    with acting_as(STRANGER):
        write_file(d / "mine")
        os.link(d / "mine", d / "too")
        os.unlink(d / "mine")


@check("S_ISVTX: root removes what it likes")
def _(d):
    folder = open_folder(d / "sticky", 0o1777)
    os.chown(write_file(folder / "it"), OWNER, OWNER)
    os.chown(folder, STRANGER, STRANGER)
    os.unlink(folder / "it")


@check("rename(2) EACCES: a folder that may not be written gets no new parent")
def _(d):
    os.chmod(d, 0o777)
    for name in ("from", "to"):
        open_folder(d / name)
    os.mkdir(d / "from/it", 0o755)
    with acting_as(STRANGER):
        fails(EACCES, os.rename, d / "from/it", d / "to/it")
        os.rename(d / "from/it", d / "from/new")        # its ".." stays


# ---- set-group-ID folders ----------------------------------------------------------------------------

def inherits_group(make, a, b):
    os.chown(a, 0, GROUP)
    os.chmod(a, 0o2777)
    with acting_as(OWNER, STRANGER):
        make(b / "it")
    st = os.lstat(a / "it")
    equal((st.st_uid, st.st_gid), (OWNER, GROUP))


def takes_callers_group(make, a, b):
    os.chown(a, 0, GROUP)
    os.chmod(a, 0o777)
    with acting_as(OWNER, STRANGER, [GROUP]):
        make(b / "it")
    st = os.lstat(a / "it")
    equal((st.st_uid, st.st_gid), (OWNER, STRANGER))


@table
def groups_of_new_files():
    for story, make in (("a file", write_file), ("a folder", os.mkdir), ("a FIFO", os.mkfifo),
                        ("a symbolic link", lambda p: os.symlink("x", p)), ("a socket", lambda p: calls.bind(p, None)),
                        ("a file by mknod", os.mknod)):
        yield f"S_ISGID folder: {story} of a stranger gets the folder's group", inherits_group, make
        yield f"open(2), mkdir(2): {story} gets the caller's user and group", takes_callers_group, make


@check("S_ISGID folder: a new folder is one, too")
def _(a, b):
    os.chmod(a, 0o2755)
    os.mkdir(a / "sub", 0o755)
    equal(mode_of(b / "sub"), 0o2755)


@check("S_ISGID folder: a new file is not set-group-ID")
def _(a, b):
    os.chmod(a, 0o2755)
    write_file(a / "it", b"", 0o755)
    equal(mode_of(b / "it"), 0o755)


@check("S_ISGID folder: a folder that is moved there keeps its group")
def _(a, b):
    os.mkdir(a / "it")
    folder = open_folder(a / "folder", 0o2777)
    os.chown(folder, 0, GROUP)
    os.chmod(folder, 0o2777)
    os.rename(a / "it", folder / "it")
    equal((os.stat(b / "folder/it").st_gid, mode_of(b / "folder/it")), (0, 0o755))


@check("S_ISGID folder: chmod(2) of its owner outside of the group drops the bit")
def _(a, b):
    os.mkdir(a / "folder")
    os.chown(a / "folder", OWNER, GROUP)
    with acting_as(OWNER, STRANGER):
        os.chmod(a / "folder", 0o2755)
    equal(mode_of(b / "folder"), 0o755)


@check("open(2): S_ISGID with group execute is stripped where the caller is not in the group")
def _(a, b):
    os.chown(a, 0, GROUP)
    os.chmod(a, 0o2777)
    with acting_as(OWNER, STRANGER), umask(0):
        os.close(os.open(a / "it", os.O_CREAT | os.O_WRONLY, 0o2755))
    equal(mode_of(b / "it") & 0o7755, 0o755)


# ---- chmod and set-ID bits ---------------------------------------------------------------------------

def chmod_bits(uid, gid, mode, want, a, b):
    os.chmod(a, 0o777)
    os.chown(write_file(a / "it"), OWNER, GROUP)
    with acting_as(uid, gid):
        os.chmod(a / "it", mode)
    equal(mode_of(b / "it"), want)


@table
def chmods():
    for story, uid, gid, mode, want in (
            ("the owner sets set-user-ID", OWNER, GROUP, 0o4755, 0o4755),
            ("the owner in the group sets set-group-ID", OWNER, GROUP, 0o2755, 0o2755),
            ("the owner outside of the group does not set set-group-ID", OWNER, STRANGER, 0o2755, 0o755),
            ("the owner outside of the group sets set-user-ID alone", OWNER, STRANGER, 0o6755, 0o4755),
            ("root sets set-group-ID", 0, 0, 0o6755, 0o6755),
            ("the owner sets the sticky bit of a file", OWNER, GROUP, 0o1755, 0o1755),
            ("the owner takes all", OWNER, GROUP, 0, 0)):
        yield f"chmod(2): {story}", chmod_bits, uid, gid, mode, want


def writing(path):
    fd = os.open(path, os.O_WRONLY)
    write_once(fd, b"x")
    os.close(fd)


def by_descriptor(call):
    def deed(path):
        fd = os.open(path, os.O_RDWR)
        call(fd)
        os.close(fd)
    return deed


def copying(path):
    out = os.open(path, os.O_WRONLY)
    os.copy_file_range(os.open(path + ".source", os.O_RDONLY), out, 5)
    os.close(out)


# (call, does it clear set-user-ID and set-group-ID?)
KILLERS = (
    ("write(2)", writing, True),
    ("pwritev(2)", by_descriptor(lambda fd: os.pwritev(fd, [b"x"], 0)), True),
    ("write(2) O_APPEND", lambda p: write_once(os.open(p, os.O_WRONLY | os.O_APPEND), b"x"), True),
    ("truncate(2)", lambda p: os.truncate(p, 1), True),
    ("truncate(2) to the same length", lambda p: os.truncate(p, 7), True),
    ("ftruncate(2)", by_descriptor(lambda fd: os.ftruncate(fd, 3)), True),
    ("open(2) O_TRUNC", lambda p: os.close(os.open(p, os.O_WRONLY | os.O_TRUNC)), True),
    ("fallocate(2)", by_descriptor(lambda fd: sys_.fallocate(fd, 0, 0, 100)), True),
    ("copy_file_range(2)", copying, True),
    ("read(2)", by_descriptor(lambda fd: os.read(fd, 1)), False),
    ("utimensat(2)", lambda p: sys_.utimensat_null(p), False),
    ("setxattr(2)", lambda p: os.setxattr(p, "user.n", b"v"), False),
    ("rename(2)", lambda p: (os.rename(p, p + "-new"), os.rename(p + "-new", p)), False),
    ("link(2)", lambda p: os.link(p, p + "-new"), False),
    ("write(2) of no bytes", by_descriptor(lambda fd: os.write(fd, b"")), False),
)


def set_id_bits(call, uid, before, after, a, b):
    os.chmod(a, 0o777)
    write_file(a / "it.source", b"content")
    os.chown(write_file(a / "it", b"content"), OWNER, GROUP)
    os.chmod(a / "it", before)
    equal(mode_of(b / "it"), before)
    with acting_as(uid, GROUP if uid else 0):
        call(a / "it")
    equal(mode_of(b / "it"), after)


@table
def set_id_bits_and_writes():
    for story, call, kills in KILLERS:
        yield (f"{story}: {'clears' if kills else 'keeps'} set-user-ID and set-group-ID", set_id_bits, call, OWNER,
               0o6777, 0o777 if kills else 0o6777)
        yield f"{story}: of root keeps set-user-ID and set-group-ID", set_id_bits, call, 0, 0o6777, 0o6777
        if kills:
            yield (f"{story}: by a stranger clears set-user-ID alone", set_id_bits, call, STRANGER, 0o4777, 0o777)


def chown_set_id(uid, ids, before, after, kind, a, b):
    os.chmod(a, 0o777)
    (write_file if kind == "a file" else os.mkdir)(a / "it")
    os.chown(a / "it", OWNER, GROUP)
    os.chmod(a / "it", before)
    with acting_as(uid, GROUP if uid else 0, [EXTRA]):
        os.chown(a / "it", *ids)
    equal(mode_of(b / "it"), after)


@table
def set_id_bits_and_chown():
    for story, uid, ids, before, after, kind in (
            ("the owner changes the group: set-ID bits go", OWNER, (-1, EXTRA), 0o6755, 0o755, "a file"),
            ("root changes the owner: set-ID bits go", 0, (STRANGER, -1), 0o6755, 0o755, "a file"),
            ("root changes the group: set-ID bits go", 0, (-1, STRANGER), 0o6755, 0o755, "a file"),
            ("the owner to itself: set-ID bits go", OWNER, (OWNER, GROUP), 0o6755, 0o755, "a file"),
            ("S_ISGID without group execute stays", 0, (STRANGER, -1), 0o2745, 0o2745, "a file"),
            ("a folder keeps its bits", 0, (STRANGER, STRANGER), 0o3777, 0o3777, "a folder"),
            ("the other bits stay", OWNER, (-1, EXTRA), 0o1751, 0o1751, "a file")):
        yield f"chown(2): {story}", chown_set_id, uid, ids, before, after, kind


# ---- rights of descriptors, and of two nodes ---------------------------------------------------------

@check("chmod(2): a descriptor keeps the rights that it was opened with")
def _(a, b):
    os.chown(write_file(a / "it", b"content"), OWNER, OWNER)
    with acting_as(OWNER):
        fd = os.open(b / "it", os.O_RDWR)
    os.chmod(a / "it", 0)
    with acting_as(OWNER):
        equal(os.pread(fd, 7, 0), b"content")
        write_once(fd, b"x", 0)
        fails(EACCES, os.open, b / "it", os.O_RDONLY)


@check("chown(2): the new owner's rights count at once, the old one's no more")
def _(a, b):
    os.chown(write_file(a / "it", b"", 0o600), OWNER, OWNER)
    with acting_as(OWNER):
        os.close(os.open(b / "it", os.O_RDONLY))
    os.chown(a / "it", STRANGER, STRANGER)
    with acting_as(OWNER):
        fails(EACCES, os.open, b / "it", os.O_RDONLY)
    with acting_as(STRANGER):
        os.close(os.open(b / "it", os.O_RDONLY))


@check("chmod(2) of a folder far above keeps out at once")
def _(a, b):
    os.makedirs(a / "x/y/z")
    write_file(a / "x/y/z/it")
    with acting_as(STRANGER):
        os.stat(b / "x/y/z/it")
    os.chmod(a / "x", 0o700)
    with acting_as(STRANGER):
        fails(EACCES, os.stat, b / "x/y/z/it")


@check("chmod(2): a current folder that was closed stays current")
def _(a, b):
    folder = open_folder(a / "folder")
    with acting_as(STRANGER):
        os.chdir(b / "folder")
        os.stat(".")
    os.chmod(folder, 0)
    with acting_as(STRANGER):
        fails(EACCES, os.stat, "./x")


@check("mknod(2) EPERM: devices are made by root only")
def _(d):
    os.chmod(d, 0o777)
    with acting_as(STRANGER):
        fails(EPERM, os.mknod, d / "it", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        fails(EPERM, os.mknod, d / "it", stat.S_IFBLK | 0o600, os.makedev(1, 3))
        os.mkfifo(d / "fifo")


@check("setxattr(2) EPERM: trusted. of a user")
def _(d):
    os.chown(write_file(d / "it"), STRANGER, STRANGER)
    with acting_as(STRANGER):
        fails(EPERM, os.setxattr, d / "it", "trusted.n", b"v")


@check("setxattr(2) EPERM: security. of a user")
def _(d):
    os.chown(write_file(d / "it"), STRANGER, STRANGER)
    with acting_as(STRANGER):
        fails(EPERM, os.setxattr, d / "it", "security.n", b"v")


@check("setxattr(2) EPERM: user. on a sticky folder of another user")
def _(d):
    folder = open_folder(d / "sticky", 0o1777)
    with acting_as(STRANGER):
        fails(EPERM, os.setxattr, folder, "user.n", b"v")


@check("execve(2): a set-user-ID program runs as its owner")
def _(d):
    os.chmod(d, 0o755)
    write_file(d / "id", read_file("/usr/bin/id"))
    os.chown(d / "id", OWNER, GROUP)
    os.chmod(d / "id", 0o4755)
    if os.statvfs(d).f_flag & os.ST_NOSUID:
        raise Skip("mounted nosuid")

    def run_it():
        return subprocess.run([d / "id", "-u"], capture_output=True, text=True, check=False).stdout
    equal(in_child(run_it), f"{OWNER}\n")


@check("open(2) EACCES: the caller's rights count, not those of who mounted")
def _(d):
    os.chmod(write_file(d / "it", b""), 0o600)
    with acting_as(STRANGER):
        fails(EACCES, os.open, d / "it", os.O_RDONLY)
