//! The lab's own promises: what is built is reachable, honest about checksums, and gone when deleted.

lab::sandbox!();

use std::time::{Duration, Instant};

use anyhow::Result;
use lab::client::{self, ClientError, KeptConnection, Kind, Load, UdpClient};
use lab::{Cni, Lab, PacketSocket, Pod, checksum_errors, counters};

#[test]
fn pods_reach_each_other_on_routed_nodes() -> Result<()> {
    check_reachability(Cni::Routed, Cni::Routed)
}

#[test]
fn pods_reach_each_other_on_bridged_nodes() -> Result<()> {
    check_reachability(Cni::Bridge, Cni::Bridge)
}

#[test]
fn pods_reach_each_other_between_nodes_of_different_cnis() -> Result<()> {
    check_reachability(Cni::Bridge, Cni::Routed)
}

#[test]
fn nodes_and_the_outside_host_reach_pods() -> Result<()> {
    for cni in [Cni::Routed, Cni::Bridge] {
        let lab = Lab::builder().nodes(2).cni(cni).build()?;
        let extra = lab.add_host("client")?;
        let pod = lab.node(1).add_pod("pod")?;
        pod.serve_http(80)?;
        let clients = [
            &lab.node(1).netns,
            &lab.node(2).netns,
            &lab.outside().netns,
            &extra.netns,
        ];
        for (netns, to) in clients
            .iter()
            .flat_map(|netns| pod.sockets(80).map(|to| (netns, to)))
        {
            assert_eq!(
                client::http_get(netns, to)?.pod,
                "pod",
                "{cni:?}: {netns:?} to {to}"
            );
        }
        let pod_sees = client::http_get(&extra.netns, pod.sockets(80)[0])?
            .peer
            .ip();
        assert_eq!(pod_sees, extra.ipv4);
    }
    Ok(())
}

#[test]
fn no_machine_answers_for_a_vip() -> Result<()> {
    let lab = Lab::builder().nodes(2).build()?;
    let pod = lab.node(1).add_pod("pod")?;
    let wire = PacketSocket::open(&lab.node(1).netns, "eth0")?;
    for vip in ["10.96.0.10:80", "[fd00:10:96::a]:80"] {
        let outcome = client::http_get_within(&pod.netns, vip.parse()?, Duration::from_millis(300));
        assert!(
            outcome.as_ref().is_err_and(ClientError::is_timeout),
            "{vip}: {outcome:?}"
        );
    }
    // The default route leads them to the outside host, which is what a data plane has to prevent.
    let leaving =
        wire.drain(|frame| frame.outgoing && frame.bytes.get(30..34) == Some(&[10, 96, 0, 10]))?;
    assert!(
        !leaving.is_empty(),
        "the capture sees what leaves the uplink"
    );
    Ok(())
}

#[test]
fn only_nodes_forward_and_filter() -> Result<()> {
    let lab = Lab::builder().build()?;
    let pod = lab.node(1).add_pod("pod")?;
    for (netns, expected) in [
        (&lab.node(1).netns, "1"),
        (&lab.outside().netns, "0"),
        (&pod.netns, "0"),
    ] {
        for key in [
            "ipv4/ip_forward",
            "ipv6/conf/all/forwarding",
            "ipv4/conf/all/rp_filter",
        ] {
            assert_eq!(netns.sysctl(key)?, expected, "{key} in {netns:?}");
        }
    }
    Ok(())
}

#[test]
fn a_resolver_is_what_a_program_asks() -> Result<()> {
    let lab = Lab::builder().build()?;
    let (client, dns) = (lab.node(1).add_pod("client")?, lab.node(1).add_pod("dns")?);
    let wire = PacketSocket::open(&dns.netns, "eth0")?;
    let mut lookup = client.netns.command("getent");
    lookup
        .args(["hosts", "backend"])
        .resolver(dns.ipv4.into(), &["default.svc"])
        .env("RES_OPTIONS", "attempts:1");
    assert!(!lookup.status()?.success(), "nobody serves DNS here");
    let question = b"\x07backend\x07default\x03svc\x00";
    let asked = wire.drain(|frame| {
        frame
            .bytes
            .windows(question.len())
            .any(|window| window == question)
    })?;
    assert!(
        !asked.is_empty(),
        "the question for backend.default.svc reached the name server"
    );
    Ok(())
}

#[test]
fn a_wrong_checksum_is_counted_when_offload_is_off() -> Result<()> {
    let lab = Lab::builder().build()?;
    let (sender, receiver) = (
        lab.node(1).add_pod("sender")?,
        lab.node(1).add_pod("receiver")?,
    );
    receiver.serve_udp(53)?;
    let before = checksum_errors(&receiver.netns)?;
    let wire = PacketSocket::open(&lab.node(1).netns, &receiver.host_device)?;
    wire.send(&udp_frame_with_wrong_checksum(&sender, &receiver)?)?;
    let counted = || checksum_errors(&receiver.netns).is_ok_and(|now| now == before + 1);
    lab::wait_until(
        "the checksum error to be counted",
        Duration::from_secs(2),
        counted,
    )
}

#[test]
fn streams_come_back_whole_in_large_segments() -> Result<()> {
    let lab = Lab::builder().nodes(2).build()?;
    let (near, far) = (lab.node(1).add_pod("near")?, lab.node(2).add_pod("far")?);
    far.serve_stream(9000)?;
    let wire = PacketSocket::open(&lab.node(2).netns, &far.host_device)?;
    for to in far.sockets(9000) {
        client::stream(&near.netns, to, 4 << 20)?;
    }
    let largest = wire
        .drain(|_| true)?
        .iter()
        .map(|frame| frame.bytes.len())
        .max();
    assert!(largest > Some(40_000), "largest frame {largest:?}");
    Ok(())
}

#[test]
fn loads_count_what_happened() -> Result<()> {
    let lab = Lab::builder().nodes(2).build()?;
    let (client, server) = (
        lab.node(1).add_pod("client")?,
        lab.node(2).add_pod("server")?,
    );
    server.serve_http(80)?;
    server.serve_udp(53)?;
    for kind in [Kind::Http, Kind::KeepAlive, Kind::Udp] {
        for to in server.sockets(if kind == Kind::Udp { 53 } else { 80 }) {
            let report = client::many(&client.netns, to, kind, 500, 8)?;
            assert_eq!(
                (report.total, report.errors, report.of("server")),
                (500, 0, 500),
                "{kind:?} {to}: {report}"
            );
        }
    }
    let refused = client::http_many(&client.netns, server.sockets(81)[0], 20, 4)?;
    assert_eq!((refused.total, refused.errors), (20, 20));
    assert!(refused.error_texts[0].contains("refused"), "{refused}");
    Ok(())
}

#[test]
fn a_load_notices_a_deleted_pod() -> Result<()> {
    let lab = Lab::builder().nodes(2).build()?;
    let (client, server) = (
        lab.node(1).add_pod("client")?,
        lab.node(2).add_pod("server")?,
    );
    server.serve_http(80)?;
    let options = client::Options {
        timeout: Duration::from_millis(300),
        ..Default::default()
    };
    let load = Load::start_with(&client.netns, server.sockets(80)[0], Kind::Http, 4, options)?;
    load.wait_for_more(100, Duration::from_secs(5))?;
    assert_eq!(load.report().errors, 0);
    server.delete()?;
    load.wait_for_more(8, Duration::from_secs(5))?;
    let report = load.stop()?;
    assert!(report.errors > 0 && report.of("server") >= 100, "{report}");
    Ok(())
}

#[test]
fn kept_connections_serve_many_requests_and_show_their_end() -> Result<()> {
    let lab = Lab::builder().build()?;
    let (client, server) = (
        lab.node(1).add_pod("client")?,
        lab.node(1).add_pod("server")?,
    );
    let http = lab::Server::http(&server.netns, "server", 80)?;
    let mut kept = KeptConnection::open(&client.netns, server.sockets(80)[1])?;
    for _ in 0..3 {
        let answer = kept.request()?;
        assert_eq!((answer.pod.as_str(), answer.peer), ("server", kept.local()));
    }
    assert_eq!(http.served(), 3);
    drop(http);
    assert!(kept.request().is_err());
    assert!(
        client::http_get(&client.netns, server.sockets(80)[1])
            .is_err_and(|error| error.is_refused())
    );
    let nobody = UdpClient::open(&client.netns, server.sockets(53)[0])?.request(b"x");
    assert!(nobody.is_err_and(|error| error.is_refused()));
    Ok(())
}

#[test]
fn a_deleted_pod_is_gone_and_may_come_back_with_its_addresses() -> Result<()> {
    for cni in [Cni::Routed, Cni::Bridge] {
        let lab = Lab::builder().cni(cni).build()?;
        let node = lab.node(1);
        let (client, pod) = (node.add_pod("client")?, node.add_pod("pod")?);
        let daemon = "sleep 1000 & setsid sleep 1000 & exec sleep 1000";
        pod.netns
            .command("sh")
            .args(["-c", daemon])
            .spawn()?
            .detach();
        let (ipv4, ipv6) = (pod.ipv4, pod.ipv6);
        let (path, device) = (pod.netns.path().to_owned(), pod.host_side());
        pod.delete()?;
        assert!(!path.exists() && !device.exists(), "{cni:?}");
        let routes = node.netns.ip_output(&["route"])?;
        assert!(!routes.contains(&format!("{ipv4} ")), "{cni:?}: {routes}");
        let again = node.add_pod_with_ips("pod", ipv4, ipv6)?;
        again.serve_http(80)?;
        for to in again.sockets(80) {
            assert_eq!(
                client::http_get(&client.netns, to)?.pod,
                "pod",
                "{cni:?} {to}"
            );
        }
    }
    Ok(())
}

#[test]
fn programs_see_their_own_files_and_the_sandboxs_bpffs() -> Result<()> {
    let lab = Lab::builder().build()?;
    let pod = lab.node(1).add_pod("pod")?;
    let bpffs = lab::Sandbox::current()?.bpffs();
    let script = format!(
        "cat /etc/hostname; ls /run/private; stat -f -c %T {}; ip -o link | wc -l",
        bpffs.display()
    );
    let mut command = pod.netns.command("sh");
    command
        .args(["-c", &script])
        .private_file("/etc/hostname", "pod\n")
        .private_dir("/run/private");
    let output = command.output()?;
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "pod\nbpf_fs\n2\n",
        "{output:?}"
    );
    assert_ne!(std::fs::read_to_string("/etc/hostname")?, "pod\n");
    // The sandbox's directory, with the file's contents in it, is below /run too.
    let mut covered = pod.netns.command("cat");
    covered
        .arg("/etc/hostname")
        .private_dir("/run")
        .private_file("/etc/hostname", "covered\n");
    assert_eq!(covered.output()?.stdout, b"covered\n");
    let mut user = pod.netns.command("sh");
    user.args(["-c", "id -u; id -G; pwd; touch here && ls"])
        .user(65534, 65534)
        .private_dir("/mnt")
        .current_dir("/mnt");
    let output = user.output()?;
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "65534\n65534\n/mnt\nhere\n",
        "{output:?}"
    );
    assert!(
        user.output()
            .is_err_and(|error| error.to_string().contains("make another"))
    );
    let missing = pod.netns.command("no-such-program").spawn();
    assert!(missing.is_err_and(|error| error.to_string().contains("cannot start no-such-program")));
    Ok(())
}

#[test]
fn a_program_has_only_the_privileges_that_it_is_left() -> Result<()> {
    const NET_ADMIN: u64 = 1 << 12;
    let lab = Lab::builder().build()?;
    let status = |user: Option<u32>| -> Result<String> {
        let mut command = lab.node(1).netns.command("grep");
        command
            .args(["-E", "^(Cap|NoNewPrivs)", "/proc/self/status"])
            .capabilities(NET_ADMIN)
            .no_new_privileges();
        if let Some(user) = user {
            command.user(user, user);
        }
        Ok(String::from_utf8(command.output()?.stdout)?.replace("0000000000", ""))
    };
    assert_eq!(
        status(None)?,
        "CapInh:\t000000\nCapPrm:\t001000\nCapEff:\t001000\nCapBnd:\t001000\nCapAmb:\t000000\nNoNewPrivs:\t1\n"
    );
    assert_eq!(
        status(Some(65534))?,
        "CapInh:\t000000\nCapPrm:\t000000\nCapEff:\t000000\nCapBnd:\t001000\nCapAmb:\t000000\nNoNewPrivs:\t1\n"
    );
    Ok(())
}

#[test]
fn a_program_inherits_no_variable_and_writes_nothing_through_a_read_only_mount() -> Result<()> {
    let lab = Lab::builder().build()?;
    let directory = lab::Sandbox::current()?.directory().join("shown");
    std::fs::create_dir_all(&directory)?;
    let mut command = lab.node(1).netns.command("/bin/sh");
    command
        .args([
            "-c",
            "echo $HOME $KEY; touch /mnt/file || echo 0 > /proc/sys/net/ipv4/ip_forward",
        ])
        .env_clear()
        .env("KEY", "value")
        .bind_read_only(&directory, "/mnt")
        .bind_read_only("/proc/sys", "/proc/sys");
    let output = command.output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        (
            &output.stdout[..],
            errors.matches("Read-only file system").count()
        ),
        (&b"value\n"[..], 2),
        "{errors}"
    );
    Ok(())
}

#[test]
fn a_lab_of_two_nodes_and_five_pods_is_quick() -> Result<()> {
    let start = Instant::now();
    let lab = Lab::builder().nodes(2).build()?;
    let pods: Result<Vec<Pod>> = (0..5)
        .map(|i| lab.node(1 + i % 2).add_pod(&format!("pod-{i}")))
        .collect();
    let took = start.elapsed();
    println!("{} pods in {took:?}", pods?.len());
    // Usually a fifth of a second; other tests run beside it.
    assert!(took < Duration::from_secs(3), "{took:?}");
    Ok(())
}

#[test]
fn a_panic_inside_a_namespace_reaches_the_caller() -> Result<()> {
    let lab = Lab::builder().build()?;
    let netns = &lab.node(1).netns;
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        netns.run(|| panic!("inside"))
    }));
    assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"inside"));
    Ok(())
}

#[track_caller]
fn check_reachability(first: Cni, second: Cni) -> Result<()> {
    let lab = Lab::builder()
        .nodes(2)
        .node_cni(1, first)
        .node_cni(2, second)
        .build()?;
    let client = lab.node(1).add_pod("client")?;
    let pods = [lab.node(1).add_pod("near")?, lab.node(2).add_pod("far")?];
    for pod in &pods {
        pod.serve_http(80)?;
        pod.serve_udp(53)?;
        pod.serve_stream(9000)?;
        pod.set_tx_checksum_offload(false)?;
    }
    client.set_tx_checksum_offload(false)?;
    for pod in &pods {
        for address in pod.addresses() {
            let answer = client::http_get(&client.netns, (address, 80).into())?;
            assert_eq!((&answer.pod, answer.peer), (&pod.name, answer.local));
            let answer = client::udp_exchange(&client.netns, (address, 53).into(), b"who?")?;
            assert_eq!(
                (&answer.pod, answer.peer, &answer.payload[..]),
                (&pod.name, answer.local, &b"who?"[..])
            );
            client::stream(&client.netns, (address, 9000).into(), 1 << 20)?;
        }
    }
    let strict = counters(&lab.node(1).netns)?["TcpExt.IPReversePathFilter"];
    assert_eq!(
        strict, 0,
        "nothing is against strict reverse path filtering"
    );
    for netns in lab
        .nodes()
        .iter()
        .map(|node| &node.netns)
        .chain(pods.iter().map(|pod| &pod.netns))
        .chain([&client.netns])
    {
        assert_eq!(checksum_errors(netns)?, 0, "{netns:?}");
    }
    Ok(())
}

/// An IPv4 UDP datagram `x` to port 53, right in all but its UDP checksum, as it would arrive at the receiver.
fn udp_frame_with_wrong_checksum(from: &Pod, to: &Pod) -> Result<Vec<u8>> {
    let mut ip = vec![0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0];
    ip.extend(from.ipv4.octets());
    ip.extend(to.ipv4.octets());
    let sum: u32 = ip
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
        .sum();
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let udp = [0x10, 0x00, 0, 53, 0, 9, 0xba, 0xad, b'x'];
    let frame = [
        &to.eth0().mac()?[..],
        &to.host_side().mac()?,
        &[8, 0],
        &ip,
        &udp,
    ];
    Ok(frame.concat())
}

#[test]
fn sctp_is_spoken_without_the_kernels_help() -> Result<()> {
    let lab = Lab::builder().nodes(2).build()?;
    let client = lab.node(1).add_pod("client")?;
    let server = lab.node(2).add_pod("server")?;
    server.serve_sctp(2905)?;
    for to in server.sockets(2905) {
        let answer =
            client::sctp_exchange_within(&client.netns, to, b"hello world", client::TIMEOUT)?;
        assert_eq!((answer.pod.as_str(), answer.peer), ("server", answer.local));
        let nobody = (to.ip(), 2906).into();
        let silence = Duration::from_millis(200);
        let error = client::sctp_exchange_within(&client.netns, nobody, b"", silence).unwrap_err();
        assert!(error.is_timeout(), "{error}");
    }
    Ok(())
}
