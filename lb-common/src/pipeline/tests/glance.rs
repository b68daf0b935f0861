//! What the addresses alone decide.

use super::*;
use crate::packet::ETHERNET;
use crate::service_cidr::ServiceCidrs;
use crate::testing::strategies::on_both_families;

/// Every part of a segment that ends behind its IP header, and the whole with each octet of the transport header inverted.
fn spoiled<A: Family>(to: A) -> Vec<Vec<u8>> {
    let whole = Frame::new(A::pod(100), to, L4::tcp(40_000, 80, SYN)).build();
    let header = ETHERNET + A::HEADER;
    let cut = (header..whole.len()).map(|len| whole[..len].to_vec());
    let wrong = (header..whole.len()).map(|at| {
        let mut octets = whole.clone();
        octets[at] ^= 0xff;
        octets
    });
    cut.chain(wrong).collect()
}

on_both_families! {
    fn of_a_packet_for_no_service_nothing_else_is_read<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Tcp, 3);
        dp.service_cidrs = ServiceCidrs::new([(A::vip(0), A::OCTETS as u32 * 8 - 8)]);
        for (to, expected) in [
            (A::pod(9), (Action::Pass, Reason::NotForService)),
            (A::vip(11), (Action::Drop, Reason::Unallocated)),
        ] {
            for octets in spoiled(to) {
                let mut sent = octets.clone();
                let verdict = dp.send(&mut sent);
                assert_eq!((verdict.action, verdict.reason), expected, "{octets:02x?}");
                assert_eq!(sent, octets);
            }
        }
    }

    fn without_the_whole_fixed_header_there_are_no_addresses<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        let whole = Frame::new(A::pod(100), A::pod(9), L4::tcp(40_000, 80, SYN)).build();
        for len in 0..ETHERNET + A::HEADER {
            let verdict = dp.send(&mut whole[..len].to_vec());
            assert_eq!((verdict.action, verdict.reason), (Action::Pass, Reason::Malformed), "{len}");
        }
    }
}
