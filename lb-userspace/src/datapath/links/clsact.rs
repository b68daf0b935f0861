//! Programs as filters of the clsact queueing discipline (Linux 4.5), for kernels without tcx.
//!
//! A filter has no pin and needs none: it stays until somebody removes it. Ours are known by their names, so that a
//! restarted agent replaces them in place. The queueing discipline itself is left where it is when the last filter goes:
//! it may be somebody else's, and is idle without filters.

use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsFd, AsRawFd},
};

use nix::libc;

use super::{Change, LinkError, Side, Target};
use crate::{
    datapath::load::LoadedProgram,
    netlink::{Attributes, Groups, Message, Received, Socket},
};

/// Where among other filters ours run if that place is free. A lower number runs first; a foreign filter may end the chain
/// with its verdict, ours hand every packet on.
const PRIORITY: u16 = 10;
const HANDLE: u32 = 1;

const TCMSG: usize = 20;
const TC_H_CLSACT: u32 = 0xffff_fff1;
const TC_H_CLSACT_QDISC: u32 = 0xffff_0000;
const TC_H_MIN_INGRESS: u32 = 0xfff2;
const TC_H_MIN_EGRESS: u32 = 0xfff3;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
/// The program's return value is the verdict.
const DIRECT_ACTION: u32 = 1;
const REQUEST: i32 = libc::NLM_F_REQUEST | libc::NLM_F_ACK;
const CREATE: i32 = libc::NLM_F_CREATE | libc::NLM_F_EXCL;

/// Replaces our filter's program, or adds a filter and the queueing discipline that it needs.
pub(super) fn attach(
    target: Target<'_>,
    side: Side,
    program: &LoadedProgram,
) -> Result<Change, LinkError> {
    let filters = Filters::open().map_err(target.failed("attach", side))?;
    let ours = filters
        .ours(target.ifindex, side)
        .map_err(target.failed("look for", side))?;
    if let Some((first, duplicates)) = ours.split_first() {
        filters
            .write(target.ifindex, side, first.place, program, 0)
            .map_err(target.failed("replace", side))?;
        for duplicate in duplicates {
            filters
                .delete(target.ifindex, side, duplicate.place)
                .map_err(target.failed("remove a second copy of", side))?;
        }
        return Ok(Change::Replaced);
    }
    let qdisc = filters
        .add_clsact(target.ifindex)
        .map_err(target.failed("make the clsact queueing discipline for", side))?;
    if qdisc == Qdisc::Ingress {
        // The kernel would take a filter for egress and run it on ingress (`ingress_tcf_block` in net/sched/sch_ingress.c).
        return Err(LinkError::IngressQdisc {
            device: target.name.into(),
        });
    }
    filters
        .add(target.ifindex, side, program)
        .map_err(target.failed("attach", side))?;
    Ok(Change::Added)
}

/// Where a filter is among those of one side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    priority: u16,
    handle: u32,
}

/// One of our filters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Ours {
    ifindex: u32,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Qdisc {
    Clsact,
    Ingress,
}

/// The filters of the network namespace of the thread that opens it.
#[derive(Debug)]
pub(in crate::datapath) struct Filters(Socket);

impl Filters {
    pub(in crate::datapath) fn open() -> io::Result<Self> {
        Socket::open(Groups::None).map(Self)
    }

    /// Removes our filters of one side of a device and tells how many there were.
    pub(in crate::datapath) fn remove(&self, ifindex: u32, side: Side) -> io::Result<usize> {
        let ours = self.ours(ifindex, side)?;
        for filter in &ours {
            match self.delete(ifindex, side, filter.place) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(ours.len())
    }

    /// Whether one side of a device has our filter.
    pub(in crate::datapath) fn has(&self, ifindex: u32, side: Side) -> io::Result<bool> {
        self.ours(ifindex, side).map(|ours| !ours.is_empty())
    }

    /// Whether one side of a device has a filter that is none of ours.
    pub(in crate::datapath) fn has_others(&self, ifindex: u32, side: Side) -> io::Result<bool> {
        let others = self.list(ifindex, side, |answer| {
            is_foreign(&answer, side).then_some(())
        })?;
        Ok(!others.is_empty())
    }

    /// The devices and sides that have one of our filters.
    pub(in crate::datapath) fn held(&self) -> io::Result<BTreeSet<(u32, Side)>> {
        let with_sides: BTreeSet<u32> = self.qdiscs()?.into_iter().map(|(i, _)| i).collect();
        let mut found = BTreeSet::new();
        for ifindex in with_sides {
            for side in [Side::Ingress, Side::Egress] {
                found.extend(self.ours(ifindex, side)?.iter().map(|o| (o.ifindex, side)));
            }
        }
        Ok(found)
    }

    /// Our filters of one side of a device; none where the device has no queueing discipline for them.
    fn ours(&self, ifindex: u32, side: Side) -> io::Result<Vec<Ours>> {
        self.list(ifindex, side, |answer| read_ours(&answer, side))
    }

    fn list<T>(
        &self,
        ifindex: u32,
        side: Side,
        read: impl FnMut(Received<'_>) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        let message = || {
            Message::new(
                libc::RTM_GETTFILTER,
                libc::NLM_F_REQUEST | libc::NLM_F_DUMP,
                &tcmsg(ifindex, 0, parent(side), 0),
            )
        };
        match self.0.dump(message, read) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(Vec::new()),
            result => result,
        }
    }

    /// Adds our filter, at its own place or wherever there is one.
    fn add(&self, ifindex: u32, side: Side, program: &LoadedProgram) -> io::Result<()> {
        let own = Place {
            priority: PRIORITY,
            handle: HANDLE,
        };
        match self.write(ifindex, side, own, program, CREATE) {
            // EEXIST: a foreign filter has the handle. EINVAL: filters of another kind have the priority.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EEXIST | libc::EINVAL)) => {
                let any = Place {
                    priority: 0,
                    handle: 0,
                };
                self.write(ifindex, side, any, program, CREATE)
            }
            result => result,
        }
    }

    /// Adds a filter with `CREATE`; without, replaces the program of the one at this very place, which the kernel does in
    /// one step (`cls_bpf_change` in `net/sched/cls_bpf.c`).
    fn write(
        &self,
        ifindex: u32,
        side: Side,
        place: Place,
        program: &LoadedProgram,
        flags: i32,
    ) -> io::Result<()> {
        let mut name = filter_name(side).as_bytes().to_vec();
        name.push(0);
        let message = Message::new(
            libc::RTM_NEWTFILTER,
            REQUEST | flags,
            &tcmsg(ifindex, place.handle, parent(side), info(place.priority)),
        )
        .attribute(TCA_KIND, b"bpf\0")
        .nested(TCA_OPTIONS, |m| {
            m.attribute(TCA_BPF_FD, &program.as_fd().as_raw_fd().to_ne_bytes())
                .attribute(TCA_BPF_NAME, &name)
                .attribute(TCA_BPF_FLAGS, &DIRECT_ACTION.to_ne_bytes())
        });
        self.0.request(message, |_| {})
    }

    fn delete(&self, ifindex: u32, side: Side, place: Place) -> io::Result<()> {
        let message = Message::new(
            libc::RTM_DELTFILTER,
            REQUEST,
            &tcmsg(ifindex, place.handle, parent(side), info(place.priority)),
        )
        .attribute(TCA_KIND, b"bpf\0");
        self.0.request(message, |_| {})
    }

    /// Makes the queueing discipline unless it exists, and tells which of the two that can be there it is.
    fn add_clsact(&self, ifindex: u32) -> io::Result<Qdisc> {
        let message = Message::new(
            libc::RTM_NEWQDISC,
            REQUEST | CREATE,
            &tcmsg(ifindex, TC_H_CLSACT_QDISC, TC_H_CLSACT, 0),
        )
        .attribute(TCA_KIND, b"clsact\0");
        match self.0.request(message, |_| {}) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
                let existing = self.qdiscs()?.into_iter().find(|(i, _)| *i == ifindex);
                Ok(existing.map_or(Qdisc::Clsact, |(_, qdisc)| qdisc))
            }
            result => result.map(|()| Qdisc::Clsact),
        }
    }

    /// The queueing disciplines that have our sides, with their devices.
    fn qdiscs(&self) -> io::Result<Vec<(u32, Qdisc)>> {
        let message = || {
            Message::new(
                libc::RTM_GETQDISC,
                libc::NLM_F_REQUEST | libc::NLM_F_DUMP,
                &tcmsg(0, 0, 0, 0),
            )
        };
        self.0.dump(message, |answer| {
            let ifindex = answer.u32(4)?;
            match answer.attributes(TCMSG).find_text(TCA_KIND)?.as_str() {
                "clsact" => Some((ifindex, Qdisc::Clsact)),
                "ingress" => Some((ifindex, Qdisc::Ingress)),
                _ => None,
            }
        })
    }
}

/// By this name an agent knows its filters.
fn filter_name(side: Side) -> &'static str {
    match side {
        Side::Ingress => "lb_from_workload",
        Side::Egress => "lb_to_workload",
    }
}

fn parent(side: Side) -> u32 {
    TC_H_CLSACT_QDISC
        | match side {
            Side::Ingress => TC_H_MIN_INGRESS,
            Side::Egress => TC_H_MIN_EGRESS,
        }
}

/// Priority and protocol of a filter: every protocol, as a filter that asks for one is not found again under another.
fn info(priority: u16) -> u32 {
    u32::from(priority) << 16 | u32::from((libc::ETH_P_ALL as u16).to_be())
}

/// `struct tcmsg` of the kernel's `include/uapi/linux/rtnetlink.h`.
fn tcmsg(ifindex: u32, handle: u32, parent: u32, info: u32) -> [u8; TCMSG] {
    let mut bytes = [0; TCMSG];
    for (i, field) in [0, ifindex, handle, parent, info].into_iter().enumerate() {
        bytes[i * 4..i * 4 + 4].copy_from_slice(&field.to_ne_bytes());
    }
    bytes
}

fn read_ours(answer: &Received<'_>, side: Side) -> Option<Ours> {
    let attributes = answer.attributes(TCMSG);
    let options = Attributes::inside(attributes.find(TCA_OPTIONS)?);
    let is_ours = answer.kind == libc::RTM_NEWTFILTER
        && attributes.find_text(TCA_KIND).as_deref() == Some("bpf")
        && options.find_text(TCA_BPF_NAME).as_deref() == Some(filter_name(side));
    is_ours.then_some(Ours {
        ifindex: answer.u32(4)?,
        place: Place {
            priority: (answer.u32(16)? >> 16) as u16,
            handle: answer.u32(8)?,
        },
    })
}

/// The kernel lists a group of filters of one priority before the filters in it; the group has no options.
fn is_foreign(answer: &Received<'_>, side: Side) -> bool {
    answer.kind == libc::RTM_NEWTFILTER
        && answer.attributes(TCMSG).find(TCA_OPTIONS).is_some()
        && read_ours(answer, side).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: &[u8], name: &[u8]) -> Vec<u8> {
        Message::new(
            libc::RTM_NEWTFILTER,
            0,
            &tcmsg(9, 3, parent(Side::Egress), info(77)),
        )
        .attribute(TCA_KIND, kind)
        .nested(TCA_OPTIONS, |m| m.attribute(TCA_BPF_NAME, name))
        .finish(0)
    }

    fn ours(bytes: &[u8]) -> Option<Ours> {
        read_ours(&Received::split_first(bytes).unwrap().0, Side::Egress)
    }

    #[test]
    fn our_filter_is_known_by_its_name_wherever_it_is() {
        let expected = Ours {
            ifindex: 9,
            place: Place {
                priority: 77,
                handle: 3,
            },
        };
        assert_eq!(ours(&answer(b"bpf\0", b"lb_to_workload\0")), Some(expected));
    }

    #[test]
    fn foreign_filters_are_not_ours() {
        assert_eq!(
            ours(&answer(b"bpf\0", b"lb_from_workload\0")),
            None,
            "the other side's"
        );
        assert_eq!(ours(&answer(b"bpf\0", b"lb_to_workload_2\0")), None);
        assert_eq!(ours(&answer(b"flower\0", b"lb_to_workload\0")), None);
    }

    #[test]
    fn a_filter_is_foreign_and_a_group_of_filters_is_none() {
        let is_foreign =
            |bytes: &[u8]| is_foreign(&Received::split_first(bytes).unwrap().0, Side::Egress);
        assert!(is_foreign(&answer(b"flower\0", b"lb_to_workload\0")));
        assert!(is_foreign(&answer(b"bpf\0", b"cil_to_container\0")));
        assert!(!is_foreign(&answer(b"bpf\0", b"lb_to_workload\0")));
        let group = Message::new(
            libc::RTM_NEWTFILTER,
            0,
            &tcmsg(9, 0, parent(Side::Egress), 0),
        )
        .attribute(TCA_KIND, b"bpf\0")
        .finish(0);
        assert!(!is_foreign(&group));
    }
}
