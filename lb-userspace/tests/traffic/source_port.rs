//! A client that speaks from one port of its choice to two VIPs, behind both of which is the same pod.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::client::{self, KeptConnection};
use lab::{Netns, uninterrupted};
use socket2::{Domain, Socket, Type};

use super::cluster::{Cluster, DATAGRAMS, Endpoint, HTTP, Port, STREAMS, Service};
use super::on_both_cnis;

const PATIENCE: Duration = Duration::from_secs(5);

on_both_cnis! {
    fn connections_of_one_port_to_two_vips_with_one_backend_live_side_by_side(builder) {
        builder.test(|cluster| {
            let client = cluster.client(1, "client")?;
            let mut connections = 0;
            for vips in two_vips(cluster, HTTP)? {
                let mut both = Vec::new();
                for vip in vips {
                    both.push(connect(&client.netns, vip, 40_000)?);
                }
                for _ in 0..3 {
                    let mut ports = Vec::new();
                    for connection in &mut both {
                        let answer = connection.request()?;
                        ensure!(answer.local.port() == 40_000, "{answer:?}");
                        ensure!(answer.peer.ip() == answer.local.ip(), "S-40: {answer:?}");
                        ports.push(answer.peer.port());
                    }
                    ensure!(ports[0] == 40_000 && ports[1] != 40_000, "{vips:?}: the pod sees {ports:?}");
                    shown(cluster, vips[1], ports[1])?;
                }
                connections += 1;
            }
            for vips in two_vips(cluster, STREAMS)? {
                let end = Instant::now() + Duration::from_secs(30);
                let streams = [40_001; 2].into_iter().zip(vips).map(|(port, vip)| connect(&client.netns, vip, port));
                let streams = streams.collect::<Result<Vec<_>>>()?;
                thread::scope(|scope| {
                    let run = |connection| scope.spawn(move || client::stream_over(connection, 8 << 20, end));
                    let running: Vec<_> = streams.iter().map(run).collect();
                    running.into_iter().try_for_each(|stream| {
                        stream.join().expect("no thread panics").map(drop)
                    })
                })?;
                connections += 1;
            }
            counted(cluster, connections)
        })
    }

    fn datagrams_of_one_socket_to_two_vips_with_one_backend_are_answered_by_both_s33(builder) {
        builder.test(|cluster| {
            let client = cluster.client(1, "client")?;
            let mut flows = 0;
            // A program that another test starts may hold a closed socket for a moment longer, so that each has a port of its own.
            for (vips, port) in two_vips(cluster, DATAGRAMS)?.into_iter().zip(40_053..) {
                let socket = client.netns.run(|| UdpSocket::bind((any(vips[0]), port)))?;
                socket.set_read_timeout(Some(PATIENCE))?;
                // The large ones come in fragments.
                for size in [5, 1_400, 20_000] {
                    for vip in vips {
                        socket.send_to(&vec![7; size], vip)?;
                    }
                    let mut ports = Vec::new();
                    for _ in vips {
                        let mut buffer = vec![0; 1 << 16];
                        let (len, from) = uninterrupted(|| socket.recv_from(&mut buffer)).with_context(|| format!("{size} octets to {vips:?}"))?;
                        let (name, seen, payload) = parts(&buffer[..len])?;
                        ensure!(payload == vec![7; size], "{from}: {name} {seen}");
                        ports.push((from, seen.port()));
                    }
                    ports.sort_unstable_by_key(|(from, _)| vips.iter().position(|vip| vip == from));
                    let [(first, own), (second, other)] = ports[..] else { unreachable!() };
                    ensure!([first, second] == vips && own == port && other != port, "{ports:?}");
                    shown(cluster, second, other)?;
                }
                flows += 1;
            }
            counted(cluster, flows)
        })
    }
}

/// Pairs of VIPs of one family behind which is one pod: on the client's node, and on the other.
fn two_vips(cluster: &mut Cluster, port: Port) -> Result<Vec<[SocketAddr; 2]>> {
    let mut pairs = Vec::new();
    for (node, names, vip) in [(1, ["near-a", "near-b"], 10), (2, ["far-a", "far-b"], 20)] {
        let pod = cluster.backend(node, &format!("{}-{}", names[0], port.name))?;
        let services = [Service::new(names[0], vip), Service::new(names[1], vip + 1)];
        for service in &services {
            cluster.publish(service, &[Endpoint::of(&pod)])?;
        }
        let [a, b] = services.map(|service| service.at(port));
        pairs.extend(a.into_iter().zip(b).map(<[SocketAddr; 2]>::from));
        cluster.keep([pod]);
    }
    Ok(pairs)
}

/// A connection from this port, which others may have as well.
fn connect(netns: &Netns, to: SocketAddr, port: u16) -> Result<KeptConnection> {
    let connect = || {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(any(to), port).into())?;
        socket.connect_timeout(&to.into(), PATIENCE)?;
        Ok::<TcpStream, std::io::Error>(socket.into())
    };
    let stream = netns
        .run(connect)
        .with_context(|| format!("from port {port} to {to}"))?;
    Ok(KeptConnection::over(stream, to)?)
}

fn any(to: SocketAddr) -> IpAddr {
    match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Who answers a datagram, whom it saw, and what that sent.
fn parts(answer: &[u8]) -> Result<(String, SocketAddr, Vec<u8>)> {
    let mut words = answer.splitn(3, |octet| *octet == b' ');
    let mut text = || -> Result<_> {
        let word = words.next().context("no answer of ours")?;
        Ok(String::from_utf8(word.to_vec())?)
    };
    let (name, seen) = (text()?, text()?.parse()?);
    Ok((name, seen, words.next().unwrap_or_default().to_vec()))
}

/// `lb conntrack list` says at which port the backend sees the client.
fn shown(cluster: &mut Cluster, vip: SocketAddr, port: u16) -> Result<()> {
    let flows = cluster.agent(1).json(&["conntrack", "list"])?;
    let rows = flows.as_array().context("no list")?;
    let is_shown = rows
        .iter()
        .any(|row| row["frontend"] == vip.to_string() && row["source_port"] == port);
    ensure!(is_shown, "no flow of {vip} from port {port} in {flows:#}");
    Ok(())
}

/// So many flows got another source port, and none was dropped.
fn counted(cluster: &mut Cluster, flows: u64) -> Result<()> {
    let agent = cluster.agent(1);
    let [translated, dropped] = [agent.counter("source-port")?, agent.counter("tuple-clash")?];
    ensure!(
        (translated, dropped) == (flows, 0),
        "{translated} of {flows} flows have another port, {dropped} packets were dropped"
    );
    Ok(())
}
