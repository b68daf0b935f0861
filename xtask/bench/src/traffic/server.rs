//! The other end of the measurement: a program of its own in each backend's pod, as a client and a server are in life, so that
//! going from the one to the other costs what it costs.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::thread;

use anyhow::{Context, Result};
use clap::Args;

use super::socket::{pin, set_cubic};

/// Answers octet by octet, over TCP and over UDP.
pub const ECHO: u16 = 7001;
/// Takes streams.
pub const SINK: u16 = 7002;
/// What it prints once it listens.
pub const READY: &str = "ready";
/// As much of a stream as is taken at once.
const PIECE: usize = 1 << 18;

/// What the server is told.
#[derive(Args, Debug)]
pub struct Options {
    /// The processor that it stays on
    #[arg(long)]
    cpu: usize,
}

/// Serves until it is killed.
///
/// # Errors
/// When it cannot listen.
pub fn run(options: &Options) -> Result<()> {
    pin(options.cpu).with_context(|| format!("processor {}", options.cpu))?;
    let echo = listen(ECHO)?;
    let sink = listen(SINK)?;
    let datagrams = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, ECHO))?;
    thread::spawn(move || accept(&sink, take));
    thread::spawn(move || answer(&datagrams));
    println!("{READY}");
    accept(&echo, give_back);
    Ok(())
}

fn listen(port: u16) -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    // Those that it accepts inherit it.
    set_cubic(&listener).context("TCP_CONGESTION cubic")?;
    Ok(listener)
}

/// One connection after the other: there is one client.
fn accept(listener: &TcpListener, serve: impl Fn(TcpStream) -> io::Result<()>) {
    loop {
        // A connection that breaks is the client's to tell.
        let _ = listener.accept().and_then(|(stream, _)| serve(stream));
    }
}

fn give_back(mut stream: TcpStream) -> io::Result<()> {
    let mut octet = [0];
    while stream.read(&mut octet)? > 0 {
        stream.write_all(&octet)?;
    }
    Ok(())
}

/// Tells at the end how much came.
fn take(mut stream: TcpStream) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut octets = 0_u64;
    loop {
        match stream.read(&mut piece)? {
            0 => return stream.write_all(&octets.to_be_bytes()),
            count => octets += count as u64,
        }
    }
}

fn answer(socket: &UdpSocket) {
    let mut octet = [0];
    loop {
        match socket.recv_from(&mut octet) {
            Ok((count, from)) => {
                // One that can't be sent is missing at the client.
                let _ = socket.send_to(&octet[..count], from);
            }
            // What an earlier answer met with.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(_) => return,
        }
    }
}
