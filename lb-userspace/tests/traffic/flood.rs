//! A flood of forged packets costs no connection that is in use anything.

mod forged;

use std::collections::BTreeMap;
use std::env;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::client::{KeptConnection, UdpClient, raw_get};
use lab::{Netns, Pod, uninterrupted};

use super::cluster::{Cluster, DATAGRAMS, Endpoint, HTTP, Service};
use forged::{Flood, Kind};

/// Idle TCP connections, half of each family.
const CONNECTIONS: usize = 1_000;
/// Idle UDP sockets, half of each family.
const SOCKETS: usize = 100;
/// Forged packets, unless [`PACKETS_VARIABLE`] says how many.
const PACKETS: u32 = 1_000_000;
const PACKETS_VARIABLE: &str = "LB_FLOOD_PACKETS";
/// How often packets that were lost before they came to the program are made up for.
const ROUNDS: u32 = 10;

/// 1 000 connections and 100 sockets send nothing while a million SYNs, datagrams and segments of no connection, each from an
/// address of its own, leave their own pod and another one. Then each of them goes on.
///
/// A connection that was forgotten would find its backend again by the hash. So the endpoints change meanwhile, and it would
/// not; and the sockets wait for their backend to speak first.
#[test]
fn no_idle_connection_is_lost_to_a_flood() -> Result<()> {
    let packets = match env::var(PACKETS_VARIABLE) {
        Ok(count) => count.parse().context(PACKETS_VARIABLE)?,
        Err(_) => PACKETS,
    };
    raise_file_limit()?;
    // What an agent has without these flags.
    let limits = [
        ("--max-flows", "229376"),
        ("--max-conntrack", "262144"),
        ("--max-transient", "131072"),
    ];
    let builder = Cluster::builder().nodes(1);
    let builder = limits
        .iter()
        .fold(builder, |it, (flag, n)| it.flag(flag, n));
    builder.test(|cluster| {
        let (web, news) = (Service::new("web", 10), Service::new("news", 11));
        let (old, sink) = (cluster.backend(1, "old")?, cluster.client(1, "sink")?);
        let (client, other) = (cluster.client(1, "client")?, cluster.client(1, "other")?);
        let source = cluster.client(1, "source")?;
        cluster.publish(&web, &[Endpoint::of(&old)])?;
        cluster.publish(&news, &[Endpoint::of(&source)])?;
        let mut connections = Connections::open(&client, &web)?;
        let subscriptions = Subscriptions::open(&client, &source, &news)?;

        // Whoever is led there now is led into nothing.
        let node = cluster.lab.node(1).netns.clone();
        swallow(&node, &sink)?;
        cluster.publish(&web, &[Endpoint::of(&sink)])?;
        let before = displaced(&node)?;
        let (sent, took) = flood(cluster, &[&client, &other], &web, packets)?;
        println!(
            "{sent} forged packets in {took:?}, {:.0} a second",
            f64::from(sent) / took.as_secs_f64()
        );

        assert_eq!(connections.answered_by("old"), CONNECTIONS);
        assert_eq!(subscriptions.hear(), SOCKETS);
        // The flood was one: it made far more entries than there is room for, and is told of.
        let after = displaced(&node)?;
        for (table, map) in [("flows_v4", "transient_v4"), ("flows_v6", "transient_v6")] {
            let gone = |name: &str| after[name] - before[name];
            // Half of the packets are of each family. In the LRU map each makes two entries.
            let flows = gone(table) + gone(map) / 2;
            ensure!(
                flows + 229_376 + 65_536 >= u64::from(packets) / 2,
                "{flows} displaced from {table} and {map}"
            );
        }
        for map in ["conntrack_v4", "conntrack_v6"] {
            assert_eq!(after[map], 0, "{map}");
        }
        Ok(())
    })
}

/// TCP connections that have been used once.
struct Connections(Vec<KeptConnection>);

impl Connections {
    fn open(client: &Pod, service: &Service) -> Result<Self> {
        let vips = service.at(HTTP).into_iter().cycle();
        let mut connections = Vec::new();
        for vip in vips.take(CONNECTIONS) {
            let mut connection = KeptConnection::open(&client.netns, vip)?;
            ensure!(connection.request()?.pod == "old", "the only backend");
            connections.push(connection);
        }
        Ok(Self(connections))
    }

    /// How many are answered by this pod when they send a request. Several at a time: those that are not answered wait for seconds.
    fn answered_by(&mut self, pod: &str) -> usize {
        let answered = |connection: &mut KeptConnection| {
            connection.request().is_ok_and(|answer| answer.pod == pod)
        };
        thread::scope(|scope| {
            let share = CONNECTIONS / 50;
            let threads: Vec<_> = self
                .0
                .chunks_mut(share)
                .map(|some| {
                    scope.spawn(move || some.iter_mut().map(answered).filter(|it| *it).count())
                })
                .collect();
            threads
                .into_iter()
                .map(|it| it.join().expect("no panic"))
                .sum()
        })
    }
}

/// UDP sockets that have asked for news and wait for them, and the socket of the backend that knows them.
struct Subscriptions {
    source: UdpSocket,
    clients: Vec<UdpClient>,
    /// The clients as the backend sees them, in the same order.
    peers: Vec<SocketAddr>,
}

impl Subscriptions {
    fn open(client: &Pod, source: &Pod, service: &Service) -> Result<Self> {
        let at = (Ipv6Addr::UNSPECIFIED, DATAGRAMS.target);
        let source = source.netns.run(|| UdpSocket::bind(at))?;
        source.set_read_timeout(Some(Duration::from_secs(5)))?;
        let (mut clients, mut peers) = (Vec::new(), Vec::new());
        let mut buffer = [0; 16];
        for vip in service.at(DATAGRAMS).into_iter().cycle().take(SOCKETS) {
            let client = UdpClient::open(&client.netns, vip)?;
            let socket = client.socket();
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            // The client goes on after the answer: it is a conversation, and no single question.
            for _ in 0..2 {
                socket.send(b"any news?")?;
                let (_, peer) = uninterrupted(|| source.recv_from(&mut buffer))?;
                source.send_to(b"none yet", peer)?;
                uninterrupted(|| socket.recv(&mut buffer))?;
                if peers.len() == clients.len() {
                    peers.push(peer);
                }
            }
            clients.push(client);
        }
        Ok(Self {
            source,
            clients,
            peers,
        })
    }

    /// How many hear what their backend says first, and are heard by it.
    fn hear(&self) -> usize {
        let each = self.clients.iter().zip(&self.peers);
        each.filter(|(client, peer)| {
            let hears = || -> Result<bool> {
                let mut buffer = [0; 16];
                self.source.send_to(b"news", peer)?;
                let heard = uninterrupted(|| client.socket().recv(&mut buffer))?;
                let is_heard = &buffer[..heard] == b"news";
                client.socket().send(b"thanks")?;
                let (_, from) = uninterrupted(|| self.source.recv_from(&mut buffer))?;
                Ok(is_heard && from == **peer)
            };
            hears().unwrap_or(false)
        })
        .count()
    }
}

/// Sends forged packets out of all pods at once until the programs have seen so many, and returns how many that took and how
/// long.
fn flood(
    cluster: &mut Cluster,
    pods: &[&Pod],
    service: &Service,
    packets: u32,
) -> Result<(u32, Duration)> {
    let [http, datagrams] = [service.at(HTTP), service.at(DATAGRAMS)];
    let kinds = |family: usize| {
        let (http, datagrams) = (http[family], datagrams[family]);
        [
            (http, Kind::Syn),
            (datagrams, Kind::Datagram),
            (http, Kind::Ack),
        ]
    };
    let targets = [kinds(0), kinds(1)].concat();
    let mut floods: Vec<Flood> = pods
        .iter()
        .map(|pod| Flood::new(pod, &targets))
        .collect::<Result<_>>()?;
    // Each forged packet begins a flow.
    let seen = |cluster: &mut Cluster| cluster.agent(1).counter("new-flow");
    let before = seen(cluster)?;
    let start = Instant::now();
    let (mut sent, mut took) = (0, Duration::ZERO);
    for _ in 0..ROUNDS {
        let missing = (before + u64::from(packets)).saturating_sub(seen(cluster)?);
        if missing == 0 {
            return Ok((sent, took));
        }
        let begun = Instant::now();
        let share = u32::try_from(missing)?.div_ceil(floods.len() as u32);
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for flood in &mut floods {
                let numbers = sent..sent + share;
                sent += share;
                threads.push(scope.spawn(|| flood.send(numbers)));
            }
            let ended = threads.into_iter().map(|it| it.join().expect("no panic"));
            ended.collect::<Result<()>>()
        })?;
        took += begun.elapsed();
    }
    anyhow::bail!(
        "{sent} packets were sent in {:?} and still fewer than {packets} seen",
        start.elapsed()
    )
}

/// Lets the node drop all that goes to a pod.
fn swallow(node: &Netns, pod: &Pod) -> Result<()> {
    for address in pod.addresses() {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        node.ip(&[
            format!("route del {address}/{bits}"),
            format!("route add blackhole {address}/{bits}"),
        ])?;
    }
    Ok(())
}

/// How many entries each map has displaced, as the agent's metrics tell.
fn displaced(node: &Netns) -> Result<BTreeMap<String, u64>> {
    let text = raw_get(node, ([127, 0, 0, 1], 10_249).into(), "/metrics")?;
    let maps = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("lb_map_displaced_entries{map=\"")?;
        let (map, count) = rest.split_once("\"} ")?;
        Some((map.to_owned(), count.trim().parse().ok()?))
    });
    let maps: BTreeMap<_, _> = maps.collect();
    ensure!(maps.len() >= 4, "{text}");
    Ok(maps)
}

/// Both ends of each connection are sockets of this process.
fn raise_file_limit() -> Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes to the structure, which lives through the call.
    let got = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    ensure!(got == 0, std::io::Error::last_os_error());
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the kernel reads the structure.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    ensure!(set == 0, std::io::Error::last_os_error());
    Ok(())
}
