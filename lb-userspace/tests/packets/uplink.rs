//! The redirect path between nodes: which packets from a pod go straight out of the uplink, which from there straight into their
//! pod, and which are left to the host's stack. The runs take place on the loopback device, which is the pod's device for
//! the ones and the uplink for the others.

use std::collections::HashMap;

use anyhow::Result;
use lb_common::redirect::{LocalPod, RemotePods};
use lb_common::testing::{Extension, Frame, L4};

use crate::deliver::{
    ADDRESSED, Device, LOOPBACK, MAC, check_left, counted, forwarded, question, routed, with_device,
};
use crate::family::{Family, WEB, on_both_families, services};
use crate::loaded::{FROM_UPLINK, Loaded, NEXT, Program, REDIRECT};

/// The pod of this node.
const HERE: u8 = 100;
/// The backend of the services, on another node.
const THERE: u8 = 1;
/// An address within the other node's prefix that another way leads to.
const LEFT_OUT: u8 = 3;
const GATEWAY: u8 = 200;

/// The object with the redirect path on. The pod of this node is behind `here`, and the backend behind the uplink `there`.
fn loaded<A: Family>(here: LocalPod, there: u32) -> Result<Loaded> {
    let mut loaded = Loaded::redirecting()?;
    loaded.fill(&services::<A>())?;
    loaded.set_local_pods(&HashMap::from([(A::pod(HERE), here)]))?;
    let bits = A::OCTETS as u32 * 8;
    loaded.set_remote_pods(&[
        // All pods whose numbers differ in the last two bits.
        (A::pod(0), bits - 2, RemotePods::new(there, A::pod(GATEWAY))),
        (A::pod(LEFT_OUT), bits, RemotePods::unknown()),
    ])?;
    loaded.turn_redirect_on()?;
    Ok(loaded)
}

fn sending<A: Family>(device: &Device) -> Result<Loaded> {
    loaded::<A>(LocalPod::new(LOOPBACK, MAC, ADDRESSED), device.ifindex)
}

fn from_here<A: Family>(to: A) -> Frame<A> {
    Frame::new(A::pod(HERE), to, question())
}

/// The octets of the frame a hop further. Its Ethernet header is the business of whoever sends it.
fn a_hop_further<A: Family>(mut frame: Frame<A>) -> Vec<u8> {
    frame.ip.ttl -= 1;
    frame.build()
}

/// The frame as one that is addressed to the loopback device.
fn to_the_node<A: Family>(frame: &Frame<A>) -> Vec<u8> {
    let mut octets = frame.build();
    octets[..6].fill(0);
    octets
}

on_both_families! {
    fn packets_to_a_service_and_to_pods_of_another_node_are_sent_out<A>() -> Result<()> {
        with_device(&format!("uplink-out-{}", A::OCTETS), |device| {
            let mut loaded = sending::<A>(device)?;
            let asked = from_here(A::vip(WEB));
            let ran = loaded.run(Program::FromWorkload, &asked.build())?;
            assert_eq!((ran.action, ran.counted), (REDIRECT, counted(&["new-flow", "sent"])));
            let translated = asked.with_destination(A::pod(THERE), 5353);
            assert_eq!(ran.frame, a_hop_further(translated));

            let plain = from_here(A::pod(THERE));
            let ran = loaded.run(Program::FromWorkload, &plain.build())?;
            assert_eq!((ran.action, ran.counted), (REDIRECT, counted(&["sent"])));
            assert_eq!(ran.frame, a_hop_further(plain));
            Ok(())
        })
    }

    fn what_the_stack_has_to_deal_with_does_not_leave_past_it<A>() -> Result<()> {
        with_device(&format!("uplink-left-{}", A::OCTETS), |device| {
            let mut loaded = sending::<A>(device)?;
            let plain = from_here(A::pod(THERE));
            let with = |change: fn(&mut Frame<A>)| {
                let mut frame = plain.clone();
                change(&mut frame);
                frame.build()
            };
            check_left(&mut loaded, &with(|frame| frame.ip.ttl = 1), &["stack-hop-limit"])?;
            check_left(&mut loaded, &with(|frame| frame.ip.source = A::pod(77)), &["stack-source"])?;
            let options = with(|frame| {
                if A::OCTETS == 4 {
                    frame.ip.options = vec![0x94, 4, 0, 0];
                } else {
                    frame.ip.extensions = vec![Extension::HopByHop(vec![5, 2, 0, 0, 1, 0])];
                }
            });
            check_left(&mut loaded, &options, &["stack-headers"])?;
            let large = Frame::new(A::pod(HERE), A::pod(THERE), L4::udp(40_000, 53, &[7; 1_001]));
            check_left(&mut loaded, &large.build(), &["stack-too-big"])?;
            let mut to_another = plain.build();
            to_another[5] = 0x77;
            check_left(&mut loaded, &to_another, &["stack-link"])?;
            for elsewhere in [LEFT_OUT, 55] {
                check_left(&mut loaded, &from_here(A::pod(elsewhere)).build(), &[])?;
            }
            let way = RemotePods::new(device.ifindex + 1_000, A::pod(GATEWAY));
            loaded.set_remote_pods(&[(A::pod(THERE), A::OCTETS as u32 * 8, way)])?;
            check_left(&mut loaded, &plain.build(), &["stack-no-device"])
        })
    }

    fn what_comes_in_is_delivered_and_answers_come_from_the_vip<A>() -> Result<()> {
        with_device(&format!("uplink-in-{}", A::OCTETS), |device| {
            let mut loaded = loaded::<A>(routed(device), LOOPBACK)?;
            let plain = Frame::new(A::pod(THERE), A::pod(HERE), question());
            let ran = loaded.run_named(FROM_UPLINK, &to_the_node(&plain))?;
            assert_eq!((ran.action, ran.counted), (REDIRECT, counted(&["delivered"])));
            assert_eq!(ran.frame, forwarded(plain));

            // The way through the stack, for the question.
            let asked = from_here(A::vip(WEB));
            loaded.run(Program::FromWorkload, &asked.build())?;
            let answer = asked.with_destination(A::pod(THERE), 5353).reversed();
            let ran = loaded.run_named(FROM_UPLINK, &to_the_node(&answer))?;
            assert_eq!((ran.action, ran.counted), (REDIRECT, counted(&["reply", "delivered"])));
            assert_eq!(ran.frame, forwarded(asked.reversed()));
            Ok(())
        })
    }

    fn what_the_stack_has_to_deal_with_does_not_come_in_past_it<A>() -> Result<()> {
        with_device(&format!("uplink-stays-{}", A::OCTETS), |device| {
            let mut loaded = loaded::<A>(routed(device), LOOPBACK)?;
            let mut left = |frame: &[u8], reason: &[&'static str]| -> Result<()> {
                let ran = loaded.run_named(FROM_UPLINK, frame)?;
                assert_eq!((ran.action, ran.counted), (NEXT, counted(reason)), "{reason:?}");
                assert_eq!(ran.frame, frame, "{reason:?}");
                Ok(())
            };
            let plain = Frame::new(A::pod(THERE), A::pod(HERE), question());
            left(&to_the_node(&Frame::new(A::pod(THERE), A::pod(55), question())), &[])?;
            left(&to_the_node(&Frame::new(A::pod(77), A::pod(HERE), question())), &["stack-outside"])?;
            left(&to_the_node(&Frame::new(A::pod(LEFT_OUT), A::pod(HERE), question())), &["stack-outside"])?;
            left(&plain.build(), &["stack-link"])?;
            let mut expiring = plain.clone();
            expiring.ip.ttl = 1;
            left(&to_the_node(&expiring), &["stack-hop-limit"])?;
            let large = Frame::new(A::pod(THERE), A::pod(HERE), L4::udp(40_000, 53, &[7; 1_001]));
            left(&to_the_node(&large), &["stack-too-big"])
        })
    }
}
