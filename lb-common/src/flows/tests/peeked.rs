//! What the table says of a packet's flow before it is asked for the whole.

use super::*;
use crate::conntrack::{Peek, Peeked};
use crate::flows::{Near, WAYS};
use crate::testing::flow_buckets::FlowBuckets;

/// A flow of the client's only port, to a frontend and a backend of this number.
fn numbered(n: u8) -> Flow<[u8; 4]> {
    let ends = ([10, 0, 0, 1], [10, 96, 0, n], [10, 244, 0, n]);
    flow(ends, (40_000, 80), in_use(), 7)
}

fn peeked(bucket: &FlowBuckets<[u8; 4]>, flow: &Flow<[u8; 4]>) -> Peeked {
    bucket.peek(&flow.from_backend(), &mut Peek::empty())
}

#[test]
fn a_flow_is_unknown_where_the_only_one_of_its_clients_port_is_another() {
    let bucket = FlowBuckets::<[u8; 4]>::new(WAYS as u32);
    let [one, two, three] = [1, 2, 3].map(numbered);
    assert_eq!(peeked(&bucket, &one), Peeked::Unknown);
    bucket.insert(&one).unwrap();
    assert_eq!(peeked(&bucket, &one), Peeked::Known);
    assert_eq!(peeked(&bucket, &two), Peeked::Unknown);
    // Of two the first alone is looked at.
    bucket.insert(&two).unwrap();
    assert_eq!(peeked(&bucket, &three), Peeked::Unsaid);
    bucket.remove(&two);
    assert_eq!(peeked(&bucket, &three), Peeked::Unknown);
    // The other table may have it.
    bucket.spill(&three, 40_000);
    assert_eq!(peeked(&bucket, &three), Peeked::Unsaid);
    assert_eq!(peeked(&bucket, &one), Peeked::Known);
}
