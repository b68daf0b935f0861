//! One network device in one namespace, by ioctl: offloads, MTU, flags, address. Making devices is `topology`'s business.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use libc::{c_char, c_ulong, ifreq};

use crate::netns::Netns;
use crate::wait::wait_until;

/// A device, by its name in its namespace. It need not exist yet; each method says when it does not.
#[derive(Debug, Clone)]
pub struct Device {
    netns: Netns,
    name: String,
}

/// The argument of the ethtool commands that set or get one flag (`struct ethtool_value`, linux/ethtool.h).
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

const ETHTOOL_GTXCSUM: u32 = 0x16;
const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_STSO: u32 = 0x1f;
const ETHTOOL_SGSO: u32 = 0x24;
const ETHTOOL_SGRO: u32 = 0x2c;

impl Device {
    /// The device `name` in `netns`.
    pub fn new(netns: &Netns, name: &str) -> Device {
        Device {
            netns: netns.clone(),
            name: name.to_owned(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace it is in.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// With `false`, the kernel fills in real checksums before a packet leaves through this device, as a network card
    /// without offloads needs it. Only then does the receiver verify them: a test of rewritten packets that leaves the
    /// offload on would not notice a wrong checksum.
    ///
    /// It also ends 64 KiB segments on this device, which need checksum offload.
    ///
    /// # Errors
    /// When there is no such device or it does not obey.
    pub fn set_tx_checksum_offload(&self, on: bool) -> Result<()> {
        self.ethtool(ETHTOOL_STXCSUM, u32::from(on))
            .context("tx checksum offload")?;
        let now = self.ethtool(ETHTOOL_GTXCSUM, 0)? != 0;
        ensure!(
            now == on,
            "{} in {} does not obey: tx checksum offload is {now}",
            self.name,
            self.netns.name()
        );
        Ok(())
    }

    /// TCP segmentation by the device (a veth passes the 64 KiB segment on whole).
    ///
    /// # Errors
    /// When there is no such device.
    pub fn set_tso(&self, on: bool) -> Result<()> {
        self.ethtool(ETHTOOL_STSO, u32::from(on))
            .context("tso")
            .map(drop)
    }

    /// Segmentation in software, just before the device.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn set_gso(&self, on: bool) -> Result<()> {
        self.ethtool(ETHTOOL_SGSO, u32::from(on))
            .context("gso")
            .map(drop)
    }

    /// Merging of received segments.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn set_gro(&self, on: bool) -> Result<()> {
        self.ethtool(ETHTOOL_SGRO, u32::from(on))
            .context("gro")
            .map(drop)
    }

    /// Sets the MTU in bytes (the Ethernet header not counted).
    ///
    /// # Errors
    /// When there is no such device or it refuses the value.
    pub fn set_mtu(&self, bytes: u32) -> Result<()> {
        self.netns
            .ip(&[format!("link set dev {} mtu {bytes}", self.name)])
    }

    /// The interface index in its namespace.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn index(&self) -> Result<u32> {
        // SAFETY: SIOCGIFINDEX filled this member.
        self.ask(
            libc::SIOCGIFINDEX,
            |answer| unsafe { answer.ifr_ifru.ifru_ifindex } as u32,
        )
    }

    /// The Ethernet address.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn mac(&self) -> Result<[u8; 6]> {
        self.ask(libc::SIOCGIFHWADDR, |answer| {
            // SAFETY: SIOCGIFHWADDR filled this member.
            let data = unsafe { answer.ifr_ifru.ifru_hwaddr }.sa_data;
            std::array::from_fn(|i| data[i] as u8)
        })
    }

    /// Whether there is such a device now.
    pub fn exists(&self) -> bool {
        self.index().is_ok()
    }

    /// Waits until the device is up and the kernel has taken note of its carrier: earlier packets may be lost.
    ///
    /// # Errors
    /// When that does not happen within five seconds.
    pub fn wait_running(&self) -> Result<()> {
        let what = format!("{} in {} to be running", self.name, self.netns.name());
        self.netns
            .run(|| wait_until(&what, Duration::from_secs(5), || is_running(&self.name)))
    }

    /// Makes one request by name and reads its answer there: an ifreq may hold a pointer, so it stays on its thread.
    fn ask<T: Send>(&self, number: c_ulong, read: impl FnOnce(&ifreq) -> T + Send) -> Result<T> {
        self.netns
            .run(|| {
                let mut request = request_for(&self.name)?;
                device_ioctl(number, &mut request)?;
                anyhow::Ok(read(&request))
            })
            .with_context(|| format!("device {} in {}", self.name, self.netns.name()))
    }

    fn ethtool(&self, command: u32, data: u32) -> Result<u32> {
        self.netns
            .run(|| {
                let mut value = EthtoolValue { command, data };
                let mut request = request_for(&self.name)?;
                request.ifr_ifru.ifru_data = (&raw mut value).cast::<c_char>();
                device_ioctl(libc::SIOCETHTOOL, &mut request)?;
                anyhow::Ok(value.data)
            })
            .with_context(|| format!("device {} in {}", self.name, self.netns.name()))
    }
}

/// Brings `lo` of the calling thread's namespace up.
pub(crate) fn bring_loopback_up() -> Result<()> {
    let mut request = request_for("lo")?;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    Ok(device_ioctl(libc::SIOCSIFFLAGS, &mut request)?)
}

fn is_running(name: &str) -> bool {
    let wanted = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    request_for(name).is_ok_and(|mut request| {
        device_ioctl(libc::SIOCGIFFLAGS, &mut request).is_ok()
            // SAFETY: SIOCGIFFLAGS filled this member.
            && unsafe { request.ifr_ifru.ifru_flags } & wanted == wanted
    })
}

fn request_for(name: &str) -> Result<ifreq> {
    // SAFETY: all-zero bytes are a valid ifreq.
    let mut request: ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        bail!("{name:?} cannot be the name of a device: 1 to 15 characters");
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = byte as c_char;
    }
    Ok(request)
}

/// An ioctl about a device in the calling thread's namespace.
fn device_ioctl(number: c_ulong, request: &mut ifreq) -> io::Result<()> {
    // SAFETY: a plain system call; the result is checked before it becomes an OwnedFd.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `socket` is an open descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: all requests used here take a pointer to an ifreq, alive for the call, as is what its union points to.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), number as _, std::ptr::from_mut(request)) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
