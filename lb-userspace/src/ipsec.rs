//! The policies of IPsec, which say of packets on their way through the host's stack that they are to be encrypted, or come
//! encrypted. It judges none: that there is one is enough.

use std::io;

use nix::libc;

use crate::netlink::{Message, Received, Socket};

/// XFRM_MSG_NEWPOLICY and XFRM_MSG_GETPOLICY of `include/uapi/linux/xfrm.h`.
const NEW_POLICY: u16 = 0x13;
const GET_POLICY: u16 = 0x15;
/// Offset of the direction in `struct xfrm_userpolicy_info`; those of single sockets begin at 3.
const DIRECTION: usize = 160;
const OF_SOCKETS: u8 = 3;

/// How many policies there are for packets between hosts, in the network namespace of the thread that calls. Those of single
/// sockets are not among them.
///
/// # Errors
/// If the kernel does not tell.
pub(crate) fn policies() -> io::Result<usize> {
    let socket = match Socket::open_ipsec() {
        // A kernel without IPsec.
        Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => return Ok(0),
        socket => socket?,
    };
    let question = || Message::new(GET_POLICY, libc::NLM_F_REQUEST | libc::NLM_F_DUMP, &[]);
    let policies = socket.dump(question, |answer| is_of_hosts(&answer).then_some(()))?;
    Ok(policies.len())
}

fn is_of_hosts(answer: &Received<'_>) -> bool {
    answer.kind == NEW_POLICY
        && answer
            .u8(DIRECTION)
            .is_some_and(|direction| direction < OF_SOCKETS)
}
