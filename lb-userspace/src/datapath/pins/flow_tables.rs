//! Flows that move to a table of another size, where every one of them has another bucket.
//!
//! As for entries of other maps the programs that run write to the old table meanwhile, so this is done twice. What the new table
//! has is never written over: new programs may know better by then.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use bytemuck::Pod;
use lb_common::addr::Address;
use lb_common::conntrack::{ConntrackKey, Flow, Table};

use super::CopyReport;
use crate::datapath::bpf::{RawMap, Write, map_info};
use crate::maps::bpf::{FlowArray, Put};

/// The tables of one family.
#[derive(Debug)]
pub(in crate::datapath) struct FlowTables {
    /// The table that was replaced, if there was one.
    pub(in crate::datapath) from: Option<OwnedFd>,
    /// The one in its place.
    pub(in crate::datapath) to: OwnedFd,
    /// `conntrack` and `transient` of the family.
    pub(in crate::datapath) others: [OwnedFd; 2],
    /// Key of the hash.
    pub(in crate::datapath) secret: u64,
    /// Ticks in a second.
    pub(in crate::datapath) ticks_per_second: u32,
    /// Whether the programs use the new table.
    pub(in crate::datapath) is_used: bool,
}

impl FlowTables {
    /// Copies the flows of the old table that the new one does not have, and lets the new one know of what the other tables have.
    ///
    /// # Errors
    /// If a table can't be mapped into memory or another one be read.
    pub(in crate::datapath) fn carry_over<A: Address>(&self) -> io::Result<CopyReport>
    where
        ConntrackKey<A>: Pod,
        Flow<A>: Pod,
    {
        let new = map::<A>(self.to.as_fd(), true)?;
        let mut report = CopyReport::default();
        if let Some(from) = &self.from {
            map::<A>(from.as_fd(), false)?.each(&mut |flow| self.put(&new, flow, &mut report));
        }
        if self.is_used {
            for other in &self.others {
                self.note_all(&new, other.as_fd())?;
            }
        }
        Ok(report)
    }

    fn put<A: Address>(&self, new: &FlowArray<A>, flow: &Flow<A>, report: &mut CopyReport)
    where
        ConntrackKey<A>: Pod,
        Flow<A>: Pod,
    {
        let put = if self.is_used {
            new.put(flow, self.secret, self.ticks_per_second)
        } else {
            Put::Spilled
        };
        match put {
            Put::Stored => report.copied += 1,
            Put::Known => report.known += 1,
            Put::Spilled => match self.put_elsewhere(flow) {
                Ok(()) => report.copied += 1,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => report.known += 1,
                Err(_full) => report.refused += 1,
            },
        }
    }

    fn put_elsewhere<A: Address>(&self, flow: &Flow<A>) -> io::Result<()>
    where
        ConntrackKey<A>: Pod,
        Flow<A>: Pod,
    {
        let [conntrack, transient] = &self.others;
        let other = match flow.state().table() {
            Table::Conntrack => conntrack,
            Table::Transient => transient,
        };
        let map = RawMap::new(other.as_fd())?;
        for key in [flow.from_backend(), flow.from_client()] {
            let (key, flow) = (bytemuck::bytes_of(&key), bytemuck::bytes_of(flow));
            map.update(key, flow, Write::OnlyNew)?;
        }
        Ok(())
    }

    /// Lets the new table know of every entry of another one.
    fn note_all<A: Address>(&self, new: &FlowArray<A>, other: BorrowedFd<'_>) -> io::Result<()>
    where
        ConntrackKey<A>: Pod,
    {
        let most = u64::from(map_info(other)?.max_entries) * 2;
        let map = RawMap::new(other)?;
        let mut key = map.next_key(None)?;
        // As for entries: the bound ends a walk that never gets through.
        for _ in 0..most {
            let Some(octets) = key else { break };
            new.note(&bytemuck::pod_read_unaligned(&octets), self.secret);
            key = map.next_key(Some(&octets))?;
        }
        Ok(())
    }
}

fn map<A: Address>(table: BorrowedFd<'_>, writable: bool) -> io::Result<FlowArray<A>> {
    FlowArray::map(table, map_info(table)?.max_entries, writable)
}
