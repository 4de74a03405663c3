//! What is asked for in which proportion: `--mix direct=70,group=20,ephemeral=8,reconnect=2`.

use crate::failure::Failure;

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A message to the next member of the group, in their direct conversation.
    Direct,
    /// A message to the group.
    Group,
    /// The same as direct, neither stored nor numbered.
    Ephemeral,
    /// The newest page of the group.
    History,
    /// Says that the group's newest message is read.
    Read,
    /// Hangs up and connects again, with the last sync token.
    Reconnect,
}

/// Kinds by their names, in the order of their numbers.
pub(crate) const KINDS: [(Kind, &str); 6] = [
    (Kind::Direct, "direct"),
    (Kind::Group, "group"),
    (Kind::Ephemeral, "ephemeral"),
    (Kind::History, "history"),
    (Kind::Read, "read"),
    (Kind::Reconnect, "reconnect"),
];

impl Kind {
    /// Index in [`KINDS`].
    pub(crate) fn number(self) -> usize {
        self as usize
    }

    /// Members of a group of `members` that get a message of this kind, besides the sender.
    pub(crate) fn deliveries(self, members: u64) -> u64 {
        match self {
            Self::Direct | Self::Ephemeral => 1,
            Self::Group => members - 1,
            Self::History | Self::Read | Self::Reconnect => 0,
        }
    }
}

/// Deals out kinds: after any number of picks each has its share, give or take one or two.
#[derive(Debug)]
pub(crate) struct Mix {
    shares: [f64; KINDS.len()],
    credit: [f64; KINDS.len()],
}

impl Mix {
    /// Nothing but one kind.
    pub(crate) fn only(kind: Kind) -> Self {
        let mut shares = [0.0; KINDS.len()];
        shares[kind.number()] = 1.0;
        Self::of(shares)
    }

    /// Reads `kind=share,kind=share`; shares need not add up to anything.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = |what: &str| Failure::Said(format!("--mix {text}: {what}"));
        let mut shares = [0.0; KINDS.len()];
        for part in text.split(',') {
            let (name, share) = part.split_once('=').ok_or_else(|| wrong("kind=share"))?;
            let number = KINDS.iter().position(|(_, known)| *known == name);
            let number = number.ok_or_else(|| wrong(&format!("no kind {name}")))?;
            let share = share.parse().ok().filter(|share| *share >= 0.0);
            shares[number] = share.ok_or_else(|| wrong("a share is a number"))?;
        }
        let sum: f64 = shares.iter().sum();
        if sum > 0.0 && sum.is_finite() {
            Ok(Self::of(shares.map(|share| share / sum)))
        } else {
            Err(wrong("nothing has a share"))
        }
    }

    fn of(shares: [f64; KINDS.len()]) -> Self {
        Self {
            shares,
            credit: [0.0; KINDS.len()],
        }
    }

    /// Whether there is any of `kind`.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.shares[kind.number()] > 0.0
    }

    /// The next kind: the one that is owed most.
    pub(crate) fn next(&mut self) -> Kind {
        let mut most = 0;
        for number in 0..KINDS.len() {
            self.credit[number] += self.shares[number];
            if self.credit[number] > self.credit[most] {
                most = number;
            }
        }
        self.credit[most] -= 1.0;
        KINDS[most].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_share_of_any_run_of_picks() {
        let mut mix = Mix::parse("direct=70,group=20,ephemeral=8,reconnect=2").expect("valid");
        let mut picks = [0i32; KINDS.len()];
        for taken in 1..=1000 {
            picks[mix.next().number()] += 1;
            for (number, share) in [(0, 0.70), (1, 0.20), (2, 0.08), (5, 0.02)] {
                let owed = share * f64::from(taken);
                assert!((f64::from(picks[number]) - owed).abs() < 2.0, "{picks:?}");
            }
        }
        assert_eq!(picks, [700, 200, 80, 0, 0, 20]);
    }

    #[test]
    fn wrong_mixes_are_named() {
        for wrong in ["", "direct", "dance=1", "direct=x", "direct=-1", "direct=0"] {
            let error = Mix::parse(wrong).expect_err(wrong).to_string();
            assert!(error.starts_with("--mix"), "{error}");
        }
    }
}
