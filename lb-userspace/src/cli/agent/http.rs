//! The options of `lb agent` about where it answers probes and scrapes.

use std::net::SocketAddr;

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
        value_parser = address
    )]
    healthz_bind_address: Address,

    /// Where `/metrics` is answered; an empty value for nowhere.
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "LB_METRICS_BIND_ADDRESS",
        default_value = "127.0.0.1:10249",
        value_parser = address
    )]
    metrics_bind_address: Address,

    /// End if one of these addresses cannot be had, instead of trying again while the data plane works.
    #[arg(long)]
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

/// Where to listen, none for nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Address(Option<SocketAddr>);

fn address(text: &str) -> Result<Address, String> {
    if text.is_empty() {
        return Ok(Address(None));
    }
    let address = text
        .parse()
        .map_err(|_| "it is no address with a port, as in 0.0.0.0:10256 or [::1]:10249".to_owned());
    address.map(|address| Address(Some(address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port_and_an_empty_one_is_none() {
        let check = |text: &str, expected: Option<Option<&str>>| {
            let expected =
                expected.map(|it| Address(it.map(|address| address.parse().expect("an address"))));
            assert_eq!(address(text).ok(), expected, "{text}");
        };
        check("", Some(None));
        check("127.0.0.1:10249", Some(Some("127.0.0.1:10249")));
        check("[::]:10256", Some(Some("[::]:10256")));
        check("127.0.0.1", None);
        check("localhost:10249", None);
    }
}
