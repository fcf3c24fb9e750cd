//! A way in for the fuzzer (`fuzz/`): what no caller and no peer of this crate needs.

use crate::wire::Frame;

/// Reads a frame; one that is read has no other encoding.
pub fn frame(bytes: &[u8]) -> bool {
    let Some(frame) = Frame::decode(bytes) else { return false };
    assert_eq!(frame.encode(), bytes);
    if let Frame::End(end) = &frame {
        // Shown to people and counted by it.
        let _ = end.checked_code();
    }
    let _ = format!("{frame:?}");
    true
}
