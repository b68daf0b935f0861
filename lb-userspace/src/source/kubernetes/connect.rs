//! The way to the API server: which address, with which credentials, and how a dead connection is noticed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fs, io};

use http::header::{AUTHORIZATION, HeaderValue};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::config::{
    Cluster, Context, KubeConfigOptions, Kubeconfig, KubeconfigError, NamedCluster, NamedContext,
};
use kube::{Client, Config};
use thiserror::Error;
use tower::{BoxError, ServiceBuilder};

/// Where a pod finds the credentials of its ServiceAccount.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How long the API server's host may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// After how much silence a connection is probed.
const PROBE_AFTER: Duration = Duration::from_secs(15);
/// How long after that between probes.
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// How many probes may stay unanswered.
const PROBES: u32 = 3;
/// How long what was sent may stay unacknowledged.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Where the API server is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ApiServer {
    /// Where a kubeconfig says, with the credentials that it names.
    Kubeconfig(PathBuf),
    /// At this URL, with the credentials of the pod's ServiceAccount.
    Url(String),
    /// Where the pod's environment says (`KUBERNETES_SERVICE_HOST`, `KUBERNETES_SERVICE_PORT`), with the credentials of its
    /// ServiceAccount. Unless somebody has set it otherwise, that is a Service VIP.
    InCluster,
}

/// Why there is no client of the API.
#[derive(Debug, Error)]
pub enum KubernetesError {
    /// The kubeconfig cannot be used.
    #[error("kubeconfig {path}: {source}; correct the file or pass another one with --kubeconfig")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KubeconfigError,
    },
    /// There is neither a kubeconfig nor a service account.
    #[error(
        "not in a pod with a service account: {variable} is not set; pass --api-server URL, --kubeconfig FILE or --manifests DIR"
    )]
    NotInCluster {
        /// The variable of the environment that is missing.
        variable: &'static str,
    },
    /// The credentials of the ServiceAccount cannot be used.
    #[error(
        "API server {url} with the service account in {folder}: {source}; correct --api-server and see that the pod has the \
         token and certificate of its service account mounted, or pass --kubeconfig FILE"
    )]
    ServiceAccount {
        /// The API server.
        url: String,
        /// Where the credentials are looked for.
        folder: PathBuf,
        /// What is wrong.
        source: KubeconfigError,
    },
    /// The token of the ServiceAccount cannot be read.
    #[error(
        "the service account's token {path} can't be used: {source}; see that the pod has it mounted, or pass --kubeconfig FILE"
    )]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// The configuration makes no client.
    #[error(
        "the configuration of the Kubernetes API makes no client: {0}; correct its addresses, certificates and credentials"
    )]
    Client(#[from] kube::Error),
}

/// A client of the API. Asks nothing of it yet.
pub async fn connect(server: &ApiServer) -> Result<Client, KubernetesError> {
    let url = match server {
        ApiServer::Kubeconfig(path) => {
            let config = from_file(path).await;
            let config = config.map_err(|source| KubernetesError::Kubeconfig {
                path: path.to_owned(),
                source,
            })?;
            return Ok(client(&config, None)?);
        }
        ApiServer::Url(url) => url.clone(),
        ApiServer::InCluster => url_of_environment(|name| std::env::var(name).ok())?,
    };
    let folder = Path::new(SERVICE_ACCOUNT);
    let token = Token::read(folder.join("token"))?;
    Ok(client(&service_account(&url, folder).await?, Some(token))?)
}

async fn from_file(path: &Path) -> Result<Config, KubeconfigError> {
    let kubeconfig = Kubeconfig::read_from(path)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await
}

/// The API server and its certificate authority, without credentials.
pub(super) async fn service_account(url: &str, folder: &Path) -> Result<Config, KubernetesError> {
    const NAME: &str = "in-cluster";
    let authority = folder.join("ca.crt");
    let kubeconfig = Kubeconfig {
        current_context: Some(NAME.into()),
        contexts: vec![NamedContext {
            name: NAME.into(),
            context: Some(Context {
                cluster: NAME.into(),
                ..Context::default()
            }),
            ..NamedContext::default()
        }],
        clusters: vec![NamedCluster {
            name: NAME.into(),
            cluster: Some(Cluster {
                server: Some(url.into()),
                certificate_authority: Some(authority.display().to_string()),
                ..Cluster::default()
            }),
            ..NamedCluster::default()
        }],
        ..Kubeconfig::default()
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let mut config = config.map_err(|source| KubernetesError::ServiceAccount {
        url: url.into(),
        folder: folder.into(),
        source,
    })?;
    config.root_cert_file = Some(authority);
    Ok(config)
}

/// The token of the ServiceAccount. It is read for each request, of which there are few: kubelet rotates it, and a memory of
/// it would have to trust the clock.
#[derive(Clone, Debug)]
pub(super) struct Token {
    path: PathBuf,
    last: Arc<Mutex<HeaderValue>>,
}

impl Token {
    pub(super) fn read(path: PathBuf) -> Result<Self, KubernetesError> {
        match Self::header_of(&path) {
            Ok(header) => Ok(Self {
                path,
                last: Arc::new(Mutex::new(header)),
            }),
            Err(source) => Err(KubernetesError::Token { path, source }),
        }
    }

    /// `Authorization` with the token that the file holds now, or with the last one that it held.
    pub(super) fn header(&self) -> HeaderValue {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(header) = Self::header_of(&self.path) {
            *last = header;
        }
        last.clone()
    }

    fn header_of(path: &Path) -> io::Result<HeaderValue> {
        let token = fs::read_to_string(path)?;
        if token.trim().is_empty() {
            return Err(io::Error::other("it is empty"));
        }
        let mut header =
            HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(io::Error::other)?;
        header.set_sensitive(true);
        Ok(header)
    }
}

pub(super) fn url_of_environment(
    variable: impl Fn(&'static str) -> Option<String>,
) -> Result<String, KubernetesError> {
    let of = |name| {
        variable(name)
            .filter(|value| !value.is_empty())
            .ok_or(KubernetesError::NotInCluster { variable: name })
    };
    let host = of("KUBERNETES_SERVICE_HOST")?;
    let port = of("KUBERNETES_SERVICE_PORT")?;
    Ok(if host.contains(':') {
        format!("https://[{host}]:{port}")
    } else {
        format!("https://{host}:{port}")
    })
}

/// kube's own client never notices that the other end is gone without a word; this one asks the kernel to. It does not try
/// again by itself either, so that every failure is seen.
fn client(config: &Config, token: Option<Token>) -> Result<Client, kube::Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_keepalive(Some(PROBE_AFTER));
    tcp.set_keepalive_interval(Some(PROBE_EVERY));
    tcp.set_keepalive_retries(Some(PROBES));
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    let tls = config.rustls_https_connector_with_connector(tcp)?;
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new()).build(tls);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_request(move |mut request: http::Request<Body>| {
            if let Some(token) = &token {
                request.headers_mut().insert(AUTHORIZATION, token.header());
            }
            request
        })
        .map_err(BoxError::from)
        .service(http);
    Ok(ClientBuilder::new(service, config.default_namespace.clone()).build())
}
