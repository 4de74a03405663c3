//! A Bloom filter of hashes, one cache line a question.

/// A line of the filter, 512 bits.
const LINE_BYTES: usize = 64;
const KEYS_A_LINE: usize = 32;
/// Bits set for a key: as many as 9 bits of a hash's 64 give places.
const BITS: u32 = 7;

/// Tells for sure which keys are not in it. With 16 bits a key about one in a thousand of the others
/// is taken for one that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter(Vec<u8>);

impl Filter {
    /// Bytes of a filter of so many keys.
    pub(crate) fn bytes_for(keys: usize) -> usize {
        keys.div_ceil(KEYS_A_LINE) * LINE_BYTES
    }

    pub(crate) fn new(keys: usize) -> Self {
        Self(vec![0; Self::bytes_for(keys)])
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn add(&mut self, high: u64, low: u64) {
        let line = self.line(high);
        let (lines, _) = self.0.as_chunks_mut::<LINE_BYTES>();
        if let Some(line) = lines.get_mut(line) {
            for (byte, bit) in places(low) {
                if let Some(byte) = line.get_mut(byte) {
                    *byte |= bit;
                }
            }
        }
    }

    pub(crate) fn may_have(&self, high: u64, low: u64) -> bool {
        let (lines, _) = self.0.as_chunks::<LINE_BYTES>();
        lines.get(self.line(high)).is_some_and(|line| {
            places(low).all(|(byte, bit)| line.get(byte).is_some_and(|byte| byte & bit != 0))
        })
    }

    fn line(&self, high: u64) -> usize {
        let lines = (self.0.len() / LINE_BYTES) as u128;
        ((u128::from(high) * lines) >> 64) as usize
    }
}

fn places(low: u64) -> impl Iterator<Item = (usize, u8)> {
    (0..BITS).map(move |number| {
        let place = (low >> (9 * number)) as usize % (LINE_BYTES * 8);
        (place / 8, 1 << (place % 8))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use xxhash_rust::xxh3::xxh3_128;

    fn hash(number: u64) -> (u64, u64) {
        let hash = xxh3_128(&number.to_le_bytes());
        ((hash >> 64) as u64, hash as u64)
    }

    #[test]
    fn every_key_that_was_added_is_there_and_few_others() {
        let mut filter = Filter::new(10_000);
        for (high, low) in (0..10_000).map(hash) {
            filter.add(high, low);
        }
        let has = |number| {
            let (high, low) = hash(number);
            filter.may_have(high, low)
        };
        assert!((0..10_000).all(has));
        let wrong = (10_000..110_000).filter(|&number| has(number)).count();
        assert!(wrong < 300, "{wrong} of 100,000");
        assert_eq!(Filter::from_bytes(filter.bytes()), filter);
        assert!(!Filter::new(0).may_have(1, 2));
    }
}
