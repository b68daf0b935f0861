//! Requests from pods, and what must come of them. All of them are tried until they hold, since what a test has changed
//! takes its time through the control plane, and then once more.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::client::{ClientError, Response, UdpClient, http_get_within, sctp_exchange_within};

use crate::case::{Pod, eventually};

/// How soon a change at the API server must show in the answers.
const SOON: Duration = Duration::from_secs(15);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(2);
/// How long silence is listened to. It follows answers in the other direction, or comes after them.
const SILENCE: Duration = Duration::from_millis(500);
/// As many equal answers are no chance.
const STICKY: usize = 15;

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP over TCP, a connection each.
    Http,
    /// Datagrams, a socket each.
    Udp,
    /// Associations, one for each message, by raw packets.
    Sctp,
}

pub use Protocol::{Http, Sctp, Udp};

impl Pod {
    /// One request.
    pub fn ask(&self, protocol: Protocol, to: SocketAddr) -> Result<Response, ClientError> {
        self.ask_within(protocol, to, ANSWER)
    }

    fn ask_within(
        &self,
        protocol: Protocol,
        to: SocketAddr,
        time: Duration,
    ) -> Result<Response, ClientError> {
        self.run(|| match protocol {
            Http => http_get_within(&self.netns, to, time),
            Udp => UdpClient::open(&self.netns, to)?
                .with_timeout(time)
                .request(b"conformance"),
            Sctp => sctp_exchange_within(&self.netns, to, b"conformance", time),
        })
    }

    /// New connections to each address are answered, by these pods, by no other, and by all of them.
    pub fn reaches(&self, protocol: Protocol, to: &[SocketAddr], pods: &[&Pod]) -> Result<()> {
        let expected: BTreeSet<&str> = pods.iter().map(|pod| pod.hostname.as_str()).collect();
        ensure!(!to.is_empty(), "there is no address to reach");
        for &to in to {
            let what = format!("{} to reach {expected:?} at {to}", self.name);
            eventually(&what, SOON, || {
                let answered = self.answers(protocol, to, 10 * expected.len())?;
                ensure!(
                    answered
                        .iter()
                        .map(String::as_str)
                        .eq(expected.iter().copied()),
                    "{answered:?} have answered"
                );
                Ok(Some(()))
            })?;
        }
        Ok(())
    }

    /// New connections to each address are refused at once.
    pub fn is_refused(&self, protocol: Protocol, to: &[SocketAddr]) -> Result<()> {
        ensure!(!to.is_empty(), "there is no address to be refused by");
        for &to in to {
            let what = format!("{} to be refused by {to}", self.name);
            eventually(&what, SOON, || match self.ask(protocol, to) {
                Err(error) if error.is_refused() => Ok(Some(())),
                Err(error) => Err(error.into()),
                Ok(response) => bail!("{} has answered", response.pod),
            })?;
            let again = self.ask(protocol, to);
            ensure!(
                again.as_ref().is_err_and(ClientError::is_refused),
                "{to} refused once and then gave {again:?}"
            );
        }
        Ok(())
    }

    /// New connections to each address get no answer, whatever else becomes of them.
    pub fn cannot_reach(&self, protocol: Protocol, to: &[SocketAddr]) -> Result<()> {
        ensure!(!to.is_empty(), "there is no address that can't be reached");
        for &to in to {
            let what = format!("{} not to reach {to}", self.name);
            eventually(&what, SOON, || {
                Ok(self
                    .ask_within(protocol, to, SILENCE)
                    .is_err()
                    .then_some(()))
            })?;
            let again = self.ask_within(protocol, to, SILENCE);
            ensure!(
                again.is_err(),
                "{to} was silent once and then gave {again:?}"
            );
        }
        Ok(())
    }

    /// The names of those who answer so many new connections, one after the other, none of which may fail.
    pub fn answers(
        &self,
        protocol: Protocol,
        to: SocketAddr,
        requests: usize,
    ) -> Result<BTreeSet<String>> {
        (0..requests)
            .map(|_| Ok(self.ask(protocol, to)?.pod))
            .collect()
    }

    /// New connections to each address are all answered by the same pod.
    pub fn sticks(&self, protocol: Protocol, to: &[SocketAddr]) -> Result<()> {
        for &to in to {
            let what = format!("{} to stick to one pod at {to}", self.name);
            eventually(&what, SOON, || {
                let answered = self.answers(protocol, to, STICKY)?;
                ensure!(answered.len() == 1, "{answered:?} have answered");
                Ok(Some(()))
            })?;
        }
        Ok(())
    }

    /// New connections to each address are answered by several pods.
    pub fn wanders(&self, protocol: Protocol, to: &[SocketAddr]) -> Result<()> {
        for &to in to {
            let what = format!("{} to meet several pods at {to}", self.name);
            eventually(&what, SOON, || {
                let answered = self.answers(protocol, to, STICKY)?;
                ensure!(answered.len() > 1, "only {answered:?} have answered");
                Ok(Some(()))
            })?;
        }
        Ok(())
    }
}

/// A socket that is never opened again, for each address.
pub struct Sockets(Vec<UdpClient>);

impl Sockets {
    /// Opens them.
    pub fn open(client: &Pod, to: &[SocketAddr]) -> Result<Sockets> {
        let open = |&to: &SocketAddr| {
            let socket = client.run(|| UdpClient::open(&client.netns, to))?;
            anyhow::Ok(socket.with_timeout(Duration::from_millis(300)))
        };
        let sockets = to.iter().map(open).collect::<Result<_>>();
        Ok(Sockets(sockets.context("no socket")?))
    }

    /// Sends and does not care for an answer.
    pub fn send(&self) {
        for socket in &self.0 {
            // A refusal that came earlier shows here; it is what is expected while nobody serves.
            let _ = socket.request(b"early");
        }
    }

    /// Sends until this pod answers on each, and then as often as makes sure that no other does.
    pub fn reach(&self, pod: &Pod) -> Result<()> {
        for socket in &self.0 {
            let what = format!("{} to answer {}", pod.name, socket.local());
            eventually(&what, SOON, || {
                let answer = socket.request(b"again")?;
                ensure!(answer.pod == pod.hostname, "{} has answered", answer.pod);
                Ok(Some(()))
            })?;
            for _ in 0..5 {
                let answer = socket.request(b"still")?;
                ensure!(answer.pod == pod.hostname, "{} has answered", answer.pod);
            }
        }
        Ok(())
    }

    /// Sends until no answer comes any more.
    pub fn reach_nobody(&self) -> Result<()> {
        for socket in &self.0 {
            let what = format!("silence at {}", socket.local());
            eventually(&what, SOON, || {
                // A refusal of an earlier datagram is no answer, and the next may be one.
                let answers = (0..3).filter(|_| socket.request(b"nobody").is_ok());
                Ok((answers.count() == 0).then_some(()))
            })?;
        }
        Ok(())
    }
}
