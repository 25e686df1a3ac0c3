# SPDX-License-Identifier: Apache-2.0
"""Path resolution (path_resolution(7), POSIX 4.13): every call that takes a path, in every place a path can lead to."""
import os
from errno import (EACCES, EADDRINUSE, EEXIST, EINVAL, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR)

from calls import CALLS, make_for, other
from suite import (STRANGER, Folder, acting_as, check, equal, exists, fails, name_of, open_folder, table, true,
                   write_file)
from syscalls import name_to_handle

NAME_MAX, PATH_MAX = 255, 4096


# ---- places where nothing can be found: each makes the place in d and returns the path to ask for -----

def below_nothing(d):
    return d / "absent" / "name"


def below_file(d):
    return Folder(write_file(d / "plain")) / "name"


def below_fifo(d):
    os.mkfifo(d / "fifo")
    return d / "fifo" / "name"


def below_link_to_file(d):
    os.symlink("plain", d / "to-file")
    write_file(d / "plain")
    return d / "to-file" / "name"


def below_dangling_link(d):
    os.symlink("absent", d / "dangling")
    return d / "dangling" / "name"


def below_loop(d):
    os.symlink("loop-b", d / "loop-a")
    os.symlink("loop-a", d / "loop-b")
    return d / "loop-a" / "name"


def below_long_name(d):
    return d / ("n" * (NAME_MAX + 1)) / "name"


def long_name(d):
    return d / ("n" * (NAME_MAX + 1))


def long_path(d):
    return d / ("./" * (PATH_MAX // 2)) / "name"


def no_path(_d):
    return Folder("")


NOWHERE = (
    (ENOENT, "a folder of the path does not exist", below_nothing),
    (ENOTDIR, "a folder of the path is a file", below_file),
    (ENOTDIR, "a folder of the path is a FIFO", below_fifo),
    (ENOTDIR, "a folder of the path is a symbolic link to a file", below_link_to_file),
    (ENOENT, "a folder of the path is a dangling symbolic link", below_dangling_link),
    (ELOOP, "symbolic links of the path go in a circle", below_loop),
    (ENAMETOOLONG, "a folder's name has 256 bytes", below_long_name),
    (ENAMETOOLONG, "the name has 256 bytes", long_name),
    (ENAMETOOLONG, "the path has 4096 bytes and more", long_path),
    (ENOENT, "the path is empty", no_path),
)


def leads_nowhere(call, code, place, d):
    other(d)
    fails(code, call.call, place(d), d)


@table
def paths_that_lead_nowhere():
    for call in CALLS:
        for code, story, place in NOWHERE:
            if call.name == "bind(2)" and place in (long_path, no_path, below_long_name, long_name):
                continue            # an address is no path of that length
            if call.name == "readlink(2)" and place is no_path:
                continue            # since Linux 2.6.39 it asks the descriptor
            yield f"{call.name} {name_of(code)}: {story}", leads_nowhere, call, code, place


# ---- what is missing, in the way, or closed ----------------------------------------------------------

def is_missing(call, d):
    fails(ENOENT, call.call, d / "absent", d)


def is_in_the_way(call, kind, d):
    path = d / "there"
    {"a file": lambda: write_file(path), "a folder": lambda: os.mkdir(path), "a FIFO": lambda: os.mkfifo(path),
     "a symbolic link": lambda: os.symlink("other", path), "a dangling symbolic link": lambda: os.symlink("absent",
         path),
     }[kind]()
    other(d)
    fails(EADDRINUSE if call.name == "bind(2)" else EEXIST, call.call, path, d)
    true(not exists(d / "absent"), "the target of the link was made")


def is_not_followed_to_nothing(call, d):
    os.symlink("absent", d / "dangling")
    fails(ENOENT, call.call, d / "dangling", d)


def is_not_followed_in_a_circle(call, d):
    os.symlink("loop", d / "loop")
    fails(ELOOP, call.call, d / "loop", d)


def is_closed(call, d):
    folder = open_folder(d / "closed")
    os.chmod(d, 0o777)
    make_for(call.needs, folder / "name")
    if call.needs != "nothing":
        os.chown(folder / "name", STRANGER, STRANGER, follow_symlinks=False)
    os.chown(other(d), STRANGER, STRANGER)
    os.chmod(folder, 0o666)
    with acting_as(STRANGER):
        fails(EACCES, call.call, folder / "name", d)


def a_slash_ends_a_file(call, d):
    write_file(d / "file", b"content")
    other(d)
    fails(ENOTDIR, call.call, d / "file/", d)


@table
def missing_or_in_the_way():
    for call in CALLS:
        if call.needs != "nothing":
            yield f"{call.name} ENOENT: the name does not exist", is_missing, call
        elif call.name != "rename(2) new name":
            for kind in ("a file", "a folder", "a FIFO", "a symbolic link", "a dangling symbolic link"):
                code = "EADDRINUSE" if call.name == "bind(2)" else "EEXIST"
                yield f"{call.name} {code}: {kind} is there", is_in_the_way, call, kind
        if call.follows:
            yield f"{call.name} ENOENT: the symbolic link dangles", is_not_followed_to_nothing, call
            yield f"{call.name} ELOOP: the symbolic link names itself", is_not_followed_in_a_circle, call
        if call.needs == "file":
            yield f"{call.name} ENOTDIR: a slash follows a file's name", a_slash_ends_a_file, call
        yield f"{call.name} EACCES: a folder of the path may not be searched", is_closed, call


# ---- ways that lead there ----------------------------------------------------------------------------

def through_link(d):
    os.mkdir(d / "real")
    os.symlink("real", d / "way")
    return d / "real", d / "way"


def through_absolute_link(d):
    os.mkdir(d / "real")
    os.symlink(d / "real", d / "way")
    return d / "real", d / "way"


def through_dots(d):
    os.mkdir(d / "real")
    return d / "real", d / "real" / ".." / "real" / "."


def through_slashes(d):
    os.mkdir(d / "real")
    return d / "real", Folder(f"{d}//real//")


def through_own_folder(d):
    os.mkdir(d / "real")
    os.chdir(d / "real")
    return d / "real", Folder(".")


def through_descriptor(d):
    os.mkdir(d / "real")
    return d / "real", Folder(f"/proc/self/fd/{os.open(d / 'real', os.O_PATH)}")


def through_depth(d):
    path = d
    for _ in range(60):
        path = path / "x"
        os.mkdir(path)
    return path, path


WAYS = (
    ("a symbolic link to the folder", through_link),
    ("an absolute symbolic link to the folder", through_absolute_link),
    ("'.' and '..'", through_dots),
    ("doubled slashes", through_slashes),
    ("the current folder", through_own_folder),
    ("a descriptor of the folder in /proc", through_descriptor),
    ("sixty folders", through_depth),
)


def leads_there(call, way, d):
    folder, path = way(d)
    make_for(call.needs, folder / "name")
    call.call(path / "name", d)
    if call.needs == "nothing":
        os.lstat(folder / "name")


def takes_a_long_name(call, d):
    path = d / ("n" * NAME_MAX)
    make_for(call.needs, path)
    call.call(path, d)


def takes_a_long_path(call, d):
    make_for(call.needs, d / "name")
    path = str(d) + "/" * (PATH_MAX - 1 - len(d) - len("name")) + "name"
    equal(len(path), PATH_MAX - 1)
    call.call(path, d)


def in_a_removed_folder(call, d):
    os.mkdir(d / "gone")
    other(d)
    os.chdir(d / "gone")
    os.rmdir(d / "gone")
    fails(ENOENT, call.call, Folder("name"), d)


@table
def ways_that_lead_there():
    for call in CALLS:
        for story, way in WAYS:
            yield f"{call.name}: through {story}", leads_there, call, way
        if call.name != "bind(2)":  # an address has 107 bytes
            yield f"{call.name}: a name of 255 bytes", takes_a_long_name, call
            yield f"{call.name}: a path of 4095 bytes", takes_a_long_path, call
        yield f"{call.name} ENOENT: the current folder was removed", in_a_removed_folder, call


# ---- a slash behind what is to be made ---------------------------------------------------------------

def slash_makes(call, code, d):
    other(d)
    fails(code, call.call, d / "new/", d)
    equal(exists(d / "new"), code == 0, "existence")


@table
def slashes_behind_new_names():
    codes = {"mkdir(2)": 0, "open(2) O_CREAT|O_EXCL": EISDIR, "rename(2) new name": ENOTDIR,
             "renameat2(2) RENAME_NOREPLACE new name": ENOTDIR}
    for call in CALLS:
        if call.needs == "nothing":
            code = codes.get(call.name, ENOENT)
            yield f"{call.name} {name_of(code)}: a slash follows the new name", slash_makes, call, code


def slash_follows_link(call, d):
    """With a slash even a call that does not follow must come to the folder (POSIX 4.13)."""
    os.mkdir(d / "folder")
    os.symlink("folder", d / "link")
    equal(call(d / "link/"), call(d / "folder"))


@table
def slashes_behind_links():
    for name_, call in (("lstat(2)", lambda p: os.lstat(p).st_ino),
                        ("llistxattr(2)", lambda p: os.listxattr(p, follow_symlinks=False)),
                        ("name_to_handle_at(2)", lambda p: name_to_handle(p))):
        yield f"{name_}: a slash behind a symbolic link means its folder", slash_follows_link, call


@check("rmdir(2) ENOTDIR: a slash follows a symbolic link to a folder")
def _(d):
    os.mkdir(d / "folder")
    os.symlink("folder", d / "link")
    fails(ENOTDIR, os.rmdir, d / "link/")
    os.rmdir(d / "folder")


@check("readlink(2) EINVAL: a slash follows a symbolic link to a folder")
def _(d):
    os.mkdir(d / "folder")
    os.symlink("folder", d / "link")
    fails(EINVAL, os.readlink, d / "link/")


# ---- bytes of names ----------------------------------------------------------------------------------

NAMES = (
    ("a space", b" "), ("a newline", b"a\nb"), ("a tab", b"\t"), ("a backslash", b"a\\b"), ("a quote", b"'\""),
    ("an escape", b"\x1b[0m"), ("a DEL", b"\x7f"), ("byte 1", b"\x01"), ("byte 255", b"\xff"),
    ("no valid UTF-8", b"a\xc3"), ("an overlong slash", b"\xc0\xaf"), ("a surrogate in UTF-8", b"\xed\xa0\x80"),
    ("UTF-8", "Größe-模型-🜁".encode()), ("decomposed UTF-8", b"u\xcc\x88"), ("composed UTF-8", b"\xc3\xbc"),
    ("three dots", b"..."), ("a dot first", b".hidden"), ("a dot last", b"end."), ("a space last", b"end "),
    ("a dash first", b"-rf"), ("a star", b"*"), ("a colon", b"C:"), ("a percent", b"%s%n"), ("a tilde", b"~"),
    ("a dollar", b"$HOME"), ("a hash", b"#1"), ("capitals only", b"FILE"), ("255 bytes of UTF-8", "€".encode() * 85),
    ("every byte but NUL and slash", bytes(set(range(1, 256)) - {ord("/")})), ("a name of Windows", b"aux"),
    ("a name of trash", b".Trash"), ("a name of NFS", b".nfs0001"),
)


def name_comes_back(raw, a, b):
    path_a, path_b = os.fsencode(a) + b"/" + raw, os.fsencode(b) + b"/" + raw
    write_file(path_a, raw)
    equal(os.listdir(os.fsencode(b)), [raw], "the listing")
    equal(os.stat(path_b).st_size, len(raw), "size")
    os.unlink(path_a)
    equal(os.listdir(os.fsencode(b)), [], "the listing")


def name_is_its_own(raw, a, b):
    raw_a, raw_b = os.fsencode(a), os.fsencode(b)
    os.symlink(raw, raw_a + b"/link")
    equal(os.readlink(raw_b + b"/link"), raw, "the link's target")
    os.mkdir(raw_a + b"/" + raw)
    os.rename(raw_a + b"/" + raw, raw_a + b"/renamed")
    os.rename(raw_a + b"/renamed", raw_a + b"/" + raw)
    equal(sorted(os.listdir(raw_b)), sorted([b"link", raw]), "the listing")


@table
def bytes_of_names():
    for story, raw in NAMES:
        yield f"POSIX 3.170 filename: {story}", name_comes_back, raw
        yield f"rename(2), symlink(2): a name with {story}", name_is_its_own, raw


@check("POSIX 4.8: names that differ in case only are two")
def _(a, b):
    write_file(a / "name", b"1")
    write_file(a / "NAME", b"22")
    equal([os.stat(b / n).st_size for n in ("name", "NAME")], [1, 2])


@check("POSIX 3.170: names that differ in Unicode composition only are two")
def _(a, b):
    write_file(a / "\u00fc", b"1")
    write_file(a / "u\u0308", b"22")
    equal(len(os.listdir(b)), 2)


@check("path_resolution(7): forty symbolic links are followed")
def _(d):
    write_file(d / "0")
    for i in range(40):
        os.symlink(str(i), d / str(i + 1))
    os.stat(d / "40")


@check("path_resolution(7) ELOOP: forty-one symbolic links are not")
def _(d):
    write_file(d / "0")
    for i in range(41):
        os.symlink(str(i), d / str(i + 1))
    fails(ELOOP, os.stat, d / "41")


@check("path_resolution(7): '..' of a folder that was moved is its new parent")
def _(a, b):
    for folder in ("one", "two", "one/child"):
        os.mkdir(a / folder)
    os.stat(b / "one/child/..")
    os.rename(a / "one/child", a / "two/child")
    equal(os.stat(b / "two/child/..").st_ino, os.stat(a / "two").st_ino)


@check("getcwd(3): the current folder's new name after a rename")
def _(d):
    os.mkdir(d / "old")
    os.chdir(d / "old")
    os.rename(d / "old", d / "new")
    equal(os.getcwd(), d / "new")


@check("getcwd(3) ENOENT: the current folder was removed")
def _(d):
    os.mkdir(d / "gone")
    os.chdir(d / "gone")
    os.rmdir(d / "gone")
    fails(ENOENT, os.getcwd)


@check("fchdir(2): a folder that may be searched but not read")
def _(d):
    folder = open_folder(d / "blind", 0o711)
    write_file(folder / "known")
    with acting_as(STRANGER):
        os.fchdir(os.open(folder, os.O_PATH | os.O_DIRECTORY))
        os.stat("known")
        fails(EACCES, os.listdir, ".")
