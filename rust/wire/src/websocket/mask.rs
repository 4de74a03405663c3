//! Masking (RFC 6455 section 5.3): byte `i` of the payload, exclusive or byte `i % 4` of the key.

/// Masks or unmasks `payload` in place; the operation is its own inverse.
///
/// Works eight bytes at a time, which the compiler widens to the vector registers it may use.
pub fn unmask(payload: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    // Chunks are a multiple of four bytes, so the rest starts with the key's first byte.
    for (byte, key) in rest.iter_mut().zip(word.to_ne_bytes()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::unmask;

    #[test]
    fn section_5_3_every_length_is_masked_as_the_formula_says() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for len in 0..200usize {
            let plain: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
            let expected: Vec<u8> = plain
                .iter()
                .zip(key.iter().cycle())
                .map(|(byte, key)| byte ^ key)
                .collect();
            let mut masked = plain.clone();
            unmask(&mut masked, key);
            assert_eq!(masked, expected, "length {len}");
            unmask(&mut masked, key);
            assert_eq!(masked, plain, "length {len}, there and back");
        }
    }
}
