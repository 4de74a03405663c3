//! A set of numbers that mostly follow each other: kept as ranges.

/// Sorted, disjoint and not touching; each range includes both ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Adds a number; false when it was there.
    pub(crate) fn insert(&mut self, number: u64) -> bool {
        // Numbers come almost in order: the place is at the end, or close to it.
        let after = self.0.iter().rposition(|&(first, _)| first <= number);
        let at = after.map_or(0, |index| index + 1);
        if at
            .checked_sub(1)
            .and_then(|before| self.0.get(before))
            .is_some_and(|r| r.1 >= number)
        {
            return false;
        }
        let joins_before = at > 0 && self.0[at - 1].1 + 1 == number;
        let joins_after = self.0.get(at).is_some_and(|r| r.0 == number + 1);
        match (joins_before, joins_after) {
            (true, true) => {
                let (_, last) = self.0.remove(at);
                self.0[at - 1].1 = last;
            }
            (true, false) => self.0[at - 1].1 = number,
            (false, true) => self.0[at].0 = number,
            (false, false) => self.0.insert(at, (number, number)),
        }
        true
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        let range = self.0.iter().rfind(|&&(first, _)| first <= number);
        range.is_some_and(|&(_, last)| last >= number)
    }

    /// The largest number; 0 when there is none.
    pub(crate) fn max(&self) -> u64 {
        self.0.last().map_or(0, |&(_, last)| last)
    }

    /// How many of 1 to `until` are not there.
    pub(crate) fn missing_count(&self, until: u64) -> u64 {
        self.missing(until)
            .map(|(first, last)| last - first + 1)
            .sum()
    }

    /// What is not there of 1 to `until`, as ranges.
    pub(crate) fn missing(&self, until: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let ends = std::iter::once(0).chain(self.0.iter().map(|&(_, last)| last));
        let begins = self.0.iter().map(|&(first, _)| first).chain([u64::MAX]);
        ends.zip(begins)
            .map(move |(end, begin)| (end + 1, (begin - 1).min(until)))
            .filter(|(first, last)| first <= last)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_are_the_set_of_what_was_inserted(numbers in prop::collection::vec(1u64..40, 0..60)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for &number in &numbers {
                prop_assert_eq!(ranges.insert(number), set.insert(number));
            }
            for number in 0..42 {
                prop_assert_eq!(ranges.contains(number), set.contains(&number));
            }
            prop_assert_eq!(ranges.max(), set.last().copied().unwrap_or(0));
            for until in [0, 1, 20, 39, 45] {
                let missing: Vec<u64> = ranges.missing(until).flat_map(|(a, b)| a..=b).collect();
                let expected: Vec<u64> = (1..=until).filter(|n| !set.contains(n)).collect();
                prop_assert_eq!(ranges.missing_count(until), expected.len() as u64);
                prop_assert_eq!(missing, expected);
            }
            prop_assert!(ranges.0.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
        }
    }
}
