//! The security threshold.

use std::fmt;
use std::io;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::failure::Failure;

/// Security threshold t: t corrupted players learn nothing, and t + 1 must take part to sign.
///
/// 1 <= t < n, where n is the number of the key's holders. People are shown
/// [`signers_required`](Self::signers_required), never t alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Threshold(u16);

impl Threshold {
    /// The threshold t of a key with `holders` holders.
    pub fn new(t: u64, holders: usize) -> Result<Self, Failure> {
        match u16::try_from(t) {
            Ok(t) if t >= 1 && usize::from(t) < holders => Ok(Threshold(t)),
            Ok(_) | Err(_) => Err(Failure::threshold_invalid(t, holders)),
        }
    }

    /// t, the number of players that may be corrupted without harm.
    pub fn value(self) -> usize {
        usize::from(self.0)
    }

    /// t + 1, the number of players that are enough to sign.
    pub fn signers_required(self) -> usize {
        usize::from(self.0) + 1
    }
}

impl fmt::Debug for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Threshold({}, {} must sign)", self.0, self.signers_required())
    }
}

impl BorshSerialize for Threshold {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        BorshSerialize::serialize(&self.0, writer)
    }
}

impl BorshDeserialize for Threshold {
    /// The upper bound t < n is checked where n is known: [`crate::Session`] and the key record.
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        match u16::deserialize_reader(reader)? {
            0 => Err(io::Error::new(io::ErrorKind::InvalidData, "threshold is zero")),
            t => Ok(Threshold(t)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s30_a_threshold_lies_between_one_and_the_number_of_holders() {
        assert!(Threshold::new(0, 3).is_err());
        assert!(Threshold::new(3, 3).is_err());
        assert!(Threshold::new(70_000, 3).is_err());
        assert_eq!(Threshold::new(2, 3).map(Threshold::signers_required), Ok(3));
    }
}
