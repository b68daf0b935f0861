//! The options of `lb agent` about where it answers probes and scrapes.

use crate::cli::address::{Listen, listen};
use crate::http::HttpConfig;

/// Where to answer.
#[derive(clap::Args, Debug)]
pub(super) struct HttpArgs {
    /// Where `/healthz` and `/livez` are answered, for kubelet and load balancers; 0.0.0.0 stands for all addresses of both
    /// families, an empty value for nowhere.
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "LB_HEALTHZ_BIND_ADDRESS",
        default_value = "0.0.0.0:10256",
        value_parser = listen
    )]
    healthz_bind_address: Listen,

    /// Where `/metrics` is answered; an empty value for nowhere.
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "LB_METRICS_BIND_ADDRESS",
        default_value = "127.0.0.1:10249",
        value_parser = listen
    )]
    metrics_bind_address: Listen,

    /// End if one of these addresses cannot be had, instead of trying again while the data plane works.
    #[arg(long, env = "LB_BIND_ADDRESS_HARD_FAIL")]
    bind_address_hard_fail: bool,
}

impl From<HttpArgs> for HttpConfig {
    fn from(args: HttpArgs) -> Self {
        Self {
            healthz: args.healthz_bind_address.0,
            metrics: args.metrics_bind_address.0,
            must_bind: args.bind_address_hard_fail,
        }
    }
}
