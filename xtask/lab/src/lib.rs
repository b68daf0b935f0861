//! Network namespaces as nodes, pods and outside clients: real packets for integration tests and for the demo.
//!
//! It knows nothing of Services, BPF or Kubernetes: it makes a network such as a CNI would leave behind, servers that
//! say who they are, and clients that count. It makes no device, route or address in the machine's own network.
//!
//! # A test
//!
//! ```no_run
//! lab::sandbox!(); // once per test binary, at file level: the process becomes private before `main`
//!
//! use lab::{Cni, Lab, client};
//!
//! #[test]
//! fn a_pod_reaches_a_pod_on_the_other_node() -> anyhow::Result<()> {
//!     let lab = Lab::builder().nodes(2).cni(Cni::Bridge).build()?;
//!     let server = lab.node(2).add_pod("backend-1")?;
//!     server.serve_http(80)?; // lives as long as the pod
//!     let client = lab.node(1).add_pod("client")?;
//!     for address in server.addresses() {
//!         let answer = client::http_get(&client.netns, (address, 80).into())?;
//!         assert_eq!(answer.pod, "backend-1");
//!     }
//!     assert_eq!(lab::checksum_errors(&client.netns)?, 0);
//!     Ok(())
//! }
//! ```
//!
//! Tests of one binary may run in parallel: each [`Lab`] has its own prefix for namespace names. Without root,
//! [`LabBuilder::build`] fails with a sentence that says so; nothing is skipped.
//!
//! # A program
//!
//! `main` calls [`Sandbox::enter`] before it starts a thread. A lab that is to stay up after the program calls
//! [`Sandbox::keep`] with a prefix instead; `ip netns exec PREFIXnode1 …` then works from any shell, and
//! [`Sandbox::teardown`] with the same prefix removes it, from any process. In both, a real server is
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! # let lab = lab::Lab::builder().build()?;
//! # let pod = lab.node(1).add_pod("web")?;
//! let mut nginx = pod.netns.command("nginx");
//! nginx.args(["-g", "daemon off;"]).private_dir("/run").private_dir("/var/lib/nginx").private_dir("/var/log/nginx");
//! let nginx = nginx.spawn()?; // killed when dropped; `detach` leaves it to the pod
//! let mut curl = pod.netns.command("curl");
//! let output = curl.args(["-sf", "http://backend"]).resolver("10.96.0.53".parse()?, &["default.svc"]).output()?;
//! # Ok(())
//! # }
//! ```
//!
//! # What there is
//!
//! | | |
//! |---|---|
//! | [`sandbox!`], [`Sandbox`] | makes the process private (mounts, network), or keeps a lab up across processes |
//! | [`Lab`], [`Node`], [`Pod`], [`Host`] | the topology below |
//! | [`Netns`] | one namespace: [`run`](Netns::run) code, [`command`](Netns::command) programs, [`ip`](Netns::ip), sysctls |
//! | [`Command`], [`Process`] | programs in a namespace with their own mounts; none outlives the lab |
//! | [`Cgroup`] | a control group of one test: [`run`](Cgroup::run) code whose sockets belong to it |
//! | [`Device`] | checksum offload, MTU, MAC, index of one device |
//! | [`Server`] | HTTP, UDP, SCTP and stream servers that answer with the pod's name |
//! | [`client`] | single requests, kept connections, streams, [`client::Load`] and [`client::http_many`] |
//! | [`PacketSocket`] | raw frames in and out of one device |
//! | [`FrameSender`] | raw frames out of one device, hundreds of thousands a second |
//! | [`RawSocket`] | packets of one IP protocol in and out of a namespace |
//! | [`checksum_errors`], [`counters`] | what the kernel counted in a namespace |
//! | [`wait_until`], [`wait_for`] | poll a condition up to a deadline |
//!
//! # The network
//!
//! ```text
//!                      switch: bridge br0
//!        ┌──────────────────┼──────────────────────┐
//!      eth0               eth0                   eth0
//!   node1 .1           node2 .2               outside .254      192.168.50.N, fd00:50::N
//!   │  host devices    │                       the nodes' default gateway; forwards nothing
//!  pods 10.244.1.x    pods 10.244.2.x
//!       fd00:10:244:1::x    fd00:10:244:2::x
//! ```
//!
//! Nodes forward, filter by reverse path strictly (`rp_filter=1`) and route each other's pod ranges. VIPs
//! ([`VIPS_V4`], [`VIPS_V6`]) are routed by nobody: a packet for one that nothing translates ends at `outside`.
//! Duplicate address detection is off everywhere, so addresses work at once.
//!
//! # What goes away, and when
//!
//! In a private sandbox namespace names, bpffs and every mount live in the process's own mount namespace, and programs
//! in a PID namespace whose first process dies with this one: however it ends, `SIGKILL` included, nothing remains.
//! Servers and sockets are ordinary objects; dropping them closes them.
//!
//! `/sys` is left as it is everywhere (so `/sys/class/net` shows the machine's devices: ask [`Device`] instead), the
//! private bpffs is at [`Sandbox::bpffs`], and the sandbox has a `/run` of its own, empty at first.

mod cgroup;
mod command_line;
mod counters;
mod device;
mod frame_sender;
mod interrupted;
mod netns;
mod packet_socket;
mod process;
mod raw_socket;
mod sandbox;
mod sctp;
mod server;
mod topology;
mod wait;

pub mod client;

pub use cgroup::Cgroup;
pub use counters::{checksum_errors, counters};
pub use device::Device;
pub use frame_sender::FrameSender;
pub use interrupted::uninterrupted;
pub use netns::Netns;
pub use packet_socket::{Frame, PacketSocket};
pub use process::{Command, Process};
pub use raw_socket::RawSocket;
pub use sandbox::{Sandbox, Teardown};
pub use server::Server;
pub use topology::{Cni, Host, Lab, LabBuilder, Node, Pod, VIPS_V4, VIPS_V6};
pub use wait::{wait_for, wait_until};
