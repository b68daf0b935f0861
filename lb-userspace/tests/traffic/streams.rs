//! Datagrams and long streams through a VIP, to a backend on the client's node and to one on another.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{PacketSocket, Pod, client};

use super::cluster::{DATAGRAMS, STREAMS};
use super::on_both_cnis;

/// Larger than any segment of one packet, so that it is one that the kernel has left whole.
const SUPER_SEGMENT: usize = 30_000;
const BYTES: u64 = 8 << 20;

on_both_cnis! {
    /// Port 53 of the VIP leads to port 5353 of the pods.
    fn datagrams_go_through_the_vip_and_back(builder) {
        builder.test(|cluster| {
            let services = cluster.near_and_far()?;
            let client = cluster.client(1, "client")?;
            for (service, pod) in &services {
                for vip in service.at(DATAGRAMS) {
                    for size in [0, 1, 1400] {
                        let payload = vec![b'x'; size];
                        let answer = client::udp_exchange(&client.netns, vip, &payload)
                            .with_context(|| format!("{size} octets to {vip}"))?;
                        assert_eq!((&answer.pod, answer.peer), (&pod.name, answer.local));
                        assert_eq!(answer.payload, payload);
                    }
                }
            }
            Ok(())
        })
    }

    /// Checksums are real on the backends' side: each segment is verified.
    fn long_streams_come_back_whole(builder) {
        builder.test(|cluster| {
            let services = cluster.near_and_far()?;
            let client = cluster.client(1, "client")?;
            for vip in services.iter().flat_map(|(service, _)| service.at(STREAMS)) {
                client::stream(&client.netns, vip, BYTES)?;
            }
            Ok(())
        })
    }

    fn segments_of_64_kib_pass_both_ways_in_one_piece(builder) {
        builder.test(|cluster| {
            let services = cluster.near_and_far()?;
            let client = cluster.client(1, "client")?;
            for (service, pod) in &services {
                pod.set_tx_checksum_offload(true)?;
                for vip in service.at(STREAMS) {
                    check_super_segments(&client, vip)?;
                }
            }
            Ok(())
        })
    }
}

/// Streams through the VIP and holds that super segments passed the client's device in both directions.
fn check_super_segments(client: &Pod, vip: SocketAddr) -> Result<()> {
    thread::scope(|scope| {
        let seen = [true, false].map(|outgoing| {
            let wire = PacketSocket::open(&client.netns, "eth0");
            scope.spawn(move || {
                wire?.capture(Duration::from_secs(10), |frame| {
                    frame.outgoing == outgoing && frame.bytes.len() > SUPER_SEGMENT
                })
            })
        });
        client::stream(&client.netns, vip, BYTES)?;
        for (seen, way) in seen.into_iter().zip(["out", "in"]) {
            let frame = seen.join().expect("the capture does not panic")?;
            ensure!(
                frame.is_some(),
                "{vip}: no segment above {SUPER_SEGMENT} octets went {way}"
            );
        }
        Ok(())
    })
}
