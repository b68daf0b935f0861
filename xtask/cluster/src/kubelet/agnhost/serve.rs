//! The sockets of a server, made in its pod's namespace, and the tasks on them.

use std::future::Future;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use lab::{Netns, Server};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::{Protocol, Role, Shared, http, udp};

/// Serves until it is dropped. It ends by itself only when it can't begin, with a sentence.
pub(super) async fn serve(role: Role, netns: Netns, shared: Arc<Shared>) -> String {
    let place = netns.name().to_owned();
    let begun = tokio::task::spawn_blocking({
        let (handle, shared) = (Handle::current(), shared.clone());
        move || begin(role, &netns, &handle, &shared)
    });
    match begun.await {
        Ok(Ok(sockets)) => {
            shared.say("serving");
            sockets.serve(shared).await
        }
        Ok(Err(error)) => format!("cannot serve in {place}: {error:#}"),
        Err(error) => format!("cannot serve in {place}: {error}"),
    }
}

/// What a server listens on.
#[derive(Default)]
struct Sockets {
    netexec: Vec<TcpListener>,
    commands: Vec<UdpSocket>,
    hostname_http: Vec<TcpListener>,
    hostname_tcp: Vec<TcpListener>,
    hostname_udp: Vec<UdpSocket>,
    /// Threads of their own, which end when they are dropped.
    lab: Vec<Server>,
}

fn begin(
    role: Role,
    netns: &Netns,
    handle: &Handle,
    shared: &Arc<Shared>,
) -> anyhow::Result<Sockets> {
    let mut sockets = Sockets::default();
    let tcp = |port: u16| netns.run(|| listen(handle, port));
    let udp = |port: u16| netns.run(|| bind(handle, port));
    match role {
        Role::Pause => {}
        Role::Netexec {
            http,
            udp: port,
            sctp,
            ..
        } => {
            sockets.netexec = http.map(tcp).transpose()?.into_iter().collect();
            sockets.commands = port.map(udp).transpose()?.into_iter().collect();
            let sctp = sctp.map(|port| Server::sctp(netns, &shared.hostname, port));
            sockets.lab.extend(sctp.transpose()?);
        }
        Role::ServeHostname { protocols, port } => {
            for protocol in protocols {
                match protocol {
                    Protocol::Http => sockets.hostname_http.push(tcp(port)?),
                    Protocol::Tcp => sockets.hostname_tcp.push(tcp(port)?),
                    Protocol::Udp => sockets.hostname_udp.push(udp(port)?),
                }
            }
        }
        Role::Lab { http, udp, stream } => {
            let name = &shared.hostname;
            let http = http.map(|port| Server::http(netns, name, port));
            let udp = udp.map(|port| Server::udp(netns, name, port));
            let stream = stream.map(|port| Server::stream(netns, name, port));
            for server in [http, udp, stream].into_iter().flatten() {
                sockets.lab.push(server?);
            }
        }
    }
    Ok(sockets)
}

impl Sockets {
    async fn serve(self, shared: Arc<Shared>) -> String {
        let mut tasks = JoinSet::new();
        for listener in self.netexec {
            tasks.spawn(accept_each(
                listener,
                shared.clone(),
                |stream, peer, shared| http::converse(stream, peer, shared, http::netexec),
            ));
        }
        for listener in self.hostname_http {
            tasks.spawn(accept_each(
                listener,
                shared.clone(),
                |stream, peer, shared| http::converse(stream, peer, shared, http::hostname),
            ));
        }
        for listener in self.hostname_tcp {
            tasks.spawn(accept_each(listener, shared.clone(), say_hostname));
        }
        for socket in self.commands {
            tasks.spawn(udp::serve(socket, shared.clone(), udp::command));
        }
        for socket in self.hostname_udp {
            tasks.spawn(udp::serve(socket, shared.clone(), udp::hostname));
        }
        let _lab = self.lab;
        // No task ends; a server without any waits for its end all the same.
        tasks.join_next().await;
        std::future::pending().await
    }
}

async fn say_hostname(mut stream: TcpStream, _: SocketAddr, shared: Arc<Shared>) -> io::Result<()> {
    stream.write_all(shared.hostname.as_bytes()).await?;
    stream.shutdown().await
}

async fn accept_each<F, Fut>(listener: TcpListener, shared: Arc<Shared>, handle: F)
where
    F: Fn(TcpStream, SocketAddr, Arc<Shared>) -> Fut + Send + 'static,
    Fut: Future<Output = io::Result<()>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let _ = stream.set_nodelay(true);
                    connections.spawn(handle(stream, canonical(peer), shared.clone()));
                }
                // The client gave up meanwhile, or descriptors are short: others may still come.
                Err(_) => tokio::task::yield_now().await,
            },
            // A client that breaks off is its own business; it reports the failure.
            Some(_) = connections.join_next() => {}
        }
    }
}

/// `peer` is an IPv4 address where the client uses IPv4.
pub(super) fn canonical(peer: SocketAddr) -> SocketAddr {
    (peer.ip().to_canonical(), peer.port()).into()
}

fn listen(handle: &Handle, port: u16) -> io::Result<TcpListener> {
    let _runtime = handle.enter();
    let socket = TcpSocket::new_v6()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv6Addr::UNSPECIFIED, port).into())?;
    socket.listen(4096)
}

fn bind(handle: &Handle, port: u16) -> io::Result<UdpSocket> {
    let _runtime = handle.enter();
    let socket = std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}
