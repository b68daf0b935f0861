//! The way from a node to the API server, with a clock: when octets of the server reach the node, and how many.
//!
//! It sees TLS and no requests, so it tells only what time and size tell.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::Netns;

/// More octets at once than an answer without objects has.
const LARGE: usize = 2048;

/// A relay that measures. Dropping it closes its connections.
pub struct Meter {
    address: SocketAddr,
    seen: Arc<Seen>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    listener: Arc<TcpListener>,
    accepting: Option<thread::JoinHandle<()>>,
}

struct Seen {
    start: Instant,
    octets: AtomicU64,
    /// Nanoseconds since `start`; 0: nothing since it was armed.
    first: AtomicU64,
    last_large: AtomicU64,
}

impl Meter {
    /// Listens in `from` and dials `target` in `to` for each connection.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start(from: &Netns, to: &Netns, target: SocketAddr) -> Result<Meter> {
        let listener = from.run(|| TcpListener::bind("127.0.0.1:0"));
        let listener = Arc::new(listener.context("the meter cannot listen")?);
        let address = listener.local_addr()?;
        let seen = Arc::new(Seen {
            start: Instant::now(),
            octets: AtomicU64::new(0),
            first: AtomicU64::new(0),
            last_large: AtomicU64::new(0),
        });
        let open: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let accepting = {
            let (listener, seen, open, to) =
                (listener.clone(), seen.clone(), open.clone(), to.clone());
            thread::Builder::new().name("meter".into()).spawn(move || {
                if to.enter().is_err() {
                    return;
                }
                drop(to);
                while let Ok((client, _)) = listener.accept() {
                    // A server that is not there shows as a connection that is closed at once.
                    let _ = TcpStream::connect(target)
                        .and_then(|server| join(client, server, &seen, &open));
                }
            })?
        };
        Ok(Meter {
            address,
            seen,
            open,
            listener,
            accepting: Some(accepting),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many octets the server has sent so far.
    pub fn octets(&self) -> u64 {
        self.seen.octets.load(Ordering::Relaxed)
    }

    /// From now on [`Meter::first`] is the first octet that comes.
    pub fn arm(&self) {
        self.seen.first.store(0, Ordering::SeqCst);
    }

    /// When the first octet came since it was armed.
    pub fn first(&self) -> Option<Instant> {
        self.seen.at(&self.seen.first)
    }

    /// When the last piece came that is large enough to be of a list.
    pub fn last_large(&self) -> Option<Instant> {
        self.seen.at(&self.seen.last_large)
    }
}

impl Seen {
    fn at(&self, time: &AtomicU64) -> Option<Instant> {
        match time.load(Ordering::SeqCst) {
            0 => None,
            nanoseconds => Some(self.start + Duration::from_nanos(nanoseconds)),
        }
    }

    fn came(&self, octets: usize) {
        let now = self.start.elapsed().as_nanos() as u64;
        self.octets.fetch_add(octets as u64, Ordering::Relaxed);
        // Kept if there is one already.
        let _ = self
            .first
            .compare_exchange(0, now, Ordering::SeqCst, Ordering::SeqCst);
        if octets >= LARGE {
            self.last_large.store(now, Ordering::SeqCst);
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        use std::os::fd::AsRawFd;
        // SAFETY: a plain system call on a descriptor that `listener` holds open. It ends a blocked `accept`.
        unsafe { libc::shutdown(self.listener.as_raw_fd(), libc::SHUT_RDWR) };
        if let Some(thread) = self.accepting.take() {
            // It ends by returning; it has nothing to say.
            let _ = thread.join();
        }
        for stream in self
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            // One that has ended by itself cannot be shut down, and need not.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn join(
    client: TcpStream,
    server: TcpStream,
    seen: &Arc<Seen>,
    open: &Mutex<Vec<TcpStream>>,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    open.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .extend([client.try_clone()?, server.try_clone()?]);
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    thread::Builder::new().spawn(move || copy(from_client, to_server, |_| ()))?;
    let seen = seen.clone();
    thread::Builder::new().spawn(move || copy(server, client, |octets| seen.came(octets)))?;
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream, came: impl Fn(usize)) {
    let mut buffer = vec![0; 256 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        // Before they are handed on: what follows may be over before this thread runs again.
        came(count);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // Whichever direction ends first ends both: neither a proxy nor the API server goes on with half a connection.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
