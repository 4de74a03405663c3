//! How often a group's members may write to it. Buckets are no part of the state: nothing that the
//! log holds depends on them, and a replay starts with full ones.

use imfast_wire::rate::{Bucket, Rate};

use super::Fold;
use crate::conversation::Shape;
use crate::outcome::Refused;

/// A bucket for each conversation, by its dense index; only as many as the limit is looked at for.
#[derive(Debug, Default)]
pub(super) struct GroupBuckets(Vec<Bucket>);

impl GroupBuckets {
    fn take(&mut self, rate: Rate, group: u32, time_ms: u64) -> Result<(), Refused> {
        let index = group as usize;
        if index >= self.0.len() {
            self.0.resize(index + 1, Bucket::default());
        }
        rate.take(&mut self.0[index], time_ms.saturating_mul(1_000_000), 1)
            .map_err(|retry_after_ms| Refused::RateLimited { retry_after_ms })
    }
}

impl Fold {
    /// Counts a write of a member; an error when there were too many. What was logged is not
    /// counted, and direct conversations have no limit of their own.
    pub(super) fn over_group_rate(&mut self, conversation: u32) -> Result<(), Refused> {
        if self.batch.replay {
            return Ok(());
        }
        let time_ms = self.batch.time_ms;
        self.take_from_group(conversation, time_ms)
    }

    /// As [`Self::over_group_rate`], outside of a batch.
    pub(crate) fn take_from_group(
        &mut self,
        conversation: u32,
        time_ms: u64,
    ) -> Result<(), Refused> {
        let Some(rate) = self.config.limits.group_rate else {
            return Ok(());
        };
        match self.state.conversation(conversation).shape {
            Shape::Direct { .. } => Ok(()),
            Shape::Group { .. } => self.group_buckets.take(rate, conversation, time_ms),
        }
    }
}
