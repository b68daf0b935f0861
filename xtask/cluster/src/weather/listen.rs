//! The proxy's thread: takes connections, serves each, and obeys orders about all of them. What an answer is, is
//! `forward`'s business.

use std::net::TcpListener as StdListener;
use std::sync::{Arc, mpsc as blocking};

use anyhow::{Context, Result};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Client;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Upstream;
use super::forward::forward;
use super::spells::Sky;

/// What the thread is told; it answers when it is done.
pub(super) enum Order {
    /// End every connection.
    Cut(blocking::Sender<()>),
    /// End every connection and take no other.
    Refuse(blocking::Sender<()>),
    /// Take connections from this one again.
    Admit(StdListener, blocking::Sender<()>),
    /// End altogether.
    End,
}

/// The thread: dials from the upstream's namespace, whatever namespace the listener is of.
pub(super) fn run(
    upstream: Upstream,
    listener: StdListener,
    sky: Arc<Sky>,
    orders: mpsc::UnboundedReceiver<Order>,
    ready: blocking::Sender<Result<()>>,
) {
    let runtime = upstream.netns.enter().and_then(|()| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("a runtime")
    });
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(error))),
    };
    runtime.block_on(async {
        match client(upstream.config).and_then(|client| Ok((client, adopt(listener)?))) {
            Ok((client, listener)) => {
                let _ = ready.send(Ok(()));
                serve(client, listener, &sky, orders).await;
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    });
}

async fn serve(
    client: Client,
    listener: TcpListener,
    sky: &Arc<Sky>,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Orders first: what was ordered before a connection came holds for it.
            biased;
            order = orders.recv() => match order {
                Some(Order::Cut(done)) => {
                    connections.shutdown().await;
                    let _ = done.send(());
                }
                Some(Order::Refuse(done)) => {
                    listener = None;
                    connections.shutdown().await;
                    let _ = done.send(());
                }
                Some(Order::Admit(admitted, done)) => {
                    listener = adopt(admitted).ok();
                    let _ = done.send(());
                }
                Some(Order::End) | None => return,
            },
            stream = accept(listener.as_ref()) => {
                connections.spawn(connection(stream, client.clone(), sky.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    match listener {
        None => std::future::pending().await,
        Some(listener) => loop {
            match listener.accept().await {
                Ok((stream, _)) => return stream,
                // The client gave up meanwhile.
                Err(_) => tokio::task::yield_now().await,
            }
        },
    }
}

async fn connection(stream: TcpStream, client: Client, sky: Arc<Sky>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| forward(request, &client, &sky));
    // An error is a connection that was cut, by either side or by an answer that failed: the client sees it.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn client(mut config: kube::Config) -> Result<Client> {
    // What the API server refuses, and when it is silent, is for the client behind the proxy to bear.
    config.default_retry = false;
    config.read_timeout = None;
    Client::try_from(config).context("the configuration of the API server makes no client")
}

fn adopt(listener: StdListener) -> Result<TcpListener> {
    TcpListener::from_std(listener).context("the listener")
}
