//! Masking (RFC 6455 section 5.3): byte `i` of the payload, exclusive or byte `i % 4` of the key.

/// Bytes of a vector register, below which it is of no use.
#[cfg(target_arch = "x86_64")]
const VECTOR_BYTES: usize = 32;

/// Masks or unmasks `payload` in place; the operation is its own inverse.
#[inline]
pub fn unmask(payload: &mut [u8], key: [u8; 4]) {
    #[cfg(target_arch = "x86_64")]
    if payload.len() >= VECTOR_BYTES && is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, which was asked just now.
        return unsafe { unmask_avx2(payload, key) };
    }
    unmask_words(payload, key);
}

/// Works 32 bytes at a time. The text's validation, which comes next, reads as many at a time: it
/// would have to wait for narrower writes.
///
/// What is left behind the last full vector is worked as the last 32 bytes, read before any of
/// them is changed: bytes that are written twice are written alike.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn unmask_avx2(payload: &mut [u8], key: [u8; 4]) {
    let word = u32::from_ne_bytes(key);
    let last = payload.last_chunk::<VECTOR_BYTES>().copied();
    let length = payload.len();
    let (chunks, rest) = payload.as_chunks_mut::<VECTOR_BYTES>();
    for chunk in chunks {
        *chunk = exclusive_or(chunk, word);
    }
    if rest.is_empty() {
        return;
    }
    if let (Some(last), Some(place)) = (last, payload.last_chunk_mut()) {
        // Its first byte is that many of the payload's last ones away from a key's first byte.
        let turned = word.rotate_right(8 * (length % 4) as u32);
        *place = exclusive_or(&last, turned);
    }
}

/// One vector with the key in each of its words.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
fn exclusive_or(bytes: &[u8; VECTOR_BYTES], word: u32) -> [u8; VECTOR_BYTES] {
    use std::arch::x86_64::{
        _mm256_loadu_si256, _mm256_set1_epi32, _mm256_storeu_si256, _mm256_xor_si256,
    };
    let mut plain = [0; VECTOR_BYTES];
    // SAFETY: both pointers are to 32 bytes that are borrowed here; both instructions take any
    // alignment.
    unsafe {
        let vector = _mm256_loadu_si256(bytes.as_ptr().cast());
        let masked = _mm256_xor_si256(vector, _mm256_set1_epi32(word as i32));
        _mm256_storeu_si256(plain.as_mut_ptr().cast(), masked);
    }
    plain
}

/// Works eight bytes at a time, which the compiler widens to the vector registers that every
/// processor of the target has.
fn unmask_words(payload: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(word.to_ne_bytes()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::{unmask, unmask_words};

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    #[test]
    fn section_5_3_every_length_at_every_alignment_is_masked_as_the_formula_says() {
        // Miri would take an hour; these are around the vectors' lengths and alignments.
        let (starts, lengths) = if cfg!(miri) {
            (
                vec![0, 1, 31],
                vec![0, 1, 7, 8, 63, 64, 65, 95, 96, 97, 131],
            )
        } else {
            ((0..32).collect(), (0..300).collect())
        };
        for &start in &starts {
            for &len in &lengths {
                let plain: Vec<u8> = (0..start + len + 32).map(|i| (i * 7) as u8).collect();
                let end = start + len;
                let mut expected = plain.clone();
                for (byte, key) in expected[start..end].iter_mut().zip(KEY.iter().cycle()) {
                    *byte ^= key;
                }
                for masking in [unmask, unmask_words] {
                    let mut masked = plain.clone();
                    masking(&mut masked[start..end], KEY);
                    assert_eq!(masked, expected, "length {len} at {start}");
                    masking(&mut masked[start..end], KEY);
                    assert_eq!(masked, plain, "length {len} at {start}, there and back");
                }
            }
        }
    }
}
