//! Which octets of a frame may change.

/// Octets from the first to before the last.
pub type Range = (usize, usize);

/// Fields that changed, and what they were.
pub struct Changes<'a> {
    before: &'a [u8],
    after: &'a [u8],
}

impl<'a> Changes<'a> {
    /// Between two forms of one frame.
    ///
    /// # Panics
    /// If they differ in length.
    pub fn new(before: &'a [u8], after: &'a [u8]) -> Self {
        assert_eq!(before.len(), after.len(), "the length changed");
        Self { before, after }
    }

    /// Nothing else changed.
    ///
    /// # Panics
    /// If something did.
    #[track_caller]
    pub fn assert_only(&self, allowed: &[Range]) {
        for (at, (before, after)) in self.before.iter().zip(self.after).enumerate() {
            let may = allowed.iter().any(|(from, to)| (*from..*to).contains(&at));
            assert!(
                may || before == after,
                "octet {at} was {before:#04x}, is {after:#04x}"
            );
        }
    }

    /// The frames are the same, but that a checksum may be the one zero of one's complement or the other.
    ///
    /// # Panics
    /// If they are not.
    #[track_caller]
    pub fn assert_none(&self, checksums: &[usize]) {
        let fields: Vec<Range> = checksums.iter().map(|at| (*at, at + 2)).collect();
        self.assert_only(&fields);
        for (from, to) in fields {
            let [before, after] = [self.before, self.after].map(|octets| octets.get(from..to));
            let zero = |field: Option<&[u8]>| matches!(field, Some([0, 0] | [0xff, 0xff]));
            assert!(
                before == after || (zero(before) && zero(after)),
                "the checksum at {from} was {before:02x?}, is {after:02x?}"
            );
        }
    }
}
