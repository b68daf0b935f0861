//! A server with one list and one watch in a namespace of its own, the proxy, and a client in another namespace. All
//! three speak HTTP in octets.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cluster::weather::{Upstream, Weather};
use lab::Netns;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// What a list asks.
pub const LIST: &str = "/api/v1/services";
/// What a watch asks.
const WATCH: &str = "/api/v1/services?watch=true";
/// An event without the newline behind it.
pub const EVENT: &str = r#"{"type":"ADDED","object":{"metadata":{"namespace":"shop","name":"a"},"spec":{"ports":[80]}}}"#;

const ITEMS: &str = r#"{"items":[{"metadata":{"namespace":"shop","name":"a"},"spec":{"ports":[80]}},{"metadata":{"name":"b"},"spec":{"ports":[81]}}]}"#;
/// Long enough for an event that is not held back to come.
const SILENCE: Duration = Duration::from_millis(200);

/// The three of them.
pub struct Talk {
    pub weather: Weather,
    pub server: Server,
    client: Netns,
}

/// The server. Everything that is open shares its fate.
pub struct Server {
    state: Arc<State>,
    listener: Option<TcpListener>,
}

#[derive(Default)]
struct State {
    seen: Mutex<Vec<String>>,
    open: Mutex<Vec<TcpStream>>,
    watches: Mutex<Vec<TcpStream>>,
    is_stopped: Mutex<bool>,
}

/// A watch that the server has taken.
pub struct Watch {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Talk {
    /// In fresh namespaces.
    pub fn start() -> Result<Self> {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let far = Netns::create(&format!("server{number}"))?;
        let client = Netns::create(&format!("client{number}"))?;
        let (server, address) = Server::start(&far)?;
        let upstream = Upstream {
            netns: far,
            config: kube::Config::new(format!("http://{address}").parse()?),
        };
        Ok(Self {
            weather: Weather::start(&client, Ipv4Addr::LOCALHOST.into(), upstream)?,
            server,
            client,
        })
    }

    /// Everything that comes in answer, until the connection ends.
    pub fn get(&self, path: &str, headers: &str) -> Result<String> {
        let mut stream = self.ask(path, &format!("{headers}Connection: close\r\n"))?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8(answer)?)
    }

    /// A watch whose answer has begun.
    pub fn watch(&self) -> Result<Watch> {
        let stream = self.ask(WATCH, "")?;
        let mut watch = Watch {
            stream,
            read: Vec::new(),
        };
        watch.expect("\r\n\r\n")?;
        Ok(watch)
    }

    fn ask(&self, path: &str, headers: &str) -> Result<TcpStream> {
        let address = self.weather.address();
        let mut stream = self.client.run(|| TcpStream::connect(address))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: weather\r\n{headers}\r\n"
        )?;
        Ok(stream)
    }
}

impl Server {
    fn start(netns: &Netns) -> Result<(Self, SocketAddr)> {
        let listener = netns.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        let theirs = state.clone();
        let incoming = listener.try_clone()?;
        thread::spawn(move || {
            for stream in incoming.incoming() {
                let Ok(stream) = stream else { return };
                if *lock(&theirs.is_stopped) {
                    return;
                }
                let state = theirs.clone();
                // A connection that breaks off is the business of whom it broke off for.
                thread::spawn(move || drop(answer(&stream, &state)));
            }
        });
        let server = Self {
            state,
            listener: Some(listener),
        };
        Ok((server, address))
    }

    /// The heads of the requests so far.
    pub fn seen(&self) -> Vec<String> {
        lock(&self.state.seen).clone()
    }

    /// Tells an event on every watch.
    pub fn tell(&self, event: &str) {
        for mut watch in lock(&self.state.watches).iter() {
            // Some watches are over.
            let _ = write!(watch, "{:x}\r\n{event}\n\r\n", event.len() + 1);
        }
    }

    /// Ends every connection and takes no other.
    pub fn stop(&mut self) {
        *lock(&self.state.is_stopped) = true;
        if let Some(listener) = self.listener.take() {
            use std::os::fd::AsRawFd;
            // SAFETY: a system call on a descriptor that is open through the call. It wakes the accepting thread.
            unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RDWR) };
        }
        for stream in lock(&self.state.open).drain(..) {
            // Fails where the connection is over.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Watch {
    /// Reads on until `text` has come.
    pub fn expect(&mut self, text: &str) -> Result<()> {
        loop {
            if let Some(at) = find(&self.read, text) {
                self.read.drain(..at + text.len());
                return Ok(());
            }
            ensure!(self.read_more()?, "the connection ended without {text}");
        }
    }

    /// Reads on until the connection ends, which it does behind `text` and without the end of the answer.
    pub fn expect_broken(&mut self, text: &str) -> Result<()> {
        loop {
            match self.read_more() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if is(&error, ErrorKind::ConnectionReset) => break,
                Err(error) => return Err(error),
            }
        }
        let read = String::from_utf8_lossy(&self.read);
        ensure!(!read.contains("0\r\n\r\n"), "the answer was whole: {read}");
        ensure!(read.contains(text), "{read} lacks {text}");
        ensure!(!read.contains(EVENT), "an event was whole: {read}");
        Ok(())
    }

    /// Nothing comes.
    pub fn expect_silence(&mut self) -> Result<()> {
        self.stream.set_read_timeout(Some(SILENCE))?;
        let outcome = self.read_more();
        self.stream.set_read_timeout(Some(PATIENCE))?;
        match outcome {
            Err(error) if is(&error, ErrorKind::WouldBlock) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => bail!("something came: {}", String::from_utf8_lossy(&self.read)),
        }
    }

    fn read_more(&mut self) -> Result<bool> {
        let mut octets = [0; 4096];
        let count = self.stream.read(&mut octets)?;
        self.read.extend_from_slice(&octets[..count]);
        Ok(count > 0)
    }
}

/// Answers the requests of one connection.
fn answer(stream: &TcpStream, state: &State) -> Result<()> {
    lock(&state.open).push(stream.try_clone()?);
    let mut writer = stream;
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            ensure!(reader.read_line(&mut head)? > 0, "the client has ended");
        }
        let line = head.lines().next().context("no line")?;
        let is_watch = line.contains("watch=true");
        lock(&state.seen).push(head);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
        if is_watch {
            // Whoever reads the head may tell events at once.
            let mut watches = lock(&state.watches);
            write!(writer, "{head}Transfer-Encoding: chunked\r\n\r\n")?;
            watches.push(stream.try_clone()?);
        } else {
            write!(
                writer,
                "{head}Content-Length: {}\r\n\r\n{ITEMS}",
                ITEMS.len()
            )?;
        }
    }
}

fn is(error: &anyhow::Error, kind: ErrorKind) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == kind)
}

fn find(octets: &[u8], text: &str) -> Option<usize> {
    octets
        .windows(text.len())
        .position(|window| window == text.as_bytes())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}
