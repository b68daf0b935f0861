//! Packets between pods of different nodes past the stacks of both: that they are, that nothing else changes, and that they are
//! not where something would be bypassed.

use std::io;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use lab::client::{self, UdpClient};
use lab::{Cni, Pod, wait_until};

use super::cluster::{Cluster, DATAGRAMS, Endpoint, HTTP, STREAMS, Service};
use super::errors::{hear_all_errors, path_mtu, set_hops};
use super::load::MixedLoad;
use super::on_both_cnis;
use super::redirect::{PATIENCE, forwarded, run};

/// A Service with one backend on node 2, which packets of the client on node 1 go to past both stacks, over both families.
fn delivered(cluster: &mut Cluster) -> Result<(Service, Pod, Pod)> {
    let web = Service::new("web", 10);
    let pod = cluster.backend(2, "b")?;
    let client = cluster.client(1, "client")?;
    cluster.publish(&web, &[Endpoint::of(&pod)])?;
    wait_until_delivered(cluster, &client, &web)?;
    Ok((web, pod, client))
}

fn wait_until_delivered(cluster: &mut Cluster, client: &Pod, service: &Service) -> Result<()> {
    wait_for_exchange(cluster, client, service, [[1, 1], [1, 1]])
}

/// Waits until an exchange of datagrams counts so many packets as sent out and as delivered, on each of both nodes.
fn wait_for_exchange(
    cluster: &mut Cluster,
    client: &Pod,
    service: &Service,
    expected: [[u64; 2]; 2],
) -> Result<()> {
    for vip in service.at(DATAGRAMS) {
        wait_until(&format!("{expected:?} of {vip}"), PATIENCE, || {
            exchange(cluster, client, vip).is_ok_and(|counted| counted == expected)
        })?;
    }
    Ok(())
}

fn exchange(cluster: &mut Cluster, client: &Pod, vip: SocketAddr) -> Result<[[u64; 2]; 2]> {
    let before = counted(cluster)?;
    client::udp_exchange(&client.netns, vip, b"x")?;
    let mut counted = counted(cluster)?;
    for (counted, before) in counted.iter_mut().flatten().zip(before.iter().flatten()) {
        *counted -= before;
    }
    Ok(counted)
}

/// Packets that were sent out and delivered, on each of both nodes.
fn counted(cluster: &mut Cluster) -> Result<[[u64; 2]; 2]> {
    let mut counted = [[0; 2]; 2];
    for (node, counted) in (1..).zip(&mut counted) {
        let agent = cluster.agent(node);
        *counted = [agent.counter("sent")?, agent.counter("delivered")?];
    }
    Ok(counted)
}

on_both_cnis! {
    fn requests_and_answers_go_past_both_stacks(builder) {
        builder.flag("--redirect", "on").test(|cluster| {
            let (web, pod, client) = delivered(cluster)?;
            let before = [1, 2].map(|node| forwarded(cluster.lab.node(node)));
            for vip in web.at(HTTP) {
                let report = client::http_many(&client.netns, vip, 50, 2)?;
                ensure!(report.errors == 0 && report.of("b") == 50, "{vip}: {report}");
            }
            for vip in web.at(DATAGRAMS) {
                let answer = client::udp_exchange(&client.netns, vip, &[7; 1_400])?;
                ensure!(answer.peer == answer.local, "the backend sees the client");
            }
            for vip in web.at(STREAMS) {
                client::stream(&client.netns, vip, 8 << 20)?;
            }
            for own in pod.sockets(HTTP.target) {
                client::http_get(&client.netns, own)?;
            }
            pod.set_tx_checksum_offload(true)?;
            for vip in web.at(STREAMS) {
                client::stream(&client.netns, vip, 8 << 20)?;
            }
            for (node, before) in [1, 2].into_iter().zip(before) {
                let (before, after) = (before?, forwarded(cluster.lab.node(node))?);
                ensure!(before == after, "node {node} has forwarded: {before:?}, {after:?}");
            }
            Ok(())
        })
    }

    fn large_datagrams_come_and_go_in_fragments_s33(builder) {
        builder.flag("--redirect", "on").test(|cluster| {
            let (web, _pod, client) = delivered(cluster)?;
            for vip in web.at(DATAGRAMS) {
                client::udp_exchange(&client.netns, vip, &[7; 20_000])?;
            }
            ensure!(cluster.agent(1).counter("stack-headers")? > 0);
            Ok(())
        })
    }

    /// As traceroute sends them: each of both nodes answers as the hop that it is, then the backend.
    fn each_hop_on_the_way_answers_s32(builder) {
        builder.flag("--redirect", "on").test(|cluster| {
            let (web, _pod, client) = delivered(cluster)?;
            let unreachable = Some(io::Error::from_raw_os_error(libc::EHOSTUNREACH).kind());
            for vip in web.at(DATAGRAMS) {
                for (hops, expected) in [(1, unreachable), (2, unreachable), (3, None)] {
                    let socket = UdpClient::open(&client.netns, vip)?;
                    hear_all_errors(&socket, vip)?;
                    set_hops(&socket, vip, hops)?;
                    let errno = socket.request(b"hello").err().and_then(|error| error.io_kind());
                    ensure!(errno == expected, "{vip} after {hops} hops: {errno:?}");
                }
            }
            for node in [1, 2] {
                ensure!(cluster.agent(node).counter("stack-hop-limit")? >= 2, "node {node}");
            }
            Ok(())
        })
    }

    fn what_the_uplink_does_not_take_is_told_to_the_sender_s32(builder) {
        const NARROW: u32 = 1_300;
        builder.flag("--redirect", "on").test(|cluster| {
            let (web, _pod, client) = delivered(cluster)?;
            // Of both nodes: a veth drops in silence what is larger than its own.
            for node in cluster.lab.nodes() {
                node.uplink().set_mtu(NARROW)?;
            }
            for vip in web.at(STREAMS) {
                client::stream(&client.netns, vip, 4 << 20)?;
                let mtu = path_mtu(&client.netns, vip.ip())?;
                ensure!(mtu == Some(NARROW), "{vip}: {mtu:?}");
            }
            ensure!(cluster.agent(1).counter("stack-too-big")? > 0);
            // What fits goes past the stack still.
            wait_until_delivered(cluster, &client, &web)
        })
    }

    fn agents_come_and_go_without_a_lost_request_s72(builder) {
        builder.flag("--redirect", "on").test(|cluster| {
            let (web, _pod, client) = delivered(cluster)?;
            let load = MixedLoad::start(&client, &web)?;
            for node in [2, 1] {
                cluster.agent(node).kill()?;
                load.wait_for_more(20)?;
                let before = counted(cluster)?[node - 1];
                load.wait_for_more(20)?;
                ensure!(counted(cluster)?[node - 1] == before, "nobody follows the pods of node {node}");
                cluster.start_agents()?;
            }
            wait_until("both nodes", PATIENCE, || {
                let before = counted(cluster);
                let more = load.wait_for_more(20).and_then(|()| counted(cluster));
                let (Ok(before), Ok(more)) = (before, more) else { return false };
                before.iter().flatten().zip(more.iter().flatten()).all(|(before, more)| more > before)
            })?;
            load.stop_without_errors();
            Ok(())
        })
    }

    fn a_pod_with_the_address_of_one_that_is_gone_is_reached_from_another_node(builder) {
        builder.flag("--redirect", "on").test(|cluster| {
            let (web, old, client) = delivered(cluster)?;
            let new = cluster.backend_in_place_of(old, "new")?;
            for vip in web.at(HTTP) {
                let answer = client::http_get(&client.netns, vip)?;
                ensure!(answer.pod == "new", "{vip}: {answer:?}");
            }
            wait_until_delivered(cluster, &client, &web)?;
            drop(new);
            Ok(())
        })
    }

    fn a_rule_on_one_node_turns_auto_off_there_and_there_alone(builder) {
        builder.flag("--redirect", "auto").test(|cluster| {
            let (web, _pod, client) = delivered(cluster)?;
            let node = cluster.lab.node(2).netns.clone();
            run(&node, "nft", "add table inet rules")?;
            run(&node, "nft", "add chain inet rules forward { type filter hook forward priority 0 ; }")?;
            run(&node, "nft", "add rule inet rules forward udp dport 9 drop")?;
            wait_for_exchange(cluster, &client, &web, [[1, 1], [0, 0]])?;
            run(&node, "nft", "delete table inet rules")?;
            wait_until_delivered(cluster, &client, &web)
        })
    }
}

/// What comes from no pod of another node is the stack's, and so is what goes there.
#[test]
fn clients_outside_reach_pods_through_the_stack() -> Result<()> {
    let builder = Cluster::builder().flag("--redirect", "on");
    builder.test(|cluster| {
        let (_, pod, _client) = delivered(cluster)?;
        let before = counted(cluster)?;
        for own in pod.sockets(HTTP.target) {
            client::http_get(&cluster.lab.outside().netns, own)?;
            client::http_get(&cluster.lab.node(1).netns, own)?;
        }
        ensure!(counted(cluster)? == before);
        ensure!(cluster.agent(2).counter("stack-outside")? > 0);
        Ok(())
    })
}

/// A filter on the uplink would see nothing of what is delivered.
#[test]
fn a_filter_of_somebody_else_on_the_uplink_is_not_bypassed() -> Result<()> {
    let builder = Cluster::builder().cni(Cni::Bridge);
    builder.flag("--redirect", "auto").test(|cluster| {
        let (web, _pod, client) = delivered(cluster)?;
        let node = cluster.lab.node(2).netns.clone();
        run(&node, "tc", "qdisc add dev eth0 clsact")?;
        run(
            &node,
            "tc",
            "filter add dev eth0 ingress u32 match u32 0 0 flowid 1:1",
        )?;
        wait_for_exchange(cluster, &client, &web, [[1, 1], [1, 0]])?;
        run(&node, "tc", "filter del dev eth0 ingress")?;
        wait_until_delivered(cluster, &client, &web)
    })
}

/// A clsact filter would stay when its agent ends, so packets come in through the stack.
#[test]
fn with_clsact_packets_go_out_past_the_stack_and_come_in_through_it() -> Result<()> {
    let builder = Cluster::builder().flag("--attach", "clsact");
    builder.flag("--redirect", "auto").test(|cluster| {
        let web = Service::new("web", 10);
        let pod = cluster.backend(2, "b")?;
        let client = cluster.client(1, "client")?;
        cluster.publish(&web, &[Endpoint::of(&pod)])?;
        wait_for_exchange(cluster, &client, &web, [[1, 0], [1, 0]])
    })
}

/// The stack tells the sender of a gateway that does not answer.
#[test]
fn a_node_that_is_gone_is_told_to_the_sender() -> Result<()> {
    let builder = Cluster::builder().flag("--redirect", "on");
    builder.test(|cluster| {
        // What is sent past the stack confirms the gateway as what the stack sends does: here within seconds, not a minute.
        for family in ["ipv4", "ipv6"] {
            let [reachable, delay] = ["base_reachable_time_ms", "delay_first_probe_time"]
                .map(|setting| format!("{family}/neigh/eth0/{setting}"));
            let node = &cluster.lab.node(1).netns;
            node.set_sysctls(&[(&reachable, "1000"), (&delay, "1")])?;
        }
        let (web, _pod, client) = delivered(cluster)?;
        run(&cluster.lab.node(2).netns, "ip", "link set eth0 down")?;
        for vip in web.at(DATAGRAMS) {
            wait_until(&format!("an error from {vip}"), PATIENCE, || {
                let told = error(&client, vip);
                told.is_ok_and(|told| told == Some(io::ErrorKind::HostUnreachable))
            })?;
        }
        Ok(())
    })
}

/// What becomes of a datagram, if it is not answered.
fn error(client: &Pod, to: SocketAddr) -> Result<Option<io::ErrorKind>> {
    let socket = UdpClient::open(&client.netns, to)?;
    hear_all_errors(&socket, to)?;
    let error = socket.request(b"x").err();
    Ok(error.and_then(|error| error.io_kind()))
}

#[test]
fn policies_of_ipsec_turn_auto_off() -> Result<()> {
    let builder = Cluster::builder().flag("--redirect", "auto");
    builder.test(|cluster| {
        let (web, _pod, client) = delivered(cluster)?;
        let node = cluster.lab.node(2).netns.clone();
        let policy = "src 10.244.2.0/24 dst 10.250.0.0/24 dir out";
        run(
            &node,
            "ip",
            &format!("xfrm policy add {policy} action block"),
        )?;
        wait_for_exchange(cluster, &client, &web, [[1, 1], [0, 0]])?;
        run(&node, "ip", &format!("xfrm policy del {policy}"))?;
        wait_until_delivered(cluster, &client, &web)
    })
}
