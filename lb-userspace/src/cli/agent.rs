//! `lb agent`.

#[cfg(test)]
mod deployed;
mod families;
mod http;

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::ValueEnum;
use lb_common::layout::limit;
use lb_common::pipeline::socket::Scope;
use tracing_subscriber::EnvFilter;

use crate::app::{self, Config, Source};
use crate::datapath::{Attach, SocketConfig};
use crate::devices::Selector;
use crate::maps::Limits;
use crate::model::{Cidr, CidrError};
use crate::redirect::Mode;
use crate::source::kubernetes::ApiServer;
use families::FamilyArgs;
use http::HttpArgs;

/// Options of `lb agent`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Name of the node that the agent runs on; the host's name by default.
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    node_name: Option<String>,

    /// Take Services, EndpointSlices and Nodes from the YAML and JSON files in DIR, and follow their changes. Without this
    /// and without --kubeconfig they come from the API server of the cluster that the agent is a pod of.
    #[arg(long, value_name = "DIR", conflicts_with = "kubeconfig")]
    manifests: Option<PathBuf>,

    /// Take Services, EndpointSlices and the Node from the API server that FILE names.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// URL of the API server, as in `https://10.0.0.10:6443`, for an agent in a pod. It must not lead through a Service VIP,
    /// which nobody serves before the agent does. By default the pod's environment tells it (KUBERNETES_SERVICE_HOST and
    /// KUBERNETES_SERVICE_PORT); the credentials are those of the pod's service account. Not used with --manifests or
    /// --kubeconfig.
    #[arg(long, value_name = "URL", env = "LB_API_SERVER")]
    api_server: Option<String>,

    /// Serve the devices whose names match PATTERN (`cali*`); may be given several times, or as a list with commas. By default every veth whose
    /// other end is in another network namespace.
    #[arg(
        long,
        value_name = "PATTERN",
        env = "LB_DEVICES",
        value_delimiter = ','
    )]
    devices: Vec<String>,

    #[command(flatten)]
    families: FamilyArgs,

    /// How programs are attached to devices.
    #[arg(long, value_name = "HOW", value_enum, env = "LB_ATTACH", default_value_t = AttachArg::Auto)]
    attach: AttachArg,

    /// Whose processes reach VIPs, beside those in pods: their sockets are given a backend when they connect or send.
    #[arg(long, value_name = "WHOSE", value_enum, env = "LB_SOCKET_LB", default_value_t = SocketLbArg::Host)]
    socket_lb: SocketLbArg,

    /// The cgroup (v2) whose processes are served by --socket-lb; by default the root of the hierarchy, which all processes
    /// of the node belong to.
    #[arg(long, value_name = "PATH", env = "LB_CGROUP")]
    cgroup: Option<PathBuf>,

    /// Whether packets from a pod to a pod go straight into its device, or straight out of the uplink to another node, past the
    /// host's stack and what netfilter does there.
    #[arg(long, value_name = "WHEN", value_enum, env = "LB_REDIRECT", default_value_t = RedirectArg::Off)]
    redirect: RedirectArg,
    /// Drop packets to addresses of CIDR that no Service has; may be given several times, or as a list with commas: what the API
    /// server was told by its option --service-cluster-ip-range. By default the cluster's ServiceCIDR objects tell (Kubernetes
    /// 1.33).
    #[arg(
        long,
        value_name = "CIDR",
        env = "LB_SERVICE_CIDR",
        value_delimiter = ','
    )]
    service_cidr: Vec<String>,

    /// Room for frontends of one family: one for each port of a Service, one for each VIP.
    #[arg(long, value_name = "N", env = "LB_MAX_FRONTENDS", default_value_t = limit::FRONTENDS)]
    max_frontends: u32,

    /// Room for backends of one family: one for each endpoint and port of a Service, and for ten seconds more for each that went.
    #[arg(long, value_name = "N", env = "LB_MAX_BACKENDS", default_value_t = limit::BACKENDS)]
    max_backends: u32,

    /// Room for slots. A port of a Service takes 1 for one endpoint, 12 for 2 to 4, 60 for 5 and 6, 840 for up to 16, and about 100 to
    /// 260 an endpoint beyond; while its endpoints change it needs both the old and the new ones.
    #[arg(long, value_name = "N", env = "LB_MAX_SLOTS", default_value_t = limit::SLOTS)]
    max_slots: u32,

    /// Room for ports of Services.
    #[arg(long, value_name = "N", env = "LB_MAX_SERVICES", default_value_t = limit::SERVICES)]
    max_services: u32,

    /// Room for flows of one IP family in the table that is looked at first, rounded up to 7 times a power of two; with 0 there is none.
    #[arg(long, value_name = "N", env = "LB_MAX_FLOWS", default_value_t = limit::FLOWS)]
    max_flows: u32,

    /// Room for conntrack entries of one family; a flow takes two, from the client's first packet after the backend's answer to its
    /// end.
    #[arg(long, value_name = "N", env = "LB_MAX_CONNTRACK", default_value_t = limit::CONNTRACK)]
    max_conntrack: u32,

    /// Room for entries of one family for all other flows: those that begin, single questions and answers, and what is over. This is
    /// what a flood of forged packets fills.
    #[arg(long, value_name = "N", env = "LB_MAX_TRANSIENT", default_value_t = limit::TRANSIENT)]
    max_transient: u32,

    /// Room for clients of one IP family that stay with their backend by session affinity, one for each client and Service
    /// port; the longest unused is forgotten when there is no room.
    #[arg(long, value_name = "N", env = "LB_MAX_AFFINITY", default_value_t = limit::AFFINITY)]
    max_affinity: u32,

    /// Room for sockets of the node's own processes of which it is remembered which VIP they asked for.
    #[arg(long, value_name = "N", env = "LB_MAX_SOCKETS", default_value_t = limit::SOCKETS)]
    max_sockets: u32,

    #[command(flatten)]
    http: HttpArgs,

    /// What to log, as in `info` or `info,lb_userspace::reconciler=debug`.
    #[arg(long, value_name = "FILTER", env = "LB_LOG", default_value = "info")]
    log: String,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum AttachArg {
    /// By tcx where the kernel has it (Linux 6.6), else by clsact.
    Auto,
    /// By tcx.
    Tcx,
    /// By filters of the clsact queueing discipline.
    Clsact,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum RedirectArg {
    /// Where no rule of netfilter or of policy routing and no other program on the devices would be bypassed; follows changes.
    Auto,
    /// Always, whatever is bypassed.
    On,
    /// Never.
    Off,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum SocketLbArg {
    /// Processes of the agent's network namespace: the kubelet, hostNetwork pods.
    Host,
    /// All processes of the node, so that pods' packets need no translation. What looks at a pod's connections from within
    /// the pod, as sidecars do, sees the backend then.
    All,
    /// No process.
    Off,
}

pub(super) fn run(args: Args, bpffs: PathBuf) -> Result<()> {
    let filter = EnvFilter::try_new(&args.log)
        .with_context(|| format!("--log {:?} is no filter", args.log))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let config = config(args, bpffs)?;
    // One thread does all the work, in the order in which it comes; system calls that may wait have threads of their own.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(app::run(config))
}

fn config(args: Args, bpffs: PathBuf) -> Result<Config> {
    let node_name = match args.node_name {
        Some(name) => name,
        None => nix::unistd::gethostname()
            .context("cannot read the host's name; pass --node-name")?
            .into_string()
            .map_err(|name| {
                anyhow::anyhow!("the host's name {name:?} is no text; pass --node-name")
            })?,
    };
    Ok(Config {
        bpffs,
        node_name,
        source: source(args.manifests, args.kubeconfig, args.api_server),
        http: args.http.into(),
        devices: Selector::from_patterns(&args.devices).context("--devices")?,
        attach: match args.attach {
            AttachArg::Auto => Attach::Auto,
            AttachArg::Tcx => Attach::Tcx,
            AttachArg::Clsact => Attach::Clsact,
        },
        redirect: match args.redirect {
            RedirectArg::Auto => Mode::Auto,
            RedirectArg::On => Mode::On,
            RedirectArg::Off => Mode::Off,
        },
        limits: Limits {
            families: args.families.into(),
            frontends: args.max_frontends,
            backends: args.max_backends,
            slots: args.max_slots,
            services: args.max_services,
            flows: args.max_flows,
            conntrack: args.max_conntrack,
            transient: args.max_transient,
            affinity: args.max_affinity,
            sockets: args.max_sockets,
        },
        service_cidrs: service_cidrs(&args.service_cidr).context("--service-cidr")?,
        sockets: SocketConfig {
            scope: match args.socket_lb {
                SocketLbArg::Host => Some(Scope::Host),
                SocketLbArg::All => Some(Scope::All),
                SocketLbArg::Off => None,
            },
            cgroup: args.cgroup,
        },
    })
}

/// None where no range is named; an empty one is none.
fn service_cidrs(texts: &[String]) -> Result<Option<BTreeSet<Cidr>>, CidrError> {
    let texts = texts.iter().filter(|text| !text.trim().is_empty());
    let ranges: BTreeSet<Cidr> = texts.map(|text| text.parse()).collect::<Result<_, _>>()?;
    Ok((!ranges.is_empty()).then_some(ranges))
}

/// An empty URL is none: so a variable of a manifest can be there and say nothing.
fn source(
    manifests: Option<PathBuf>,
    kubeconfig: Option<PathBuf>,
    api_server: Option<String>,
) -> Source {
    match (
        manifests,
        kubeconfig,
        api_server.filter(|url| !url.is_empty()),
    ) {
        (Some(directory), _, _) => Source::Manifests(directory),
        (None, Some(file), _) => Source::Kubernetes(ApiServer::Kubeconfig(file)),
        (None, None, Some(url)) => Source::Kubernetes(ApiServer::Url(url)),
        (None, None, None) => Source::Kubernetes(ApiServer::InCluster),
    }
}
