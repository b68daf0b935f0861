//! A program before another one: it gives each run of the kernel's own loop the packet of another client, and goes on with the
//! other one. So many flows can be measured without a system call between two packets; before a program that does nothing, it shows
//! what it costs itself.
//!
//! Where packets differ is read from an array, one after the other, whatever their order is.

use std::ops::Range;

use anyhow::{Context, Result, ensure};
use lb_common::packet::ETHERNET;

use super::map::Map;
use crate::bpf::assembler::Register::{R0, R1, R2, R3, R4, R6, R10};
use crate::bpf::assembler::Width::{Dw, W};
use crate::bpf::assembler::{Code, Helper};
use crate::bpf::program::{Program, Ran};

/// A program that gives each run the next packet, for as long as the value lives.
pub struct Feeder {
    program: Program,
    /// The program that it goes on with.
    onward: Map,
    /// The number of the next packet.
    position: Map,
    /// The first packet, which the others differ from in the stretch alone.
    first: Vec<u8>,
    packets: u32,
}

impl Feeder {
    /// For TCP segments over IP without options or extension headers, which are the same but for addresses, ports and sequence
    /// number. Checksums are those of the first one: the agent's programs change them, and check none.
    ///
    /// # Errors
    /// If the kernel refuses a program or a map, and without a frame or with one of another length.
    pub fn new(frames: impl ExactSizeIterator<Item = Vec<u8>>) -> Result<Self> {
        let mut frames = frames.peekable();
        let first = frames.peek().context("no packet to feed")?.clone();
        Self::of_stretch(stretch(&first)?, first, frames)
    }

    /// For the same segments, where what is run changes more of them: all up to the ports is written anew.
    ///
    /// # Errors
    /// As for [`Feeder::new`].
    pub fn of_headers(frames: impl ExactSizeIterator<Item = Vec<u8>>) -> Result<Self> {
        let mut frames = frames.peekable();
        let first = frames.peek().context("no packet to feed")?.clone();
        let end = stretch(&first)?.end.next_multiple_of(8);
        Self::of_stretch(0..end, first, frames)
    }

    fn of_stretch(
        stretch: Range<usize>,
        first: Vec<u8>,
        frames: impl ExactSizeIterator<Item = Vec<u8>>,
    ) -> Result<Self> {
        let packets = frames.len() as u32;
        ensure!(stretch.end <= first.len(), "a packet that is cut short");
        let rows = Map::array(stretch.len(), packets)?;
        for (number, frame) in frames.enumerate() {
            ensure!(
                frame.len() == first.len(),
                "packets of different lengths: {} and {} octets",
                first.len(),
                frame.len()
            );
            rows.put(number as u32, &frame[stretch.clone()])?;
        }
        let onward = Map::programs()?;
        let position = Map::array(size_of::<u32>(), 1)?;
        let code = code(&stretch, packets, &position, &rows, &onward);
        Ok(Self {
            // It holds the rows.
            program: Program::load(&code).context("a program that gives packets to another one")?,
            onward,
            position,
            first,
            packets,
        })
    }

    /// How many packets there are before the first one comes again.
    pub fn packets(&self) -> u32 {
        self.packets
    }

    /// Runs a program so many times, at least once, from the first packet on.
    ///
    /// # Errors
    /// If the kernel refuses a run, and where the last packet was not the one whose turn it was.
    pub fn run(&self, program: &Program, repeat: u32) -> Result<Ran> {
        self.onward.put_program(program)?;
        self.position.put(0, &0_u32.to_ne_bytes())?;
        let ran = self.program.run(&self.first, repeat)?;
        let (next, expected) = (self.position.number(0)?, (repeat - 1) % self.packets + 1);
        ensure!(
            next == expected,
            "after {repeat} of {} packets, the next one is number {next}, not {expected}",
            self.packets
        );
        Ok(ran)
    }
}

/// Where packets differ: both addresses, both ports and the sequence number stand side by side in either family, and are whole words.
fn stretch(frame: &[u8]) -> Result<Range<usize>> {
    let addresses = match frame.get(ETHERNET).map(|octet| octet >> 4) {
        Some(4) => ETHERNET + 12..ETHERNET + 20,
        Some(6) => ETHERNET + 8..ETHERNET + 40,
        version => anyhow::bail!("no IP: version {version:?}"),
    };
    Ok(addresses.start..addresses.end + 8)
}

/// Takes the next row, wraps around behind the last one, writes it into the packet, goes on.
fn code(stretch: &Range<usize>, packets: u32, position: &Map, rows: &Map, onward: &Map) -> Code {
    /// `data` and `data_end` in `struct __sk_buff`.
    const DATA: i16 = 76;
    const DATA_END: i16 = 80;
    /// `TC_ACT_SHOT`: a packet that does not get to the other program does not go on.
    const DROP: i32 = 2;
    let mut code = Code::default()
        .copy(R6, R1)
        // Which row.
        .value_of_map(R1, position.descriptor())
        .load(W, R2, R1, 0)
        .skip_if_below(R2, packets, 1)
        .set(R2, 0)
        .store(W, R10, -4, R2)
        .add(R2, 1)
        .store(W, R1, 0, R2)
        // Where it is.
        .copy(R2, R10)
        .add(R2, -4)
        .map(R1, rows.descriptor())
        .call(Helper::MapLookupElem)
        .skip_unless_zero(R0, 2)
        .end(DROP)
        // Into the packet.
        .load(W, R2, R6, DATA)
        .load(W, R3, R6, DATA_END)
        .copy(R4, R2)
        .add(R4, stretch.end as i32)
        .skip_unless_above(R4, R3, 2)
        .end(DROP);
    for (from, to) in (0..stretch.len()).zip(stretch.clone()).step_by(8) {
        code = code
            .load(Dw, R1, R0, from as i16)
            .store(Dw, R2, to as i16, R1);
    }
    code.copy(R1, R6)
        .map(R2, onward.descriptor())
        .set(R3, 0)
        .call(Helper::TailCall)
        .end(DROP)
}
