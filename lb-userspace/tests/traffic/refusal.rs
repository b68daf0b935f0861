//! What has no endpoint says so (S-30).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use lab::client::{self, ClientError, UdpClient};
use lab::{Netns, Pod};

use super::cluster::{DATAGRAMS, Endpoint, HTTP, Port, Service};
use super::on_both_cnis;

/// A time in which a reachable server would have answered many times.
const SILENCE: Duration = Duration::from_millis(400);

/// Well below the second after which a client's kernel tries again: the first try was refused.
pub const AT_ONCE: Duration = Duration::from_millis(300);

/// No such port at any VIP.
const UNKNOWN: Port = Port {
    name: "unknown",
    protocol: "TCP",
    port: 81,
    target: 81,
};

on_both_cnis! {
    /// S-30 a.
    fn a_service_without_endpoints_refuses_at_once(builder) {
        builder.nodes(1).test(|cluster| {
            let client = cluster.client(1, "client")?;
            let empty = Service::new("empty", 10);
            cluster.publish(&empty, &[])?;
            check_refusals(&client, &empty, HTTP, DATAGRAMS)?;
            assert!(cluster.agent(1).counter("no-endpoint")? > 0);
            Ok(())
        })
    }

    /// S-30 c: here the other protocol's port is as unknown as one that nobody has.
    fn a_port_that_a_vip_does_not_have_is_refused_at_once(builder) {
        builder.nodes(1).test(|cluster| {
            let client = cluster.client(1, "client")?;
            let pod = cluster.backend(1, "b")?;
            let web = Service::new("web", 10);
            cluster.publish(&web, &[Endpoint::of(&pod)])?;
            check_refusals(&client, &web, UNKNOWN, UNKNOWN)?;
            check_refusals(&client, &web, DATAGRAMS, HTTP)?;
            assert!(cluster.agent(1).counter("unknown-port")? > 0);
            Ok(())
        })
    }

    /// S-23, S-30 b: with the policy Local, endpoints of other nodes are not for this node's clients.
    fn without_an_endpoint_on_the_node_a_local_service_is_silent(builder) {
        builder.test(|cluster| {
            let pod = cluster.backend(2, "b")?;
            let (here, there) = (cluster.client(1, "here")?, cluster.client(2, "there")?);
            let local = Service::new("local", 10).local();
            cluster.publish(&local, &[Endpoint::of(&pod)])?;
            for (tcp, udp) in local.at(HTTP).into_iter().zip(local.at(DATAGRAMS)) {
                assert_eq!(client::http_get(&there.netns, tcp)?.pod, "b");
                assert_eq!(client::udp_exchange(&there.netns, udp, b"x")?.pod, "b");
                assert_silent(&here.netns, tcp, udp)?;
            }
            assert!(cluster.agent(1).counter("no-local-endpoint")? > 0);
            // S-30 a: with no endpoint anywhere it refuses like any other.
            cluster.publish(&local, &[])?;
            check_refusals(&here, &local, HTTP, DATAGRAMS)
        })
    }
}

/// Both families refuse a TCP and a UDP port, whoever fills in the checksums of what is refused.
fn check_refusals(client: &Pod, service: &Service, tcp: Port, udp: Port) -> Result<()> {
    // A pod that was made this moment has to find its gateway first. Where the bridge is not ready to hear its first
    // neighbor solicitation, that takes a second, which is not the refusal's.
    for to in service.at(udp) {
        let outcome = client::udp_exchange(&client.netns, to, b"anyone?");
        assert!(
            outcome.as_ref().is_err_and(ClientError::is_refused),
            "{to}: {outcome:?}"
        );
    }
    for offload in [true, false] {
        client.set_tx_checksum_offload(offload)?;
        for to in service.at(tcp) {
            let start = Instant::now();
            assert_refused(to, client::http_get(&client.netns, to), start);
        }
        for to in service.at(udp) {
            let start = Instant::now();
            assert_refused(
                to,
                client::udp_exchange(&client.netns, to, b"anyone?"),
                start,
            );
        }
    }
    Ok(())
}

/// The outcome of what began at `start` is a refusal, and it came at once.
#[track_caller]
pub fn assert_refused<T: std::fmt::Debug>(
    to: SocketAddr,
    outcome: Result<T, ClientError>,
    start: Instant,
) {
    let elapsed = start.elapsed();
    assert!(
        outcome.as_ref().is_err_and(ClientError::is_refused),
        "{to}: {outcome:?}"
    );
    assert!(elapsed < AT_ONCE, "{to} refused after {elapsed:?}");
}

/// Neither port of a VIP answers, nor says why.
pub fn assert_silent(client: &Netns, tcp: SocketAddr, udp: SocketAddr) -> Result<()> {
    let outcome = client::http_get_within(client, tcp, SILENCE);
    assert!(
        outcome.as_ref().is_err_and(ClientError::is_timeout),
        "{tcp}: {outcome:?}"
    );
    let socket = UdpClient::open(client, udp)?.with_timeout(SILENCE);
    let outcome = socket.request(b"anyone?");
    assert!(
        outcome.as_ref().is_err_and(ClientError::is_timeout),
        "{udp}: {outcome:?}"
    );
    Ok(())
}
