//! Reads the texts that the kernel offers in `/proc`. Pure.

use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

use super::Capabilities;

/// The effective capabilities in `/proc/self/status`.
pub(super) fn effective_capabilities(status: &str) -> Option<Capabilities> {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(mask.trim(), 16).ok().map(Capabilities)
}

/// The first mount point of cgroup v2 in `/proc/self/mountinfo` (proc_pid_mountinfo(5)). Where version 1 is in use as well,
/// it is not at `/sys/fs/cgroup` but below it.
pub(super) fn cgroup2_mount(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        // The number of optional fields before the hyphen varies.
        let (before, after) = line.split_once(" - ")?;
        let file_system = after.split(' ').next()?;
        let mount_point = before.split(' ').nth(4)?;
        (file_system == "cgroup2").then(|| unescape(mount_point))
    })
}

/// Space, tab, newline and backslash appear as a backslash and three octal digits.
fn unescape(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                plain.push(byte);
                rest = &tail[3..];
            }
            None => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(plain).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_set_is_read_and_no_other() {
        let status = "Name:\tlb\nCapInh:\t0000000000000000\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000001000\n";
        assert_eq!(effective_capabilities(status), Some(Capabilities(0x1000)));
        assert_eq!(effective_capabilities("Name:\tlb\n"), None);
    }

    fn check(mountinfo: &str, expected: Option<&str>) {
        assert_eq!(
            cgroup2_mount(mountinfo),
            expected.map(PathBuf::from),
            "{mountinfo}"
        );
    }

    #[test]
    fn the_mount_point_of_cgroup_v2_is_found_wherever_it_is() {
        check(
            "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
            Some("/sys/fs/cgroup"),
        );
        check(
            "31 30 0:27 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n\
             32 31 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             33 31 0:29 / /sys/fs/cgroup/unified rw shared:1 master:2 - cgroup2 cgroup2 rw\n",
            Some("/sys/fs/cgroup/unified"),
        );
        check(
            "33 31 0:29 / /odd\\040path rw - cgroup2 none rw\n",
            Some("/odd path"),
        );
    }

    #[test]
    fn version_1_alone_is_none() {
        check(
            "32 31 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup2 rw,cpu\n",
            None,
        );
        check("", None);
        check("garbage\n", None);
    }
}
