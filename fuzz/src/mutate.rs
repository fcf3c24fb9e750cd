//! Small changes of good input, the same ones in every run: what the ordinary tests try.

/// Every change number `0..` gives other bytes, without any end.
pub fn change(seed: &[u8], number: u64) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    let random = mix(number ^ (seed.len() as u64) << 32);
    if bytes.is_empty() {
        return random.to_le_bytes().to_vec();
    }
    let place = (random >> 16) as usize % bytes.len();
    let value = (random >> 8) as u8;
    match random % 8 {
        0 => bytes[place] ^= 1 << (value % 8),
        1 => bytes[place] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'[', b'%'][usize::from(value) % 8],
        2 => bytes.truncate(place),
        3 => bytes.insert(place, value),
        4 => drop(bytes.remove(place)),
        5 => {
            // A length, or a number, that is larger than anything.
            let end = (place + 4).min(bytes.len());
            bytes[place..end].fill(0xff);
        }
        6 => {
            let again = bytes[place..].to_vec();
            bytes.extend(again);
        }
        _ => {
            let other = mix(random) as usize % bytes.len();
            bytes.swap(place, other);
        }
    }
    if random >> 60 == 0 { change(&bytes, random) } else { bytes }
}

/// SplitMix64's finaliser.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
