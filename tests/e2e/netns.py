# SPDX-License-Identifier: Apache-2.0
"""
Clusters whose processes live on hosts of their own: network namespaces, joined by a bridge in one more. A cable
is cut by nftables in the namespace of its host: packets vanish, no connection is reset.

A namespace is held by one sleeping process, and has no name: it goes with its last process, and the veth pairs
and rules with it. So nothing is left behind, however a test ends.
"""
import contextlib
import itertools
import os
import shutil
import signal
import subprocess

import pytest

from conftest import BIN, TIER, Cluster, abort_fuse, eventually, running

NET = "10.97.0"


def needs_namespaces():
    """Skip the test where namespaces or their tools are missing."""
    for program in ("ip", "nft", "unshare", "nsenter"):
        if not shutil.which(program):
            pytest.skip(f"no {program} here")
    if subprocess.run(["unshare", "--net", "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        pytest.skip("network namespaces are not allowed here")


class Host:
    """A network namespace with one address."""

    def __init__(self, number):
        self.address = f"{NET}.{number}"
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL)
        own = os.readlink("/proc/self/ns/net")
        eventually(lambda: self.namespace() not in (own, None), what="a namespace")
        self.run("ip", "link", "set", "lo", "up")

    def namespace(self):
        try:
            return os.readlink(f"/proc/{self.holder.pid}/ns/net")
        except OSError:
            return None

    def command(self, *args):
        return ["nsenter", "-t", str(self.holder.pid), "-n", "--", *map(str, args)]

    def run(self, *args, **options):
        done = subprocess.run(self.command(*args), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=60, check=False, **options)
        assert done.returncode == 0, f"{args}: {done.stdout}"

    def cut(self, *peers, ways=("in", "out")):
        """Lose what comes in, goes out, or both; of these hosts only, or of all."""
        rules = "table inet cut {\n"
        for way, side in (("in", "saddr"), ("out", "daddr")):
            rules += f"chain {way} {{ type filter hook {way}put priority 0;\n"
            if way in ways:
                rules += "".join(f"ip {side} {p.address} drop\n" for p in peers) or f"ip {side} {NET}.0/24 drop\n"
            rules += "}\n"
        self.run("nft", "-f", "-", input=rules + "}\n")

    def heal(self):
        self.run("nft", "flush", "ruleset")

    def end(self):
        self.holder.kill()
        self.holder.wait()


class Network:
    """Hosts on one bridge."""

    def __init__(self):
        self.hosts, self.hub = [], Host(0)
        self.hub.run("ip", "link", "add", "br0", "type", "bridge")
        self.hub.run("ip", "link", "set", "br0", "up")

    def host(self):
        number = len(self.hosts) + 1
        host = Host(number)
        self.hosts.append(host)
        cable = f"v{number}"
        self.hub.run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns",
                     str(host.holder.pid))
        self.hub.run("ip", "link", "set", cable, "master", "br0", "up")
        host.run("ip", "address", "add", f"{host.address}/24", "dev", "eth0")
        host.run("ip", "link", "set", "eth0", "up")
        return host

    def end(self):
        for host in self.hosts + [self.hub]:
            host.end()


class NetCluster(Cluster):
    """As Cluster, but each process runs on its own host: cluster.hosts["cs2"].cut()."""

    def __init__(self, folder, servers=3, copies=3, mounts=1, sets=(), mount_options=""):
        super().__init__(folder)
        self.servers, self.copies, self.mounts = servers, copies, mounts
        # a second line in the file would be one more tier
        self.sets = [*sets] if any(s.startswith("client.tier=") for s in sets) else [TIER, *sets]
        self.mount_options = mount_options
        self.network, self.hosts, self.processes = None, {}, {}

    def up(self, timeout=90):
        self.dir.mkdir()
        self.network = Network()
        names = ["mds"] + [f"cs{i + 1}" for i in range(self.servers)] + \
                [f"client{i + 1}" for i in range(self.mounts)]
        self.hosts = {name: self.network.host() for name in names}
        settings = dict(s.split("=", 1) for s in [f"cluster.mds={self.hosts['mds'].address}:7800", *self.sets])
        (self.dir / "cairn.conf").write_text("".join(
            "[{}]\n{} = {}\n".format(*name.split(".", 1), value) for name, value in settings.items()))
        disks = [a for i in range(self.servers) for a in ("-d", self.dir / f"cs{i + 1}")]
        subprocess.run([BIN / "mkfs.cairn", "-m", self.dir / "mds", *disks, "-c", str(self.copies),
                        "-M", str(min(2, self.copies))], check=True, stdout=subprocess.DEVNULL)
        for name in names:
            self.start(name)
        return self

    def command_of(self, name):
        config, address = ["--config", self.dir / "cairn.conf"], self.hosts[name].address
        if name == "mds":
            return [BIN / "cairn-mds", *config, "--port-file", self.dir / "mds.port",
                    f"--mds-listen={address}:7800", f"--mds-dir={self.dir / 'mds'}"]
        if name.startswith("cs"):
            return [BIN / "cairn-cs", *config, "--port-file", self.dir / f"{name}.port",
                    f"--cs-listen={address}:7801", f"--cs-dirs={self.dir / name}"]
        number = name.removeprefix("client")
        options = f"cache={self.dir / f'cache{number}'}" + (f",{self.mount_options}" if self.mount_options else "")
        return [BIN / "mount.cairn", f"{self.hosts['mds'].address}:7800:/", self.mount_of(number), "--foreground",
                *config, "--pid-file", self.dir / f"{name}.mounted", "-o", options]

    def mount_of(self, number):
        return self.dir / f"mnt{number}"

    def start(self, name):
        sign = self.dir / (f"{name}.mounted" if name.startswith("client") else f"{name}.port")
        sign.unlink(missing_ok=True)
        if name.startswith("client"):
            abort_fuse(str(self.mount_of(name[6:])))
            subprocess.run(["umount", "-l", self.mount_of(name[6:])], stderr=subprocess.DEVNULL, check=False)
            self.mount_of(name[6:]).mkdir(exist_ok=True)
        with open(self.dir / f"{name}.log", "ab") as log:
            process = subprocess.Popen(self.hosts[name].command(*self.command_of(name)), stdin=subprocess.DEVNULL,
                                       stdout=log, stderr=log)
        self.processes[name] = process
        (self.dir / f"{name}.pid").write_text(str(process.pid))

        def ready():
            assert process.poll() is None, f"{name} ended: {self.logs()}"
            return sign.exists()
        eventually(ready, 60, f"start of {name}")

    def stop(self, name):
        process = self.processes.pop(name)
        process.terminate()
        process.wait(60)

    def cairn(self, *args, check=True, timeout=60):
        done = subprocess.run(self.hosts["mds"].command(BIN / "cairn", *args), env=self.env, text=True,
                              timeout=timeout, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        assert not check or done.returncode == 0, f"cairn {args}: {done.stdout}{done.stderr}{self.logs()}"
        return done

    def down(self, timeout=90):
        for host in self.hosts.values():
            host.heal()
        for name in sorted(self.processes):         # clients first, the metadata server last
            self.stop(name)
        return 0

    def destroy(self):
        super().destroy()
        for process in self.processes.values():
            process.kill()
            process.wait(10)
        self.processes = {}
        if self.network:
            self.network.end()
        self.network = None


# What may happen to a server, and how it ends: {name: (strike, mend)}, each called with cluster and name.
FAULTS = {
    "kill": (lambda c, name: c.kill(name), lambda c, name: c.start(name)),
    "stop": (lambda c, name: c.kill(name, signal.SIGSTOP), lambda c, name: c.kill(name, signal.SIGCONT)),
    "cut": (lambda c, name: c.hosts[name].cut(), lambda c, name: c.hosts[name].heal()),
    "cut-in": (lambda c, name: c.hosts[name].cut(ways=["in"]), lambda c, name: c.hosts[name].heal()),
    "cut-out": (lambda c, name: c.hosts[name].cut(ways=["out"]), lambda c, name: c.hosts[name].heal()),
}


@pytest.fixture
def make_net_cluster(tmp_path):
    """make_net_cluster(servers=3, mounts=1, sets=[...]) -> a running NetCluster; import it from here."""
    needs_namespaces()
    with contextlib.ExitStack() as made:
        numbers = itertools.count(1)
        yield lambda **options: made.enter_context(running(NetCluster(tmp_path / f"net{next(numbers)}", **options)))
