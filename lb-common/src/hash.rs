//! The hashes that select a slot and a source port.

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

/// The number whose parts are the source ports to try for a client that speaks to a frontend.
#[inline(always)]
pub fn port_hash<A: Address>(secret: u64, client: &Endpoint<A>, frontend: &Endpoint<A>) -> u64 {
    let ports = ((client.port.get() as u64) << 16) | frontend.port.get() as u64;
    mix(mix(client.address.fold() ^ secret.rotate_left(17))
        ^ frontend.address.fold()
        ^ (ports << 32))
}

/// The number that chooses a flow's place in the table of [`flows`](crate::flows): every flow of a client's port has the same.
#[inline(always)]
pub fn flow_hash<A: Address>(secret: u64, client: &A, port: u16, protocol: u8) -> u64 {
    let end = ((port as u64) << 8) | protocol as u64;
    mix(mix(client.fold() ^ secret.rotate_left(31)) ^ end)
}

/// The number that, modulo the length of a selection table, is the slot of a socket's datagrams. A socket has no port yet
/// when it sends its first one; the kernel's cookie for it takes the place of address and port.
#[inline(always)]
pub fn socket_hash(secret: u64, cookie: u64, service_id: u32) -> u32 {
    mix(cookie.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ secret.rotate_left(17)
        ^ ((service_id as u64) << 40)) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::addr::Port;

    fn slots(hashes: impl Iterator<Item = u32>) -> usize {
        hashes.map(|hash| hash % 60).collect::<BTreeSet<_>>().len()
    }

    #[test]
    fn secret_service_port_and_client_each_choose_the_slot_to_start_from() {
        let client = |n| Endpoint {
            address: [10, 244, 1, n],
            port: Port::new(40_000),
        };
        // Sixty draws of sixty slots leave 38 distinct ones on average.
        assert!(slots((0..60).map(|n| slot_hash(n, &client(1), 7))) > 25);
        assert!(slots((0..60).map(|n| slot_hash(1, &client(1), n))) > 25);
        assert!(slots((0..60).map(|n| slot_hash(1, &client(n as u8), 7))) > 25);
    }

    #[test]
    fn every_port_of_a_client_differs_by_its_place_among_the_ephemeral_ones() {
        let at = |port| {
            let client = Endpoint {
                address: [10, 244, 1, 1],
                port: Port::new(port),
            };
            slot_hash(1, &client, 7)
        };
        for port in (32_768..60_000).step_by(2) {
            assert_eq!(at(port + 2).wrapping_sub(at(port)), 1, "{port}");
        }
    }
}
