//! Packets between pods of a node past the host's stack: that they are, that nothing else changes, and that they are not where
//! something would be bypassed.

use std::collections::BTreeMap;
use std::io;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::client::{self, UdpClient};
use lab::{Cni, Netns, Node, Pod, counters, wait_until};

use super::cluster::{Cluster, DATAGRAMS, Endpoint, HTTP, STREAMS, Service};
use super::errors::{hear_all_errors, path_mtu, set_hops};
use super::load::MixedLoad;
use super::on_both_cnis;

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A Service with one backend on the client's node, which packets already go straight to, over both families.
fn delivered(cluster: &mut Cluster) -> Result<(Service, Pod, Pod)> {
    let web = Service::new("web", 10);
    let pod = cluster.backend(1, "b")?;
    let client = cluster.client(1, "client")?;
    cluster.publish(&web, &[Endpoint::of(&pod)])?;
    wait_until_delivered(cluster, &client, &web)?;
    Ok((web, pod, client))
}

/// Sends datagrams until none of them passes the stack: the first ones let the node learn where the pods are.
fn wait_until_delivered(cluster: &mut Cluster, client: &Pod, service: &Service) -> Result<()> {
    for vip in service.at(DATAGRAMS) {
        wait_until(&format!("delivery to {vip}"), PATIENCE, || {
            let all = deliveries(cluster, client, vip);
            all.is_ok_and(|delivered| delivered == 2)
        })?;
    }
    Ok(())
}

/// How many packets are delivered past the stack in one exchange of datagrams.
fn deliveries(cluster: &mut Cluster, client: &Pod, vip: std::net::SocketAddr) -> Result<u64> {
    let before = cluster.agent(1).counter("delivered")?;
    client::udp_exchange(&client.netns, vip, b"x")?;
    Ok(cluster.agent(1).counter("delivered")? - before)
}

/// Waits until the status has these words for the redirect path.
fn wait_for_state(cluster: &mut Cluster, words: &str) -> Result<()> {
    wait_until(words, PATIENCE, || {
        cluster.agent(1).json(&["status"]).is_ok_and(|status| {
            status["redirect"]
                .as_str()
                .is_some_and(|it| it.contains(words))
        })
    })
}

/// Packets of both families that the node has forwarded.
pub(super) fn forwarded(node: &Node) -> Result<BTreeMap<String, u64>> {
    let mut all = counters(&node.netns)?;
    all.retain(|name, _| name == "Ip.ForwDatagrams" || name == "Ip6OutForwDatagrams");
    ensure!(all.len() == 2, "{all:?}");
    Ok(all)
}

pub(super) fn run(netns: &Netns, program: &str, arguments: &str) -> Result<()> {
    let output = netns.run(|| {
        Command::new(program)
            .args(arguments.split_whitespace())
            .output()
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments}: {said}");
    Ok(())
}

on_both_cnis! {
    fn requests_and_answers_go_past_the_stack(builder) {
        builder.nodes(1).flag("--redirect", "on").test(|cluster| {
            let (web, pod, client) = delivered(cluster)?;
            let before = forwarded(cluster.lab.node(1))?;
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
            // Pods that speak to each other without a Service.
            for own in pod.sockets(HTTP.target) {
                client::http_get(&client.netns, own)?;
            }
            // The kernel leaves segments whole only where it need not compute their checksums.
            pod.set_tx_checksum_offload(true)?;
            for vip in web.at(STREAMS) {
                client::stream(&client.netns, vip, 8 << 20)?;
            }
            let after = forwarded(cluster.lab.node(1))?;
            ensure!(before == after, "the node has forwarded: {before:?}, {after:?}");
            Ok(())
        })
    }

    fn pods_of_other_nodes_are_reached_as_before(builder) {
        builder.flag("--redirect", "on").test(|cluster| {
            let pods = [cluster.backend(1, "near")?, cluster.backend(2, "far")?];
            let web = Service::new("web", 10);
            cluster.publish(&web, &Endpoint::all(&pods))?;
            for client in [cluster.client(1, "c1")?, cluster.client(2, "c2")?] {
                for vip in web.at(HTTP) {
                    let report = client::http_many(&client.netns, vip, 60, 4)?;
                    ensure!(report.errors == 0, "{vip}: {report}");
                    ensure!(report.of("near") > 0 && report.of("far") > 0, "{vip}: {report}");
                }
            }
            for (node, pod) in (1..).zip(&pods) {
                let beside = cluster.client(node, &format!("beside-{node}"))?;
                let [own, _] = pod.sockets(HTTP.target);
                let agent = cluster.agent(node);
                wait_until("deliveries", PATIENCE, || {
                    // What a bridge hands on teaches the node's stack nothing; what goes to a VIP and stays on the node does.
                    let taught = web.at(HTTP).iter().all(|vip| client::http_get(&beside.netns, *vip).is_ok());
                    let asked = client::http_get(&beside.netns, own).is_ok();
                    taught && asked && agent.counter("delivered").is_ok_and(|delivered| delivered > 0)
                })?;
            }
            Ok(())
        })
    }

    fn a_pod_reaches_itself_and_its_sibling_s42(builder) {
        builder.nodes(1).flag("--redirect", "on").test(|cluster| {
            let (web, pod, sibling) = delivered(cluster)?;
            for vip in web.at(HTTP) {
                let answer = client::http_get(&pod.netns, vip)?;
                ensure!(answer.peer.ip() == vip.ip(), "{vip}: {answer:?}");
                client::http_get(&sibling.netns, vip)?;
            }
            for vip in web.at(STREAMS) {
                client::stream(&pod.netns, vip, 4 << 20)?;
            }
            ensure!(cluster.agent(1).counter("stack-hairpin")? > 0);
            Ok(())
        })
    }

    /// The node answers as the hop that it is.
    fn a_datagram_with_one_hop_expires_on_the_node_s32(builder) {
        builder.nodes(1).flag("--redirect", "on").test(|cluster| {
            let node = cluster.lab.node(1);
            if node.cni == Cni::Bridge {
                // What goes back to where it came from is answered by ICMP redirects, which use up what is granted to errors.
                node.netns.set_sysctls(&[
                    ("ipv4/conf/all/send_redirects", "0"),
                    ("ipv4/conf/cni0/send_redirects", "0"),
                ])?;
            }
            let (web, _pod, client) = delivered(cluster)?;
            for vip in web.at(DATAGRAMS) {
                for (hops, expected) in [(1, Some(libc::EHOSTUNREACH)), (2, None)] {
                    let socket = UdpClient::open(&client.netns, vip)?;
                    hear_all_errors(&socket, vip)?;
                    set_hops(&socket, vip, hops)?;
                    let errno = socket.request(b"hello").err().and_then(|error| error.io_kind());
                    let expected = expected.map(|errno| io::Error::from_raw_os_error(errno).kind());
                    ensure!(errno == expected, "{vip} after {hops} hops: {errno:?}");
                }
            }
            ensure!(cluster.agent(1).counter("stack-hop-limit")? >= 2);
            Ok(())
        })
    }

    fn a_closed_port_of_a_pod_beside_is_refused_s32(builder) {
        builder.nodes(1).flag("--redirect", "on").test(|cluster| {
            let (_, _pod, client) = delivered(cluster)?;
            let silent = cluster.client(1, "silent")?;
            let closed = Service::new("closed", 11);
            cluster.publish(&closed, &[Endpoint::of(&silent)])?;
            for _ in 0..3 {
                for vip in closed.at(DATAGRAMS) {
                    let error = client::udp_exchange(&client.netns, vip, b"x").expect_err("nobody answers");
                    ensure!(error.is_refused(), "{vip}: {error}");
                }
            }
            Ok(())
        })
    }

    fn a_pod_with_the_address_of_one_that_is_gone_is_reached(builder) {
        builder.nodes(1).flag("--redirect", "on").test(|cluster| {
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

    fn a_pod_that_is_made_anew_while_no_agent_runs_is_reached(builder) {
        builder.nodes(1).flag("--redirect", "on").test(|cluster| {
            let (web, old, client) = delivered(cluster)?;
            cluster.agent(1).kill()?;
            let new = cluster.backend_in_place_of(old, "new")?;
            for vip in web.at(DATAGRAMS) {
                let answer = client::udp_exchange(&client.netns, vip, b"x")?;
                ensure!(answer.pod == "new", "{vip}: {answer:?}");
            }
            let status = cluster.agent(1).json(&["status"])?;
            ensure!(status["redirect"] == "off: no agent runs", "{status}");
            drop(new);
            Ok(())
        })
    }

    fn agents_come_and_go_without_a_lost_request_s72(builder) {
        builder.nodes(1).flag("--redirect", "on").test(|cluster| {
            let (web, _pod, client) = delivered(cluster)?;
            let load = MixedLoad::start(&client, &web)?;
            for round in 0..3 {
                if round == 1 {
                    cluster.agent(1).terminate()?;
                } else {
                    cluster.agent(1).kill()?;
                }
                load.wait_for_more(20)?;
                let before = cluster.agent(1).counter("delivered")?;
                load.wait_for_more(20)?;
                ensure!(cluster.agent(1).counter("delivered")? == before, "nobody follows the pods");
                cluster.start_agents()?;
                wait_until("deliveries", PATIENCE, || {
                    cluster.agent(1).counter("delivered").is_ok_and(|now| now > before + 100)
                })?;
            }
            load.stop_without_errors();
            Ok(())
        })
    }

    fn auto_turns_it_on_where_no_rule_would_be_bypassed_and_follows(builder) {
        builder.nodes(1).flag("--redirect", "auto").test(|cluster| {
            let (web, _pod, client) = delivered(cluster)?;
            let node = cluster.lab.node(1).netns.clone();
            // An empty chain judges nothing, and one for what the node itself gets is not met.
            run(&node, "nft", "add table inet rules")?;
            run(&node, "nft", "add chain inet rules forward { type filter hook forward priority 0 ; }")?;
            run(&node, "nft", "add chain inet rules input { type filter hook input priority 0 ; }")?;
            run(&node, "nft", "add rule inet rules input tcp dport 9 drop")?;
            wait_until_delivered(cluster, &client, &web)?;

            run(&node, "nft", "add rule inet rules forward udp dport 9 drop")?;
            wait_for_state(cluster, "netfilter")?;
            for vip in web.at(DATAGRAMS) {
                ensure!(deliveries(cluster, &client, vip)? == 0, "{vip}");
            }
            cluster.agent(1).wait_for_log(&["netfilter", "nft chain inet rules forward"])?;
            let load = MixedLoad::start(&client, &web)?;
            run(&node, "nft", "delete table inet rules")?;
            wait_for_state(cluster, "on, ")?;
            load.wait_for_more(20)?;
            load.stop_without_errors();
            wait_until_delivered(cluster, &client, &web)
        })
    }

    fn a_rule_that_is_there_at_the_start_keeps_auto_off(builder) {
        builder.nodes(1).without_agents().flag("--redirect", "auto").test(|cluster| {
            let node = cluster.lab.node(1).netns.clone();
            run(&node, "nft", "add table bridge rules")?;
            run(&node, "nft", "add chain bridge rules forward { type filter hook forward priority 0 ; policy drop ; }")?;
            run(&node, "nft", "add rule bridge rules forward accept")?;
            cluster.start_agents()?;
            wait_for_state(cluster, "netfilter")?;
            let web = Service::new("web", 10);
            let pod = cluster.backend(1, "b")?;
            let client = cluster.client(1, "client")?;
            cluster.publish(&web, &[Endpoint::of(&pod)])?;
            for vip in web.at(DATAGRAMS) {
                ensure!(deliveries(cluster, &client, vip)? == 0, "{vip}");
            }
            run(&node, "nft", "delete table bridge rules")?;
            run(&node, "ip", "rule add priority 100 lookup main")?;
            wait_for_state(cluster, "policy routing")?;
            run(&node, "ip", "rule del priority 100")?;
            wait_for_state(cluster, "on, ")
        })
    }

    fn a_filter_of_somebody_else_on_a_device_leaves_its_pod_to_the_stack(builder) {
        builder.nodes(1).flag("--redirect", "auto").test(|cluster| {
            let (web, pod, client) = delivered(cluster)?;
            let node = cluster.lab.node(1).netns.clone();
            let device = &pod.host_device;
            run(&node, "tc", &format!("qdisc add dev {device} clsact"))?;
            run(&node, "tc", &format!("filter add dev {device} egress u32 match u32 0 0 flowid 1:1"))?;
            for vip in web.at(DATAGRAMS) {
                wait_until("the pod to be left to the stack", PATIENCE, || {
                    deliveries(cluster, &client, vip).is_ok_and(|delivered| delivered == 0)
                })?;
            }
            run(&node, "tc", &format!("filter del dev {device} egress"))?;
            wait_until_delivered(cluster, &client, &web)?;
            // What shapes a pod's traffic is a queue on the way out of the device.
            run(&node, "tc", &format!("qdisc add dev {device} root pfifo limit 1000"))?;
            for vip in web.at(DATAGRAMS) {
                wait_until("the pod to be left to the stack", PATIENCE, || {
                    deliveries(cluster, &client, vip).is_ok_and(|delivered| delivered == 0)
                })?;
            }
            Ok(())
        })
    }

    fn it_is_off_until_it_is_asked_for(builder) {
        builder.nodes(1).test(|cluster| {
            let near = cluster.backend(1, "b")?;
            let client = cluster.client(1, "client")?;
            let web = Service::new("web", 10);
            cluster.publish(&web, &[Endpoint::of(&near)])?;
            wait_for_state(cluster, "off by --redirect")?;
            for vip in web.at(DATAGRAMS) {
                ensure!(deliveries(cluster, &client, vip)? == 0, "{vip}");
            }
            Ok(())
        })
    }
}

/// It takes `bpf_check_mtu`, of Linux 5.12.
#[test]
fn every_kernel_serves_pods_and_says_whether_it_can_do_it() -> Result<()> {
    let builder = Cluster::builder().nodes(1).flag("--redirect", "on");
    builder.test(|cluster| {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let mut numbers = release.split('.').map(|part| part.parse::<u32>().ok());
        let version = numbers.next().flatten().zip(numbers.next().flatten());
        let can = version.with_context(|| release.clone())? >= (5, 12);
        wait_for_state(cluster, if can { "on, " } else { "can't do it" })?;
        let web = Service::new("web", 10);
        let pod = cluster.backend(1, "b")?;
        let client = cluster.client(1, "client")?;
        cluster.publish(&web, &[Endpoint::of(&pod)])?;
        for vip in web.at(DATAGRAMS) {
            client::udp_exchange(&client.netns, vip, b"x")?;
        }
        Ok(())
    })
}

#[test]
fn filters_of_clsact_deliver_as_links_do() -> Result<()> {
    let builder = Cluster::builder().nodes(1).flag("--attach", "clsact");
    builder.flag("--redirect", "auto").test(|cluster| {
        let (web, _pod, client) = delivered(cluster)?;
        let before = forwarded(cluster.lab.node(1))?;
        for vip in web.at(HTTP) {
            let report = client::http_many(&client.netns, vip, 50, 2)?;
            ensure!(report.errors == 0, "{vip}: {report}");
        }
        for vip in web.at(STREAMS) {
            client::stream(&client.netns, vip, 4 << 20)?;
        }
        ensure!(forwarded(cluster.lab.node(1))? == before);
        Ok(())
    })
}

/// The stack tells the sender, as it does without the redirect path. (A bridge drops what a port does not take in silence.)
#[test]
fn what_a_pod_does_not_take_is_told_to_the_sender_s32() -> Result<()> {
    const NARROW: u32 = 1_300;
    let builder = Cluster::builder().nodes(1).flag("--redirect", "on");
    builder.test(|cluster| {
        let (web, pod, client) = delivered(cluster)?;
        pod.host_side().set_mtu(NARROW)?;
        pod.eth0().set_mtu(NARROW)?;
        wait_until_delivered(cluster, &client, &web)?;
        for vip in web.at(DATAGRAMS) {
            let socket = UdpClient::open(&client.netns, vip)?;
            socket.socket().send(&[7; 1_350])?;
            wait_until("the MTU to be told", PATIENCE, || {
                path_mtu(&client.netns, vip.ip()).is_ok_and(|mtu| mtu == Some(NARROW))
            })?;
            // In fragments, of which the stack of the client makes none that is too big.
            client::udp_exchange(&client.netns, vip, &[7; 1_350])?;
        }
        ensure!(cluster.agent(1).counter("stack-too-big")? >= 2);
        Ok(())
    })
}

/// Where a route has an MTU of its own, the sender is told of it as before.
#[test]
fn a_route_with_an_mtu_leaves_its_pod_to_the_stack_s32() -> Result<()> {
    const NARROW: u32 = 1_300;
    let builder = Cluster::builder().nodes(1).flag("--redirect", "on");
    builder.test(|cluster| {
        let (web, pod, client) = delivered(cluster)?;
        for address in pod.addresses() {
            let device = &pod.host_device;
            let route = format!("route replace {address} dev {device} mtu lock {NARROW}");
            cluster.lab.node(1).netns.ip(&[route])?;
        }
        for vip in web.at(DATAGRAMS) {
            wait_until("the pod to be left to the stack", PATIENCE, || {
                deliveries(cluster, &client, vip).is_ok_and(|delivered| delivered < 2)
            })?;
        }
        for vip in web.at(STREAMS) {
            client::stream(&client.netns, vip, 2 << 20)?;
            let mtu = path_mtu(&client.netns, vip.ip()).context("the client's route")?;
            ensure!(mtu == Some(NARROW), "{vip}: {mtu:?}");
        }
        Ok(())
    })
}
