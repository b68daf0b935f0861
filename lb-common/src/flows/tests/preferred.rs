//! Which way a flow is put into that comes first.

use super::*;
use crate::flows::{self, Bucket, Memory, WAYS};

/// How many of 7000 clients' ports are in each way, each alone in a bucket.
fn ports_in_ways<A: Address>(address: A) -> [u32; WAYS] {
    let mut ports = [0; WAYS];
    for port in 1..=7_000 {
        let flow = flow((address, address, address), (port, 80), in_use(), 7);
        let hash = flows::hash_of_flow(1, &flow, port);
        let mut bucket = Bucket::<A>::empty();
        // SAFETY: the bucket is this thread's alone.
        unsafe { flows::insert::<A, Memory>(&raw mut bucket, hash, &flow, 250) }.unwrap();
        for (ports, tag) in ports.iter_mut().zip(bucket.tags) {
            *ports += u32::from(tag != 0);
        }
    }
    ports
}

#[test]
fn flows_are_spread_over_ways_that_have_a_line_each_and_else_are_in_the_first() {
    for ports in ports_in_ways([0xfd; 16]) {
        assert!((850..=1_150).contains(&ports), "{ports} of 7000");
    }
    assert_eq!(ports_in_ways([10; 4]), [7_000, 0, 0, 0, 0, 0, 0]);
}
