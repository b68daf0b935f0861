//! The call of a process as the kernel shows it to a program, `struct bpf_sock_addr`. The one place that touches its
//! fields, each by a volatile access of its own: the verifier refuses wider ones.

use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie};
use lb_common::addr::{Endpoint, Port};

use super::NETNS_COOKIE;

/// The kernel's cookie of the agent's network namespace.
#[inline(always)]
pub(super) fn agents_netns() -> u64 {
    match NETNS_COOKIE.load() {
        // SAFETY: without a context the helper tells the cookie of the machine's first namespace.
        0 => unsafe { bpf_get_netns_cookie(core::ptr::null_mut()) },
        cookie => cookie,
    }
}

/// A call that names an address, or is told one.
#[derive(Clone, Copy)]
pub(super) struct SockAddr(*mut bpf_sock_addr);

impl SockAddr {
    /// The context of a program; the kernel guarantees that it is valid while the program runs.
    #[inline(always)]
    pub(super) fn new(context: *mut bpf_sock_addr) -> Self {
        Self(context)
    }

    /// IANA's number of the socket's protocol.
    #[inline(always)]
    pub(super) fn protocol(self) -> u32 {
        // SAFETY: a field of the valid context.
        unsafe { addr_of!((*self.0).protocol).read_volatile() }
    }

    /// The kernel's cookie of the socket.
    #[inline(always)]
    pub(super) fn cookie(self) -> u64 {
        // SAFETY: the helper takes the context of this type of program.
        unsafe { bpf_get_socket_cookie(self.0.cast()) }
    }

    /// The kernel's cookie of the socket's network namespace.
    #[inline(always)]
    pub(super) fn netns(self) -> u64 {
        // SAFETY: the helper takes the context of this type of program.
        unsafe { bpf_get_netns_cookie(self.0.cast()) }
    }

    /// Address and port of a call of IPv4.
    #[inline(always)]
    pub(super) fn ipv4(self) -> Endpoint<[u8; 4]> {
        // SAFETY: a field of the valid context.
        let address = unsafe { addr_of!((*self.0).user_ip4).read_volatile() };
        Endpoint {
            address: address.to_ne_bytes(),
            port: self.port(),
        }
    }

    /// Address and port of a call of IPv6.
    #[inline(always)]
    pub(super) fn ipv6(self) -> Endpoint<[u8; 16]> {
        // SAFETY: fields of the valid context.
        let words = unsafe {
            [
                addr_of!((*self.0).user_ip6[0]).read_volatile(),
                addr_of!((*self.0).user_ip6[1]).read_volatile(),
                addr_of!((*self.0).user_ip6[2]).read_volatile(),
                addr_of!((*self.0).user_ip6[3]).read_volatile(),
            ]
        };
        let [a, b, c, d] = words.map(u32::to_ne_bytes);
        let mut address = [0; 16];
        address[..4].copy_from_slice(&a);
        address[4..8].copy_from_slice(&b);
        address[8..12].copy_from_slice(&c);
        address[12..].copy_from_slice(&d);
        Endpoint {
            address,
            port: self.port(),
        }
    }

    /// Gives a call of IPv4 another address and port.
    #[inline(always)]
    pub(super) fn set_ipv4(self, to: &Endpoint<[u8; 4]>) {
        let address = u32::from_ne_bytes(to.address);
        // SAFETY: a field of the valid context that programs may write.
        unsafe { addr_of_mut!((*self.0).user_ip4).write_volatile(address) };
        self.set_port(to.port);
    }

    /// Gives a call of IPv6 another address and port.
    #[inline(always)]
    pub(super) fn set_ipv6(self, to: &Endpoint<[u8; 16]>) {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = to.address;
        // SAFETY: fields of the valid context that programs may write.
        unsafe {
            addr_of_mut!((*self.0).user_ip6[0]).write_volatile(u32::from_ne_bytes([a, b, c, d]));
            addr_of_mut!((*self.0).user_ip6[1]).write_volatile(u32::from_ne_bytes([e, f, g, h]));
            addr_of_mut!((*self.0).user_ip6[2]).write_volatile(u32::from_ne_bytes([i, j, k, l]));
            addr_of_mut!((*self.0).user_ip6[3]).write_volatile(u32::from_ne_bytes([m, n, o, p]));
        }
        self.set_port(to.port);
    }

    /// The port is two octets in network order at the start of a field of four.
    #[inline(always)]
    fn port(self) -> Port {
        // SAFETY: a field of the valid context.
        let [high, low, _, _] =
            unsafe { addr_of!((*self.0).user_port).read_volatile() }.to_ne_bytes();
        Port::from_network([high, low])
    }

    #[inline(always)]
    fn set_port(self, port: Port) {
        let [high, low] = port.to_network();
        let field = u32::from_ne_bytes([high, low, 0, 0]);
        // SAFETY: a field of the valid context that programs may write.
        unsafe { addr_of_mut!((*self.0).user_port).write_volatile(field) };
    }
}
