//! Route netlink (rtnetlink(7)), as far as devices, routes and filters need it: a socket, messages, attributes.
//!
//! It knows no attribute by name and keeps no state. It reads only what it is asked for, so that a kernel which sends
//! more, or longer, attributes than today's breaks nothing.

mod message;
mod socket;

pub(crate) use message::{Attributes, Message, Received};
pub(crate) use socket::{Groups, Socket};
