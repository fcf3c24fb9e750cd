//! Secrets look like secrets (rules S-88, S-107, S-111).

use std::fmt;

use zeroize::Zeroize;

/// A value that is wiped when dropped, is never printed, and cannot be copied by accident.
///
/// It has no `Clone`, `Serialize` or revealing `Debug`; [`expose`](Self::expose) is the only way to
/// the value and stands out in review.
///
/// The value has a place of its own in the heap. What holds a `Secret` may be moved, out of a box or from
/// one list to another, without leaving a copy of the value where it was.
pub struct Secret<T: Zeroize>(Box<T>);

impl<T: Zeroize> Secret<T> {
    /// Takes charge of a secret value.
    pub fn new(value: T) -> Self {
        Secret(Box::new(value))
    }

    /// The value itself. Each call is a place to review.
    pub fn expose(&self) -> &T {
        &self.0
    }

    /// The value for writing in place, so that no copy is left behind.
    pub fn expose_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s107_debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new(0x1234_5678u64)), "<secret>");
    }
}
