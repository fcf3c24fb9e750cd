//! Derivation paths (docs/spec/derivation.md 1).

use std::fmt;
use std::io;
use std::ops::Deref;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};
use tsm_crypto::derivation::{DerivationError, HARDENED, check_path};

use crate::error_code::ErrorCode;
use crate::failure::Failure;

/// The way from a key to one below it: at most 50 steps, each below 2^31 (D1). Empty is the key
/// itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct DerivationPath(Vec<u32>);

impl DerivationPath {
    /// The key itself.
    pub const ROOT: DerivationPath = DerivationPath(Vec::new());

    /// Checks the steps. Refuses hardened ones with [`ErrorCode::PathHardened`], too many with
    /// [`ErrorCode::PathInvalid`].
    pub fn new(steps: impl Into<Vec<u32>>) -> Result<Self, Failure> {
        let steps = steps.into();
        check_path(&steps)?;
        Ok(DerivationPath(steps))
    }
}

impl Deref for DerivationPath {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        &self.0
    }
}

/// `m/44/0/1`; `m` is the key itself.
impl fmt::Display for DerivationPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("m")?;
        self.0.iter().try_for_each(|step| write!(f, "/{step}"))
    }
}

impl FromStr for DerivationPath {
    type Err = Failure;

    /// Reads `m/44/0/1`, also without `m/` in front; `m` and the empty text are the key itself.
    fn from_str(text: &str) -> Result<Self, Failure> {
        let steps = match text.strip_prefix('m') {
            Some("") => return Ok(Self::ROOT),
            Some(rest) => rest.strip_prefix('/').ok_or_else(|| unreadable("what follows `m` is not `/`"))?,
            None if text.is_empty() => return Ok(Self::ROOT),
            None => text,
        };
        Self::new(steps.split('/').map(step).collect::<Result<Vec<_>, _>>()?)
    }
}

fn step(text: &str) -> Result<u32, Failure> {
    let (number, marked) = match text.strip_suffix(['\'', 'h', 'H']) {
        Some(number) => (number, true),
        None => (text, false),
    };
    let digits = !number.is_empty() && number.len() <= 10 && number.bytes().all(|byte| byte.is_ascii_digit());
    let step: u32 = number
        .parse()
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| unreadable("a step is a number from 0 to 2147483647"))?;
    match marked {
        true if step >= HARDENED => Err(unreadable("a number of a marked step is below 2147483648")),
        true => Err(DerivationError::Hardened(step + HARDENED).into()),
        false => Ok(step),
    }
}

fn unreadable(rule: &str) -> Failure {
    Failure::new(ErrorCode::PathInvalid, format!("`derivation_path`: {rule}; write `m/44/0/1`"))
}

impl BorshDeserialize for DerivationPath {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let steps = Vec::<u32>::deserialize_reader(reader)?;
        Self::new(steps).map_err(|failure| io::Error::new(io::ErrorKind::InvalidData, failure.detail))
    }
}

impl From<DerivationError> for Failure {
    fn from(error: DerivationError) -> Self {
        let code = match error {
            DerivationError::Hardened(_) => ErrorCode::PathHardened,
            DerivationError::TooLong(_) => ErrorCode::PathInvalid,
            DerivationError::NoKey(_) => ErrorCode::PathNoKey,
        };
        Failure::new(code, format!("`derivation_path`: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<u32>, ErrorCode> {
        text.parse::<DerivationPath>().map(|path| path.to_vec()).map_err(|failure| failure.code)
    }

    #[test]
    fn a_path_is_read_as_it_is_written() {
        for (text, steps) in [
            ("", &[][..]),
            ("m", &[]),
            ("0", &[0]),
            ("m/0", &[0]),
            ("m/44/0/1", &[44, 0, 1]),
            ("44/0/1", &[44, 0, 1]),
            ("m/2147483647", &[2_147_483_647]),
        ] {
            assert_eq!(read(text), Ok(steps.to_vec()), "{text}");
            let path = DerivationPath::new(steps).unwrap();
            assert_eq!(read(&path.to_string()), Ok(steps.to_vec()));
        }
    }

    #[test]
    fn d1_s89_a_hardened_step_is_refused_in_every_spelling_and_told_why() {
        for text in ["m/44'", "44'/0", "m/0/1h", "m/1H/0", "m/2147483648", "m/4294967295", "m/2147483647'"] {
            assert_eq!(read(text), Err(ErrorCode::PathHardened), "{text}");
        }
        let failure = "m/44'".parse::<DerivationPath>().unwrap_err();
        for words in ["44'", "private key", "2147483648"] {
            assert!(failure.detail.contains(words), "{failure}");
        }
        assert_eq!(DerivationPath::new([1, HARDENED]).unwrap_err().code, ErrorCode::PathHardened);
    }

    #[test]
    fn d1_s89_what_is_no_path_is_refused() {
        for text in [
            "m/",
            "/",
            "/0",
            "m//0",
            "m/0/",
            "M/0",
            "n/0",
            "mm",
            "m0",
            " m/0",
            "m/ 0",
            "m/+1",
            "m/-1",
            "m/1.0",
            "m/0x1",
            "m/4294967296",
            "m/00000000001",
            "m/1''",
            "m/'",
            "m/*",
            "m/1,2",
            "m/\u{661}",
            "m/2147483648'",
        ] {
            assert_eq!(read(text), Err(ErrorCode::PathInvalid), "{text}");
        }
        let long = vec![0; 51];
        assert_eq!(DerivationPath::new(long).unwrap_err().code, ErrorCode::PathInvalid);
        assert_eq!(read(&"0/".repeat(50).replacen("0/", "m/", 1)), Err(ErrorCode::PathInvalid));
    }

    #[test]
    fn d1_s89_a_peers_path_is_checked_like_a_callers() {
        let encoded = |steps: &[u32]| borsh::to_vec(steps).unwrap();
        let path = DerivationPath::new([44, 0]).unwrap();
        assert_eq!(borsh::to_vec(&path).unwrap(), encoded(&[44, 0]));
        assert_eq!(borsh::from_slice::<DerivationPath>(&encoded(&[44, 0])).unwrap(), path);
        assert!(borsh::from_slice::<DerivationPath>(&encoded(&[44, HARDENED])).is_err());
        assert!(borsh::from_slice::<DerivationPath>(&encoded(&[0; 51])).is_err());
    }
}
