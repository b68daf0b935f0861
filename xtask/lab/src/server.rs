//! Servers that say who they are and whom they see, each on a thread of this process inside a namespace. Real servers
//! (nginx and the like) are started as programs instead, with `Netns::command`.

mod http;
mod sctp;
mod stream;
mod udp;

use std::future::Future;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::oneshot;

use crate::netns::Netns;

/// A running server, for IPv4 and IPv6 at once. It listens when it is returned; dropping it closes its connections.
#[derive(Debug)]
pub struct Server {
    served: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the tasks of one server share.
#[derive(Debug, Clone)]
struct Identity {
    name: Arc<str>,
    served: Arc<AtomicU64>,
}

impl Server {
    /// HTTP/1.1 on TCP `port`. Every request, whatever it asks for, is answered with 200 and the body
    /// `NAME ADDRESS:PORT\n`: the server's name, and the client as the server sees it. Connections are kept open unless
    /// the request says `Connection: close`.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn http(netns: &Netns, name: &str, port: u16) -> Result<Server> {
        Self::start(netns, name, port, listen, http::serve)
    }

    /// UDP on `port`. Every datagram is answered with `NAME ADDRESS:PORT PAYLOAD`.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn udp(netns: &Netns, name: &str, port: u16) -> Result<Server> {
        Self::start(netns, name, port, bind, udp::serve)
    }

    /// SCTP on `port`, by raw packets, so that the kernel need not know it. Every message is answered with
    /// `NAME ADDRESS:PORT MESSAGE`.
    ///
    /// # Errors
    /// Without root. Whether others serve the port nobody knows.
    pub fn sctp(netns: &Netns, name: &str, port: u16) -> Result<Server> {
        Self::start(netns, name, port, sctp::listen, sctp::serve)
    }

    /// Long streams on TCP `port`, for [`client::stream`](crate::client::stream): verifies what it gets, byte for byte,
    /// and sends it back; resets the connection at the first wrong byte.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn stream(netns: &Netns, name: &str, port: u16) -> Result<Server> {
        Self::start(netns, name, port, listen, stream::serve)
    }

    /// How many requests, datagrams or streams it has answered.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    fn start<S, F, Fut>(
        netns: &Netns,
        name: &str,
        port: u16,
        open: fn(SocketAddr) -> io::Result<S>,
        serve: F,
    ) -> Result<Server>
    where
        S: 'static,
        F: FnOnce(S, Identity) -> Fut + Send + 'static,
        Fut: Future<Output = ()>,
    {
        let identity = Identity {
            name: name.into(),
            served: Arc::default(),
        };
        let served = identity.served.clone();
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = std::sync::mpsc::channel();
        let netns = netns.clone();
        let place = netns.name().to_owned();
        let thread = thread::Builder::new()
            .name(format!("{name}:{port}"))
            .spawn(move || {
                let runtime = match in_namespace(&netns) {
                    Ok(runtime) => runtime,
                    Err(error) => return drop(ready.send(Err(error))),
                };
                // The namespace's name need not outlive its pod because a thread is still inside.
                drop(netns);
                runtime.block_on(async {
                    let socket = open((Ipv6Addr::UNSPECIFIED, port).into());
                    match socket {
                        Err(error) => drop(ready.send(Err(error.into()))),
                        Ok(socket) => {
                            let _ = ready.send(Ok(()));
                            tokio::select! {
                                () = serve(socket, identity) => {}
                                _ = stopped => {}
                            }
                        }
                    }
                });
            })?;
        let server = Server {
            served,
            stop: Some(stop),
            thread: Some(thread),
        };
        let outcome = started.recv().context("the server's thread is gone");
        outcome
            .flatten()
            .with_context(|| format!("cannot serve on port {port} in {place}"))?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the server has been printed by its thread.
            let _ = thread.join();
        }
    }
}

/// A runtime on the calling thread, which moves into the namespace: its sockets are made there.
pub(crate) fn in_namespace(netns: &Netns) -> Result<tokio::runtime::Runtime> {
    netns.enter()?;
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v6()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// Accepts for ever, one task a connection. `peer` is an IPv4 address where the client uses IPv4.
async fn accept_each<F, Fut>(listener: TcpListener, handle: F)
where
    F: Fn(TcpStream, SocketAddr) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                drop(tokio::spawn(handle(stream, canonical(peer))));
            }
            // The client gave up meanwhile, or descriptors are short: others may still come.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    (address.ip().to_canonical(), address.port()).into()
}
