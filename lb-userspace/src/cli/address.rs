//! Addresses of the command line to listen on.

use std::net::SocketAddr;

/// Where to listen, none for nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Listen(pub(super) Option<SocketAddr>);

/// An address with a port, or nothing.
pub(super) fn listen(text: &str) -> Result<Listen, String> {
    if text.is_empty() {
        return Ok(Listen(None));
    }
    let address = text
        .parse()
        .map_err(|_| "it is no address with a port, as in 0.0.0.0:10256 or [::1]:10249".to_owned());
    address.map(|address| Listen(Some(address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port_and_an_empty_one_is_none() {
        let check = |text: &str, expected: Option<Option<&str>>| {
            let expected =
                expected.map(|it| Listen(it.map(|address| address.parse().expect("an address"))));
            assert_eq!(listen(text).ok(), expected, "{text}");
        };
        check("", Some(None));
        check("127.0.0.1:10249", Some(Some("127.0.0.1:10249")));
        check("[::]:10256", Some(Some("[::]:10256")));
        check("127.0.0.1", None);
        check("localhost:10249", None);
    }
}
