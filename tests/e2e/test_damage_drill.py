# SPDX-License-Identifier: Apache-2.0
"""The damage drill: a small file system, dozens of ways to hurt it, seeded. Each damage is named and never called
clean; what a replica, a checksum or a count can give back is mended; a second look then finds nothing."""
import json
import os
import random
import shutil
import struct
import subprocess

import pytest

from conftest import BIN, LONG, Cluster, MiB, seeded_bytes

SERVERS = ["cs1", "cs2", "cs3"]


# --- the patient ----------------------------------------------------------------------------------------------

def fill(mnt):
    (mnt / "models").mkdir()
    (mnt / "models" / "weights").write_bytes(seeded_bytes(MiB(2), 1))
    (mnt / "models" / "same").write_bytes(seeded_bytes(MiB(2), 1))
    (mnt / "models" / "middle").write_bytes(seeded_bytes(60_000, 2))
    (mnt / "text").mkdir()
    for i in range(40):
        (mnt / "text" / f"note{i}").write_text(f"note {i}\n" * (i + 1))
    os.symlink("note1", mnt / "text" / "link")
    os.link(mnt / "text" / "note2", mnt / "second")
    os.setxattr(mnt / "text" / "note3", "user.drill", b"value")
    (mnt / "deep" / "er").mkdir(parents=True)
    (mnt / "deep" / "er" / "file").write_bytes(seeded_bytes(MiB(1), 3))
    os.sync()


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    """A filled cluster that ended in order: a folder to be copied. Its journal lies in two directories."""
    top = tmp_path_factory.mktemp("drill")
    cluster = Cluster(top / "cluster", sets=["cs.segment_bytes=1M", f"journal.dirs={top}/cluster/journal2",
                                             "mds.snapshot_bytes=1M", "client.flush_ms=10"])
    try:
        cluster.up()
        fill(cluster.mnt)
        for name in ["client1", *SERVERS, "mds"]:
            cluster.stop(name)
        second = cluster.dir / "journal2"
        second.mkdir()
        shutil.copy(cluster.dir / "mds" / "super", second)
        shutil.copytree(cluster.dir / "mds" / "journal", second / "journal")
        for name in ["mds", *SERVERS, "client1"]:
            cluster.start(name)
        (cluster.mnt / "late").write_bytes(seeded_bytes(300_000, 4))
        (cluster.mnt / "text" / "note1").unlink()
        os.sync()
        for name in ["client1", *SERVERS, "mds"]:
            cluster.stop(name)
    finally:
        cluster.down()
        cluster.destroy()
    yield cluster.dir
    shutil.rmtree(top, ignore_errors=True)


class Patient:
    def __init__(self, folder, has_second_journal):
        self.dir = folder
        self.metadata = [folder / "mds"] + ([folder / "journal2"] if has_second_journal else [])

    def fsck(self, *args):
        options = ["--metadata", ",".join(map(str, self.metadata)),
                   "--disk", ",".join(str(self.dir / s) for s in SERVERS), "--scratch", self.dir, "--json",
                   *args]
        done = subprocess.run([BIN / "fsck.cairn", *options], text=True, timeout=20, check=False,
                              capture_output=True)
        assert done.returncode in (0, 1, 4, 5), (done.returncode, done.stdout, done.stderr)
        return done.returncode, json.loads(done.stdout)

    def one(self, pattern, which=0):
        return sorted(self.dir.glob(pattern))[which]


@pytest.fixture
def patient(healthy, tmp_path, request):
    folder = tmp_path / "patient"
    subprocess.run(["cp", "-a", "--sparse=always", healthy, folder], check=True)
    alone = getattr(request, "param", False)
    return Patient(folder, not alone)


# --- instruments ----------------------------------------------------------------------------------------------

def patch(path, offset, data):
    with open(path, "r+b") as f:
        f.seek(offset)
        f.write(data)


def flip(path, offset):
    with open(path, "r+b") as f:
        f.seek(offset)
        byte = f.read(1)
        f.seek(offset)
        f.write(bytes([byte[0] ^ 0x41]))


def records(segment):
    """(offset, stored bytes) of each record."""
    data = segment.read_bytes()
    at = 64
    while data[at:at + 4] == b"CRNR":
        stored, = struct.unpack_from("<I", data, at + 4)
        yield at, stored
        at += (64 + stored + 7) // 8 * 8


def sealed(p, server):
    """A segment with a footer, and the offset of its footer."""
    for path in sorted((p.dir / server / "segments").iterdir()):
        data = path.read_bytes()
        if data[-64:-60] == b"CRNF":
            return path, struct.unpack_from("<Q", data, len(data) - 56)[0]
    raise AssertionError("no segment is sealed")


def journal_records(path):
    """(offset, length) of each record of a journal file."""
    data = path.read_bytes()
    at = 64
    while data[at:at + 4] == b"CRNJ":
        length = 48 + struct.unpack_from("<I", data, at + 4)[0]
        yield at, length
        at += length


def longest_journal(p, folder="mds"):
    return max((p.dir / folder / "journal").glob("J-*"), key=lambda f: f.stat().st_size)


# --- damages: what each hurts, and what must be said ------------------------------------------------------------

def super_byte(p):
    flip(p.dir / "mds" / "super", 20)
    return "mds"


def super_reserved(p):
    patch(p.dir / "mds" / "super", 1000, os.urandom(64))
    return "mds"


def super_garbage(p):
    patch(p.dir / "mds" / "super", 0, bytes(4096))
    return "mds"


def super_gone(p):
    (p.dir / "mds" / "super").unlink()
    return "mds"


def super_short(p):
    os.truncate(p.dir / "journal2" / "super", 100)
    return "journal2"


def disk_super_byte(p):
    flip(p.dir / "cs2" / "super", 90)
    return "cs2"


def disk_super_garbage(p):
    patch(p.dir / "cs2" / "super", 0, b"\x5a" * 4096)
    return "cs2"


def disk_super_gone(p):
    (p.dir / "cs3" / "super").unlink()
    return "cs3"


def journal_header(p):
    flip(longest_journal(p), 10)
    return "J-"


def journal_record_header(p):
    at, _ = list(journal_records(longest_journal(p)))[3]
    flip(longest_journal(p), at + 17)
    return "journal"


def journal_payload(p):
    at, length = list(journal_records(longest_journal(p)))[-3]
    flip(longest_journal(p), at + length - 1)
    return "journal"


def journal_zeroed(p):
    at, _ = list(journal_records(longest_journal(p)))[5]
    patch(longest_journal(p), at, bytes(300))
    return "journal"


def journal_folder_gone(p):
    shutil.rmtree(p.dir / "journal2" / "journal")
    return "journal2"


def journal_last_record(p):
    newest = sorted((p.dir / "mds" / "journal").glob("J-*"))[-1]
    at, _ = list(journal_records(newest))[-1]
    flip(newest, at + 50)
    return "journal"


def journal_cut(p):
    newest = sorted((p.dir / "mds" / "journal").glob("J-*"))[-1]
    at, _ = list(journal_records(newest))[-1]
    os.truncate(newest, at + 20)
    return "journal"


def snapshot_header(p):
    flip(p.one("mds/snapshots/S-*", -1), 30)
    return "S-"


def snapshot_row(p):
    flip(p.one("mds/snapshots/S-*", -1), 200)
    return "S-"


def snapshot_trailer(p):
    path = p.one("mds/snapshots/S-*", -1)
    flip(path, path.stat().st_size - 10)
    return "S-"


def snapshot_cut(p):
    path = p.one("mds/snapshots/S-*", -1)
    os.truncate(path, path.stat().st_size // 2)
    return "S-"


def rows_page(p):
    path = p.dir / "mds" / "rows" / "data.mdb"
    data = path.read_bytes()
    at = data.rindex(b"note7")
    while at >= 0:
        flip(path, at)
        at = data.rfind(b"note7", 0, at)
    return "rows"


def rows_cut(p):
    os.truncate(p.dir / "mds" / "rows" / "data.mdb", 8192)
    return "rows"


def segment_header(p):
    flip(sealed(p, "cs1")[0], 9)
    return "segments"


def record_header(p):
    path, _ = sealed(p, "cs1")
    at, _ = list(records(path))[2]
    flip(path, at + 41)
    return "/"


def record_magic(p):
    path, _ = sealed(p, "cs2")
    at, _ = list(records(path))[3]
    flip(path, at)
    return "/"


def record_payload(p):
    path, _ = sealed(p, "cs3")
    at, stored = list(records(path))[4]
    flip(path, at + 64 + stored // 2)
    return "/"


def record_zeroed(p):
    path, _ = sealed(p, "cs1")
    at, _ = list(records(path))[1]
    patch(path, at, bytes(8192))
    return "/"


def record_of_tail(p):
    path = p.one("cs2/segments/seg-*", -1)
    at, _ = list(records(path))[0]
    flip(path, at + 70)
    return "/"


def footer_entry(p):
    path, footer = sealed(p, "cs1")
    flip(path, footer + 5)
    return "footer"


def footer_trailer(p):
    path, _ = sealed(p, "cs1")
    flip(path, path.stat().st_size - 30)
    return "footer"


def segment_cut(p):
    path, footer = sealed(p, "cs2")
    os.truncate(path, footer // 2)
    return "/"


def segment_gone(p):
    sealed(p, "cs3")[0].unlink()
    return "/"


def segments_gone(p):
    for path in (p.dir / "cs1" / "segments").iterdir():
        path.unlink()
    return "/"


def segments_folder_gone(p):
    shutil.rmtree(p.dir / "cs2" / "segments")
    return "segments"


def segment_of_another(p):
    """A copy of another server's segment in the place of ours."""
    shutil.copy(sealed(p, "cs1")[0], sealed(p, "cs2")[0])
    return "another disk"


def index_page(p):
    path = p.dir / "cs1" / "index" / "data.mdb"
    size = path.stat().st_size
    for at in range(8192, size, 4096):
        patch(path, at + 2000, b"\xa5" * 1000)
    return "index"


def index_cut(p):
    os.truncate(p.dir / "cs3" / "index" / "data.mdb", 8192)
    return "index"


def owed_garbage(p):
    path = p.dir / "cs1" / "owed"
    good = struct.pack("<BBHI", 1, 0, 0, 2) + bytes(32)
    path.write_bytes(b"\x77" * 48 + path.read_bytes() + good + b"\x11" * 8)
    return None


def two_at_once(p):
    flip(p.dir / "mds" / "super", 12)
    segment_gone(p)
    return "mds"


def everything_of_one_server(p):
    shutil.rmtree(p.dir / "cs2" / "segments")
    shutil.rmtree(p.dir / "cs2" / "index")
    return "cs2"


MENDED = [super_byte, super_reserved, super_garbage, super_gone, super_short, disk_super_byte, disk_super_garbage,
          disk_super_gone, journal_header, journal_record_header, journal_payload, journal_zeroed,
          journal_folder_gone, journal_last_record, journal_cut, snapshot_header, snapshot_row, snapshot_trailer,
          snapshot_cut, rows_page, rows_cut, segment_header, record_header, record_magic, record_payload,
          record_zeroed, record_of_tail, footer_entry, footer_trailer, segment_cut, segment_gone, segments_gone,
          segments_folder_gone, segment_of_another, index_page, index_cut, two_at_once, everything_of_one_server]
# The same with one metadata directory only: what can be known from itself, or counted.
ALONE = [super_byte, super_reserved, super_garbage, super_gone, journal_header, journal_record_header, journal_payload, journal_zeroed,
         journal_last_record, journal_cut, snapshot_header, snapshot_row, snapshot_cut]


def said(report, what):
    return any(what in f["subject"] or what in f["text"] for f in report["faults"])


def check_mended(p, damage):
    before, _ = p.fsck()
    assert before == 0
    what = damage(p)
    status, report = p.fsck()
    assert status == 4 and not report["clean"], report
    assert said(report, what), report["faults"]
    status, report = p.fsck("--repair")
    assert status == 1 and report["clean"], (report["faults"], report["corrected"])
    assert report["corrected"] and said({"faults": report["found"]}, what)
    status, report = p.fsck()
    assert status == 0, report["faults"]


@pytest.mark.parametrize("damage", MENDED, ids=lambda d: d.__name__)
def test_it_is_named_and_mended(patient, damage):
    check_mended(patient, damage)


@pytest.mark.parametrize("patient", [True], indirect=True, ids=["one_directory"])
@pytest.mark.parametrize("damage", ALONE, ids=lambda d: d.__name__)
def test_it_is_named_and_mended_without_a_second_journal(patient, damage):
    check_mended(patient, damage)


# --- what no replica can give back ------------------------------------------------------------------------------

def every_copy(p, which):
    """Turn a byte of one record on every server; the same block on each, found by its id."""
    path, _ = sealed(p, "cs1")
    at, _ = list(records(path))[which]
    block = path.read_bytes()[at + 8:at + 40]
    for server in SERVERS:
        for segment in sorted((p.dir / server / "segments").iterdir()):
            data = segment.read_bytes()
            for offset, stored in records(segment):
                if data[offset + 8:offset + 40] == block:
                    flip(segment, offset + 64 + stored // 2)
    return block.hex()


def test_what_is_gone_everywhere_stays_named(patient):
    block = every_copy(patient, 2)
    for args in [[], ["--repair"], []]:
        status, report = patient.fsck(*args)
        assert status & 4 and not report["clean"]
        lost = [f for f in report["faults"] if f["class"] == "content"]
        assert lost and all(f["subject"].startswith("/") for f in lost)
        assert any(block in f["text"] for f in report["faults"])


def test_a_metadata_directory_without_a_journal_is_not_guessed(patient):
    """Nothing is mended that might be most of it: the message leads to the copies on the chunk servers."""
    for folder in ["mds", "journal2"]:
        for path in (patient.dir / folder / "journal").iterdir():
            path.unlink()
    shutil.rmtree(patient.dir / "mds" / "rows")
    status, report = patient.fsck("--repair")
    assert status & 4 and not report["clean"]
    assert list((patient.dir / "mds" / "snapshots").iterdir())


# --- any byte, anywhere -------------------------------------------------------------------------------------------

def in_use(p, path):
    """How many bytes from the start of a file mean something."""
    if path.parent.name != "segments":
        return path.stat().st_size
    data = path.read_bytes()
    end = 64
    for at, stored in records(path):
        end = (at + 64 + stored + 7) // 8 * 8
    return len(data) if data[-64:-60] == b"CRNF" else end


def is_padding(path, offset):
    """Between two records of a segment: bytes that nobody reads."""
    return path.parent.name == "segments" and any(
        at + 64 + stored <= offset < (at + 64 + stored + 7) // 8 * 8 for at, stored in records(path))


@pytest.mark.parametrize("seed", range(40 if LONG else 6))
def test_a_few_bytes_anywhere(patient, seed):
    """One to four turned bytes in one file: named, mended as three replicas can, clean the second time."""
    rng = random.Random(seed)
    files = [f for pattern in ["mds/super", "journal2/super", "mds/journal/J-*", "journal2/journal/J-*",
                               "mds/snapshots/S-*", "cs?/super", "cs?/segments/seg-*"]
             for f in patient.dir.glob(pattern)]
    victim = rng.choice(sorted(files))
    length = in_use(patient, victim)
    places = {rng.randrange(length) for _ in range(rng.randint(1, 4))}
    if victim.name == "super":
        places = set(list(places)[:1])
    places = {at for at in places if not is_padding(victim, at)}
    for at in places:
        flip(victim, at)
    status, report = patient.fsck()
    assert status == (4 if places else 0), (victim, places, report["notes"])
    status, report = patient.fsck("--repair")
    assert report["clean"], (victim, places, report["faults"])
    status, report = patient.fsck()
    assert status == 0, (victim, places, report["faults"])


# --- a repair that is interrupted -----------------------------------------------------------------------------------

CHANGES = "renameat,renameat2,unlinkat,ftruncate,fdatasync,fsync,mkdirat"


@pytest.mark.skipif(not shutil.which("strace"), reason="no strace here")
@pytest.mark.parametrize("stage", range(1, 90, 1 if LONG else 11))
def test_a_repair_killed_at_any_stage_is_taken_up(patient, stage):
    """At its n-th change of the disk fsck dies; the next one ends as the first would have."""
    super_garbage(patient)
    journal_payload(patient)
    segment_header(patient)
    segment_gone(patient)
    footer_entry(Patient(patient.dir, True))
    options = ["--metadata", ",".join(map(str, patient.metadata)),
               "--disk", ",".join(str(patient.dir / s) for s in SERVERS), "--scratch", patient.dir, "--repair"]
    killed = subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={CHANGES}",
                             "-e", f"inject={CHANGES}:signal=KILL:when={stage}", BIN / "fsck.cairn", *options],
                            timeout=60, check=False, capture_output=True)
    assert killed.returncode in (-9, 137, 1), killed
    status, report = patient.fsck("--repair")
    assert report["clean"], report["faults"]
    status, report = patient.fsck()
    assert status == 0 and report["checked"]["files"] == 45, report["faults"]
