//! How often a connection and its user may ask. The buckets are in what is looked at for every
//! request anyway, so a verdict touches no further memory.

use crate::engine::Engine;
use crate::input::Flow;
use crate::slab::Handle;
use imfast_wire::frames::codes;
use imfast_wire::frames::server::{ServerBody, ServerFrame};

impl Engine {
    /// Counts a request of a connection; an error is the milliseconds until there is room for one.
    #[inline]
    pub(crate) fn admit_request(&mut self, handle: Handle) -> Result<(), u32> {
        let rates = &self.config.rates;
        if rates.connection.is_none() && rates.user.is_none() {
            return Ok(());
        }
        self.take_from_buckets(handle)
    }

    fn take_from_buckets(&mut self, handle: Handle) -> Result<(), u32> {
        let (rates, now_ns) = (self.config.rates, self.now_ms * 1_000_000);
        let Some(asking) = self.io.connections.resolve(handle) else {
            return Ok(());
        };
        let user = asking.user;
        // Streams share the rate of the connection that carries them.
        let counted = asking.stream().map_or(handle, |stream| stream.over);
        let Some(connection) = self.io.connections.resolve_mut(counted) else {
            return Ok(());
        };
        let before = connection.asked;
        if let Some(rate) = rates.connection {
            rate.take(&mut connection.asked, now_ns, 1)?;
        }
        if let Some(rate) = rates.user
            && let Some(user) = self.users.get_mut(user)
        {
            rate.take(&mut user.asked, now_ns, 1)
                .inspect_err(|_| connection.asked = before)?;
        }
        Ok(())
    }

    /// Refuses a request that came too soon. The connection goes on.
    pub(crate) fn rate_limited(&mut self, handle: Handle, id: u64, retry_after_ms: u32) -> Flow {
        self.io.stats.rate_limited += 1;
        if id != 0 {
            self.io.stats.errors += 1;
            let body = ServerBody::error(&codes::RATE_LIMITED, retry_after_ms.into(), "");
            self.io.push(handle.slot, &ServerFrame { id, body });
        }
        Flow::Next
    }
}
