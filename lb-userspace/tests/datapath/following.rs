//! The task that keeps programs on devices.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lb_userspace::{
    datapath::{Attach, Links, Side},
    devices::{Attacher, DeviceFollower, DeviceState, DeviceWatcher, FollowerStatus, Selector},
};
use tokio::{runtime::Builder, sync::watch, time::timeout};

use crate::support::{Node, assert_attached_once, node};

/// Runs a follower in the node for as long as `scenario` takes.
fn follow<A: Attacher, T: Send>(
    node: &Node,
    attacher: A,
    scenario: impl AsyncFnOnce(&mut watch::Receiver<FollowerStatus>) -> Result<T> + Send,
) -> Result<T> {
    follow_with_interval(node, attacher, Duration::from_secs(60), scenario)
}

/// The same, with all devices listed again this often.
fn follow_with_interval<A: Attacher, T: Send>(
    node: &Node,
    attacher: A,
    list_every: Duration,
    scenario: impl AsyncFnOnce(&mut watch::Receiver<FollowerStatus>) -> Result<T> + Send,
) -> Result<T> {
    node.netns.run(|| {
        // One thread, and others started from it: all of them are in the node's namespace.
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let watcher = DeviceWatcher::with_interval(Selector::Peers, list_every)?;
            let follower = DeviceFollower::new(watcher, Arc::new(attacher));
            let mut status = follower.status();
            tokio::select! {
                stopped = follower.run() => Err(stopped.unwrap_err().into()),
                result = scenario(&mut status) => result,
            }
        })
    })
}

async fn until(
    status: &mut watch::Receiver<FollowerStatus>,
    what: &str,
    condition: impl FnMut(&FollowerStatus) -> bool,
) -> Result<FollowerStatus> {
    let wait = timeout(Duration::from_secs(10), status.wait_for(condition)).await;
    Ok(wait
        .with_context(|| format!("waited 10 s for {what}"))??
        .clone())
}

#[test]
fn devices_have_their_programs_as_they_come_and_lose_their_pins_as_they_go() -> Result<()> {
    let node = node("follow-all")?;
    let _first = node.add_pod("veth1", 101)?;
    let (datapath, links) = node.start(Attach::Auto)?;
    let mut pods = Vec::new();
    follow(&node, links, async |status| {
        until(status, "the first pass", |s| s.is_complete).await?;
        assert_eq!(
            status.borrow().attached(),
            1,
            "complete means that it was tried"
        );
        assert_attached_once(&node, "veth1", &datapath)?;

        pods.push(node.add_pod("veth2", 102)?);
        until(status, "the second device", |s| s.attached() == 2).await?;
        assert_attached_once(&node, "veth2", &datapath)?;

        node.netns.ip(&["link del veth1"])?;
        until(status, "the first device to go", |s| s.devices.len() == 1).await?;
        assert_eq!(node.link_pins()?, ["if102_egress", "if102_ingress"]);
        Ok(())
    })?;
    assert_attached_once(&node, "veth2", &datapath)?;
    Ok(())
}

#[test]
fn what_an_earlier_agent_left_on_other_devices_is_swept() -> Result<()> {
    let node = node("follow-sweep")?;
    let _pods = (node.add_pod("veth1", 101)?, node.add_pod("veth2", 102)?);
    node.netns.ip(&["link add br0 index 103 type bridge"])?;
    for (attach, ifindex, device) in [
        (Attach::Tcx, 101, "veth1"),
        (Attach::Tcx, 102, "veth2"),
        (Attach::Clsact, 103, "br0"),
    ] {
        let (_datapath, links) = node.start(attach)?;
        node.netns.run(|| links.attach(ifindex, device))?;
    }
    node.netns.ip(&["link del veth1"])?;
    let (datapath, links) = node.start(Attach::Auto)?;
    follow(&node, links, async |status| {
        until(status, "the first pass", |s| s.is_complete)
            .await
            .map(drop)
    })?;
    assert_eq!(node.link_pins()?, ["if102_egress", "if102_ingress"]);
    assert_eq!(node.programs("br0", Side::Ingress)?, Vec::<u32>::new());
    assert_attached_once(&node, "veth2", &datapath)
}

/// Fails a few times for one device.
struct Unwilling {
    device: u32,
    failures: AtomicU32,
    links: Links,
}

impl Attacher for Unwilling {
    type Error = lb_userspace::datapath::LinkError;

    fn attach(&self, ifindex: u32, name: &str) -> Result<(), Self::Error> {
        let more = |n: u32| n.checked_sub(1);
        if ifindex == self.device
            && self
                .failures
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more)
                .is_ok()
        {
            return Err(lb_userspace::datapath::LinkError::NoTcx);
        }
        Attacher::attach(&self.links, ifindex, name)
    }

    fn is_attached(&self, ifindex: u32) -> Result<bool, Self::Error> {
        self.links.is_attached(ifindex)
    }

    fn detach(&self, ifindex: u32) -> Result<(), Self::Error> {
        self.links.detach(ifindex)
    }

    fn left_behind(&self) -> Result<BTreeSet<u32>, Self::Error> {
        self.links.devices()
    }

    fn is_final(&self, error: &Self::Error) -> bool {
        self.links.is_final(error)
    }
}

#[test]
fn a_device_that_fails_is_tried_again_while_others_are_served() -> Result<()> {
    let node = node("follow-retry")?;
    let _pods = (node.add_pod("veth1", 101)?, node.add_pod("veth2", 102)?);
    let (datapath, links) = node.start(Attach::Auto)?;
    let unwilling = Unwilling {
        device: 101,
        failures: AtomicU32::new(3),
        links,
    };
    follow(&node, unwilling, async |status| {
        let first = until(status, "the first pass", |s| s.is_complete).await?;
        assert_eq!((first.attached(), first.failing()), (1, 1));
        let DeviceState::Failed { error, .. } = &first.devices[&101].state else {
            anyhow::bail!("{first:?}");
        };
        assert!(error.contains("tcx"), "{error}");
        assert_attached_once(&node, "veth2", &datapath)?;
        until(status, "the retry", |s| s.attached() == 2).await?;
        assert_attached_once(&node, "veth1", &datapath)
    })
}

#[test]
fn many_devices_that_come_and_go_at_once_end_in_the_right_state() -> Result<()> {
    let node = node("follow-churn")?;
    let (datapath, links) = node.start(Attach::Auto)?;
    let pod = lab::Netns::create("follow-churn-pod")?;
    follow(&node, links, async |status| {
        until(status, "the first pass", |s| s.is_complete).await?;
        let add = |i: u32| {
            format!(
                "link add v{i} index {} type veth peer name e{i} netns {}",
                1000 + i,
                pod.name()
            )
        };
        node.netns.ip(&(0..40).map(add).collect::<Vec<_>>())?;
        node.netns.ip(&(0..40)
            .step_by(2)
            .map(|i| format!("link del v{i}"))
            .collect::<Vec<_>>())?;
        until(status, "half of the devices", |s| {
            s.devices.len() == 20 && s.attached() == 20
        })
        .await?;
        Ok(())
    })?;
    assert_eq!(
        node.link_pins()?.len(),
        40,
        "two links for each of twenty devices"
    );
    assert_attached_once(&node, "v1", &datapath)
}

#[test]
fn what_somebody_else_removes_is_attached_again() -> Result<()> {
    for (name, attach) in [
        ("follow-back-tcx", Attach::Tcx),
        ("follow-back-cls", Attach::Clsact),
    ] {
        let node = node(name)?;
        let _pods = (node.add_pod("veth1", 101)?, node.add_pod("veth2", 102)?);
        let (datapath, links) = node.start(attach)?;
        let often = Duration::from_millis(100);
        follow_with_interval(&node, links, often, async |status| {
            until(status, "the first pass", |s| s.attached() == 2).await?;
            remove_programs(&node, "veth1", 101, attach)?;
            let deadline = Instant::now() + Duration::from_secs(10);
            while node.programs("veth1", Side::Ingress)?.is_empty()
                || node.programs("veth1", Side::Egress)?.is_empty()
            {
                ensure!(Instant::now() < deadline, "{attach:?}: waited 10 s");
                tokio::time::sleep(often).await;
            }
            Ok(())
        })?;
        for device in ["veth1", "veth2"] {
            assert_attached_once(&node, device, &datapath)?;
        }
    }
    Ok(())
}

/// Removes the programs as another's tool would: the filters with their queueing discipline, a link behind its pin.
fn remove_programs(node: &Node, device: &str, ifindex: u32, attach: Attach) -> Result<()> {
    if attach == Attach::Clsact {
        node.tc(&format!("qdisc del dev {device} clsact"))?;
    } else {
        for side in [Side::Ingress, Side::Egress] {
            let output = std::process::Command::new("bpftool")
                .args(["link", "detach", "pinned"])
                .arg(node.paths.link(ifindex, side))
                .output()?;
            let complaint = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "bpftool: {complaint}");
        }
    }
    Ok(())
}

#[test]
fn that_there_is_no_workload_device_is_said_once() -> Result<()> {
    let node = node("follow-none")?;
    let (_datapath, links) = node.start(Attach::Auto)?;
    let said = Log::default();
    node.netns.run(|| -> Result<()> {
        let writer = said.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        // Time passes as fast as nothing happens.
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()?;
        runtime.block_on(async {
            let watcher = DeviceWatcher::new(Selector::Peers)?;
            let follower = DeviceFollower::new(watcher, Arc::new(links));
            let ran = timeout(Duration::from_secs(600), follower.run()).await;
            ensure!(ran.is_err(), "the follower ended");
            Ok(())
        })
    })?;
    let said = said.text();
    assert_eq!(
        said.matches("no workload device found").count(),
        1,
        "{said}"
    );
    assert!(said.contains("--devices"), "{said}");
    Ok(())
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
