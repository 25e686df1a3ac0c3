# SPDX-License-Identifier: Apache-2.0
"""cairn df PATH and cairn stat: what files take, against what was written."""
import json
import os
import subprocess

import pytest

from conftest import NO_TIER, MiB, eventually, seeded_bytes


def df(cluster, *args):
    done = cluster.cairn("df", *args, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def by_name(report):
    return {group["name"]: group for group in report["groups"]}


def stored(report):
    return report["stored"]["bytes"] + report["manifests"]["bytes"]


def safetensors(tensors):
    """The bytes of a model: name -> (dtype, bytes of the tensor)."""
    header, at = {}, 0
    for name, (dtype, content) in tensors.items():
        width = {"F32": 4, "BF16": 2}[dtype]
        header[name] = {"dtype": dtype, "shape": [len(content) // width], "data_offsets": [at, at + len(content)]}
        at += len(content)
    head = json.dumps(header).encode()
    return len(head).to_bytes(8, "little") + head + b"".join(content for _, content in tensors.values())


def make_tree(cluster):
    """Two folders that share a model; text that shrinks; a hole; a small file; a second name."""
    top = cluster.mnt / "top"
    for name in ["a", "b"]:
        (top / name).mkdir(parents=True)
    model = seeded_bytes(MiB(2), 1)
    (top / "a/m.bin").write_bytes(model)
    (top / "a/own.bin").write_bytes(seeded_bytes(MiB(1), 2))
    (top / "b/copy.bin").write_bytes(model)
    (top / "b/again.bin").hardlink_to(top / "b/copy.bin")
    (top / "b/words.txt").write_bytes(b"what is said often takes little room\n" * 10000)
    (top / "b/small.txt").write_bytes(b"x" * 100)
    with open(top / "hole", "wb") as f:
        f.truncate(MiB(4))
        f.write(seeded_bytes(65536, 3))
    return top


def test_df_of_a_tree_tells_what_was_written(make_cluster):
    cluster = make_cluster(sets=[NO_TIER])
    top = make_tree(cluster)
    text, small, grain = 37 * 10000, 100, 65536
    report = df(cluster, top, "--by", "dir")
    assert (report["files"], report["names_again"], report["sample"]["rate"]) == (6, 1, 1.0)
    assert report["bytes_logical"] == MiB(5) + text + small + MiB(4)
    assert (report["bytes_holes"], report["bytes_inline"]) == (MiB(4) - grain, small)
    unique = MiB(3) + text + grain # no block of the text begins with the same letter as another
    assert report["unique"] == {"bytes": unique, "bound": 0}
    assert report["ratio"]["dedup"] == pytest.approx((MiB(5) + text + grain) / unique, rel=1e-4)
    groups = by_name(report)
    assert sorted(groups) == [".", "a", "b"]
    assert groups["a"]["own"]["bytes"] == MiB(1) and groups["a"]["unique"]["bytes"] == MiB(3)
    assert groups["b"]["files"] == 3 and groups["b"]["own"]["bytes"] == text
    (pair,) = report["shared"]
    assert (sorted(pair["groups"]), pair["bytes"], pair["bound"]) == (["a", "b"], MiB(2), 0)
    # Three servers, three copies; nothing was deleted, so all that they hold is of the tree.
    eventually(lambda: stored(df(cluster, top)) == cluster.status()["bytes_stored"], what="the servers' own count")
    people = cluster.cairn("df", top, "--by", "dir").stdout
    assert "share 2.0 MiB" in people


def test_df_by_dtype_looks_into_models(make_cluster):
    cluster = make_cluster(sets=[NO_TIER])
    top = cluster.mnt / "top"
    top.mkdir()
    norm = seeded_bytes(MiB(1), 1)
    (top / "m.safetensors").write_bytes(safetensors({"w": ("F32", norm), "v": ("BF16", seeded_bytes(MiB(2), 2))}))
    (top / "other.bin").write_bytes(seeded_bytes(MiB(1), 3))
    groups = by_name(df(cluster, top, "--by", "dtype"))
    assert sorted(groups) == ["(no tensor)", "bf16", "f32"]
    for name, size in [("f32", 1), ("bf16", 2), ("(no tensor)", 1)]: # a block may be of two
        assert abs(groups[name]["bytes_logical"] - MiB(size)) <= 65536
    assert groups["f32"]["files"] == groups["bf16"]["files"] == 1


def test_df_asks_what_another_codec_would_store(make_cluster):
    cluster = make_cluster(sets=[NO_TIER, "client.codec=raw"])
    top = make_tree(cluster)
    eventually(lambda: cluster.fsck("--live").returncode == 0, what="every copy")   # a close waits for two of three
    raw = df(cluster, top, "--by", "type")
    report = df(cluster, top, "--by", "type", "--what-if", "zstd")
    words, noise = by_name(report)["txt"], by_name(report)["bin"]
    assert words["what_if"]["bytes"] < words["stored"]["bytes"] / 20
    assert noise["what_if"]["bytes"] == noise["stored"]["bytes"]
    assert report["what_if"]["bytes"] < raw["stored"]["bytes"] == report["stored"]["bytes"]
    assert report["what_if"]["bound"] == 0 # every block was tried
    assert cluster.cairn("df", top, "--what-if", "rar", check=False).returncode == 2


def test_a_sample_says_how_far_it_may_be_off(make_cluster):
    """A bound of two standard errors: of these seeds nearly all keep it, and the sum of a sample is never exact."""
    cluster = make_cluster(sets=[NO_TIER])
    top = cluster.mnt / "top"
    top.mkdir()
    for i in range(20):
        (top / f"{i}.bin").write_bytes(seeded_bytes(MiB(1), i))
    kept = 0
    for seed in range(12):
        report = df(cluster, top, "--sample", 64, "--seed", seed)
        assert report["sample"]["blocks"] <= 64 and report["sample"]["rate"] < 1
        assert report["bytes_logical"] == MiB(20)
        kept += abs(report["unique"]["bytes"] - MiB(20)) <= report["unique"]["bound"]
    assert kept >= 10
    assert "One block of" in cluster.cairn("df", top, "--sample", 64).stdout


def test_df_walks_a_tree_that_changes(make_cluster):
    cluster = make_cluster(sets=[NO_TIER])
    top = cluster.mnt / "top"
    top.mkdir()
    (top / "stays.bin").write_bytes(seeded_bytes(MiB(1), 1))
    (top / "go").touch()
    churn = subprocess.Popen(["sh", "-c", """cd "$0"; while [ -e go ]; do
        head -c 200000 /dev/urandom >new; mkdir d; mv new d/x; rm -r d; done""", top])
    try:
        for _ in range(6):
            report = df(cluster, top)
            assert report["unreadable"] == 0
            assert report["unique"]["bytes"] >= MiB(1)
    finally:
        (top / "go").unlink()
        churn.wait(30)


def test_df_asks_for_a_page_of_files_at_once(make_cluster):
    """Each name comes with its attributes; what somebody has open for writing is asked for alone."""
    cluster = make_cluster(sets=[NO_TIER])
    top, count = cluster.mnt / "top", 600  # more than a page
    (top / "below").mkdir(parents=True)
    for i in range(count):
        (top / f"{i}").write_bytes(b"x" * (i % 7))
    (top / "below/model").write_bytes(seeded_bytes(MiB(1), 1))
    with open(top / "open", "wb") as f:
        f.write(b"x" * 1000)
        f.flush()
        report = df(cluster, top)
    assert report["files"] == count + 2
    assert report["bytes_logical"] == sum(i % 7 for i in range(count)) + MiB(1) + 1000


def stat(cluster, *args):
    """Once every block has all its copies: a close waits for two of three."""
    done = eventually(lambda: (lambda d: d if d.returncode == 0 else None)(
        cluster.cairn("stat", "--json", *args, check=False)), what="every copy")
    (report,) = json.loads(done.stdout)
    return report


def test_stat_says_what_a_file_is_made_of_and_who_shares_it(make_cluster):
    cluster = make_cluster(sets=[NO_TIER])
    top = cluster.mnt / "top"
    (top / "deep").mkdir(parents=True)
    model = safetensors({"w": ("F32", seeded_bytes(MiB(1), 1)), "v": ("BF16", seeded_bytes(MiB(1), 2))})
    (top / "m.safetensors").write_bytes(model)
    (top / "same.safetensors").write_bytes(model)
    (top / "half").write_bytes(model[:MiB(1)] + seeded_bytes(MiB(1), 3))
    (top / "other").write_bytes(seeded_bytes(MiB(1), 4))
    (top / "deep/copy").write_bytes(model)
    report = stat(cluster, top / "m.safetensors")
    assert (report["bytes_plain"], report["bytes_unique"], report["bytes_shared"]) == (len(model), len(model), 0)
    assert (report["format"], report["tensors"], report["cut"]) == ("safetensors", 2, "content")
    assert abs(report["dtypes"]["f32"] - MiB(1)) <= 65536 and abs(report["dtypes"]["bf16"] - MiB(1)) <= 65536
    assert sum(codec["copies"] for codec in report["codecs"].values()) == 3 * report["blocks"]
    beside = report["shared"]
    assert [f["path"] for f in beside["files"]] == ["same.safetensors", "half"]
    assert beside["files"][0]["bytes"] == len(model)
    assert MiB(1) - 2 * 65536 <= beside["files"][1]["bytes"] <= MiB(1) # up to a block that ends elsewhere
    assert (beside["searched"], beside["sharing"], beside["bytes"]) == (3, 2, len(model))
    below = stat(cluster, "--among", cluster.mnt, "--top", 1, top / "m.safetensors")["shared"]
    assert (below["searched"], below["sharing"], len(below["files"])) == (4, 3, 1)
    people = cluster.cairn("stat", "--blocks", top / "m.safetensors").stdout
    assert "same.safetensors" in people and "bf16" in people and "cut by content" in people


def test_stat_knows_holes_and_what_repeats(make_cluster):
    cluster = make_cluster(sets=[NO_TIER])
    piece = seeded_bytes(MiB(1), 1)
    with open(cluster.mnt / "f", "wb") as f:
        f.write(piece + piece)
        f.seek(MiB(4))
        f.write(piece)
    report = stat(cluster, cluster.mnt / "f")
    # A block may end in the hole, as zeros; and what repeats lies in equal blocks behind its first anchor.
    assert report["size"] == MiB(5) == report["bytes_holes"] + report["bytes_plain"]
    assert MiB(2) - 2 * 65536 <= report["bytes_holes"] <= MiB(2)
    assert report["bytes_unique"] + report["bytes_shared"] == report["bytes_plain"] and report["bytes_shared"] >= MiB(1) // 2
    rough = stat(cluster, "--sample", 16, cluster.mnt / "f")
    assert rough["rate"] < 1 and rough["blocks"] == report["blocks"]


def settled(cluster, top):
    """What the servers hold is what the tree takes: nothing is left of what was replaced."""
    def agrees():
        report, status = df(cluster, top), cluster.status()
        return stored(report) == status["bytes_stored"] and (report, status)

    return eventually(agrees, 60, "the servers' own count")


def test_the_status_stays_true(make_cluster):
    """Cut anew, encoded anew, removed and collected: what is told is what a walk of the tree finds."""
    cluster = make_cluster(sets=[NO_TIER, "client.codec=auto", "client.seal_ms=0", "cs.reencode=no", "cs.scrub_period=0"])
    top = cluster.mnt
    noise = bytearray(seeded_bytes(MiB(4), 1))
    noise[1::2] = bytes(0x3c | (b & 1) for b in noise[1::2]) # numbers of bf16 whose exponents say little
    (top / "m.safetensors").write_bytes(safetensors({"w": ("BF16", bytes(noise))}))
    (top / "again.safetensors").write_bytes(safetensors({"renamed": ("BF16", bytes(noise))}))
    (top / "gone.bin").write_bytes(seeded_bytes(MiB(1), 2))
    (top / "small").write_bytes(b"x" * 100)
    report, _ = settled(cluster, top)
    before = report["ratio"]
    cluster.cairn("seal", top / "m.safetensors", top / "again.safetensors")
    (top / "gone.bin").unlink()
    cluster.cairn("gc", "--now", timeout=120)
    report, status = settled(cluster, top)
    assert report["ratio"]["dedup"] > 1.9 and status["ratio"]["dedup"] == pytest.approx(report["ratio"]["dedup"], rel=0.02)
    assert status["bytes_logical"] == report["bytes_logical"] and status["files"] == 3
    cluster.cairn("reencode", "--now", "--wait", timeout=120)
    report, status = settled(cluster, top)
    assert report["ratio"]["codec"] > before["codec"] and report["ratio"]["codec"] > 1.3
    assert status["ratio"]["codec"] == pytest.approx(report["ratio"]["codec"], rel=0.02)
    assert by_name(df(cluster, top, "--by", "codec"))["planes"]["stored"]["bytes"] > status["bytes_stored"] / 2
    assert stat(cluster, top / "m.safetensors")["cut"] == "content"
    free = os.statvfs(top)
    assert free.f_blocks * free.f_frsize >= status["bytes_free"] // 3 # full copies, whatever codecs save
