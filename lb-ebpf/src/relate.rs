//! ICMP errors about packets of a flow: reads what one quotes, and carries out what the pipeline says.
//!
//! Few packets need it, so it is called from the outermost function, where the stack is empty.

use lb_common::conntrack::Direction;
use lb_common::packet::icmp::{self, MAX_LOOKED_AT};
use lb_common::pipeline;
use lb_common::reason::Reason;
use lb_common::rewrite::{self, Related};

use crate::dataplane::Kernel;
use crate::maps::{FamilyMaps, count};
use crate::programs::{DROP, NEXT};
use crate::scratch::{self, Scratch};
use crate::skb::Skb;

/// The error is about no known flow: it passes.
pub(crate) struct Unrelated;

/// An address family whose errors can be translated. The result is the program's action.
pub(crate) trait Relate {
    /// Translates an error that comes from the client.
    fn from_pod(skb: Skb) -> Result<i32, Unrelated>;
    /// Translates an error that comes to the client.
    fn to_pod(skb: Skb) -> Result<i32, Unrelated>;
}

impl Relate for [u8; 4] {
    #[inline(always)]
    fn from_pod(skb: Skb) -> Result<i32, Unrelated> {
        related(from_pod_v4(skb))
    }

    #[inline(always)]
    fn to_pod(skb: Skb) -> Result<i32, Unrelated> {
        related(to_pod_v4(skb))
    }
}

impl Relate for [u8; 16] {
    #[inline(always)]
    fn from_pod(skb: Skb) -> Result<i32, Unrelated> {
        related(from_pod_v6(skb))
    }

    #[inline(always)]
    fn to_pod(skb: Skb) -> Result<i32, Unrelated> {
        related(to_pod_v6(skb))
    }
}

/// No action of the kernel: a function returns a number.
const UNRELATED: i32 = 100;

#[inline(always)]
fn related(action: i32) -> Result<i32, Unrelated> {
    if action == UNRELATED {
        Err(Unrelated)
    } else {
        Ok(action)
    }
}

// Functions of their own, for their stack frames.

#[inline(never)]
fn from_pod_v4(skb: Skb) -> i32 {
    relate::<[u8; 4]>(skb, Direction::FromClient)
}

#[inline(never)]
fn from_pod_v6(skb: Skb) -> i32 {
    relate::<[u8; 16]>(skb, Direction::FromClient)
}

#[inline(never)]
fn to_pod_v4(skb: Skb) -> i32 {
    relate::<[u8; 4]>(skb, Direction::FromBackend)
}

#[inline(never)]
fn to_pod_v6(skb: Skb) -> i32 {
    relate::<[u8; 16]>(skb, Direction::FromBackend)
}

#[inline(always)]
fn relate<A: FamilyMaps>(skb: Skb, direction: Direction) -> i32 {
    let Some(scratch) = Scratch::get() else {
        return UNRELATED;
    };
    if !quoted::<A>(skb, scratch) {
        return UNRELATED;
    }
    // SAFETY: this run's scratch, in which the packet and what it quotes were stored. The room is taken again, after the
    // pipeline's first decision is over.
    let (error, quoted, room, kernel) = unsafe {
        (
            scratch::packet::<A>(scratch),
            scratch::quoted::<A>(scratch),
            scratch::room(scratch),
            Kernel::new(scratch),
        )
    };
    match pipeline::related(&kernel, direction, error, quoted, room) {
        None => UNRELATED,
        Some(related) if carry_out(skb, scratch, &related) => {
            count(Reason::IcmpError);
            NEXT
        }
        Some(_) => {
            count(Reason::RewriteFailed);
            DROP
        }
    }
}

/// Reads what an error quotes into the scratch memory, and returns whether it can be of a flow.
#[inline(never)]
fn quoted<A: FamilyMaps>(skb: Skb, scratch: *mut Scratch) -> bool {
    // The error's headers, and those of a quoted packet without options.
    let usual = if A::OCTETS == 4 {
        14 + 20 + 8 + 20 + 20
    } else {
        14 + 40 + 8 + 40 + 20
    };
    skb.make_headers_accessible(usual, MAX_LOOKED_AT as u32);
    // SAFETY: this run's scratch; the packet was stored before it could be decided on.
    let error = unsafe { scratch::packet::<A>(scratch) };
    match icmp::quoted(&skb, error) {
        Some(quoted) => {
            // SAFETY: this run's scratch; nobody has a reference to what is quoted yet.
            unsafe { scratch::set_quoted(scratch, quoted) };
            true
        }
        None => false,
    }
}

#[inline(never)]
fn carry_out<A: FamilyMaps>(mut skb: Skb, scratch: *mut Scratch, related: &Related<A>) -> bool {
    // SAFETY: this run's scratch, in which both were stored.
    let (error, quoted) = unsafe { (scratch::packet::<A>(scratch), scratch::quoted::<A>(scratch)) };
    rewrite::relate(&mut skb, error, quoted, related).is_some()
}
