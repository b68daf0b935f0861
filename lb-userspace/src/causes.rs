//! Errors in one line.

use std::error::Error;

use kube::core::Status;

/// An error with all its causes that add something: some errors hold the words of their cause already.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}

/// What the API says to a request that it refuses. The error that holds it would say it several times.
pub(crate) fn refusal(status: &Status) -> String {
    let words = status.message.trim();
    format!("{words} ({} {})", status.code, status.reason)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::maps::MapError;

    #[test]
    fn a_cause_is_told_once() {
        let error = |path: &str| MapError::Open {
            map: "slots",
            path: path.into(),
            cause: io::Error::other("no such luck"),
        };
        assert_eq!(
            with_causes(&error("/p")),
            "cannot open map slots pinned at /p: no such luck"
        );
        let outer = crate::datapath::LinkError::Filters(io::Error::other(error("/p")));
        assert_eq!(
            with_causes(&outer),
            "cannot list the filters of the devices of this network namespace: cannot open map slots pinned at /p: no such \
             luck"
        );
    }

    #[test]
    fn a_refusal_is_told_once() {
        let status = Status::failure("services is forbidden\n", "Forbidden").with_code(403);
        assert_eq!(refusal(&status), "services is forbidden (403 Forbidden)");
    }
}
