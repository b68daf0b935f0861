//! Handing a program to the verifier.
//!
//! The verifier gives up with EAGAIN where its thread has a signal pending, and a control group that is frozen for a moment
//! counts as one (`do_check` in `kernel/bpf/verifier.c`). Nothing is wrong with the program then, and the next attempt
//! succeeds; libbpf tries five times for the same reason (`sys_bpf_prog_load` in its `src/bpf.c`).

use aya::{VerifierLogLevel, programs::ProgramError};
use nix::libc;
use tracing::warn;

/// What the verifier is to write down: why it refuses a program, and not each instruction on the way there. A log of all of them
/// is longer than the kernel's limit for our programs, and a log that does not fit makes the kernel refuse a good program.
pub const LOG_LEVEL: VerifierLogLevel = VerifierLogLevel::STATS;

/// How often a program is handed over before its interruptions count as an error.
const ATTEMPTS: u32 = 10;

/// Has a program verified by `load`, again as often as the verifier was interrupted.
///
/// # Errors
/// Whatever else `load` ends with, or the last of many interruptions.
pub fn verify(
    program: &str,
    mut load: impl FnMut() -> Result<(), ProgramError>,
) -> Result<(), ProgramError> {
    for attempt in 1..ATTEMPTS {
        match load() {
            Err(error) if was_interrupted(&error) => {
                warn!(program, attempt, "the verifier was interrupted");
            }
            result => return result,
        }
    }
    load()
}

fn was_interrupted(error: &ProgramError) -> bool {
    match error {
        ProgramError::LoadError { io_error, .. } => io_error.raw_os_error() == Some(libc::EAGAIN),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn refused(code: i32) -> Result<(), ProgramError> {
        Err(ProgramError::LoadError {
            io_error: io::Error::from_raw_os_error(code),
            verifier_log: aya_obj::VerifierLog::new("R1 invalid mem access".into()),
        })
    }

    fn code(result: Result<(), ProgramError>) -> Option<i32> {
        match result {
            Err(ProgramError::LoadError { io_error, .. }) => io_error.raw_os_error(),
            _ => None,
        }
    }

    #[test]
    fn an_interrupted_verification_is_begun_again() {
        let mut answers = [refused(libc::EAGAIN), refused(libc::EAGAIN), Ok(())].into_iter();
        verify("p", || answers.next().unwrap()).unwrap();
        assert!(answers.next().is_none());
    }

    #[test]
    fn a_program_that_is_refused_is_not_handed_over_again() {
        let mut attempts = 0;
        let result = verify("p", || {
            attempts += 1;
            refused(libc::EACCES)
        });
        assert_eq!((code(result), attempts), (Some(libc::EACCES), 1));
    }

    #[test]
    fn endless_interruptions_are_an_error() {
        let mut attempts = 0;
        let result = verify("p", || {
            attempts += 1;
            refused(libc::EAGAIN)
        });
        assert_eq!((code(result), attempts), (Some(libc::EAGAIN), ATTEMPTS));
    }
}
