//! Calls that a signal, or a control group that is frozen for a moment, ends before their time.

use std::io;

/// Makes a call again as often as it was interrupted. The kernel does that by itself but for sockets that wait for a limited time
/// (signal(7)), and those are all of ours. What is left of the time begins anew.
///
/// # Errors
/// Those of the call.
pub fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_call_is_made_again_and_another_error_is_told() {
        let mut results = [
            Err(io::ErrorKind::Interrupted.into()),
            Err(io::ErrorKind::Interrupted.into()),
            Ok(1),
            Err(io::ErrorKind::TimedOut.into()),
        ]
        .into_iter();
        assert_eq!(uninterrupted(|| results.next().unwrap()).unwrap(), 1);
        let error = uninterrupted(|| results.next().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
