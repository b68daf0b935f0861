//! Which addresses of a node's pod ranges are free. One that was given back is given out again last.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use lab::Node;

/// Last parts of addresses. The lab gives out those from 2 up by itself, to the pods that a test adds.
const PARTS: std::ops::RangeInclusive<u8> = 100..=254;

/// The free addresses of one node.
#[derive(Debug)]
pub(super) struct Addresses {
    ipv4: Ipv4Addr,
    ipv6: Ipv6Addr,
    free: Mutex<VecDeque<u8>>,
}

/// What one pod has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lease {
    pub ipv4: Ipv4Addr,
    pub ipv6: Ipv6Addr,
    part: u8,
}

impl Addresses {
    /// # Errors
    /// When the node's pod ranges are not those of a lab.
    pub fn new(node: &Node) -> Result<Addresses> {
        let [v4, v6] = node.pod_cidrs();
        let base = |range: &str| range.split('/').next().unwrap_or_default().to_owned();
        Ok(Addresses {
            ipv4: base(&v4).parse().with_context(|| v4.clone())?,
            ipv6: base(&v6).parse().with_context(|| v6.clone())?,
            free: Mutex::new(PARTS.collect()),
        })
    }

    /// # Errors
    /// When all are taken.
    pub fn take(&self) -> Result<Lease> {
        let part = self.lock().pop_front();
        let part = part.with_context(|| format!("a node has {} pods at most", PARTS.count()))?;
        let [a, b, c, _] = self.ipv4.octets();
        let mut v6 = self.ipv6.octets();
        v6[15] = part;
        Ok(Lease {
            ipv4: Ipv4Addr::new(a, b, c, part),
            ipv6: v6.into(),
            part,
        })
    }

    pub fn give_back(&self, lease: Lease) {
        self.lock().push_back(lease.part);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<u8>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_given_back_is_given_out_last() -> Result<()> {
        let addresses = Addresses {
            ipv4: "10.244.1.0".parse()?,
            ipv6: "fd00:10:244:1::".parse()?,
            free: Mutex::new(PARTS.collect()),
        };
        let first = addresses.take()?;
        assert_eq!(
            (first.ipv4.to_string(), first.ipv6.to_string()),
            ("10.244.1.100".to_owned(), "fd00:10:244:1::64".to_owned())
        );
        addresses.give_back(first);
        let others: Result<Vec<Lease>> = PARTS.map(|_| addresses.take()).collect();
        assert_eq!(others?.last(), Some(&first));
        assert!(addresses.take().is_err());
        Ok(())
    }
}
