//! Several packets in one input: for each a first octet that says what comes, a length, and a frame.

use lb_common::conntrack::Direction;

/// Most that is done for one input.
const MOST: usize = 24;

/// Something that happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step<'a> {
    /// A client's device sees a packet: from the pod, or to it.
    Packet(Direction, &'a [u8]),
    /// So many seconds pass.
    Wait(u32),
}

/// Number of a packet to a pod; that of one from a pod is the default.
const TO_POD: u8 = 1;
/// Number of a wait, whose length is in units of ten seconds.
const WAIT: u8 = 2;

/// What an input says.
pub fn read(mut input: &[u8]) -> impl Iterator<Item = Step<'_>> {
    let step = move || {
        let (&[kind, low, high], rest) = input.split_first_chunk()?;
        let len = u16::from_le_bytes([low, high]);
        if kind == WAIT {
            input = rest;
            return Some(Step::Wait(u32::from(len) * 10));
        }
        let (frame, rest) = rest.split_at((len as usize).min(rest.len()));
        input = rest;
        let direction = if kind == TO_POD {
            Direction::FromBackend
        } else {
            Direction::FromClient
        };
        Some(Step::Packet(direction, frame))
    };
    std::iter::from_fn(step).take(MOST)
}

/// The input that says this.
pub fn write(steps: &[Step<'_>]) -> Vec<u8> {
    let mut input = Vec::new();
    for step in steps {
        match step {
            Step::Packet(direction, frame) => {
                input.push(match direction {
                    Direction::FromClient => 0,
                    Direction::FromBackend => TO_POD,
                });
                input.extend((frame.len() as u16).to_le_bytes());
                input.extend(*frame);
            }
            Step::Wait(seconds) => {
                input.push(WAIT);
                input.extend(((seconds / 10) as u16).to_le_bytes());
            }
        }
    }
    input
}
