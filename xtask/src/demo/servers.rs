//! The real servers of the example, each inside its pod: how each is configured and how one sees that it answers.
//! Programs come from the host's packages; everything they write goes to a directory of their own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lab::{Command, Pod, Process, wait_for};

use super::services;
use super::shell::Dns;

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(30);
/// Shares of the machine's memory do not matter to a demonstration; its disk space and time do.
const MARIADB_SMALL: [&str; 5] = [
    "--innodb-buffer-pool-size=8M",
    "--innodb-log-file-size=4M",
    "--innodb-temp-data-file-path=ibtmp1:4M:autoextend",
    "--innodb-flush-log-at-trx-commit=0",
    "--skip-name-resolve",
];

/// The user and group of programs that own nothing.
const NOBODY: u32 = 65534;

/// What a pod runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// A web server that answers with the pod's name and the client that it sees.
    Nginx,
    /// The key-value store.
    Redis,
    /// The database.
    Mariadb,
    /// The cluster's DNS.
    Dnsmasq,
}

impl Program {
    /// As one calls it.
    pub fn name(self) -> &'static str {
        match self {
            Program::Nginx => "nginx",
            Program::Redis => "redis-server",
            Program::Mariadb => "mariadbd",
            Program::Dnsmasq => "dnsmasq",
        }
    }

    /// Starts the program in `pod`; `directory` is its own. It may not answer yet.
    ///
    /// # Errors
    /// When its files cannot be written or it cannot be started.
    pub fn start(self, pod: &Pod, directory: &Path) -> Result<Server> {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        let log = directory.join("output.log");
        let mut command = match self {
            Program::Nginx => nginx(pod, directory)?,
            Program::Redis => redis(pod, directory)?,
            Program::Mariadb => mariadb(pod, directory)?,
            Program::Dnsmasq => dnsmasq(pod),
        };
        let output = File::create(&log).with_context(|| log.display().to_string())?;
        command.stdout(output.try_clone()?).stderr(output);
        Ok(Server {
            program: self,
            pod: pod.name.clone(),
            process: command.spawn()?,
            log,
        })
    }
}

/// A program in a pod.
#[derive(Debug)]
pub struct Server {
    pub program: Program,
    pod: String,
    process: Process,
    log: PathBuf,
}

impl Server {
    /// Waits until the server answers at its pod's own address, as a readiness probe does.
    ///
    /// # Errors
    /// When it ends instead, or takes too long: with the last lines of what it printed.
    pub fn wait_ready(&mut self, pod: &Pod) -> Result<()> {
        let what = format!("{} in {} to answer", self.program.name(), self.pod);
        let ended = wait_for(&what, PATIENCE, || {
            if let Ok(Some(status)) = self.process.try_wait() {
                return Some(Some(status));
            }
            answers(self.program, pod).then_some(None)
        });
        match ended {
            Ok(None) => Ok(()),
            Ok(Some(status)) => bail!(
                "{} in {} has ended ({status}): {}",
                self.program.name(),
                self.pod,
                last_lines(&self.log)
            ),
            Err(error) => Err(error.context(last_lines(&self.log))),
        }
    }

    /// Asks it to finish what it has begun and to end, and waits for that.
    ///
    /// # Errors
    /// When it does not end.
    pub fn quit(&mut self) -> Result<()> {
        let signal = match self.program {
            Program::Nginx => nix::libc::SIGQUIT,
            _ => nix::libc::SIGTERM,
        };
        self.process.signal(signal)?;
        let what = format!("{} in {} to end", self.program.name(), self.pod);
        wait_for(&what, PATIENCE, || {
            self.process.try_wait().ok().flatten().map(drop)
        })
    }
}

/// The end of a log, for an error message.
pub fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(5)..].join("\n  ");
    format!("{} ends with:\n  {last}", log.display())
}

fn answers(program: Program, pod: &Pod) -> bool {
    let asked = |command: &mut Command| {
        command
            .output()
            .is_ok_and(|output| output.status.success() && !output.stdout.is_empty())
    };
    let address = pod.ipv4.to_string();
    let netns = &pod.netns;
    match program {
        Program::Nginx => pod
            .sockets(80)
            .iter()
            .all(|&socket| lab::client::http_get(netns, socket).is_ok()),
        Program::Redis => asked(netns.command("redis-cli").args(["-h", &address, "PING"])),
        Program::Mariadb => asked(
            netns
                .command("mariadb")
                .args(["--no-defaults", "-h", &address])
                .args(DATABASE_LOGIN)
                .args(["-e", "SELECT 1"]),
        ),
        Program::Dnsmasq => asked(
            Dns::at(pod.ipv4)
                .show_to(&mut netns.command("getent"))
                .args(["ahostsv4", &services::BACKEND.domain()]),
        ),
    }
}

/// How a client of the database says who it is.
pub const DATABASE_LOGIN: [&str; 2] = ["-uapp", "-psecret"];

/// With temporary directories of its own, since those of the package belong to the machine's nginx.
fn nginx(pod: &Pod, directory: &Path) -> Result<Command> {
    let own = directory.display();
    let name = &pod.name;
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("    {kind}_temp_path {own}/{kind};\n"))
        .collect();
    // The client in brackets where it has an IPv6 address, as in a URL.
    let text = format!(
        r#"daemon off;
worker_processes 1;
pid {own}/nginx.pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000;
{temporary}    map $remote_addr $client {{
        "~:" "[$remote_addr]:$remote_port";
        default "$remote_addr:$remote_port";
    }}
    server {{
        listen 80 backlog=4096;
        listen [::]:80 backlog=4096;
        return 200 "{name} $client\n";
    }}
}}
"#
    );
    let configuration = write(directory, "nginx.conf", &text)?;
    let mut command = pod.netns.command("nginx");
    command
        .args(["-e", "stderr", "-c"])
        .arg(configuration)
        .arg("-p")
        .arg(directory);
    Ok(command)
}

fn redis(pod: &Pod, directory: &Path) -> Result<Command> {
    let text = format!(
        "bind * -::*\nport 6379\nprotected-mode no\nsave \"\"\nappendonly no\ndir {}\n",
        directory.display()
    );
    let configuration = write(directory, "redis.conf", &text)?;
    let mut command = pod.netns.command("redis-server");
    command.arg(configuration).user(NOBODY, NOBODY);
    Ok(command)
}

fn mariadb(pod: &Pod, directory: &Path) -> Result<Command> {
    let data = format!("--datadir={}", directory.join("data").display());
    let mut install = pod.netns.command("mariadb-install-db");
    let made = install
        .args(["--no-defaults", "--user=mysql", "--skip-test-db", &data])
        .arg("--auth-root-authentication-method=normal")
        .args(MARIADB_SMALL)
        .output()?;
    if !made.status.success() {
        bail!(
            "mariadb-install-db failed: {}{}",
            String::from_utf8_lossy(&made.stdout),
            String::from_utf8_lossy(&made.stderr)
        );
    }
    let text = "CREATE DATABASE shop;
CREATE TABLE shop.orders (id INT PRIMARY KEY, item VARCHAR(40));
INSERT INTO shop.orders VALUES (1, 'a bicycle'), (2, 'a bell');
CREATE USER app IDENTIFIED BY 'secret';
GRANT SELECT ON shop.* TO app;
";
    let statements = write(directory, "first.sql", text)?;
    let mut command = pod.netns.command("mariadbd");
    command
        .args(["--no-defaults", "--user=mysql", &data])
        .args(["--socket=socket", "--pid-file=pid"])
        .arg(format!("--init-file={}", statements.display()))
        .args(["--bind-address=*", "--port=3306"])
        .args(MARIADB_SMALL);
    Ok(command)
}

fn dnsmasq(pod: &Pod) -> Command {
    let mut command = pod.netns.command("dnsmasq");
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file=",
        "--user=nobody",
        "--log-facility=-",
        "--no-resolv",
        "--no-hosts",
        "--local=/cluster.local/",
    ]);
    for service in services::ALL {
        let [ipv4, ipv6] = service.vips();
        command.arg(format!("--host-record={},{ipv4},{ipv6}", service.domain()));
    }
    command
}

fn write(directory: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = directory.join(name);
    fs::write(&path, text).with_context(|| path.display().to_string())?;
    Ok(path)
}
