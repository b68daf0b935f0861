//! Which rules of netfilter packets between pods of this node would meet on their way through the host's stack.
//!
//! It judges no rule: that there is one is enough. Rules that a program of another kind keeps in a hook (BPF_PROG_TYPE_NETFILTER)
//! are not seen.

mod nftables;
mod xtables;

use std::io;

pub(crate) use nftables::follow;

/// Every place with rules that forwarded or bridged packets meet, in the words of the tools that list them. Of the network
/// namespace of the thread that calls.
///
/// # Errors
/// If the kernel does not tell.
pub fn places() -> io::Result<Vec<String>> {
    let mut places = nftables::places()?;
    places.extend(xtables::places()?);
    Ok(places)
}
