//! Netlink, as far as devices, routes and filters (rtnetlink(7)), sockets (sock_diag(7)) and netfilter's rules need it: a
//! socket, messages, attributes.
//!
//! It knows no attribute by name and keeps no state. It reads only what it is asked for, so that a kernel which sends
//! more, or longer, attributes than today's breaks nothing.

mod message;
mod notifications;
mod socket;

pub(crate) use message::{Attributes, Message, Received};
pub(crate) use notifications::{Notifications, Told};
pub(crate) use socket::{Groups, Socket};
