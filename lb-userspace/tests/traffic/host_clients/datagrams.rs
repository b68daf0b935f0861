//! Datagrams of the node's processes: a resolver is one of them.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use anyhow::{Context, Result, ensure};
use lab::client::{self, UdpClient};
use lab::{uninterrupted, wait_for};

use super::super::cluster::{Cluster, DATAGRAMS, Endpoint, Service};
use super::{PATIENCE, host, on_nodes, sockets};

/// A resolver takes an answer only from whom it has asked.
#[test]
fn an_unconnected_socket_gets_its_answers_from_the_vip() -> Result<()> {
    on_nodes("host-udp", "host", Cluster::builder(), |cluster, cgroup| {
        let names = [Service::new("dns", 10), Service::new("other", 11)];
        let pods = [cluster.backend(1, "near")?, cluster.backend(2, "far")?];
        cluster.publish(&names[0], &Endpoint::all(&pods))?;
        cluster.publish(&names[1], &Endpoint::all(&pods[..1]))?;
        let node = host(cluster);
        let mapped = |to: SocketAddr| match to.ip() {
            IpAddr::V4(address) => (address.to_ipv6_mapped(), to.port()).into(),
            IpAddr::V6(_) => to,
        };
        let [first, second] = names.map(|name| name.at(DATAGRAMS));
        for vips in [
            [first[0], second[0]],
            [first[1], second[1]],
            // A socket of IPv6 that speaks IPv4.
            [mapped(first[0]), mapped(second[0])],
        ] {
            for _ in 0..20 {
                let socket = sockets::unconnected(&node, cgroup, vips[0])?;
                let mut served_by = Vec::new();
                // Both VIPs in turn from one socket.
                for (turn, to) in vips.into_iter().cycle().take(6).enumerate() {
                    let question = format!("question {turn}");
                    let (from, answer) = ask(&socket, to, &question)?;
                    assert_eq!(from, to, "{question}: {answer}");
                    assert!(answer.contains(&question), "{answer}");
                    if to == vips[0] {
                        served_by.push(answer.contains("near"));
                    }
                }
                assert!(
                    served_by.windows(2).all(|two| two[0] == two[1]),
                    "one backend"
                );
            }
        }
        assert_eq!(cluster.agent(1).counter("new-flow")?, 0);
        Ok(())
    })
}

/// S-51: the backend of a socket that is connected to none is selected anew by the next datagram.
#[test]
fn an_unconnected_socket_goes_where_the_endpoints_are() -> Result<()> {
    let builder = Cluster::builder().nodes(1);
    on_nodes("host-udp-moves", "host", builder, |cluster, cgroup| {
        let dns = Service::new("dns", 10);
        let pods = [cluster.backend(1, "first")?, cluster.backend(1, "second")?];
        let node = host(cluster);
        for to in dns.at(DATAGRAMS) {
            cluster.publish(&dns, &Endpoint::all(&pods[..1]))?;
            let socket = sockets::unconnected(&node, cgroup, to)?;
            for (endpoints, expected) in [(&pods[..1], "first"), (&pods[1..], "second")] {
                cluster.publish(&dns, &Endpoint::all(endpoints))?;
                let (from, answer) = ask(&socket, to, "who?")?;
                assert_eq!(from, to);
                assert!(answer.contains(expected), "{answer}");
            }
            cluster.publish(&dns, &[])?;
            let outcome = socket.send_to(b"who?", to).map_err(|error| error.kind());
            assert_eq!(outcome, Err(io::ErrorKind::ConnectionRefused));
            // Who asks the pod itself is answered by the pod.
            let own = pods[0].sockets(DATAGRAMS.target)[usize::from(to.is_ipv6())];
            let (from, answer) = ask(&socket, own, "who?")?;
            assert_eq!(from, own);
            assert!(answer.contains("first"), "{answer}");
        }
        Ok(())
    })
}

/// S-51: a connected socket keeps the address that it was given, so it is ended when its backend is gone.
#[test]
fn a_connected_socket_is_ended_with_its_backend_and_no_other() -> Result<()> {
    let builder = Cluster::builder();
    on_nodes("host-udp-stale", "host", builder, |cluster, cgroup| {
        let (dns, other) = (Service::new("dns", 10), Service::new("other", 11));
        let pods = [cluster.backend(1, "gone")?, cluster.backend(2, "stays")?];
        let node = host(cluster);
        cluster.publish(&other, &Endpoint::all(&pods[1..]))?;
        for (family, to) in dns.at(DATAGRAMS).into_iter().enumerate() {
            cluster.publish(&dns, &Endpoint::all(&pods[..1]))?;
            let own = pods[0].sockets(DATAGRAMS.target)[family];
            let beside = other.at(DATAGRAMS)[family];
            let open = |to| cgroup.run(|| UdpClient::open(&node, to));
            let [stale, direct, living] = [open(to)?, open(own)?, open(beside)?];
            assert_eq!(stale.request(b"1")?.pod, "gone");
            assert_eq!(stale.socket().peer_addr()?, to);
            // As a resolver does that connects, and looks at who answers all the same.
            stale.socket().send(b"2")?;
            let (_, from) = uninterrupted(|| stale.socket().recv_from(&mut [0; 512]))?;
            assert_eq!(from, to);

            cluster.publish(&dns, &Endpoint::all(&pods[1..]))?;
            let error = wait_for("the end of the socket", PATIENCE, || {
                stale.socket().take_error().ok().flatten()
            })?;
            assert_eq!(
                error.kind(),
                io::ErrorKind::ConnectionAborted,
                "{to}: {error}"
            );
            assert!(stale.request(b"3").is_err());
            // What its process does next.
            stale.socket().connect(to).context("connect again")?;
            assert_eq!(stale.request(b"4")?.pod, "stays");
            assert_eq!(direct.request(b"5")?.pod, "gone");
            assert_eq!(living.request(b"6")?.pod, "stays");
            assert_eq!(
                cgroup.run(|| client::udp_exchange(&node, to, b"7"))?.pod,
                "stays"
            );
        }
        Ok(())
    })
}

/// A change that comes while no agent runs is made up for by the next one.
#[test]
fn a_connected_socket_is_ended_by_the_next_agent_too() -> Result<()> {
    let builder = Cluster::builder().nodes(1);
    on_nodes("host-udp-later", "host", builder, |cluster, cgroup| {
        let dns = Service::new("dns", 10);
        let pods = [cluster.backend(1, "gone")?, cluster.backend(1, "stays")?];
        cluster.publish(&dns, &Endpoint::all(&pods[..1]))?;
        let node = host(cluster);
        let clients = dns
            .at(DATAGRAMS)
            .map(|to| cgroup.run(|| UdpClient::open(&node, to)));
        cluster.agent(1).kill()?;
        cluster.publish(&dns, &Endpoint::all(&pods[1..]))?;
        for client in &clients {
            let client = client
                .as_ref()
                .map_err(|error| anyhow::anyhow!("{error}"))?;
            assert_eq!(client.request(b"still")?.pod, "gone");
        }
        cluster.agent(1).start()?;
        for client in clients {
            let client = client?;
            let error = wait_for("the end of the socket", PATIENCE, || {
                client.socket().take_error().ok().flatten()
            })?;
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        }
        Ok(())
    })
}

/// Sends a question, and returns who answered what.
pub fn ask(socket: &UdpSocket, to: SocketAddr, question: &str) -> Result<(SocketAddr, String)> {
    socket
        .send_to(question.as_bytes(), to)
        .with_context(|| format!("to {to}"))?;
    let mut buffer = [0; 2048];
    let received = uninterrupted(|| socket.recv_from(&mut buffer));
    let (count, from) = received.with_context(|| format!("no answer of {to}"))?;
    ensure!(count > 0, "{to} answers with nothing");
    Ok((from, String::from_utf8_lossy(&buffer[..count]).into_owned()))
}
