//! Netlink, as far as devices, routes and filters (rtnetlink(7)) and sockets (sock_diag(7)) need it: a socket, messages,
//! attributes.
//!
//! It knows no attribute by name and keeps no state. It reads only what it is asked for, so that a kernel which sends
//! more, or longer, attributes than today's breaks nothing.

mod message;
mod socket;

pub(crate) use message::{Attributes, Message, Received};
pub(crate) use socket::{Groups, Socket};
