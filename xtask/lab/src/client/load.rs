//! Many requests at once, on one thread inside the client's namespace: until stopped, or exactly so many.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::answer::{http_extent, identity, request};
use super::udp::any_of_family;
use super::{ClientError, Report, Response, TIMEOUT};
use crate::netns::Netns;
use crate::server::in_namespace;

/// What one request of a load is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// HTTP, each request over a connection of its own.
    Http,
    /// HTTP, each worker over one connection; after a failure, which counts, it opens another.
    KeepAlive,
    /// A datagram from a port of its own.
    Udp,
}

/// Finer choices for a load.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long one request may take, connecting included.
    pub timeout: Duration,
    /// How long each worker pauses between two requests.
    pub pause: Duration,
}

impl Default for Options {
    /// [`TIMEOUT`], no pause.
    fn default() -> Self {
        Options {
            timeout: TIMEOUT,
            pause: Duration::ZERO,
        }
    }
}

/// A load that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    kind: Kind,
    options: Options,
    stop: AtomicBool,
    /// Requests still to be begun.
    left: AtomicU64,
    report: Mutex<Report>,
}

/// What a worker keeps from one request to the next.
type Kept = Option<(TcpStream, SocketAddr)>;

impl Load {
    /// Starts `concurrency` workers in `netns`, with the default [`Options`].
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(netns: &Netns, to: SocketAddr, kind: Kind, concurrency: usize) -> Result<Load> {
        Self::start_with(netns, to, kind, concurrency, Options::default())
    }

    /// Starts `concurrency` workers in `netns`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start_with(
        netns: &Netns,
        to: SocketAddr,
        kind: Kind,
        concurrency: usize,
        options: Options,
    ) -> Result<Load> {
        Self::start_limited(netns, to, kind, concurrency, options, u64::MAX)
    }

    /// The counts so far.
    pub fn report(&self) -> Report {
        self.shared
            .report
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone()
    }

    /// Waits until `more` requests have ended after this call: what a test did before it is under load for sure.
    ///
    /// # Errors
    /// When that takes longer than `deadline`.
    pub fn wait_for_more(&self, more: u64, deadline: Duration) -> Result<()> {
        let goal = self.report().total + more;
        crate::wait_until(&format!("{more} more requests"), deadline, || {
            self.report().total >= goal
        })
    }

    /// Begins no further request, waits for those under way, and returns the counts.
    ///
    /// # Errors
    /// When the load could not run at all.
    pub fn stop(mut self) -> Result<Report> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.join()?;
        Ok(self.report())
    }

    fn start_limited(
        netns: &Netns,
        to: SocketAddr,
        kind: Kind,
        workers: usize,
        options: Options,
        limit: u64,
    ) -> Result<Load> {
        ensure!(workers > 0, "a load needs at least one worker");
        let shared = Arc::new(Shared {
            to,
            kind,
            options,
            stop: AtomicBool::new(false),
            left: AtomicU64::new(limit),
            report: Mutex::default(),
        });
        let netns = netns.clone();
        let theirs = shared.clone();
        let thread = thread::Builder::new()
            .name(format!("load {to}"))
            .spawn(move || {
                let runtime = in_namespace(&netns)?;
                drop(netns);
                runtime.block_on(async {
                    let workers: Vec<_> = (0..workers)
                        .map(|_| tokio::spawn(work(theirs.clone())))
                        .collect();
                    for worker in workers {
                        worker.await.context("a worker of the load panicked")?;
                    }
                    Ok(())
                })
            })?;
        Ok(Load {
            shared,
            thread: Some(thread),
        })
    }

    fn join(&mut self) -> Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the load has been printed by its thread.
            let _ = thread.join();
        }
    }
}

/// Exactly `count` HTTP requests, each over a connection of its own, `concurrency` at a time.
///
/// # Errors
/// When the load could not run at all; failed requests are in the report.
pub fn http_many(netns: &Netns, to: SocketAddr, count: u64, concurrency: usize) -> Result<Report> {
    many(netns, to, Kind::Http, count, concurrency)
}

/// Exactly `count` requests of a kind, `concurrency` at a time.
///
/// # Errors
/// When the load could not run at all; failed requests are in the report.
pub fn many(
    netns: &Netns,
    to: SocketAddr,
    kind: Kind,
    count: u64,
    concurrency: usize,
) -> Result<Report> {
    let mut load = Load::start_limited(netns, to, kind, concurrency, Options::default(), count)?;
    load.join()?;
    Ok(load.report())
}

async fn work(shared: Arc<Shared>) {
    let mut kept = None;
    while !shared.stop.load(Ordering::Relaxed) && shared.take() {
        let outcome = shared.one(&mut kept).await;
        let failed = outcome.is_err();
        shared
            .report
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .note(outcome);
        // Refusals come back within microseconds; a load of nothing else should not take the whole machine.
        let pause = if failed {
            shared.options.pause.max(Duration::from_millis(1))
        } else {
            shared.options.pause
        };
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}

impl Shared {
    fn take(&self) -> bool {
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .is_ok()
    }

    async fn one(&self, kept: &mut Kept) -> Result<Response, ClientError> {
        let start = Instant::now();
        let mut local = kept.as_ref().map(|(_, local)| *local);
        let attempt = async {
            match self.kind {
                Kind::Http => {
                    let (mut stream, _) = self.connect(&mut local).await?;
                    http(&mut stream, self.to, true).await
                }
                Kind::KeepAlive => {
                    let (mut stream, address) = match kept.take() {
                        Some(connection) => connection,
                        None => self.connect(&mut local).await?,
                    };
                    let answer = http(&mut stream, self.to, false).await?;
                    *kept = Some((stream, address));
                    Ok(answer)
                }
                Kind::Udp => udp(self.to, &mut local).await,
            }
        };
        let outcome = match tokio::time::timeout(self.options.timeout, attempt).await {
            Ok(outcome) => outcome,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let to = self.to;
        match (outcome, local) {
            (Err(error), None) => Err(ClientError::connect(to, error)),
            (Err(error), Some(local)) => Err(ClientError::exchange(local, to, error)),
            (Ok(answer), local) => {
                let (pod, peer, payload) =
                    identity(&answer).ok_or_else(|| ClientError::foreign(to, &answer))?;
                let local = local.unwrap_or(any_of_family(to, 0));
                Ok(Response {
                    pod,
                    peer,
                    payload,
                    local,
                    elapsed: start.elapsed(),
                })
            }
        }
    }

    async fn connect(&self, local: &mut Option<SocketAddr>) -> io::Result<(TcpStream, SocketAddr)> {
        let stream = TcpStream::connect(self.to).await?;
        stream.set_nodelay(true)?;
        let address = stream.local_addr()?;
        *local = Some(address);
        Ok((stream, address))
    }
}

/// One request and the body of its answer.
async fn http(stream: &mut TcpStream, to: SocketAddr, close: bool) -> io::Result<Vec<u8>> {
    stream.write_all(request(to, close).as_bytes()).await?;
    let mut answer = Vec::with_capacity(512);
    loop {
        if let Some((body, Some(end))) = http_extent(&answer) {
            answer.truncate(end);
            return Ok(answer.split_off(body));
        }
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn udp(to: SocketAddr, local: &mut Option<SocketAddr>) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind(any_of_family(to, 0)).await?;
    socket.connect(to).await?;
    *local = Some(socket.local_addr()?);
    socket.send(b"load").await?;
    let mut answer = vec![0; 2048];
    let count = socket.recv(&mut answer).await?;
    answer.truncate(count);
    Ok(answer)
}
