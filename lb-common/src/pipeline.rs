//! The decisions: what happens to a packet, and why.
//!
//! [`glance`] tells most packets that are for no Service by their addresses. Of the others
//! [`from_workload`] sees the packets that leave a pod, [`to_workload`] those that reach it. Both directions of a
//! translation happen at the client's device: the state lives on the client's node, and the backend sees the pod's own
//! address. Nothing here touches a packet or a map: what a decision needs comes through [`Dataplane`], what it wants is
//! a [`Verdict`].

mod affinity;
pub mod deliver;
mod echo;
pub mod express;
mod failover;
mod first;
mod forward;
mod fragments;
pub mod glance;
mod hairpin;
mod related;
mod reply;
mod select;
pub mod socket;
mod source_port;
mod unallocated;

pub use forward::from_workload;
pub use fragments::not_held;
pub use related::related;
pub use reply::to_workload;

use crate::addr::{Address, Endpoint, Port};
use crate::affinity::{Affinity, AffinityKey};
use crate::backend::Backend;
use crate::conntrack::{ConntrackKey, Flow, FlowState, FlowTable, UDP_IDLE_SECONDS};
use crate::fragments::{Fragments, FragmentsKey, HeldKey};
use crate::frontend::{Frontend, FrontendKey};
use crate::packet::TcpFlags;
use crate::reason::Reason;
use crate::rewrite::{Rewrite, Side};

/// What happens to a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// It goes on untouched.
    Pass,
    /// It goes on with another source or destination.
    Rewrite,
    /// It is an ICMP error: what it quotes decides, by way of [`related`]. Where that is no known flow, it goes on untouched, or is
    /// dropped where nobody has its destination.
    Relate,
    /// It is a ping, and answered by an echo reply from its destination.
    Echo,
    /// Its sender is told that nobody serves the port.
    Reject,
    /// It is dropped in silence.
    Drop,
    /// It is a fragment that came before the first of its datagram: kept under [`Room::held_key`] until that has come.
    Hold,
}

/// What happens to a packet, and why.
///
/// It is no enum with data, so that every octet of it is always defined: the verifier refuses a program that copies
/// what was never written, even where nothing depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict<A> {
    /// What happens.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// How the packet changes; meaningless unless the action is [`Action::Rewrite`].
    pub rewrite: Rewrite<A>,
}

impl<A: Address> Verdict<A> {
    /// The packet goes on untouched.
    #[inline(always)]
    pub fn pass(reason: Reason) -> Self {
        Self::without_rewrite(Action::Pass, reason)
    }

    /// The packet goes on with another source or destination.
    #[inline(always)]
    pub fn rewrite(rewrite: Rewrite<A>, reason: Reason) -> Self {
        Self {
            action: Action::Rewrite,
            reason,
            rewrite,
        }
    }

    /// The packet is an ICMP error; `reason` is why it passes, or is dropped, where it is about no known flow.
    #[inline(always)]
    pub fn relate(reason: Reason) -> Self {
        Self::without_rewrite(Action::Relate, reason)
    }

    /// The packet is a ping, and answered.
    #[inline(always)]
    pub fn echo(reason: Reason) -> Self {
        Self::without_rewrite(Action::Echo, reason)
    }

    /// The packet's sender is told that nobody serves the port.
    #[inline(always)]
    pub fn reject(reason: Reason) -> Self {
        Self::without_rewrite(Action::Reject, reason)
    }

    /// The packet is dropped in silence.
    #[inline(always)]
    pub fn drop(reason: Reason) -> Self {
        Self::without_rewrite(Action::Drop, reason)
    }

    /// The packet is kept until the first fragment of its datagram has come.
    #[inline(always)]
    pub fn hold() -> Self {
        Self::without_rewrite(Action::Hold, Reason::FragmentHeld)
    }

    #[inline(always)]
    fn without_rewrite(action: Action, reason: Reason) -> Self {
        let to = Endpoint {
            address: bytemuck::Zeroable::zeroed(),
            port: Port::new(0),
        };
        Self {
            action,
            reason,
            rewrite: Rewrite {
                side: Side::Source,
                to,
                other_port: Port::new(0),
            },
        }
    }
}

/// Memory that a decision works in. A caller hands it over because a BPF program's stack of 512 octets has no room for flows;
/// what it held before does not matter.
#[repr(C)]
pub struct Room<A> {
    /// What a flow is looked for by.
    key: ConntrackKey<A>,
    /// The packet that begins a flow.
    first: first::First,
    /// The client of the flow that begins.
    client: affinity::Client<A>,
    /// A flow that was found.
    known: Flow<A>,
    /// The backends that the flow that begins shall not go to.
    unanswered: failover::Unanswered,
    /// The flow that begins.
    new: Flow<A>,
    /// Whether the flow that was found has to go for the one that begins: 0 or 1.
    displaces: u32,
    /// The source ports that it may get.
    candidates: source_port::Candidates,
    /// The other flow of a hairpin.
    mirrored: Flow<A>,
    /// What it is looked for by.
    other_key: ConntrackKey<A>,
    /// What the record of a datagram's first fragment is looked for by.
    fragments_key: FragmentsKey<A>,
    /// The record.
    fragments: Fragments<A>,
    /// Whether the packet is a first fragment: 0 or 1.
    is_first: u32,
    /// The protocol of its datagram, by IANA's number.
    first_protocol: u32,
    /// The packet's ports, first that of the end that a rewrite changes.
    ports: [Port; 2],
    /// The address that was decided on for it.
    decided: A,
    /// The key of a fragment that is held.
    held_key: HeldKey<A>,
    /// How many fragments were held until the packet came.
    held: u32,
}

impl<A: Address> Room<A> {
    /// Empty memory.
    pub fn new() -> Self {
        Self {
            key: ConntrackKey::empty(),
            first: first::First::NONE,
            client: affinity::Client::empty(),
            known: Flow::empty(),
            unanswered: failover::Unanswered::NONE,
            new: Flow::empty(),
            displaces: 0,
            candidates: source_port::Candidates::NONE,
            mirrored: Flow::empty(),
            other_key: ConntrackKey::empty(),
            fragments_key: FragmentsKey::empty(),
            fragments: Fragments::empty(),
            is_first: 0,
            ports: [Port::new(0); 2],
            first_protocol: 0,
            decided: A::zeroed(),
            held_key: HeldKey::empty(),
            held: 0,
        }
    }

    /// Under which key a fragment is kept, where the verdict is to hold it.
    #[inline(always)]
    pub fn held_key(&self) -> &HeldKey<A> {
        &self.held_key
    }

    /// How many fragments were held until the packet came that was decided on last: 0 for all but the first fragments
    /// of some datagrams, and at most [`MOST_HELD`](crate::fragments::MOST_HELD). They are to be put back to where they came
    /// from, behind the packet.
    #[inline(always)]
    pub fn held(&self) -> u32 {
        self.held
    }

    /// The key of the first of these, and of each that follows by its number.
    #[inline(always)]
    pub fn first_held(&mut self) -> &mut HeldKey<A> {
        self.held_key.set(&self.fragments_key, 0);
        &mut self.held_key
    }
}

impl<A: Address> Default for Room<A> {
    fn default() -> Self {
        Self::new()
    }
}

/// The world that decisions are taken in, for one address family.
pub trait Dataplane: glance::Addresses {
    /// Where flows live.
    type Flows: FlowTable<Self::Address>;

    /// The frontend of a key.
    fn frontend(&self, key: &FrontendKey<Self::Address>) -> Option<Frontend>;
    /// The backend id in a slot; 0 in a slot that was never written.
    fn slot(&self, index: u32) -> Option<u32>;
    /// The backend of an id.
    fn backend(&self, id: u32) -> Option<Backend<Self::Address>>;
    /// Lets an address be one of which a flow may have a backend, from now on.
    fn mark_backend(&self, address: &Self::Address);
    /// The flows.
    fn flows(&self) -> &Self::Flows;
    /// Copies the record of a datagram's fragments to `into`, and returns whether there is one. What `into` holds
    /// afterwards is meaningless where there is none.
    fn fragments(
        &self,
        key: &FragmentsKey<Self::Address>,
        into: &mut Fragments<Self::Address>,
    ) -> bool;
    /// Records what is known of a datagram's fragments, in the place of what was. It may be forgotten at any time.
    fn remember_fragments(
        &self,
        key: &FragmentsKey<Self::Address>,
        fragments: &Fragments<Self::Address>,
    );
    /// The backend that a client was given last.
    fn affinity(&self, key: &AffinityKey<Self::Address>) -> Option<Affinity>;
    /// Remembers which backend a client was given. One that can't be remembered is balanced anew the next time.
    fn set_affinity(&self, key: &AffinityKey<Self::Address>, affinity: &Affinity);
    /// Takes a token for an echo reply, of which there are [`ECHO_REPLIES`](crate::token_bucket::ECHO_REPLIES) a second.
    /// Says whether there was one.
    fn take_echo_token(&self) -> bool;
    /// The clock, in ticks; it wraps.
    fn now(&self) -> u32;
    /// Ticks of the clock in a second.
    fn ticks_per_second(&self) -> u32;
    /// The secret of the hashes.
    fn secret(&self) -> u64;
}

/// Whether a flow has been without packets for longer than its kind may be. It is then nobody's.
#[inline(always)]
fn is_idle<D: Dataplane>(dp: &D, flow: &Flow<D::Address>, now: u32) -> bool {
    is_older(dp, flow.last_seen(), flow.longest_silence(), now)
}

/// Whether more than so many seconds have passed since a tick.
#[inline(always)]
fn is_older<D: Dataplane>(dp: &D, tick: u32, seconds: u32, now: u32) -> bool {
    age(dp, tick, now) > seconds.wrapping_mul(dp.ticks_per_second())
}

/// Ticks since a stamp. Another CPU may have read a later tick: a stamp of the next second is new, not as old as the clock's
/// wrap makes it.
#[inline(always)]
fn age<D: Dataplane>(dp: &D, stamp: u32, now: u32) -> u32 {
    ticks_since(stamp, now, dp.ticks_per_second())
}

/// As [`age`]; `second` is so many ticks.
#[inline(always)]
fn ticks_since(stamp: u32, now: u32, second: u32) -> u32 {
    let age = now.wrapping_sub(stamp);
    if age.wrapping_neg() <= second { 0 } else { age }
}

/// Stands for the flags of an address that no Service has though it is in a Service CIDR; none of a [`Frontend`]'s.
const UNALLOCATED: u32 = 1 << 31;

/// The flags of an address's own row, 0 where the address is no VIP, or [`UNALLOCATED`]. A function of its own, for its stack
/// frame.
#[inline(never)]
fn vip_flags<D: Dataplane>(dp: &D, address: &D::Address) -> u32 {
    match dp.frontend(&FrontendKey::address_row(*address)) {
        Some(row) => row.flags() | Frontend::ADDRESS,
        None if unallocated::is_unallocated(dp, address) => UNALLOCATED,
        None => 0,
    }
}

/// Records what a packet adds to its flow. Most packets add nothing and write nothing: the stamp is renewed once a
/// second.
#[inline(always)]
fn record<D: Dataplane>(dp: &D, flow: &mut Flow<D::Address>, seen: FlowState, now: u32) {
    let before = flow.state();
    let state = before.with(seen);
    if state != before || age(dp, flow.last_seen(), now) >= dp.ticks_per_second() {
        flow.see(state, now);
        dp.flows().update(flow, before);
    }
}

/// Forgets the flow that was found, on both sides, and the other flow of a hairpin. A function of its own: it is called from
/// several places and would be compiled into each.
#[inline(never)]
fn forget_known<D: Dataplane>(dp: &D, room: &mut Room<D::Address>) {
    dp.flows().remove(&room.known);
    if room.known.is_hairpin() {
        hairpin::forget_other(dp, room);
    }
}

/// Whether a packet of the client assures its flow: the backend has answered, and the client goes on. A SYN that comes again does
/// not, nor does a reset, with which a client refuses an answer that it never asked for.
#[inline(always)]
fn assurance(state: FlowState, flags: Option<TcpFlags>) -> FlowState {
    let goes_on = flags.is_none_or(|flags| !flags.opens() && !flags.accepts() && !flags.rst());
    if goes_on && state.has(FlowState::REPLIED) {
        FlowState::ASSURED
    } else {
        FlowState::NEW
    }
}

/// What a segment says about the end of its connection; `fin` is the bit of the sender's side.
#[inline(always)]
fn ending(flags: Option<TcpFlags>, fin: FlowState) -> FlowState {
    match flags {
        Some(flags) if flags.rst() => FlowState::RESET,
        Some(flags) if flags.fin() => fin,
        _ => FlowState::NEW,
    }
}

#[cfg(test)]
mod tests;
