//! What a check found: counts, and the first cases by name.

use serde_json::{Value, json};

/// What is wrong with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A member never got it.
    Lost,
    /// Pushed twice within one session.
    Repeated,
    /// Pushed behind a later one of the same session.
    Reordered,
    /// Missing in a session's pushes, and brought by a later session only.
    Skipped,
    /// One key, two numbers.
    Duplicated,
    /// One number, two contents: at two members, in the answer, in history, or not what was sent.
    Conflicting,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] = [
        Self::Lost,
        Self::Repeated,
        Self::Reordered,
        Self::Skipped,
        Self::Duplicated,
        Self::Conflicting,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Repeated => "repeated",
            Self::Reordered => "reordered",
            Self::Skipped => "skipped",
            Self::Duplicated => "duplicated",
            Self::Conflicting => "conflicting",
        }
    }
}

/// One case: who, where, which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub kind: Kind,
    /// Who was to see it; of `duplicated`, who sent it.
    pub user: String,
    pub conversation: String,
    /// The first seq, and the last one of a run of them.
    pub seqs: (u64, u64),
    pub detail: String,
}

/// More would bury what the first ones say.
const KEPT: usize = 20;

/// Everything that was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    counts: [u64; Kind::ALL.len()],
    kept: Vec<Finding>,
}

impl Findings {
    /// Counts as many cases as the finding has seqs.
    pub(crate) fn add(&mut self, finding: Finding) {
        self.counts[finding.kind as usize] += finding.seqs.1 - finding.seqs.0 + 1;
        if self.kept.len() < KEPT {
            self.kept.push(finding);
        }
    }

    pub(crate) fn count(&self, kind: Kind) -> u64 {
        self.counts[kind as usize]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.counts.iter().all(|&count| count == 0)
    }

    #[cfg(test)]
    pub(crate) fn kept(&self) -> &[Finding] {
        &self.kept
    }

    /// The first cases.
    pub(crate) fn list(&self) -> Value {
        let list = self.kept.iter().map(|finding| {
            json!({
                "kind": finding.kind.name(),
                "user": finding.user,
                "conversation": finding.conversation,
                "seq": finding.seqs.0,
                "last_seq": finding.seqs.1,
                "detail": finding.detail,
            })
        });
        list.collect()
    }
}
