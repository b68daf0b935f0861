//! The entry points, and what becomes of a decision.
//!
//! Each is a program without functions of its own, for the kernel may lack the helpers of one and have those of another.

use core::marker::PhantomData;

use aya_ebpf::helpers::bpf_set_retval;
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use lb_common::addr::{Endpoint, Protocol};
use lb_common::pipeline::socket::{self, Call, Request, SocketAction};
use lb_common::reason::Reason;
use lb_common::socket::{Mapped, unmapped};

use super::address::{SockAddr, agents_netns};
use super::{Host, TELLS_ERRORS, scope};
use crate::families;
use crate::maps::{FamilyMaps, count};

/// The call goes on.
const GO_ON: i32 = 1;
/// The call fails, with `EPERM` unless another error is set.
const FAIL: i32 = 0;

const ECONNREFUSED: i32 = 111;
const ETIMEDOUT: i32 = 110;

/// `connect`, and `sendto` with `MSG_FASTOPEN`, on a socket of IPv4.
#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    towards_v4(ctx, Call::Connect)
}

/// `connect` on a socket of IPv6, to an IPv4-mapped address too.
#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    towards_v6(ctx, Call::Connect)
}

/// `sendto` and `sendmsg` with an IPv4 address, an IPv4-mapped one too, on a UDP socket.
#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    towards_v4(ctx, Call::Send)
}

/// `sendto` and `sendmsg` with an IPv6 address on a UDP socket.
#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(ctx: SockAddrContext) -> i32 {
    towards_v6(ctx, Call::Send)
}

/// `recvfrom` and `recvmsg` that ask who sent a datagram, on a UDP socket of IPv4.
#[cgroup_sock_addr(recvmsg4)]
pub fn recvmsg4(ctx: SockAddrContext) -> i32 {
    show_v4(ctx)
}

/// `recvfrom` and `recvmsg` that ask who sent a datagram, on a UDP socket of IPv6.
#[cgroup_sock_addr(recvmsg6)]
pub fn recvmsg6(ctx: SockAddrContext) -> i32 {
    show_v6(ctx)
}

/// `getpeername` on a socket of IPv4.
#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(ctx: SockAddrContext) -> i32 {
    show_v4(ctx)
}

/// `getpeername` on a socket of IPv6.
#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(ctx: SockAddrContext) -> i32 {
    show_v6(ctx)
}

#[inline(always)]
fn towards_v4(ctx: SockAddrContext, call: Call) -> i32 {
    let socket = SockAddr::new(ctx.sock_addr);
    let Some(served) = ours(socket, call).filter(|_| families::serve::<[u8; 4]>()) else {
        return GO_ON;
    };
    towards(socket, &served, call, socket.ipv4(), |to| {
        socket.set_ipv4(to)
    })
}

#[inline(always)]
fn towards_v6(ctx: SockAddrContext, call: Call) -> i32 {
    let socket = SockAddr::new(ctx.sock_addr);
    let Some(served) = ours(socket, call) else {
        return GO_ON;
    };
    let peer = socket.ipv6();
    match unmapped(&peer.address) {
        Some(_) if !families::serve::<[u8; 4]>() => GO_ON,
        Some(address) => {
            let peer = Endpoint {
                address,
                port: peer.port,
            };
            towards(socket, &served, call, peer, |to| {
                socket.set_ipv6(&mapped(to))
            })
        }
        None if !families::serve::<[u8; 16]>() => GO_ON,
        None => towards(socket, &served, call, peer, |to| socket.set_ipv6(to)),
    }
}

/// Decides on a call that names an address, and carries the decision out.
#[inline(always)]
fn towards<A: FamilyMaps + Mapped>(
    socket: SockAddr,
    served: &Served,
    call: Call,
    peer: Endpoint<A>,
    redirect: impl Fn(&Endpoint<A>),
) -> i32 {
    let request = served.request(socket, peer);
    let verdict = socket::to_peer(&Host::<A>(PhantomData), &request, call);
    // No program of a device counts these reasons, so that none adds to one in the middle of an addition here. Two processes
    // of one CPU may, at worst a call is not counted.
    if verdict.reason != Reason::NotForService {
        count(verdict.reason);
    }
    match verdict.action {
        SocketAction::Pass => GO_ON,
        SocketAction::Redirect => {
            redirect(&verdict.to);
            GO_ON
        }
        SocketAction::Refuse => fail(ECONNREFUSED),
        SocketAction::TimeOut => fail(ETIMEDOUT),
        SocketAction::Forbid => FAIL,
    }
}

#[inline(always)]
fn show_v4(ctx: SockAddrContext) -> i32 {
    let socket = SockAddr::new(ctx.sock_addr);
    if let Some(served) = ours(socket, Call::Ask)
        && let Some(frontend) = shown(socket, &served, socket.ipv4())
    {
        socket.set_ipv4(&frontend);
    }
    GO_ON
}

#[inline(always)]
fn show_v6(ctx: SockAddrContext) -> i32 {
    let socket = SockAddr::new(ctx.sock_addr);
    // Both families are remembered as they are shown here.
    if let Some(served) = ours(socket, Call::Ask)
        && let Some(frontend) = shown(socket, &served, socket.ipv6())
    {
        socket.set_ipv6(&frontend);
    }
    GO_ON
}

#[inline(always)]
fn shown<A: FamilyMaps + Mapped>(
    socket: SockAddr,
    served: &Served,
    peer: Endpoint<A>,
) -> Option<Endpoint<A>> {
    let request = served.request(socket, peer);
    socket::shown(&Host::<A>(PhantomData), &request)
}

/// A socket that is served.
struct Served {
    protocol: Protocol,
    netns: u64,
}

impl Served {
    #[inline(always)]
    fn request<A>(&self, socket: SockAddr, peer: Endpoint<A>) -> Request<A> {
        Request {
            cookie: socket.cookie(),
            netns: self.netns,
            protocol: self.protocol,
            peer,
        }
    }
}

/// The socket, if it is served.
#[inline(always)]
fn ours(socket: SockAddr, call: Call) -> Option<Served> {
    const TCP: u32 = Protocol::Tcp as u32;
    const UDP: u32 = Protocol::Udp as u32;
    let protocol = match socket.protocol() {
        TCP => Protocol::Tcp,
        UDP => Protocol::Udp,
        _ => return None,
    };
    let netns = socket.netns();
    scope()
        .covers(netns == agents_netns(), call, protocol)
        .then_some(Served { protocol, netns })
}

#[inline(always)]
fn mapped(peer: &Endpoint<[u8; 4]>) -> Endpoint<[u8; 16]> {
    Endpoint {
        address: peer.address.to_mapped(),
        port: peer.port,
    }
}

/// Lets the call fail with an error, where the kernel lets a program choose it.
#[inline(always)]
fn fail(errno: i32) -> i32 {
    if TELLS_ERRORS.load() != 0 {
        // SAFETY: a helper that takes a number.
        unsafe { bpf_set_retval(-errno) };
    }
    FAIL
}
