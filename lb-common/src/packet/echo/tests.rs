//! The reply against the frame that its VIP would have built.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::packet::{ETHERNET, parse};
use crate::testing::strategies::{Family, holds, on_both_families};
use crate::testing::{Extension, Frame, Part};

/// What comes out, or none where the request is not answered.
fn answer<A: Family>(frame: &[u8]) -> Option<Vec<u8>> {
    let packet = parse::<A>(frame, ETHERNET).unwrap();
    if !is_answerable(&packet) {
        return None;
    }
    let mut octets = frame.to_vec();
    reply(&mut octets[..], &packet).unwrap();
    Some(octets)
}

on_both_families! {
    fn the_reply_is_the_one_that_the_vip_would_send_s31<A>() {
        let request = (any::<A>(), any::<A>(), any::<u32>(), vec(any::<u8>(), 0..3_000), any::<u8>());
        holds(request, |(client, vip, id, data, ttl)| {
            let mut request = Frame::echo_request(client, vip, id, &data);
            request.ip.ttl = ttl;
            assert_eq!(answer::<A>(&request.build()), Some(request.echo_reply()));
        });
    }

    fn padding_of_the_link_goes_back_with_it<A>() {
        let request = Frame::echo_request(A::pod(1), A::vip(10), 1, b"");
        let padded = [request.build(), vec![0xff; 20]].concat();
        let expected = [request.echo_reply(), vec![0xff; 20]].concat();
        assert_eq!(answer::<A>(&padded), Some(expected));
    }

    fn fragments_options_and_extension_headers_are_not_answered<A>() {
        let whole = Frame::echo_request(A::pod(1), A::vip(10), 1, &[7; 64]);
        let mut first = whole.clone();
        first.ip.part = Some(Part { identification: 1, offset: 0, more: true });
        assert_eq!(answer::<A>(&first.build()), None);
        let mut extended = whole;
        if A::OCTETS == 4 {
            extended.ip.options = vec![1; 4];
        } else {
            extended.ip.extensions = vec![Extension::Destination(vec![0; 6])];
        }
        assert_eq!(answer::<A>(&extended.build()), None);
    }
}
