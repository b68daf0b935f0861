//! The way from a node's namespace to the API server.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Result;
use cluster::{ControlPlane, Identity, Relay};
use lab::Netns;

/// `kubectl get --raw /version` with an administrator's kubeconfig that names the relay.
fn asks_through(relay: &Relay, node: &Netns, control_plane: &ControlPlane) -> Result<bool> {
    let text = control_plane.kubeconfig_for(&Identity::Admin, relay.address())?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("kubeconfig");
    std::fs::write(&file, text)?;
    let kubectl = cluster::binaries::Program::Kubectl.path()?;
    let mut command = node.command(&kubectl.display().to_string());
    let output = command
        .env("KUBECONFIG", &file)
        .env("HOME", directory.path())
        .args(["get", "--raw", "/version", "--request-timeout=10s"])
        .output()?;
    Ok(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("gitVersion"))
}

#[test]
fn a_node_reaches_the_api_server_until_its_relay_is_cut_and_again_when_mended() -> Result<()> {
    let control_plane = ControlPlane::shared()?;
    let node = Netns::create("relay-node")?;
    let relay = control_plane.relay(&node, "127.0.0.1:6443".parse()?)?;
    assert!(asks_through(&relay, &node, control_plane)?);

    let mut kept = node.run(|| TcpStream::connect(relay.address()))?;
    kept.set_read_timeout(Some(Duration::from_secs(10)))?;
    lab::wait_until(
        "the connection to be relayed",
        Duration::from_secs(5),
        || relay.connections() > 0,
    )?;
    relay.cut();
    // By an end or by a reset, as octets may be on their way.
    assert!(
        !matches!(kept.read(&mut [0; 1]), Ok(1)),
        "an open connection ends"
    );
    let refused = node.run(|| TcpStream::connect(relay.address()));
    assert_eq!(
        refused.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionRefused
    );
    assert!(!asks_through(&relay, &node, control_plane)?);

    relay.mend()?;
    assert!(asks_through(&relay, &node, control_plane)?);
    Ok(())
}

#[test]
fn a_relay_passes_on_every_octet_and_the_end_of_each_direction() -> Result<()> {
    let (node, elsewhere) = (Netns::create("relay-from")?, Netns::create("relay-to")?);
    let server = elsewhere.run(|| std::net::TcpListener::bind("127.0.0.1:0"))?;
    let target: SocketAddr = server.local_addr()?;
    let answering = std::thread::spawn(move || -> std::io::Result<usize> {
        let (mut stream, _) = server.accept()?;
        let mut received = Vec::new();
        stream.read_to_end(&mut received)?;
        stream.write_all(&received)?;
        Ok(received.len())
    });
    let relay = Relay::start(&node, "127.0.0.1:0".parse()?, &elsewhere, target)?;
    let sent: Vec<u8> = (0..3_000_000_u32)
        .map(|number| (number % 251) as u8)
        .collect();
    let mut client = node.run(|| TcpStream::connect(relay.address()))?;
    client.write_all(&sent)?;
    client.shutdown(std::net::Shutdown::Write)?;
    let mut back = Vec::new();
    client.read_to_end(&mut back)?;
    assert!(
        back == sent,
        "{} of {} octets, or others",
        back.len(),
        sent.len()
    );
    assert_eq!(answering.join().expect("no panic")?, sent.len());
    lab::wait_until(
        "the connection to be forgotten",
        Duration::from_secs(5),
        || relay.connections() == 0,
    )
}
