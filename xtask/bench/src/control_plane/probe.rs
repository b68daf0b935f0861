//! The client in a pod: asks a Service again and again, each time over a new connection, until a certain backend answers.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use lab::Netns;

/// Between two tries: short beside what is measured, and rare enough to leave the processor to others.
const EVERY: Duration = Duration::from_millis(1);
/// A connection that nothing translates is never answered.
const PATIENCE: Duration = Duration::from_millis(20);

/// Asks `service` from inside `netns` until `backend` answers, and returns when the answer was there. The time is known to
/// within one try.
///
/// # Errors
/// When it has not answered and there is no reason to go on.
pub fn wait_for_answer(
    netns: &Netns,
    service: SocketAddr,
    backend: &str,
    go_on: impl Fn() -> bool + Send,
) -> Result<Instant> {
    netns.run(move || {
        let mut last = None;
        while go_on() {
            match ask(service) {
                Ok(answer) if answer == backend => return Ok(Instant::now()),
                other => last = Some(other),
            }
            thread::sleep(EVERY);
        }
        bail!("{backend} does not answer at {service}; the last answer was {last:?}")
    })
}

/// The name of whoever answers.
fn ask(service: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&service, PATIENCE)?;
    // An answer comes late on a busy machine, but it comes.
    stream.set_read_timeout(Some(PATIENCE * 50))?;
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(body.split(' ').next().unwrap_or_default().to_owned())
}
