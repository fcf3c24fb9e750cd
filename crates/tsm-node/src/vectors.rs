//! Bytes that are promises: what released versions wrote, held against the code by its tests.

/// Holds `bytes` against the file of this name in `vectors/`. `UPDATE_VECTORS=1` writes a file that
/// is not there yet; one that is there is never changed.
pub(crate) fn assert_frozen(name: &str, bytes: &[u8]) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors").join(name);
    if !path.exists() && std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::write(&path, bytes).expect("the vector can be written");
    }
    let frozen = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(frozen == bytes, "{name}: the encoding changed; released data would not be read any more");
}
