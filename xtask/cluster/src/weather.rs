//! Bad weather between a client and the API server: a proxy that passes everything on until it is told to be worse.
//!
//! It listens in plain HTTP/1.1 in one namespace and dials the API server from another one, over TLS where
//! that is what the server speaks. What it passes on is neither buffered nor changed, watches included, and it counts who
//! asked for what. It knows nothing of what the objects mean, and it cannot stop the API server itself.

mod asked;
mod edit;
mod forward;
mod listen;
mod refusal;
mod spells;
mod watch;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, mpsc as blocking};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use kube::config::{AuthInfo, Kubeconfig};
use lab::Netns;
use serde_json::{Value, json};
use tokio::sync::mpsc;

pub use asked::{Asked, Requests, Verb};
pub use edit::Edit;
pub use refusal::Refusal;
pub use spells::{Fault, Spell};

use crate::{ControlPlane, Identity};
use listen::Order;
use spells::Sky;

/// Where the API server is.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The namespace to dial it from.
    pub netns: Netns,
    /// Its address, its authority, and an identity: that one speaks for clients that bring none of their own.
    pub config: kube::Config,
}

/// A proxy in front of an API server. Dropping it closes every connection through it.
#[derive(Debug)]
pub struct Weather {
    place: Netns,
    address: SocketAddr,
    sky: Arc<Sky>,
    orders: mpsc::UnboundedSender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl Upstream {
    /// A control plane's API server, with an identity for clients that bring none of their own.
    ///
    /// # Errors
    /// When no certificate can be made for the identity.
    pub async fn of(control_plane: &ControlPlane, identity: &Identity) -> Result<Self> {
        let kubeconfig =
            control_plane.kubeconfig_for(identity, control_plane.api_server_address())?;
        let kubeconfig = Kubeconfig::from_yaml(&kubeconfig)?;
        Ok(Self {
            netns: control_plane.netns().clone(),
            config: kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?,
        })
    }
}

impl Weather {
    /// Starts to pass on what comes to a free port of `at`, an address of `place`. It listens when it is returned.
    ///
    /// # Errors
    /// When there is no such address, no port is free, or the configuration of the upstream makes no client.
    pub fn start(place: &Netns, at: IpAddr, upstream: Upstream) -> Result<Self> {
        let listener = listen_at(place, (at, 0).into())?;
        let address = listener.local_addr()?;
        let sky = Arc::new(Sky::default());
        let (orders, inbox) = mpsc::unbounded_channel();
        let (ready, started) = blocking::channel();
        let thread = {
            let sky = sky.clone();
            thread::Builder::new()
                .name(format!("weather in {}", place.name()))
                .spawn(move || listen::run(upstream, listener, sky, inbox, ready))?
        };
        started.recv().context("the proxy's thread is gone")??;
        Ok(Self {
            place: place.clone(),
            address,
            sky,
            orders,
            thread: Some(thread),
        })
    }

    /// Where it listens, in its namespace.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A kubeconfig that leads through it, without an identity.
    ///
    /// # Panics
    /// Never: it is made of constants.
    pub fn kubeconfig(&self) -> Kubeconfig {
        let value = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "weather", "cluster": {"server": format!("http://{}", self.address)}}],
            "contexts": [{"name": "weather", "context": {"cluster": "weather", "user": "nobody"}}],
            "users": [{"name": "nobody", "user": AuthInfo::default()}],
            "current-context": "weather",
        });
        serde_json::from_value(value).expect("a kubeconfig")
    }

    /// From now until the spell is dropped, `fault` befalls these requests.
    pub fn during(&self, requests: Requests, fault: Fault) -> Spell {
        self.sky.begin(requests, fault, u64::MAX)
    }

    /// As [`during`](Self::during), but it strikes only so many times.
    pub fn times(&self, count: u64, requests: Requests, fault: Fault) -> Spell {
        self.sky.begin(requests, fault, count)
    }

    /// Cuts all connections, now; new ones are taken. It is done when this returns.
    pub fn cut(&self) {
        self.order(Order::Cut);
    }

    /// Cuts all connections and refuses new ones, as a host without an API server does, until [`admit`](Self::admit).
    pub fn refuse(&self) {
        self.order(Order::Refuse);
    }

    /// Takes connections again.
    ///
    /// # Errors
    /// When the port has been taken meanwhile.
    pub fn admit(&self) -> Result<()> {
        let listener = listen_at(&self.place, self.address)?;
        self.order(|done| Order::Admit(listener, done));
        Ok(())
    }

    /// Tells an event on every open watch among these requests, though the API server has told none, and returns on how
    /// many.
    pub fn inject(&self, requests: &Requests, event: &Value) -> usize {
        self.sky.inject(requests, event)
    }

    /// How many watches among these requests are open.
    pub fn open_watches(&self, requests: &Requests) -> usize {
        self.sky.open_watches(requests)
    }

    /// Every request so far, in the order of their coming, those that were refused included.
    pub fn asked(&self) -> Vec<Asked> {
        self.sky.asked()
    }

    /// How many of the requests so far are among these.
    pub fn count(&self, requests: &Requests) -> usize {
        let asked = self.asked();
        asked.iter().filter(|asked| requests.have(asked)).count()
    }

    fn order(&self, order: impl FnOnce(blocking::Sender<()>) -> Order) {
        let (done, is_done) = blocking::channel();
        // Both fail only when the thread is gone, and then there is no connection either.
        let _ = self.orders.send(order(done));
        let _ = is_done.recv();
    }
}

impl Drop for Weather {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::End);
        if let Some(thread) = self.thread.take() {
            // A panic of the proxy has been printed by its thread.
            let _ = thread.join();
        }
    }
}

/// Binds with SO_REUSEADDR, so an address whose connections have just been cut can be had again.
fn listen_at(place: &Netns, address: SocketAddr) -> Result<TcpListener> {
    let listener = place
        .run(|| TcpListener::bind(address))
        .with_context(|| format!("cannot listen at {address} in {}", place.name()))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
