//! Following the kernel's devices.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result};
use lab::Netns;
use lb_userspace::devices::{Device, DeviceEvent, DeviceWatcher, Selector};
use tokio::runtime::{Builder, Runtime};

use crate::support::{Node, node};

/// A watcher inside a node, and the runtime that it lives on.
struct Watching {
    runtime: Runtime,
    watcher: DeviceWatcher,
    /// How often all devices were listed anew.
    lists: usize,
}

fn watch(node: &Node, selector: Selector) -> Result<Watching> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let watcher = node.netns.run(|| {
        let _guard = runtime.enter();
        DeviceWatcher::new(selector)
    })?;
    Ok(Watching {
        runtime,
        watcher,
        lists: 0,
    })
}

impl Watching {
    /// The next change.
    fn next(&mut self) -> Result<DeviceEvent> {
        loop {
            let event = self.runtime.block_on(async {
                tokio::time::timeout(Duration::from_secs(10), self.watcher.next()).await
            });
            match event.context("waited 10 s for an event")?? {
                DeviceEvent::Listed(_) => self.lists += 1,
                change => return Ok(change),
            }
        }
    }

    /// Nothing more is to come. A device that is sure to be reported marks the end.
    fn assert_quiet(&mut self, node: &Node) -> Result<()> {
        let _marker = node.add_pod("marker", 9999)?;
        match self.next()? {
            DeviceEvent::Added(device) if device.name == "marker" => Ok(()),
            other => anyhow::bail!("unexpected {other:?}"),
        }
    }
}

fn added(event: DeviceEvent) -> Result<Device> {
    match event {
        DeviceEvent::Added(device) => Ok(device),
        other => anyhow::bail!("expected an added device, got {other:?}"),
    }
}

#[test]
fn existing_and_new_devices_of_pods_are_reported_and_no_others() -> Result<()> {
    let node = node("watch-new")?;
    let _first = node.add_pod("veth1", 101)?;
    node.netns.ip(&[
        "link add br0 type bridge",
        "link add both1 type veth peer name both2",
        "link set veth1 master br0 up",
    ])?;
    let mut watching = watch(&node, Selector::Peers)?;
    assert_eq!(added(watching.next()?)?.name, "veth1");

    let second = node.add_pod("veth2", 102)?;
    let device = added(watching.next()?)?;
    assert_eq!((device.ifindex, device.name.as_str()), (102, "veth2"));
    node.netns
        .ip(&["link set veth2 master br0 up", "link set veth2 nomaster"])?;
    node.netns.ip(&["link set veth2 name renamed"])?;
    match watching.next()? {
        DeviceEvent::Renamed(device) => assert_eq!(device.name, "renamed"),
        other => anyhow::bail!("joining and leaving a bridge is no event, but got {other:?}"),
    }
    // The other end takes its peer with it.
    second.ip(&["link del eth0"])?;
    assert_eq!(watching.next()?, DeviceEvent::Removed(102));
    watching.assert_quiet(&node)
}

#[test]
fn a_device_whose_peer_moves_to_a_pod_later_is_reported_then() -> Result<()> {
    let node = node("watch-moved")?;
    let pod = Netns::create("watch-moved-pod")?;
    let mut watching = watch(&node, Selector::Peers)?;
    node.netns
        .ip(&["link add veth1 index 101 type veth peer name inner"])?;
    node.netns
        .ip(&[format!("link set inner netns {}", pod.name())])?;
    assert_eq!(added(watching.next()?)?.ifindex, 101);
    watching.assert_quiet(&node)
}

#[test]
fn a_device_that_moves_away_is_removed() -> Result<()> {
    let node = node("watch-away")?;
    let _pod = node.add_pod("veth1", 101)?;
    let other = Netns::create("watch-away-other")?;
    let mut watching = watch(&node, Selector::Peers)?;
    watching.next()?;
    node.netns
        .ip(&[format!("link set veth1 netns {}", other.name())])?;
    assert_eq!(watching.next()?, DeviceEvent::Removed(101));
    Ok(())
}

#[test]
fn the_device_of_the_default_route_is_the_uplink_and_no_workload() -> Result<()> {
    let node = node("watch-uplink")?;
    let _outside = node.add_pod("eth0", 101)?;
    let _pod = node.add_pod("veth1", 102)?;
    node.netns.ip(&[
        "addr add 192.0.2.2/24 dev eth0",
        "link set eth0 up",
        "route add default via 192.0.2.1 dev eth0 onlink",
    ])?;
    let mut watching = watch(&node, Selector::Peers)?;
    assert_eq!(added(watching.next()?)?.name, "veth1");

    // Another device becomes the uplink while we watch.
    let _second = node.add_pod("eth1", 103)?;
    assert_eq!(added(watching.next()?)?.name, "eth1");
    node.netns.ip(&[
        "addr add 2001:db8::2/64 dev eth1 nodad",
        "link set eth1 up",
        "route add default via 2001:db8::1 dev eth1 onlink",
    ])?;
    assert_eq!(watching.next()?, DeviceEvent::Removed(103));
    watching.assert_quiet(&node)
}

#[test]
fn with_patterns_only_the_named_devices_are_reported() -> Result<()> {
    let node = node("watch-names")?;
    let _pods = (node.add_pod("cali1", 101)?, node.add_pod("other1", 102)?);
    node.netns.ip(&["link add cali2 index 103 type bridge"])?;
    let mut watching = watch(&node, Selector::from_patterns(["cali*"])?)?;
    let names: BTreeSet<String> =
        [added(watching.next()?)?.name, added(watching.next()?)?.name].into();
    assert_eq!(names, BTreeSet::from(["cali1".into(), "cali2".into()]));
    // A device leaves the pattern by its name.
    node.netns.ip(&["link set cali2 name xcali2"])?;
    assert_eq!(watching.next()?, DeviceEvent::Removed(103));
    Ok(())
}

#[test]
fn lost_notifications_are_made_up_for() -> Result<()> {
    let node = node("watch-lost")?;
    let _kept = node.add_pod("kept", 101)?;
    let _gone = node.add_pod("gone", 102)?;
    let mut watching = watch(&node, Selector::Peers)?;
    let known: BTreeSet<u32> = [
        added(watching.next()?)?.ifindex,
        added(watching.next()?)?.ifindex,
    ]
    .into();
    assert_eq!(known, BTreeSet::from([101, 102]));

    // Nobody reads while this goes on, until the kernel drops what it has to say.
    let flood: Vec<String> = (0..6000)
        .map(|i| format!("link set kept mtu {}", 1400 + i % 2))
        .collect();
    node.netns.ip(&flood)?;
    node.netns.ip(&["link del gone"])?;
    let _new = node.add_pod("new", 103)?;

    assert_eq!(watching.next()?, DeviceEvent::Removed(102));
    assert_eq!(added(watching.next()?)?.name, "new");
    watching.assert_quiet(&node)?;
    assert_eq!(watching.lists, 1, "notifications were lost, and noticed");
    Ok(())
}

#[test]
fn a_second_interface_of_the_node_is_no_workload_and_a_pods_gateway_is_one() -> Result<()> {
    let node = node("watch-second")?;
    let _outside = (node.add_pod("eth1", 101)?, node.add_pod("eth2", 102)?);
    let _pods = (node.add_pod("veth1", 103)?, node.add_pod("veth2", 104)?);
    node.netns.ip(&[
        "addr add 198.51.100.2/24 dev eth1",
        "addr add 2001:db8:1::2/64 dev eth2 nodad",
        "addr add 169.254.1.1/16 dev veth1",
        "addr add 10.244.1.1/32 dev veth2",
        "addr add 2001:db8:2::1/128 dev veth2 nodad",
        "addr add fe80::1/64 dev veth2 nodad",
    ])?;
    let mut watching = watch(&node, Selector::Peers)?;
    let names = [added(watching.next()?)?.name, added(watching.next()?)?.name];
    assert_eq!(names, ["veth1", "veth2"]);

    // One that comes while we watch is told by its address, and stays what it is when that goes.
    let _third = node.add_pod("eth3", 105)?;
    assert_eq!(added(watching.next()?)?.name, "eth3");
    node.netns.ip(&["addr add 203.0.113.2/24 dev eth3"])?;
    assert_eq!(watching.next()?, DeviceEvent::Removed(105));
    node.netns.ip(&["addr del 203.0.113.2/24 dev eth3"])?;
    watching.assert_quiet(&node)
}

#[test]
fn the_uplink_stays_one_while_its_default_route_is_away() -> Result<()> {
    let node = node("watch-flap")?;
    let _outside = node.add_pod("eth0", 101)?;
    node.netns.ip(&[
        "link set eth0 up",
        "route add 192.0.2.1/32 dev eth0",
        "route add default via 192.0.2.1 dev eth0",
    ])?;
    let mut watching = watch(&node, Selector::Peers)?;
    node.netns
        .ip(&["route del default", "link set eth0 mtu 1400"])?;
    watching.assert_quiet(&node)
}

#[test]
fn a_named_device_without_ethernet_header_is_left_out() -> Result<()> {
    let node = node("watch-tunnel")?;
    let _pod = node.add_pod("lxc1", 101)?;
    node.netns.ip(&["tuntap add dev lxctun mode tun"])?;
    let mut watching = watch(&node, Selector::from_patterns(["lxc*", "marker"])?)?;
    assert_eq!(added(watching.next()?)?.name, "lxc1");
    watching.assert_quiet(&node)
}
