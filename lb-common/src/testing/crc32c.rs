//! The checksum of SCTP (RFC 9260 appendix A), with a table where the data plane has none.

/// CRC32c of octets. A packet holds it in little-endian order, computed with zeros in its place.
pub fn crc32c(octets: &[u8]) -> u32 {
    let table = table();
    let step = |crc: u32, octet: &u8| table[usize::from(crc as u8 ^ octet)] ^ (crc >> 8);
    !octets.iter().fold(u32::MAX, step)
}

fn table() -> [u32; 256] {
    std::array::from_fn(|octet| {
        (0..8).fold(octet as u32, |crc, _| {
            let shifted = crc >> 1;
            if crc & 1 == 1 {
                shifted ^ 0x1edc_6f41_u32.reverse_bits()
            } else {
                shifted
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of RFC 3720 appendix B.4, and the usual check value.
    #[test]
    fn it_is_castagnolis() {
        let rising: Vec<u8> = (0..32).collect();
        let falling: Vec<u8> = (0..32).rev().collect();
        for (octets, expected) in [
            (&b"123456789"[..], 0xe306_9283),
            (&[0; 32], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&rising, 0x46dd_794e),
            (&falling, 0x113f_db5c),
            (&[], 0),
        ] {
            assert_eq!(crc32c(octets), expected, "{octets:?}");
        }
    }
}
