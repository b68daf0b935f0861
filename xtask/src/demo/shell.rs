//! Commands as somebody inside a pod types them, with the pod's own idea of where DNS is.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result};
use lab::{Command, Netns};

use super::services;

/// Where a pod finds names, as Kubernetes writes it into each pod.
#[derive(Debug, Clone, Copy)]
pub struct Dns {
    server: IpAddr,
    over_tcp: bool,
}

/// Some machines ask a daemon of their own instead of the servers in resolv.conf; a pod does not.
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\n";

impl Dns {
    /// The cluster DNS, by its VIP.
    pub fn cluster() -> Self {
        Self::at(services::KUBE_DNS.ipv4)
    }

    /// A server of one's choice.
    pub fn at(server: impl Into<IpAddr>) -> Self {
        Self {
            server: server.into(),
            over_tcp: false,
        }
    }

    /// Asked over TCP only.
    pub fn over_tcp(self) -> Self {
        Self {
            over_tcp: true,
            ..self
        }
    }

    /// The files below /etc that say so, by name.
    pub fn files(self) -> [(&'static str, String); 2] {
        let server = self.server;
        let transport = if self.over_tcp { " use-vc" } else { "" };
        let resolver = format!(
            "nameserver {server}\nsearch default.svc.cluster.local svc.cluster.local cluster.local\n\
             options timeout:2 attempts:2{transport}\n"
        );
        [
            ("resolv.conf", resolver),
            ("nsswitch.conf", NSSWITCH.to_owned()),
        ]
    }

    /// Lets a program see these files.
    pub fn show_to(self, command: &mut Command) -> &mut Command {
        for (name, text) in self.files() {
            let path = Path::new("/etc").join(name);
            if path.exists() || path.is_symlink() {
                command.private_file(path, text);
            }
        }
        command
    }
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ran {
    /// Where, as a prompt shows it.
    pub place: String,
    /// What was typed.
    pub line: String,
    /// What it printed, errors last.
    pub output: String,
    pub succeeded: bool,
}

impl Ran {
    /// Whether it ended well and its output contains `text`.
    pub fn printed(&self, text: &str) -> bool {
        self.succeeded && self.output.contains(text)
    }
}

/// Runs `words` in a namespace, asking `dns` for names.
///
/// # Errors
/// When the program cannot be started. One that fails is no error: that may be what is to be shown.
pub fn run(netns: &Netns, place: &str, dns: Dns, words: &[&str]) -> Result<Ran> {
    let (program, arguments) = words.split_first().context("no command")?;
    let mut command = netns.command(program);
    dns.show_to(command.args(arguments));
    let output = command.output()?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text += &String::from_utf8_lossy(&output.stderr);
    Ok(Ran {
        place: place.to_owned(),
        line: words
            .iter()
            .map(|word| quoted(word))
            .collect::<Vec<_>>()
            .join(" "),
        output: text,
        succeeded: output.status.success(),
    })
}

/// `http://ADDRESS`, with brackets where they are needed and the port where it is not 80.
pub fn url(socket: SocketAddr) -> String {
    match (socket, socket.port()) {
        (SocketAddr::V4(v4), 80) => format!("http://{}", v4.ip()),
        (SocketAddr::V6(v6), 80) => format!("http://[{}]", v6.ip()),
        _ => format!("http://{socket}"),
    }
}

/// As a shell would need it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{word}'")
    }
}
