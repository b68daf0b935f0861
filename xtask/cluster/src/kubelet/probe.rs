//! Probes and lifecycle hooks of a container: what is asked, and how often. What follows from an answer is `worker`'s
//! business. Requests come from inside the pod's namespace; HTTPS and gRPC are not spoken.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Container, ExecAction, HTTPGetAction, HTTPHeader, LifecycleHandler, Probe,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use super::program::{Child, Surroundings};

/// How soon a container that is not ready is asked again, at first: nobody has to wait a whole period for a server to come up.
const IMPATIENCE: Duration = Duration::from_millis(50);

/// What a probe decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Startup,
    Readiness,
    Liveness,
}

/// The container that is asked.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub surroundings: Arc<Surroundings>,
    pub address: IpAddr,
    pub ports: Vec<(String, u16)>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Http {
        host: Option<String>,
        port: IntOrString,
        path: String,
        headers: Vec<(String, String)>,
    },
    Tcp {
        host: Option<String>,
        port: IntOrString,
    },
    Exec(Vec<String>),
    Sleep(Duration),
    Unknown,
}

impl Target {
    /// A container's named ports are what its probes may name.
    pub fn new(container: &Container, surroundings: Arc<Surroundings>, address: IpAddr) -> Target {
        let ports = container.ports.iter().flatten();
        let named = ports.filter_map(|port| {
            let number = u16::try_from(port.container_port).ok()?;
            Some((port.name.clone()?, number))
        });
        Target {
            surroundings,
            address,
            ports: named.collect(),
        }
    }

    /// Asks once.
    ///
    /// # Errors
    /// With a sentence when the answer is no, or none comes in time.
    pub async fn ask(&self, action: &Action, limit: Duration) -> Result<(), String> {
        let outcome = timeout(limit, self.carry_out(action)).await;
        outcome.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
    }

    async fn carry_out(&self, action: &Action) -> Result<(), String> {
        match action {
            Action::Http {
                host,
                port,
                path,
                headers,
            } => {
                let to = self.socket(host.as_deref(), port)?;
                let status = self
                    .http_status(to, path, headers)
                    .await
                    .map_err(|error| format!("{to}{path}: {error}"))?;
                match status {
                    200..400 => Ok(()),
                    _ => Err(format!("{to}{path} answered {status}")),
                }
            }
            Action::Tcp { host, port } => {
                let to = self.socket(host.as_deref(), port)?;
                let connected = self.connect(to).await;
                connected
                    .map(drop)
                    .map_err(|error| format!("{to}: {error}"))
            }
            Action::Exec(words) => self.execute(words).await,
            Action::Sleep(time) => {
                sleep(*time).await;
                Ok(())
            }
            Action::Unknown => {
                Err("this kubelet knows httpGet (without TLS), tcpSocket and exec only".into())
            }
        }
    }

    fn socket(&self, host: Option<&str>, port: &IntOrString) -> Result<SocketAddr, String> {
        let port = match port {
            IntOrString::Int(number) => {
                u16::try_from(*number).map_err(|_| format!("{number} is no port"))?
            }
            IntOrString::String(name) => {
                let named = self.ports.iter().find(|(known, _)| known == name);
                let named = named.map(|(_, port)| *port).or(name.parse().ok());
                named.ok_or_else(|| format!("the container has no port named {name}"))?
            }
        };
        let host = match host.filter(|host| !host.is_empty()) {
            None => self.address,
            Some("localhost") => IpAddr::from([127, 0, 0, 1]),
            Some(text) => text.parse().map_err(|_| format!("{text} is no address"))?,
        };
        Ok((host, port).into())
    }

    /// The socket is made in the namespace and belongs to it wherever it is used.
    async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let netns = self.surroundings.netns.clone();
        let made = tokio::task::spawn_blocking(move || {
            netns.run(|| match to {
                SocketAddr::V4(_) => TcpSocket::new_v4(),
                SocketAddr::V6(_) => TcpSocket::new_v6(),
            })
        });
        made.await.map_err(io::Error::other)??.connect(to).await
    }

    async fn http_status(
        &self,
        to: SocketAddr,
        path: &str,
        headers: &[(String, String)],
    ) -> io::Result<u16> {
        let mut stream = self.connect(to).await?;
        let mut request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            request += &format!("Host: {to}\r\n");
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += "\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.contains(&b'\n') && stream.read_buf(&mut answer).await? > 0 {}
        let text = String::from_utf8_lossy(&answer);
        let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
        status.ok_or_else(|| io::Error::other("the answer is no HTTP"))
    }

    async fn execute(&self, words: &[String]) -> Result<(), String> {
        let (program, arguments) = words.split_first().ok_or("exec without a command")?;
        let surroundings = self.surroundings.clone();
        let (name, rest) = (program.clone(), arguments.to_vec());
        let spawned = tokio::task::spawn_blocking(move || surroundings.spawn(&name, &rest));
        let spawned = spawned.await.map_err(|error| error.to_string())?;
        let child = spawned
            .and_then(|spawned| Ok(Child::new(spawned)?))
            .map_err(|error| format!("{error:#}"))?;
        match child.wait().await {
            0 => Ok(()),
            code => Err(format!("{program} ended with code {code}")),
        }
    }
}

impl Action {
    /// What a probe asks.
    pub fn of_probe(probe: &Probe) -> Action {
        if let Some(http) = &probe.http_get {
            Action::http(http)
        } else if let Some(tcp) = &probe.tcp_socket {
            Action::Tcp {
                host: tcp.host.clone(),
                port: tcp.port.clone(),
            }
        } else if let Some(exec) = &probe.exec {
            Action::exec(exec)
        } else {
            Action::Unknown
        }
    }

    /// What a hook does.
    pub fn of_hook(hook: &LifecycleHandler) -> Action {
        if let Some(http) = &hook.http_get {
            Action::http(http)
        } else if let Some(exec) = &hook.exec {
            Action::exec(exec)
        } else if let Some(pause) = &hook.sleep {
            Action::Sleep(whole_seconds(i32::try_from(pause.seconds).ok(), 0))
        } else {
            Action::Unknown
        }
    }

    fn http(action: &HTTPGetAction) -> Action {
        if action
            .scheme
            .as_deref()
            .is_some_and(|scheme| scheme == "HTTPS")
        {
            return Action::Unknown;
        }
        let header = |header: &HTTPHeader| (header.name.clone(), header.value.clone());
        let headers = action.http_headers.iter().flatten();
        Action::Http {
            host: action.host.clone(),
            port: action.port.clone(),
            path: action.path.clone().unwrap_or_else(|| "/".into()),
            headers: headers.map(header).collect(),
        }
    }

    fn exec(action: &ExecAction) -> Action {
        Action::Exec(action.command.clone().unwrap_or_default())
    }
}

/// Asks again and again, and reports each time that the thresholds of the probe give another answer, until it is dropped.
pub(super) async fn watch(
    target: Target,
    kind: Kind,
    probe: Probe,
    report: impl Fn(Result<(), String>),
) {
    let action = Action::of_probe(&probe);
    let period = whole_seconds(probe.period_seconds, 10).max(Duration::from_secs(1));
    let limit = whole_seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1));
    let enough = probe.success_threshold.unwrap_or(1).max(1);
    let too_many = probe.failure_threshold.unwrap_or(3).max(1);
    sleep(whole_seconds(probe.initial_delay_seconds, 0)).await;
    let mut told: Option<bool> = None;
    let (mut successes, mut failures, mut pause) = (0, 0, IMPATIENCE);
    loop {
        let answer = target.ask(&action, limit).await;
        match &answer {
            Ok(()) => (successes, failures) = (successes + 1, 0),
            Err(_) => (successes, failures) = (0, failures + 1),
        }
        let good = answer.is_ok();
        let decided = if good {
            successes >= enough
        } else {
            failures >= too_many
        };
        // A liveness probe's container is started anew on every decision against it.
        if decided && (told != Some(good) || kind == Kind::Liveness && !good) {
            told = Some(good);
            report(answer);
        }
        if kind == Kind::Startup && told == Some(true) {
            return;
        }
        if good {
            pause = IMPATIENCE;
        }
        let not_ready = kind == Kind::Readiness && told != Some(true);
        sleep(if not_ready { pause.min(period) } else { period }).await;
        pause = pause.saturating_mul(2);
    }
}

fn whole_seconds(seconds: Option<i32>, default: u64) -> Duration {
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Duration::from_secs(seconds.unwrap_or(default))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::TCPSocketAction;

    use super::*;

    #[test]
    fn a_probe_is_what_its_fields_say() {
        let port = IntOrString::String("http".into());
        let http = Probe {
            http_get: Some(HTTPGetAction {
                port: port.clone(),
                ..HTTPGetAction::default()
            }),
            ..Probe::default()
        };
        let expected = Action::Http {
            host: None,
            port: port.clone(),
            path: "/".into(),
            headers: vec![],
        };
        assert_eq!(Action::of_probe(&http), expected);
        let tcp = Probe {
            tcp_socket: Some(TCPSocketAction {
                host: None,
                port: port.clone(),
            }),
            ..Probe::default()
        };
        assert_eq!(Action::of_probe(&tcp), Action::Tcp { host: None, port });
        assert_eq!(Action::of_probe(&Probe::default()), Action::Unknown);
    }
}
