//! What a container's security context leaves it: capabilities, user, files to write. Says nothing of seccomp, AppArmor or SELinux,
//! which these pods do not have.

use k8s_openapi::api::core::v1::{Capabilities, PodSpec, SecurityContext};

use super::not_yet::NotYet;

/// In the order of their numbers (`linux/capability.h`).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What container runtimes leave a container that says nothing.
const USUAL: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// What a container may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Security {
    /// Bit N: the capability with number N. `None`: all, and nothing is read-only, as for a privileged container.
    pub capabilities: Option<u64>,
    /// User and group.
    pub user: Option<(u32, u32)>,
    /// Whether an executed file can give new privileges.
    pub escalation: bool,
    /// Whether it can write to its volumes only.
    pub read_only_root: bool,
}

impl Security {
    /// The container's own context goes before its pod's.
    ///
    /// # Errors
    /// With a capability that no kernel has, and with a user that the kernel could not have.
    pub fn of(pod: &PodSpec, container: Option<&SecurityContext>) -> Result<Security, NotYet> {
        let pod = pod.security_context.as_ref();
        let privileged = container.and_then(|context| context.privileged) == Some(true);
        let uid = container
            .and_then(|context| context.run_as_user)
            .or(pod.and_then(|context| context.run_as_user));
        let gid = container
            .and_then(|context| context.run_as_group)
            .or(pod.and_then(|context| context.run_as_group));
        let number = |id: i64| {
            u32::try_from(id).map_err(|_| NotYet::config(format!("{id} is no user or group")))
        };
        let user = match (uid, gid) {
            (None, None) => None,
            (uid, gid) => Some((number(uid.unwrap_or(0))?, number(gid.unwrap_or(0))?)),
        };
        let asked = container.and_then(|context| context.capabilities.as_ref());
        Ok(Security {
            capabilities: if privileged { None } else { Some(set(asked)?) },
            user,
            escalation: container.and_then(|context| context.allow_privilege_escalation)
                != Some(false),
            read_only_root: container.and_then(|context| context.read_only_root_filesystem)
                == Some(true),
        })
    }

    /// Whether it may do whatever its user may.
    pub fn is_privileged(&self) -> bool {
        self.capabilities.is_none()
    }
}

/// The usual capabilities, less those dropped, and those added: `ALL` first, whichever list it is in.
fn set(asked: Option<&Capabilities>) -> Result<u64, NotYet> {
    let mut set = USUAL.iter().filter_map(|name| bit(name)).sum();
    let none = Capabilities::default();
    let Capabilities { add, drop } = asked.unwrap_or(&none);
    let (add, drop) = (
        add.as_deref().unwrap_or_default(),
        drop.as_deref().unwrap_or_default(),
    );
    if drop.iter().any(|name| name == "ALL") {
        set = 0;
    }
    if add.iter().any(|name| name == "ALL") {
        set = (1 << NAMES.len()) - 1;
    }
    for name in drop.iter().filter(|name| *name != "ALL") {
        set &= !known(name)?;
    }
    for name in add.iter().filter(|name| *name != "ALL") {
        set |= known(name)?;
    }
    Ok(set)
}

fn known(name: &str) -> Result<u64, NotYet> {
    bit(name).ok_or_else(|| {
        NotYet::config(format!(
            "there is no capability {name:?}: write it as NET_ADMIN"
        ))
    })
}

fn bit(name: &str) -> Option<u64> {
    let name = name.strip_prefix("CAP_").unwrap_or(name);
    let number = NAMES.iter().position(|known| *known == name)?;
    Some(1 << number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(add: &[&str], drop: &[&str], expected: u64) {
        let list = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        let asked = Capabilities {
            add: list(add),
            drop: list(drop),
        };
        assert_eq!(set(Some(&asked)), Ok(expected), "add {add:?} drop {drop:?}");
    }

    #[test]
    fn capabilities_are_the_usual_ones_less_and_more_what_is_asked() {
        let usual = 0xa804_25fb;
        assert_eq!(set(None), Ok(usual));
        check(&[], &["ALL"], 0);
        check(&["NET_ADMIN"], &["ALL"], 1 << 12);
        check(
            &["CAP_BPF", "PERFMON", "NET_ADMIN"],
            &["ALL"],
            1 << 39 | 1 << 38 | 1 << 12,
        );
        check(&["ALL"], &["CHOWN"], (1 << 41) - 2);
        check(&[], &["NET_RAW"], usual & !(1 << 13));
    }

    #[test]
    fn an_unknown_capability_is_named() {
        let asked = Capabilities {
            add: Some(vec!["NET_ADMINISTRATION".into()]),
            drop: None,
        };
        let error = set(Some(&asked)).unwrap_err();
        assert!(error.message.contains("\"NET_ADMINISTRATION\""), "{error}");
    }
}
