//! Base chains of nftables, as the kernel lists them (`net/netfilter/nf_tables_api.c`). iptables of today (iptables-nft) keeps
//! its rules there as well. Numbers inside attributes are in network byte order.

use std::io;

use nix::libc;

use crate::netlink::{Attributes, Message, Notifications, Received, Socket};

/// NFNL_SUBSYS_NFTABLES, the high octet of a message's type.
const NFTABLES: u16 = 10 << 8;
const NEW_CHAIN: u16 = NFTABLES | 3;
const GET_CHAIN: u16 = NFTABLES | 4;
const NEW_RULE: u16 = NFTABLES | 6;
const GET_RULE: u16 = NFTABLES | 7;
/// Length of `struct nfgenmsg`.
const NFGENMSG: usize = 4;
/// Table and chain of a rule.
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const HOOK_NUMBER: u16 = 1;
const DROP: u32 = 0;

/// A chain that packets come to by themselves.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Base {
    family: u8,
    table: String,
    name: String,
    hook: u32,
    drops: bool,
}

impl Base {
    /// The word that `nft` has for the family.
    fn family(&self) -> Option<&'static str> {
        match self.family {
            1 => Some("inet"),
            2 => Some("ip"),
            5 => Some("netdev"),
            7 => Some("bridge"),
            10 => Some("ip6"),
            _ => None,
        }
    }

    /// Whether packets that are forwarded or bridged come to it. The hooks are those of `enum nf_inet_hooks`: prerouting, input,
    /// forward, output, postrouting, ingress. What is delivered to the node itself or sent by it is not redirected.
    fn is_on_the_way(&self) -> bool {
        match self.family() {
            Some("inet" | "ip" | "ip6") => !matches!(self.hook, 1 | 3),
            Some(_) => true,
            // ARP.
            None => false,
        }
    }
}

/// The chains on the way of packets between pods that have a rule or drop by their policy.
pub(super) fn places() -> io::Result<Vec<String>> {
    let Some(socket) = open(false)? else {
        return Ok(Vec::new());
    };
    let bases = match dump(&socket, || message(GET_CHAIN, 0), base) {
        // A kernel without nftables does not know the question.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(Vec::new()),
        result => result?,
    };
    let mut places = Vec::new();
    for base in bases.iter().filter(|base| base.is_on_the_way()) {
        if base.drops || has_rule(&socket, base)? {
            let family = base.family().unwrap_or_default();
            places.push(format!("nft chain {family} {} {}", base.table, base.name));
        }
    }
    Ok(places)
}

/// Notifications of what changes; none where the kernel has no netfilter.
pub(crate) fn follow() -> io::Result<Option<Notifications>> {
    open(true)?.map(Notifications::of).transpose()
}

/// None where the kernel has no netfilter.
fn open(with_notifications: bool) -> io::Result<Option<Socket>> {
    match Socket::open_netfilter(with_notifications) {
        Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => Ok(None),
        result => result.map(Some),
    }
}

fn has_rule(socket: &Socket, base: &Base) -> io::Result<bool> {
    let of_chain = || {
        message(GET_RULE, base.family)
            .attribute(RULE_TABLE, &text(&base.table))
            .attribute(RULE_CHAIN, &text(&base.name))
    };
    let rules = dump(socket, of_chain, |answer| {
        let attributes = answer.attributes(NFGENMSG);
        // A kernel that ignores the question's attributes answers with all rules.
        (answer.kind == NEW_RULE
            && attributes.find_text(RULE_TABLE).as_ref() == Some(&base.table)
            && attributes.find_text(RULE_CHAIN).as_ref() == Some(&base.name))
        .then_some(())
    });
    match rules {
        // It has been removed meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        result => Ok(!result?.is_empty()),
    }
}

fn base(answer: &Received<'_>) -> Option<Base> {
    let attributes = answer.attributes(NFGENMSG);
    if answer.kind != NEW_CHAIN {
        return None;
    }
    let hook = Attributes::inside(attributes.find(CHAIN_HOOK)?);
    Some(Base {
        family: answer.u8(0)?,
        table: attributes.find_text(CHAIN_TABLE)?,
        name: attributes.find_text(CHAIN_NAME)?,
        hook: u32::from_be(hook.find_u32(HOOK_NUMBER)?),
        drops: attributes.find_u32(CHAIN_POLICY).map(u32::from_be) == Some(DROP),
    })
}

fn message(kind: u16, family: u8) -> Message {
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
    Message::new(kind, flags, &[family, 0, 0, 0])
}

fn dump<T>(
    socket: &Socket,
    question: impl Fn() -> Message,
    read: impl Fn(&Received<'_>) -> Option<T>,
) -> io::Result<Vec<T>> {
    socket.dump(question, |answer| read(&answer))
}

fn text(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(family: u8, hook: Option<u32>, policy: u32) -> Option<Base> {
        let message = Message::new(NEW_CHAIN, 0, &[family, 0, 0, 0])
            .attribute(CHAIN_TABLE, b"filter\0")
            .attribute(CHAIN_NAME, b"FORWARD\0");
        let message = match hook {
            Some(hook) => message.nested(CHAIN_HOOK, |m| {
                m.attribute(HOOK_NUMBER, &hook.to_be_bytes())
            }),
            None => message,
        };
        let bytes = message
            .attribute(CHAIN_POLICY, &policy.to_be_bytes())
            .finish(0);
        base(&Received::split_first(&bytes).unwrap().0)
    }

    #[test]
    fn a_chain_without_a_hook_is_reached_through_others_only() {
        assert_eq!(chain(2, None, 1), None);
    }

    #[test]
    fn what_is_forwarded_or_bridged_meets_these_chains() {
        for (family, met, not_met) in [
            (1, &[0, 2, 4, 5][..], &[1, 3][..]),
            (2, &[0, 2, 4], &[1, 3]),
            (3, &[], &[0, 1, 2]),
            (5, &[0, 1], &[]),
            (7, &[0, 1, 2, 3, 4], &[]),
            (10, &[0, 2, 4], &[1, 3]),
        ] {
            for (hooks, expected) in [(met, true), (not_met, false)] {
                for hook in hooks {
                    let base = chain(family, Some(*hook), 1).unwrap();
                    assert_eq!(base.is_on_the_way(), expected, "{family}, hook {hook}");
                    assert!(!base.drops);
                }
            }
        }
    }

    #[test]
    fn a_policy_that_drops_is_as_good_as_a_rule() {
        assert!(chain(2, Some(2), 0).unwrap().drops);
    }
}
