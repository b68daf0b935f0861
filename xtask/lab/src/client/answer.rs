//! Understanding the servers' answers.

use std::net::SocketAddr;

/// One complete HTTP answer at the front of `bytes`: where its body begins and where it ends. `None`: more is needed.
///
/// Without a Content-Length the answer ends where the connection does, which only the caller knows.
pub(super) fn http_extent(bytes: &[u8]) -> Option<(usize, Option<usize>)> {
    let body = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..body]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| {
        line.strip_prefix("content-length:")?
            .trim()
            .parse::<usize>()
            .ok()
    });
    match length {
        Some(length) if bytes.len() < body + length => None,
        length => Some((body, length.map(|length| body + length))),
    }
}

/// `NAME ADDRESS:PORT` and, after one more space, a payload.
pub(super) fn identity(bytes: &[u8]) -> Option<(String, SocketAddr, Vec<u8>)> {
    let mut parts = bytes.splitn(3, |&byte| byte == b' ');
    let name = String::from_utf8(parts.next()?.to_vec()).ok()?;
    let peer = std::str::from_utf8(parts.next()?)
        .ok()?
        .trim_end()
        .parse()
        .ok()?;
    Some((name, peer, parts.next().unwrap_or_default().to_vec()))
}

pub(super) fn request(to: SocketAddr, close: bool) -> String {
    let connection = if close { "close" } else { "keep-alive" };
    format!("GET / HTTP/1.1\r\nHost: {to}\r\nConnection: {connection}\r\n\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_with_its_last_byte() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(http_extent(whole), Some((38, Some(41))));
        assert_eq!(http_extent(&whole[..40]), None);
        assert_eq!(http_extent(b"HTTP/1.1 200 OK\r\n\r\nab"), Some((19, None)));
    }

    #[test]
    fn a_payload_may_hold_spaces() {
        let (name, peer, payload) = identity(b"b-1 [fd00::2]:9 a b").unwrap();
        assert_eq!(
            (name.as_str(), peer.to_string().as_str(), &payload[..]),
            ("b-1", "[fd00::2]:9", &b"a b"[..])
        );
        assert_eq!(identity(b"502 Bad Gateway"), None);
    }
}
