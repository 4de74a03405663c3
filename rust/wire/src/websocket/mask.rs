//! Masking (RFC 6455 section 5.3): byte `i` of the payload, exclusive or byte `i % 4` of the key.

/// Payloads below this many bytes are not worth the question what the processor can do.
#[cfg(target_arch = "x86_64")]
const VECTOR_BYTES_MIN: usize = 64;

/// Masks or unmasks `payload` in place; the operation is its own inverse.
pub fn unmask(payload: &mut [u8], key: [u8; 4]) {
    #[cfg(target_arch = "x86_64")]
    if payload.len() >= VECTOR_BYTES_MIN && is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, which was asked just now.
        return unsafe { unmask_avx2(payload, key) };
    }
    unmask_words(payload, key);
}

/// Works 32 bytes at a time. The text's validation, which comes next, reads as many at a time: it
/// would have to wait for narrower writes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn unmask_avx2(payload: &mut [u8], key: [u8; 4]) {
    use std::arch::x86_64::{
        __m256i, _mm256_loadu_si256, _mm256_set1_epi32, _mm256_storeu_si256, _mm256_xor_si256,
    };
    let keys = _mm256_set1_epi32(i32::from_ne_bytes(key));
    let (chunks, rest) = payload.as_chunks_mut::<{ size_of::<__m256i>() }>();
    for chunk in chunks {
        #[expect(clippy::cast_ptr_alignment, reason = "loaded and stored unaligned")]
        let vector = chunk.as_mut_ptr().cast::<__m256i>();
        // SAFETY: `vector` points to the 32 bytes of `chunk`, borrowed mutably; both instructions
        // take any alignment.
        unsafe {
            let plain = _mm256_xor_si256(_mm256_loadu_si256(vector), keys);
            _mm256_storeu_si256(vector, plain);
        }
    }
    // Chunks are a multiple of four bytes, so the rest starts with the key's first byte.
    unmask_words(rest, key);
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
