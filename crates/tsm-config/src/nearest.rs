//! The known name that a mistyped one was probably meant to be.

/// The nearest of `known`, if one is near enough to suggest.
pub(super) fn nearest(name: &str, known: impl IntoIterator<Item = &'static str>) -> Option<&'static str> {
    /// No known name is longer; the distance takes time in both lengths.
    const MAX_BYTES: usize = 64;
    if name.len() > MAX_BYTES {
        return None;
    }
    // Go's reader, which our users' files were written for, ignores case: so does the distance.
    let lower = name.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(4))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_keys_is_understood_and_another_word_is_not() {
        let known = ["Port", "PublicKey", "PrivateKey", "Address"];
        for (typed, meant) in [
            ("Prot", Some("Port")),
            ("port", Some("Port")),
            ("Pubkey", Some("PublicKey")),
            ("PublickKey", Some("PublicKey")),
            ("privateKey", Some("PrivateKey")),
            ("Adress", Some("Address")),
            ("Timeout", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, known), meant, "{typed}");
        }
    }
}
