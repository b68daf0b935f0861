//! A way from one namespace to a server in another without a device between them: it listens in the one, dials in the
//! other, and copies octets. It understands nothing of them, and delays or alters nothing.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use lab::Netns;

/// How long the server may take to accept; it is on a loopback device.
const DIAL: Duration = Duration::from_secs(5);

/// A listening relay. Dropping it cuts it.
pub struct Relay {
    from: Option<Netns>,
    address: SocketAddr,
    to: Netns,
    target: SocketAddr,
    connections: Arc<Mutex<Connections>>,
    accepting: Mutex<Option<Accepting>>,
}

struct Accepting {
    listener: Arc<TcpListener>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Connections {
    next: u64,
    /// Both ends of each.
    open: HashMap<u64, [TcpStream; 2]>,
    cut: bool,
}

impl Relay {
    /// Listens at `listen` inside `from` and dials `target` inside `to` for each connection. Port 0 is any free one.
    ///
    /// # Errors
    /// When the address is taken or not one of the namespace's.
    pub fn start(
        from: &Netns,
        listen: SocketAddr,
        to: &Netns,
        target: SocketAddr,
    ) -> Result<Relay> {
        Self::new(Some(from.clone()), listen, to, target)
    }

    /// Like [`Relay::start`], listening in the namespace of the calling thread.
    ///
    /// # Errors
    /// When the address is taken or not one of the namespace's.
    pub fn start_here(listen: SocketAddr, to: &Netns, target: SocketAddr) -> Result<Relay> {
        Self::new(None, listen, to, target)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections are open through it.
    pub fn connections(&self) -> usize {
        lock(&self.connections).open.len()
    }

    /// Closes every connection, and refuses new ones until [`Relay::mend`].
    pub fn cut(&self) {
        lock(&self.connections).cut = true;
        if let Some(Accepting { listener, thread }) = lock(&self.accepting).take() {
            // SAFETY: a plain system call on a descriptor that `listener` holds open. It ends a blocked `accept`.
            unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RDWR) };
            // It ends by returning; it has nothing to say.
            let _ = thread.join();
        }
        self.drop_connections();
    }

    /// Listens again at the same address after [`Relay::cut`].
    ///
    /// # Errors
    /// When something else has taken the address meanwhile.
    pub fn mend(&self) -> Result<()> {
        let mut accepting = lock(&self.accepting);
        if accepting.is_none() {
            let listener = listen(self.from.as_ref(), self.address)?;
            lock(&self.connections).cut = false;
            *accepting = Some(self.accept(listener)?);
        }
        Ok(())
    }

    /// Closes every connection; new ones are accepted.
    pub fn drop_connections(&self) {
        for [client, server] in lock(&self.connections).open.values() {
            // A connection that has ended by itself cannot be shut down, and need not.
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        }
    }

    fn new(
        from: Option<Netns>,
        address: SocketAddr,
        to: &Netns,
        target: SocketAddr,
    ) -> Result<Relay> {
        let listener = listen(from.as_ref(), address)?;
        let relay = Relay {
            from,
            address: listener.local_addr()?,
            to: to.clone(),
            target,
            connections: Arc::default(),
            accepting: Mutex::new(None),
        };
        let accepting = relay.accept(listener)?;
        *lock(&relay.accepting) = Some(accepting);
        Ok(relay)
    }

    fn accept(&self, listener: TcpListener) -> Result<Accepting> {
        let listener = Arc::new(listener);
        let (accepted, to, target) = (listener.clone(), self.to.clone(), self.target);
        let connections = self.connections.clone();
        let thread = thread::Builder::new().name("relay".into()).spawn(move || {
            // The sockets that are made on this thread dial inside `to`; the listener stays where it was made.
            if to.enter().is_err() {
                return;
            }
            // A handle here would keep the namespace's name alive as long as this thread.
            drop(to);
            while let Ok((client, _)) = accepted.accept() {
                // A server that is not there shows as a connection that is closed at once.
                let _ = TcpStream::connect_timeout(&target, DIAL)
                    .and_then(|server| join(&connections, client, server));
            }
        })?;
        Ok(Accepting { listener, thread })
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = self.from.as_ref().map_or("here", Netns::name);
        write!(
            f,
            "Relay({from} {} to {} {})",
            self.address,
            self.to.name(),
            self.target
        )
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.cut();
    }
}

fn listen(netns: Option<&Netns>, address: SocketAddr) -> Result<TcpListener> {
    match netns {
        Some(netns) => netns
            .run(|| TcpListener::bind(address))
            .with_context(|| format!("a relay cannot listen at {address} in {}", netns.name())),
        None => TcpListener::bind(address)
            .with_context(|| format!("a relay cannot listen at {address}")),
    }
}

/// Copies in both directions, each on a thread of its own, until both have ended.
fn join(
    connections: &Arc<Mutex<Connections>>,
    client: TcpStream,
    server: TcpStream,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ends = [client.try_clone()?, server.try_clone()?];
    let id = {
        let mut connections = lock(connections);
        if connections.cut {
            return Ok(());
        }
        let id = connections.next;
        connections.next += 1;
        connections.open.insert(id, ends);
        id
    };
    let (client_too, server_too) = (client.try_clone()?, server.try_clone()?);
    let back = thread::Builder::new().spawn(move || copy(server_too, client_too))?;
    let connections = connections.clone();
    thread::Builder::new().spawn(move || {
        copy(client, server);
        // It ends by returning; it has nothing to say.
        let _ = back.join();
        lock(&connections).open.remove(&id);
    })?;
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    // However it ends, the other side learns that nothing more comes; a failure also ends the other direction.
    let copied = io::copy(&mut from, &mut to);
    let how = if copied.is_ok() {
        Shutdown::Write
    } else {
        Shutdown::Both
    };
    let _ = to.shutdown(how);
    if copied.is_err() {
        let _ = from.shutdown(Shutdown::Both);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
