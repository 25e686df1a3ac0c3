# SPDX-License-Identifier: Apache-2.0
"""Chunk servers come and go: what an administrator sees and sets, and that no byte goes with them."""
import json
import subprocess
import sys

from conftest import NO_TIER, MiB, eventually, seeded_bytes

QUICK = ["server.suspect_ms=600ms", "server.down_ms=1200ms", "server.out_ms=2500ms", "server.heartbeat_ms=200ms",
         NO_TIER]


def server(cluster, number):
    return next(s for s in cluster.status()["servers"] if s["server"] == number)


def await_state(cluster, number, state):
    eventually(lambda: server(cluster, number)["state"] == state, 30, f"server {number} being {state}")


def codes(cluster):
    return {w["code"] for w in cluster.status()["warnings"]}


def heal(cluster):
    """Until nothing is under way; what JSON tells in the end."""
    done = cluster.cairn("heal", "--wait", 60, "--json", timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def write(cluster, name, seed, size=MiB(8)):
    (cluster.mnt / name).write_bytes(seeded_bytes(size, seed))


def check(cluster, name, seed, size=MiB(8)):
    assert (cluster.mnt / name).read_bytes() == seeded_bytes(size, seed), name


def number_of(cluster, name):
    """The n-th process to join is not always the n-th server."""
    port = json.loads((cluster.dir / "cluster.json").read_text())["servers"][int(name[2:]) - 1]["port"]
    return next(s["server"] for s in cluster.status()["servers"] if s["address"].endswith(f":{port}"))


def test_a_silent_server_goes_out_and_catches_up_when_it_is_back(make_cluster):
    cluster = make_cluster(sets=QUICK + ["server.out_ms=4s"])
    write(cluster, "before", 1)
    three = number_of(cluster, "cs3")
    cluster.kill("cs3")

    def status_with(code):
        status = cluster.status()
        return code in {w["code"] for w in status["warnings"]} and status

    down = eventually(lambda: status_with("server_down"), what="a warning")
    assert [s["state"] for s in down["servers"] if s["server"] == three] == ["down"]
    status = eventually(lambda: status_with("server_out"), what="a warning")
    assert server(cluster, three)["state"] == "out"
    assert not status["healthy"] and status["pgs"]["healing"] == 0 and not status["writes_wait"]
    said = next(w["text"] for w in status["warnings"] if w["code"] == "server_out")
    assert f"server {three} " in said and "silent for" in said and "remove" in said
    write(cluster, "while it was out", 2)
    cluster.start("cs3")
    await_state(cluster, three, "up")
    assert heal(cluster)["pending_blocks"] == 0
    eventually(lambda: cluster.status()["healthy"], 20, "health")
    cluster.kill("cs1")
    cluster.remount()
    check(cluster, "before", 1)
    check(cluster, "while it was out", 2)
    cluster.start("cs1")
    eventually(lambda: cluster.status()["healthy"], 30, "health")


def test_a_drained_server_gives_its_share_away_and_can_be_removed(make_cluster):
    cluster = make_cluster(servers=4, copies=3, sets=QUICK)
    write(cluster, "f", 1)
    four = number_of(cluster, "cs4")
    refused = cluster.cairn("remove", four, check=False)
    assert refused.returncode == 1 and f"server {four} has a copy of" in refused.stderr and "drain" in refused.stderr
    assert cluster.cairn("remove", "--force", four, check=False).returncode == 1    # it is there
    assert "drained" in cluster.cairn("drain", four).stdout
    assert server(cluster, four)["state"] == "drained"
    heal(cluster)
    eventually(lambda: server(cluster, four)["pgs_former"] == 0, 20, "the drained server being merged")
    assert server(cluster, four)["pgs"] == 0
    eventually(lambda: cluster.status()["healthy"], 20, "health")
    cluster.cairn("remove", f"cs{four}")
    cluster.stop("cs4")
    cluster.remount()
    check(cluster, "f", 1)
    assert server(cluster, four)["state"] == "removed"
    eventually(lambda: cluster.status()["healthy"], 20, "health")
    again = cluster.cairn("drain", "--undo", four, check=False)
    assert again.returncode == 1 and "was removed" in again.stderr


def test_a_drain_is_taken_back(make_cluster):
    cluster = make_cluster(servers=4, copies=3, sets=QUICK)
    write(cluster, "f", 1)
    cluster.cairn("drain", 4)
    heal(cluster)
    cluster.cairn("drain", 4, "--undo")
    heal(cluster)
    eventually(lambda: cluster.status()["healthy"], 20, "health")
    assert server(cluster, 4)["pgs"] > 2000
    check(cluster, "f", 1)


def test_a_server_that_is_gone_for_good_is_healed_away(make_cluster):
    cluster = make_cluster(servers=4, copies=3, sets=QUICK)
    write(cluster, "f", 1)
    two = number_of(cluster, "cs2")
    cluster.kill("cs2")
    await_state(cluster, two, "out")
    heal(cluster)
    eventually(lambda: cluster.status()["healthy"], 30, "all copies on the other three")
    refused = cluster.cairn("remove", two, check=False)
    assert refused.returncode == 1 and "gone for good" in refused.stderr
    cluster.cairn("remove", "--force", two)
    heal(cluster)
    eventually(lambda: cluster.status()["healthy"], 20, "health")
    assert "server_out" not in codes(cluster)
    cluster.remount()
    check(cluster, "f", 1)


def test_writes_wait_for_enough_servers_and_say_so(make_cluster):
    cluster = make_cluster(sets=QUICK + ["server.out_ms=60s"])
    write(cluster, "f", 1)
    cluster.kill("cs1")
    cluster.kill("cs2")
    eventually(lambda: cluster.status()["writes_wait"], 20, "writes that wait")
    assert {"writes_wait", "few_servers"} <= codes(cluster)
    writer = subprocess.Popen([sys.executable, "-c", "import sys; f = open(sys.argv[1], 'wb'); "
                               "f.write(bytes(range(256)) * 4096); f.close()", str(cluster.mnt / "late")])
    cluster.start("cs1")
    assert writer.wait(60) == 0
    cluster.start("cs2")
    heal(cluster)
    eventually(lambda: cluster.status()["healthy"], 30, "health")
    assert not cluster.status()["writes_wait"]
    assert (cluster.mnt / "late").read_bytes() == bytes(range(256)) * 4096


def test_too_few_servers_are_not_drained_by_mistake(make_cluster):
    cluster = make_cluster(sets=QUICK)
    cluster.cairn("drain", 1)
    refused = cluster.cairn("drain", 2, check=False)
    assert refused.returncode == 1 and "too few servers" in refused.stderr
    assert cluster.cairn("drain", 9, check=False).stderr == "cairn drain: there is no server 9\n"
    assert cluster.cairn("drain", "x", check=False).returncode == 2
    assert cluster.cairn("remove", check=False).returncode == 2
