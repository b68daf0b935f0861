//! Fragments that came before the first of their datagram: keeps them, and puts them back once that has come.
//!
//! Few packets need it, so it is called from the outermost function, where the stack is empty.

use aya_ebpf::bindings::BPF_ANY;
use lb_common::conntrack::Direction;
use lb_common::fragments::{HELD_OCTETS, MOST_HELD};
use lb_common::pipeline;
use lb_common::reason::Reason;

use crate::maps::{FamilyMaps, count};
use crate::programs::{DROP, NEXT};
use crate::scratch::{self, Scratch};
use crate::skb::Skb;

/// An address family whose fragments can be held. The result is the program's action.
pub(crate) trait Hold {
    /// Keeps a fragment.
    fn hold(skb: Skb, direction: Direction) -> i32;
    /// Puts a first fragment and those that came before it back to where they came from.
    fn put_back(skb: Skb, direction: Direction) -> i32;
}

impl Hold for [u8; 4] {
    #[inline(always)]
    fn hold(skb: Skb, direction: Direction) -> i32 {
        if hold_v4(skb) {
            DROP
        } else {
            not_held(direction)
        }
    }

    #[inline(always)]
    fn put_back(skb: Skb, direction: Direction) -> i32 {
        put_back_v4(skb, direction as u32)
    }
}

impl Hold for [u8; 16] {
    #[inline(always)]
    fn hold(skb: Skb, direction: Direction) -> i32 {
        if hold_v6(skb) {
            DROP
        } else {
            not_held(direction)
        }
    }

    #[inline(always)]
    fn put_back(skb: Skb, direction: Direction) -> i32 {
        put_back_v6(skb, direction as u32)
    }
}

#[inline(always)]
fn not_held(direction: Direction) -> i32 {
    match pipeline::not_held(direction) {
        Reason::NotForService => NEXT,
        reason => {
            count(reason);
            DROP
        }
    }
}

// Functions of their own, for their stack frames.

#[inline(never)]
fn hold_v4(skb: Skb) -> bool {
    hold::<[u8; 4]>(skb).is_some()
}

#[inline(never)]
fn hold_v6(skb: Skb) -> bool {
    hold::<[u8; 16]>(skb).is_some()
}

#[inline(never)]
fn put_back_v4(skb: Skb, direction: u32) -> i32 {
    put_back::<[u8; 4]>(skb, direction)
}

#[inline(never)]
fn put_back_v6(skb: Skb, direction: u32) -> i32 {
    put_back::<[u8; 16]>(skb, direction)
}

#[inline(always)]
fn hold<A: FamilyMaps>(skb: Skb) -> Option<()> {
    let scratch = Scratch::get()?;
    // SAFETY: this run's scratch; the room is the one that the packet was decided on with.
    let (held, room) = unsafe { (scratch::held(scratch), scratch::room::<A>(scratch)) };
    // SAFETY: the memory is a Held, whose octets have this room.
    let len = unsafe { skb.copy_whole::<HELD_OCTETS>((*held).octets().cast_mut()) }?;
    // SAFETY: nobody else uses it.
    unsafe { (*held).set_len(len) };
    // SAFETY: as above.
    let held = unsafe { &*held };
    A::held()
        .insert(room.held_key(), held, u64::from(BPF_ANY))
        .ok()?;
    count(Reason::FragmentHeld);
    Some(())
}

/// The first fragment goes ahead as a copy; then the packet becomes one after the other of those that were held, and copies of
/// it follow. What is put back comes by this program again, and now its datagram is known.
///
/// What is to be sent comes by at once, inside of the helper's call, and works in the same scratch memory: all that is needed of
/// it is taken before the first copy goes.
#[inline(always)]
fn put_back<A: FamilyMaps>(skb: Skb, direction: u32) -> i32 {
    let received = direction == Direction::FromClient as u32;
    let Some(scratch) = Scratch::get() else {
        return NEXT;
    };
    // SAFETY: this run's scratch; the room is the one that the packet was decided on with.
    let room = unsafe { scratch::room::<A>(scratch) };
    let held = room.held();
    // Nobody else writes there, unless to hold a fragment of this datagram once more.
    let key = room.first_held();
    if skb.put_back(received).is_none() {
        return NEXT;
    }
    for number in 0..MOST_HELD {
        if u32::from(number) >= held {
            break;
        }
        key.set_number(number);
        let Some(frame) = A::held().get_ptr(&*key) else {
            continue;
        };
        // SAFETY: the entry's memory stays a Held as long as this program runs.
        let (octets, len) = unsafe { ((*frame).octets(), (*frame).len()) };
        // SAFETY: a Held has room for as many octets; all of them are defined.
        if unsafe { skb.replace_whole::<HELD_OCTETS>(octets, len) }.is_some() {
            let _ = skb.put_back(received);
        }
        let _ = A::held().remove(&*key);
    }
    DROP
}
