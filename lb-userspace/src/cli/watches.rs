//! What a running agent tells of its watches: whether the API is followed, and since when. The one part of a status that the
//! maps do not hold. It is asked for where the agent answers scrapes; nobody answering is no error.

use std::fmt;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::view::Status;

/// How long the agent may take; it answers in milliseconds unless conntrack is full.
const PATIENCE: Duration = Duration::from_secs(3);

/// The watch of one kind of object.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub(super) struct WatchView {
    /// The kind.
    pub(super) resource: String,
    /// Whether its changes are followed.
    pub(super) connected: bool,
    /// Since when, in seconds of Unix time.
    pub(super) since: i64,
}

/// A status with the watches, none where no agent answers or it has none.
#[derive(Serialize)]
pub(super) struct WithWatches {
    #[serde(flatten)]
    pub(super) status: Status,
    pub(super) watches: Vec<WatchView>,
}

impl fmt::Display for WithWatches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if self.watches.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n{:<15}API", "WATCH")?;
        for watch in &self.watches {
            let words = if watch.connected {
                "followed"
            } else {
                "NOT FOLLOWED, what was seen last stays in force,"
            };
            let since = Timestamp::from_second(watch.since)
                .map_or_else(|_| watch.since.to_string(), |since| since.to_string());
            writeln!(f, "{:<15}{words} since {since}", watch.resource)?;
        }
        Ok(())
    }
}

/// The watches of the agent that answers scrapes at an address.
pub(super) fn ask(address: SocketAddr) -> Vec<WatchView> {
    metrics(reachable(address)).map_or_else(|_| Vec::new(), |text| read(&text))
}

/// An address to listen on as one to connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn metrics(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: lb\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn read(text: &str) -> Vec<WatchView> {
    let values = |name: &'static str| {
        text.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?.strip_prefix("{resource=\"")?;
            let (resource, value) = rest.split_once("\"} ")?;
            Some((resource, value.trim().parse::<f64>().ok()?))
        })
    };
    values("lb_source_connected")
        .filter_map(|(resource, connected)| {
            let since =
                values("lb_source_state_timestamp_seconds").find(|(of, _)| *of == resource)?;
            Some(WatchView {
                resource: resource.to_owned(),
                connected: connected == 1.0,
                since: since.1 as i64,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "\
# TYPE lb_source_connected gauge
lb_source_connected{resource=\"EndpointSlice\"} 1
lb_source_connected{resource=\"Service\"} 0
lb_source_connected{resource=\"torn
lb_source_state_timestamp_seconds{resource=\"EndpointSlice\"} 1767225600.25
lb_source_state_timestamp_seconds{resource=\"Service\"} 1767225660
";

    #[test]
    fn the_watches_are_told_with_the_time_since_when() {
        let watch = |resource: &str, connected, since| WatchView {
            resource: resource.into(),
            connected,
            since,
        };
        assert_eq!(
            read(METRICS),
            [
                watch("EndpointSlice", true, 1_767_225_600),
                watch("Service", false, 1_767_225_660)
            ]
        );
        assert_eq!(read("HTTP/1.1 404 Not Found\r\n\r\n"), []);
    }

    #[test]
    fn an_address_for_all_is_asked_over_loopback_and_nobody_there_is_no_error() {
        let check = |listens: &str, asked: &str| {
            let listens = listens.parse().expect("an address");
            assert_eq!(reachable(listens).to_string(), asked);
        };
        check("0.0.0.0:10249", "127.0.0.1:10249");
        check("[::]:10249", "[::1]:10249");
        check("192.0.2.1:10249", "192.0.2.1:10249");
        let nobody = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port");
        assert_eq!(ask(nobody), []);
    }
}
