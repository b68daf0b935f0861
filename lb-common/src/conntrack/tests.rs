//! Which keys find a flow.

use proptest::prelude::*;

use super::*;
use crate::testing::strategies::{Family, holds, on_both_families};

fn end<A: Family>() -> impl Strategy<Value = Endpoint<A>> {
    // Few values, so that parts are often equal.
    (1..3u8, 1..3u16).prop_map(|(n, port)| Endpoint {
        address: A::pod(n),
        port: Port::new(port),
    })
}

fn protocols() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)]
}

on_both_families! {
    fn a_flow_is_found_by_its_own_two_keys_and_by_no_other<A>() {
        let flow = (end::<A>(), end::<A>(), end::<A>(), protocols());
        let other = (end::<A>(), end::<A>(), protocols(), any::<bool>());
        holds((flow, other), |((client, frontend, backend, protocol), (from, to, other, replies))| {
            let chosen = Chosen { id: 1, epoch: 2, service_id: 3, endpoint: backend };
            let tuple = Tuple { client, peer: frontend, protocol };
            let flow = Flow::new(&tuple, &chosen, FlowState::NEW, 5);
            let direction = if replies { Direction::FromBackend } else { Direction::FromClient };
            let key = ConntrackKey::new(&Tuple { client: from, peer: to, protocol: other }, direction);
            let own = [flow.from_client(), flow.from_backend()];
            assert_eq!(flow.is_found_by(&key), own.contains(&key), "{key:?}");
            assert!(own.iter().all(|key| flow.is_found_by(key)));
        });
    }

    fn the_second_flow_of_a_hairpin_exchanges_the_roles<A>() {
        holds((end::<A>(), end::<A>(), 1..9u16), |(pod, frontend, port)| {
            let client = Endpoint { address: pod.address, port: Port::new(port) };
            let chosen = Chosen { id: 1, epoch: 2, service_id: 3, endpoint: pod };
            let tuple = Tuple { client, peer: frontend, protocol: Protocol::Tcp };
            let flow = Flow::new(&tuple, &chosen, FlowState::REPLIED, 5);
            let mut second = Flow::empty();
            second.mirror(&flow);
            assert_eq!((second.client(), second.backend()), (flow.backend(), flow.client()));
            let frontend = Endpoint { address: frontend.address, port: client.port };
            assert_eq!(second.frontend(), frontend);
            assert_eq!((second.state(), second.last_seen(), second.epoch()), (flow.state(), 5, 2));
        });
    }
}
