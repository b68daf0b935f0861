//! The table against a hash map, under several threads, and full.

mod between;
mod concurrent;
mod model;
mod peeked;
mod preferred;
mod survival;

use crate::addr::{Address, Endpoint, Port, Protocol};
use crate::conntrack::{Chosen, Flow, FlowState, Tuple};

/// What a flow in use has seen.
fn in_use() -> FlowState {
    FlowState::REPLIED.with(FlowState::ASSURED)
}

/// A flow of a client's port through a frontend's.
fn flow<A: Address>(
    (client, frontend, backend): (A, A, A),
    (client_port, frontend_port): (u16, u16),
    state: FlowState,
    now: u32,
) -> Flow<A> {
    let end = |address, port| Endpoint {
        address,
        port: Port::new(port),
    };
    let tuple = Tuple {
        client: end(client, client_port),
        peer: end(frontend, frontend_port),
        protocol: Protocol::Tcp,
    };
    let chosen = Chosen {
        id: 1,
        epoch: 2,
        service_id: 3,
        endpoint: end(backend, 8080),
    };
    Flow::new(&tuple, &chosen, state, now)
}
