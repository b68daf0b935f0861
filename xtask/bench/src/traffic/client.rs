//! The measuring end: one thread that asks, waits, and notes how long each answer took.

use std::hint::black_box;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::busy::Busy;
use super::mode::Workload;
use super::server::{ECHO, SINK};
use super::socket::{PATIENCE, connect};

/// Transactions before the first that counts: addresses are resolved, caches are warm.
const WARM_UP: u32 = 100;
/// As much of a stream as is written at once.
const PIECE: usize = 1 << 17;
/// A short measurement's number of transactions, so that noting one takes no memory.
const MANY: usize = 1 << 18;

/// What one measurement came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Time of the transaction in the middle, in microseconds; none of a stream.
    pub p50: Option<f64>,
    /// 99 of 100 took no longer, in microseconds.
    pub p99: Option<f64>,
    /// Transactions a second; of a stream, gigabits a second.
    pub rate: f64,
    /// Time that the machine's processors were busy, for each transaction in microseconds; of a stream, for each MiB.
    pub cpu: f64,
}

impl Workload {
    /// The port that a Service leads to the same port of its pods.
    pub fn port(self) -> u16 {
        match self {
            Workload::TcpRr | Workload::TcpCrr | Workload::UdpRr => ECHO,
            Workload::Stream => SINK,
        }
    }

    /// Measures for so long, from the calling thread's namespace and processor.
    ///
    /// # Errors
    /// With the first connection, octet or datagram that goes wrong or does not come within [`PATIENCE`].
    pub fn measure(self, at: SocketAddr, time: Duration) -> Result<Sample> {
        match self {
            Workload::TcpRr => {
                let mut stream = connect(at).context("connect")?;
                stream.set_nodelay(true)?;
                transactions(time, || exchange(&mut stream))
            }
            Workload::TcpCrr => transactions(time, || exchange(&mut connect(at)?)),
            Workload::UdpRr => {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
                socket.set_read_timeout(Some(PATIENCE))?;
                socket.connect(at)?;
                transactions(time, || {
                    socket.send(&[1])?;
                    socket.recv(&mut [0]).map(drop)
                })
            }
            Workload::Stream => stream(at, time),
        }
        .with_context(|| format!("{} to {at}", self.name()))
    }
}

fn exchange(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(&[1])?;
    stream.read_exact(&mut [0])
}

fn transactions(time: Duration, mut transaction: impl FnMut() -> io::Result<()>) -> Result<Sample> {
    let mut nanoseconds: Vec<u32> = Vec::with_capacity(MANY);
    for _ in 0..WARM_UP {
        transaction().context("before the measurement")?;
    }
    let busy = Busy::now()?;
    let start = Instant::now();
    let mut last = start;
    while last - start < time {
        transaction().with_context(|| format!("after {} transactions", nanoseconds.len()))?;
        let now = Instant::now();
        nanoseconds.push((now - last).as_nanos() as u32);
        last = now;
    }
    let busy = Busy::now()?.since(busy);
    let count = nanoseconds.len();
    ensure!(count > 0, "no transaction in {time:?}");
    nanoseconds.sort_unstable();
    let at = |share: f64| f64::from(nanoseconds[(share * (count - 1) as f64) as usize]) / 1e3;
    Ok(Sample {
        p50: Some(at(0.5)),
        p99: Some(at(0.99)),
        rate: count as f64 / (last - start).as_secs_f64(),
        cpu: busy.as_secs_f64() * 1e6 / count as f64,
    })
}

fn stream(at: SocketAddr, time: Duration) -> Result<Sample> {
    let mut stream = connect(at).context("connect")?;
    let piece = black_box(vec![0x5a_u8; PIECE]);
    let busy = Busy::now()?;
    let start = Instant::now();
    let mut sent = 0_u64;
    while start.elapsed() < time {
        stream.write_all(&piece)?;
        sent += PIECE as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut arrived = [0; 8];
    stream.read_exact(&mut arrived)?;
    let elapsed = start.elapsed();
    let busy = Busy::now()?.since(busy);
    let arrived = u64::from_be_bytes(arrived);
    ensure!(arrived == sent, "{arrived} octets of {sent} arrived");
    Ok(Sample {
        p50: None,
        p99: None,
        rate: sent as f64 * 8.0 / elapsed.as_secs_f64() / 1e9,
        cpu: busy.as_secs_f64() * 1e6 / (sent as f64 / f64::from(1 << 20)),
    })
}
