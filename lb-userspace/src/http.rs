//! What probes and scrapes ask: whether the node is served (S-61), and the metrics (S-62). It has a thread of its own, so that
//! no scrape holds the data plane up and no long write holds a probe up. It answers questions and changes nothing.

mod bind;
pub mod health;
pub mod metrics;
mod pages;
mod scrape;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::events::Events;

pub use bind::bind;
pub use health::Health;
pub use metrics::Metrics;
pub use pages::Pages;
pub use scrape::DataPlane;

/// How long to wait before an address that is in use is tried again.
const BIND_AGAIN: Duration = Duration::from_secs(2);
/// How long to wait after a connection could not be accepted, as when no descriptor is left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// How long a client may take for the head of its request.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// Connections that are served at the same time. One more ends the oldest: who only holds connections must not keep a probe out,
/// or kubelet would restart the agent for it.
const CONNECTIONS: usize = 64;

/// A server that is demanded could not be started.
#[derive(Debug, Error)]
#[error(
    "cannot listen on {address} for {purpose}: {source}; stop what listens there or choose another address with {flag}",
    purpose = .site.purpose(),
    flag = .site.flag()
)]
pub struct BindError {
    /// What for.
    pub site: Site,
    /// The address.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

/// One of the two servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Site {
    /// `/healthz` and `/livez`, for kubelet and load balancers.
    Healthz,
    /// `/metrics`, `/proxyMode` and `/healthz`, for those on the node.
    Metrics,
}

impl Site {
    fn purpose(self) -> &'static str {
        match self {
            Self::Healthz => "health checks",
            Self::Metrics => "metrics",
        }
    }

    fn flag(self) -> &'static str {
        match self {
            Self::Healthz => "--healthz-bind-address",
            Self::Metrics => "--metrics-bind-address",
        }
    }

    /// The reason of the Event (S-64).
    fn reason(self) -> &'static str {
        match self {
            Self::Healthz => "FailedToStartProxierHealthcheck",
            Self::Metrics => "FailedToStartMetricServer",
        }
    }
}

/// Where probes and scrapes are answered, none for nowhere.
#[derive(Clone, Debug, Default)]
pub struct HttpConfig {
    /// For `/healthz` and `/livez`.
    pub healthz: Option<SocketAddr>,
    /// For `/metrics`.
    pub metrics: Option<SocketAddr>,
    /// An address that can't be had is an error.
    pub must_bind: bool,
}

impl HttpConfig {
    /// Listens where it says.
    ///
    /// # Errors
    /// If an address can't be had and must.
    pub fn listen(&self, events: &Events) -> Result<Vec<Server>, BindError> {
        let sites = [(Site::Healthz, self.healthz), (Site::Metrics, self.metrics)];
        let demanded = sites
            .into_iter()
            .filter_map(|(site, address)| Some((site, address?)));
        demanded
            .map(|(site, address)| Server::listen(site, address, self.must_bind, events))
            .collect()
    }
}

/// A server that listens, or is to be tried again.
#[derive(Debug)]
pub struct Server {
    site: Site,
    address: SocketAddr,
    listener: Option<TcpListener>,
}

impl Server {
    /// Listens on an address. Where that fails, it is told once and tried again later.
    ///
    /// # Errors
    /// If it fails and must not.
    pub fn listen(
        site: Site,
        address: SocketAddr,
        must: bool,
        events: &Events,
    ) -> Result<Self, BindError> {
        let listener = match bind(address) {
            Ok(listener) => Some(listener),
            Err(source) => {
                let error = BindError {
                    site,
                    address,
                    source,
                };
                if must {
                    return Err(error);
                }
                warn!("{error}; it is tried again every few seconds");
                events.of_node(site.reason(), "StartServer", &error.to_string());
                None
            }
        };
        Ok(Self {
            site,
            address,
            listener,
        })
    }

    /// Where it listens; none while it does not.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.listener.as_ref()?.local_addr().ok()
    }
}

/// The thread that answers. It ends when this is dropped.
#[derive(Debug)]
pub struct Http {
    _end: oneshot::Sender<Infallible>,
}

/// Lets the servers answer.
///
/// # Errors
/// If no thread can be started.
pub fn start(servers: Vec<Server>, pages: Pages) -> io::Result<Http> {
    let (end, ended) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .build()?;
    let pages = Arc::new(pages);
    thread::Builder::new().name("http".into()).spawn(move || {
        runtime.block_on(async {
            for server in servers {
                tokio::spawn(run(server, pages.clone()));
            }
            // The sender sends nothing; it is dropped.
            let _ = ended.await;
        });
        runtime.shutdown_background();
    })?;
    Ok(Http { _end: end })
}

async fn run(server: Server, pages: Arc<Pages>) {
    let site = server.site;
    let listener = listener(server).await;
    let mut connections: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!(%error, "no connection");
                sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        connections.retain(|connection| !connection.is_finished());
        if connections.len() >= CONNECTIONS
            && let Some(oldest) = connections.pop_front()
        {
            oldest.abort();
        }
        let pages = pages.clone();
        let connection = tokio::spawn(async move {
            let answer = service_fn(|request: hyper::Request<Incoming>| {
                let pages = pages.clone();
                async move { Ok::<_, Infallible>(pages.answer(site, request.uri()).await) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_PATIENCE)
                .serve_connection(TokioIo::new(stream), answer);
            if let Err(error) = served.await {
                debug!(%error, "a connection broke");
            }
        });
        connections.push_back(connection.abort_handle());
    }
}

/// The server's listener, as soon as there is one.
async fn listener(mut server: Server) -> tokio::net::TcpListener {
    let (site, address) = (server.site, server.address);
    let mut late = false;
    loop {
        let listener = match server.listener.take() {
            Some(listener) => Ok(listener),
            None => {
                late = true;
                sleep(BIND_AGAIN).await;
                bind(address)
            }
        };
        match listener.and_then(tokio::net::TcpListener::from_std) {
            Ok(listener) => {
                if late {
                    info!(%address, "listens for {} at last", site.purpose());
                } else {
                    debug!(%address, "listens for {}", site.purpose());
                }
                return listener;
            }
            Err(error) => debug!(%address, %error, "still cannot listen"),
        }
    }
}
