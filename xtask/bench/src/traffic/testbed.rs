//! Two nodes joined by a veth, a client's pod on the first, and a backend's pod on each. Every data plane has one of its own,
//! so that all of them can be measured in turn.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Cgroup, Lab, Netns, Node, Pod, Process, Sandbox, counters};

use super::client::Sample;
use super::mode::{Place, Workload};
use super::server::READY;
use super::socket::pin;

/// What the client and the servers need, and no data plane yet.
pub struct Testbed {
    // Dropped in this order: processes before namespaces and groups.
    servers: Vec<Process>,
    client: Pod,
    backends: [Pod; 2],
    lab: Lab,
    /// The first node's and the second one's: whoever is in a pod of the node is in its group.
    cgroups: [Cgroup; 2],
    cpu: usize,
}

impl Testbed {
    /// Makes it. The servers listen when it returns; `name` is its own.
    ///
    /// # Errors
    /// When something of it cannot be made.
    pub fn build(name: &str, cpu: usize) -> Result<Testbed> {
        let lab = Lab::builder().nodes(2).build()?;
        join(&lab)?;
        let cgroups = [
            Cgroup::create(&format!("{name}-1"))?,
            Cgroup::create(&format!("{name}-2"))?,
        ];
        let client = lab.node(1).add_pod("client")?;
        // A connection for each request leaves as many that wait for their end.
        client.netns.set_sysctls(&[
            ("ipv4/ip_local_port_range", "1024 65535"),
            ("ipv4/tcp_tw_reuse", "1"),
        ])?;
        let backends = [lab.node(1).add_pod("near")?, lab.node(2).add_pod("far")?];
        let servers = backends
            .iter()
            .zip(&cgroups)
            .map(|(pod, cgroup)| serve(pod, cgroup, cpu))
            .collect::<Result<_>>()?;
        Ok(Testbed {
            servers,
            client,
            backends,
            lab,
            cgroups,
            cpu,
        })
    }

    /// A node, 1 or 2.
    pub fn node(&self, number: usize) -> &Node {
        self.lab.node(number)
    }

    /// The group of a node's pods, 1 or 2.
    pub fn cgroup(&self, number: usize) -> &Cgroup {
        &self.cgroups[number - 1]
    }

    /// The pod that asks.
    pub fn client(&self) -> &Pod {
        &self.client
    }

    /// The pod that answers.
    pub fn backend(&self, place: Place) -> &Pod {
        &self.backends[place as usize]
    }

    /// Measures once, from the client's pod.
    ///
    /// # Errors
    /// Those of [`Workload::measure`].
    pub fn measure(&self, workload: Workload, to: IpAddr, time: Duration) -> Result<Sample> {
        let at = SocketAddr::new(to, workload.port());
        self.cgroup(1).run(|| {
            self.client.netns.run(|| {
                pin(self.cpu)?;
                workload.measure(at, time)
            })
        })
    }

    /// How many IPv4 packets the stack of each node has forwarded.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn forwarded(&self) -> Result<[u64; 2]> {
        let of = |number| counter(&self.node(number).netns, "Ip.ForwDatagrams");
        Ok([of(1)?, of(2)?])
    }

    /// How many TCP segments the three pods have sent again.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn retransmitted(&self) -> Result<u64> {
        let mut sum = 0;
        for pod in self.pods() {
            sum += counter(&pod.netns, "Tcp.RetransSegs")?;
        }
        Ok(sum)
    }

    /// Fails if a pod has counted a wrong checksum.
    ///
    /// # Errors
    /// Then, or when the counters cannot be read.
    pub fn assert_no_checksum_errors(&self) -> Result<()> {
        for pod in self.pods() {
            let errors = lab::checksum_errors(&pod.netns)?;
            ensure!(errors == 0, "{} counted {errors} wrong checksums", pod.name);
        }
        Ok(())
    }

    fn pods(&self) -> impl Iterator<Item = &Pod> {
        std::iter::once(&self.client).chain(&self.backends)
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        for server in &mut self.servers {
            // One that has ended already is what is wanted.
            let _ = server.kill();
        }
    }
}

/// Takes the nodes from the switch and puts a veth between them: a bridge would be a part of what is measured. Each is the
/// other's gateway for everything, so that a data plane finds an uplink.
fn join(lab: &Lab) -> Result<()> {
    let names = [1, 2].map(|number| lab.node(number).name.as_str());
    let unplug: Vec<String> = names
        .iter()
        .map(|name| format!("link del {name}"))
        .collect();
    lab.switch().ip(&unplug)?;
    let peer = lab.node(2).netns.name();
    lab.node(1).netns.ip(&[format!(
        "link add name eth0 mtu 1500 type veth peer name eth0 mtu 1500 netns {peer}"
    )])?;
    for (own, other) in [(1, 2), (2, 1)] {
        let (own, other) = (lab.node(own), lab.node(other));
        own.netns.ip(&[
            format!("addr add {}/24 dev eth0", own.ipv4),
            format!("addr add {}/64 dev eth0 nodad", own.ipv6),
            "link set eth0 up".to_owned(),
        ])?;
        let [v4, v6] = other.pod_cidrs();
        own.netns.ip(&[
            format!("route add {v4} via {}", other.ipv4),
            format!("route add {v6} via {} dev eth0", other.ipv6),
            format!("route add default via {}", other.ipv4),
            format!("route add default via {} dev eth0", other.ipv6),
        ])?;
    }
    for number in [1, 2] {
        lab.node(number).uplink().wait_running()?;
    }
    Ok(())
}

/// Starts this very program as the server of a pod.
fn serve(pod: &Pod, cgroup: &Cgroup, cpu: usize) -> Result<Process> {
    let own = std::env::current_exe().context("this program's own file")?;
    let mut command = pod.netns.command(&own.to_string_lossy());
    command
        .args(["traffic-server", "--cpu", &cpu.to_string()])
        .cgroup(cgroup.path())
        .stdout(Stdio::piped());
    let mut server = command.spawn()?;
    let output = server.take_stdout().context("a pipe")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    ensure!(
        line.trim() == READY,
        "the server in {} does not listen",
        pod.name
    );
    Ok(server)
}

fn counter(netns: &Netns, name: &str) -> Result<u64> {
    let all = counters(netns)?;
    all.get(name)
        .copied()
        .with_context(|| format!("the kernel does not count {name}"))
}

/// A directory for files of one testbed's, and one for pins.
///
/// # Errors
/// When one cannot be made.
pub fn directories(name: &str) -> Result<[std::path::PathBuf; 2]> {
    let sandbox = Sandbox::current()?;
    let both = [sandbox.directory().join(name), sandbox.bpffs().join(name)];
    for path in &both {
        fs::create_dir_all(path).with_context(|| path.display().to_string())?;
    }
    Ok(both)
}
