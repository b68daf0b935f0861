//! The servers that stand for the image `agnhost`: as much of them as tests of Services ask for. They run in this process;
//! their sockets are in the pod's namespace.
//!
//! Its SCTP server speaks by raw packets, so that the kernel need not know SCTP. Beside what the image does, `netexec` answers `/` and datagrams that it does not know with `NAME ADDRESS:PORT`, as the
//! lab's own servers do, so that the lab's clients can talk to it.

mod flags;
mod http;
mod serve;
mod udp;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lab::Netns;
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinHandle};

use flags::Flags;

/// What a server does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing, until it is told to end.
    Pause,
    /// HTTP and UDP servers that answer to several commands, and an SCTP server that says the pod's name.
    Netexec {
        /// TCP port.
        http: Option<u16>,
        /// UDP port.
        udp: Option<u16>,
        /// SCTP port.
        sctp: Option<u16>,
        /// How long it goes on after SIGTERM.
        delay: Duration,
    },
    /// One server that says the pod's name.
    ServeHostname {
        /// What it speaks.
        protocols: Vec<Protocol>,
        /// The port, of each.
        port: u16,
    },
    /// The lab's own servers, for streams and loads: image `agnhost`, word `lab`.
    Lab {
        /// TCP port.
        http: Option<u16>,
        /// UDP port.
        udp: Option<u16>,
        /// TCP port.
        stream: Option<u16>,
    },
}

/// What `serve-hostname` speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    Tcp,
    Udp,
}

/// The handle to a running server; dropping it does not end the server.
#[derive(Debug)]
pub(super) struct Control {
    shared: Arc<Shared>,
    task: AbortHandle,
}

/// What the tasks of one server share.
#[derive(Debug)]
struct Shared {
    hostname: String,
    /// Told to end, and perhaps still at work.
    terminating: AtomicBool,
    told: Notify,
    exit: mpsc::UnboundedSender<i32>,
    log: PathBuf,
}

impl Role {
    /// From the words after the program's name.
    ///
    /// # Errors
    /// With the word that is not known.
    pub fn parse(words: &[String]) -> Result<Role, String> {
        let Some((role, rest)) = words.split_first() else {
            return Ok(Role::Pause);
        };
        let flags = Flags::parse(rest);
        match role.as_str() {
            "pause" => Ok(Role::Pause),
            "netexec" => Ok(Role::Netexec {
                http: flags.port("http-port")?.or_default(8080),
                udp: flags.port("udp-port")?.or_default(8081),
                sctp: flags.port("sctp-port")?.given(),
                delay: Duration::from_secs(flags.number("delay-shutdown")?.unwrap_or(0)),
            }),
            "serve-hostname" => {
                let chosen = [
                    (Protocol::Http, flags.is_on("http", true)),
                    (Protocol::Tcp, flags.is_on("tcp", false)),
                    (Protocol::Udp, flags.is_on("udp", false)),
                ];
                let on = |(protocol, on): (Protocol, bool)| on.then_some(protocol);
                Ok(Role::ServeHostname {
                    protocols: chosen.into_iter().filter_map(on).collect(),
                    port: flags.port("port")?.or_default(9376).unwrap_or(9376),
                })
            }
            "lab" => Ok(Role::Lab {
                http: flags.port("http")?.given(),
                udp: flags.port("udp")?.given(),
                stream: flags.port("stream")?.given(),
            }),
            other => Err(format!(
                "this agnhost knows no {other}: use netexec, serve-hostname, pause or lab"
            )),
        }
    }
}

/// Starts a server; its end gives an exit code. A port that is taken ends it with code 1, as it does the image.
pub(super) fn start(
    role: Role,
    netns: Netns,
    hostname: &str,
    log: PathBuf,
) -> (Control, JoinHandle<i32>) {
    let (exit, mut exits) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        hostname: hostname.to_owned(),
        terminating: AtomicBool::new(false),
        told: Notify::new(),
        exit,
        log,
    });
    let delay = match role {
        Role::Netexec { delay, .. } => delay,
        _ => Duration::ZERO,
    };
    let own = shared.clone();
    let task = tokio::spawn(async move {
        tokio::select! {
            error = serve::serve(role, netns, own.clone()) => {
                own.say(&error);
                1
            }
            () = end(&own, delay) => 0,
            Some(code) = exits.recv() => code,
        }
    });
    let control = Control {
        shared,
        task: task.abort_handle(),
    };
    (control, task)
}

impl Control {
    /// As SIGTERM.
    pub fn terminate(&self) {
        self.shared.terminating.store(true, Ordering::Relaxed);
        self.shared.told.notify_one();
    }

    /// As SIGKILL.
    pub fn kill(&self) {
        self.task.abort();
    }
}

impl Shared {
    fn is_terminating(&self) -> bool {
        self.terminating.load(Ordering::Relaxed)
    }

    fn say(&self, line: &str) {
        let file = OpenOptions::new().create(true).append(true).open(&self.log);
        if let Ok(mut file) = file {
            // A log that can't be written is missed by whoever reads it, and by nobody else.
            let _ = writeln!(file, "{line}");
        }
    }
}

async fn end(shared: &Shared, delay: Duration) {
    shared.told.notified().await;
    tokio::time::sleep(delay).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(words: &str, expected: Role) {
        let list: Vec<String> = words.split(' ').map(str::to_owned).collect();
        assert_eq!(Role::parse(&list), Ok(expected), "{words}");
    }

    #[test]
    fn words_make_a_role() {
        check("pause", Role::Pause);
        let netexec = |http, udp, sctp, seconds| Role::Netexec {
            http,
            udp,
            sctp,
            delay: Duration::from_secs(seconds),
        };
        check("netexec", netexec(Some(8080), Some(8081), None, 0));
        check(
            "netexec --http-port=80 --udp-port=-1 --delay-shutdown 600",
            netexec(Some(80), None, None, 600),
        );
        check(
            "netexec --sctp-port=95",
            netexec(Some(8080), Some(8081), Some(95), 0),
        );
        let hostname = |protocols: &[Protocol], port| Role::ServeHostname {
            protocols: protocols.into(),
            port,
        };
        check("serve-hostname", hostname(&[Protocol::Http], 9376));
        check(
            "serve-hostname --tcp --http=false --port 80",
            hostname(&[Protocol::Tcp], 80),
        );
        check(
            "serve-hostname --udp --tcp --http=false --port=80",
            hostname(&[Protocol::Tcp, Protocol::Udp], 80),
        );
        assert!(Role::parse(&["guestbook".into()]).is_err());
        assert!(Role::parse(&["netexec".into(), "--http-port=many".into()]).is_err());
    }
}
