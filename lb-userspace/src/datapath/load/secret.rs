//! The key of every hash in the data plane: made once, then kept in the pinned `config` map, so that a restarted agent's
//! programs hash as the last one's did.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use lb_common::{config::Config, layout::name};
use nix::libc;

use crate::datapath::{
    bpf::{RawMap, Write},
    pins::{self, PinPaths, PinState, Prepared},
};

const ELEMENT: [u8; 4] = 0u32.to_ne_bytes();

/// The secret of the pinned maps, none where there is none yet.
pub(super) fn known(paths: &PinPaths, prepared: &Prepared) -> io::Result<Option<u64>> {
    if prepared.states.get(name::CONFIG) != Some(&PinState::Same) {
        return Ok(None);
    }
    let Some(pinned) = pins::open_map(&paths.map(name::CONFIG)).map_err(|error| error.source)?
    else {
        return Ok(None);
    };
    let config = read(pinned.as_fd())?;
    Ok(Some(config.secret).filter(|secret| *secret != 0))
}

/// A new secret, not 0.
pub(super) fn random() -> io::Result<u64> {
    loop {
        let mut bytes = [0; 8];
        // SAFETY: the buffer is writable for as many bytes as its length says.
        let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        if got < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        let secret = u64::from_ne_bytes(bytes);
        if got as usize == bytes.len() && secret != 0 {
            return Ok(secret);
        }
    }
}

/// Writes the secret and the length of a tick; leaves the rest of the config as it is.
pub(super) fn keep(
    config_map: Option<BorrowedFd<'_>>,
    secret: u64,
    ticks_per_second: u32,
) -> io::Result<()> {
    let map = config_map.ok_or(io::ErrorKind::NotFound)?;
    let config = Config {
        secret,
        ticks_per_second,
        ..read(map)?
    };
    RawMap::new(map)?.update(&ELEMENT, bytemuck::bytes_of(&config), Write::Overwrite)
}

fn read(map: BorrowedFd<'_>) -> io::Result<Config> {
    let bytes = RawMap::new(map)?
        .lookup(&ELEMENT)?
        .ok_or(io::ErrorKind::NotFound)?;
    bytemuck::try_pod_read_unaligned(&bytes).map_err(|_| {
        io::Error::other(format!(
            "its element has {} bytes, not the {} of this version",
            bytes.len(),
            size_of::<Config>()
        ))
    })
}
