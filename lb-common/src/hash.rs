//! The hash that selects a slot.

use crate::addr::{Address, Endpoint};

/// Finalizer of splitmix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit.
#[inline(always)]
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 32)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 32)
}

/// The number that, modulo the length of a selection table, is the slot of a connection.
///
/// Client and service port are hashed with the secret; the client's port is *added*. A client's ephemeral ports run in
/// steps (Linux: of two, `net/ipv4/inet_hashtables.c`), so its connections go over the slots in turn and the spread is
/// evener than chance would make it. The rotation turns steps of two into steps of one, which reach every slot whatever
/// the length is.
#[inline(always)]
pub fn slot_hash<A: Address>(secret: u64, client: &Endpoint<A>, service_id: u32) -> u32 {
    let start =
        mix(client.address.fold() ^ secret.rotate_left(17) ^ ((service_id as u64) << 40)) as u32;
    start.wrapping_add(client.port.get().rotate_right(1) as u32)
}
