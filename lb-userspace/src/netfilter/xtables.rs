//! Tables of iptables and ebtables as they were before nftables ("legacy"). Which rules a table has is not asked: that it was
//! made is enough.

use std::{fs, io};

/// The tables that exist.
pub(super) fn places() -> io::Result<Vec<String>> {
    let mut places = Vec::new();
    // Of the thread, whose network namespace may be another one than its process's.
    for (file, tool) in [
        ("ip_tables_names", "iptables-legacy"),
        ("ip6_tables_names", "ip6tables-legacy"),
    ] {
        let names = read(&format!("/proc/thread-self/net/{file}"))?;
        places.extend(tables(&names, tool));
    }
    places.extend(bridge_tables(&read("/proc/modules")?));
    Ok(places)
}

/// A kernel without the module has no such file.
fn read(path: &str) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        result => result,
    }
}

fn tables(names: &str, tool: &str) -> Vec<String> {
    let names = names.lines().filter(|name| !name.is_empty());
    names.map(|name| format!("{tool} table {name}")).collect()
}

/// The kernel lists the tables of ebtables nowhere; each is a module of its own.
fn bridge_tables(modules: &str) -> Vec<String> {
    let names = modules.lines().filter_map(|line| line.split(' ').next());
    names
        .filter_map(|name| name.strip_prefix("ebtable_"))
        .map(|name| format!("ebtables-legacy table {name}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_named_as_their_tools_know_them() {
        assert_eq!(
            tables("nat\nfilter\n", "iptables-legacy"),
            ["iptables-legacy table nat", "iptables-legacy table filter"]
        );
        assert_eq!(tables("", "iptables-legacy"), [""; 0]);
        let modules =
            "veth 49152 0 - Live 0x0\nebtable_filter 16384 1 - Live 0x0\nebtables 1 1 - Live 0x0\n";
        assert_eq!(bridge_tables(modules), ["ebtables-legacy table filter"]);
    }
}
