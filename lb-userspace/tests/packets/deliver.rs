//! The redirect path: which packets from a pod go straight into another pod of the node, as what, and which are left to the
//! host's stack. That they arrive is the traffic tests' business: here the kernel only says what it would do.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result};
use lab::Netns;
use lb_common::packet::TcpFlags;
use lb_common::redirect::LocalPod;
use lb_common::testing::{Extension, Frame, L4};

use crate::family::{Family, WEB, on_both_families, services};
use crate::loaded::{Loaded, NEXT, Program, REDIRECT};

/// The runs take place on the loopback device: the sender is behind it.
pub(crate) const LOOPBACK: u32 = 1;
const SENDER: u8 = 100;
/// The backend of the services, behind another device.
const BACKEND: u8 = 1;
/// A pod behind the sender's own device.
const BESIDE: u8 = 2;
/// A pod whose device is gone.
const GONE: u8 = 3;

/// Destination of all frames that the builder makes.
pub(crate) const ADDRESSED: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
pub(crate) const MAC: [u8; 6] = [0x0a, 1, 2, 3, 4, 5];

/// A device beside the loopback device. The namespace goes with it.
pub(crate) struct Device {
    netns: Netns,
    pub(crate) ifindex: u32,
}

/// The object with the redirect path on, and pods of which the backend is behind the device.
fn loaded<A: Family>(device: &Device, backend: LocalPod) -> Result<Loaded> {
    let mut loaded = Loaded::redirecting()?;
    loaded.fill(&services::<A>())?;
    let pods = [
        (SENDER, LocalPod::new(LOOPBACK, MAC, ADDRESSED)),
        (BACKEND, backend),
        (BESIDE, LocalPod::new(LOOPBACK, MAC, ADDRESSED)),
        (GONE, LocalPod::new(device.ifindex + 1_000, MAC, ADDRESSED)),
    ];
    let pods: HashMap<A, LocalPod> = pods.into_iter().map(|(n, pod)| (A::pod(n), pod)).collect();
    loaded.set_local_pods(&pods)?;
    loaded.turn_redirect_on()?;
    Ok(loaded)
}

/// Runs `body` in a namespace with a device beside the loopback device, with MTU 1000.
pub(crate) fn with_device(
    name: &str,
    body: impl FnOnce(&Device) -> Result<()> + Send,
) -> Result<()> {
    let netns = Netns::create(name)?;
    netns.ip(&[
        "link set lo up",
        "link add name pod0 mtu 1000 type veth peer name pod1",
        "link set pod0 up",
    ])?;
    let ifindex = lab::Device::new(&netns, "pod0").index()?;
    let device = Device { netns, ifindex };
    device.netns.run(|| body(&device))
}

/// The backend, to which the node sends from the address that frames are addressed to.
pub(crate) fn routed(device: &Device) -> LocalPod {
    LocalPod::new(device.ifindex, MAC, ADDRESSED)
}

fn from_sender<A: Family>(to: A, l4: L4) -> Frame<A> {
    Frame::new(A::pod(SENDER), to, l4)
}

pub(crate) fn question() -> L4 {
    L4::udp(40_000, 53, b"odd")
}

/// The octets of the frame as the node would forward it to the pod.
pub(crate) fn forwarded<A: Family>(mut frame: Frame<A>) -> Vec<u8> {
    frame.ip.ttl -= 1;
    let mut octets = frame.build();
    octets[..6].copy_from_slice(&MAC);
    octets[6..12].copy_from_slice(&ADDRESSED);
    octets
}

pub(crate) fn counted(names: &[&'static str]) -> BTreeMap<&'static str, u64> {
    names.iter().map(|name| (*name, 1)).collect()
}

/// What is left to the stack goes on as it is.
#[track_caller]
pub(crate) fn check_left(loaded: &mut Loaded, frame: &[u8], reason: &[&'static str]) -> Result<()> {
    let ran = loaded.run(Program::FromWorkload, frame)?;
    assert_eq!(
        (ran.action, ran.counted),
        (NEXT, counted(reason)),
        "{reason:?}"
    );
    assert_eq!(ran.frame, frame, "{reason:?}");
    Ok(())
}

on_both_families! {
    fn packets_to_a_service_and_their_answers_are_delivered<A>() -> Result<()> {
        with_device(&format!("deliver-there-{}", A::OCTETS), |device| {
            let mut loaded = loaded::<A>(device, routed(device))?;
            let there = from_sender(A::vip(WEB), question());
            let ran = loaded.run(Program::FromWorkload, &there.build())?;
            let translated = there.with_destination(A::pod(BACKEND), 5353);
            assert_eq!((ran.action, ran.counted), (REDIRECT, counted(&["new-flow", "delivered"])));
            assert_eq!(ran.frame, forwarded(translated.clone()));

            // The backend is behind the loopback device now, as all that runs is, and the client behind the other one.
            let pods = [
                (A::pod(BACKEND), LocalPod::new(LOOPBACK, MAC, ADDRESSED)),
                (A::pod(SENDER), routed(device)),
            ];
            loaded.set_local_pods(&pods.into())?;
            let back = translated.reversed();
            let ran = loaded.run(Program::FromWorkload, &back.build())?;
            assert_eq!((ran.action, ran.counted), (REDIRECT, counted(&["reply", "delivered"])));
            assert_eq!(ran.frame, forwarded(there.reversed()));
            Ok(())
        })
    }

    fn other_packets_between_pods_are_delivered_too<A>() -> Result<()> {
        with_device(&format!("deliver-plain-{}", A::OCTETS), |device| {
            let mut loaded = loaded::<A>(device, routed(device))?;
            for l4 in [
                L4::tcp(40_000, 80, TcpFlags::SYN),
                question(),
                L4::Other { protocol: 132, payload: vec![7; 20] },
            ] {
                let frame = from_sender(A::pod(BACKEND), l4);
                let ran = loaded.run(Program::FromWorkload, &frame.build())?;
                assert_eq!((ran.action, ran.counted), (REDIRECT, counted(&["delivered"])));
                assert_eq!(ran.frame, forwarded(frame));
            }
            Ok(())
        })
    }

    fn a_packet_that_is_addressed_to_the_pod_itself_takes_no_hop<A>() -> Result<()> {
        with_device(&format!("deliver-bridged-{}", A::OCTETS), |device| {
            let bridged = LocalPod::new(device.ifindex, ADDRESSED, MAC);
            let mut loaded = loaded::<A>(device, bridged)?;
            let mut frame = from_sender(A::pod(BACKEND), question());
            frame.ip.ttl = 1;
            let ran = loaded.run(Program::FromWorkload, &frame.build())?;
            assert_eq!((ran.action, ran.counted), (REDIRECT, counted(&["delivered"])));
            assert_eq!(ran.frame, frame.build());
            Ok(())
        })
    }

    fn what_the_stack_has_to_deal_with_is_left_to_it<A>() -> Result<()> {
        with_device(&format!("deliver-left-{}", A::OCTETS), |device| {
            let mut loaded = loaded::<A>(device, routed(device))?;
            let plain = from_sender(A::pod(BACKEND), question());
            let with = |change: fn(&mut Frame<A>)| {
                let mut frame = plain.clone();
                change(&mut frame);
                frame.build()
            };
            let expired = with(|frame| frame.ip.ttl = 1);
            check_left(&mut loaded, &expired, &["stack-hop-limit"])?;
            let spoofed = with(|frame| frame.ip.source = A::pod(77));
            check_left(&mut loaded, &spoofed, &["stack-source"])?;
            let of_another = with(|frame| frame.ip.source = A::pod(GONE));
            check_left(&mut loaded, &of_another, &["stack-source"])?;
            let options = with(|frame| {
                if A::OCTETS == 4 {
                    frame.ip.options = vec![0x94, 4, 0, 0];
                } else {
                    frame.ip.extensions = vec![Extension::HopByHop(vec![5, 2, 0, 0, 1, 0])];
                }
            });
            check_left(&mut loaded, &options, &["stack-headers"])?;
            let large = from_sender(A::pod(BACKEND), L4::udp(40_000, 53, &[7; 1_001]));
            check_left(&mut loaded, &large.build(), &["stack-too-big"])?;
            let beside = from_sender(A::pod(BESIDE), question());
            check_left(&mut loaded, &beside.build(), &["stack-hairpin"])?;
            let gone = from_sender(A::pod(GONE), question());
            check_left(&mut loaded, &gone.build(), &["stack-no-device"])?;
            let mut to_another = plain.build();
            to_another[5] = 0x77;
            check_left(&mut loaded, &to_another, &["stack-link"])?;
            let elsewhere = from_sender(A::pod(55), question());
            check_left(&mut loaded, &elsewhere.build(), &[])
        })
    }

    fn a_packet_that_just_fits_is_delivered_and_one_octet_more_is_not<A>() -> Result<()> {
        with_device(&format!("deliver-mtu-{}", A::OCTETS), |device| {
            let mut loaded = loaded::<A>(device, routed(device))?;
            let headers = 8 + if A::OCTETS == 4 { 20 } else { 40 };
            for (len, action) in [(1_000, REDIRECT), (1_001, NEXT)] {
                let payload = vec![7; len - headers];
                let frame = from_sender(A::pod(BACKEND), L4::udp(40_000, 53, &payload));
                let ran = loaded.run(Program::FromWorkload, &frame.build())?;
                assert_eq!(ran.action, action, "{len} octets");
            }
            Ok(())
        })
    }

    fn nothing_is_delivered_while_it_is_off<A>() -> Result<()> {
        with_device(&format!("deliver-off-{}", A::OCTETS), |device| {
            let mut loaded = Loaded::redirecting()?;
            loaded.fill(&services::<A>())?;
            let pods = [
                (A::pod(SENDER), LocalPod::new(LOOPBACK, MAC, ADDRESSED)),
                (A::pod(BACKEND), routed(device)),
            ];
            loaded.set_local_pods(&pods.into())?;
            let frame = from_sender(A::pod(BACKEND), question()).build();
            check_left(&mut loaded, &frame, &[]).context("off")
        })
    }
}
