//! One boot: QEMU, the guest's console, and a time limit. What the guest says is passed on, with the kernel's name before each
//! line, and kept in `target/kernels/NAME/console`.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::{Release, programs};
use crate::test::Tally;

/// Ten times what it takes on two processors that have nothing else to do.
const LIMIT: Duration = Duration::from_secs(2_400);
/// The guest's clock counts its instructions, a nanosecond each, and leaps where there is nothing to do. So a test's deadline
/// means the same however busy the machine is, and waiting costs nothing.
const CLOCK: &str = "shift=0,sleep=off";
/// No memory of the host but what is used.
const MEMORY: &str = "2048";
/// A refused program brings a verifier's log of thousands of lines; the file has them all.
const MOST_LINES: u32 = 600;
/// `random.trust_cpu`: an emulated processor has no other noise.
const KERNEL_ARGUMENTS: &str =
    "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check random.trust_cpu=on";

/// Boots a kernel, counts what its tests say, and waits for its end.
///
/// # Errors
/// If a test failed or did not run, if the guest does not come to its end in time, or if QEMU can't be started.
pub(super) fn boot(
    release: Release,
    vmlinuz: &Path,
    initramfs: &Path,
    folder: &Path,
    tally: &mut Tally,
) -> Result<()> {
    let path = folder.join("console");
    let mut kept = fs::File::create(&path).with_context(|| path.display().to_string())?;
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args([
        "-accel", "tcg", "-icount", CLOCK, "-M", "q35", "-cpu", "max", "-m", MEMORY, "-smp", "1",
    ])
    .args([
        "-nodefaults",
        "-nic",
        "none",
        "-display",
        "none",
        "-monitor",
        "none",
        "-no-reboot",
    ])
    .args(["-serial", "stdio", "-append", KERNEL_ARGUMENTS, "-kernel"])
    .arg(vmlinuz)
    .arg("-initrd")
    .arg(initramfs)
    .stdin(Stdio::null())
    .stdout(Stdio::piped());
    let mut guest = Guest(qemu.spawn().context("cannot start qemu-system-x86_64")?);
    let console = guest.0.stdout.take().context("QEMU has no console")?;
    let (say, said) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            if say.send(line).is_err() {
                break;
            }
        }
    });

    let start = Instant::now();
    let (mut lines, mut has_ended) = (0, false);
    loop {
        let left = LIMIT.saturating_sub(start.elapsed());
        let line = match said.recv_timeout(left) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => bail!(
                "not through after {} s; its console is in {}",
                LIMIT.as_secs(),
                path.display()
            ),
        };
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches('\r');
        writeln!(kept, "{line}").with_context(|| path.display().to_string())?;
        lines += 1;
        if lines <= MOST_LINES {
            println!("{:>6} | {line}", release.name());
        }
        has_ended |= line == "guest: end";
        tally.count(line);
    }
    let status = guest.0.wait()?;
    let console = path.display();
    ensure!(
        status.success(),
        "QEMU ended with {status}; its console is in {console}"
    );
    ensure!(
        has_ended,
        "the guest did not come to its end; its console is in {console}"
    );
    ensure!(
        tally.failed == 0,
        "{} tests failed; its console is in {console}",
        tally.failed
    );
    let expected = programs::number(release);
    ensure!(
        tally.passed == expected,
        "{} of {expected} tests ran; its console is in {console}",
        tally.passed
    );
    Ok(())
}

/// The virtual machine, which ends with this.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        // Both fail where it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
