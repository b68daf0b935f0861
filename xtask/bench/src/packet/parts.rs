//! What the kernel's own parts of a decision cost by themselves: a program that calls one helper and goes on, over one that only
//! goes on. No program that needs the helper costs less.

use anyhow::{Context, Result};
use serde::Serialize;

use super::map::Map;
use crate::bpf::assembler::Register::{R1, R2, R3, R4, R5, R10};
use crate::bpf::assembler::Width::W;
use crate::bpf::assembler::{Code, Helper};
use crate::bpf::program::{NEXT, Program};

/// What a part came to.
#[derive(Debug, Serialize)]
pub struct Cost {
    pub what: &'static str,
    /// Over an empty program, one for each round.
    pub nanoseconds: Vec<f64>,
}

/// A program that calls a helper.
pub struct Part {
    what: &'static str,
    program: Program,
    /// The kernel empties an array of programs that nobody has open.
    _map: Option<Map>,
}

/// A word on the stack.
const WORD: i16 = -4;
/// Where the checksum of TCP is behind Ethernet and an IPv4 header without options.
const CHECKSUM_AT: i32 = 14 + 20 + 16;

/// All of them, for IPv4 segments of TCP and a device of the caller's namespace.
///
/// # Errors
/// If the kernel refuses a program or a map.
pub fn all(device: u32) -> Result<Vec<Part>> {
    const BPF_F_PSEUDO_HDR: i32 = 1 << 4;
    const SEGMENTS: i32 = 1;
    let device = device as i32;
    let with_word = || {
        Code::default()
            .copy(R4, R1)
            .set(R1, 0)
            .store(W, R10, WORD, R1)
            .copy(R1, R4)
    };
    let rows = Map::hash(size_of::<u64>(), 1)?;
    rows.put(0, &[0; 8])?;
    let onward = Map::programs()?;
    onward.put_program(&Program::empty()?)?;
    let parts = [
        (
            "the clock (`bpf_jiffies64`, which the kernel may write into the program)",
            Code::default().call(Helper::Jiffies64).end(NEXT),
            None,
        ),
        (
            "going on with another program (`bpf_tail_call`)",
            Code::default()
                .map(R2, onward.descriptor())
                .set(R3, 0)
                .call(Helper::TailCall)
                .end(NEXT),
            Some(onward),
        ),
        (
            "a row of a hash (`bpf_map_lookup_elem`, key of four octets)",
            with_word()
                .copy(R2, R10)
                .add(R2, WORD.into())
                .map(R1, rows.descriptor())
                .call(Helper::MapLookupElem)
                .end(NEXT),
            Some(rows),
        ),
        (
            "the transport checksum (`bpf_l4_csum_replace`)",
            Code::default()
                .set(R2, CHECKSUM_AT)
                .set(R3, 0)
                .set(R4, 1)
                .set(R5, BPF_F_PSEUDO_HDR)
                .call(Helper::L4CsumReplace)
                .end(NEXT),
            None,
        ),
        (
            "whether a device takes the packet (`bpf_check_mtu`)",
            with_word()
                .set(R2, device)
                .copy(R3, R10)
                .add(R3, WORD.into())
                .set(R4, 0)
                .set(R5, SEGMENTS)
                .call(Helper::CheckMtu)
                .end(NEXT),
            None,
        ),
        (
            "handing it over (`bpf_redirect_peer`, without what follows)",
            Code::default()
                .set(R1, device)
                .set(R2, 0)
                .call(Helper::RedirectPeer)
                .end(NEXT),
            None,
        ),
    ];
    let part = |(what, code, map): (&'static str, Code, Option<Map>)| -> Result<Part> {
        Ok(Part {
            what,
            program: Program::load(&code).with_context(|| what.to_owned())?,
            _map: map,
        })
    };
    parts.into_iter().map(part).collect()
}

impl Part {
    /// Without a figure.
    pub fn cost(&self) -> Cost {
        Cost {
            what: self.what,
            nanoseconds: Vec::new(),
        }
    }

    /// What it costs, in nanoseconds over an empty program, which runs right before and on the same frame.
    ///
    /// # Errors
    /// If the kernel refuses a run.
    pub fn measure(&self, empty: &Program, frame: &[u8], repeat: u32) -> Result<f64> {
        self.program.run(frame, 1)?.goes_on()?;
        let idle = empty.run(frame, repeat)?.goes_on()?;
        let busy = self.program.run(frame, repeat)?.goes_on()?;
        Ok(busy - idle)
    }
}
