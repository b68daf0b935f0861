//! A token bucket: how often something may be done.

/// Echo replies a second that one CPU may make, and as many at once: the kernel's figure for the ICMP that it makes by itself
/// (`net.ipv4.icmp_msgs_per_sec`, 1 000). Whoever pings all VIPs of a node's clients in one go stays below it; a flood
/// costs no more than that, instead of a packet for each packet.
pub const ECHO_REPLIES: u32 = 1_000;

/// A bucket. All zeros is a full one.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TokenBucket {
    /// What has been taken and not come back, in parts of a token: as many parts as a second has ticks.
    spent: u32,
    /// Tick of the last token.
    last: u32,
}

impl TokenBucket {
    /// Takes a token, of which `rate` come back in a second and as many are there at most. Says whether there was one.
    ///
    /// `rate` times the ticks of a second must be a number of 32 bits.
    #[inline(always)]
    pub fn take(&mut self, rate: u32, now: u32, ticks_per_second: u32) -> bool {
        let passed = now.wrapping_sub(self.last) as u64;
        let spent = (self.spent as u64).saturating_sub(passed * rate as u64) as u32;
        let full = rate * ticks_per_second;
        let left = full.saturating_sub(spent);
        if left < ticks_per_second {
            return false;
        }
        self.spent = spent + ticks_per_second;
        self.last = now;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens that are taken at one tick until there is none.
    fn taken(bucket: &mut TokenBucket, now: u32, hz: u32) -> u32 {
        (0..).take_while(|_| bucket.take(100, now, hz)).count() as u32
    }

    #[test]
    fn a_full_bucket_gives_its_rate_at_once_and_then_its_rate_a_second() {
        for hz in [100, 250, 300, 1_000] {
            for start in [0, hz, u32::MAX - 2 * hz] {
                let mut bucket = TokenBucket::default();
                let first = start.wrapping_add(hz);
                assert_eq!(taken(&mut bucket, first, hz), 100, "hz {hz}, start {start}");
                let later: u32 = (1..=5 * hz)
                    .map(|tick| taken(&mut bucket, first.wrapping_add(tick), hz))
                    .sum();
                assert_eq!(later, 500, "hz {hz}, start {start}");
            }
        }
    }

    #[test]
    fn what_nobody_takes_is_not_saved_beyond_a_second() {
        let mut bucket = TokenBucket::default();
        taken(&mut bucket, 1_000, 250);
        assert_eq!(taken(&mut bucket, 1_000_000, 250), 100);
        // A quarter of a second.
        assert_eq!(taken(&mut bucket, 1_000_063, 250), 25);
    }

    #[test]
    fn a_refusal_takes_nothing() {
        let mut bucket = TokenBucket::default();
        taken(&mut bucket, 1_000, 250);
        let empty = bucket;
        assert!(!bucket.take(100, 1_000, 250));
        assert_eq!(bucket, empty);
    }
}
